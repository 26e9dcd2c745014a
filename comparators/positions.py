"""Sides and positions: an LSN belongs to one lineage, and LSNs of two lineages have no common order."""

from enum import StrEnum


class Side(StrEnum):
    SOURCE = "source"
    TARGET = "target"

    @property
    def other(self) -> "Side":
        return Side.TARGET if self is Side.SOURCE else Side.SOURCE


def parse_lsn(text: str) -> int:
    """Read PostgreSQL's hexadecimal high/low form, as in `16/B374D848`.

    Raises:
        ValueError: the text is not a position.
    """
    high, slash, low = text.partition("/")
    if not slash:
        raise ValueError(f"{text!r} is not a WAL position such as 16/B374D848")
    return (int(high, 16) << 32) | int(low, 16)


def format_lsn(position: int) -> str:
    """Write a position as PostgreSQL prints it."""
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"
