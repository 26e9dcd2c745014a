"""A frame comes out as it went in, or not at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.builder import LaneBuilder
from comparators.canonical import TableKey, plan_rows
from comparators.errors import PoisonFrame
from comparators.frames import ENDED, FOREIGN, Cut, decode, encode
from comparators.positions import Side

PLAN = plan_rows("public.t", ["id", "v"], ["id", "v"], TableKey(("id",), frozenset(b"IUDT")))
u64 = st.integers(0, 2**64 - 1)
rows = st.lists(st.tuples(st.sampled_from(b"IUDT"), u64, u64, st.binary(max_size=20)), max_size=5)


def build(transactions, side=Side.SOURCE, open_rows=()):
    lane = LaneBuilder(side, 3, 1, generation=7, epoch=9, rate=0.25, start=100)
    for number, changes in enumerate(transactions):
        for op, key, digest, packed in changes:
            lane.add(lane.table_number(PLAN), op, key, digest, packed)
        lane.end(200 + 10 * number, 205 + 10 * number, number, FOREIGN if number % 2 else 0)
    for op, key, digest, packed in open_rows:
        lane.add(lane.table_number(PLAN), op, key, digest, packed)
    through = 206 + 10 * len(transactions)
    return lane.cut(through, 50, 12, lambda plain: plain[::-1], (9_000, 0, 77, 0) if open_rows else None)


@given(st.lists(rows, max_size=5), rows)
def test_a_frame_comes_out_as_it_went_in(transactions, open_rows):
    payload = build(transactions, open_rows=open_rows)
    frame = decode(payload)
    everything = [change for changes in transactions for change in changes] + list(open_rows)
    assert [op for op, *_ in everything] == frame.op.tolist()
    assert [key for _, key, *_ in everything] == frame.key.tolist()
    assert [digest for _, _, digest, _ in everything] == frame.digest.tolist()
    assert b"".join(packed for *_, packed in everything)[::-1] == frame.keys
    assert [len(c) for c in transactions if c] == frame.rows[(frame.flags & ENDED) != 0].tolist()
    assert (7, 9, 0.25, 3, 1) == (frame.generation, frame.epoch, frame.rate, frame.subscription, frame.partition)
    assert Cut(206 + 10 * len(transactions), len(open_rows)) == frame.end
    assert payload == encode(frame)


@given(st.lists(rows, min_size=1, max_size=3), st.data())
def test_a_changed_byte_is_poison(transactions, data):
    payload = bytearray(build(transactions))
    place = data.draw(st.integers(0, len(payload) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(PoisonFrame):
        decode(bytes(payload))


@given(st.binary(max_size=300))
def test_other_bytes_are_poison(payload):
    with pytest.raises(PoisonFrame):
        decode(payload)


def test_a_frame_that_was_cut_short_is_poison():
    payload = build([[(ord("I"), 1, 2, b"x")]])
    for length in range(len(payload)):
        with pytest.raises(PoisonFrame):
            decode(payload[:length])


def test_columns_are_views_and_no_copies():
    assert not decode(build([[(ord("I"), 1, 2, b"x")]])).key.flags.owndata
    assert np.uint64(1) == decode(build([[(ord("I"), 1, 2, b"x")]])).key[0]
