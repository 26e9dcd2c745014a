"""What was resolved, counted once: transactions wait here until both sides have passed them."""

import bisect
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from comparators.batches import Batch, Tallies
from comparators.frames import Array


class Counted:
    """Folds resolved transactions of the source into totals, those of one frame together."""

    def __init__(self, tallies: Tallies | None = None, target_done: int = 0) -> None:
        self.tallies = tallies or Tallies()
        self.target_done = target_done
        """Own position of the target through which its transactions were counted."""
        self._uncounted: deque[Batch] = deque()
        self._unjudged: set[int] = set()
        self._mismatches: list[tuple[int, int]] = []
        self._origins: deque[tuple[Array, Array]] = deque()

    def add(self, batch: Batch) -> None:
        """Take in transactions of the source, to be counted when they are resolved."""
        self._uncounted.append(batch)

    def leave_out(self, source: int) -> None:
        """Do not count a transaction that the other side had no reason to show."""
        self._unjudged.add(source)

    def mismatched(self, source: int, changes: int) -> None:
        """Note changes of a transaction that did not match."""
        self._mismatches.append((source, changes))

    def shown_by_target(self, sources: Array, owns: Array) -> None:
        """Note where transactions of the source stand in the target's own log."""
        self._origins.append((sources, owns))

    def count(self, through: int) -> None:
        """Fold everything up to a source position into the totals."""
        self._count_transactions(through)
        self.tallies.mismatched += sum(count for lsn, count in self._mismatches if lsn <= through)
        self._mismatches = [(lsn, count) for lsn, count in self._mismatches if lsn > through]
        self._follow_target(through)

    def skip(self, through: int) -> None:
        """Leave the transactions up to a source position out of the totals."""
        for _ in self._passed(through):
            pass

    def state(self) -> dict[str, Any]:
        """Describe the totals as they are kept over a restart."""
        return {
            "transactions": self.tallies.transactions,
            "changes": self.tallies.changes,
            "mismatched": self.tallies.mismatched,
            "tables": {name: list(counts) for name, counts in self.tallies.tables.items()},
        }

    @classmethod
    def resume(cls, state: Mapping[str, Any], target_done: int) -> "Counted":
        """Begin with totals that were kept."""
        tallies = Tallies(**state)
        tallies.tables = {name: list(counts) for name, counts in state["tables"].items()}
        return cls(tallies, target_done)

    def _follow_target(self, through: int) -> None:
        while self._origins:
            source, own = self._origins[0]
            passed = int(np.searchsorted(source, through, "right"))
            if passed:
                self.target_done = max(self.target_done, int(own[passed - 1]))
            if passed < len(source):
                self._origins[0] = (source[passed:], own[passed:])
                return
            self._origins.popleft()

    def _count_transactions(self, through: int) -> None:
        for batch, first, past_last in self._passed(through):
            judged = [n for n in range(first, past_last) if batch.sources[n] not in self._unjudged]
            if len(judged) == past_last - first:
                self._fold(batch, first, past_last)
                continue
            for number in judged:
                self._fold(batch, number, number + 1)
            self._unjudged.difference_update(batch.sources[first:past_last])

    def _fold(self, batch: Batch, first: int, past_last: int) -> None:
        self.tallies.transactions += past_last - first
        self.tallies.changes += batch.bounds[past_last] - batch.bounds[first]
        self.tallies.add(*batch.rows(first, past_last))

    def _passed(self, through: int) -> Iterator[tuple[Batch, int, int]]:
        """Take the uncounted transactions up to a position, by batches."""
        while self._uncounted:
            batch = self._uncounted[0]
            first = batch.counted
            batch.counted = bisect.bisect_right(batch.sources, through, first)
            if batch.counted > first:
                yield batch, first, batch.counted
            if batch.counted < len(batch.sources):
                return
            self._uncounted.popleft()
