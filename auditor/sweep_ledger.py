"""The sweeper's ledger: every table's line, and the order in which tables are swept.

What is stored comes first and what is remembered after it, so that a failed write leaves both as they were.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from auditor.coverage import Coverage, read_coverage
from auditor.crosscheck import CrossCheck
from auditor.records import Records
from auditor.row_findings import RowFindings, Sweep
from auditor.sweep_engine import Tables
from auditor.sweep_plan import signature
from comparators.errors import NotReady
from comparators.tables import Skipped, TablePair
from samplers.table_sweep import Step

RETRY_SECONDS = (1.0, 5.0, 15.0, 60.0)
"""Pauses after failures of a table in a row."""
AGAIN_SECONDS = 5.0
"""A table whose last sweep keeps the gate closed is swept again so soon: it left rows unverified, or came too early."""
AREA = "coverage/"


@dataclass(frozen=True, slots=True)
class Job:
    """One table that a worker sweeps, as it was when it was taken."""

    pair: TablePair
    generation: int
    signature: str
    subscription: str


class Ledger:
    """Shared by the workers and the main thread."""

    def __init__(
        self, records: Records, findings: RowFindings, known: Mapping[str, Mapping[str, Any]],
        subscriptions: tuple[str, ...], crosscheck: CrossCheck, *, every_seconds: float,
        clock: Callable[[], float] = time.time, over: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        """Prepare to keep the lines.

        Args:
            known: the records under `coverage/`.
            over: whether a cutover's commit has ended the audit; asked right before a difference is recorded.
        """
        self._over = over
        self._records, self._findings, self._subscriptions = records, findings, subscriptions
        self._crosscheck, self._every, self._clock = crosscheck, every_seconds, clock
        self._lock = threading.RLock()
        self._known = {key.removeprefix(AREA): _read(record) for key, record in known.items()}
        self._tables: Tables | None = None
        self._generation: int | None = None
        self._busy: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._retry_at: dict[str, float] = {}
        self._urgent: set[str] = set()
        self._judged_from: dict[str, int] = {}
        self.done: set[str] = set()
        """Tables of which a sweep was completed by this process."""

    # --- the main thread's side ---------------------------------------------------------------------------------

    def offer(self, tables: Tables, generation: int | None, *, all_of_them: bool = True) -> None:
        """Take over which tables there are.

        Args:
            generation: of the baseline that holds; `None`: none does, and nothing is swept.
            all_of_them: tables that are not among them are no longer in the scope.
        Raises:
            StoreUnavailable: offer them again.
        """
        with self._lock:
            self._tables, self._generation = tables, generation
            if generation is None:
                return
            fresh = {name: self._offered(name, tables, generation) for name in sorted(tables.names)}
            changed = {name: one for name, one in fresh.items() if one != self._known.get(name)}
            gone = self._known.keys() - tables.names if all_of_them else set()
            self._put({**changed, **dict.fromkeys(gone)})

    def hurry(self, table: str) -> None:
        """Sweep a table as soon as possible."""
        with self._lock:
            self._urgent.add(table)

    def judge_from(self, starts: Mapping[str, int]) -> None:
        """Note after which source position the logs are compared for each table: sweeps before it do not suffice."""
        with self._lock:
            self._judged_from = dict(starts)

    @property
    def busy(self) -> bool:
        """Say whether any table is being swept."""
        return bool(self._busy)

    def coverage(self) -> dict[str, Coverage]:
        """Give every table's line."""
        with self._lock:
            names = self._tables.names if self._tables else frozenset()
            return {name: one for name in sorted(names) if (one := self._known.get(name)) is not None}

    def failures(self, table: str) -> int:
        """Count the failures of a table in a row."""
        return self._failures[table]

    # --- the workers' side --------------------------------------------------------------------------------------

    def take(self, wanted: Callable[[str], bool] = lambda table: True) -> Job | None:
        """Give the table whose turn it is; `None` where none is due."""
        with self._lock:
            if self._tables is None or self._generation is None:
                return None
            now = self._clock()
            due = [one for name, one in self._tables.pairs.items() if wanted(name) and self._due(name, one, now)]
            pair = min(due, key=lambda pair: self._order(pair.name), default=None)
            if not isinstance(pair, TablePair):
                return None
            self._busy.add(pair.name)
            self._urgent.discard(pair.name)
            return Job(pair, self._generation, signature(pair), self._subscriptions[pair.subscription])

    def holds(self, job: Job) -> bool:
        """Say whether a table is still to be swept as it was when it was taken."""
        with self._lock:
            found = self._tables.pairs.get(job.pair.name) if self._tables else None
            same = isinstance(found, TablePair) and signature(found) == job.signature
            return same and self._generation == job.generation

    def give_back(self, job: Job) -> None:
        """Let others take the table again."""
        with self._lock:
            self._busy.discard(job.pair.name)

    def of(self, job: Job) -> Coverage:
        """Give a table's line under the job's baseline.

        Raises:
            NotReady: another baseline holds by now.
        """
        if self._generation != job.generation:
            raise NotReady("another baseline was made")
        found = self._known.get(job.pair.name)
        if found is None or found.generation != job.generation:
            return Coverage(job.pair.name, job.generation)
        return found

    def begin(self, job: Job, segments: int) -> float:
        """Start a sweep from the first segment.

        Returns:
            When, which names this sweep's plan.
        """
        at = self._clock()
        self._store(self.of(job).described(job.pair).begun(segments, at))
        return at

    def resume(self, job: Job) -> None:
        """Go on with a sweep."""
        self._store(self.of(job).described(job.pair).resumed())

    def note(self, job: Job, step: Step, seconds: float) -> None:
        """Add a step, what it found different, and how long it took.

        Raises:
            NotReady: another baseline holds by now; the step counts for nothing.
        """
        before, found = self.of(job), Counter[str]()
        differences = self._crosscheck.told(
            job.pair.name, job.pair.subscription, _sweep(before), before.record(), step.differences
        )
        if differences and self._over():
            raise NotReady("a cutover's commit has ended this audit")
        for one in differences:
            found[one.kind] += one.count
        line = before.stepped(step, found, seconds)
        if line == before:
            return
        assert line.now is not None
        sweep, kinds = _sweep(line), line.now.kinds
        items = self._findings.found(job.pair, job.subscription, sweep, kinds, differences, self._clock())
        self._store(line, items)
        self._failures.pop(job.pair.name, None)

    def finish(self, job: Job) -> Coverage:
        """Turn the sweep under way into the last complete one.

        Raises:
            NotReady: another baseline holds by now.
        """
        now, running = self._clock(), self.of(job).now
        assert running is not None
        line = self.of(job).finished(now)
        items = self._findings.complete(
            job.pair.name, _sweep(self.of(job)), running.kinds, whole=line.last.whole, now=now
        )
        self._store(line, items)
        self._failures.pop(job.pair.name, None)
        self.done.add(job.pair.name)
        return line

    def fail(self, job: Job, reason: str) -> float:
        """Note that a sweep broke off.

        Returns:
            Seconds until it is tried again.
        """
        name = job.pair.name
        self._failures[name] += 1
        wait = RETRY_SECONDS[min(self._failures[name], len(RETRY_SECONDS)) - 1]
        self._retry_at[name] = self._clock() + wait
        if self._generation == job.generation:
            self._store(self.of(job).described(job.pair).failed(reason))
        return wait

    # --- inside -------------------------------------------------------------------------------------------------

    def _offered(self, name: str, tables: Tables, generation: int) -> Coverage:
        found = self._known.get(name)
        line = found if found is not None and found.generation == generation else Coverage(name, generation)
        pair = tables.pairs.get(name)
        if isinstance(pair, Skipped):
            return line.unreadable("skipped", pair.reason)
        if pair is None:
            return line.unreadable("waiting", tables.waiting[name])
        return line if name in self._busy else line.readable().described(pair)

    def _due(self, name: str, pair: TablePair | Skipped, now: float) -> bool:
        if isinstance(pair, Skipped) or name in self._busy or now < self._retry_at.get(name, 0.0):
            return False
        line = self._known.get(name)
        if name in self._urgent or line is None or line.now is not None or line.finished_at is None:
            return True
        soon = not line.last.whole or (line.last.through or 0) < self._judged_from.get(name, 0)
        return now >= line.finished_at + (min(self._every, AGAIN_SECONDS) if soon else self._every)

    def _order(self, name: str) -> tuple[bool, bool, float, str]:
        """Order by who waits longest, behind those that somebody asks for and those that were broken off."""
        line = self._known.get(name)
        oldest = line.finished_at or 0.0 if line else 0.0
        return name not in self._urgent, line is None or line.now is None, oldest, name

    def _store(self, line: Coverage, items: Mapping[str, dict[str, Any] | None] | None = None) -> None:
        """Store findings first and the line last: a crash between them repeats a step and counts nothing twice."""
        with self._lock:
            self._put({line.table: line}, items or {})

    def _put(
        self, lines: Mapping[str, Coverage | None], items: Mapping[str, dict[str, Any] | None] | None = None
    ) -> None:
        found = dict(items or {})
        self._records.put(found | {AREA + name: line.record() if line else None for name, line in lines.items()})
        self._findings.kept(found)
        for name, line in lines.items():
            if line is None:
                self._known.pop(name, None)
            else:
                self._known[name] = line


def _sweep(line: Coverage) -> Sweep:
    assert line.now is not None
    return Sweep(line.generation, line.now.sweep, line.now.started_at)


def _read(record: Mapping[str, Any]) -> Coverage:
    """Read a line; one that makes no sense counts for nothing, as if its table had never been swept."""
    try:
        return read_coverage(record)
    except (KeyError, TypeError, ValueError):
        return Coverage(str(record.get("table")), -1)
