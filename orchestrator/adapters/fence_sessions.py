"""The sessions of a side while its fence is closed: which end, and which speak against its being closed.

After the roles lost LOGIN, a session may still be coming up that was let in before: it read its role, but is not shown
in `pg_stat_activity` yet. Such a session holds the virtual transaction of its start, which `pg_locks` shows. So the
fence notes these once and waits until each has ended; by then the session is shown, or was refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from comparators.errors import NeedsOperator
from orchestrator.adapters.fence_roles import ROLES, Choice, Roles, roles_of
from orchestrator.adapters.sessions import Row, Session
from orchestrator.deadlines import Deadline

OURS = "auditor"
"""What the application name of the auditor's own sessions begins with."""

_SESSIONS = """SELECT pid, backend_start, usesysid::bigint, usename::text, coalesce(application_name, ''),
  coalesce(backend_type, 'client backend') = 'client backend', state, xact_start IS NOT NULL, backend_xid IS NOT NULL
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
  AND coalesce(backend_type, '') NOT IN ('walsender', 'autovacuum worker', 'parallel worker')
  AND coalesce(backend_type, '') NOT LIKE 'logical replication %'"""
_STARTS = """SELECT virtualtransaction, pid FROM pg_locks
WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND pid <> pg_backend_pid()"""
_SHOWN = "SELECT pid FROM pg_stat_activity WHERE usesysid IS NOT NULL OR backend_type <> 'client backend'"
PREPARED = "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"
_END_STARTS = f"SELECT pg_terminate_backend(pid) FROM ({_STARTS}) s WHERE virtualtransaction = ANY ($1::text[])"
_END = "SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid"


class Sort(Enum):
    """What a session is to the fence."""

    OURS = auto()
    FENCED = auto()
    SUPERUSER = auto()
    KEPT = auto()
    BACKGROUND = auto()
    """A worker of a role that keeps LOGIN: it only speaks against the fence while it writes."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A session as the server shows it."""

    pid: int
    began: datetime | None
    role_id: int | None
    role: str | None
    application: str
    client: bool
    state: str | None
    in_transaction: bool
    writes: bool

    @property
    def busy(self) -> bool:
        """In a transaction, or not known not to be."""
        return self.in_transaction or self.state is None

    def __str__(self) -> str:
        return f"{self.role} (process {self.pid}, {self.application or 'no application name'}, {self.state})"


@dataclass(slots=True)
class Ending:
    """What was ended so far, and what was there at the first look."""

    first: frozenset[tuple[int, datetime | None]] | None = None
    ended: set[tuple[int, datetime | None]] = field(default_factory=set)
    superusers: set[tuple[int, datetime | None]] = field(default_factory=set)
    kept: set[tuple[int, datetime | None]] = field(default_factory=set)
    looks: int = 0
    zeros: int = 0
    """Looks in a row that found nobody."""
    starts: frozenset[str] | None = None
    """Sessions that were coming up when the roles had lost LOGIN, and still are; `None`: not noted yet."""
    against: tuple[Seen, ...] = ()
    """Who was still there at the last look."""

    def __str__(self) -> str:
        there = [*(str(seen) for seen in self.against), *(["a session that is coming up"] if self.starts else [])]
        return f"still there: {', '.join(there) or 'nobody'}"


@dataclass(frozen=True, slots=True)
class Judged:
    """What one look means: whom to end, and who keeps the fence from being closed."""

    end: tuple[Seen, ...]
    against: tuple[Seen, ...]


def sort_of(seen: Seen, roles: Roles) -> Sort:
    """Sort a session by its role and its name."""
    role = roles.known.get(seen.role_id or 0)
    if role is not None and roles.fenceable(role):
        return Sort.FENCED
    if not seen.client:
        return Sort.BACKGROUND
    if seen.role in roles.ours and seen.application.startswith(OURS):
        return Sort.OURS
    if role is not None and role.superuser and role.name not in roles.choice.keep:
        return Sort.SUPERUSER
    return Sort.KEPT


def judge(sessions: Sequence[Seen], roles: Roles, ending: Ending) -> Judged:
    """Decide about every session of one look.

    Raises:
        NeedsOperator: a superuser came back and is in a transaction: nothing keeps it from writing.
    """
    if ending.first is None:
        ending.first = frozenset((one.pid, one.began) for one in sessions)
    end, against = [], []
    for seen in sessions:
        sort = sort_of(seen, roles)
        came_back = (seen.pid, seen.began) not in ending.first
        if sort is Sort.SUPERUSER and came_back and seen.busy:
            raise NeedsOperator(
                f"the superuser {seen} is in a transaction behind the fence",
                hint="keep superusers away during a cutover; one that only reads may be named in cutover.fence.keep",
            )
        if _ends(seen, sort, came_back) and _may_end(seen, roles):
            end.append(seen)
        if _speaks_against(seen, sort, came_back, roles):
            against.append(seen)
    return Judged(tuple(end), tuple(against))


def _ends(seen: Seen, sort: Sort, came_back: bool) -> bool:
    """Kept roles lose the sessions they had, and later ones that write; superusers' and fenced ones always end."""
    if sort is Sort.KEPT:
        return not came_back or seen.writes
    return sort in (Sort.FENCED, Sort.SUPERUSER)


def _may_end(seen: Seen, roles: Roles) -> bool:
    """Only a superuser ends a superuser's session; to try would fail all of the look."""
    role = roles.known.get(seen.role_id or 0)
    return roles.acting.superuser or not (role is None or role.superuser)


def _speaks_against(seen: Seen, sort: Sort, came_back: bool, roles: Roles) -> bool:
    match sort:
        case Sort.OURS:
            return False
        case Sort.FENCED:
            return True
        case Sort.BACKGROUND:
            return seen.writes
        case Sort.SUPERUSER | Sort.KEPT if not _may_end(seen, roles):
            return seen.busy
        case Sort.SUPERUSER:
            return not came_back
        case Sort.KEPT:
            return not came_back or seen.writes


def trespasses(seen: Seen, roles: Roles) -> bool:
    """Say whether a closed fence must not have a session: it is one of those kept out, or it may be writing."""
    match sort_of(seen, roles):
        case Sort.OURS:
            return False
        case Sort.FENCED:
            return True
        case Sort.SUPERUSER:
            return seen.busy
        case Sort.KEPT | Sort.BACKGROUND:
            return seen.writes


@dataclass(frozen=True, slots=True)
class Look:
    """Everything that is asked at one look, in one answer."""

    sessions: tuple[Seen, ...]
    roles: Roles
    prepared: int
    starts: frozenset[str]


def look(session: Session, choice: Choice, starts: frozenset[str] | None, deadline: Deadline) -> Look:
    """See sessions of this database but for replication and maintenance, roles, and what is prepared.

    Args:
        starts: sessions whose coming up is waited for; `None`: note all that are coming up now.
    Raises:
        As `Session.execute`.
    """
    # locks first: who came up after they were read is shown
    coming = [(_STARTS, ()), (_SHOWN, ())] if starts is None or starts else []
    *started, seen, roles, prepared = session.ask_all(
        [*coming, (_SESSIONS, ()), (ROLES, ()), (PREPARED, ())], deadline=deadline
    )
    return Look(
        tuple(Seen(*row) for row in seen),
        roles_of(roles, choice),
        prepared[0][0],
        _coming_up(*started, before=starts) if started else frozenset(),
    )


def _coming_up(starts: list[Row], shown: list[Row], *, before: frozenset[str] | None) -> frozenset[str]:
    if before is not None:
        return before & {transaction for transaction, _ in starts}
    pids = {pid for (pid,) in shown}
    return frozenset(transaction for transaction, pid in starts if pid not in pids)


def end(session: Session, judged: Sequence[Seen], roles: Roles, ending: Ending, deadline: Deadline) -> None:
    """End sessions, and count each once.

    Raises:
        As `Session.execute`.
    """
    for seen in judged:
        key = (seen.pid, seen.began)
        ending.ended.add(key)
        match sort_of(seen, roles):
            case Sort.SUPERUSER:
                ending.superusers.add(key)
            case Sort.KEPT:
                ending.kept.add(key)
    if judged:
        session.ask(_END, [[seen.pid for seen in judged]], deadline=deadline)


def end_starts(session: Session, starts: frozenset[str], deadline: Deadline) -> None:
    """End sessions that do not come up, as where a client never sends its password; only a superuser may.

    Raises:
        As `Session.execute`.
    """
    session.ask(_END_STARTS, [sorted(starts)], deadline=deadline)
