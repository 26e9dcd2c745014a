"""The decoder takes every valid message apart and puts nothing else up with: no other error, no silent garbage."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.errors import ProtocolViolation
from samplers import pgoutput
from samplers.pgoutput import Decoder

POSITION = 0x16_B374_D848
u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (16, 32, 64))
i64 = st.integers(-(2**63), 2**63 - 1)
names = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12)
values = st.one_of(
    st.tuples(st.sampled_from("nu"), st.none()), st.tuples(st.sampled_from("tb"), st.binary(max_size=20))
)
rows = st.lists(values, max_size=6).map(tuple)
columns = st.builds(pgoutput.Column, st.booleans(), names, u32, st.integers(-1, 2**31 - 1))
messages = st.one_of(
    st.builds(pgoutput.Begin, u64, i64, u32),
    st.builds(pgoutput.Commit, u64, u64, i64),
    st.builds(pgoutput.Origin, u64, names),
    st.builds(
        pgoutput.Relation, u32, names.filter(bool), names, st.sampled_from("dnfi"),
        st.lists(columns, max_size=5).map(tuple),
    ),
    st.builds(pgoutput.Type, u32, names.filter(bool), names),
    st.builds(pgoutput.Insert, u32, rows),
    st.one_of(
        st.builds(pgoutput.Update, u32, st.none(), st.none(), rows),
        st.builds(pgoutput.Update, u32, st.sampled_from("KO"), rows, rows),
    ),
    st.builds(pgoutput.Delete, u32, st.sampled_from("KO"), rows),
    st.builds(pgoutput.Truncate, st.lists(u32, max_size=4).map(tuple), st.booleans(), st.booleans()),
    st.builds(pgoutput.Message, st.booleans(), u64, names, st.binary(max_size=20)),
)  # fmt: skip


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def row(values: tuple[pgoutput.Value, ...]) -> bytes:
    parts = [k.encode() + (b"" if v is None else struct.pack("!i", len(v)) + v) for k, v in values]
    return struct.pack("!H", len(values)) + b"".join(parts)


def encode(message: Any, xid: bytes = b"") -> bytes:
    """Write a message as the server does."""
    match message:
        case pgoutput.Begin(lsn, at, number):
            return b"B" + struct.pack("!QqI", lsn, at, number)
        case pgoutput.Commit(lsn, end, at):
            return b"C" + struct.pack("!BQQq", 0, lsn, end, at)
        case pgoutput.Origin(lsn, name):
            return b"O" + struct.pack("!Q", lsn) + text(name)
        case pgoutput.Relation(relid, schema, name, identity, found):
            head = struct.pack("!I", relid) + text(schema) + text(name) + identity.encode()
            listed = [
                bytes([c.identity]) + text(c.name) + struct.pack("!Ii", c.type_oid, c.type_modifier) for c in found
            ]
            return b"R" + xid + head + struct.pack("!H", len(found)) + b"".join(listed)
        case pgoutput.Type(oid, schema, name):
            return b"Y" + xid + struct.pack("!I", oid) + text(schema) + text(name)
        case pgoutput.Insert(relid, new):
            return b"I" + xid + struct.pack("!I", relid) + b"N" + row(new)
        case pgoutput.Update(relid, kind, old, new):
            before = kind.encode() + row(old or ()) if kind else b""
            return b"U" + xid + struct.pack("!I", relid) + before + b"N" + row(new)
        case pgoutput.Delete(relid, kind, old):
            return b"D" + xid + struct.pack("!I", relid) + str(kind).encode() + row(old)
        case pgoutput.Truncate(relids, cascade, restart):
            flags = cascade | restart << 1
            return b"T" + xid + struct.pack(f"!IB{len(relids)}I", len(relids), flags, *relids)
        case pgoutput.Message(transactional, lsn, prefix, content):
            head = struct.pack("!BQ", transactional, lsn) + text(prefix)
            return b"M" + xid + head + struct.pack("!i", len(content)) + content
    raise AssertionError(message)


@given(messages)
def test_every_message_comes_back_as_it_was_written(message):
    assert message == Decoder().decode(encode(message), POSITION)
    assert message == Decoder(2).decode(memoryview(encode(message)), POSITION)


@given(messages, st.data())
def test_a_message_cut_short_or_too_long_is_refused_with_its_position(message, data):
    whole = encode(message)
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    longer = whole + data.draw(st.binary(min_size=1, max_size=4))
    for damaged in (cut, longer):
        with pytest.raises(ProtocolViolation, match="16/B374D848"):
            Decoder().decode(damaged, POSITION)


@given(st.binary(max_size=80), st.sampled_from([1, 2]))
def test_any_bytes_are_a_message_written_exactly_so_or_refused(payload, protocol):
    try:
        message = Decoder(protocol).decode(payload, POSITION)
    except ProtocolViolation:
        return
    if not isinstance(message, (pgoutput.StreamStart, pgoutput.StreamCommit, pgoutput.StreamAbort)):
        assert payload == encode(message) or isinstance(message, (pgoutput.Relation, pgoutput.Type))


@given(messages, st.data())
def test_a_damaged_byte_raises_nothing_but_a_violation(message, data):
    damaged = bytearray(encode(message))
    damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = Decoder().decode(bytes(damaged), POSITION)
    except ProtocolViolation:
        return
    assert bytes(damaged) == encode(found) or isinstance(found, (pgoutput.Relation, pgoutput.Type))


@given(messages.filter(lambda m: not isinstance(m, (pgoutput.Begin, pgoutput.Commit))), u32)
def test_inside_a_stream_each_change_names_its_transaction(message, xid):
    decoder = Decoder(2)
    assert pgoutput.StreamStart(xid, True) == decoder.decode(b"S" + struct.pack("!IB", xid, 1), POSITION)
    if isinstance(message, pgoutput.Origin):
        assert message == decoder.decode(encode(message), POSITION)
    else:
        found = decoder.decode(encode(message, struct.pack("!I", xid)), POSITION)
        assert pgoutput.Streamed(xid, message) == found
    assert pgoutput.StreamStop() == decoder.decode(b"E", POSITION)
    assert pgoutput.StreamAbort(xid, 7) == decoder.decode(b"A" + struct.pack("!II", xid, 7), POSITION)
    commit = b"c" + struct.pack("!IBQQq", xid, 0, 1, 2, 3)
    assert pgoutput.StreamCommit(xid, 1, 2, 3) == decoder.decode(commit, POSITION)


@pytest.mark.parametrize(
    "messages",
    [
        [b"E"],
        [b"S" + bytes(5), b"S" + bytes(5)],
        [b"S" + bytes(5), b"B" + bytes(20)],
        [b"S" + bytes(5), b"A" + bytes(8)],
    ],
)
def test_streams_neither_nest_nor_end_unopened(messages):
    decoder = Decoder(2)
    for message in messages[:-1]:
        decoder.decode(message, POSITION)
    with pytest.raises(ProtocolViolation, match="out of turn"):
        decoder.decode(messages[-1], POSITION)


def test_protocol_1_knows_no_streams():
    with pytest.raises(ProtocolViolation, match="unknown"):
        Decoder(1).decode(b"S" + bytes(5), POSITION)


@given(messages)
def test_a_helper_takes_its_own_message_only(message):
    helpers = {"B": pgoutput.begin, "C": pgoutput.commit, "O": pgoutput.origin, "R": pgoutput.relation,
               "T": pgoutput.truncate}  # fmt: skip
    payload = encode(message)
    for tag, helper in helpers.items():
        if payload[:1] == tag.encode():
            assert message == helper(payload, POSITION)
        else:
            with pytest.raises(ProtocolViolation, match="expected"):
                helper(payload, POSITION)
