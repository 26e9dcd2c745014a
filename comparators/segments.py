"""How a table's key space is cut: neighbouring half-open segments, the outer two without an end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Key = tuple[bytes | None, ...]
"""Texts of a key's columns, as the server prints them."""


@dataclass(frozen=True, slots=True)
class Range:
    """All rows with a key from `low` on and below `high`; `None` is no bound."""

    low: Key | None = None
    high: Key | None = None

    @property
    def ends(self) -> tuple[bool, bool]:
        return self.low is not None, self.high is not None

    @property
    def parameters(self) -> list[bytes | None]:
        return [*(self.low or ()), *(self.high or ())]


@dataclass(frozen=True, slots=True)
class Plan:
    """Bounds between a table's segments, in the order of its key; one segment more than there are bounds."""

    bounds: tuple[Key, ...] = ()

    @property
    def segments(self) -> int:
        return len(self.bounds) + 1

    def range(self, first: int, past_last: int | None = None) -> Range:
        """Give what neighbouring segments cover; without `past_last` that of one."""
        past_last = first + 1 if past_last is None else past_last
        low = self.bounds[first - 1] if first else None
        high = self.bounds[past_last - 1] if past_last < self.segments else None
        return Range(low, high)

    def ranges(self, first: int, past_last: int) -> list[Range]:
        """Give what each of neighbouring segments covers."""
        return [self.range(number) for number in range(first, past_last)]

    def to_json(self) -> list[list[str | None]]:
        """Describe the plan; it holds values of keys."""
        return [[None if text is None else text.decode("latin-1") for text in key] for key in self.bounds]

    @classmethod
    def from_json(cls, bounds: Sequence[Sequence[Any]]) -> "Plan":
        """Read what `to_json` wrote."""
        return cls(
            tuple(tuple(None if text is None else str(text).encode("latin-1") for text in key) for key in bounds)
        )


@dataclass(slots=True)
class Pace:
    """How many segments one statement takes, so that it lasts about as long as it should."""

    seconds: float
    segments: int = 8
    most: int = 1000

    def took(self, segments: int, seconds: float) -> None:
        """Learn from one statement; at most twice or half of the last from one to the next."""
        share = min(max(self.seconds / max(seconds, 1e-3), 0.5), 2.0)
        self.segments = min(max(round(segments * share), 1), self.most)

    def too_slow(self) -> None:
        """Learn from a statement that was cancelled."""
        self.segments = max(self.segments // 4, 1)


def arrays(keys: Sequence[Key]) -> list[bytes | None]:
    """Write keys as PostgreSQL's arrays, one for each column."""
    return [_array([key[place] for key in keys]) for place in range(len(keys[0]))]


def _array(texts: Sequence[bytes | None]) -> bytes:
    return b"{" + b",".join(b"NULL" if text is None else _quoted(text) for text in texts) + b"}"


def _quoted(text: bytes) -> bytes:
    return b'"' + text.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def bound_arrays(ranges: Sequence[Range]) -> list[bytes | None]:
    """Write the bounds of ranges that have both as arrays: lower ones by column, then upper ones."""
    return [*arrays([one.low or () for one in ranges]), *arrays([one.high or () for one in ranges])]
