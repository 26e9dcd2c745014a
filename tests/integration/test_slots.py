"""Our slots: never in the user's way, and gone before they fill a disk."""

import pytest
from psycopg import pq

from comparators.errors import Defect, NeedsOperator, NotReady
from samplers.connections import connect, connect_replication
from samplers.slots import SlotBudget, create_slot, drop_slot, enforce_budgets, inspect_slot
from tests.helpers import Database, Pair, unique_name, wait_for

MEGABYTE = 1 << 20


@pytest.fixture(params=["source", "target"])
def database(pair: Pair, request: pytest.FixtureRequest) -> Database:
    """One side, so that each test runs on 16 and on 18."""
    found = getattr(pair, request.param)
    assert isinstance(found, Database)
    return found


@pytest.fixture
def slot() -> str:
    return unique_name("auditor_t")


def write_wal(database: Database) -> None:
    """Write more than a megabyte of WAL."""
    database.execute("SELECT pg_logical_emit_message(true, 'filler', repeat('x', 2000000))")
    database.execute("SELECT pg_switch_wal()")


def budgets(database: Database, slot: str, budget_bytes: int) -> list[SlotBudget]:
    return [SlotBudget("source", database.dsn, slot, budget_bytes)]


def test_a_slot_is_created_once(database: Database, slot: str):
    with connect(database.dsn) as session:
        first = create_slot(session, slot, 20)
        assert first == create_slot(session, slot, 20)
        found = inspect_slot(session, slot)
        assert (True, "pgoutput", database.name) == (found.usable, found.plugin, found.database)
        assert drop_slot(session, slot)
        assert not drop_slot(session, slot)
        assert not inspect_slot(session, slot).exists


def test_open_writers_are_named_and_nothing_is_left_behind(database: Database, slot: str):
    database.execute("CREATE TABLE t (a int)")
    writer = database.connect(autocommit=False)
    writer.execute("INSERT INTO t VALUES (1)")
    with connect(database.dsn) as session:
        with pytest.raises(NotReady, match=f"process {writer.info.backend_pid}"):
            create_slot(session, slot, 0.3)
        assert not inspect_slot(session, slot).exists
        writer.rollback()
        assert create_slot(session, slot, 20)


def test_prepared_transactions_are_named_too(database: Database, slot: str):
    database.execute("CREATE TABLE t (a int)")
    name = unique_name("forgotten")
    database.execute(f"BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION '{name}'")
    with connect(database.dsn) as session, pytest.raises(NotReady, match=f"prepared transaction {name}"):
        create_slot(session, slot, 0.3)
    database.execute(f"ROLLBACK PREPARED '{name}'")


def test_a_slot_of_that_name_for_something_else_is_refused(database: Database, slot: str):
    database.execute("SELECT pg_create_physical_replication_slot(%s)", slot)
    with connect(database.dsn) as session:
        with pytest.raises(NeedsOperator, match="plug-in None"):
            create_slot(session, slot, 20)
        drop_slot(session, slot)


def test_only_our_own_slots_can_be_dropped(database: Database):
    with connect(database.dsn) as session, pytest.raises(Defect, match="not one of ours"):
        drop_slot(session, "app_sub")


def test_a_slot_in_use_is_freed_and_dropped(database: Database, slot: str):
    with connect(database.dsn) as session:
        create_slot(session, slot, 20)
        reader = connect_replication(database.dsn)
        command = f"START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names 'p')"
        assert pq.ExecStatus.COPY_BOTH == reader.exec_(command.encode()).status
        wait_for(lambda: inspect_slot(session, slot).active, 20, "the reader")
        assert drop_slot(session, slot)
        reader.finish()


def test_past_its_budget_ours_is_dropped_and_within_it_is_kept(database: Database, slot: str):
    with connect(database.dsn) as session:
        create_slot(session, slot, 20)
        write_wal(database)
        assert [] == enforce_budgets(budgets(database, slot, 1 << 40))
        assert inspect_slot(session, slot).exists
        (dropped,) = enforce_budgets(budgets(database, slot, MEGABYTE))
        assert ("source", slot, MEGABYTE) == (dropped["side"], dropped["slot"], dropped["budget_bytes"])
        assert dropped["retained_bytes"] > MEGABYTE
        assert not inspect_slot(session, slot).exists
    assert [] == enforce_budgets(budgets(database, slot, MEGABYTE))


def test_ours_stays_while_an_older_slot_of_the_users_keeps_the_wal_anyway(database: Database, slot: str):
    users = unique_name("users")
    database.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", users)
    write_wal(database)
    with connect(database.dsn) as session:
        create_slot(session, slot, 20)
        write_wal(database)
        assert [] == enforce_budgets(budgets(database, slot, MEGABYTE))
        assert inspect_slot(session, slot).exists
        database.execute("SELECT pg_drop_replication_slot(%s)", users)
        assert [slot] == [entry["slot"] for entry in enforce_budgets(budgets(database, slot, MEGABYTE))]


def test_a_side_that_is_away_does_not_keep_the_other_from_its_budget(database: Database, slot: str):
    away = SlotBudget("target", "host=127.0.0.1 port=1 dbname=none", slot, 0)
    assert [] == enforce_budgets([away])
    with connect(database.dsn) as session:
        create_slot(session, slot, 20)
        write_wal(database)
        assert [slot] == [entry["slot"] for entry in enforce_budgets([away, *budgets(database, slot, MEGABYTE)])]
