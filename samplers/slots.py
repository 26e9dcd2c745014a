"""Our replication slots: create one, look at it, drop it, and give it up before it fills the user's disk.

Only slots named as ours are ever touched, and the cluster's settings never (ruling 29).
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors

from comparators.errors import AuditorError, Defect, NeedsOperator, NotReady
from samplers.catalog import select
from samplers.connections import connect, failure

PLUGIN = "pgoutput"
OURS = "auditor_"
_PAUSE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class SlotState:
    """One replication slot as its server shows it; positions are the server's own."""

    name: str
    exists: bool
    active: bool = False
    active_pid: int | None = None
    restart_lsn: int | None = None
    """Position from which WAL is kept for it; `None` once it is lost."""
    confirmed_flush_lsn: int | None = None
    wal_status: str | None = None
    """`reserved`, `extended`, `unreserved` or `lost`."""
    retained_bytes: int = 0
    plugin: str | None = None
    database: str | None = None

    @property
    def usable(self) -> bool:
        """Say whether it can still be read from where it was confirmed."""
        return self.exists and self.wal_status != "lost" and self.confirmed_flush_lsn is not None


@dataclass(frozen=True, slots=True)
class SlotBudget:
    """How much WAL a slot may hold back."""

    side: str
    conninfo: str
    slot: str
    budget_bytes: int


def inspect_slots(connection: psycopg.Connection) -> dict[str, SlotState]:
    """List every slot of the server by name."""
    return {row["name"]: SlotState(exists=True, **row) for row in select(connection, "slots")}


def inspect_slot(connection: psycopg.Connection, name: str) -> SlotState:
    """Look at one slot; one that is not there has `exists` false."""
    return inspect_slots(connection).get(name) or SlotState(name, exists=False)


def create_slot(connection: psycopg.Connection, name: str, deadline_seconds: float) -> int:
    """Create a logical slot for pgoutput unless ours is there, and wait until it can be read.

    Args:
        deadline_seconds: every transaction that has written must end first; wait at most this long for them.
    Returns:
        The position from which it shows commits: of a new one its consistent point, else how far it was confirmed.
    Raises:
        NotReady: transactions were open for too long; they are named.
        NeedsOperator: a slot of that name is not ours, no slot is free, or the settings forbid it.
    """
    _refuse_foreign_name(name)
    found = inspect_slot(connection, name)
    if found.exists:
        return _kept(connection, found)
    try:
        # in a transaction of its own, so that the limits end with it; it waits for other transactions by lock
        with connection.transaction():
            _limit(connection, deadline_seconds)
            created = connection.execute(
                "SELECT (lsn - '0/0')::bigint FROM pg_create_logical_replication_slot(%s, %s)", [name, PLUGIN]
            ).fetchone()
    except psycopg.Error as error:
        raise _creation_failure(connection, name, error, deadline_seconds) from error
    return int(created[0]) if created else 0


def _limit(connection: psycopg.Connection, deadline_seconds: float) -> None:
    milliseconds = str(int(deadline_seconds * 1000))
    connection.execute(
        "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', '0', true)", [milliseconds]
    )


def _refuse_foreign_name(name: str) -> None:
    if not name.startswith(OURS):
        raise Defect(f"slot {name} is not one of ours")


def _kept(connection: psycopg.Connection, found: SlotState) -> int:
    if found.plugin != PLUGIN or found.database != connection.info.dbname:
        raise NeedsOperator(
            f"slot {found.name} exists with plug-in {found.plugin} in database {found.database}",
            hint="choose another name for the migration, or drop that slot",
        )
    if not found.usable:
        raise NeedsOperator(f"slot {found.name} has lost its WAL", hint="run `auditor prepare --new-baseline`")
    return found.confirmed_flush_lsn or 0


def _creation_failure(
    connection: psycopg.Connection, name: str, error: psycopg.Error, deadline_seconds: float
) -> AuditorError:
    doing = f"create slot {name}"
    if isinstance(error, errors.QueryCanceled):
        return NotReady(
            f"{doing}: transactions that have written were open for {deadline_seconds:g} s:"
            f" {_open_writers(connection)}; end them or wait, then run the command again"
        )
    if isinstance(error, errors.ConfigurationLimitExceeded):
        return NeedsOperator(f"{doing}: no replication slot is free", hint="raise max_replication_slots and restart")
    if isinstance(error, errors.DuplicateObject):
        return NotReady(f"{doing}: somebody else is creating it")
    if isinstance(error, errors.ObjectNotInPrerequisiteState):
        return NeedsOperator(
            f"{doing}: {error.diag.message_primary}", hint="set wal_level = logical and restart the server"
        )
    return failure(error, doing)


def _open_writers(connection: psycopg.Connection) -> str:
    writers = select(connection, "open_writers")
    named = [f"prepared transaction {w['prepared']}" if w["pid"] == 0 else f"process {w['pid']}" for w in writers]
    return ", ".join(named) or "none is left now"


def drop_slot(connection: psycopg.Connection, name: str, deadline_seconds: float = 10) -> bool:
    """End whoever reads our slot, and drop it.

    Returns:
        False where it was not there.
    Raises:
        NotReady: it was taken again and again until the deadline.
        NotPermitted: another role reads it, and ours may not end its process.
    """
    _refuse_foreign_name(name)
    deadline = time.monotonic() + deadline_seconds
    while (found := inspect_slot(connection, name)).exists:
        if found.active_pid is not None:
            _terminate(connection, found)
        if _dropped(connection, name):
            return True
        if time.monotonic() > deadline:
            raise NotReady(f"slot {name} is read by process {found.active_pid} again and again; stop that process")
        time.sleep(_PAUSE_SECONDS)
    return False


def _terminate(connection: psycopg.Connection, found: SlotState) -> None:
    try:
        connection.execute("SELECT pg_terminate_backend(%s)", [found.active_pid])
    except psycopg.Error as error:
        raise failure(error, f"end process {found.active_pid}, which reads slot {found.name}") from error


def _dropped(connection: psycopg.Connection, name: str) -> bool:
    try:
        connection.execute("SELECT pg_drop_replication_slot(%s)", [name])
    except (errors.ObjectInUse, errors.UndefinedObject):
        return False
    except psycopg.Error as error:
        raise failure(error, f"drop slot {name}") from error
    return True


def enforce_budget(connection: psycopg.Connection, name: str, budget_bytes: int) -> SlotState | None:
    """Drop our slot where it is what keeps more WAL than it may.

    Returns:
        The slot as it was before it was dropped; `None` where nothing had to be done, also because another
        slot holds older WAL, so that dropping ours would free nothing.
    """
    slots = inspect_slots(connection)
    ours = slots.pop(name, None)
    if ours is None or ours.restart_lsn is None or ours.retained_bytes <= budget_bytes:
        return None
    if any(_holds_more(other, ours.restart_lsn) for other in slots.values()):
        return None
    return ours if drop_slot(connection, name) else None


def _holds_more(other: SlotState, position: int) -> bool:
    """Say whether another slot would keep the WAL anyway; of two dead audits at one position each gives way."""
    if other.restart_lsn is None:
        return False
    return other.restart_lsn < position or (other.restart_lsn == position and not other.name.startswith(OURS))


def enforce_budgets(budgets: Iterable[SlotBudget]) -> list[dict[str, Any]]:
    """Enforce several budgets, each on a connection of its own; a side that cannot be reached waits for the next time.

    Returns:
        What was dropped: side, slot, position (its own, the first that is lost), retained_bytes, budget_bytes.
    """
    dropped = []
    for budget in budgets:
        try:
            with connect(budget.conninfo, application_name="auditor budget") as connection:
                lost = enforce_budget(connection, budget.slot, budget.budget_bytes)
        except AuditorError:
            continue
        if lost is not None:
            dropped.append(
                {"side": budget.side, "slot": lost.name, "position": lost.confirmed_flush_lsn,
                 "retained_bytes": lost.retained_bytes, "budget_bytes": budget.budget_bytes}
            )  # fmt: skip
    return dropped
