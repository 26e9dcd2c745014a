"""Which rows differ in a range or a bucket whose digests do not agree, and how sure that is."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from comparators.digest_sql import buckets_digest, key_after, list_buckets, list_ranges, list_rows, narrow_ranges
from comparators.segments import Key, Range, bound_arrays
from comparators.tables import SideTable, TablePair
from samplers.anchors import flush_position
from samplers.commits import logged
from samplers.passage import Passing
from samplers.question import Question
from samplers.row_settle import ROUNDS, Found, Looks, Settled, settle_counts
from samplers.rows import Session, Text, fetch

LISTED = 1000
"""Differences told one by one, of each kind and step; the rest is counted."""
BUCKET_ROWS = 2000
MOST_BUCKETS = 4096
PART_ROWS = 50_000
"""A range of more rows is listed in parts."""
GROUP = 250
"""Ranges that are looked at in one statement."""
LATE = "the target did not apply what the source shows within the time allowed"
TOO_FAST = "rows changed faster than they could be looked at"
UNSEEN = "a commit that is in a server's log could not be seen within the time allowed"


_Digests = dict[int, tuple[int, Text]]
"""Bucket to count and digest."""


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One row that is not the same on both sides."""

    kind: str
    """`row-different`, `row-missing` (on the target), `row-extra` (on the target)."""
    key: Key
    """Texts of its key; the hash of the row where there is no key; empty for a rest that is only counted."""
    columns: tuple[str, ...] = ()
    source_hash: int | None = None
    target_hash: int | None = None
    source_position: int = 0
    target_position: int | None = None
    xmin: str | None = None
    """Transaction that wrote the source's row, or where there is none the target's."""
    count: int = 1


class Place(NamedTuple):
    """A range whose digests do not agree."""

    range: Range
    rows: int
    """On the side that has more."""


@dataclass(slots=True)
class Drilled:
    """What was found in places that did not agree."""

    rows: int = 0
    """On the source."""
    different: int = 0
    different_here: int = 0
    """Of them on the source."""
    hot: int = 0
    unverified: int = 0
    reason: str | None = None
    differences: list[RowDifference] = field(default_factory=list)
    _told: Counter[str] = field(default_factory=Counter)
    _rest: dict[str, RowDifference] = field(default_factory=dict)

    def add(self, difference: RowDifference) -> None:
        """Take in a difference; beyond `LISTED` of a kind it is only counted."""
        kind = difference.kind
        self.different += difference.count
        self.different_here += difference.count if kind != "row-extra" else 0
        self._told[kind] += 1
        if self._told[kind] <= LISTED:
            self.differences.append(difference)
            return
        before = self._rest.get(kind)
        count = difference.count + (before.count if before else 0)
        self._rest[kind] = RowDifference(kind, (), source_position=difference.source_position, count=count)

    @property
    def told(self) -> tuple[RowDifference, ...]:
        """Give the differences told one by one, and after them what was only counted."""
        return (*self.differences, *self._rest.values())

    def count(self, row: Settled) -> None:
        """Take in what became of one row."""
        here = len(row.source)
        if row.found is Found.DIFFERENT:
            self.add(_difference(row))
        elif row.found is Found.HOT:
            self.hot += max(here, 1)
            self.reason = TOO_FAST
        elif row.found in (Found.UNKNOWN, Found.UNSEEN):
            self.unverified += max(here, 1)
            self.reason = LATE if row.found is Found.UNKNOWN else UNSEEN

    def leave(self, rows: int, reason: str) -> None:
        """Count rows of which nothing is known; where the source has none, the target may have some."""
        self.rows += rows
        self.unverified += max(rows, 1)
        self.reason = reason


class Drill:
    """Lists the rows of both sides by key and hash, and settles those that differ."""

    def __init__(
        self, source: Session, target: Session, pair: TablePair, passage: Passing,
        seed: int, wait_seconds: float, settle_seconds: float,
    ) -> None:  # fmt: skip
        self._source, self._target, self._pair, self._passage = source, target, pair, passage
        self._seed, self._wait, self._settle_seconds = seed, wait_seconds, settle_seconds
        self._looks = Looks(source, target, pair, passage, seed, wait_seconds, settle_seconds)

    # --- ranges -------------------------------------------------------------------------------------------------

    def suspects(self, ranges: Sequence[Place], found: Drilled) -> list[Key]:
        """List the keys whose rows do not agree in some ranges; the target is waited for once for many of them."""
        small = [place for place in ranges if place.rows <= PART_ROWS]
        inner = [place.range for place in small if place.range.ends == (True, True)]
        keys: list[Key] = []
        for first in range(0, len(inner), GROUP):
            keys += self._narrowed(inner[first : first + GROUP], found)
        for place in small:
            if place.range.ends != (True, True):
                keys += self._listed(place.range, found)
        for place in ranges:
            if place.rows > PART_ROWS:
                for part in self._parts(place.range):
                    keys += self._listed(part, found)
        return keys

    def _parts(self, whole: Range) -> Iterator[Range]:
        """Cut a range so that neither side has too many rows in a part."""
        while (middle := self._part(whole)) is not None:
            yield Range(whole.low, middle)
            whole = Range(middle, whole.high)
        yield whole

    def _part(self, whole: Range) -> Key | None:
        for session, table in ((self._source, self._pair.source), (self._target, self._pair.target)):
            row = fetch(session, key_after(table, whole.ends, PART_ROWS), whole.parameters)
            if row:
                return row[0]
        return None

    def _narrowed(self, ranges: Sequence[Range], found: Drilled) -> list[Key]:
        """Have both servers tell in which part of each range they differ, and list only that."""
        seed, sha, bounds = self._seed, self._pair.sha, bound_arrays(ranges)
        told = self._both(lambda table: narrow_ranges(table, seed, sha), bounds)
        if told is None:
            return self._left(ranges, found)
        here, there = ({row[:2]: row[2:] for row in rows} for rows in told)
        rows = sum(int(counts[0] or 0) for counts in here.values())
        unequal = [key for key in here.keys() | there.keys() if here.get(key) != there.get(key)]
        found.rows += rows
        if not unequal:
            return []
        parts: dict[int, int] = {}
        for number, part in unequal:
            parts[int(number or 0) - 1] = parts.get(int(number or 0) - 1, 0) | 1 << int(part or 0)
        chosen = bound_arrays([ranges[number] for number in parts])
        listed = self._both(lambda table: list_ranges(table, seed, sha), [*chosen, _bits(parts.values())])
        if listed is None:
            found.rows -= rows
            return self._left(ranges, found)
        return _unequal(*([row[1:] for row in side] for side in listed))

    def _listed(self, part: Range, found: Drilled) -> list[Key]:
        """List every row of a range."""
        seed, sha = self._seed, self._pair.sha
        listed = self._both(lambda table: list_rows(table, part.ends, seed, sha), part.parameters)
        if listed is None:
            return self._left([part], found)
        found.rows += len(listed[0])
        return _unequal(*listed)

    def _left(self, ranges: Sequence[Range], found: Drilled) -> list[Key]:
        """Leave ranges unverified, counting the source's rows."""
        for part in ranges:
            statement = list_rows(self._pair.source, part.ends, self._seed, self._pair.sha)
            found.leave(len(fetch(self._source, statement, part.parameters)), LATE)
        return []

    def _both(
        self, statement: Callable[[SideTable], str], parameters: Sequence[Text]
    ) -> tuple[list[tuple[Text, ...]], list[tuple[Text, ...]]] | None:
        """Ask both servers at the same time, the target once it has applied what the source's log shows.

        Returns:
            Both answers; `None` when the target did not come so far in time.
        """
        position = flush_position(self._source) if self._passage.anchored else 0
        if not self._passage.wait(position, self._wait):
            return None
        asked = Question(self._source, statement(self._pair.source), parameters)
        try:
            there = fetch(self._target, statement(self._pair.target), parameters)
        except BaseException:
            asked.abandon()
            raise
        return asked.answer(), there

    def settle(self, keys: Iterable[Key]) -> dict[Key, Settled]:
        """Look at rows until each is equal, different, or was hot all the time."""
        return {row.key: row for row in self._looks.settle(sorted(keys, key=repr))}

    def position(self) -> int:
        """Read a source position that the target can reach, behind every commit that can be seen now."""
        return logged(self._source) if self._passage.anchored else 0

    # --- buckets ------------------------------------------------------------------------------------------------

    def buckets(self, estimate: int, found: Drilled) -> int:
        """Compare a whole table by buckets.

        Args:
            estimate: of the table's rows.
        Returns:
            Rows of the source in buckets that agree at once.
        """
        mask = _mask(estimate)
        told = self._both(lambda table: buckets_digest(table, mask, self._seed, self._pair.sha), [])
        if told is None:
            found.leave(estimate, LATE)
            return 0
        here, there = (_buckets(rows) for rows in told)
        unequal = sorted(number for number in here.keys() | there.keys() if here.get(number) != there.get(number))
        equal_rows = sum(rows for number, (rows, _) in here.items() if here[number] == there.get(number))
        if unequal and self._pair.source.key:
            self._keyed_buckets(unequal, mask, found)
        elif unequal:
            self._keyless_buckets(unequal, mask, found)
        return equal_rows

    def _keyed_buckets(self, unequal: list[int], mask: int, found: Drilled) -> None:
        listed = self._both(lambda table: list_buckets(table, unequal, mask, self._seed, self._pair.sha), [])
        if listed is None:
            rows = self._list_buckets(self._source, self._pair.source, unequal, mask)
            found.leave(len(rows), LATE)
            return
        found.rows += len(listed[0])
        for row in self.settle(_unequal(*listed)).values():
            found.count(row)

    def _list_buckets(
        self, session: Session, table: SideTable, numbers: list[int], mask: int
    ) -> list[tuple[Text, ...]]:
        return fetch(session, list_buckets(table, numbers, mask, self._seed, self._pair.sha))

    def _keyless_buckets(self, unequal: list[int], mask: int, found: Drilled) -> None:
        """Compare rows that nothing names by how many have the same hash."""
        looks = _KeylessLooks(self, unequal, mask)
        settled = settle_counts(looks.read, time.monotonic() + self._settle_seconds)
        if settled is None:
            found.leave(sum(looks.source.values()), looks.why)
            return
        lacking, moving = settled
        found.rows += sum(looks.source.values())
        if moving:
            found.hot += max(sum(looks.source.get(one, 0) for one in moving), 1)
            found.reason = TOO_FAST
        for digest, more in sorted(lacking.items()):
            if more:
                found.add(_keyless_difference(digest, more, looks.position))

    def on_source(self, buckets: list[int], mask: int) -> Mapping[int, int]:
        """Count the source's rows of some buckets by their hash."""
        return _counted(self._list_buckets(self._source, self._pair.source, buckets, mask))

    def on_target(self, buckets: list[int], mask: int) -> Mapping[int, int]:
        """Count the target's rows of some buckets by their hash."""
        return _counted(self._list_buckets(self._target, self._pair.target, buckets, mask))

    def let_pass(self, position: int) -> str | None:
        """Wait until the target shows what the source's log held; else say why it does not."""
        if not self._passage.anchored:
            time.sleep(self._settle_seconds / ROUNDS)  # only time tells what is late from what is lost
        if not self._passage.wait(position, self._wait):
            return LATE
        return None if self._looks.commits_seen() else UNSEEN


class _KeylessLooks:
    """Looks at some buckets of a table without a key, one after the other."""

    def __init__(self, drill: Drill, buckets: list[int], mask: int) -> None:
        self._drill, self._buckets, self._mask = drill, buckets, mask
        self.source: Mapping[int, int] = {}
        """Rows of the source by their hash, as seen last."""
        self.position = 0
        self.why = LATE

    def read(self) -> tuple[Mapping[int, int], Mapping[int, int], Mapping[int, int]] | None:
        """Count on the source, on the target, and on the source again; `None` and `why` when the target cannot tell."""
        before = self.source = self._drill.on_source(self._buckets, self._mask)
        self.position = self._drill.position()
        why = self._drill.let_pass(self.position)
        if why is not None:
            self.why = why
            return None
        there = self._drill.on_target(self._buckets, self._mask)
        self.source = self._drill.on_source(self._buckets, self._mask)
        return before, there, self.source


def _difference(row: Settled) -> RowDifference:
    here, there = row.source, row.target
    writer = (here or there)[0].xmin
    return RowDifference(
        row.kind, row.key, row.columns,
        int(here[0].hash or 0) if here else None, int(there[0].hash or 0) if there else None,
        source_position=row.position, xmin=writer.decode() if writer else None,
    )  # fmt: skip


def _keyless_difference(digest: int, more: int, position: int) -> RowDifference:
    kind = "row-missing" if more > 0 else "row-extra"
    here, there = (digest, None) if more > 0 else (None, digest)
    return RowDifference(kind, (str(digest).encode(),), (), here, there, position, count=abs(more))


def _unequal(here: Sequence[tuple[Text, ...]], there: Sequence[tuple[Text, ...]]) -> list[Key]:
    """Compare listed rows: keys under which one side has a row, or a hash, that the other has not."""
    ours, theirs = Counter(here), Counter(there)
    return list({row[:-1]: None for row in [*(ours - theirs), *(theirs - ours)]})


def _bits(masks: Iterable[int]) -> bytes:
    """Write sets of 64 bits as an array of signed numbers."""
    return b"{" + b",".join(b"%d" % (mask - (1 << 64) if mask >> 63 else mask) for mask in masks) + b"}"


def _counted(rows: list[tuple[Text, ...]]) -> Mapping[int, int]:
    return {int(digest or 0): int(count or 0) for digest, count in rows}


def _buckets(rows: list[tuple[Text, ...]]) -> _Digests:
    return {int(number or 0): (int(count or 0), total) for number, count, total in rows}


def _mask(rows: int) -> int:
    """Choose as many buckets, a power of two, as give each about `BUCKET_ROWS`."""
    wanted = min(max(rows // BUCKET_ROWS, 1), MOST_BUCKETS)
    return int((1 << (wanted - 1).bit_length()) - 1)
