"""Measure how fast apply drains a backlog: hold it up for some seconds, let go, and time it.

What holds it up is a lock on our marker table on the target, and a marker written on the source: apply waits at that
marker for as long as our session lives. So nothing has to be undone: whatever becomes of this process or its machine,
the lock goes with the session, or with its time-out. (A subscription that is disabled would stay so after a kill.)
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psycopg

from comparators.errors import NeedsOperator, NotPermitted, NotReady
from samplers.catalog import select
from samplers.connections import connect, failure
from samplers.probes.base import Sides
from samplers.probes.flows import read_flows
from samplers.rows import fetch
from samplers.steps import plain

LONGEST_SHARE = 0.5
"""Of wal_sender_timeout and wal_receiver_timeout: apply that waits for a lock answers nobody."""
MARGIN_SECONDS = 5
POLL_SECONDS = 0.005
WATCH_SECONDS = 0.05
DRAIN_SECONDS = 120.0
LEAST_BYTES = 1 << 20
"""A smaller backlog tells more about latency than about rate."""
ROW = 3
"""Of the marker table; samplers and prober have others."""
_WRITE = """INSERT INTO {table} AS m (id, nonce, written_at) VALUES ($1, 1, clock_timestamp())
ON CONFLICT (id) DO UPDATE SET nonce = m.nonce + 1, written_at = excluded.written_at"""
_SETTING = "SELECT setting FROM pg_settings WHERE name = $1"


@dataclass(frozen=True, slots=True)
class DrainMeasured:
    """What one pause showed."""

    paused_seconds: float
    backlog_bytes: int
    drain_seconds: float

    @property
    def bytes_per_second(self) -> float | None:
        """Give the proven rate; `None` where the source wrote too little to say."""
        return self.backlog_bytes / self.drain_seconds if self.backlog_bytes >= LEAST_BYTES else None


@dataclass(frozen=True, slots=True)
class DrainRequest:
    """What to pause, for how long, and what that may cost."""

    source_conninfo: str
    target_conninfo: str
    subscription: str
    schema: str
    """Of our own objects."""
    seconds: float
    wal_budget_bytes: int
    """Log that the source may hold back for the subscription."""


def drain_test(request: DrainRequest, paused: Callable[[], None] = lambda: None) -> DrainMeasured:
    """Hold up apply for some seconds and time how long it takes to catch up.

    Args:
        paused: called once apply is held up.
    Raises:
        NotPermitted: the role may not lock or write the marker tables.
        NeedsOperator: it would do harm, or cannot work: the error says why. Apply was not held up, or goes on.
        NotReady: apply did not come to the lock, or did not catch up; it goes on by itself.
    """
    with ExitStack() as stack:
        name = "auditor drain test"
        source = stack.enter_context(connect(request.source_conninfo, application_name=name))
        target = stack.enter_context(connect(request.target_conninfo, application_name=name))
        test = _Drain(request, Sides(source, target))
        test.check()
        with _locked(request):
            began, start = test.hold_up()
            paused()
            test.wait(began)
            backlog_end = test.flushed()
            let_go = time.monotonic()
        drained = test.time_until(backlog_end)
        return DrainMeasured(let_go - began, max(backlog_end - start, 0), drained - let_go)


@contextmanager
def _locked(request: DrainRequest) -> Iterator[None]:
    """Hold the lock in a session of its own; the server ends that session when nobody is there any more."""
    table = f"{plain(request.schema)}.marker"
    limit = int((request.seconds + MARGIN_SECONDS) * 1000)
    with connect(request.target_conninfo, application_name="auditor drain test, holds up apply") as connection:
        try:
            connection.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, false)", [str(limit)])
            with connection.transaction():
                connection.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE".encode())
                yield
        except psycopg.Error as error:
            raise failure(error, "hold up apply") from error


class _Drain:
    """One test; every step reads positions anew."""

    def __init__(self, request: DrainRequest, sides: Sides) -> None:
        self._request, self._sides = request, sides
        self._worker: int | None = None

    def check(self) -> None:
        """Refuse what would do harm.

        Raises:
            NeedsOperator: with the reason.
        """
        rows = select(self._sides.target, "drain_subscription", self._named())
        if not rows:
            raise NeedsOperator(
                f"subscription {self._request.subscription} does not bring the marker table",
                hint="name the subscription that does, or run `auditor prepare`",
            )
        (row,) = rows
        if not row["enabled"] or row["worker"] is None:
            raise NeedsOperator("apply does not run, so there is nothing to hold up", hint="enable the subscription")
        if not row["may_lock"]:
            table = f"{plain(self._request.schema)}.marker"
            raise NotPermitted(
                "the role may not lock the marker table on the target", hint=f"GRANT UPDATE, DELETE ON {table}"
            )
        self._worker = row["worker"]
        self._check_time()
        self._check_room()

    def _named(self) -> dict[str, str]:
        return {"subscription": self._request.subscription, "schema": self._request.schema}

    def _check_time(self) -> None:
        for side, setting in (("source", "wal_sender_timeout"), ("target", "wal_receiver_timeout")):
            rows = fetch(getattr(self._sides, side), _SETTING, [setting.encode()])
            seconds = int(rows[0][0] or 0) / 1000
            if seconds and self._request.seconds > seconds * LONGEST_SHARE:
                raise NeedsOperator(
                    f"{setting} of the {side} is {seconds:g} s: apply held up for {self._request.seconds:g} s may be"
                    " taken for dead",
                    hint=f"hold it up for {seconds * LONGEST_SHARE:g} s at most",
                )

    def _check_room(self) -> None:
        """Foretell from a second of the source's log what the pause will hold back."""
        before, began = self.flushed(), time.monotonic()
        time.sleep(1)
        rate = (self.flushed() - before) / (time.monotonic() - began)
        if self._held_back() + rate * self._request.seconds > self._request.wal_budget_bytes / 2:
            raise NeedsOperator(
                f"at {rate / 2**20:.1f} MiB/s the pause would hold back more log than half of the budget",
                hint="hold it up for less time, or at a quieter time",
            )

    def hold_up(self) -> tuple[float, int]:
        """Write the marker that apply waits at; give when it does, and the position applied by then.

        Raises:
            NotReady: it did not come there in time.
        """
        table = f"{plain(self._request.schema)}.marker"
        fetch(self._sides.source, _WRITE.format(table=table), [str(ROW).encode()])
        ends = time.monotonic() + MARGIN_SECONDS
        while not select(self._sides.target, "drain_waiting", self._named()):
            if time.monotonic() > ends:
                raise NotReady(f"apply did not come to the marker within {MARGIN_SECONDS} s; it is not held up")
            time.sleep(POLL_SECONDS)
        return time.monotonic(), self._applied()

    def wait(self, began: float) -> None:
        """Let the backlog grow; end early where that would do harm.

        Raises:
            NeedsOperator: the log held back grew past the budget, or apply did not wait.
        """
        while (left := began + self._request.seconds - time.monotonic()) > 0:
            time.sleep(min(left, WATCH_SECONDS))
            if self._held_back() > self._request.wal_budget_bytes:
                raise NeedsOperator("the log held back grew past its budget", hint="hold apply up for less time")
            waiting = {row["pid"] for row in select(self._sides.target, "drain_waiting", self._named())}
            if self._worker not in waiting:
                raise NeedsOperator(
                    "apply gave up waiting instead of being held up", hint="see lock_timeout of the target"
                )

    def time_until(self, position: int) -> float:
        """Wait until apply has come to a position, and give when.

        Raises:
            NotReady: it has not within two minutes.
        """
        ends = time.monotonic() + DRAIN_SECONDS
        while self._applied() < position:
            if time.monotonic() > ends:
                raise NotReady(f"apply has not caught up within {DRAIN_SECONDS:.0f} s; it goes on by itself")
            time.sleep(POLL_SECONDS)
        return time.monotonic()

    def flushed(self) -> int:
        return int(fetch(self._sides.source, "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")[0][0] or 0)

    def _applied(self) -> int:
        return read_flows(self._sides, (self._request.subscription,)).applied or 0

    def _held_back(self) -> int:
        (flow,) = read_flows(self._sides, (self._request.subscription,)).flows
        slots = {row["slot"]: row for row in select(self._sides.source, "flow_slots")}
        return int(slots[flow.slot]["retained_bytes"] or 0) if flow.slot in slots else 0
