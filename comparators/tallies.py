"""Which rows were written last, and which most often: kept while a log is read, in bounded memory."""

import heapq
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comparators.segments import Key

FOLLOWERS = "auditor_follow_"
"""How the names of the temporary slots begin by which the log is read for this."""
KEPT = 20_000
"""Rows that are remembered; those that were written longest ago are forgotten first."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a side's log shows of the rows that were written last."""

    keys: Mapping[str, Sequence[Key]]
    """Texts of keys by table, as in `schema.table` of that side."""
    behind: int
    """Changes that were committed behind the position that was asked for."""
    unnamed: int = 0
    """Changes of rows that no key names; they are not among `keys`."""


class Tally:
    """Counts writes by row."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._counts: OrderedDict[tuple[str, Key], int] = OrderedDict()

    def add(self, table: str, key: Key) -> None:
        """Count a write to a row."""
        row = table, key
        self._counts[row] = self._counts.get(row, 0) + 1
        self._counts.move_to_end(row)
        if len(self._counts) > self._kept:
            self._counts.popitem(last=False)

    def chosen(self, last: int, hottest: int) -> dict[str, list[Key]]:
        """Give the keys of the rows written last and of those written most, each once, by table."""
        newest = [row for row, _ in zip(reversed(self._counts), range(last), strict=False)]
        rows = dict.fromkeys(newest + heapq.nlargest(hottest, self._counts, key=self._counts.__getitem__))
        found: dict[str, list[Key]] = {}
        for table, key in rows:
            found.setdefault(table, []).append(key)
        return found
