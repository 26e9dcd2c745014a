"""Plant a difference now and then and see that both audits find it: the proof that they still can.

Each turn writes the canary's row on the source, waits until it has arrived, changes it on the target as no replication
does, waits for the transaction audit to report that, sweeps the canary table, and heals it by writing it anew.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any

from auditor.peers import Peers
from auditor.records import Records, open_records
from auditor.scoping import load_scope
from auditor.settings import Settings
from comparators.errors import AuditorError, NotReady, Retryable, StoreUnavailable
from comparators.findings import Kind, finding_id
from comparators.sampling import seed_of
from comparators.tables import Skipped, TablePair
from samplers.canary_row import CanaryRow
from samplers.connections import connect
from samplers.pairing import pair_tables, wanted_table
from samplers.passage import Passage
from samplers.rows import Session
from samplers.table_sweep import SweepOptions, TableSweep, make_plan

log = logging.getLogger(__name__)

RECEIPT = "canary/receipt"
INTERVAL_SECONDS = 30.0
AGAIN_SECONDS = 5.0
"""Until the next turn where the last one failed or nothing could be planted."""
ARRIVE_SECONDS = 20.0
FIND_SECONDS = 30.0
POLL_SECONDS = 0.02


class Missed(Retryable):
    """Something was planted, or was to be, and not seen in time."""


@dataclass(frozen=True, slots=True)
class _Bench:
    """What one turn works on."""

    row: CanaryRow
    source: Session
    target: Session
    pair: TablePair
    subscription: str
    passage: Passage


class Canary:
    """Runs in a thread of the sweeper's process."""

    def __init__(self, settings: Settings, records: Records, clock: Callable[[], float] = time.time) -> None:
        """Args: records: takes the receipts; what others say is read through a view of its own."""
        self._settings, self._records, self._clock = settings, records, clock
        self._lost = False
        """The row did not arrive the last time."""

    def run(self, stop: threading.Event) -> None:
        """Take turn after turn until told to stop."""
        while not stop.is_set():
            try:
                with closing(open_records(self._settings)) as store:
                    peers = Peers(store)
                    while not stop.is_set():
                        stop.wait(self._turn(peers, stop))
            except StoreUnavailable as error:
                log.warning("records: %s", error, extra={"action": "canary-unrecorded"})
                stop.wait(AGAIN_SECONDS)

    def _turn(self, peers: Peers, stop: threading.Event) -> float:
        """Take one turn and give the seconds until the next."""
        peers.refresh()
        baseline = peers.baseline()
        if baseline is None or baseline.get("canary") is False:
            return AGAIN_SECONDS
        receipt = self._receipt(peers, stop) | {"at": self._clock(), "generation": int(baseline["generation"])}
        if stop.is_set():
            return 0.0
        self._records.put({RECEIPT: receipt})
        if receipt["error"] is None:
            return INTERVAL_SECONDS
        log.warning("the canary was missed: %s", receipt["error"], extra={"action": "canary-missed"})
        return AGAIN_SECONDS

    def _receipt(self, peers: Peers, stop: threading.Event) -> dict[str, Any]:
        receipt: dict[str, Any] = dict.fromkeys(("n", "planted_at", "transaction_ms", "row_ms", "error"))
        try:
            with self._bench() as bench:
                self._plant_and_look(bench, peers, receipt, stop)
        except StoreUnavailable:
            raise
        except AuditorError as error:
            receipt["error"] = " ".join(str(error).split())
        return receipt

    @contextmanager
    def _bench(self) -> Iterator[_Bench]:
        """Open what a turn needs; the table is looked up anew each time, as any other is."""
        settings, row = self._settings, CanaryRow(self._settings.names.schema)
        scope, catalogs = load_scope(settings)
        table = scope.tables.get(row.table)
        if table is None:
            _, reason = scope.left_out.get(row.table, ("", "it does not exist: run `auditor prepare`"))
            raise NotReady(f"the canary table is not audited: {reason}")
        label = f"auditor canary {settings.migration}"
        with ExitStack() as stack:
            source, source_watch, target, target_watch = (
                stack.enter_context(connect(side.conninfo(), application_name=label))
                for side in (settings.source,) * 2 + (settings.target,) * 2
            )
            pair = pair_tables(source, target, [wanted_table(table, catalogs)])[row.table]
            if isinstance(pair, Skipped):
                raise NotReady(f"the canary table cannot be swept: {pair.reason}")
            subscription = catalogs.subscriptions[table.subscription]
            passage = Passage(source_watch, target_watch, subscription.origin_name, subscription.slot_name)
            yield _Bench(row, source, target, pair, subscription.name, passage)

    def _plant_and_look(
        self, bench: _Bench, peers: Peers, receipt: dict[str, Any], stop: threading.Event
    ) -> None:
        number = receipt["n"] = bench.row.write(bench.source, anew=self._lost)
        self._lost = not _until(lambda: bench.row.arrived(bench.target, number), ARRIVE_SECONDS, stop)
        if self._lost:
            raise Missed(f"replication did not bring the canary's row within {ARRIVE_SECONDS:.0f} s")
        try:
            before = bench.row.plant(bench.target)
            planted = receipt["planted_at"] = self._clock()
            identity = self._find_by_transaction(bench, peers, before, stop)
            receipt["transaction_ms"] = _milliseconds(self._clock() - planted)
            began = self._clock()
            self._find_by_row(bench, stop)
            receipt["row_ms"] = _milliseconds(self._clock() - began)
        finally:
            bench.row.write(bench.source)
        if not stop.is_set():
            self._records.put({f"recheck/{identity}": {"at": self._clock()}})

    def _find_by_transaction(self, bench: _Bench, peers: Peers, before: int, stop: threading.Event) -> str:
        """Wait for the transaction audit's finding, and give its name."""
        name = finding_id(
            self._settings.migration, Kind.FOREIGN_WRITE, bench.row.table, bench.subscription, None, None
        )

        def reported() -> bool:
            peers.refresh()
            return _position(peers.get(f"suspect/{name}")) >= before

        if not _until(reported, FIND_SECONDS, stop):
            raise Missed(f"the transaction audit did not find the planted difference within {FIND_SECONDS:.0f} s")
        return name

    def _find_by_row(self, bench: _Bench, stop: threading.Event) -> None:
        """Sweep the canary table until the planted difference shows, and nothing else does."""
        deadline = time.monotonic() + FIND_SECONDS
        while (seen := self._sweep(bench, stop)) != [("row-different", ("body",))]:
            if stop.is_set() or time.monotonic() > deadline:
                raise Missed(f"the row audit did not find the planted difference, but {seen or 'none'}")

    def _sweep(self, bench: _Bench, stop: threading.Event) -> list[tuple[str, tuple[str, ...]]]:
        # the servers' hash takes a signed number
        options = SweepOptions(seed=seed_of(self._settings.migration) >> 1, wait_seconds=FIND_SECONDS)
        plan = make_plan(bench.source, bench.pair, options)
        sweep = TableSweep(bench.source, bench.target, bench.pair, plan, bench.passage, options)
        seen = []
        while not stop.is_set() and (step := sweep.step()) is not None:
            seen += [(one.kind, one.columns) for one in step.differences]
        return seen


def _until(seen: Callable[[], bool], seconds: float, stop: threading.Event) -> bool:
    deadline = time.monotonic() + seconds
    while not seen():
        if stop.wait(POLL_SECONDS) or time.monotonic() > deadline:
            return False
    return True


def _position(suspect: Mapping[str, Any] | None) -> int:
    return int(suspect["target_position"]) if suspect else -1


def _milliseconds(seconds: float) -> float:
    return round(max(seconds, 0.0) * 1000, 1)
