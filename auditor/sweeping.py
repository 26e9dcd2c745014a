"""Sweep every table of the scope, over and over, as fast as the source's load allows."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from auditor.coverage import Coverage
from auditor.crosscheck import CrossCheck
from auditor.evidence import judged_from
from auditor.evidence_key import evidence_key
from auditor.peers import Peers, Standing
from auditor.records import Records, open_records
from auditor.row_findings import RowFindings
from auditor.sealing import Sealer
from auditor.settings import Settings
from auditor.sweep_engine import Engine, Tables
from auditor.sweep_ledger import Job, Ledger
from auditor.sweep_plan import PlanFiles, Stamp
from auditor.threads import Threads
from comparators.errors import AuditorError, NeedsOperator, Retryable, SettingInvalid, StoreUnavailable
from comparators.throttle import LIMITS, UNKNOWN, Load, Throttle, decide

log = logging.getLogger(__name__)

TICK_SECONDS = 0.25
PUBLISH_SECONDS = 1.0
TABLES_SECONDS = 15.0
TABLES_AGAIN_SECONDS = 2.0
IDLE_SECONDS = 0.1
ONCE_ATTEMPTS = 4
"""Failures of a table in a row after which a single sweep gives up on it."""


class Brake:
    """Holds the workers back while the source is busy; the main thread looks, the workers ask."""

    def __init__(self, load: Callable[[], Load | None], limits: Callable[[], Mapping[str, float]]) -> None:
        self._load, self._limits = load, limits
        self.seen: Load | None = None
        self.throttle = Throttle((UNKNOWN,))

    def look(self) -> None:
        """Decide anew."""
        self.seen = self._load()
        before, self.throttle = self.throttle, decide(self.seen, self._limits(), self.throttle, time.monotonic())
        if self.throttle.paused and not before.paused:
            log.info("sweeps wait: %s", "; ".join(self.throttle.reasons), extra={"action": "sweep-paused"})
        if before.paused and not self.throttle.paused:
            log.info("sweeps go on", extra={"action": "sweep-resumed"})

    def passed(self, stop: threading.Event) -> bool:
        """Wait while the source is busy; false when told to stop."""
        while self.throttle.paused and not stop.is_set():
            stop.wait(IDLE_SECONDS)
        return not stop.is_set()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is swept, and for how long."""

    patterns: tuple[str, ...] = ()
    """As of fnmatch, on `schema.table`; none: every table of the scope."""
    once: bool = False

    def selects(self, table: str) -> bool:
        return not self.patterns or any(fnmatchcase(table, one) for one in self.patterns)

    def of(self, tables: Tables) -> Tables:
        """Keep the tables that are wanted.

        Raises:
            SettingInvalid: a pattern names nothing; else a wrong name would look like proof.
        """
        for pattern in self.patterns:
            if not any(fnmatchcase(name, pattern) for name in tables.names):
                raise SettingInvalid(f"--table: {pattern!r} names no table of the scope", hint="auditor tables")
        return Tables(
            {name: pair for name, pair in tables.pairs.items() if self.selects(name)},
            {name: why for name, why in tables.waiting.items() if self.selects(name)},
        )


class Sweeper:
    """Everything that sweeping takes, put together; `run` in the main thread."""

    def __init__(
        self, settings: Settings, records: Records, engine: Engine, load: Callable[[], Load | None],
        wanted: Wanted | None = None,
    ) -> None:  # fmt: skip
        """Put the parts together.

        Raises:
            NeedsOperator: no baseline is recorded.
        """
        self._settings, self._records, self._engine, self._wanted = settings, records, engine, wanted or Wanted()
        self._peers = Peers(records)
        self._peers.refresh()
        if self._peers.baseline() is None:
            raise NeedsOperator("no baseline is recorded for this migration", hint="run `auditor prepare`")
        sealer = Sealer(evidence_key(settings))
        clear = settings.evidence.keys == "clear"
        self._findings = RowFindings(settings.migration, sealer, self._peers, clear_keys=clear)
        self._plans = PlanFiles(settings.open_state_dir(), sealer)
        self.ledger = Ledger(
            records, self._findings, self._peers.below("coverage/"), settings.replication.subscriptions,
            CrossCheck(self._peers), every_seconds=0.0 if self._wanted.once else settings.sweep.every_seconds,
            over=Standing(lambda: open_records(settings)).over,
        )  # fmt: skip
        self._learn_starts()
        self.brake = Brake(load, self._limits)
        self._tables: Tables | None = None
        self._error: str | None = None
        self.failure: AuditorError | None = None
        """Why the tables that were asked for cannot be swept at all."""
        self._wake = threading.Event()
        self._started = time.time()
        self._published = 0.0

    def run(self, threads: Threads, look: Callable[[Mapping[str, Coverage]], None] = lambda lines: None) -> None:
        """Sweep until told to stop, or until each table was swept once where no more is wanted.

        Args:
            look: called several times a second with every table's line.
        """
        threads.start("tables", self._follow_tables)
        for number in range(self._settings.sweep.workers):
            threads.start(f"sweep-{number}", self._work)
        while not threads.stop.is_set():
            self._tick()
            look(self.ledger.coverage())
            if self._wanted.once and self._all_done():
                threads.stop.set()
            threads.stop.wait(TICK_SECONDS)
        self._wake.set()

    # --- the main thread ----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Take in what others say, decide on the load, and say how it is."""
        for key in self._peers.refresh():
            area, _, identity = key.partition("/")
            if key == "baseline":
                self._wake.set()
            if key == "sampler/target":
                self._learn_starts()
            if area == "recheck" and (table := self._findings.table_of(identity)):
                self.ledger.hurry(table)
        self.brake.look()
        if time.monotonic() >= self._published + PUBLISH_SECONDS:
            self._published = time.monotonic()
            self._publish()

    def _learn_starts(self) -> None:
        scope = (self._peers.get("sampler/target") or {}).get("scope")
        self.ledger.judge_from(judged_from(scope))

    def _limits(self) -> Mapping[str, float]:
        said = self._peers.get("sweep/limits") or {}
        return {**LIMITS, **self._settings.sweep.max_load, **said.get("limits", {})}

    def _publish(self) -> None:
        now, throttle, tables = time.time(), self.brake.throttle, self._tables
        state = "paused" if throttle.paused else "running" if self.ledger.busy else "idle"
        try:
            self._records.put(
                {
                    "sweeper": {
                        "at": now, "state": state, "paused_because": "; ".join(throttle.reasons) or None,
                        "load": dict(self.brake.seen) if self.brake.seen else None, "share": throttle.share,
                        "limits": dict(self._limits()), "tables": len(tables.names) if tables else 0,
                        "error": self._error,
                    },
                    "process/sweeper": {
                        "incarnation": f"sweeper-{self._started:.6f}", "pid": os.getpid(),
                        "started_at": self._started, "heartbeat": now, "restarts": 0, "error": self._error,
                    },
                }
            )  # fmt: skip
        except StoreUnavailable as error:
            log.warning("records: %s", error, extra={"action": "publish-failed"})

    def _all_done(self) -> bool:
        if self._tables is None or self.ledger.busy:
            return False
        pairs = [line for name, line in self.ledger.coverage().items() if name not in self.ledger.done]
        return all(
            line.state == "skipped" or line.table in self._tables.waiting
            or self.ledger.failures(line.table) >= ONCE_ATTEMPTS
            for line in pairs
        )  # fmt: skip

    # --- the thread that follows the catalogs -------------------------------------------------------------------

    def _follow_tables(self, stop: threading.Event) -> None:
        """Read which tables there are, now and then and when the baseline changes."""
        while not stop.is_set():
            try:
                self._read_tables()
                self._error = None
            except (Retryable, NeedsOperator) as error:
                if self._tables is None and self._wanted != Wanted():
                    self.failure = error  # somebody asked for these tables and waits for the answer
                    stop.set()
                    return
                self._error = str(error)
                log.warning("tables: %s", error, extra={"action": "tables-unread"})
            self._wake.wait(TABLES_AGAIN_SECONDS if self._error else TABLES_SECONDS)
            self._wake.clear()

    def _read_tables(self) -> None:
        tables = self._wanted.of(self._engine.tables())
        baseline = self._peers.baseline()
        generation = None if baseline is None else int(baseline["generation"])
        self.ledger.offer(tables, generation, all_of_them=not self._wanted.patterns)
        self._tables = tables

    # --- the workers --------------------------------------------------------------------------------------------

    def _work(self, stop: threading.Event) -> None:
        """Sweep one table after the other."""
        while self.brake.passed(stop):
            job = self.ledger.take(self._may_take)
            if job is None:
                stop.wait(IDLE_SECONDS)
                continue
            try:
                self._attempt(job, stop)
            finally:
                self.ledger.give_back(job)
            stop.wait(self._settings.sweep.pause_seconds if not self._wanted.once else 0)

    def _may_take(self, table: str) -> bool:
        if not self._wanted.once:
            return True
        return table not in self.ledger.done and self.ledger.failures(table) < ONCE_ATTEMPTS

    def _attempt(self, job: Job, stop: threading.Event) -> None:
        """Sweep a table; whatever goes wrong is its own trouble and never passes for equal."""
        try:
            self._sweep(job, stop)
        except StoreUnavailable as error:
            log.warning("records: %s", error, extra={"action": "sweep-unrecorded", "table": job.pair.name})
            stop.wait(PUBLISH_SECONDS)
        except Exception as error:
            if stop.is_set():  # our own stop cancels what is under way
                return
            expected = isinstance(error, Retryable | NeedsOperator | OSError)
            said = " ".join(str(error).split()) if expected else f"{type(error).__name__}: see the sweeper's log"
            self._failed(job, said, error, traceback=not expected)

    def _failed(self, job: Job, said: str, error: Exception, *, traceback: bool) -> None:
        try:
            wait = self.ledger.fail(job, said)
        except StoreUnavailable:
            return
        about = {"action": "sweep-failed", "table": job.pair.name, "in_seconds": wait}
        log.warning("a sweep broke off: %s", said, extra=about, exc_info=error if traceback else None)

    def _sweep(self, job: Job, stop: threading.Event) -> None:
        """Sweep a table from where it was broken off, or from its beginning."""
        baseline = self._peers.baseline()
        if baseline is None or baseline["generation"] != job.generation:
            stop.wait(IDLE_SECONDS)  # until the tables are offered under the new one
            return
        with self._engine.opened(job.pair, baseline) as table:
            plan = self._known_plan(job)
            if plan is None:
                plan = table.plan()
                at = self.ledger.begin(job, plan.segments)
                self._plans.save(self._stamp(job, at), plan)
            else:
                self.ledger.resume(job)
            running = self.ledger.of(job).now
            assert running is not None
            sweep = table.sweep(plan, running.segment)
            while self._goes_on(job, stop):
                began = time.monotonic()
                step = sweep.step()
                if step is None:
                    self._finished(job)
                    return
                worked = time.monotonic() - began
                self.ledger.note(job, step, worked)
                stop.wait(self.brake.throttle.rest(worked))

    def _goes_on(self, job: Job, stop: threading.Event) -> bool:
        """Say whether the next piece may be read; where not, the sessions are closed until it may."""
        return not stop.is_set() and not self.brake.throttle.paused and self.ledger.holds(job)

    def _finished(self, job: Job) -> None:
        line = self.ledger.finish(job)
        self._plans.drop(job.pair.name)
        counts = line.last
        about = {
            "action": "swept", "table": line.table, "rows": counts.rows, "different": counts.different,
            "unverified": counts.unverified + counts.hot, "seconds": line.seconds,
        }  # fmt: skip
        log.info("a table is swept", extra=about)

    def _known_plan(self, job: Job) -> Any:
        running = self.ledger.of(job).now
        if running is None:
            return None
        plan = self._plans.load(self._stamp(job, running.started_at))
        return plan if plan is not None and plan.segments == running.segments else None

    def _stamp(self, job: Job, at: float) -> Stamp:
        return Stamp(job.pair.name, job.generation, at, job.signature)
