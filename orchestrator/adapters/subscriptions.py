"""Subscriptions and the slots that feed them: look at them, stop and start them, set where they begin, remove them."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from psycopg import sql

from comparators.errors import NeedsOperator, NotPermitted, NotReady
from comparators.positions import format_lsn
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline

PAUSE_SECONDS = 0.005
END_SECONDS = 0.05
"""How long a worker may take to end by itself; before PostgreSQL 16 it would look only once a second."""
ORIGINS = 160000
"""The first version in which a subscription can leave out what came by replication."""

_SUBSCRIPTIONS = """
SELECT s.oid::bigint, s.subname::text, s.subenabled, s.subslotname::text, {origin}, pg_has_role(s.subowner, 'USAGE'),
       ARRAY(SELECT w.pid FROM pg_stat_subscription w WHERE w.subid = s.oid AND w.pid IS NOT NULL)
FROM pg_subscription s
WHERE s.subname = ANY (%s) AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_SLOTS = """
SELECT slot_name::text, active_pid, (confirmed_flush_lsn - '0/0')::bigint,
       pg_wal_lsn_diff(pg_current_wal_insert_lsn(), restart_lsn)::bigint, wal_status, plugin::text
FROM pg_replication_slots WHERE slot_name = ANY (%s)
"""
_ADVANCE = """
SELECT (end_lsn - '0/0')::bigint FROM pg_replication_slot_advance(
    %s, least(pg_current_wal_flush_lsn(), (SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = %s)
                                          + %s::numeric))
"""


@dataclass(frozen=True, slots=True)
class SubscriptionSeen:
    """One subscription as its database shows it."""

    oid: int
    name: str
    enabled: bool
    slot: str | None
    origin: str
    """`any`, or `none`: what came by replication is left out, where the publishing server can."""
    owned: bool
    """By a role that the session may act as."""
    workers: Sequence[int]


@dataclass(frozen=True, slots=True)
class SlotSeen:
    """One slot as its server shows it."""

    name: str
    active_pid: int | None
    confirmed: int | None
    retained_bytes: int | None
    """WAL that is kept for it; `None` once that is lost."""
    wal_status: str | None
    plugin: str | None

    @property
    def usable(self) -> bool:
        return self.confirmed is not None and self.wal_status != "lost"


def subscriptions(session: Session, names: Sequence[str], deadline: Deadline) -> dict[str, SubscriptionSeen]:
    """Look at some subscriptions of the session's database; one that is not there is left out."""
    origin = "s.suborigin" if session.version(deadline) >= ORIGINS else "'any'"
    rows = session.execute(_SUBSCRIPTIONS.format(origin=origin).encode(), [list(names)], deadline=deadline)
    return {row[1]: SubscriptionSeen(*row) for row in rows}


def slots(session: Session, names: Sequence[str], deadline: Deadline) -> dict[str, SlotSeen]:
    """Look at some slots of the session's server; one that is not there is left out."""
    return {row[0]: SlotSeen(*row) for row in session.execute(_SLOTS, [list(names)], deadline=deadline)}


def state_of(seen: dict[str, SubscriptionSeen], names: Sequence[str]) -> str | None:
    """Sum up some subscriptions: `enabled`, `disabled` or `absent`; `None` where they differ."""
    states = {("enabled" if seen[name].enabled else "disabled") if name in seen else "absent" for name in names}
    return states.pop() if len(states) == 1 else None


def disable(session: Session, names: Sequence[str], deadline: Deadline) -> None:
    """Disable subscriptions, and see that no worker of theirs runs any more.

    Raises:
        NeedsOperator: one of them is not there.
    """
    for one in _found(session, names, deadline).values():
        if one.enabled:
            _alter(session, one.name, "DISABLE", deadline)
    asked = time.monotonic() + END_SECONDS
    while running := _workers(session, names, deadline):
        if time.monotonic() > asked:
            _end(session, running, deadline)
        time.sleep(min(PAUSE_SECONDS, deadline.left()))


def enable(session: Session, names: Sequence[str], deadline: Deadline) -> None:
    """Enable subscriptions, and read that back; their workers start in their own time.

    Raises:
        NeedsOperator: one of them is not there.
    """
    for one in _found(session, names, deadline).values():
        if not one.enabled:
            _alter(session, one.name, "ENABLE", deadline)
    if state_of(_found(session, names, deadline), names) != "enabled":
        raise NotReady(f"subscription {', '.join(names)}: somebody disabled it at once")


def start_at(session: Session, subscription: SubscriptionSeen, position: int, deadline: Deadline) -> bool:
    """Let a disabled subscription ask for nothing that was committed before a position of its publisher.

    Returns:
        False where the session's role may not.
    """
    try:
        session.execute(
            "SELECT pg_replication_origin_advance(%s, %s::pg_lsn)",
            [f"pg_{subscription.oid}", format_lsn(position)], deadline=deadline,
        )  # fmt: skip
    except NotPermitted:
        return False
    return True


def advance(session: Session, slot: str, at_most_bytes: int, deadline: Deadline) -> int | None:
    """Move a slot that nobody reads towards the end of the log.

    Returns:
        The position that it confirms now; `None` where it is read, or not there.
    """
    seen = slots(session, [slot], deadline).get(slot)
    if seen is None or seen.active_pid is not None or not seen.usable:
        return None
    return int(session.value(_ADVANCE, [slot, slot, at_most_bytes], deadline=deadline))


def drop_subscription(session: Session, name: str, deadline: Deadline) -> bool:
    """Drop a subscription and leave its slot; false where it is not there."""
    found = subscriptions(session, [name], deadline).get(name)
    if found is None:
        return False
    if found.enabled or found.workers:
        disable(session, [name], deadline)
    if found.slot is not None:
        _alter(session, name, "SET (slot_name = NONE)", deadline)
    session.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(name)), deadline=deadline)
    return True


def drop_slot(session: Session, name: str, deadline: Deadline) -> bool:
    """End whoever reads a slot, and drop it; false where it is not there."""
    dropped = False
    while (seen := slots(session, [name], deadline).get(name)) is not None:
        if seen.active_pid is not None:
            _end(session, [seen.active_pid], deadline)
        with suppress(NotReady):  # its reader has not let go yet
            session.execute("SELECT pg_drop_replication_slot(%s)", [name], deadline=deadline)
            dropped = True
        time.sleep(min(PAUSE_SECONDS, deadline.left()))
    return dropped


def _found(session: Session, names: Sequence[str], deadline: Deadline) -> dict[str, SubscriptionSeen]:
    seen = subscriptions(session, names, deadline)
    if missing := [name for name in names if name not in seen]:
        raise NeedsOperator(
            f"subscription {missing[0]} is not there", hint="find out who dropped it; see its server's log"
        )
    return seen


def _workers(session: Session, names: Sequence[str], deadline: Deadline) -> list[int]:
    return [pid for one in subscriptions(session, names, deadline).values() for pid in one.workers]


def _end(session: Session, pids: Sequence[int], deadline: Deadline) -> None:
    """Ask processes to end; where the role may not, they end by themselves or the deadline tells."""
    with suppress(NotPermitted):
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [list(pids)], deadline=deadline
        )


def _alter(session: Session, name: str, what: str, deadline: Deadline) -> None:
    statement = sql.SQL("ALTER SUBSCRIPTION {} " + what).format(sql.Identifier(name))
    session.execute(statement, deadline=deadline)
