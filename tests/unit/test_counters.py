"""Where a sequence must stand on the side that takes over, for every definition and count."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.counters import Count, Definition, count_to_set, is_past, numbers_left


@st.composite
def sequences(draw: st.DrawFn) -> tuple[Definition, Count]:
    least = draw(st.integers(-1000, 1000))
    most = least + draw(st.integers(1, 5000))
    increment = draw(st.sampled_from([1, 2, 7, -1, -3]))
    definition = Definition(increment, least, most, draw(st.booleans()), draw(st.integers(1, 50)))
    return definition, Count(draw(st.integers(least, most)), draw(st.booleans()))


@given(sequences(), st.data(), st.integers(0, 2000))
def test_the_new_count_is_never_behind_and_never_out_of_bounds(
    old: tuple[Definition, Count], data: st.DataObject, headroom: int
) -> None:
    definition, there = old
    here = Count(data.draw(st.integers(definition.least, definition.most)), data.draw(st.booleans()))
    wanted = count_to_set(old, (definition, here), headroom)
    assert definition.least <= wanted.last <= definition.most
    assert is_past(definition, wanted, definition, there)
    again = count_to_set(old, (definition, wanted), headroom)
    assert wanted == again


@given(sequences(), sequences())
def test_room_counts_numbers_within_the_bounds_of_both_sides(
    one: tuple[Definition, Count], other: tuple[Definition, Count]
) -> None:
    definition, count = one
    left = numbers_left(definition, count, definition)
    reached = count.last + left * definition.increment
    assert definition.least <= reached <= definition.most
    assert not definition.least <= reached + definition.increment <= definition.most
    assert left >= 0


def test_a_sequence_that_gave_nothing_out_begins_where_it_would_have() -> None:
    definition = Definition(1, 1, 1000, False, 20)
    assert Count(100, False) == count_to_set((definition, Count(100, False)), (definition, Count(1, False)), 10)


def test_a_session_may_take_many_numbers_at_once_on_either_side() -> None:
    definition, cached = Definition(1, 1, 1 << 40, False, 1), Definition(1, 1, 1 << 40, False, 500)
    for old, new in ((definition, cached), (cached, definition)):
        assert Count(610, True) == count_to_set((old, Count(100, True)), (new, Count(1, False)), 10)


def test_a_sequence_is_not_set_back() -> None:
    definition = Definition(-1, -1000, -1, False, 1)
    here = Count(-900, True)
    assert here == count_to_set((definition, Count(-5, True)), (definition, here), 10)
