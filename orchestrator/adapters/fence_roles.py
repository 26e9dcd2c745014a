"""Who can log in to a side's database, and whom of them a fence keeps out."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.adapters.sessions import Row, Session
from orchestrator.deadlines import Deadline

REHEARSAL = "auditor_fence_rehearsal"
"""The role that nobody uses."""

# Owners of subscriptions keep LOGIN as replication roles do: without it their apply workers cannot start.
ROLES = """SELECT r.oid::bigint, r.rolname::text, r.rolcanlogin, r.rolsuper,
  r.rolreplication OR EXISTS (SELECT FROM pg_subscription s WHERE s.subowner = r.oid)
    OR EXISTS (SELECT FROM pg_roles g WHERE g.rolname = 'rds_replication' AND pg_has_role(r.oid, g.oid, 'MEMBER')),
  has_database_privilege(r.oid, current_database(), 'CONNECT'), r.rolname = current_user
FROM pg_roles r ORDER BY r.rolname"""


@dataclass(frozen=True, slots=True)
class Role:
    """A role as the server has it now."""

    oid: int
    name: str
    logs_in: bool
    superuser: bool
    replicates: bool
    connects: bool
    """May enter this database."""
    acts: bool = False
    """It is the one that the fence itself uses."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whom the configuration fences and whom it spares."""

    auditors: Collection[str] = ()
    """Roles of the auditor's own sessions, beside the control role."""
    keep: Collection[str] = ()
    """Roles that keep LOGIN; their ordinary sessions are ended once, and again where they write."""
    only: Collection[str] | None = None
    """The roles that are fenced; `None`: all that can enter."""


@dataclass(frozen=True, slots=True)
class Roles:
    """Every role of a side, judged by a choice."""

    choice: Choice
    known: dict[int, Role] = field(default_factory=dict)

    @property
    def acting(self) -> Role:
        return next(role for role in self.known.values() if role.acts)

    @property
    def ours(self) -> set[str]:
        """Roles whose sessions the fence leaves alone where they say that they are the auditor's."""
        return {self.acting.name, *self.choice.auditors}

    def fenceable(self, role: Role) -> bool:
        """Say whether a role is to lose LOGIN, or has lost it."""
        spared = role.superuser or role.replicates or role.name in {*self.ours, *self.choice.keep, REHEARSAL}
        chosen = self.choice.only is None or role.name in self.choice.only
        return role.connects and chosen and not spared

    def open(self) -> list[str]:
        """Name those that a closed fence would have kept out and that can log in."""
        return [role.name for role in self.known.values() if role.logs_in and self.fenceable(role)]

    def without_login(self, names: Sequence[str]) -> list[str]:
        """Pick those of some names that exist and cannot log in."""
        return [role.name for role in self.known.values() if role.name in names and not role.logs_in]


def read_roles(session: Session, choice: Choice, deadline: Deadline) -> Roles:
    """Read every role of a side.

    Raises:
        As `Session.execute`.
    """
    return roles_of(session.ask(ROLES, deadline=deadline), choice)


def roles_of(rows: Iterable[Row], choice: Choice) -> Roles:
    """Make roles of the rows that `ROLES` gives."""
    return Roles(choice, {role.oid: role for role in (Role(*row) for row in rows)})
