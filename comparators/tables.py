"""A table as both sides can read it for the row audit: which columns, how each is digested, by which key it is cut."""

from dataclasses import dataclass
from enum import StrEnum


class Form(StrEnum):
    """How a value enters the row's digest."""

    NATIVE = "native"
    """As its type hashes it: both servers agree, and equal means the same text."""
    TEXT = "text"
    """As the text that the server prints under pinned settings."""
    SHA256 = "sha256"
    """As the SHA-256 of that text, where the servers' own hashes do not agree."""


class Mode(StrEnum):
    """How a table is cut into pieces that are compared one by one."""

    RANGES = "ranges"
    """Half-open ranges of a key that both sides order alike."""
    BUCKETS = "buckets"
    """The whole table at once, grouped by the hash of the key, or of the row where there is none."""


@dataclass(frozen=True, slots=True)
class DigestColumn:
    """One column of the digest on one side."""

    name: str
    """As the source publishes it."""
    expression: str
    """SQL of this side for the value, before the form is applied."""
    form: Form
    why: str = ""
    """Why this form."""


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """One column of the key on one side."""

    name: str
    """As the source publishes it."""
    expression: str
    """SQL of this side by which its index is ordered."""
    type: str
    """Type of this side, which the text of a bound is cast to."""


@dataclass(frozen=True, slots=True)
class SideTable:
    """The table on one side."""

    schema: str
    name: str
    columns: tuple[DigestColumn, ...]
    key: tuple[KeyColumn, ...]
    """Empty: no row of this table can be named."""
    where: str | None = None
    """Rows that take part, as SQL of this side; `None`: all."""


@dataclass(frozen=True, slots=True)
class TablePair:
    """One table on both sides; columns and keys are in the same order on either."""

    name: str
    """As the source publishes it, `schema.table`."""
    source: SideTable
    target: SideTable
    mode: Mode
    sha: bool = False
    """The servers' record hashes disagree: the row is digested by SHA-256."""
    rows: int = 0
    """Estimate from the source's catalog."""
    subscription: int = 0
    """Number of the subscription that brings it."""
    notes: tuple[str, ...] = ()
    """What a person should know: columns of one side only, why buckets, why another form."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A table that cannot be read; it counts as not verified."""

    name: str
    reason: str
