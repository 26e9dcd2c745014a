"""Tell the records, several times a second, what the threads of a sampler process know."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from auditor.peers import Peers
from auditor.reading import SideState, Watches
from auditor.records import Records
from auditor.scoping import ScopeKeeper
from auditor.settings import Settings
from auditor.shapes import ShapeWatch
from comparators.errors import AuditorError, Retryable
from comparators.positions import Side
from samplers.catalog import Subscription
from samplers.connections import connect
from samplers.progress import DELAY_SPAN, WINDOW_SPAN, percentiles
from samplers.scope import NEVER, AuditedTable, Scope
from samplers.slots import SlotState, inspect_slot

log = logging.getLogger(__name__)

PUBLISH_SECONDS = 0.25
SLOT_SECONDS = 1.0
FAILING_SECONDS = 30.0
"""How long a failure of apply counts; a worker is started again after seconds."""

Items = dict[str, dict[str, Any] | None]


class Publisher:
    """Writes `sampler/*`, `process/sampler-*`, `ready/*` and the gaps that lost slots leave."""

    def __init__(
        self, settings: Settings, records: Records, peers: Peers, states: list[SideState], scope: ScopeKeeper,
        watches: Watches,
    ) -> None:  # fmt: skip
        self._settings, self._records, self._peers, self._states = settings, records, peers, states
        self._scope, self._watches, self._started = scope, watches, time.time()
        self._inserts: deque[tuple[float, int]] = deque(maxlen=64)
        self._apply_errors: dict[str, tuple[int, float]] = {}
        self._shown: dict[str, tuple[frozenset[str], str | None]] = {}
        self._shapes = ShapeWatch(settings.migration, settings.replication.subscriptions, peers.get)

    def run(self, stop: threading.Event) -> None:
        """Publish until told to stop; a store that is away is tried again."""
        next_slots = 0.0
        while not stop.wait(PUBLISH_SECONDS):
            self._peers.refresh()
            if time.monotonic() >= next_slots:
                self._look_at_slots()
                next_slots = time.monotonic() + SLOT_SECONDS
            try:
                self.publish()
            except Retryable as error:
                log.warning("records: %s", error, extra={"action": "publish-failed"})

    def publish(self) -> None:
        """Write everything once.

        Raises:
            StoreUnavailable: nothing is known about what was stored; publish again.
        """
        self._records.put(self._items(time.time()))

    def _look_at_slots(self) -> None:
        names = self._settings.names
        for state in self._states:
            slot = names.source_slot if state.side is Side.SOURCE else names.target_slot
            conninfo = self._settings.side(state.side).conninfo()
            try:
                with connect(conninfo, application_name="auditor slots") as connection:
                    looked = time.time()
                    state.slot, state.slot_at = inspect_slot(connection, slot), looked
            except AuditorError as error:
                state.slot = None  # what was seen earlier says nothing of now: not known, until it is seen again
                log.warning("%s: the slot cannot be seen: %s", state.side, error, extra={"action": "slot-unseen"})

    def _items(self, now: float) -> Items:
        items: Items = {}
        for state in self._states:
            record = self._side_record(state, now)
            if state.side is Side.TARGET:
                items |= self._ready(state) | self._narrowed(now)
                record |= self._target_record(state, now)
                items |= self._shapes.look(self._scope.now(), now)
            items[f"sampler/{state.side}"] = record
            items[f"process/sampler-{state.side}"] = {
                "incarnation": f"{state.side}-{self._started:.6f}", "pid": os.getpid(), "started_at": self._started,
                "heartbeat": now, "restarts": 0, "error": state.error,
            }  # fmt: skip
            items |= self._lost_slot(state, now)
        return items

    def _side_record(self, state: SideState, now: float) -> dict[str, Any]:
        reader, watch = state.reader, self._watches.source if state.side is Side.SOURCE else self._watches.apply
        counts = reader.counts if reader else None
        return {
            "at": now,
            "position": reader.through if reader else 0,
            "wal_insert": watch.wal_insert if watch else 0,
            "slot": slot_record(state.slot, self._settings.wal_budget_bytes),
            "transactions": counts.transactions if counts else 0,
            "sampled": counts.sampled if counts else 0,
            "changes": counts.changes if counts else 0,
            "rate": self._settings.sampling_rate,
            "reading": state.reading,
            "waiting_for": state.waiting_for,
            "error": state.error or self._scope.error or self._watch_error(state.side),
        }

    def _watch_error(self, side: Side) -> str | None:
        """Say what keeps the watches from looking: what they saw before must not pass for now."""
        watches = [self._watches.source] if side is Side.SOURCE else [self._watches.source, self._watches.apply]
        return next((watch.error for watch in watches if watch is not None and watch.error), None)

    def _target_record(self, state: SideState, now: float) -> dict[str, Any]:
        source, apply, nudge, scope = self._watches.source, self._watches.apply, self._watches.nudge, self._scope.now()
        if source is None or apply is None or nudge is None:
            return {}
        catalogs = self._scope.catalogs
        applied = apply.lowest_applied()
        return self._delays(applied, now) | {
            "applied": applied,
            "watermark": apply.lowest_watermark(),
            "lag_bytes": max(source.wal_insert - applied, 0) if source.wal_insert else None,
            "clock_uncertainty_ms": source.uncertainty_ms,
            "nudge": {"on": nudge.on, "xids_per_second": nudge.xids_per_second},
            "subscriptions": [
                subscription_record(one, scope, self._failing(one, now))
                for one in (catalogs.subscriptions if catalogs else ())
            ],
            "unknown_subscriptions": list(catalogs.unknown_subscriptions) if catalogs else [],
            "unpublished": [name for name, (kind, _) in scope.left_out.items() if kind == "skipped"],
            "scope": scope.records(state.judged_from),
            "foreign_transactions": state.reader.counts.foreign if state.reader else 0,
            "errors": [e for e in (source.error, apply.error, apply.forbidden, nudge.error, self._scope.error) if e],
        }

    def _failing(self, subscription: Subscription, now: float) -> bool:
        """Say whether apply has failed since a moment ago."""
        count, at = self._apply_errors.get(subscription.name, (subscription.apply_errors, 0.0))
        if subscription.apply_errors > count:
            at = now
        self._apply_errors[subscription.name] = (subscription.apply_errors, at)
        return now - at < FAILING_SECONDS

    def _narrowed(self, now: float) -> Items:
        """Record a gap for each table whose publication has come to show less: what was left out is gone for good."""
        catalogs, baseline = self._scope.catalogs, self._peers.baseline()
        if catalogs is None or baseline is None:
            return {}
        items: Items = {}
        for table in catalogs.published:
            shown = (table.operations, table.row_filter)
            before = self._shown.setdefault(table.full_name, shown)
            if before == shown:
                continue
            self._shown[table.full_name] = shown
            if before[0] <= shown[0] and before[1] == shown[1]:
                continue
            position = self._watches.source.wal_insert if self._watches.source else 0
            items[f"gap/publication-{baseline['generation']}-{table.full_name}"] = {
                "from": position, "to": None, "at": now, "side": "source", "open": True,
                "reason": f"the publication of {table.full_name} was changed to show less, or other rows",
            }  # fmt: skip
        return items

    def _delays(self, applied: int, now: float) -> dict[str, Any]:
        """Sum up the delays; a window narrower than four times the clocks' uncertainty is not measured."""
        source, apply = self._watches.source, self._watches.apply
        if source is None or apply is None:
            return {}
        self._inserts.append((now, source.wal_insert))
        settled = max((position for at, position in self._inserts if at <= now - 1), default=NEVER)
        lags, counted = apply.delays(now), apply.window(now)
        uncertainty = source.uncertainty_ms
        clear = uncertainty is not None and uncertainty <= self._settings.window_ms / 4
        return {
            "lag_ms": _spread(lags) | {"span_seconds": DELAY_SPAN, "idle": not lags and applied >= settled},
            "delay_ms": _spread(lags),
            "window": {
                "in_window": counted.in_window if clear else 0,
                "measured": counted.measured if clear else 0,
                "unmeasured": counted.unmeasured + (0 if clear else counted.measured),
                "span_seconds": WINDOW_SPAN,
            },
        }

    def _ready(self, state: SideState) -> Items:
        """Note from where each table is judged on either side.

        On the target earlier writes without origin may be its initial copy. On the source earlier transactions may have
        been applied before our publication on the target named the table: nobody saw what they did there.
        """
        baseline, apply = self._peers.baseline(), self._watches.apply
        if baseline is None or apply is None:
            return {}
        generation, fresh, before = baseline["generation"], Items(), dict(state.ready_from)
        tables = self._scope.now().tables  # before the catalogs: theirs is the later position then
        for name in state.ready_from.keys() - tables.keys():
            fresh[f"ready/{name}"] = {"generation": generation, "gone": True}
            del state.ready_from[name], state.judged_from[name]
        for name, table in tables.items():
            seen = self._noted(name, generation)
            if seen is None or seen.get("gone"):
                seen = self._start_of(table, baseline, apply.wal_insert, first=seen is None)
                if not table.ready or not seen["from"]:
                    continue
                fresh[f"ready/{name}"] = seen
            state.ready_from[name], state.judged_from[name] = int(seen["from"]), int(seen.get("source") or 0)
        if state.ready_from != before:
            self._scope.touch()
        return fresh

    def _noted(self, name: str, generation: int) -> Mapping[str, Any] | None:
        """Give what was noted of a table since the baseline that holds."""
        seen = self._peers.get(f"ready/{name}")
        return seen if seen is not None and seen["generation"] == generation else None

    def _start_of(self, table: AuditedTable, baseline: Mapping[str, Any], insert: int, first: bool) -> dict[str, Any]:
        """Choose where a table begins to be judged on either side; 0 on the target while that is not known.

        Args:
            insert: end of the target's log.
            first: it was never in the audit since its baseline.
        """
        if first and (table.control or table.name in baseline["ready_tables"]):
            return {"from": int(baseline["target_start"]), "source": 0, "generation": baseline["generation"]}
        source = self._scope.catalogs.source_insert if self._scope.catalogs else 0
        return {"from": insert, "source": source, "generation": baseline["generation"]}

    def _lost_slot(self, state: SideState, now: float) -> Items:
        """Record the interval that a lost slot leaves unaudited; it stays open until the audit is begun anew."""
        baseline, slot = self._peers.baseline(), state.slot
        if baseline is None or slot is None or (slot.exists and slot.wal_status != "lost"):
            return {}
        if state.slot_at <= baseline["at"]:  # it was looked at before this baseline made its slots
            return {}
        key = f"gap/slot-{state.side}-{baseline['generation']}"
        if self._peers.get(key) is not None:
            return {}
        resolved = [int(value["resolved"]) for value in self._peers.below("progress/").values()]
        return {
            key: {
                "from": min(resolved, default=int(baseline["floor"])), "to": None, "at": now, "side": state.side.value,
                "open": True, "reason": f"slot {slot.name} on the {state.side} is gone",
            }
        }  # fmt: skip


def slot_record(slot: SlotState | None, budget_bytes: int) -> dict[str, Any] | None:
    """Describe a slot of ours as the records hold it; `None` while it was not looked at."""
    if slot is None:
        return None
    return {
        "name": slot.name, "exists": slot.exists, "active": slot.active, "retained_bytes": slot.retained_bytes,
        "budget_bytes": budget_bytes, "wal_status": slot.wal_status,
    }  # fmt: skip


def subscription_record(subscription: Subscription, scope: Scope, failing: bool) -> dict[str, Any]:
    """Describe a subscription as the records hold it.

    Args:
        failing: apply has failed a moment ago; a worker that is started again and again looks alive in between.
    """
    waiting = [table.name for table in scope.tables.values() if not table.ready]
    failed = f"{subscription.apply_errors} apply errors" if subscription.apply_errors else None
    return {
        "name": subscription.name, "enabled": subscription.enabled, "worker": subscription.worker,
        "error": failed if failing or not subscription.worker else None, "tables_not_ready": waiting,
    }  # fmt: skip


def _spread(values: list[float]) -> dict[str, Any]:
    p50, p95, p99 = percentiles(values, 0.5, 0.95, 0.99)
    return {"p50": p50, "p95": p95, "p99": p99, "samples": len(values)}
