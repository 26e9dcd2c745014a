"""Time markers from the source to the target on our own clock, and see whether every subscription moves.

The marker is a row of its own (id 2) in our marker table; without that table, the commit of an empty message whose
position the target has to confirm. Markers of a look that are still under way are waited for in the next one.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from comparators.checks.lag import (
    CHECKS,
    MARKER,
    MISSING_SECONDS,
    Markers,
    Pace,
    judge_lag,
    lag_bytes,
    pace,
    stalled_seconds,
)
from comparators.errors import NotPermitted, NotReady, SettingInvalid
from comparators.preflight import Item, completed, unknown
from samplers.catalog import select
from samplers.probes.base import Asked, Reading, Sides
from samplers.probes.flows import read_flows
from samplers.rows import fetch
from samplers.steps import plain

MARKERS_A_LOOK = 10
LOOK_SECONDS = 0.5
POLL_SECONDS = 0.0005
KEPT = 300
ROW = 2
"""Of the marker table; the samplers write row 1."""
# a marker waits for no standby; numbers grow by the clock too, so that a row made anew is ahead of the one it replaces
_WRITE = """WITH s AS (SELECT set_config('synchronous_commit', 'local', true))
INSERT INTO {table} AS m (id, nonce, written_at)
SELECT $1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, clock_timestamp() FROM s
ON CONFLICT (id) DO UPDATE SET nonce = greatest(m.nonce + 1, excluded.nonce), written_at = excluded.written_at
RETURNING nonce"""
_MESSAGE = "SELECT pg_logical_emit_message(true, 'auditor', '') FROM set_config('synchronous_commit', 'local', true)"
_FLUSHED = "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"


@dataclass(frozen=True, slots=True)
class _Sent:
    """A marker under way: its number or position, and the monotonic time at which writing it began."""

    mark: int
    began: float


class Lag:
    """Sends some markers a look; remembers the newest round trips and each subscription's pace."""

    group = "lag"
    every_seconds = 2.0
    looks = 3

    def __init__(self, asked: Asked, clock: Callable[[], float] = time.monotonic) -> None:
        """Args: clock: seconds that only go forward; round trips are taken on it."""
        self._asked, self._clock = asked, clock
        self._table = f"{plain(asked.own_schema)}.marker"
        self._trips: deque[float | None] = deque(maxlen=KEPT)
        self._under_way: _Sent | None = None
        self._by_position = False
        self._paces: dict[str, Pace | None] = {}

    def look(self, sides: Sides, now: float) -> Reading:
        """Send markers for a moment, then look how far each subscription is.

        Raises:
            SideUnavailable, ...: as `comparators.server_errors.wrapped` sorts them.
        """
        trouble = self._markers(sides)
        flows = read_flows(sides, self._asked.subscriptions)
        self._paces = {
            flow.subscription: pace(self._paces.get(flow.subscription), flow, flows.log.flushed, now)
            for flow in flows.flows
        }
        markers = Markers(tuple(self._trips), self._by_position)
        figures: dict[str, float | None] = {
            "marker_p50_ms": markers.percentile(0.5), "marker_p95_ms": markers.percentile(0.95),
            "marker_p99_ms": markers.percentile(0.99), "marker_probes": len(markers.trips),
            "marker_missing": markers.missing, "lag_bytes": lag_bytes(flows),
            "stalled_seconds": stalled_seconds(self._paces),
        }  # fmt: skip
        return Reading(completed(judge_lag(flows, self._paces, markers, trouble), CHECKS), figures)

    def _markers(self, sides: Sides) -> Item | None:
        """Send markers one after the other; give why there are none."""
        try:
            carried = self._carrier(sides)
            if carried is not None:
                return carried
            self._send(sides)
        except NotPermitted as error:
            self._under_way = None
            schema = plain(self._asked.own_schema)
            grant = f"GRANT USAGE ON SCHEMA {schema} and SELECT, INSERT, UPDATE ON {schema}.marker"
            return unknown(MARKER.name, str(error).partition("\n")[0], f"{grant} to the auditor's role on both sides")
        except NotReady as error:
            return unknown(MARKER.name, str(error), "run `auditor teardown` and `auditor prepare`")
        except SettingInvalid as error:  # it takes no writes
            self._under_way = None
            return unknown(MARKER.name, str(error), error.hint)
        return None

    def _carrier(self, sides: Sides) -> Item | None:
        """Choose how markers travel; a table that is not ready yet would only make them look lost."""
        asked = {"schema": self._asked.own_schema, "subscriptions": list(self._asked.subscriptions)}
        rows = {side: select(getattr(sides, side), "marker_carrier", asked) for side in ("source", "target")}
        by_position = not rows["source"] or not rows["target"]
        if by_position != self._by_position:
            self._by_position, self._under_way = by_position, None
            self._trips.clear()
        if by_position:
            return None
        if not all(row[0]["readable"] for row in rows.values()):
            raise NotPermitted("the marker table may not be read", hint="grant it")
        if (state := rows["target"][0]["state"]) != "r":
            self._under_way = None
            said = "no subscription brings the marker table" if state is None else f"its state is {state}"
            return unknown(MARKER.name, said, "run `auditor prepare`, and wait until the initial copy has ended")
        return None

    def _send(self, sides: Sides) -> None:
        ends = self._clock() + LOOK_SECONDS
        for _ in range(MARKERS_A_LOOK):
            if self._under_way is None:
                self._under_way = self._written(sides)
            if not self._awaited(sides, self._under_way, ends):
                return
            self._under_way = None
            if self._clock() >= ends:
                return

    def _awaited(self, sides: Sides, sent: _Sent, ends: float) -> bool:
        """Wait for a marker until the look ends; say whether its time is settled, one way or the other."""
        while not self._arrived(sides, sent.mark):
            now = self._clock()
            if now - sent.began >= MISSING_SECONDS:
                self._trips.append(None)
                return True
            if now >= ends:
                return False
            time.sleep(POLL_SECONDS)
        self._trips.append((self._clock() - sent.began) * 1000)
        return True

    def _written(self, sides: Sides) -> _Sent:
        if self._by_position:
            began = self._clock()
            fetch(sides.source, _MESSAGE)
            return _Sent(int(fetch(sides.source, _FLUSHED)[0][0] or 0), began)
        shown = self._shown(sides)
        began = self._clock()
        rows = fetch(sides.source, _WRITE.format(table=self._table), [str(ROW).encode()])
        mark = int(rows[0][0] or 0) if rows else 0
        if mark <= shown:
            raise NotReady("the target's marker row is ahead of the source's: it did not come from there")
        return _Sent(mark, began)

    def _arrived(self, sides: Sides, mark: int) -> bool:
        if not self._by_position:
            return self._shown(sides) >= mark
        applied = read_flows(sides, self._asked.subscriptions).applied
        return applied is not None and applied >= mark

    def _shown(self, sides: Sides) -> int:
        rows = fetch(sides.target, f"SELECT nonce FROM {self._table} WHERE id = $1", [str(ROW).encode()])
        return int(rows[0][0] or 0) if rows else 0


PROBE = Lag
