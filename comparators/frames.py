"""The columnar frame in which changes travel, and its binary form.

A lane is one side of one subscription in one partition. The frames of a lane form a chain: each says through which
own position (and how many rows of the transaction that is still open) it starts and ends, so a hole, a repetition and
an overlap are all visible, also across restarts of the sampler. "Own" positions belong to the side's own lineage; a
transaction is named by the start of its commit record there, which is known before its first row.
"""

import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from comparators.errors import PoisonFrame
from comparators.positions import Side

Array = npt.NDArray[Any]

MAGIC = b"ADF1"
# magic, side, reserved, subscription, partition, generation, rows, transactions, tables length, keys length, epoch,
# sequence, rate, from position, from rows, to rows, to position, watermark, emitted at (microseconds)
_HEADER = struct.Struct("<4sBBHHHIIIIQQdQIIQQq")
_CRC = struct.Struct("<I")

ENDED = 1
"""The transaction's commit was seen: `source_position` and the row count are final."""
FOREIGN = 2
"""Target only: the transaction did not come through the subscription."""
FORCED = 4
"""Not sampled: only the rows that are never sampled away are here."""
OVERSIZE = 8
"""Too large to be held: its later rows were left out, so nothing can be said of it."""

_TXN_COLUMNS = (
    ("own", "<u8"), ("source", "<u8"), ("committed", "<i8"), ("rows", "<u4"), ("skipped", "<u4"), ("flags", "u1"),
)  # fmt: skip
_ROW_COLUMNS = (("key", "<u8"), ("digest", "<u8"), ("key_end", "<u4"), ("table", "<u2"), ("op", "u1"))


class Cut(NamedTuple):
    """A point in a lane: an own position, and rows of the transaction after it that are already through."""

    position: int
    rows: int = 0


class TableEntry(NamedTuple):
    """What a row's table number stands for."""

    name: str
    key_columns: tuple[str, ...]
    keyless: bool


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    side: Side
    subscription: int
    partition: int
    generation: int
    """Counts the baselines of a migration: frames of an earlier one say nothing any more."""
    epoch: int
    """Grows with every start of the sampler."""
    sequence: int
    rate: float
    start: Cut
    end: Cut
    watermark: int
    """Source position: every transaction at or before it has passed this lane."""
    emitted_us: int
    tables: tuple[TableEntry, ...]
    own: Array
    source: Array
    """Source commit end position; 0 while the transaction is open on the source, or where it is foreign."""
    committed: Array
    rows: Array
    """Rows of each transaction in this frame; they follow each other."""
    skipped: Array
    """Rows of each transaction in earlier frames; only the first may have any."""
    flags: Array
    key: Array
    digest: Array
    key_end: Array
    """Where each row's packed key ends in the unsealed key text."""
    table: Array
    op: Array
    keys: bytes
    """Packed keys one after the other, sealed as a whole."""


def empty_columns() -> dict[str, Array]:
    """Give the columns of a frame without transactions."""
    return {name: np.empty(0, kind) for name, kind in (*_TXN_COLUMNS, *_ROW_COLUMNS)}


def column(name: str, values: Any) -> Array:
    """Make one column of a frame from numbers."""
    return np.asarray(values, dict((*_TXN_COLUMNS, *_ROW_COLUMNS))[name])


def encode(frame: Frame) -> bytes:
    """Write a frame: header, tables, transaction columns, row columns, keys, CRC-32."""
    tables = json.dumps([list(t) for t in frame.tables], separators=(",", ":")).encode() if frame.tables else b""
    header = _HEADER.pack(
        MAGIC, frame.side is Side.TARGET, 0, frame.subscription, frame.partition, frame.generation, len(frame.key),
        len(frame.own), len(tables), len(frame.keys), frame.epoch, frame.sequence, frame.rate, frame.start.position,
        frame.start.rows, frame.end.rows, frame.end.position, frame.watermark, frame.emitted_us,
    )  # fmt: skip
    parts = [header, tables]
    parts += [getattr(frame, name).astype(kind, copy=False).tobytes() for name, kind in (*_TXN_COLUMNS, *_ROW_COLUMNS)]
    parts.append(frame.keys)
    body = b"".join(parts)
    return body + _CRC.pack(zlib.crc32(body))


def decode(payload: bytes) -> Frame:
    """Read a frame; its columns are views of `payload`.

    Raises:
        PoisonFrame: the bytes are not a whole, undamaged frame; set them aside.
    """
    if len(payload) < _HEADER.size + _CRC.size or payload[:4] != MAGIC:
        raise PoisonFrame(f"{len(payload)} bytes that do not begin as a frame")
    if zlib.crc32(memoryview(payload)[: -_CRC.size]) != _CRC.unpack_from(payload, len(payload) - _CRC.size)[0]:
        raise PoisonFrame("checksum does not agree")
    (
        _, is_target, _, subscription, partition, generation, rows, transactions, tables_size, keys_size, epoch,
        sequence, rate, from_position, from_rows, to_rows, to_position, watermark, emitted_us,
    ) = _HEADER.unpack_from(payload)  # fmt: skip
    offset = _HEADER.size + tables_size
    width = sum(np.dtype(kind).itemsize for _, kind in _ROW_COLUMNS) * rows
    width += sum(np.dtype(kind).itemsize for _, kind in _TXN_COLUMNS) * transactions
    if offset + width + keys_size + _CRC.size != len(payload):
        raise PoisonFrame("lengths do not agree with the header")
    columns: dict[str, Array] = {}
    for group, count in ((_TXN_COLUMNS, transactions), (_ROW_COLUMNS, rows)):
        for name, kind in group:
            columns[name] = np.frombuffer(payload, kind, count, offset)
            offset += columns[name].nbytes
    return _checked(
        Frame(
            side=Side.TARGET if is_target else Side.SOURCE, subscription=subscription, partition=partition,
            generation=generation, epoch=epoch,
            sequence=sequence, rate=rate, start=Cut(from_position, from_rows), end=Cut(to_position, to_rows),
            watermark=watermark, emitted_us=emitted_us,
            tables=_tables(payload[_HEADER.size : _HEADER.size + tables_size]),
            keys=payload[offset : offset + keys_size], **columns,
        )
    )  # fmt: skip


def _tables(text: bytes) -> tuple[TableEntry, ...]:
    try:
        return tuple(TableEntry(name, tuple(key), keyless) for name, key, keyless in json.loads(text)) if text else ()
    except (ValueError, TypeError) as error:
        raise PoisonFrame(f"tables are unreadable: {error}") from error


def _checked(frame: Frame) -> Frame:
    """Refuse a frame whose parts contradict each other."""
    if int(frame.rows.sum()) != len(frame.key):
        raise PoisonFrame("transactions and rows do not add up")
    if len(frame.table) and int(frame.table.max()) >= len(frame.tables):
        raise PoisonFrame("a row names a table that the frame does not list")
    if frame.end < frame.start:
        raise PoisonFrame("the frame ends before it starts")
    if len(frame.own) > 1 and (bool((frame.own[1:] <= frame.own[:-1]).any()) or bool(frame.skipped[1:].any())):
        raise PoisonFrame("transactions are out of order")
    return frame
