"""What two sides' sequences mean."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.judges import Denial
from comparators.checks.sequences import (
    CHECKS,
    BothSequences,
    Sequence,
    Sequences,
    judge_sequences,
    least_left,
    share_left,
)
from comparators.preflight import Item, ItemStatus, completed

ONE = Sequence("public.s", "integer", 1, 1, 1000, last=10)
OK, BLOCKS, CAPACITY = ItemStatus.OK, ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.BLOCKS_CAPACITY


def judged(source: Sequence, *target: Sequence, selects: object = None) -> dict[str, Item]:
    chosen = selects if callable(selects) else lambda table: True
    both = BothSequences(Sequences((source,)), Sequences(target), chosen)
    return {item.name: item for item in completed(judge_sequences(both), CHECKS)}


def worse(*sequences: Sequence) -> dict[str, ItemStatus]:
    return {name: item.status for name, item in judged(*sequences).items() if item.status is not OK}


@given(
    st.builds(
        Sequence, name=st.just("public.s"), increment=st.sampled_from([1, 5, -1]), least=st.just(-1000),
        most=st.integers(1000, 2000), cycles=st.booleans(), cache=st.integers(1, 50),
        last=st.one_of(st.none(), st.integers(-50, 50)),
    ),
    st.one_of(st.none(), st.integers(-50, 50)),
)  # fmt: skip
def test_equal_definitions_with_room_never_block_whatever_the_values(one: Sequence, value: int | None) -> None:
    assert {} == worse(one, replace(one, last=value))


@pytest.mark.parametrize(
    "changed", [{"type": "bigint"}, {"increment": 2}, {"least": 0}, {"most": 999}, {"cycles": True}]
)
def test_each_part_of_the_definition_counts_both_ways_round(changed: dict[str, object]) -> None:
    other = replace(ONE, **changed)  # type: ignore[arg-type]

    assert BLOCKS is judged(ONE, other)["sequences-alike"].status
    assert BLOCKS is judged(other, ONE)["sequences-alike"].status


def test_a_missing_one_is_named_and_one_more_on_the_target_is_not() -> None:
    assert ("public.s",) == judged(ONE)["sequences-present"].subjects
    assert {} == worse(ONE, ONE, replace(ONE, name="public.more"))


def test_the_sequence_of_the_same_column_is_the_same_under_another_name() -> None:
    owned = replace(ONE, owner_table="public.t", owner_column="id")

    assert {} == worse(owned, replace(owned, name="public.t_id_seq1"))


@pytest.mark.parametrize(
    ("sequence", "share"),
    [
        (ONE, 0.99),
        (replace(ONE, last=1000), 0.0),
        (replace(ONE, last=999, increment=2), 0.0),
        (replace(ONE, last=None), None),
        (replace(ONE, cycles=True), None),
        (replace(ONE, column_most=500), 0.98),
        (replace(ONE, increment=-1, last=11), 0.01),
        (replace(ONE, last=2000), 0.0),
    ],
)
def test_the_share_left_counts_the_numbers_that_can_still_be_given_out(sequence: Sequence, share: float | None) -> None:
    assert share == share_left(sequence)


def test_the_targets_narrower_bounds_count() -> None:
    assert 0.0 == share_left(replace(ONE, last=500), replace(ONE, most=400))
    assert 0.0 == least_left(BothSequences(Sequences((replace(ONE, last=500),)), Sequences((replace(ONE, most=400),))))


@given(st.integers(1, 1000))
def test_headroom_closes_below_a_tenth_and_the_last_number_blocks_more(last: int) -> None:
    status = judged(replace(ONE, last=last), ONE)["sequences-headroom"].status

    assert (BLOCKS if last == 1000 else CAPACITY if last > 900 else OK) is status


@pytest.mark.parametrize(("increment", "source", "target", "behind"), [(1, 9, 5, 1), (1, 5, 9, 0), (-1, 5, 9, 1),
                                                                      (1, 5, None, 1), (1, None, None, 0)])  # fmt: skip
def test_a_lagging_value_is_a_note_only(increment: int, source: int | None, target: int | None, behind: int) -> None:
    one = replace(ONE, increment=increment, least=-1000, last=source)

    item = judged(one, replace(one, last=target))["sequences-values"]

    assert (OK, behind) == (item.status, item.count)


def test_a_value_that_was_not_read_is_unknown() -> None:
    item = judged(replace(ONE, readable=False, last=None), ONE)["sequences-headroom"]

    assert ItemStatus.UNKNOWN is item.status
    assert item.remedy.startswith("on the source: GRANT SELECT ON ALL SEQUENCES IN SCHEMA public")


def test_a_sequence_belongs_to_the_tables_that_use_it() -> None:
    left_out = {"public.t", "public.s"}
    used = replace(ONE, callers=("public.t",))

    assert {} == {n: i for n, i in judged(used, selects=lambda t: t not in left_out).items() if i.status is not OK}
    both = replace(used, owner_table="public.kept")
    assert ("public.s",) == judged(both, selects=lambda t: t not in left_out)["sequences-present"].subjects


def test_refused_catalogs_leave_every_item_unknown() -> None:
    both = BothSequences(Sequences((ONE,)), Sequences((), {"sequences": Denial("no", "GRANT")}))

    assert {ItemStatus.UNKNOWN} == {item.status for item in judge_sequences(both)}
