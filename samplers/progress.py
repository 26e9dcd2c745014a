"""How far the target has applied, when, and what that says about each transaction: one clock, the auditor's.

Two readings, two threads. `SourceWatch` asks the source for its clock, its insert position and how far the slot of each
subscription was confirmed. `ApplyWatch` polls the target's origin progress, up to a thousand times a second while it
moves, and pairs each reading with a target position: once the target's sampler has decoded through that one, the
progress is the target's watermark (decision 0005).
"""

import bisect
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from comparators.errors import AuditorError, NotPermitted
from samplers.connections import connect
from samplers.rows import Text, fetch, insert_position

_PG_EPOCH = 946_684_800.0
_FAST, _SLOW = 0.001, 0.02
_RING = 60_000
"""Readings kept at least: a minute at full speed."""
DELAY_SPAN, WINDOW_SPAN = 10.0, 60.0


class SourceWatch:
    """What the source says of itself, refreshed several times a second."""

    def __init__(self, conninfo: str, slots: Sequence[str | None], *, application_name: str) -> None:
        """Args: slots: of the subscriptions, in their order; `None` where it is not known."""
        self._conninfo, self._slots, self._name = conninfo, list(slots), application_name
        self.wal_insert = 0
        self.confirmed = [0] * len(slots)
        """Source position below which each subscription has everything durable."""
        self.error: str | None = None
        self._trips: deque[tuple[float, float, float]] = deque(maxlen=300)

    def follow(self, slots: Sequence[str | None]) -> None:
        """Watch these slots from now on, as many as before."""
        if list(slots) != self._slots:
            self.confirmed = [0] * len(slots)
            self._slots = list(slots)

    @property
    def clock_offset(self) -> float | None:
        """Give the source's clock minus ours, seconds; `None` until measured."""
        best = self._best_trip()
        return best[2] if best else None

    @property
    def uncertainty_ms(self) -> float | None:
        """Give half of the shortest round trip of the last half minute, milliseconds."""
        best = self._best_trip()
        return best[1] * 500 if best else None

    def _best_trip(self) -> tuple[float, float, float] | None:
        recent = time.monotonic() - 30
        return min((trip for trip in list(self._trips) if trip[0] >= recent), key=lambda trip: trip[1], default=None)

    def run(self, stop: threading.Event) -> None:
        """Watch until told to stop; a lost connection is opened again."""
        while not stop.is_set():
            try:
                with connect(self._conninfo, application_name=self._name) as connection:
                    self.error = None
                    while not stop.wait(0.1):
                        self._look(connection)
            except AuditorError as error:
                self.error = str(error)
                stop.wait(0.5)

    def _look(self, connection: Any) -> None:
        before = time.time()
        clock, insert = _texts(fetch(connection, _SOURCE_CLOCK)[0])
        after = time.time()
        self._trips.append((time.monotonic(), after - before, float(clock) - (before + after) / 2))
        self.wal_insert = int(insert)
        confirmed = {name: int(position) for name, position in map(_texts, fetch(connection, _SLOTS_CONFIRMED))}
        self.confirmed = [confirmed.get(name, 0) if name else 0 for name in self._slots]


_SOURCE_CLOCK = "SELECT extract(epoch FROM clock_timestamp()), (pg_current_wal_insert_lsn() - '0/0')::bigint"
_SLOTS_CONFIRMED = """SELECT slot_name, (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots
WHERE confirmed_flush_lsn IS NOT NULL"""
# the function in FROM is read whole before the first row is shown: progress is older than the position beside it
_PROGRESS = """SELECT external_id, coalesce((remote_lsn - '0/0')::bigint, 0),
(pg_current_wal_insert_lsn() - '0/0')::bigint FROM pg_show_replication_origin_status()"""


def _texts(row: tuple[Text, ...]) -> list[str]:
    return [(text or b"0").decode() for text in row]


@dataclass(slots=True)
class _Progress:
    """What is known of one subscription."""

    applied: int = 0
    polled_at: list[float] = field(default_factory=list)
    polled: list[int] = field(default_factory=list)
    pairs: deque[tuple[int, int]] = field(default_factory=deque)
    """(target position, source position applied by then), both growing."""
    watermark: int = 0


@dataclass(slots=True)
class Second:
    """Sampled transactions whose log was read within one second, by what is known of their delay."""

    at: int
    in_window: int = 0
    measured: int = 0
    unmeasured: int = 0


class ApplyWatch:
    """How far each subscription's apply has come on the target."""

    def __init__(
        self, conninfo: str, origins: Sequence[str], source: SourceWatch, *, window_ms: float, application_name: str
    ) -> None:
        """Args: window_ms: a transaction applied within it is in the window."""
        self._conninfo, self._origins, self._source, self._name = conninfo, list(origins), source, application_name
        self._known = [_Progress() for _ in origins]
        self._lock = threading.Lock()
        self._window_ms = window_ms
        self._delays: deque[tuple[float, float]] = deque(maxlen=50_000)
        """(when its log was read, delay in milliseconds) of every transaction."""
        self._seconds: deque[Second] = deque([Second(0)], maxlen=int(WINDOW_SPAN))
        self._unseen: deque[tuple[int, int, int, bool]] = deque(maxlen=10_000)
        self._moved = 0.0
        self.forbidden: str | None = None
        """Why origin progress cannot be read."""
        self.wal_insert = 0
        self.error: str | None = None
        self.started = 0.0
        """Start of the target's postmaster: when it changes, progress may have gone back."""

    def follow(self, origins: Sequence[str]) -> None:
        """Watch these origins from now on, as many as before; one that was made anew starts without progress."""
        with self._lock:
            for number, origin in enumerate(origins):
                if origin != self._origins[number]:
                    self._known[number] = _Progress(watermark=self._known[number].watermark)
            self._origins = list(origins)

    def applied(self, subscription: int = 0) -> int:
        """Give the source position through which a subscription has applied, as far as any reading shows."""
        return max(self._known[subscription].applied, self._source.confirmed[subscription])

    def lowest_applied(self) -> int:
        """Give the source position that every subscription has applied."""
        return min(self.applied(number) for number in range(len(self._known)))

    def watermark(self, subscription: int, decoded_through: int) -> int:
        """Give the source position that the target's log is known to hold up to a target position.

        Args:
            decoded_through: target position that the sampler has read.
        """
        known = self._known[subscription]
        with self._lock:
            while known.pairs and known.pairs[0][0] <= decoded_through:
                known.watermark = max(known.watermark, known.pairs.popleft()[1])
        return known.watermark

    def lowest_watermark(self) -> int:
        """Give the source position that the target's log was shown to hold for every subscription."""
        return min(known.watermark for known in self._known)

    def on_applied(self, subscription: int, source_position: int, commit_ts: int, sampled: bool) -> None:
        """Time one transaction by the first reading that shows it applied.

        Args:
            commit_ts: the source's commit time, PostgreSQL microseconds.
        """
        transaction = (subscription, source_position, commit_ts, sampled)
        with self._lock:
            if not self._measure(*transaction):
                self._unseen.append(transaction)  # its log was read before the next reading of the progress

    def _measure(self, subscription: int, source_position: int, commit_ts: int, sampled: bool) -> bool:
        """Look a transaction up among the readings; false when none shows it yet."""
        known, offset = self._known[subscription], self._source.clock_offset
        first = bisect.bisect_left(known.polled, source_position)
        if first == len(known.polled):
            return False
        delay = None
        now = time.time()
        if first and offset is not None:
            committed = commit_ts / 1_000_000 + _PG_EPOCH - offset
            delay = max((known.polled_at[first] - committed) * 1000, 0.0)
            self._delays.append((now, delay))
        if sampled:
            self._count(int(now), delay)
        return True

    def _count(self, second: int, delay: float | None) -> None:
        counts = self._seconds[-1]
        if counts.at != second:
            counts = Second(second)
            self._seconds.append(counts)
        if delay is None:
            counts.unmeasured += 1
        else:
            counts.measured += 1
            counts.in_window += delay <= self._window_ms

    def delays(self, now: float) -> list[float]:
        """List the delays of the last seconds (`DELAY_SPAN`), in milliseconds."""
        found = []
        for at, delay in reversed(self._delays.copy()):
            if at < now - DELAY_SPAN:
                break
            found.append(delay)
        return found

    def window(self, now: float) -> Second:
        """Sum up the sampled transactions of the last minute (`WINDOW_SPAN`)."""
        recent = [one for one in self._seconds.copy() if one.at >= now - WINDOW_SPAN]
        return Second(
            int(now), sum(one.in_window for one in recent), sum(one.measured for one in recent),
            sum(one.unmeasured for one in recent),
        )  # fmt: skip

    def run(self, stop: threading.Event) -> None:
        """Watch until told to stop; a lost connection is opened again."""
        while not stop.is_set():
            try:
                with connect(self._conninfo, application_name=self._name) as connection:
                    self._begin(connection)
                    self._watch(connection, stop)
            except AuditorError as error:
                self.error = str(error)
                stop.wait(0.5)

    def _begin(self, connection: Any) -> None:
        """Forget what an earlier server process said: its progress may not have been durable."""
        started = float(_texts(fetch(connection, "SELECT extract(epoch FROM pg_postmaster_start_time())")[0])[0])
        with self._lock:
            if started != self.started:
                self._known = [_Progress(watermark=known.watermark) for known in self._known]
        self.started, self.error = started, None

    def _watch(self, connection: Any, stop: threading.Event) -> None:
        pause = _FAST
        while not stop.wait(pause):
            pause = _FAST if self._poll(connection) else min(pause * 1.5, _SLOW)

    def _poll(self, connection: Any) -> bool:
        """Read progress and then the target's insert position; say whether it moved within the last minute."""
        confirmed = list(self._source.confirmed)
        found = self._read_progress(connection)
        at = time.time()
        progress = {origin: int(remote) for origin, remote, _ in found}
        insert = max((int(position) for _, _, position in found), default=0)
        if not insert:
            insert = insert_position(connection)
        with self._lock:
            self.wal_insert = insert
            for number, origin in enumerate(self._origins):
                if self._note(self._known[number], progress.get(origin, 0), confirmed[number], at, insert):
                    self._moved = at
            while self._unseen and self._measure(*self._unseen[0]):
                self._unseen.popleft()
        return at - self._moved < WINDOW_SPAN

    def _read_progress(self, connection: Any) -> list[list[str]]:
        """Read the origins; without the right to, the slots' confirmed positions are all there is, only slower."""
        if self.forbidden:
            return []
        try:
            return [_texts(row) for row in fetch(connection, _PROGRESS)]
        except NotPermitted as error:
            self.forbidden = f"{error}; grant EXECUTE ON FUNCTION pg_show_replication_origin_status() on the target"
            return []

    def _note(self, known: _Progress, remote: int, confirmed: int, at: float, insert: int) -> bool:
        moved = remote > known.applied
        if moved or not known.polled:
            known.applied = max(remote, known.applied)
            known.polled.append(remote)
            known.polled_at.append(at)
            if len(known.polled) > 2 * _RING:
                del known.polled[:_RING], known.polled_at[:_RING]
        passed = max(remote, confirmed)
        if not known.pairs or passed > known.pairs[-1][1]:
            known.pairs.append((insert, passed))
        return moved


def percentiles(values: Sequence[float], *shares: float) -> list[float | None]:
    """Give the nearest-rank percentiles; `None` each where there are no values."""
    ordered = sorted(values)
    return [ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else None for share in shares]


class Nudge:
    """Makes the target flush its log often, while somebody waits for an answer."""

    def __init__(
        self, conninfo: str, interval: float, wanted: Callable[[bool], bool], *, application_name: str
    ) -> None:
        """Args: interval: seconds between flushes; wanted: asked before each one, told whether it takes an xid."""
        self._conninfo, self._interval, self._wanted, self._name = conninfo, interval, wanted, application_name
        self.on = False
        self.takes_xids = False
        self._nudges: deque[float] = deque(maxlen=1000)
        self.error: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Nudge until told to stop."""
        while not stop.is_set():
            try:
                with connect(self._conninfo, application_name=self._name) as connection:
                    self.takes_xids = connection.info.server_version < 170000
                    self.error = None
                    self._nudge(connection, stop)
            except AuditorError as error:
                self.error = str(error)
                stop.wait(0.5)

    @property
    def xids_per_second(self) -> float:
        """Give the rate at which this takes transaction ids, over the last two seconds."""
        recent = time.monotonic() - 2
        return sum(at >= recent for at in self._nudges.copy()) / 2 if self.takes_xids else 0.0

    def _nudge(self, connection: Any, stop: threading.Event) -> None:
        if self.takes_xids:
            fetch(connection, "SET synchronous_commit = local")
        flush = (
            "SELECT pg_logical_emit_message(true, 'auditor', '')"
            if self.takes_xids
            else "SELECT pg_logical_emit_message(false, 'auditor', '', true)"
        )
        while not stop.is_set():
            self.on = self._wanted(self.takes_xids)
            if self.on:
                fetch(connection, flush)
                self._nudges.append(time.monotonic())
            stop.wait(self._interval if self.on else 0.1)
