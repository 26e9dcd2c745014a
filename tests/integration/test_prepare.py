"""`prepare` and `teardown` on a real pair: what is created, what goes, and that the user's replication never stops."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from comparators.errors import NeedsOperator, NotReady, SettingInvalid
from comparators.positions import Side
from samplers.objects import PrepareReport, PrepareRequest, prepare
from samplers.steps import Step
from samplers.teardown import teardown
from tests.helpers import Database, Pair, unique_name, wait_for

SCHEMA = """
CREATE SCHEMA "Odd";
CREATE TABLE "Odd"."Mixed Case" ("Id" int, part text, v text, PRIMARY KEY (part, "Id"));
CREATE TABLE plain (id int PRIMARY KEY, v text);
CREATE TABLE whole (a int, b text);
ALTER TABLE whole REPLICA IDENTITY FULL;
CREATE TABLE log_only (a int);
CREATE TABLE events (id int, day date, v text, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
"""


class Killed(Exception):
    """Stands for kill -9 between two statements."""


def dies_after(number: int) -> Callable[[Step], None]:
    """Die once that many statements are done."""
    done = 0

    def observer(step: Step) -> None:
        nonlocal done
        done += 1
        if done == number:
            raise Killed(step.what)

    return observer


def request_for(pair: Pair, migration: str | None = None, **changes: Any) -> PrepareRequest:
    own = f"auditor_{migration or pair.name}"
    values: dict[str, Any] = {
        "source_conninfo": pair.source.dsn, "target_conninfo": pair.target.dsn,
        "publications": (pair.publication,), "subscriptions": (pair.subscription,),
        "schema": own, "source_slot": f"{own}_source", "target_slot": f"{own}_target",
        "publication": own, "publication_inserts": f"{own}_inserts",
    }  # fmt: skip
    return PrepareRequest(**{**values, **changes})


def ours(pair: Pair) -> list[tuple[Any, ...]]:
    """List every object of ours on both sides."""
    return [
        (side, *row)
        for side, database in (("source", pair.source), ("target", pair.target))
        for row in database.rows(
            r"""SELECT 'slot', slot_name::text FROM pg_replication_slots
            WHERE slot_name LIKE 'auditor\_%' AND database = current_database()
            UNION ALL SELECT 'publication', pubname FROM pg_publication WHERE pubname LIKE 'auditor\_%'
            UNION ALL SELECT 'schema', nspname FROM pg_namespace WHERE nspname LIKE 'auditor\_%'
            UNION ALL SELECT 'published', tablename FROM pg_publication_tables WHERE schemaname LIKE 'auditor\_%'"""
        )
    ]


def members(pair: Pair, publication: str) -> set[str]:
    return {
        f"{schema}.{name}"
        for schema, name in pair.target.rows(
            "SELECT schemaname, tablename FROM pg_publication_tables WHERE pubname = %s", publication
        )
    }


def still_applies(pair: Pair) -> None:
    """Change every kind of row on the source and wait until the target shows it."""
    pair.source.execute(
        """INSERT INTO plain SELECT coalesce(max(id), 0) + 1, 'new' FROM plain;
        UPDATE plain SET v = v || '!';
        INSERT INTO log_only VALUES (1)"""
    )
    pair.catch_up(seconds=20)
    query = "SELECT count(*), string_agg(v, ',' ORDER BY id) FROM plain"
    assert pair.source.rows(query) == pair.target.rows(query)


@pytest.fixture
def shop(pair: Pair) -> Pair:
    pair.execute(SCHEMA)
    pair.replicate("ALL TABLES")
    return pair


def test_everything_is_created_once_and_kept_afterwards(shop: Pair):
    request = request_for(shop)
    first = prepare(request)
    assert () == first.needs_person
    assert first.baseline is not None
    again = prepare(request_for(shop, baseline=first.baseline))
    assert ((), first.baseline) == (again.created, again.baseline)
    assert {"slot", "publication", "schema", "published"} == {row[1] for row in ours(shop)}
    still_applies(shop)


def test_teardown_leaves_nothing_of_ours_and_is_idempotent(shop: Pair):
    prepare(request_for(shop))
    still_applies(shop)
    assert () == teardown(request_for(shop)).needs_person
    assert [] == ours(shop)
    assert () == teardown(request_for(shop)).removed
    still_applies(shop)


def test_a_dry_run_changes_nothing_and_prints_what_would_run(shop: Pair):
    report = prepare(request_for(shop), dry_run=True)
    assert ([], None) == (ours(shop), report.baseline)
    assert any(text.startswith("CREATE PUBLICATION") for text in report.statements_by_side["target"])
    prepare(request_for(shop))
    before = ours(shop)
    assert teardown(request_for(shop), dry_run=True).statements
    assert before == ours(shop)


@pytest.mark.parametrize("published", ["ALL TABLES", "TABLE plain, log_only, events"])
def test_killed_between_any_two_statements_it_is_finished_by_the_next_run(pair: Pair, published: str):
    pair.execute(SCHEMA)
    pair.replicate(published)
    request = request_for(pair)
    steps = len(prepare(request, dry_run=True).statements)
    for number in range(1, steps + 1):
        with pytest.raises(Killed):
            prepare(request, observer=dies_after(number))
        still_applies(pair)
        report = prepare(request)
        assert report.baseline is not None
        assert not [row for row in prepare(request, dry_run=True).created]
        _write_marker(pair, request)
        _tear_down_with_a_kill(pair, request, number)
        assert [] == ours(pair)
        still_applies(pair)


def _write_marker(pair: Pair, request: PrepareRequest) -> None:
    pair.source.execute(f"INSERT INTO {request.schema}.marker VALUES (1, 1, now())")
    wait_for(lambda: pair.target.value(f"SELECT count(*) FROM {request.schema}.marker"), 20, "the marker")


def _tear_down_with_a_kill(pair: Pair, request: PrepareRequest, number: int) -> None:
    try:
        teardown(request, observer=dies_after(number))
    except Killed:
        still_applies(pair)
    assert () == teardown(request).needs_person


def test_tables_without_a_usable_identity_are_published_for_inserts_only(pair: Pair):
    """Else their updates would fail on the target, in the apply worker too."""
    pair.execute(SCHEMA)
    pair.target.execute(
        """CREATE TABLE generated (a int, b int GENERATED ALWAYS AS (a + 1) STORED);
        ALTER TABLE generated REPLICA IDENTITY FULL"""
    )
    pair.source.execute("CREATE TABLE generated (a int); ALTER TABLE generated REPLICA IDENTITY FULL")
    pair.replicate()
    request = request_for(pair)
    report = prepare(request)
    assert {"public.log_only", "public.generated"} == members(pair, request.publication_inserts)
    assert {"public.plain", "public.whole", "Odd.Mixed Case"} < members(pair, request.publication)
    assert any("generated: only inserts" in text for text in report.warnings)
    pair.source.execute("INSERT INTO generated VALUES (1); UPDATE generated SET a = 2; DELETE FROM generated")
    pair.source.execute("INSERT INTO whole VALUES (1, 'x'); UPDATE whole SET b = 'y'")
    still_applies(pair)


def test_a_table_that_loses_its_identity_moves_to_the_inserts_and_the_floor_stays(shop: Pair):
    first = prepare(request_for(shop))
    shop.target.execute("ALTER TABLE whole REPLICA IDENTITY NOTHING")
    second = prepare(request_for(shop, baseline=first.baseline))
    assert first.baseline is not None
    assert second.baseline is not None
    assert "public.whole" in members(shop, request_for(shop).publication_inserts)
    assert (1, 1) == (first.baseline["generation"], second.baseline["generation"])
    assert second.baseline["floor"] == first.baseline["floor"]


@pytest.mark.parametrize(
    ("via_root", "named"), [(True, {"public.events"}), (False, {"public.events_1", "public.events_2"})]
)
def test_partitions_are_named_as_the_source_publishes_them(pair: Pair, via_root: bool, named: set[str]):
    pair.execute(SCHEMA)
    pair.replicate("TABLE events", publish=f"publish_via_partition_root = {str(via_root).lower()}")
    report = prepare(request_for(pair, include=("public.events*",)))
    assert named == {table.table for table in report.tables if table.state == "audited"}
    shown = members(pair, request_for(pair).publication)
    assert named == {name for name in shown if not name.startswith("auditor_")}


def test_what_is_in_scope_and_what_is_not_is_told_with_the_reason(pair: Pair):
    pair.execute(SCHEMA)
    pair.source.execute("CREATE TABLE elsewhere (id int PRIMARY KEY)")
    pair.replicate("TABLE plain, whole, log_only")
    report = prepare(request_for(pair, exclude=("public.whole", "Odd.*")), dry_run=True)
    states = {table.table: (table.state, table.reason) for table in report.tables}
    assert ("audited", None) == states["public.plain"]
    assert "excluded" == states["public.whole"][0]
    assert ("skipped", "not published") == states["public.elsewhere"] == states["public.events_1"]


def test_a_lost_slot_gives_a_new_floor_and_generation(shop: Pair):
    first = prepare(request_for(shop)).baseline
    assert first is not None
    for side, slot in ((shop.source, "source_slot"), (shop.target, "target_slot")):
        side.execute("SELECT pg_drop_replication_slot(%s)", first[slot])
        second = prepare(request_for(shop, baseline=first)).baseline
        assert second is not None
        assert (first["generation"] + 1, True) == (second["generation"], second["floor"] >= first["floor"])
        first = second


def test_a_new_baseline_replaces_both_slots(shop: Pair):
    first = prepare(request_for(shop)).baseline
    report = prepare(request_for(shop, baseline=first, new_baseline=True))
    assert [text for text in report.created if text.startswith("slot")] == [
        f"slot {request_for(shop).target_slot} dropped", f"slot {request_for(shop).target_slot}",
        f"slot {request_for(shop).source_slot} dropped", f"slot {request_for(shop).source_slot}",
    ]  # fmt: skip
    assert report.baseline is not None
    assert 2 == report.baseline["generation"]


def test_commits_after_the_floor_are_in_both_slots(shop: Pair):
    report = prepare(request_for(shop))
    shop.source.execute("INSERT INTO plain VALUES (100, 'after')")
    shop.catch_up()
    for database, slot, name in (
        (shop.source, request_for(shop).source_slot, shop.publication),
        (shop.target, request_for(shop).target_slot, request_for(shop).publication),
    ):
        # apply commits without waiting for the flush that decoding needs
        wait_for(partial(_shows, database, slot, name, b"after"), 20, f"slot {slot} to show the commit")
    assert report.baseline is not None


def _shows(database: Database, slot: str, publication: str, text: bytes) -> bool:
    messages = database.rows(
        "SELECT data FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL, 'proto_version', '1',"
        " 'publication_names', %s)", slot, f'"{publication}"',
    )  # fmt: skip
    return any(text in bytes(data) for (data,) in messages)


def test_open_writers_are_named_when_a_slot_has_to_wait_for_too_long(shop: Pair):
    writer = shop.source.connect(autocommit=False)
    writer.execute("INSERT INTO plain VALUES (7, 'open')")
    with pytest.raises(NotReady, match=f"process {writer.info.backend_pid}"):
        prepare(request_for(shop, slot_seconds=0.3))
    writer.rollback()
    assert prepare(request_for(shop)).baseline


def _person(report: PrepareReport) -> str:
    assert report.baseline is None
    return " ".join(report.needs_person)


def test_another_reader_of_the_source_keeps_our_tables_out(shop: Pair):
    """It might not know them: its apply would stop at the first marker."""
    slot = unique_name("debezium")
    shop.source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
    assert slot in _person(prepare(request_for(shop)))
    assert [] == ours(shop)
    report = prepare(request_for(shop, without_canary=True))
    assert (False, True) == (report.canary, report.baseline is not None)
    assert any("canary condition is waived" in text for text in report.warnings)
    assert "schema" not in {row[1] for row in ours(shop)}
    assert () == teardown(request_for(shop)).needs_person
    assert [] == ours(shop)


def test_a_table_that_waits_for_the_users_own_refresh_is_not_subscribed_without_its_rows(pair: Pair):
    pair.execute(SCHEMA)
    pair.replicate("TABLE plain, log_only")
    pair.source.execute(f"ALTER PUBLICATION {pair.publication} ADD TABLE whole")
    assert "public.whole" in _person(prepare(request_for(pair)))
    prepared = prepare(request_for(pair, without_canary=True))
    assert any("whole: skipped: not part of the subscription" in text for text in prepared.warnings)
    assert not pair.target.value("SELECT count(*) FROM pg_subscription_rel WHERE srrelid = 'whole'::regclass")


def test_teardown_waits_for_a_disabled_subscription_and_says_so(shop: Pair):
    request = request_for(shop, wait_seconds=1)
    prepare(request)
    shop.target.execute(f"ALTER SUBSCRIPTION {shop.subscription} DISABLE")
    active = "SELECT active FROM pg_replication_slots WHERE slot_name = %s"
    wait_for(lambda: not shop.source.value(active, shop.subscription), 20, "the apply worker to stop")
    shop.source.execute(f"INSERT INTO {request.schema}.marker VALUES (1, 1, now())")
    assert "is disabled" in " ".join(teardown(request).needs_person)
    assert {("target", "schema")} == {row[:2] for row in ours(shop)}
    shop.target.execute(f"ALTER SUBSCRIPTION {shop.subscription} ENABLE")
    assert () == teardown(request_for(shop)).needs_person
    assert [] == ours(shop)
    still_applies(shop)


def test_teardown_of_one_side_goes_on_when_the_other_is_away(shop: Pair):
    prepare(request_for(shop))
    with pytest.raises(Exception, match="connect"):
        teardown(request_for(shop, target_conninfo="host=127.0.0.1 port=1 dbname=none"))
    assert not [row for row in ours(shop) if row[:2] == ("source", "slot")]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"publications": ("nope",)}, "publication nope does not exist"),
        ({"subscriptions": ("nope",)}, "subscription nope does not exist"),
    ],
)
def test_a_name_that_is_not_there_is_named_with_those_that_are(shop: Pair, changes: dict[str, Any], words: str):
    with pytest.raises(SettingInvalid, match=words) as raised:
        prepare(request_for(shop, **changes))
    assert shop.name in raised.value.hint


def test_swapped_sides_the_same_side_twice_and_a_disabled_subscription_are_refused(shop: Pair):
    swapped = request_for(shop, source_conninfo=shop.target.dsn, target_conninfo=shop.source.dsn)
    with pytest.raises(SettingInvalid) as raised:
        prepare(swapped)
    assert "swapped" in raised.value.hint or "existing ones" in raised.value.hint
    with pytest.raises(SettingInvalid, match="same database"):
        prepare(request_for(shop, target_conninfo=shop.source.dsn))
    shop.target.execute(f"ALTER SUBSCRIPTION {shop.subscription} DISABLE")
    with pytest.raises(NeedsOperator, match=f"{shop.subscription} is disabled"):
        prepare(request_for(shop))
    assert [] == ours(shop)


def test_the_statements_are_sorted_by_side(shop: Pair):
    report = prepare(request_for(shop), dry_run=True)
    assert {str(side) for side in Side} == set(report.statements_by_side)
