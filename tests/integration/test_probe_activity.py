"""What is under way on real servers, seen on either side and never mistaken for our own doing."""

from collections.abc import Iterator

import psycopg
import pytest

from comparators.checks.activity import ActivityLimits
from comparators.preflight import Item, ItemStatus
from samplers.connections import connect
from samplers.probes.activity import Activity
from tests.helpers import Database, Pair, unique_name, wait_for
from tests.server_probes import as_role, asked, blocking, create_role, items, look, status_of

AT_ONCE = ActivityLimits(transaction_seconds=0.0, idle_warn_seconds=0.0, idle_seconds=0.0)
"""Whatever is under way is too long, so that no test has to wait."""
SIDES = ("source", "target")


def seen(pair: Pair, name: str, limits: ActivityLimits = AT_ONCE) -> Item:
    return items(look(Activity(asked(pair), limits), pair))[name]


def side_of(pair: Pair, side: str) -> Database:
    return pair.source if side == "source" else pair.target


@pytest.fixture
def moved(pair: Pair) -> Pair:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    pair.replicate()
    pair.source.execute("INSERT INTO t SELECT i, 0 FROM generate_series(1, 100) i")
    pair.catch_up()
    return pair


def opened(database: Database, statement: str, **options: object) -> psycopg.Connection:
    """Leave a transaction open after one statement."""
    connection = database.connect(autocommit=False, **options)
    connection.execute(statement)  # type: ignore[call-overload]
    return connection


def test_a_healthy_pair_has_nothing_under_way(moved: Pair) -> None:
    reading = look(Activity(asked(moved)), moved)
    assert ([], 0, 0) == (
        blocking(reading), reading.figures["prepared_transactions"], reading.figures["idle_in_transaction"]
    )  # fmt: skip


@pytest.mark.parametrize("side", SIDES)
def test_a_prepared_transaction_blocks_and_is_named_until_it_ends(moved: Pair, side: str) -> None:
    name, database = unique_name("two"), side_of(moved, side)
    connection = opened(database, "INSERT INTO t VALUES (1000, 1)")
    connection.execute(f"PREPARE TRANSACTION '{name}'")
    connection.rollback()
    item = seen(moved, "activity-prepared")
    assert ItemStatus.BLOCKS_CORRECTNESS is item.status
    assert [True] == [one.startswith(f"{side}: {name} (role postgres") for one in item.subjects]
    database.execute(f"ROLLBACK PREPARED '{name}'")
    assert ItemStatus.OK is seen(moved, "activity-prepared").status


@pytest.mark.parametrize("side", SIDES)
def test_an_old_transaction_and_idling_in_it_block_with_the_process(moved: Pair, side: str) -> None:
    connection = opened(side_of(moved, side), "SELECT 1", application_name="old app")
    for name in ("activity-old-transactions", "activity-idle-in-transaction"):
        item = seen(moved, name)
        assert (ItemStatus.BLOCKS_CAPACITY, 1) == (item.status, item.count)
        assert f"{side}: process {connection.info.backend_pid} (role postgres, application old app" in item.subjects[0]
    patient = look(Activity(asked(moved)), moved)  # with the limits that hold, it is not old yet
    assert [] == blocking(patient)
    assert (1, 1) == (patient.figures["open_transactions"], patient.figures["idle_in_transaction"])
    connection.rollback()
    assert [] == blocking(look(Activity(asked(moved), AT_ONCE), moved))


def test_idling_for_a_moment_warns_before_it_blocks(moved: Pair) -> None:
    opened(moved.source, "SELECT 1")
    early = ActivityLimits(idle_warn_seconds=0.0)
    assert ItemStatus.WARN is seen(moved, "activity-idle-in-transaction", early).status


@pytest.mark.parametrize("side", SIDES)
def test_a_schema_change_that_holds_or_waits_for_its_lock_blocks(moved: Pair, side: str) -> None:
    changer = opened(side_of(moved, side), "ALTER TABLE t ALTER n SET STATISTICS 50")
    item = seen(moved, "activity-ddl", ActivityLimits())
    assert ItemStatus.OK is item.status  # that one locks nobody out
    changer.execute("ALTER TABLE t ADD COLUMN extra int")
    item = seen(moved, "activity-ddl", ActivityLimits())
    assert ItemStatus.BLOCKS_CAPACITY is item.status
    assert f"process {changer.info.backend_pid} " in item.subjects[0]
    changer.rollback()
    assert ItemStatus.OK is seen(moved, "activity-ddl", ActivityLimits()).status


def test_a_statement_that_waits_to_change_the_schema_is_seen_behind_comments(moved: Pair) -> None:
    reader = opened(moved.source, "SELECT count(*) FROM t")
    waiting = moved.source.connect()
    waiting.pgconn.send_query(b"/* release 7 */ -- now\n /* go */ ALTER TABLE t ADD c int")
    found = wait_for(lambda: seen(moved, "activity-ddl", ActivityLimits()).subjects, 20, "the change to be seen")
    assert f"process {waiting.info.backend_pid} " in found[0]
    waiting.cancel_safe()
    reader.rollback()


def test_temporary_tables_are_no_schema_change(moved: Pair) -> None:
    opened(moved.source, "CREATE TEMP TABLE mine (id int)")
    assert ItemStatus.OK is seen(moved, "activity-ddl", ActivityLimits()).status


def test_an_index_that_waits_to_be_built_blocks(moved: Pair) -> None:
    writer = opened(moved.source, "UPDATE t SET n = 1 WHERE id = 1")
    builder = moved.source.connect()
    builder.pgconn.send_query(b"CREATE INDEX CONCURRENTLY slow ON t (n)")
    found = wait_for(lambda: seen(moved, "activity-index-builds").subjects, 20, "the build to be seen")
    assert f"source: process {builder.info.backend_pid} " in found[0]
    builder.cancel_safe()
    writer.rollback()


def test_state_that_does_not_move_is_warned_of(moved: Pair) -> None:
    locker, listener, holder = (moved.source.connect() for _ in range(3))
    locker.execute("SELECT pg_advisory_lock(42)")
    listener.execute("LISTEN news")
    holder.execute("BEGIN")
    holder.execute("DECLARE c CURSOR WITH HOLD FOR SELECT 1")
    item = seen(moved, "activity-session-state")
    assert (ItemStatus.WARN, 3) == (item.status, item.count)
    told = {one.rpartition(": ")[2] for one in item.subjects}
    assert {"advisory lock", "LISTEN", "cursor WITH HOLD"} == told


def test_transactions_of_other_databases_are_others_business(moved: Pair) -> None:
    with Pair(moved.source.server, moved.target.server) as other:
        opened(other.source, "CREATE TABLE t (id int)")
        opened(other.target, "SELECT 1")
        assert [] == blocking(look(Activity(asked(moved), AT_ONCE), moved))


def test_our_own_sessions_never_count_and_nobody_hides_behind_our_name(moved: Pair) -> None:
    with connect(moved.source.dsn, application_name="auditor lawful") as ours, ours.transaction():
        ours.execute("LOCK TABLE public.t")
        assert [] == blocking(look(Activity(asked(moved), AT_ONCE), moved))
    role = unique_name("app")
    dsn = create_role(moved.source, role)
    try:
        with psycopg.connect(dsn, application_name="auditor lawful") as pretender:
            pretender.execute("SELECT 1")
            assert ItemStatus.BLOCKS_CAPACITY is seen(moved, "activity-old-transactions").status
    finally:
        moved.source.execute(f"DROP ROLE {role}")


@pytest.fixture
def reader(moved: Pair) -> Iterator[str]:
    role = unique_name("reader")
    for database in (moved.source, moved.target):
        create_role(database, role)
    yield role
    for database in (moved.source, moved.target):
        database.execute(f"DROP ROLE {role}")


def test_a_role_that_sees_no_sessions_knows_nothing_and_says_which_grant_helps(moved: Pair, reader: str) -> None:
    dsns = {side: as_role(side_of(moved, side), reader) for side in SIDES}
    probe = Activity(asked(moved))
    found = items(look(probe, moved, **dsns))
    for name in ("old-transactions", "idle-in-transaction", "ddl", "wraparound-vacuum", "session-state"):
        item = found[f"activity-{name}"]
        assert ItemStatus.UNKNOWN is item.status, name
        assert f'on the source: GRANT pg_monitor TO "{reader}"' in item.remedy
        assert f'on the target: GRANT pg_monitor TO "{reader}"' in item.remedy
    for name in ("prepared", "index-builds", "transaction-ids"):  # every role sees these
        assert ItemStatus.OK is found[f"activity-{name}"].status
    moved.source.execute(f"GRANT pg_monitor TO {reader}")
    item = items(look(probe, moved, **dsns))["activity-old-transactions"]
    assert (ItemStatus.UNKNOWN, False) == (item.status, "on the source" in item.remedy)
    moved.target.execute(f"GRANT pg_read_all_stats TO {reader}")
    assert ItemStatus.OK is status_of(look(probe, moved, **dsns), "activity-old-transactions")

