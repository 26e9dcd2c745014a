"""What is audited, by which key, and what a shape that differs becomes."""

from dataclasses import replace

import pytest

from auditor.shapes import GRACE_SECONDS, ShapeWatch
from comparators.errors import NotReady
from samplers.catalog import Column, PublishedTable, Subscription, TableShape
from samplers.pgoutput import Column as Shown
from samplers.pgoutput import Relation
from samplers.scope import Catalogs, ScopeRouter, choose_key, choose_scope

ALL = frozenset(b"IUDT")
FROM_THE_START = {"public.t": 0}
OPERATIONS = frozenset({"insert", "update", "delete", "truncate"})


def columns(*names):
    return tuple(Column(name, "integer", number + 1, "", True) for number, name in enumerate(names))


def shape(name="t", **more):
    values = {
        "schema": "public", "name": name, "relid": 1, "kind": "r", "unlogged": False, "ancestors": (), "identity": "d",
        "owner": "o", "owned": True, "readable": True, "row_security": False, "columns": columns("id", "a", "b"),
        "primary_key": ("id",), "identity_index": (), "unique_keys": (), "leaves_identified": None, "leaves_full": None,
    }  # fmt: skip
    return TableShape(**{**values, **more})


def published(name="t", operations=OPERATIONS, shown=("id", "a", "b")):
    return PublishedTable("p", "public", name, 1, shown, None, frozenset(operations), False)


def subscription(*tables, state="r", since=7):
    return Subscription(
        oid=77, name="s", enabled=True, owner="o", owned=True, publications=("p",), slot_name="s", runs_as_owner=False,
        owner_superuser=True, owner_may_become_us=True, worker_pid=1, apply_errors=0, sync_errors=0,
        tables=tuple(("public", name, state, since) for name in tables),
    )  # fmt: skip


def catalogs(source, target, shown, ours=None, subscribed=None):
    return Catalogs(
        published=shown,
        source={s.full_name: s for s in source},
        target={s.full_name: s for s in target},
        subscriptions=[subscription(*(subscribed or [p.name for p in shown]))],
        ours=ours if ours is not None else shown,
    )


def scope_of(found):
    return choose_scope(found, lambda name: not name.startswith("public.out"), "auditor_m")


BY_INDEX = shape(identity="i", identity_index=("a",), unique_keys=(("a",),))


@pytest.mark.parametrize(
    ("source", "target", "key"),
    [
        (shape(), shape(), ("id",)),
        (shape(identity="f"), shape(), ("id",)),
        (shape(), shape(identity="f"), ("id",)),
        (BY_INDEX, BY_INDEX, ("a",)),
        (BY_INDEX, shape(identity="f"), ("a",)),
        (shape(identity="f", primary_key=()), shape(identity="f", primary_key=()), ()),
        (shape(primary_key=("a", "id")), shape(primary_key=("id", "a")), ("a", "id")),
    ],
)  # fmt: skip
def test_the_key_is_in_the_old_images_of_both_sides(source, target, key):
    assert key == choose_key(source, target, ALL).columns


@pytest.mark.parametrize("swapped", [False, True])
def test_without_a_shared_identity_only_inserts_and_truncates_are_followed(swapped):
    sides = [shape(identity="f", primary_key=()), shape(identity="n", primary_key=())]
    key = choose_key(*(reversed(sides) if swapped else sides), ALL)
    assert ((), frozenset(b"IT")) == (key.columns, key.operations)


def test_operations_are_those_that_both_publications_show():
    found = catalogs([shape()], [shape()], [published()], ours=[published(operations={"insert", "truncate"})])
    assert frozenset(b"IT") == scope_of(found).tables["public.t"].key.operations


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"shown": []}, "not published"),
        ({"target": []}, "does not exist on the target"),
        ({"ours": []}, "run `auditor prepare` again"),
        ({"subscribed": ["other"]}, "REFRESH PUBLICATION"),
    ],
)
def test_a_table_that_cannot_be_audited_is_named_with_the_reason(change, reason):
    parts = {"source": [shape()], "target": [shape()], "shown": [published()], **change}
    state, why = scope_of(catalogs(**parts)).left_out["public.t"]
    assert "skipped" == state
    assert reason in why


def test_a_table_of_which_only_inserts_can_be_followed_is_not_audited_in_full():
    keyless = shape(identity="n", primary_key=())
    scope = scope_of(catalogs([shape()], [keyless], [published()], ours=[published(operations={"insert", "truncate"})]))
    assert ["partial"] == [entry["state"] for entry in scope.records(FROM_THE_START)]


def test_a_publication_that_shows_inserts_only_by_the_users_will_is_audited_in_full():
    shown = [published(operations={"insert"})]
    scope = scope_of(catalogs([shape()], [shape()], shown))
    assert ["audited"] == [entry["state"] for entry in scope.records(FROM_THE_START)]


def test_a_table_is_not_judged_before_it_is_known_where_its_audit_begins():
    scope = scope_of(catalogs([shape()], [shape()], [published()]))
    (table,) = scope.tables.values()
    assert ["skipped"] == [entry["state"] for entry in scope.records({})]
    for start, since in ((0, table.since), (table.since + 7, table.since + 7)):
        (entry,) = scope.records({table.name: start})
        assert ("audited", since) == (entry["state"], entry["since"])


def test_a_name_with_a_dot_is_never_taken_for_another():
    dotted = shape("b.c")
    scope = scope_of(catalogs([dotted], [dotted], [published("b.c")]))
    assert {} == scope.tables
    assert "dot" in scope.left_out["public.b.c"][1]


def test_a_row_filter_in_our_publication_is_noticed():
    ours = [replace(published(), row_filter="(id > 9)")]
    assert "row filter" in scope_of(catalogs([shape()], [shape()], [published()], ours=ours)).left_out["public.t"][1]


def test_a_relation_that_nobody_knows_is_looked_up_and_then_foreign():
    strangers = set()
    router = ScopeRouter(False, lambda: scope_of(catalogs([shape()], [shape()], [published()])), lambda _: 0, strangers)
    renamed = Relation(9, "o", "t1", "d", (Shown(True, "id", 23, -1),))
    with pytest.raises(NotReady):
        router.route(renamed)
    route = router.route(renamed)
    assert ("o.t1", 0) == (route.plan.table, route.foreign_from)


def test_an_excluded_table_is_no_reason_to_doubt():
    scope = scope_of(catalogs([shape("out")], [], []))
    assert {"public.out": ("excluded", "excluded by the configuration")} == scope.left_out


def test_partitions_that_their_root_stands_for_are_not_missing():
    root, leaf = shape("root", kind="p"), shape("leaf", ancestors=("public.root",))
    assert ["public.root"] == list(scope_of(catalogs([root, leaf], [root, leaf], [published("root")])).tables)
    by_leaf = scope_of(catalogs([root, leaf], [root, leaf], [published("leaf")]))
    assert (["public.leaf"], {}) == (list(by_leaf.tables), by_leaf.left_out)


def test_a_partition_that_nobody_publishes_is_missing():
    root, leaf, other = shape("root", kind="p"), *(shape(n, ancestors=("public.root",)) for n in ("leaf", "other"))
    scope = scope_of(catalogs([root, leaf, other], [root, leaf, other], [published("leaf")]))
    assert ["public.other"] == list(scope.left_out)


def test_a_column_of_one_side_is_a_suspect_then_confirmed_then_healed():
    known = {}
    watch = ShapeWatch("m", ["s"], known.get)
    wide = scope_of(catalogs([shape()], [shape(columns=columns("id", "a", "b", "x"))], [published()]))
    same = scope_of(catalogs([shape()], [shape()], [published()]))
    states = []
    for scope, now in ((same, 0), (wide, 1), (wide, 2), (wide, 2 + GRACE_SECONDS), (same, 99), (same, 100)):
        items = watch.look(scope, now)
        known.update(items)
        states += [(v["state"], tuple(v["columns"])) for k, v in items.items() if k.startswith("settled/")]
    assert [("suspect", ("x",)), ("confirmed", ("x",)), ("healed", ())] == states


def test_a_shape_finding_of_an_earlier_process_heals_too():
    known = {}
    wide = scope_of(catalogs([replace(shape(), columns=columns("id", "a", "b", "x"))], [shape()], [published()]))
    known.update(ShapeWatch("m", ["s"], known.get).look(wide, 1))
    same = scope_of(catalogs([shape()], [shape()], [published()]))
    items = ShapeWatch("m", ["s"], known.get).look(same, 2)
    assert ["healed"] == [value["state"] for value in items.values()]


def test_a_table_that_two_subscriptions_bring_is_left_out_with_the_reason():
    found = catalogs([shape()], [shape()], [published()])
    both = replace(found, subscriptions=[*found.subscriptions, *found.subscriptions])
    scope = scope_of(both)
    assert {} == scope.tables
    state, reason = scope.left_out["public.t"]
    assert "skipped" == state
    assert "several subscriptions" in reason
