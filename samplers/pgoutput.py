"""The messages of PostgreSQL's `pgoutput` plug-in, protocol 1 and 2: bytes to frozen values, without any waiting.

Source: PostgreSQL manual, 55.9 (logical replication message formats). What the format does not allow is a
`ProtocolViolation` that names the message and its WAL position: nothing is skipped or guessed.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from comparators.errors import ProtocolViolation
from comparators.positions import format_lsn

Value = tuple[str, bytes | None]
"""One column of a tuple: `n` NULL, `u` unchanged TOAST, `t` text or `b` binary with its bytes."""


@dataclass(frozen=True, slots=True)
class Begin:
    final_lsn: int
    """Start of the commit record."""
    commit_ts: int
    xid: int


@dataclass(frozen=True, slots=True)
class Commit:
    lsn: int
    end_lsn: int
    commit_ts: int


@dataclass(frozen=True, slots=True)
class Origin:
    lsn: int
    name: str


@dataclass(frozen=True, slots=True)
class Column:
    identity: bool
    """Part of the replica identity."""
    name: str
    type_oid: int
    type_modifier: int


@dataclass(frozen=True, slots=True)
class Relation:
    relid: int
    schema: str
    name: str
    identity: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Type:
    oid: int
    schema: str
    name: str


@dataclass(frozen=True, slots=True)
class Insert:
    relid: int
    new: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Update:
    relid: int
    old_kind: str | None
    """`K` key columns, `O` whole old row, `None` when the identity did not change."""
    old: tuple[Value, ...] | None
    new: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Delete:
    relid: int
    old_kind: str
    old: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Truncate:
    relids: tuple[int, ...]
    cascade: bool
    restart_identity: bool


@dataclass(frozen=True, slots=True)
class Message:
    transactional: bool
    lsn: int
    prefix: str
    content: bytes


@dataclass(frozen=True, slots=True)
class StreamStart:
    xid: int
    first: bool


@dataclass(frozen=True, slots=True)
class StreamStop:
    pass


@dataclass(frozen=True, slots=True)
class StreamCommit:
    xid: int
    lsn: int
    end_lsn: int
    commit_ts: int


@dataclass(frozen=True, slots=True)
class StreamAbort:
    xid: int
    subxid: int


@dataclass(frozen=True, slots=True)
class Streamed:
    """A message inside a stream, with the (sub)transaction that it belongs to."""

    xid: int
    message: Any


class _Reader:
    """A position in one message; reading past its end is a violation."""

    def __init__(self, payload: bytes | memoryview, position: int) -> None:
        self._payload, self._position, self.at = bytes(payload), position, 1

    def refuse(self, why: str) -> ProtocolViolation:
        name = chr(self._payload[0]) if self._payload else "empty"
        return ProtocolViolation(f"message {name!r} at {format_lsn(self._position)}: {why}")

    def number(self, form: str) -> int:
        """Read one number in `struct` notation."""
        size = struct.calcsize(form)
        if self.at + size > len(self._payload):
            raise self.refuse("it ends too early")
        (value,) = struct.unpack_from(form, self._payload, self.at)
        self.at += size
        return int(value)

    def bytes(self, size: int) -> bytes:
        if size < 0 or self.at + size > len(self._payload):
            raise self.refuse("it ends too early")
        self.at += size
        return self._payload[self.at - size : self.at]

    def text(self) -> str:
        end = self._payload.find(b"\0", self.at)
        if end < 0:
            raise self.refuse("a name does not end")
        raw = self._payload[self.at : end]
        self.at = end + 1
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.refuse("a name is not UTF-8") from None

    def letter(self, allowed: str) -> str:
        letter = chr(self.number("!B"))
        if letter not in allowed:
            raise self.refuse(f"{letter!r} where one of {allowed!r} belongs")
        return letter

    def flag(self, allowed: int = 1) -> int:
        value = self.number("!B")
        if value & ~allowed:
            raise self.refuse(f"unknown flags {value}")
        return value

    def row(self) -> tuple[Value, ...]:
        values: list[Value] = []
        for _ in range(self.number("!H")):
            kind = self.letter("nutb")
            values.append((kind, self.bytes(self.number("!i")) if kind in "tb" else None))
        return tuple(values)

    def done(self) -> None:
        if self.at != len(self._payload):
            raise self.refuse(f"{len(self._payload) - self.at} bytes too many")


def _begin(read: _Reader) -> Begin:
    return Begin(read.number("!Q"), read.number("!q"), read.number("!I"))


def _commit(read: _Reader) -> Commit:
    read.flag(0)
    return Commit(read.number("!Q"), read.number("!Q"), read.number("!q"))


def _origin(read: _Reader) -> Origin:
    return Origin(read.number("!Q"), read.text())


def _relation(read: _Reader) -> Relation:
    relid, schema, name, identity = read.number("!I"), read.text(), read.text(), read.letter("dnfi")
    columns = tuple(
        Column(bool(read.flag()), read.text(), read.number("!I"), read.number("!i")) for _ in range(read.number("!H"))
    )
    return Relation(relid, schema or "pg_catalog", name, identity, columns)


def _type(read: _Reader) -> Type:
    return Type(read.number("!I"), read.text() or "pg_catalog", read.text())


def _insert(read: _Reader) -> Insert:
    relid = read.number("!I")
    read.letter("N")
    return Insert(relid, read.row())


def _update(read: _Reader) -> Update:
    relid, kind = read.number("!I"), read.letter("KON")
    if kind == "N":
        return Update(relid, None, None, read.row())
    old = read.row()
    read.letter("N")
    return Update(relid, kind, old, read.row())


def _delete(read: _Reader) -> Delete:
    return Delete(read.number("!I"), read.letter("KO"), read.row())


def _truncate(read: _Reader) -> Truncate:
    count, flags = read.number("!I"), read.flag(3)
    return Truncate(tuple(read.number("!I") for _ in range(count)), bool(flags & 1), bool(flags & 2))


def _message(read: _Reader) -> Message:
    transactional, lsn, prefix = bool(read.flag()), read.number("!Q"), read.text()
    return Message(transactional, lsn, prefix, read.bytes(read.number("!i")))


def _stream_start(read: _Reader) -> StreamStart:
    return StreamStart(read.number("!I"), bool(read.flag()))


def _stream_stop(_read: _Reader) -> StreamStop:
    return StreamStop()


def _stream_commit(read: _Reader) -> StreamCommit:
    xid = read.number("!I")
    read.flag(0)
    return StreamCommit(xid, read.number("!Q"), read.number("!Q"), read.number("!q"))


def _stream_abort(read: _Reader) -> StreamAbort:
    return StreamAbort(read.number("!I"), read.number("!I"))


_MESSAGES: dict[str, Callable[[_Reader], Any]] = {
    "B": _begin, "C": _commit, "O": _origin, "R": _relation, "Y": _type, "I": _insert, "U": _update, "D": _delete,
    "T": _truncate, "M": _message,
}  # fmt: skip
_STREAM: dict[str, Callable[[_Reader], Any]] = {
    "S": _stream_start, "E": _stream_stop, "c": _stream_commit, "A": _stream_abort,
}  # fmt: skip
_WITH_XID = frozenset("RYIUDTM")
"""Messages that name their transaction first while a stream is open."""


def _decoded(payload: bytes | memoryview, position: int, tag: str) -> Any:
    read = _Reader(payload, position)
    if payload[:1] != tag.encode():
        raise read.refuse(f"{tag!r} was expected")
    value = _MESSAGES[tag](read)
    read.done()
    return value


def begin(payload: bytes | memoryview, position: int) -> Begin:
    """Decode a Begin message, tag included."""
    value: Begin = _decoded(payload, position, "B")
    return value


def commit(payload: bytes | memoryview, position: int) -> Commit:
    """Decode a Commit message, tag included."""
    value: Commit = _decoded(payload, position, "C")
    return value


def origin(payload: bytes | memoryview, position: int) -> Origin:
    """Decode an Origin message, tag included."""
    value: Origin = _decoded(payload, position, "O")
    return value


def relation(payload: bytes | memoryview, position: int) -> Relation:
    """Decode a Relation message, tag included."""
    value: Relation = _decoded(payload, position, "R")
    return value


def truncate(payload: bytes | memoryview, position: int) -> Truncate:
    """Decode a Truncate message, tag included."""
    value: Truncate = _decoded(payload, position, "T")
    return value


class Decoder:
    """Decodes the messages of one session; protocol 2 needs to know whether a stream is open."""

    def __init__(self, protocol: int = 1) -> None:
        self._streams = protocol >= 2
        self._open = False

    def decode(self, payload: bytes | memoryview, position: int) -> Any:
        """Decode one message.

        Args:
            payload: the message, tag included.
            position: where it stands in the WAL, for errors.
        Raises:
            ProtocolViolation: the bytes are not a message of this protocol.
        """
        read = _Reader(payload, position)
        if not payload:
            raise read.refuse("it is empty")
        tag = chr(payload[0])
        if self._streams and tag in _STREAM:
            if self._open != (tag == "E"):
                raise read.refuse("it is out of turn: streams neither nest nor end unopened")
            value = _STREAM[tag](read)
        elif tag not in _MESSAGES:
            raise read.refuse("it is unknown")
        elif self._open and tag in "BC":
            raise read.refuse("it is out of turn: a stream is open")
        elif self._open and tag in _WITH_XID:
            xid = read.number("!I")
            value = Streamed(xid, _MESSAGES[tag](read))
        else:
            value = _MESSAGES[tag](read)
        read.done()
        self._open = tag == "S" or (self._open and tag != "E")
        return value
