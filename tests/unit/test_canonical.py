"""Rows that differ have different digests; rows that are equal have the same, whatever the order of the columns."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.canonical import TableKey, plan_rows, segments, texts, tuple_end

ALL = frozenset(b"IUDT")
values = st.lists(st.one_of(st.none(), st.just(...), st.binary(max_size=12)), min_size=3, max_size=3)


def packed(row):
    """Write a tuple as pgoutput does; `...` is an unchanged TOAST value."""
    parts = [
        b"n" if v is None else b"u" if v is ... else b"t" + len(v).to_bytes(4, "big") + v
        for v in row
    ]  # fmt: skip
    return len(row).to_bytes(2, "big") + b"".join(parts)


def plan(own, other, key=("a",)):
    return plan_rows("public.t", own, other, TableKey(key, ALL))


SAME = plan(["a", "b", "c"], ["a", "b", "c"])
SOURCE = plan(["a", "b", "c"], ["c", "a", "b"])
TARGET = plan(["c", "a", "b"], ["a", "b", "c"])


@given(values, values)
def test_digests_are_equal_exactly_when_rows_are(left, right):
    for one in (SAME, SOURCE):
        assert (left == right) == (one.digest(packed(left)) == one.digest(packed(right)))


@given(values)
def test_the_order_of_columns_does_not_matter(row):
    a, b, c = row
    assert SOURCE.digest(packed([a, b, c])) == TARGET.digest(packed([c, a, b]))
    assert SOURCE.key(packed([a, b, c])) == TARGET.key(packed([c, a, b]))


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([b"p|q", b"r", b""], [b"p", b"q|r", b""]),
        ([b"ab", b"c", b""], [b"a", b"bc", b""]),
        ([None, b"", b""], [b"", b"", b""]),
        ([b"null", b"", b""], [None, b"", b""]),
        ([b"x ", b"", b""], [b"x", b"", b""]),
        ([b"1.10", b"", b""], [b"1.1", b"", b""]),
        ([b"a", b"b", b""], [b"b", b"a", b""]),
    ],
)
def test_what_peers_blur_is_told_apart(left, right):
    assert SAME.digest(packed(left)) != SAME.digest(packed(right))


def test_plans_of_different_columns_never_agree():
    row = packed([b"1", b"2", b"3"])
    other = plan_rows("public.t", ["a", "b", "d"], ["a", "b", "d"], TableKey(("a",), ALL))
    assert SAME.digest(row) != other.digest(row)
    assert SAME.version != plan(["a", "b", "c"], ["a", "b", "c"], key=("b",)).version


def test_a_column_of_one_side_only_is_left_out():
    wide, narrow = plan(["a", "b", "c", "x"], ["a", "b", "c"]), plan(["a", "b", "c"], ["a", "b", "c", "x"])
    assert wide.digest(packed([b"1", b"2", b"3", b"9"])) == narrow.digest(packed([b"1", b"2", b"3"]))


@given(values, st.permutations([0, 1, 2]))
def test_a_composite_key_is_packed_in_its_own_order(row, order):
    names = ["a", "b", "c"]
    key = tuple(names[i] for i in order[:2])
    found = plan(names, names, key).key(packed(row))
    assert [None if row[i] is ... else row[i] for i in order[:2]] == texts(found)


def test_without_a_key_the_whole_row_is_the_key():
    whole = plan(["a", "b"], ["a", "b"], key=())
    assert whole.keyless
    assert [b"1", None] == texts(whole.key(packed([b"1", None])))


@given(values, st.binary(max_size=8))
def test_the_end_of_a_tuple_is_found(row, rest):
    data = b"??" + packed(row)
    assert len(data) == tuple_end(data + rest, 2)
    assert packed(row)[2:] == b"".join(segments(packed(row)))
