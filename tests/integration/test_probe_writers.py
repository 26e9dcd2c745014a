"""Who writes on real servers: on the source everybody is listed, on the target nobody but apply may."""

from collections.abc import Iterator

import psycopg
import pytest

from comparators.preflight import ItemStatus
from samplers.connections import connect
from samplers.probes.writers import Writers
from tests.helpers import Pair, unique_name
from tests.server_probes import as_role, asked, blocking, create_role, items, look, status_of


@pytest.fixture
def moved(pair: Pair) -> Pair:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    pair.replicate()
    pair.source.execute("INSERT INTO t SELECT i, 0 FROM generate_series(1, 100) i")
    pair.catch_up()
    pair.execute("SELECT 1")  # else the fixture's own sessions count: their last statement wrote
    return pair


@pytest.fixture
def app(moved: Pair) -> Iterator[str]:
    """A role of the application's, on both sides."""
    role = unique_name("app")
    for database in (moved.source, moved.target):
        create_role(database, role)
        database.execute(f"GRANT ALL ON t TO {role}")
    yield role
    for database in (moved.source, moved.target):
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_nobody_is_accused_on_a_healthy_pair_while_apply_writes(moved: Pair) -> None:
    probe = Writers(asked(moved, known_writers=("postgres",)))
    moved.target.execute("ALTER TABLE t SET (autovacuum_enabled = off)")
    for n in range(5):
        moved.source.execute("UPDATE t SET n = n + 1")
        reading = look(probe, moved)
        assert [] == blocking(reading), n
    assert 0 == reading.figures["target_writers"]


def test_a_role_that_is_not_declared_blocks_and_is_remembered_after_it_left(moved: Pair, app: str) -> None:
    probe = Writers(asked(moved, known_writers=("postgres", "batch")))
    with psycopg.connect(as_role(moved.source, app), application_name="side door") as connection:
        connection.execute("UPDATE t SET n = 7 WHERE id = 1")
        item = items(look(probe, moved))["writers-known"]
        assert (ItemStatus.BLOCKS_CORRECTNESS, (f"{app} (side door, from 127.0.0.1)",)) == (item.status, item.subjects)
        assert "probes.known_writers" in item.remedy
    assert ItemStatus.BLOCKS_CORRECTNESS is status_of(look(probe, moved, now=1_003_000.0), "writers-known")
    assert ItemStatus.OK is status_of(look(probe, moved, now=1_004_000.0), "writers-known")


def test_a_declared_writer_is_fine_and_without_a_list_everybody_is_named_as_a_warning(moved: Pair, app: str) -> None:
    with psycopg.connect(as_role(moved.source, app), autocommit=True) as connection:
        connection.execute("WITH w AS (INSERT INTO t VALUES (500, 1) RETURNING id) SELECT id FROM w")
        item = items(look(Writers(asked(moved, known_writers=(app,))), moved))["writers-known"]
        assert (ItemStatus.OK, True) == (item.status, app in item.sentence)
        item = items(look(Writers(asked(moved)), moved))["writers-known"]
        assert (ItemStatus.WARN, 1) == (item.status, item.count)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO t VALUES (500, 1)",
        "/* app:1 */ -- go\n update t SET n = 2 WHERE id = 1",
        "DELETE FROM t WHERE id = 2",
        "MERGE INTO t USING (VALUES (3)) AS v (id) ON t.id = v.id WHEN MATCHED THEN UPDATE SET n = 5",
        "WITH w AS (INSERT INTO t VALUES (501, 1) RETURNING id) SELECT id FROM w",
        "TRUNCATE t",
        "COPY t (id, n) FROM STDIN",
    ],
)
def test_a_writer_is_seen_after_its_statement_has_ended(moved: Pair, app: str, statement: str) -> None:
    with psycopg.connect(as_role(moved.source, app), autocommit=True) as connection:
        with connection.cursor() as cursor:
            if statement.startswith("COPY"):
                with cursor.copy(statement.encode()) as copy:
                    copy.write_row((600, 1))
            else:
                cursor.execute(statement.encode())
        item = items(look(Writers(asked(moved, known_writers=("batch",))), moved))["writers-known"]
    assert (ItemStatus.BLOCKS_CORRECTNESS, 1) == (item.status, item.count)


@pytest.mark.parametrize("statement", ["SELECT 'UPDATE t SET n = 1' FROM t", "COPY (SELECT abs(n) FROM t) TO STDOUT"])
def test_readers_are_no_writers(moved: Pair, app: str, statement: str) -> None:
    with psycopg.connect(as_role(moved.source, app), autocommit=True) as connection:
        with connection.cursor() as cursor:
            if statement.startswith("COPY"):
                with cursor.copy(statement.encode()) as copy:
                    assert b"".join(copy)
            else:
                cursor.execute(statement.encode())
        reading = look(Writers(asked(moved, known_writers=("batch",))), moved)
    assert ([], 0) == (blocking(reading), reading.figures["writers"])


def test_a_superuser_that_writes_is_warned_of(moved: Pair) -> None:
    moved.source.execute("UPDATE t SET n = 1 WHERE id = 1")
    assert ItemStatus.WARN is status_of(look(Writers(asked(moved)), moved), "writers-superuser")


def test_a_session_that_writes_on_the_target_blocks_while_it_does(moved: Pair) -> None:
    probe, writer = Writers(asked(moved)), moved.target.connect(autocommit=False, application_name="too early")
    writer.execute("UPDATE t SET n = -1 WHERE id = 1")
    item = items(look(probe, moved))["target-writers"]
    assert (ItemStatus.BLOCKS_CORRECTNESS, 1) == (item.status, item.count)
    assert f"target: process {writer.info.backend_pid} (role postgres, application too early" in item.subjects[0]
    writer.rollback()
    reading = look(probe, moved)
    assert ItemStatus.OK is status_of(reading, "target-writers")


def test_a_session_whose_last_statement_on_the_target_wrote_is_warned_of(moved: Pair) -> None:
    writer = moved.target.connect()
    writer.execute("/* fix */ update t SET n = n WHERE id = 1")
    reading = look(Writers(asked(moved)), moved)
    assert ([], ItemStatus.WARN) == (blocking(reading), status_of(reading, "target-writers-seen"))


def test_our_own_sessions_may_write_and_nobody_hides_behind_our_name(moved: Pair, app: str) -> None:
    probe = Writers(asked(moved, known_writers=("batch",)))
    with (
        connect(moved.source.dsn, application_name="auditor marker lawful") as source,
        connect(moved.target.dsn, application_name="auditor canary lawful") as target,
        source.transaction(), target.transaction(),
    ):  # fmt: skip
        source.execute("UPDATE public.t SET n = 3 WHERE id = 3")
        target.execute("UPDATE public.t SET n = 3 WHERE id = 4")
        assert [] == blocking(look(probe, moved))
        raise psycopg.Rollback
    with psycopg.connect(as_role(moved.source, app), application_name="auditor lawful") as pretender:
        pretender.execute("UPDATE t SET n = 7 WHERE id = 1")
        assert ItemStatus.BLOCKS_CORRECTNESS is status_of(look(probe, moved), "writers-known")


def test_another_subscription_is_warned_of_on_either_side(moved: Pair) -> None:
    moved.target.execute("CREATE PUBLICATION back FOR TABLE t")
    name = unique_name("other")
    moved.source.execute(
        f"CREATE SUBSCRIPTION {name} CONNECTION '{moved.target.dsn}' PUBLICATION back"
        " WITH (copy_data = off, origin = none)"
    )
    item = items(look(Writers(asked(moved)), moved))["writers-jobs"]
    assert (ItemStatus.WARN, (f"source: subscription {name}",)) == (item.status, item.subjects)
    item = items(look(Writers(asked(moved, subscriptions=("mine",))), moved))["writers-jobs"]
    assert f"target: subscription {moved.subscription}" in item.subjects
    moved.source.execute(f"DROP SUBSCRIPTION {name}")


def test_a_role_that_sees_no_sessions_knows_no_writer(moved: Pair, app: str) -> None:
    dsns = {"source": as_role(moved.source, app), "target": as_role(moved.target, app)}
    found = items(look(Writers(asked(moved)), moved, **dsns))
    assert {ItemStatus.UNKNOWN} == {item.status for item in found.values()}
    assert f'on the target: GRANT pg_monitor TO "{app}"' in found["target-writers"].remedy
    for database in (moved.source, moved.target):
        database.execute(f"GRANT pg_monitor TO {app}")
    assert [] == blocking(look(Writers(asked(moved)), moved, **dsns))
