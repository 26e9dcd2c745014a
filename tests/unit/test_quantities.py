"""Sizes and durations are read as written and written so that they read the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.quantities import format_seconds, format_size, parse_seconds, parse_size


@given(st.integers(0, 2**63))
def test_a_size_reads_back_as_it_was_written(size):
    assert parse_size(format_size(size)) == size == parse_size(size)


@given(st.integers(0, 10**9), st.sampled_from([0.001, 1, 60, 3600, 86400]))
def test_a_duration_reads_back_as_it_was_written(number, unit):
    assert parse_seconds(format_seconds(number * unit)) == pytest.approx(number * unit, abs=0.0005)


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MiB", 512 << 20), ("1 GB", 10**9), ("1.5GiB", 3 << 29), ("7", 7), ("7b", 7), (" 2 kib ", 2048)],
)
def test_a_size_may_carry_a_unit(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1XB", "1e3", "1 2", "٣"])  # the last one is a digit, but not ours
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(("text", "seconds"), [("500ms", 0.5), ("30", 30), ("30s", 30), ("5m", 300), ("1h", 3600)])
def test_a_duration_may_carry_a_unit(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("value", ["", "s", "-1", "1w", "nan", -1.0, float("nan"), float("inf")])
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(ValueError, match="is not a duration"):
        parse_seconds(value)
