"""Slots on real servers, each by name: whose it is, whether it is read, what it holds back."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from comparators.preflight import Item, ItemStatus
from samplers.probes.base import KnownSlot
from samplers.probes.slots import Slots
from samplers.slots import create_slot, drop_slot
from tests.helpers import Database, Pair, unique_name, wait_for
from tests.server_probes import as_role, asked, blocking, create_role, items, look

SIDES = ("source", "target")


def seen(pair: Pair, name: str, **changes: object) -> Item:
    return items(look(Slots(asked(pair, **changes)), pair))[name]


def side_of(pair: Pair, side: str) -> Database:
    return pair.source if side == "source" else pair.target


@pytest.fixture
def moved(pair: Pair) -> Pair:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    pair.replicate()
    return pair


class Planted:
    """Slots that go with the test."""

    def __init__(self) -> None:
        self._slots: list[tuple[Database, str]] = []

    def logical(self, database: Database, name: str | None = None) -> str:
        name = name or unique_name("cdc")
        self._slots.append((database, name))
        database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", name)
        return name

    def physical(self, database: Database) -> str:
        name = unique_name("standby")
        self._slots.append((database, name))
        database.execute("SELECT pg_create_physical_replication_slot(%s, true)", name)
        return name

    def drop(self) -> None:
        for database, name in self._slots:
            database.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", name
            )
        self._slots.clear()


@pytest.fixture
def planted() -> Iterator[Planted]:
    slots = Planted()
    yield slots
    slots.drop()


def test_a_healthy_pair_has_known_slots_only_and_lists_them(moved: Pair) -> None:
    reading = look(Slots(asked(moved)), moved)
    assert [] == blocking(reading)
    (ours,) = [one for one in items(reading)["slots-inventory"].subjects if moved.subscription in one]
    assert ours.startswith(f"source: {moved.subscription}: logical pgoutput, database {moved.name}, read by")
    assert ours.endswith("a subscription's")
    assert reading.figures["slots"] >= 1


@pytest.mark.parametrize("side", SIDES)
def test_an_unknown_logical_slot_of_the_database_blocks_by_name(moved: Pair, planted: Planted, side: str) -> None:
    name = planted.logical(side_of(moved, side))
    item = seen(moved, "slots-known")
    assert (ItemStatus.BLOCKS_CORRECTNESS, (f"{side}: {name} (logical pgoutput)",)) == (item.status, item.subjects)
    assert "probes.known_slots" in item.remedy
    planted.drop()
    assert ItemStatus.OK is seen(moved, "slots-known").status


@pytest.mark.parametrize("side", SIDES)
def test_an_undeclared_physical_slot_blocks_and_a_declared_one_must_be_read(
    moved: Pair, planted: Planted, side: str
) -> None:
    name = planted.physical(side_of(moved, side))
    item = seen(moved, "slots-known")
    assert ItemStatus.BLOCKS_CORRECTNESS is item.status
    assert (f"{side}: {name} (physical)",) == item.subjects
    declared = {name: KnownSlot("infra team")}
    assert ItemStatus.OK is seen(moved, "slots-known", known_slots=declared).status
    item = seen(moved, "slots-consumers", known_slots=declared)
    assert (ItemStatus.BLOCKS_CAPACITY, (f"{side}: {name} (physical, owner infra team)",)) == (
        item.status, item.subjects
    )  # fmt: skip


def test_a_stale_foreign_slot_is_named_when_it_holds_back_more_than_its_owner_said(
    moved: Pair, planted: Planted
) -> None:
    name = planted.logical(moved.source)
    moved.source.execute("INSERT INTO t SELECT i, 0 FROM generate_series(1, 2000) i")
    moved.catch_up()
    declared = {name: KnownSlot("cdc team", retained_bytes=1000)}
    reading = look(Slots(asked(moved, known_slots=declared)), moved)
    item = items(reading)["slots-within-budget"]
    assert (ItemStatus.BLOCKS_CAPACITY, 1) == (item.status, item.count)
    assert item.subjects[0].startswith(f"source: {name} (logical pgoutput, owner cdc team) ")
    assert item.subjects[0].endswith("allowed 1000 bytes")
    assert reading.figures["foreign_retained_bytes"] > 1000
    generous = {name: KnownSlot("cdc team")}
    assert ItemStatus.OK is seen(moved, "slots-within-budget", known_slots=generous).status


def test_slots_of_other_databases_are_fine_until_they_hold_back_more_than_the_budget(
    moved: Pair, planted: Planted
) -> None:
    with Pair(moved.source.server, moved.target.server) as other:
        name = planted.logical(other.source)
        reading = look(Slots(asked(moved)), moved)
        assert [] == blocking(reading)
        moved.source.execute("INSERT INTO t SELECT i, 0 FROM generate_series(1, 2000) i")
        moved.catch_up()
        item = seen(moved, "slots-within-budget", wal_budget_bytes=1000)
        assert ItemStatus.BLOCKS_CAPACITY is item.status
        assert [True] == [one.startswith(f"source: {name} ") for one in item.subjects if name in one]
        planted.drop()


def test_a_subscription_that_nobody_applies_blocks_by_its_slot(moved: Pair) -> None:
    moved.target.execute(f"ALTER SUBSCRIPTION {moved.subscription} DISABLE")
    item = wait_for(
        lambda: found if (found := seen(moved, "slots-active")).status.blocks else None, 20, "the slot to be left"
    )
    assert (ItemStatus.BLOCKS_CAPACITY, (f"source: {moved.subscription} (logical pgoutput)",)) == (
        item.status, item.subjects
    )  # fmt: skip
    moved.target.execute(f"ALTER SUBSCRIPTION {moved.subscription} ENABLE")
    wait_for(lambda: not seen(moved, "slots-active").status.blocks, 20, "the slot to be read again")


def test_a_subscription_whose_slot_is_gone_blocks(moved: Pair) -> None:
    name = sql.Identifier(moved.subscription).as_string()
    moved.target.execute(f"ALTER SUBSCRIPTION {name} DISABLE")
    moved.target.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = nowhere)")
    found = items(look(Slots(asked(moved)), moved))
    assert ItemStatus.BLOCKS_CORRECTNESS is found["slots-present"].status
    assert f"slot nowhere of subscription {moved.subscription}" in found["slots-present"].subjects[0]
    assert ItemStatus.BLOCKS_CORRECTNESS is found["slots-known"].status  # nobody reads the one that it had
    moved.target.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = {name})")


def test_our_own_slots_are_known_on_both_sides_and_only_warned_of_while_nobody_reads_them(moved: Pair) -> None:
    own = asked(moved, migration=unique_name("own")).own_slots
    for side, name in own.items():
        create_slot(side_of(moved, side).connect(), name, 30)
    try:
        reading = look(Slots(asked(moved, own_slots=own)), moved)
        assert ([], ItemStatus.WARN) == (blocking(reading), items(reading)["slots-active"].status)
        assert ItemStatus.BLOCKS_CORRECTNESS is seen(moved, "slots-known", own_slots={}).status
    finally:
        for side, name in own.items():
            drop_slot(side_of(moved, side).connect(), name)


def test_a_slot_of_a_table_copy_is_known_and_one_that_only_looks_like_it_is_not(moved: Pair, planted: Planted) -> None:
    oid = moved.target.value("SELECT oid FROM pg_subscription WHERE subname = %s", moved.subscription)
    server = moved.target.value("SELECT system_identifier FROM pg_control_system()")
    planted.logical(moved.source, f"pg_{oid}_sync_16384_{server}")
    assert ItemStatus.OK is seen(moved, "slots-known").status
    stranger = planted.logical(moved.source, f"pg_{oid}_sync_16384_{server + 1}")
    assert (f"source: {stranger} (logical pgoutput)",) == seen(moved, "slots-known").subjects


def test_any_role_sees_slots(moved: Pair) -> None:
    role = unique_name("reader")
    try:
        dsns = {side: create_role(side_of(moved, side), role) for side in SIDES}
        assert [] == blocking(look(Slots(asked(moved)), moved, **dsns))
        assert dsns == {side: as_role(side_of(moved, side), role) for side in SIDES}
    finally:
        for database in (moved.source, moved.target):
            database.execute(f"DROP ROLE {role}")


def test_a_slot_that_lost_its_wal_blocks(private_pair: Pair) -> None:
    pair, source = private_pair, private_pair.source
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    pair.replicate()
    source.execute("SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')")
    declared = {"cdc": KnownSlot("cdc team")}
    assert ItemStatus.OK is seen(pair, "slots-not-lost", known_slots=declared).status
    for statement in ("ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", "ALTER SYSTEM SET max_wal_size = '32MB'"):
        source.execute(statement)
    source.execute("SELECT pg_reload_conf()")

    def lost() -> Item | None:
        with psycopg.connect(source.dsn, autocommit=True) as connection:
            connection.execute("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 20000000))")
            connection.execute("SELECT pg_switch_wal()")
            connection.execute("CHECKPOINT")
        item = seen(pair, "slots-not-lost", known_slots=declared)
        return item if item.status.blocks else None

    item = wait_for(lost, 60, "the slot to lose its WAL")
    assert ItemStatus.BLOCKS_CORRECTNESS is item.status
    assert "source: cdc (logical pgoutput, owner cdc team)" in item.subjects


def test_a_server_without_a_free_slot_blocks(private_pair: Pair) -> None:
    pair, source = private_pair, private_pair.source
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    allowed = source.value("SELECT current_setting('max_replication_slots')::int")
    declared = {f"s{number}": KnownSlot("test") for number in range(allowed)}
    for name in list(declared)[:-1]:
        source.execute("SELECT pg_create_physical_replication_slot(%s)", name)
    assert ItemStatus.WARN is seen(pair, "slots-free", known_slots=declared).status
    source.execute("SELECT pg_create_physical_replication_slot(%s)", list(declared)[-1])
    item = seen(pair, "slots-free", known_slots=declared)
    assert (ItemStatus.BLOCKS_CAPACITY, ("source: 0 left",)) == (item.status, item.subjects)
