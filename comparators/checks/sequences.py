"""Sequences: there, alike, with numbers left. A value that lags on the target is lawful: replication carries none."""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from comparators.checks.judges import Denials, Grade, graded, judge, judged
from comparators.preflight import Check, Item, ItemStatus, found, unknown

BLOCKS, CAPACITY, WARN = ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.BLOCKS_CAPACITY, ItemStatus.WARN
HEADROOM = 0.1
"""Share of its numbers that a sequence should have left."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence as its own database defines it."""

    name: str
    type: str = "bigint"
    increment: int = 1
    least: int = 1
    most: int = (1 << 63) - 1
    cycles: bool = False
    cache: int = 1
    owner_table: str | None = None
    owner_column: str | None = None
    callers: tuple[str, ...] = ()
    """Tables with defaults that call it."""
    column_most: int | None = None
    """What the owning column's own type holds at most, where that is less than a bigint."""
    readable: bool = True
    last: int | None = None
    """The value last given out; `None`: none yet, or not readable."""

    @property
    def definition(self) -> tuple[str, int, int, int, bool]:
        return self.type, self.increment, self.least, self.most, self.cycles

    @property
    def place(self) -> tuple[str | None, str | None]:
        return self.owner_table, self.owner_column


@dataclass(frozen=True, slots=True)
class Sequences:
    """One side's sequences."""

    sequences: tuple[Sequence, ...] = ()
    denied: Denials = field(default_factory=dict)


@dataclass(frozen=True)
class BothSequences:
    """Both sides' sequences, and which tables the configuration's scope has."""

    source: Sequences
    target: Sequences
    selects: Callable[[str], bool] = lambda table: True
    role: str = "auditor"
    """The session's on the source, for the statement that lets it read."""

    @cached_property
    def pairs(self) -> tuple[tuple[Sequence, Sequence | None], ...]:
        """Sequences of the source in scope, each with the target's: of that name, or of that column."""
        by_name = {one.name: one for one in self.target.sequences}
        by_place = {one.place: one for one in self.target.sequences if one.owner_table}
        return tuple(
            (one, by_name.get(one.name) or by_place.get(one.place))
            for one in self.source.sequences if self._in_scope(one)
        )  # fmt: skip

    @property
    def known(self) -> Iterable[tuple[Sequence, Sequence]]:
        return ((one, other) for one, other in self.pairs if other is not None)

    def _in_scope(self, sequence: Sequence) -> bool:
        """Judge a sequence by the tables that use it, and one that none uses by its own name."""
        users = {*sequence.callers, *([sequence.owner_table] if sequence.owner_table else ())}
        return any(map(self.selects, users or {sequence.name}))


def share_left(sequence: Sequence, other: Sequence | None = None) -> float | None:
    """Say what share of its numbers a sequence has left, within its own bounds, its column's and the other side's.

    Returns:
        0 to 1; `None` where it starts over, or gave out no number yet.
    """
    if sequence.cycles or sequence.last is None:
        return None
    bounds = [one for one in (sequence, other) if one is not None and not one.cycles]
    least = max(one.least for one in bounds)
    most = min(min(one.most, one.most if one.column_most is None else one.column_most) for one in bounds)
    room = most - least + 1
    left = most - sequence.last if sequence.increment > 0 else sequence.last - least
    if room <= 0 or left < abs(sequence.increment):
        return 0.0
    return min(left / room, 1.0)


def _present(name: str, both: BothSequences) -> Item:
    return found(
        name, BLOCKS, [one.name for one, other in both.pairs if other is None], "the target has no such sequence",
        "on the target: CREATE SEQUENCE SCHEMA.NAME AS ... MINVALUE ... MAXVALUE ..., or add it with its column",
        f"all {len(both.pairs)} are there",
    )  # fmt: skip


def _alike(name: str, both: BothSequences) -> Item:
    return graded(
        name,
        "the same on both sides",
        Grade(BLOCKS, [one.name for one, other in both.known if one.definition != other.definition],
              "type, increment, bounds or cycle are other on the target",
              "on the target: ALTER SEQUENCE SCHEMA.NAME AS ... INCREMENT ... MINVALUE ... MAXVALUE ... (NO) CYCLE"),
        Grade(WARN, [one.name for one, other in both.known if one.cache != other.cache],
              "each session of the target caches another count of numbers",
              "on the target: ALTER SEQUENCE SCHEMA.NAME CACHE ..."),
    )  # fmt: skip


def _headroom(name: str, both: BothSequences) -> Item:
    unread = sorted(one.name for one, _ in both.pairs if not one.readable)
    if unread:
        return unknown(
            name, f"the role {both.role} may not read {len(unread)} sequences of the source, the first {unread[0]}",
            f'on the source: GRANT SELECT ON ALL SEQUENCES IN SCHEMA {unread[0].rpartition(".")[0]} TO "{both.role}"',
        )  # fmt: skip
    left = {one.name: share for one, other in both.pairs if (share := share_left(one, other)) is not None}
    remedy = (
        "widen it on both sides before the cutover: ALTER SEQUENCE SCHEMA.NAME AS bigint NO MAXVALUE, "
        "and the column: ALTER TABLE SCHEMA.TABLE ALTER COLUMN NAME TYPE bigint"
    )
    return graded(
        name,
        f"each has at least {HEADROOM:.0%} of its numbers left",
        Grade(BLOCKS, [one for one, share in left.items() if share <= 0], "no numbers are left: inserts fail", remedy),
        Grade(CAPACITY, [one for one, share in left.items() if 0 < share < HEADROOM],
              f"less than {HEADROOM:.0%} of the numbers are left", remedy),
    )  # fmt: skip


def _values(name: str, both: BothSequences) -> Item:
    """Note how many values lag; they are compared and set at the cutover."""
    behind = sorted(one.name for one, other in both.known if _behind(one, other))
    said = f"a note: {len(behind)} lag on the target, as they may before the cutover" if behind else "none lags"
    return Item(name, ItemStatus.OK, said, "", tuple(behind[:20]), len(behind))


def _behind(source: Sequence, target: Sequence) -> bool:
    if source.last is None or not target.readable:
        return False
    if target.last is None:
        return True
    return (target.last - source.last) * source.increment < 0


_here = functools.partial(judge, "sequences")
_JUDGES = (
    _here("sequences-present", "the target has every sequence of the source", _present, ("sequences",), True),
    _here("sequences-alike", "sequences have the same type, increment, bounds and cycle", _alike, ("sequences",), True),
    _here("sequences-headroom", "sequences of the source have numbers left", _headroom, ("sequences",), True),
    _here("sequences-values", "values that lag on the target, as a note: replication carries none", _values,
          ("sequences",)),
)  # fmt: skip
CHECKS: tuple[Check, ...] = tuple(each.check for each in _JUDGES)


def judge_sequences(both: BothSequences) -> tuple[Item, ...]:
    """Make every check of the group."""
    return tuple(judged(_JUDGES, both, (both.source.denied, both.target.denied)))


def least_left(both: BothSequences) -> float | None:
    """Give the smallest share of numbers left; `None` where no value could be read."""
    return min((share for one, other in both.pairs if (share := share_left(one, other)) is not None), default=None)
