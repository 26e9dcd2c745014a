"""One row, one digest: what both sides hash of a change, by column name, over pgoutput's text values.

A tuple of the log is a count of columns and then, per column, a tag (`n` NULL, `u` unchanged TOAST, `t` text with a
length) and the bytes. That form is already injective. Where both sides list the same columns in the same order it is
hashed as it stands; otherwise the shared columns are put together in the order of their names first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import xxhash

_TEXT = 0x74
Buffer = bytes | memoryview


def tuple_end(row: Buffer, start: int = 0) -> int:
    """Find where the tuple that begins at `start` ends."""
    columns = (row[start] << 8) | row[start + 1]
    position = start + 2
    for _ in range(columns):
        if row[position] == _TEXT:
            position += 5 + int.from_bytes(row[position + 1 : position + 5], "big")
        else:
            position += 1
    return position


def segments(row: Buffer) -> list[bytes]:
    """Split a tuple into its columns, each with tag and length."""
    found = []
    position = 2
    for _ in range((row[0] << 8) | row[1]):
        begin = position
        position += 5 + int.from_bytes(row[begin + 1 : begin + 5], "big") if row[begin] == _TEXT else 1
        found.append(bytes(row[begin:position]))
    return found


def texts(packed: bytes) -> list[bytes | None]:
    """Unpack the columns of a key into their texts; `None` is NULL (or a value that the log left out)."""
    found: list[bytes | None] = []
    position = 0
    while position < len(packed):
        if packed[position] == _TEXT:
            end = position + 5 + int.from_bytes(packed[position + 1 : position + 5], "big")
            found.append(packed[position + 5 : end])
            position = end
        else:
            found.append(None)
            position += 1
    return found


@dataclass(frozen=True, slots=True)
class RowPlan:
    """How the rows of one relation are keyed and digested; built once per Relation message, never per row."""

    table: str
    """The name that the source publishes, `schema.table`."""
    key_columns: tuple[str, ...]
    """In the order in which they are packed; all shared columns when there is no key."""
    keyless: bool
    operations: frozenset[int]
    """Byte codes of the operations that both sides show: I, U, D, T."""
    raw: bool
    """Both sides list the same columns in the same order."""
    key_indexes: tuple[int, ...]
    column_indexes: tuple[int, ...]
    """Positions of the shared columns in this side's tuples, in the order of their names."""
    version: int = field(default=0)
    """Hash of table, shared columns, key and form: digests of different versions never agree."""

    def digest(self, row: Buffer) -> int:
        """Hash a whole tuple."""
        if self.raw:
            return xxhash.xxh3_64_intdigest(row, self.version)
        parts = segments(row)
        return xxhash.xxh3_64_intdigest(b"".join([parts[i] for i in self.column_indexes]), self.version)

    def key(self, row: Buffer) -> bytes:
        """Pack the key columns of a tuple."""
        if self.keyless:
            parts = segments(row)
            return b"".join([parts[i] for i in self.column_indexes])
        indexes = self.key_indexes
        if indexes == (0,):
            end = 7 + int.from_bytes(row[3:7], "big") if row[2] == _TEXT else 3
            return bytes(row[2:end])
        return self._scattered_key(row)

    def _scattered_key(self, row: Buffer) -> bytes:
        wanted = self.key_indexes
        last = max(wanted)
        spans = []
        position = 2
        for _ in range(last + 1):
            begin = position
            position += 5 + int.from_bytes(row[begin + 1 : begin + 5], "big") if row[begin] == _TEXT else 1
            spans.append(bytes(row[begin:position]))
        return b"".join([spans[i] for i in wanted])


@dataclass(frozen=True, slots=True)
class TableKey:
    """The key chosen for a table from both catalogs; no columns mean that the whole row is the key."""

    columns: tuple[str, ...]
    operations: frozenset[int]


def plan_rows(table: str, own: Sequence[str], other: Sequence[str], key: TableKey) -> RowPlan:
    """Build the plan of one relation on one side.

    Args:
        table: canonical name.
        own: column names of this side's Relation message, in its order.
        other: column names that the other side publishes, in its order.
        key: chosen once for both sides.
    """
    shared = sorted(set(own) & set(other))
    position = {name: i for i, name in enumerate(own)}
    usable = bool(key.columns) and all(name in position for name in key.columns)
    key_columns = key.columns if usable else tuple(shared)
    raw = list(own) == list(other)
    form = repr((table, shared, list(own) if raw else None, key_columns, usable))
    return RowPlan(
        table=table,
        key_columns=key_columns,
        keyless=not usable,
        operations=key.operations,
        raw=raw,
        key_indexes=tuple(position[name] for name in key_columns),
        column_indexes=tuple(position[name] for name in shared),
        version=xxhash.xxh3_64_intdigest(form.encode()),
    )


def key_hash(table: str, packed: bytes) -> int:
    """Hash a packed key together with its table."""
    return xxhash.xxh3_64_intdigest(packed, xxhash.xxh3_64_intdigest(table.encode()))
