"""Tables as values: the template lays every one of them out the same way."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

LISTED = 50
"""So many rows the page shows of anything; the command line has them all."""


class Tone(StrEnum):
    """What a word means to the gate; the page adds an icon, so that colour is never alone."""

    GOOD = "good"
    WARN = "warn"
    BAD = "bad"
    UNKNOWN = "unknown"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Cell:
    """One field of a row."""

    text: str
    tone: Tone | None = None
    """With one, the text is shown as a badge."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Column:
    """One column; numbers stand to the right, names of things in a type that tells l from 1, sentences get the room."""

    title: str
    number: bool = False
    code: bool = False
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """One section of the page."""

    id: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    empty: str
    """What it means that there are no rows."""
    summary: str = ""
    more: str = ""
    """What was left out, and where it is."""
    total: tuple[tuple[Cell, ...], ...] = ()

    def laid(self, row: tuple[Cell, ...]) -> Iterator[tuple[Column, Cell]]:
        """Lay a row's fields under their columns."""
        return zip(self.columns, row, strict=True)


def cells(*texts: str | Cell) -> tuple[Cell, ...]:
    """Make a row."""
    return tuple(text if isinstance(text, Cell) else Cell(text) for text in texts)


def listed(rows: Sequence[object], command: str) -> str:
    """Say what a list leaves out when only its first rows are shown."""
    left = len(rows) - LISTED
    return f"and {left:,} more: {command}" if left > 0 else ""


def columns(
    *titles: str, number: Sequence[str] = (), code: Sequence[str] = (), wide: Sequence[str] = ()
) -> tuple[Column, ...]:
    """Make columns, some of them for numbers, names of things or sentences."""
    return tuple(Column(title, title in number, title in code, title in wide) for title in titles)
