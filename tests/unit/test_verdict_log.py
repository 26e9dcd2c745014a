"""The chain of verdicts: whatever is changed, taken out, put in or moved is found at its place."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.verdicts import (
    Anchor,
    NotAnEntry,
    broken,
    evaluation_id,
    read_entry,
    seal_all,
    tail_of,
)
from tests.verdict_logs import draft, verdict

LINES = [entry.text for entry in seal_all([draft(n) for n in range(6)], Anchor())]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_a_chain_as_it_was_written_is_whole() -> None:
    assert [] == broken(LINES)
    assert [] == broken(LINES[2:], before=None)
    assert broken(LINES[2:])


@given(st.integers(0, len(LINES) - 1), st.data())
def test_any_changed_byte_is_found_in_its_line(number: int, data: st.DataObject) -> None:
    raw = bytearray(LINES[number].encode())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    lines: list[str | bytes] = [*LINES[:number], bytes(raw), *LINES[number + 1 :]]
    assert number + 1 == broken(lines)[0].line


@given(st.integers(0, len(LINES) - 2))
def test_a_missing_entry_is_found(number: int) -> None:
    (found,) = broken([*LINES[:number], *LINES[number + 1 :]])
    assert (number + 1, number + 2) == (found.line, found.seq)
    assert "missing" in found.reason


@given(st.integers(0, len(LINES) - 1))
def test_a_repeated_entry_is_found(number: int) -> None:
    assert number + 2 == broken([*LINES[: number + 1], *LINES[number:]])[0].line


@given(st.permutations(LINES))
def test_any_other_order_is_found(lines: list[str]) -> None:
    assert (lines != LINES) == bool(broken(lines))


def test_an_entry_that_was_written_anew_with_a_fitting_hash_is_found_by_the_next() -> None:
    other = seal_all([draft(n) for n in (0, 1, 99)], Anchor())[2].text
    (found,) = broken([*LINES[:2], other, *LINES[3:]])
    assert (4, 4) == (found.line, found.seq)
    assert "does not follow entry 3" in found.reason


@given(JSON)
def test_nothing_but_an_entry_is_read_as_one(value: Any) -> None:
    with pytest.raises(NotAnEntry):
        read_entry(json.dumps(value))
    assert 1 == broken([json.dumps(value)])[0].line


def test_the_tail_is_the_last_good_entry_and_what_is_wrong_after_it() -> None:
    last = read_entry(LINES[-1])
    assert (Anchor(6, last.hash), []) == tail_of(reversed(LINES))
    assert (Anchor(), []) == tail_of([])
    anchor, damaged = tail_of(["{}", LINES[-1][:-1], *reversed(LINES)])
    assert (6, 2) == (anchor.seq, len(damaged))


def test_an_evaluation_is_named_by_what_it_says_and_not_by_what_becomes_of_it() -> None:
    document = verdict(1)
    assert document["id"] == evaluation_id(document | {"consumed_by": "friday"})
    assert document["id"] != evaluation_id(document | {"verdict": "FAIL"})
    assert 18 == len(document["id"])
