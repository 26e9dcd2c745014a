"""What speaks against closing a side's fence, found long before it is closed."""

from collections.abc import Iterator

from comparators.positions import Side
from orchestrator.adapters import fence_sessions as sessions
from orchestrator.adapters.fence_roles import Roles
from orchestrator.adapters.fence_sessions import OURS, Look, Sort
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker

_RIGHTS = """SELECT rolcreaterole, pg_has_role('pg_signal_backend', 'USAGE'), pg_has_role('pg_read_all_stats', 'USAGE')
FROM pg_roles WHERE rolname = current_user"""
_NOT_ADMINISTERED = """SELECT rolname::text FROM pg_roles
WHERE rolname = ANY (%s) AND NOT pg_has_role(oid, 'MEMBER WITH ADMIN OPTION')"""
_ELSEWHERE = """SELECT DISTINCT usename::text, datname::text FROM pg_stat_activity
WHERE usename = ANY (%s) AND datname <> current_database() AND backend_type = 'client backend' ORDER BY 1, 2"""
_ADMIN_MATTERS = 160000
"""From this version on CREATEROLE reaches only roles that the role was given."""


def blockers(side: Side, session: Session, seen: Look, closed: bool, deadline: Deadline) -> list[Blocker]:
    """List what must be mended before this side can be fenced.

    Args:
        closed: its fence is closed already, or its roles are remembered from when it was.
    Raises:
        As `Session.execute`.
    """
    found = [*_targets(side, seen.roles, closed), *_prepared(side, seen), *_sessions(side, seen)]
    found += _elsewhere(side, session, seen.roles, deadline)
    if not seen.roles.acting.superuser:
        found += _rights(side, session, seen.roles, deadline)
    return found


def _targets(side: Side, roles: Roles, closed: bool) -> Iterator[Blocker]:
    if not roles.open() and not closed:
        yield Blocker(
            "fence-roles",
            f"no role that logs in to the {side} can be fenced",
            "let applications use roles that are no superusers and not named in cutover.fence.keep",
        )
    unknown = set(roles.choice.only or ()) - {role.name for role in roles.known.values()}
    if unknown:
        names = ", ".join(sorted(unknown))
        yield Blocker("fence-roles", f"the {side} has no role {names}", "correct cutover.fence.roles")


def _rights(side: Side, session: Session, roles: Roles, deadline: Deadline) -> Iterator[Blocker]:
    ((creates, signals, sees),) = session.execute(_RIGHTS, deadline=deadline)
    name = roles.acting.name
    missing = [
        right
        for right, there in (("CREATEROLE", creates), ("pg_signal_backend", signals), ("pg_read_all_stats", sees))
        if not there
    ]
    if missing:
        words = " and ".join(missing)
        yield Blocker("fence-rights", f"the control role {name} of the {side} lacks {words}", "grant it")
    if session.version(deadline) >= _ADMIN_MATTERS:
        lacking = [row[0] for row in session.execute(_NOT_ADMINISTERED, [roles.open()], deadline=deadline)]
        if lacking:
            yield Blocker(
                "fence-rights",
                f"the control role {name} of the {side} may not alter {', '.join(lacking)}",
                f"GRANT each TO {name} WITH ADMIN OPTION",
            )


def _sessions(side: Side, looked: Look) -> Iterator[Blocker]:
    """Find sessions that could not be ended, or that would be spared though they are not ours."""
    seen, roles = looked.sessions, looked.roles
    strangers = {one.application for one in seen if one.role == roles.acting.name and _stranger(one.application)}
    if strangers:
        words = ", ".join(sorted(name or "without a name" for name in strangers))
        yield Blocker(
            "fence-control-role",
            f"others use the control role of the {side} too: {words}",
            "give the control role to the auditor alone",
        )
    superusers = {one.role or "" for one in seen if sessions.sort_of(one, roles) is Sort.SUPERUSER}
    if superusers and not roles.acting.superuser:
        words = ", ".join(sorted(superusers))
        yield Blocker(
            "fence-superusers",
            f"superusers are connected to the {side}, whom the control role cannot end: {words}",
            "keep them away during a cutover, or name those that only read in cutover.fence.keep",
        )


def _stranger(application: str) -> bool:
    return not application.startswith(OURS)


def _prepared(side: Side, seen: Look) -> Iterator[Blocker]:
    if seen.prepared:
        yield Blocker(
            "fence-prepared",
            f"{seen.prepared} prepared transactions are open on the {side}",
            "COMMIT PREPARED or ROLLBACK PREPARED each (pg_prepared_xacts), and stop what makes them",
        )


def _elsewhere(side: Side, session: Session, roles: Roles, deadline: Deadline) -> Iterator[Blocker]:
    found = session.execute(_ELSEWHERE, [roles.open()], deadline=deadline)
    if found:
        words = ", ".join(f"{role} in {database}" for role, database in found)
        yield Blocker(
            "fence-databases",
            f"roles that would lose LOGIN on the {side} use other databases of that server: {words}",
            "give the applications of each database a role of its own, or name who is fenced in cutover.fence.roles",
        )
