"""What the exporter remembers from one evaluation to the next: counts, and when something last moved."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from itertools import accumulate

from orchestrator.conditions import Status
from orchestrator.policy import Verdict
from orchestrator.seen import CanarySeen, CoreSeen, Evidence

BOUNDS_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Round what is promised: a second where the sample sees it, and a sweep's length where it does not."""


class Delays:
    """How many delays were at most as long as each bound."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_SECONDS) + 1)
        self.total_seconds = 0.0

    def add(self, seconds: float) -> None:
        self._counts[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.total_seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Give the cumulative counts as Prometheus has them."""
        bounds = [*map(str, BOUNDS_SECONDS), "+Inf"]
        return list(zip(bounds, map(float, accumulate(self._counts)), strict=True))


class Memory:
    """Everything since the gate started."""

    def __init__(self) -> None:
        self.decisions: Counter[str] = Counter({str(status): 0 for status in Status})
        self.last_pass: float | None = None
        self.advanced: dict[int, float] = {}
        """By partition of the core: when its position last moved."""
        self.delays = {"transaction": Delays(), "row": Delays()}
        """By audit: from a planted difference to its finding."""
        self._reached: dict[int, int] = {}
        self._canary: tuple[int | None, int | None] | None = None

    def note(self, verdict: Verdict, evidence: Evidence) -> None:
        """Take one evaluation in."""
        self.decisions[str(verdict.status)] += 1
        if verdict.status is Status.PASS:
            self.last_pass = verdict.evaluated_at
        self._note_cores(evidence.cores, verdict.evaluated_at)
        if evidence.canary is not None:
            self._note_canary(evidence.canary)

    def _note_cores(self, cores: Mapping[int, CoreSeen], now: float) -> None:
        for partition, core in cores.items():
            if core.resolved is not None and self._reached.get(partition) != core.resolved:
                self._reached[partition], self.advanced[partition] = core.resolved, now

    def _note_canary(self, canary: CanarySeen) -> None:
        known, self._canary = self._canary, (canary.generation, canary.n)
        if known in (None, self._canary):  # the first one may be older than this process, and counted by the one before
            return
        for audit, found_ms in (("transaction", canary.transaction_ms), ("row", canary.row_ms)):
            if found_ms is not None:
                self.delays[audit].add(found_ms / 1000)
