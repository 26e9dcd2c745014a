"""Segments cover every key once, whatever the bounds; a statement takes about as long as it should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.segments import Key, Pace, Plan, Range, arrays

bounds = st.lists(st.integers(-50, 50), unique=True).map(lambda found: tuple((b"%d" % n,) for n in sorted(found)))


def inside(key: int, part: Range) -> bool:
    low = part.low is None or key >= int(part.low[0] or 0)
    return low and (part.high is None or key < int(part.high[0] or 0))


@given(bounds, st.integers(-60, 60))
def test_every_key_lies_in_exactly_one_segment(cuts: tuple[Key, ...], key: int) -> None:
    plan = Plan(cuts)
    assert 1 == sum(inside(key, plan.range(number)) for number in range(plan.segments))


@given(bounds, st.data())
def test_neighbouring_segments_are_one_range(cuts: tuple[Key, ...], data: st.DataObject) -> None:
    plan = Plan(cuts)
    first = data.draw(st.integers(0, plan.segments - 1))
    past_last = data.draw(st.integers(first + 1, plan.segments))
    key = data.draw(st.integers(-60, 60))
    parts = plan.ranges(first, past_last)
    assert inside(key, plan.range(first, past_last)) is any(inside(key, part) for part in parts)
    assert past_last - first == len(parts)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([(b"1",), (b"2",)], [b'{"1","2"}']),
        ([(b"a", None), (b'q"\\', b"b,c")], [b'{"a","q\\"\\\\"}', b'{NULL,"b,c"}']),
        ([(b"NULL",), (b"",)], [b'{"NULL",""}']),
    ],
)
def test_keys_are_written_as_arrays_that_the_server_reads_back(keys: list[Key], expected: list[bytes]) -> None:
    assert expected == arrays(keys)


@given(st.lists(st.tuples(st.none() | st.binary(max_size=5), st.binary(max_size=5))))
def test_a_plan_comes_back_from_json_as_it_was(cuts: list[Key]) -> None:
    plan = Plan(tuple(cuts))
    assert plan == Plan.from_json(plan.to_json())


@given(st.lists(st.tuples(st.integers(1, 1000), st.floats(0, 1e6)), max_size=30))
def test_the_pace_never_stops_and_never_runs_away(taken: list[tuple[int, float]]) -> None:
    pace = Pace(0.3)
    for segments, seconds in taken:
        pace.took(segments, seconds)
        assert 1 <= pace.segments <= pace.most


def test_a_slow_server_is_asked_for_less() -> None:
    pace = Pace(0.3, segments=100)
    pace.took(100, 0.6)
    assert 50 == pace.segments
    pace.too_slow()
    assert 12 == pace.segments
