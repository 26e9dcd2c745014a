"""What is under way on both sides that would stand in the way of a cutover. Our own sessions never count."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from comparators.checks.sessions import (
    Session,
    SideSessions,
    chosen,
    grant,
    hidden,
    hidden_reason,
    named,
    shortened,
)
from comparators.preflight import Check, Item, ItemStatus, found, unknown

CHECKS = (
    Check("activity-prepared", "activity", "no prepared transaction waits to be committed"),
    Check("activity-old-transactions", "activity", "no transaction has been open for long", overridable=True),
    Check("activity-idle-in-transaction", "activity", "no session sits idle in a transaction", overridable=True),
    Check("activity-ddl", "activity", "nobody changes the schema or locks a table whole", overridable=True),
    Check("activity-index-builds", "activity", "no index is being built", overridable=True),
    Check("activity-wraparound-vacuum", "activity", "no vacuum against wraparound runs", overridable=True),
    Check("activity-transaction-ids", "activity", "transaction ids are far from wrapping around", overridable=True),
    Check("activity-session-state", "activity", "who relies on state that a new server does not have"),
)


@dataclass(frozen=True, slots=True)
class ActivityLimits:
    """How long what is under way may take."""

    transaction_seconds: float = 60.0
    """An open transaction older than this would hold up the write pause."""
    idle_warn_seconds: float = 10.0
    idle_seconds: float = 60.0
    warn_ids: int = 1_000_000_000
    """Ids behind of the oldest database."""
    ids: int = 1_600_000_000
    """Where vacuum's failsafe begins; at about 2.1 billion the server refuses to write."""


LIMITS = ActivityLimits()
_MILLION = 1_000_000
_STEPS = ((10, "10 s"), (60, "a minute"), (600, "10 minutes"), (3600, "an hour"), (86400, "a day"))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction that was prepared and is still there."""

    gid: str
    role: str
    seconds: float


@dataclass(frozen=True, slots=True)
class SideActivity:
    """What one side does."""

    sessions: SideSessions
    prepared: tuple[Prepared, ...] = ()
    transactions_behind: int | None = 0
    multixacts_behind: int | None = 0
    """Ids that the server's oldest database is behind; `None`: not known."""


Sides = Mapping[str, SideActivity]


def judge_activity(sides: Sides, limits: ActivityLimits) -> tuple[Item, ...]:
    """Judge what both sides do at one moment.

    Args:
        sides: by name, `source` and `target`.
    """
    return (
        prepared_transactions(sides), old_transactions(sides, limits), idle_in_transaction(sides, limits),
        schema_changes(sides), index_builds(sides), wraparound_vacuums(sides), transaction_ids(sides, limits),
        session_state(sides),
    )  # fmt: skip


def prepared_transactions(sides: Sides) -> Item:
    """Find prepared transactions: what they wrote is neither replicated nor gone."""
    seen = [
        f"{side}: {shortened(one.gid, 200)} (role {one.role}, {_ago(one.seconds)})"
        for side, activity in sides.items() for one in activity.prepared
    ]  # fmt: skip
    return found(
        "activity-prepared", ItemStatus.BLOCKS_CORRECTNESS, seen,
        "prepared transactions hold changes that are neither committed nor rolled back",
        "let their transaction manager finish, or end each with COMMIT PREPARED or ROLLBACK PREPARED",
        "no prepared transaction",
    )  # fmt: skip


def is_old(session: Session, seconds: float) -> bool:
    """Say whether a session's transaction counts as open for long; a plain vacuum holds nothing up."""
    return session.transaction_seconds is not None and session.transaction_seconds > seconds and not session.vacuums


def old_transactions(sides: Sides, limits: ActivityLimits) -> Item:
    """Find transactions that have been open for longer than a write pause could wait."""
    return _sessions_item(
        sides, "activity-old-transactions", ItemStatus.BLOCKS_CAPACITY,
        lambda session: is_old(session, limits.transaction_seconds),
        f"transactions have been open for more than {limits.transaction_seconds:g} s",
        "let them end, or end them with pg_terminate_backend(process); set transaction_timeout or statement_timeout",
        f"no transaction has been open for more than {limits.transaction_seconds:g} s",
        lambda session: f", open {_ago(session.transaction_seconds)}",
    )  # fmt: skip


def is_idle(session: Session, seconds: float) -> bool:
    """Say whether a session has been doing nothing in an open transaction for that long."""
    return session.state.startswith("idle in transaction") and (session.state_seconds or 0.0) > seconds


def idle_in_transaction(sides: Sides, limits: ActivityLimits) -> Item:
    """Find sessions that do nothing in an open transaction."""
    long = any(is_idle(one, limits.idle_seconds) for _, one in chosen(_sessions(sides), lambda session: True))
    over = limits.idle_seconds if long else limits.idle_warn_seconds
    return _sessions_item(
        sides, "activity-idle-in-transaction", ItemStatus.BLOCKS_CAPACITY if long else ItemStatus.WARN,
        lambda session: is_idle(session, over),
        f"sessions have been idle in a transaction for more than {over:g} s",
        "let the application commit or roll back; set idle_in_transaction_session_timeout",
        f"no session has been idle in a transaction for more than {limits.idle_warn_seconds:g} s",
        lambda session: f", idle {_ago(session.state_seconds)}",
    )  # fmt: skip


def schema_changes(sides: Sides) -> Item:
    """Find who changes the schema, or holds a table so that nobody else gets at it."""
    return _sessions_item(
        sides, "activity-ddl", ItemStatus.BLOCKS_CAPACITY,
        lambda session: session.changes_schema or session.locks_table,
        "the schema is being changed, or a table is locked whole",
        "let it finish, and change no schema until the cutover is over; then look at the drift of the schema",
        "nobody changes the schema",
    )  # fmt: skip


def index_builds(sides: Sides) -> Item:
    """Find index builds: until they are done the index is missing or invalid. Every role sees them."""
    seen = [
        f"{side}: {named(session)}" for side, activity in sides.items() for session in activity.sessions.sessions
        if session.builds_index and not session.ours
    ]  # fmt: skip
    return found(
        "activity-index-builds", ItemStatus.BLOCKS_CAPACITY, seen, "indexes are being built",
        "let the build finish; see pg_stat_progress_create_index", "no index is being built",
    )  # fmt: skip


def wraparound_vacuums(sides: Sides) -> Item:
    """Find vacuums that do not give way to locks."""
    item = _unseen(sides, "activity-wraparound-vacuum")
    if item is not None:
        return item
    seen = [
        f"{side}: process {session.pid}" for side, activity in sides.items()
        for session in activity.sessions.sessions if session.prevents_wraparound
    ]  # fmt: skip
    return found(
        "activity-wraparound-vacuum", ItemStatus.WARN, seen,
        "a vacuum against wraparound runs, and gives way to no lock",
        "let it finish before anything that locks its table", "no vacuum against wraparound runs",
    )  # fmt: skip


def transaction_ids(sides: Sides, limits: ActivityLimits) -> Item:
    """Say how far the servers are from refusing to write because ids would wrap around."""
    name = "activity-transaction-ids"
    behind = {
        f"{side}: {what} ids": ids for side, activity in sides.items()
        for what, ids in (("transaction", activity.transactions_behind), ("multixact", activity.multixacts_behind))
    }  # fmt: skip
    known = {what: ids for what, ids in behind.items() if ids is not None}
    if len(known) < len(behind):
        return unknown(name, "how far ids are behind was not seen", "look at age(datfrozenxid) of pg_database")
    worst = max(known.values(), default=0)
    status = ItemStatus.BLOCKS_CAPACITY if worst >= limits.ids else ItemStatus.WARN
    near = [f"{what} {ids // _MILLION} million behind" for what, ids in known.items() if ids >= limits.warn_ids]
    return found(
        name, status, near,
        "a server comes near the point at which it refuses to write", "run VACUUM (FREEZE) in the oldest database",
        f"the oldest database is {worst // _MILLION} million ids behind",
    )  # fmt: skip


def session_state(sides: Sides) -> Item:
    """Find sessions with state that is lost when they are moved to another server."""
    return _sessions_item(
        sides, "activity-session-state", ItemStatus.WARN, lambda session: bool(_state_of(session)),
        "sessions use state that does not move to another server",
        "make sure that the application takes its locks, LISTEN and cursors again after it reconnects",
        "no session was seen with advisory locks, LISTEN or a cursor WITH HOLD",
        lambda session: f": {_state_of(session)}",
    )  # fmt: skip


def _state_of(session: Session) -> str:
    parts = (
        (session.locks_advisory, "advisory lock"),
        (session.listens, "LISTEN"),
        (session.holds_cursor, "cursor WITH HOLD"),
    )  # fmt: skip
    return ", ".join(text for used, text in parts if used)


def figures(sides: Sides) -> dict[str, float | None]:
    """Give what charts and conditions need; `None` where our role may not see it."""
    sessions = _sessions(sides)
    blind = bool(hidden(sessions))
    open_ones = [one for _, one in chosen(sessions, lambda session: is_old(session, -1.0))]
    oldest = max((one.transaction_seconds or 0.0 for one in open_ones), default=0.0)
    behind = [a.transactions_behind for a in sides.values() if a.transactions_behind is not None]
    return {
        "oldest_transaction_seconds": None if blind else oldest,
        "open_transactions": None if blind else len(open_ones),
        "idle_in_transaction": None if blind else sum(is_idle(one, -1.0) for one in open_ones),
        "prepared_transactions": sum(len(activity.prepared) for activity in sides.values()),
        "transaction_ids_behind": max(behind, default=None),
    }


def _sessions_item(
    sides: Sides, name: str, status: ItemStatus, wanted: Callable[[Session], bool], sentence: str, remedy: str,
    fine: str, detail: Callable[[Session], str] = lambda session: "",
) -> Item:  # fmt: skip
    """Look for sessions; offenders that are seen count even where others may be hidden."""
    seen = [f"{side}: {named(one)}{detail(one)}" for side, one in chosen(_sessions(sides), wanted)]
    blind = _unseen(sides, name)
    if blind is None or (seen and status.blocks):
        return found(name, status, seen, sentence, remedy, fine)
    return blind


def _unseen(sides: Sides, name: str) -> Item | None:
    sessions = _sessions(sides)
    return unknown(name, hidden_reason(hidden(sessions)), grant(sessions)) if hidden(sessions) else None


def _sessions(sides: Sides) -> dict[str, SideSessions]:
    return {side: activity.sessions for side, activity in sides.items()}


def _ago(seconds: float | None) -> str:
    """Say in steps for how long, so that what did not change reads the same at the next look."""
    passed = [(limit, text) for limit, text in _STEPS if (seconds or 0.0) >= limit]
    return f"for more than {passed[-1][1]}" if passed else "since a moment ago"
