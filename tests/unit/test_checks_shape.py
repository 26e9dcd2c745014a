"""What two sides' catalogs mean: equal ones pass, and every single change is told, on either side."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.column_types import holds
from comparators.checks.judges import Denial
from comparators.checks.schema import Both, Column, Part, Published, Relation, Schema
from comparators.checks.shape import CHECKS, judge_shape
from comparators.preflight import Item, ItemStatus, completed
from tests.shape_facts import (
    LEAF,
    OPERATIONS,
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

BLOCKS, CAPACITY, WARN, OK = (
    ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.BLOCKS_CAPACITY, ItemStatus.WARN, ItemStatus.OK,
)  # fmt: skip


def judged(facts: Both) -> dict[str, Item]:
    return {item.name: item for item in completed(judge_shape(facts), CHECKS)}


def worse(facts: Both) -> dict[str, ItemStatus]:
    return {name: item.status for name, item in judged(facts).items() if item.status is not OK}


def told(facts: Both) -> set[str]:
    """Name the items that say something, a note included."""
    return {name for name, item in judged(facts).items() if item.status is not OK or item.count}


def test_equal_facts_pass() -> None:
    assert set() == told(both())


def test_every_check_is_declared_once() -> None:
    names = [check.name for check in CHECKS]

    assert sorted(set(names)) == sorted(names)
    assert {"shape"} == {check.group for check in CHECKS}


names = st.sampled_from(["a", "b", "c", "My Table"])
parts = st.builds(Part, table=names, name=names, kind=st.sampled_from(["check", "unique"]), definition=names,
                  enabled=st.just("O"))  # fmt: skip
schemas = st.builds(
    Schema,
    relations=st.dictionaries(names, st.builds(Relation, name=names, kind=st.just("r"), key_types=st.just(("uuid",)))),
    columns=st.lists(st.builds(Column, table=names, name=names, type=names, not_null=st.booleans(),
                               default=st.none() | names), unique_by=lambda c: (c.table, c.name)).map(tuple),
    constraints=st.lists(parts, unique_by=lambda p: (p.table, p.name)).map(tuple),
    indexes=st.lists(parts, unique_by=lambda p: (p.table, p.name)).map(tuple),
)  # fmt: skip


@given(schemas)
def test_equal_facts_never_block(schema: Schema) -> None:
    published = {name: Published(OPERATIONS) for name in schema.relations}

    items = judged(Both(schema, schema, published))

    assert {item.name for item in items.values() if item.status.blocks} <= {"tables-present"}
    assert items["tables-present"].status.blocks is (not published)


CHANGES: list[tuple[str, Schema]] = [
    *((f"drop {name}", without_relation(SCHEMA, name)) for name in (T, LEAF, ROOT)),
    *((f"{T} {field}", with_relation(SCHEMA, T, **{field: value})) for field, value in {
        "owner": "someone", "row_security": True, "forced": True, "kind": "f",
    }.items()),
    *((f"{LEAF} {field}", with_relation(SCHEMA, LEAF, **{field: value})) for field, value in {
        "bound": "FOR VALUES IN (2)", "parent": None,
    }.items()),
    *((f"column {field}", with_part(SCHEMA, "columns", 1, **{field: value})) for field, value in {
        "name": "z", "type": "bigint", "not_null": True, "default": "6", "generated": "7",
        "collation": "public.d", "position": 5,
    }.items()),
    ("column identity", with_part(SCHEMA, "columns", 0, identity="a")),
    *((f"constraint {field}", with_part(SCHEMA, "constraints", 1, **{field: value})) for field, value in {
        "kind": "unique", "definition": "CHECK (a > 1)",
    }.items()),
    *((f"index {field}", with_part(SCHEMA, "indexes", 1, **{field: value})) for field, value in {
        "kind": "unique index", "definition": "CREATE INDEX ON public.t (b)", "sound": False,
    }.items()),
    *((f"trigger {field}", with_part(SCHEMA, "triggers", 0, **{field: value})) for field, value in {
        "definition": "CREATE TRIGGER other", "enabled": "D",
    }.items()),
    ("trigger always", with_part(SCHEMA, "triggers", 0, enabled="R")),
    ("rule", with_part(SCHEMA, "rules", 0, definition="update")),
    ("rule off", with_part(SCHEMA, "rules", 0, enabled="D")),
    ("policy roles", with_part(SCHEMA, "policies", 0, kind="restrictive r public")),
    ("policy text", with_part(SCHEMA, "policies", 0, definition="(a > 1)")),
    ("event trigger off", with_part(SCHEMA, "event_triggers", 0, enabled="D")),
    ("type members", with_part(SCHEMA, "types", 0, members=("sad", "blue"))),
    ("type order", with_part(SCHEMA, "types", 0, members=("glad", "sad"))),
    ("type kind", with_part(SCHEMA, "types", 0, kind="domain")),
    ("function text", with_part(SCHEMA, "functions", 0, body="xyz")),
]  # fmt: skip


@pytest.mark.parametrize("changed", [schema for _, schema in CHANGES], ids=[name for name, _ in CHANGES])
def test_any_single_change_is_told_whichever_side_has_it(changed: Schema) -> None:
    assert told(both(target=changed))
    assert told(both(source=changed))


@pytest.mark.parametrize("field", ["constraints", "triggers", "rules", "policies", "types", "functions", "indexes"])
def test_any_part_that_only_the_source_has_is_told(field: str) -> None:
    for index, part in enumerate(getattr(SCHEMA, field)):
        if not getattr(part, "implied", False):
            assert told(both(target=without_part(SCHEMA, field, index))), part


@pytest.mark.parametrize("field", ["constraints", "triggers", "rules", "policies"])
def test_any_part_that_only_the_target_has_is_told(field: str) -> None:
    for index, part in enumerate(getattr(SCHEMA, field)):
        assert told(both(source=without_part(SCHEMA, field, index))), part


def test_a_right_that_is_missing_on_the_target_is_a_warning_and_one_more_is_none() -> None:
    less = without_part(SCHEMA, "grants", 0)

    assert {"grants": WARN} == worse(both(target=less))
    assert {} == worse(both(source=less))


@pytest.mark.parametrize("field", ["constraints", "indexes", "triggers"])
def test_the_same_definition_under_another_name_is_the_same(field: str) -> None:
    for index in range(len(getattr(SCHEMA, field))):
        assert set() == told(both(target=with_part(SCHEMA, field, index, name="renamed")))


@pytest.mark.parametrize(
    ("field", "index", "name", "status"),
    [
        ("indexes", 1, "indexes-present", CAPACITY),
        ("indexes", 2, "indexes-present", BLOCKS),
        ("constraints", 0, "constraints-alike", BLOCKS),
        ("constraints", 2, "foreign-keys", BLOCKS),
        ("functions", 0, "functions-present", BLOCKS),
        ("functions", 1, "functions-present", WARN),
        ("event_triggers", 0, "event-triggers", WARN),
    ],
)
def test_what_is_missing_is_graded_by_what_it_means(field: str, index: int, name: str, status: ItemStatus) -> None:
    assert {name: status} == worse(both(target=without_part(SCHEMA, field, index)))


@pytest.mark.parametrize(("index", "kind", "status"), [(1, "index", CAPACITY), (2, "unique index", BLOCKS)])
def test_an_invalid_index_on_the_target_is_no_missing_one(index: int, kind: str, status: ItemStatus) -> None:
    assert {"indexes-valid": status} == worse(both(target=with_part(SCHEMA, "indexes", index, sound=False)))
    assert {"indexes-valid": CAPACITY} == worse(both(source=with_part(SCHEMA, "indexes", index, sound=False)))


@pytest.mark.parametrize("state", ["R", "A"])
def test_a_trigger_that_fires_in_apply_blocks_also_where_the_source_has_it_so(state: str) -> None:
    same = with_part(SCHEMA, "triggers", 0, enabled=state)

    assert {"triggers-in-apply": BLOCKS} == worse(both(same, same))


def test_foreign_keys_that_are_switched_off_on_the_target_only() -> None:
    off = replace(SCHEMA, triggers=(*SCHEMA.triggers, Part(T, "t_fkey", "foreign key", enabled="D")))

    assert {"foreign-keys-enforced": BLOCKS} == worse(both(target=off))
    assert {} == worse(both(off, off))


@pytest.mark.parametrize(
    ("identity", "keyed", "expected"),
    [
        ({"identity": "n", "identified": False}, True, {"replica-identity"}),
        ({"identity": "d", "identified": False}, True, {"replica-identity"}),
        ({"identity": "f"}, False, set()),
        ({"identity": "d"}, False, {"replica-identity"}),
    ],
)
def test_updates_need_an_identity_on_the_source_and_a_way_to_the_row_on_the_target(
    identity: dict[str, Any], keyed: bool, expected: set[str]
) -> None:
    source = with_relation(SCHEMA, T, **identity)
    target = SCHEMA if keyed else with_relation(SCHEMA, T, key_types=())

    assert expected == {name for name, status in worse(both(source, target)).items() if status.blocks}


def test_a_table_that_publishes_inserts_only_needs_no_identity() -> None:
    source = with_relation(SCHEMA, T, identity="n", identified=False)

    assert {} == worse(both(source, published={**PUBLISHED, T: Published(frozenset({"insert"}))}))


def test_a_partition_published_by_its_root_needs_an_identity_of_its_own() -> None:
    source = with_relation(SCHEMA, LEAF, identity="n", identified=False)

    assert (LEAF,) == judged(both(source))["replica-identity"].subjects


def test_a_column_that_the_publication_leaves_out_is_a_warning_where_the_target_lacks_it() -> None:
    listed = {**PUBLISHED, T: Published(OPERATIONS, columns=("id", "b", "c"))}
    less = without_part(SCHEMA, "columns", 1)

    assert {"columns-present": WARN} == worse(both(target=less, published=listed))
    assert {"columns-present": BLOCKS} == worse(both(target=less))


def test_a_column_that_both_sides_number_in_another_way_is_a_warning() -> None:
    serial = with_part(SCHEMA, "columns", 0, identity="", default="nextval('public.s'::regclass)")

    assert {"columns-defaults": WARN} == worse(both(source=serial))


def test_partitions_may_differ_where_the_target_divides_the_root_otherwise() -> None:
    flat = with_relation(without_relation(SCHEMA, LEAF), ROOT, kind="r", partitioned_by=None)

    assert {"partitions-alike": WARN} == worse(both(target=flat))


def test_partitions_published_by_their_own_names_must_be_there() -> None:
    leaves = {T: PUBLISHED[T], LEAF: Published(OPERATIONS)}

    assert BLOCKS is worse(both(target=without_relation(SCHEMA, LEAF), published=leaves))["tables-present"]


def test_a_partition_that_nobody_publishes_is_told() -> None:
    more = replace(SCHEMA, relations={
        **SCHEMA.relations, "public.late": replace(SCHEMA.relations[LEAF], name="public.late", bound="DEFAULT"),
    })  # fmt: skip

    assert ("public.late",) == judged(both(more, more, published={T: PUBLISHED[T], LEAF: Published(OPERATIONS)}))[
        "tables-published"
    ].subjects


@pytest.mark.parametrize(
    ("kind", "more", "name"),
    [
        ("r", {}, "tables-published"),
        ("r", {"unlogged": True}, "unlogged-tables"),
        ("f", {}, "foreign-tables"),
        ("m", {}, "materialized-views"),
    ],
)
def test_what_replication_leaves_out_is_told_unless_the_configuration_leaves_it_out(
    kind: str, more: dict[str, Any], name: str
) -> None:
    extra = replace(SCHEMA, relations={**SCHEMA.relations, "public.x": Relation("public.x", kind, **more)})

    assert {name: WARN} == worse(both(extra, extra))
    assert {} == worse(both(extra, extra, selects=lambda table: table != "public.x"))


def test_a_table_that_is_unlogged_on_the_target_blocks() -> None:
    assert {"unlogged-tables": BLOCKS} == worse(both(target=with_relation(SCHEMA, T, unlogged=True)))


def test_a_table_that_only_the_target_has_is_told() -> None:
    extra = replace(SCHEMA, relations={**SCHEMA.relations, "public.x": Relation("public.x", "r")})

    assert {"tables-extra": WARN} == worse(both(target=extra))
    assert {} == worse(both(target=extra, selects=lambda table: table != "public.x"))


def test_large_objects_of_the_source_block_and_those_of_the_target_do_not() -> None:
    with_objects = replace(SCHEMA, large_objects=3)

    assert {"large-objects": BLOCKS} == worse(both(source=with_objects))
    assert 3 == judged(both(source=with_objects))["large-objects"].count
    assert {} == worse(both(target=with_objects))


def test_an_empty_scope_is_unknown() -> None:
    assert ItemStatus.UNKNOWN is worse(both(published={}))["tables-present"]
    assert ItemStatus.UNKNOWN is worse(both(selects=lambda table: False))["tables-present"]


@pytest.mark.parametrize("refused", ["triggers", "relations", "large_objects"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_what_was_refused_on_either_side_is_unknown_where_it_is_needed(refused: str, side: str) -> None:
    less = replace(SCHEMA, denied={refused: Denial("refused", "GRANT it")})

    items = judged(both(**{side: less}))

    unknown = {name: item for name, item in items.items() if item.status is ItemStatus.UNKNOWN}
    assert unknown
    assert {"GRANT it"} == {item.remedy for item in unknown.values()}
    assert ("triggers-alike" in unknown) is (refused in ("triggers", "relations"))


def test_many_objects_are_counted_and_twenty_named() -> None:
    many = {f"public.x{number:02}": Relation(f"public.x{number:02}", "r") for number in range(30)}
    published = {**PUBLISHED, **{name: Published(OPERATIONS) for name in many}}

    item = judged(both(replace(SCHEMA, relations={**SCHEMA.relations, **many}), published=published))["tables-present"]

    assert (30, 20) == (item.count, len(item.subjects))


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("integer", "bigint", True), ("bigint", "integer", False), ("smallint", "numeric", True),
        ("integer", "numeric(10,2)", False), ("real", "double precision", True), ("double precision", "real", False),
        ("character varying(20)", "text", True), ("character varying(20)", "character varying(30)", True),
        ("character varying(20)", "character varying(10)", False),
        ("character varying", "character varying(10)", False),
        ("character varying(20)", "character varying", True), ("text", "character varying", False),
        ("numeric(10,2)", "numeric(12,2)", True), ("numeric(10,2)", "numeric(12,4)", False),
        ("numeric(10,2)", "numeric", True), ("character(3)", "character(5)", False), ("integer", "text", False),
        ("timestamp(3) without time zone", "timestamp without time zone", False), ("public.mood", "text", False),
        ("integer[]", "integer[]", True),
    ],
)  # fmt: skip
def test_a_wider_type_holds_the_values_of_a_narrower_one(source: str, target: str, expected: bool) -> None:
    assert expected is holds(source, target)
