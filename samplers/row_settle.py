"""Look again at rows whose digests differ: on the source, on the target once it has applied that, on the source again.

A row is equal once it was seen equal, different only after rounds that agree while the source stood still, and hot when
it never stood still. `samplers.settle` does the same for the transaction audit, which holds texts instead of digests.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from comparators.digest_sql import column_hashes, rows_by_key
from comparators.segments import Key, arrays
from comparators.tables import SideTable, TablePair
from samplers.commits import logged, visible
from samplers.passage import Passing
from samplers.rows import Session, Text, fetch

BATCH = 500
NAMED = 2000
"""Rows whose columns are looked up; of more the columns are not told."""
ROUNDS = 2
"""Agreeing rounds before a row is called different."""
FIRST_PAUSE, LONGEST_PAUSE = 0.01, 0.5


class Found(StrEnum):
    """What became of one row."""

    EQUAL = "equal"
    DIFFERENT = "different"
    HOT = "hot"
    UNKNOWN = "unknown"
    """The target did not come so far."""
    UNSEEN = "unseen"
    """A server has logged a commit that it does not show yet."""


class Version(NamedTuple):
    """One row as it stood."""

    place: Text
    xmin: Text
    hash: Text


Versions = tuple[Version, ...]


@dataclass(slots=True)
class Settled:
    """One key after all looks at it."""

    key: Key
    found: Found = Found.HOT
    source: Versions = ()
    target: Versions = ()
    position: int = 0
    """Source position read after the source's row; the target had applied it."""
    columns: tuple[str, ...] = ()
    agreeing: int = 0
    still_since: float = field(default=0.0)

    @property
    def kind(self) -> str:
        if self.source and self.target:
            return "row-different"
        return "row-missing" if self.source else "row-extra"


@dataclass(frozen=True, slots=True)
class Looks:
    """Both sides of one table, ready to be read by key."""

    source: Session
    target: Session
    pair: TablePair
    passage: Passing
    seed: int
    wait_seconds: float
    settle_seconds: float

    def settle(self, keys: Iterable[Key]) -> list[Settled]:
        """Look at rows until each is equal, different, or was hot for the whole time.

        Raises:
            SideUnavailable, StatementCancelled: nothing is known of the rest.
        """
        rows = open_rows = [Settled(key) for key in keys]
        rounds, pause, deadline, last = 0, FIRST_PAUSE, math.inf, False
        while open_rows and not last:
            # the last look comes after the deadline: rows that stood still while we were held up are not hot
            last = rounds >= ROUNDS and time.monotonic() >= deadline
            open_rows = [row for batch in batches(open_rows) for row in self._round(batch)]
            rounds += 1
            if rounds == 1:
                deadline = time.monotonic() + self.settle_seconds * (1 if self.passage.anchored else 2)
            if open_rows and not self.passage.anchored:
                time.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE, max(self.settle_seconds / 2, FIRST_PAUSE))
        _tell_once(rows)
        different = [row for row in rows if row.found is Found.DIFFERENT and row.kind == "row-different"]
        for batch in batches(different[:NAMED]):
            self._name_columns(batch)
        return rows

    def _round(self, rows: Sequence[Settled]) -> list[Settled]:
        keys = [row.key for row in rows]
        before = self._read(self.source, self.pair.source, keys)
        position = logged(self.source) if self.passage.anchored else 0
        if not self.passage.wait(position, self.wait_seconds):
            for row in rows:
                row.found = Found.UNKNOWN
            return []
        # only a row that has differed already may now be called different
        seen = not any(row.agreeing for row in rows) or self.commits_seen()
        there = self._read(self.target, self.pair.target, keys)
        after = self._read(self.source, self.pair.source, keys)
        for number, row in enumerate(rows):
            row.position = position
            self._judge(row, before.get(number, ()), there.get(number, ()), after.get(number, ()))
            if row.found is Found.DIFFERENT and not seen:
                row.found = Found.UNSEEN
        return [row for row in rows if row.found is Found.HOT]

    def commits_seen(self) -> bool:
        """Wait until both servers show what they have logged; false when they did not in time."""
        return all(visible(session, self.settle_seconds) for session in (self.source, self.target))

    def _judge(self, row: Settled, before: Versions, there: Versions, after: Versions) -> None:
        unmoved = before == after == row.source and there == row.target and row.agreeing > 0
        row.source, row.target = after, there
        if _hashes(there) in (_hashes(before), _hashes(after)):
            row.found = Found.EQUAL
        elif before != after:
            row.agreeing = 0
        else:
            now = time.monotonic()
            row.agreeing = row.agreeing + 1 if unmoved or self.passage.anchored else 1
            row.still_since = row.still_since if row.agreeing > 1 else now
            # without a position only time tells what is late from what is lost
            long_enough = self.passage.anchored or now - row.still_since >= self.settle_seconds
            if row.agreeing >= ROUNDS and long_enough:
                row.found = Found.DIFFERENT

    def _read(self, session: Session, table: SideTable, keys: Sequence[Key]) -> dict[int, Versions]:
        statement = rows_by_key(table, self.seed, self.pair.sha)
        found: dict[int, Versions] = {}
        for number, place, xmin, digest in fetch(session, statement, arrays(keys)):
            rows = (*found.get(int(number or 0) - 1, ()), Version(place, xmin, digest))
            found[int(number or 0) - 1] = tuple(sorted(rows))
        return found

    def _name_columns(self, rows: Sequence[Settled]) -> None:
        """Find the columns that differ by their hashes: no value leaves its server."""
        keys = [row.key for row in rows]
        sides = [
            self._columns(session, table, keys)
            for session, table in ((self.source, self.pair.source), (self.target, self.pair.target))
        ]
        names = [column.name for column in self.pair.source.columns]
        for number, row in enumerate(rows):
            left, right = (side.get(number, ()) for side in sides)
            row.columns = tuple(name for name, a, b in zip(names, left, right, strict=False) if a != b)

    def _columns(self, session: Session, table: SideTable, keys: Sequence[Key]) -> Mapping[int, tuple[Text, ...]]:
        statement = column_hashes(table, self.seed, self.pair.sha)
        return {int(row[0] or 0) - 1: row[1:] for row in fetch(session, statement, arrays(keys))}


def _tell_once(rows: Iterable[Settled]) -> None:
    """Leave one of those keys that are equal but not the same text, as 1.0 and 1.00 are: they name the same rows."""
    told: set[tuple[Versions, Versions]] = set()
    for row in rows:
        if row.found is Found.DIFFERENT and row.source and row.target:
            if (row.source, row.target) in told:
                row.found = Found.EQUAL
            told.add((row.source, row.target))


def _hashes(versions: Versions) -> list[bytes]:
    return sorted(version.hash or b"" for version in versions)


def batches(rows: Sequence[Settled]) -> Iterator[Sequence[Settled]]:
    """Cut rows into lists that one statement takes."""
    for first in range(0, len(rows), BATCH):
        yield rows[first : first + BATCH]


Counts = Mapping[int, int]
"""Row hash to how many rows have it."""


def settle_counts(
    read: Callable[[], tuple[Counts, Counts, Counts] | None], deadline: float
) -> tuple[dict[int, int], set[int]] | None:
    """Look again at rows that have no key, by how many have the same hash.

    Args:
        read: counts on the source, on the target after it applied that, and on the source again; `None` when the target
            did not come so far in time.
        deadline: on the monotonic clock; what still moves then is hot.
    Returns:
        For each hash that differs how many more rows the source has, and the hashes that never stood still; `None` when
        nothing can be said.
    """
    agreeing: dict[int, tuple[int, int]] = {}
    equal: set[int] = set()
    rounds = 0
    while (counts := read()) is not None:
        before, there, after = counts
        hashes = {*before, *there, *after} - equal
        equal |= {one for one in hashes if before.get(one, 0) == there.get(one, 0) == after.get(one, 0)}
        if rounds:
            equal |= _moved(hashes - equal - agreeing.keys(), before, there, after)
        lacking = {
            one: after.get(one, 0) - there.get(one, 0)
            for one in hashes - equal if before.get(one, 0) == after.get(one, 0)
        }  # fmt: skip
        agreeing = {one: (_agreeing(agreeing.get(one), more), more) for one, more in lacking.items()}
        settled = {one: more for one, (times, more) in agreeing.items() if times >= ROUNDS}
        rounds += 1
        if hashes - equal == settled.keys() or (rounds > ROUNDS and time.monotonic() > deadline):
            # what was not seen alike often enough is not known, however long the looks took
            return settled, hashes - equal - settled.keys()
    return None


def _moved(hashes: set[int], before: Counts, there: Counts, after: Counts) -> set[int]:
    """Find the hashes by which rows came and went on the source while the target was as it was before or after.

    A row that the target lacks changes its hash at each update, and none of them is there: so all of them together
    must be as many as on the source.
    """
    ours, theirs, later = (sum(counts.get(one, 0) for one in hashes) for counts in (before, there, after))
    if not min(ours, later) <= theirs <= max(ours, later):
        return set()
    return {one for one in hashes if there.get(one, 0) in (before.get(one, 0), after.get(one, 0))}


def _agreeing(before: tuple[int, int] | None, more: int) -> int:
    """Count the rounds in a row that found as many rows more."""
    return before[0] + 1 if before is not None and before[1] == more else 1
