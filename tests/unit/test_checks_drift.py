"""What changed since the baseline: seen, compared with the other side's change, remembered."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.drift import (
    CHECKS,
    Changes,
    Drifted,
    DriftState,
    advance,
    begin,
    changes,
    figures,
    judge_denied,
    judge_drift,
    state_json,
    state_of,
)
from comparators.checks.drift_objects import Observation, observe
from comparators.checks.judges import Denial
from comparators.checks.schema import Both, Published, Schema
from comparators.checks.sequences import BothSequences, Sequence, Sequences
from comparators.preflight import ItemStatus, completed
from tests.shape_facts import (
    LEAF,
    PUBLISHED,
    ROOT,
    SCHEMA,
    T,
    both,
    with_part,
    with_relation,
    without_part,
    without_relation,
)

SEQUENCE = Sequence("public.s", "integer", owner_table=T, owner_column="id")
NONE = BothSequences(Sequences((SEQUENCE,)), Sequences((SEQUENCE,)))


def at(facts: Both, known: Any = (), sequences: BothSequences = NONE) -> Observation:
    return observe(facts, sequences, known)


def after(first: Both, then: Both, sequences: BothSequences = NONE) -> tuple[DriftState, Changes]:
    """Look twice: at the baseline, and once more."""
    state = begin(at(first), 1, 100.0)
    observation = at(then, state.source, sequences)
    return advance(state, observation, 200.0), changes(state, observation)


def test_nothing_changed_says_nothing() -> None:
    state, seen = after(both(), both())

    assert Changes() == seen
    assert {"changes_unlike": 0, "changes_alike": 0, "changed_at": None} == {
        name: value for name, value in figures(state, seen).items() if name != "objects"
    }
    assert {ItemStatus.OK} == {item.status for item in completed(judge_drift(Drifted(state, seen)), CHECKS)}


CHANGES: list[tuple[str, Schema]] = [
    (f"table {T}", with_relation(SCHEMA, T, row_security=True)),
    (f"table {LEAF}", with_relation(SCHEMA, LEAF, bound="DEFAULT")),
    (f"table {LEAF}", without_relation(SCHEMA, LEAF)),
    (f"columns {T}", with_part(SCHEMA, "columns", 1, type="bigint")),
    (f"columns {T}", with_part(SCHEMA, "columns", 1, default="6")),
    (f"columns {T}", with_part(SCHEMA, "columns", 1, not_null=True)),
    (f"columns {T}", without_part(SCHEMA, "columns", 1)),
    (f"constraints {T}", without_part(SCHEMA, "constraints", 1)),
    (f"constraints {T}", with_part(SCHEMA, "constraints", 1, definition="CHECK (a > 7)")),
    (f"unique_indexes {T}", without_part(SCHEMA, "indexes", 2)),
    (f"triggers {T}", with_part(SCHEMA, "triggers", 0, enabled="D")),
    (f"rules {T}", without_part(SCHEMA, "rules", 0)),
    (f"policies {T}", with_part(SCHEMA, "policies", 0, definition="true")),
    ("type public.mood", with_part(SCHEMA, "types", 0, members=("sad", "glad", "calm"))),
]


@pytest.mark.parametrize(("name", "changed"), CHANGES, ids=[f"{n} {i}" for i, (n, _) in enumerate(CHANGES)])
def test_any_change_on_one_side_is_unlike_and_on_both_alike(name: str, changed: Schema) -> None:
    for one_side in (both(source=changed), both(target=changed)):
        state, seen = after(both(), one_side)
        assert name in seen.unlike
        assert 200.0 == state.changed_at

    state, seen = after(both(), both(changed, changed))
    assert () == seen.unlike
    assert 200.0 == state.changed_at


def test_the_same_change_on_sides_that_were_unequal_is_alike() -> None:
    wider = with_part(SCHEMA, "columns", 3, type="text")
    dropped, wider_dropped = (without_part(schema, "columns", 1) for schema in (SCHEMA, wider))

    assert ((f"columns {T}",), ()) == _sorted(after(both(target=wider), both(dropped, wider_dropped)))
    assert ((), (f"columns {T}",)) == _sorted(after(both(target=wider), both(dropped, wider)))


def test_a_side_that_comes_to_be_like_the_other_is_alike() -> None:
    wider = with_part(SCHEMA, "columns", 3, type="text")

    assert ((f"columns {T}",), ()) == _sorted(after(both(target=wider), both(wider, wider)))


def _sorted(seen: tuple[DriftState, Changes]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return seen[1].alike, seen[1].unlike


@pytest.mark.parametrize(
    "changed",
    [
        with_relation(SCHEMA, T, owner="someone"),
        with_relation(SCHEMA, T, identity="f"),
        with_part(SCHEMA, "columns", 1, position=9),
        with_part(SCHEMA, "constraints", 1, name="renamed"),
        with_part(SCHEMA, "constraints", 1, sound=False),
        with_part(SCHEMA, "indexes", 0, definition="CREATE UNIQUE INDEX ON public.t (z)"),
        without_part(SCHEMA, "grants", 0),
        without_part(SCHEMA, "functions", 0),
        without_relation(SCHEMA, "public.v"),
        replace(SCHEMA, large_objects=5),
    ],
)
def test_what_changes_no_row_and_no_rule_is_no_drift(changed: Schema) -> None:
    assert Changes() == after(both(), both(source=changed))[1]
    assert Changes() == after(both(), both(target=changed))[1]


def test_an_index_on_one_side_is_harmless_and_asks_for_no_sweep() -> None:
    state, seen = after(both(), both(target=without_part(SCHEMA, "indexes", 1)))

    assert Changes(harmless=(f"indexes {T}",)) == seen
    assert state.changed_at is None


@pytest.mark.parametrize("changed", [{"increment": 2}, {"most": 99}, {"type": "bigint"}, {"cycles": True}])
def test_a_sequence_defined_otherwise_is_unlike_and_its_value_is_not(changed: dict[str, Any]) -> None:
    other = Sequences((replace(SEQUENCE, **changed),))

    for sequences in (replace(NONE, source=other), replace(NONE, target=other)):
        assert ("sequence public.s",) == after(both(), both(), sequences)[1].unlike
    assert Changes() == after(both(), both(), replace(NONE, source=Sequences((replace(SEQUENCE, last=5),))))[1]


@pytest.mark.parametrize(
    "shown",
    [
        {ROOT: PUBLISHED[ROOT]},
        {**PUBLISHED, T: Published(frozenset({"insert"}))},
        {**PUBLISHED, T: replace(PUBLISHED[T], row_filter="(a > 1)")},
        {**PUBLISHED, T: replace(PUBLISHED[T], columns=("id",))},
    ],
)
def test_a_publication_that_shows_less_blocks(shown: dict[str, Published]) -> None:
    state, seen = after(both(), both(published=shown))

    assert (f"publication {T}",) == seen.published
    assert 1 == figures(state, seen)["changes_unlike"]
    assert ItemStatus.BLOCKS_CORRECTNESS in {item.status for item in judge_drift(Drifted(state, seen))}


def test_a_table_that_was_published_later_asks_for_a_sweep_and_blocks_nothing() -> None:
    state, seen = after(both(published={ROOT: PUBLISHED[ROOT]}), both())

    assert ((), ()) == (seen.unlike, seen.published)
    assert f"publication {T}" in seen.alike
    assert 200.0 == state.changed_at


def test_a_table_that_was_dropped_on_both_sides_is_alike_and_its_publication_is_no_matter() -> None:
    gone = without_relation(SCHEMA, T)
    state, seen = after(both(), both(gone, gone), BothSequences(Sequences(), Sequences()))

    assert ((), ()) == (seen.unlike, seen.published)
    assert f"table {T}" in seen.alike
    assert 200.0 == state.changed_at


def test_a_table_that_the_configuration_leaves_out_is_no_change() -> None:
    def kept(table: str) -> bool:
        return table != T

    state, seen = after(both(), both(target=without_relation(SCHEMA, T), selects=kept), replace(NONE, selects=kept))

    assert Changes() == seen
    assert state.changed_at is None


def test_partitions_of_a_root_that_the_target_divides_otherwise_come_and_go() -> None:
    flat = with_relation(without_relation(SCHEMA, LEAF), ROOT, kind="r", partitioned_by=None)
    gone = without_relation(SCHEMA, LEAF)

    assert Changes() == after(both(gone, flat), both(SCHEMA, flat))[1]


def test_a_change_taken_back_is_remembered_by_its_time() -> None:
    state = begin(at(both()), 1, 100.0)
    state = advance(state, at(both(source=CHANGES[3][1]), state.source), 200.0)
    state = advance(state, at(both(), state.source), 300.0)
    last = at(both(), state.source)

    assert Changes() == changes(state, last)
    assert 300.0 == advance(state, last, 400.0).changed_at


def test_an_empty_baseline_is_unknown() -> None:
    state = begin(at(both(published={}), (), BothSequences(Sequences(), Sequences())), 1, 100.0)

    items = {item.name: item for item in judge_drift(Drifted(state, Changes()))}

    assert ItemStatus.UNKNOWN is items["drift-baseline"].status


def test_what_was_refused_leaves_every_item_unknown() -> None:
    items = judge_denied({"policies": Denial("the role may not", "GRANT it")})

    assert [check.name for check in CHECKS] == [item.name for item in items]
    assert {(ItemStatus.UNKNOWN, "GRANT it")} == {(item.status, item.remedy) for item in items}


digests = st.dictionaries(st.text(max_size=8), st.integers(0, (1 << 64) - 1).map(lambda n: f"{n:016x}"), max_size=5)


@given(digests, digests, digests, digests, st.none() | st.floats(0, 1e10))
def test_a_record_gives_the_state_back(a: Any, b: Any, c: Any, d: Any, changed_at: float | None) -> None:
    state = DriftState(3, 100.0, a, {**a, **b}, c, {**b, **d}, changed_at)

    assert state == state_of(json.loads(json.dumps(state_json(state))))


@pytest.mark.parametrize(
    "spoilt",
    [{"generation": "1"}, {"at": None}, {"both": []}, {"source": {"t": 5}}, {"seen_target": None},
     {"changed_at": "soon"}, {"target": {"t": "zz"}}],
)  # fmt: skip
def test_a_spoilt_record_is_none(spoilt: dict[str, Any]) -> None:
    record = state_json(begin(at(both()), 1, 100.0))

    assert state_of(record) is not None
    assert state_of({**record, **spoilt}) is None
    assert state_of(None) is None


def test_the_record_holds_digests_only() -> None:
    text = json.dumps(state_json(begin(at(both()), 1, 100.0)))

    assert "CHECK" not in text
    assert "numeric" not in text
