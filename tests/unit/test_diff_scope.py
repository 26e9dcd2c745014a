"""Which tables `auditor diff` compares: every row of either side exactly once, and nothing vanishes unnamed."""

import pytest

from auditor.diff_scope import (
    Pairing,
    lopsided_columns,
    pair_names,
    selected,
    several_in_one,
    told_by_parts,
    unreadable,
)
from comparators.errors import SettingInvalid
from comparators.mapping import NO_MAPPING, ColumnRules, Mapping, SideRules
from samplers.catalog import Column, TableShape


def shape(name: str, *columns: str, ancestors: tuple[str, ...] = (), kind: str = "r") -> TableShape:
    schema, _, table = name.partition(".")
    listed = tuple(Column(one, "integer", number, "", False) for number, one in enumerate(columns or ("id",), 1))
    return TableShape(
        schema=schema, name=table, relid=1, kind=kind, unlogged=False, ancestors=ancestors, identity="d", owner="o",
        owned=True, readable=True, row_security=False, columns=listed, primary_key=("id",), identity_index=(),
        unique_keys=(), leaves_identified=None, leaves_full=None,
    )  # fmt: skip


def side(*shapes: TableShape) -> dict[str, TableShape]:
    return {one.full_name: one for one in shapes}


def plain(*names: str) -> dict[str, TableShape]:
    return side(*(shape(name) for name in names))


ROOT = shape("public.r", kind="p")
LEAVES = shape("public.r1", ancestors=("public.r",)), shape("public.r2", ancestors=("public.r",))


def test_tables_of_one_name_meet_and_the_others_are_named():
    found = pair_names(plain("public.a", "public.b"), plain("public.a", "public.c"), NO_MAPPING)
    assert found == Pairing({"public.a": "public.a"}, ("public.b",), ("public.c",))


def test_a_table_meets_the_one_that_the_mapping_names():
    rules = Mapping({"public.a": ColumnRules(target="new.b")})
    found = pair_names(plain("public.a"), plain("public.a", "new.b"), rules)
    assert found == Pairing({"public.a": "new.b"}, (), ("public.a",))


def test_partitions_are_read_through_their_root_where_both_sides_have_it():
    partitioned = side(ROOT, *LEAVES)
    for target in (partitioned, plain("public.r")):
        assert pair_names(partitioned, target, NO_MAPPING) == Pairing({"public.r": "public.r"})
        assert pair_names(target, partitioned, NO_MAPPING) == Pairing({"public.r": "public.r"})


def test_partitions_meet_one_by_one_where_the_other_side_has_no_root():
    partitioned, single = side(ROOT, *LEAVES), plain("public.r1")
    assert pair_names(partitioned, single, NO_MAPPING) == Pairing({"public.r1": "public.r1"}, ("public.r2",))
    assert pair_names(single, partitioned, NO_MAPPING) == Pairing({"public.r1": "public.r1"}, (), ("public.r2",))


def test_a_partitioned_table_that_the_other_side_lacks_is_named_once():
    assert pair_names(side(ROOT, *LEAVES), {}, NO_MAPPING) == Pairing({}, ("public.r",))


def test_marker_and_canary_of_an_audit_are_left_out_unless_they_are_named():
    both = plain("auditor_orders.marker", "auditor_orders.canary", "auditor_orders.mine", "public.marker")
    found = pair_names(both, both, NO_MAPPING)
    assert found.ours == ("auditor_orders.canary", "auditor_orders.marker")
    assert set(found.both) == {"auditor_orders.mine", "public.marker"}
    assert selected(found, ["auditor_orders.canary"]).both == {"auditor_orders.canary": "auditor_orders.canary"}


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("public.a", {"public.a"}),
        ("public.*", {"public.a", "public.b"}),
        ("a", {"public.a", "old.a"}),
        ("new.z", {"old.z"}),
    ],
)
def test_patterns_choose_by_either_sides_name(pattern, names):
    everything = Pairing({"public.a": "public.a", "public.b": "public.b", "old.a": "old.a", "old.z": "new.z"})
    assert names == set(selected(everything, [pattern]).both)


@pytest.mark.parametrize("name", ["[a]*?", "a?", "[!x]"])
def test_a_name_with_signs_of_patterns_means_that_table_and_no_other(name: str):
    everything = Pairing({one: one for one in (f"public.{name}", "public.ab", "public.y", "public.abc")})
    for pattern in (name, f"public.{name}"):
        assert set(selected(everything, [pattern]).both) == {f"public.{name}"}


def test_tables_that_meet_in_one_are_skipped_unless_filters_part_its_rows():
    source, target = plain("public.a", "public.b"), plain("public.t")
    for where, skipped in ((None, {"public.a", "public.b"}), ("true", set())):
        rules = Mapping({
            one: ColumnRules(target="public.t", on_target=SideRules(where=where)) for one in source
        })  # fmt: skip
        assert skipped == several_in_one(pair_names(source, target, rules), rules).keys()


def test_a_table_whose_parts_meet_tables_of_their_own_is_skipped_and_said():
    inherited, partitioned = plain("public.r", "public.r1", "public.r2"), side(ROOT, *LEAVES)
    found = pair_names(inherited, partitioned, NO_MAPPING)
    assert set(found.both) == {"public.r", "public.r1", "public.r2"}
    assert "one by one" in told_by_parts(found, inherited, partitioned)["public.r"].reason
    assert not told_by_parts(found, inherited, inherited)
    attached = plain("public.r", "public.r1")  # the other part is nobody else's: a difference remains one
    assert not told_by_parts(pair_names(attached, partitioned, NO_MAPPING), attached, partitioned)


def test_a_pattern_also_chooses_what_one_side_lacks():
    assert selected(Pairing({"s.a": "s.a"}, ("s.b",), ("s.c",)), ["b"]) == Pairing({}, ("s.b",))


def test_a_pattern_that_names_nothing_is_an_error_and_no_proof():
    with pytest.raises(SettingInvalid, match=r"--table: 'ordres' names no table") as error:
        selected(Pairing({"public.orders": "public.orders"}), ["orders", "ordres"])
    assert "schema.table" in error.value.hint


def test_a_name_with_a_dot_is_skipped_and_said():
    both = plain("odd.na.me")
    found = pair_names(both, both, NO_MAPPING)
    assert "dot" in unreadable(found)["odd.na.me"].reason


def test_columns_that_one_side_lacks_are_named_unless_a_rule_leaves_them_out():
    source, target = shape("public.t", "id", "old", "kept"), shape("public.t", "id", "kept", "extra")
    assert lopsided_columns("public.t", source, target, NO_MAPPING, None) == ("extra", "old")
    renamed = Mapping({"public.t": ColumnRules(renamed={"old": "extra"})})
    assert lopsided_columns("public.t", source, target, renamed, None) == ()
    excluded = Mapping({"public.t": ColumnRules(excluded=frozenset({"old", "extra"}))})
    assert lopsided_columns("public.t", source, target, excluded, None) == ()


def test_a_column_that_is_not_published_is_not_owed_to_the_target():
    source, target = shape("public.t", "id", "secret"), shape("public.t", "id")
    assert lopsided_columns("public.t", source, target, NO_MAPPING, ["id"]) == ()
