"""What the servers do while a table is swept: commits that nobody sees yet, restarts, quiet logs, lost slots."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from auditor.servers import PostgresServer
from comparators.errors import NotReady, SideUnavailable
from samplers.anchors import Anchors
from samplers.rows import RowSource
from samplers.settle import Pair as Tables
from samplers.settle import settle_keys
from samplers.table_sweep import SweepOptions, TableSweep, make_plan
from tests.conftest import SETTINGS
from tests.helpers import Database, Pair, commits_wait, wait_for
from tests.sweeps import Sessions, kinds, sessions, total

OPTIONS = SweepOptions(seed=7, chunk_seconds=0.05, segment_rows=500, settle_seconds=1.0, wait_seconds=20.0)


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A pair on two servers of its own; the table is replicated."""
    with PostgresServer(16, SETTINGS, "source") as source, PostgresServer(18, SETTINGS, "target") as target:
        databases = Pair(source, target)
        databases.__enter__()
        databases.execute("CREATE TABLE t (id int PRIMARY KEY, n int, v text); CREATE TABLE u (n int, v text)")
        databases.execute("ALTER TABLE u REPLICA IDENTITY FULL")
        databases.source.execute("INSERT INTO t SELECT i, 0, 'v' || i FROM generate_series(1, 3000) i")
        databases.source.execute("INSERT INTO u SELECT i, 'v' || i FROM generate_series(1, 300) i")
        databases.replicate(synchronous_commit="on")
        yield databases
        databases.close()


@pytest.fixture
def sides(pair: Pair) -> Iterator[Sessions]:
    pair.source.execute("SELECT pg_logical_emit_message(true, 'test', 'what was written before is flushed')")
    pair.catch_up()
    with sessions(pair) as opened:
        yield opened
    pair.source.execute("DELETE FROM t WHERE id < 0; DELETE FROM u WHERE n < 0")


def waiting(database: Database) -> bool:
    commits = "wait_event = 'SyncRep' AND backend_type <> 'autovacuum worker'"
    return bool(database.value(f"SELECT EXISTS (SELECT FROM pg_stat_activity WHERE {commits})"))


IN_COMMIT = {
    "t": "UPDATE t SET v = v || 'x' WHERE id IN (5, 6); DELETE FROM t WHERE id = 7; INSERT INTO t VALUES (-1, 1, 'x')",
    "u": "UPDATE u SET v = v || 'x' WHERE n IN (5, 6); INSERT INTO u VALUES (-1, 'x')",
}


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("table", ["t", "u"])
def test_a_commit_that_is_in_the_log_and_cannot_be_seen_yet_is_no_difference(
    pair: Pair, sides: Sessions, side: str, table: str
) -> None:
    database: Database = getattr(pair, side)
    anchors = Anchors()
    anchors.drop(sides.source)
    with commits_wait(database):
        writer = threading.Thread(target=pair.source.connect().execute, args=(f"BEGIN; {IN_COMMIT[table]}; COMMIT",))
        writer.start()
        wait_for(lambda: waiting(database), 20, "a commit that waits")
        if side == "source":
            wait_for(lambda: pair.target.value(f"SELECT v FROM {table} WHERE v = 'x'"), 20, "the target to be ahead")
        found = sides.swept(table, sides.passage(), OPTIONS, anchors=anchors)
    writer.join()
    assert (0, ()) == (found.different, found.differences)
    assert found.unverified > 0
    wait_for(lambda: not waiting(database), 20, "the commit to end")
    pair.catch_up()
    clean = sides.swept(table, sides.passage(), OPTIONS)
    assert (clean.rows, 0) == (clean.verified, clean.different)


@pytest.mark.parametrize("side", ["source", "target"])
def test_the_second_look_of_the_transaction_audit_leaves_such_a_commit_for_later(
    pair: Pair, sides: Sessions, side: str
) -> None:
    database: Database = getattr(pair, side)
    source = RowSource("public", "t", ("id", "n", "v"), ("integer", "integer", "text"))
    before = log_position(pair.source)
    with commits_wait(database):
        writer = threading.Thread(target=pair.source.connect().execute, args=(f"BEGIN; {IN_COMMIT['t']}; COMMIT",))
        writer.start()
        wait_for(lambda: waiting(database), 20, "a commit that waits")
        if side == "source":
            wait_for(lambda: pair.target.value("SELECT v FROM t WHERE v = 'x'"), 20, "the target to be ahead")
        told = applied_by(pair)
        assert told > before, "the target counts the commit as applied"
        with pytest.raises(NotReady, match="standby"):
            settle_keys(
                sides.source, sides.target, Tables(source, source), ("id",), [[b"-1"]],
                lambda position: sides.passage().wait(min(position, told), 20),
            )  # fmt: skip
    writer.join()
    wait_for(lambda: not waiting(database), 20, "the commit to end")


def log_position(database: Database) -> int:
    return int(database.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"))


def applied_by(pair: Pair) -> int:
    """Give the last position that the target counts as applied: a worker that waits cannot pass what follows it."""
    progress = "SELECT (remote_lsn - '0/0')::bigint FROM pg_replication_origin_status WHERE external_id = %s"
    oid = pair.target.value("SELECT oid FROM pg_subscription WHERE subname = %s", pair.subscription)
    return int(pair.target.value(progress, f"pg_{oid}"))


def test_who_only_writes_on_and_on_does_not_hide_a_difference(pair: Pair, sides: Sessions) -> None:
    with pair.source.connect(autocommit=False) as writer, pair.target.connect(autocommit=False) as other:
        anchors = Anchors()
        anchors.drop(sides.source)
        writer.execute("UPDATE t SET v = v WHERE id = 2000")
        other.execute("CREATE TABLE mine ()")
        pair.target.execute("SET session_replication_role = replica; UPDATE t SET v = 'z' WHERE id = 1000")
        found = sides.swept("t", sides.passage(), OPTIONS, anchors=anchors)
        writer.rollback()
        other.rollback()
    pair.target.execute("UPDATE t SET v = 'v1000' WHERE id = 1000")
    assert [("row-different", (b"1000",), ("v",))] == kinds(found)
    assert (found.rows - 1, 0) == (found.verified, found.unverified)


@pytest.mark.parametrize("quiet", ["SELECT pg_switch_wal()", "BEGIN; UPDATE t SET v = v WHERE id = 2000; ROLLBACK"])
@pytest.mark.parametrize("table", ["t", "u"])
def test_a_log_that_stands_still_at_an_odd_place_does_not_hold_up_a_difference(
    pair: Pair, sides: Sessions, quiet: str, table: str
) -> None:
    """Nothing follows in the log: the target can never tell that it has applied what was not flushed."""
    key = "id" if table == "t" else "n"
    pair.target.execute(f"UPDATE {table} SET v = 'z' WHERE {key} = 100")
    pair.source.execute(quiet)
    found = sides.swept(table, sides.passage(), replace(OPTIONS, wait_seconds=5.0))
    pair.target.execute(f"UPDATE {table} SET v = 'v100' WHERE {key} = 100")
    assert (found.rows - 1, 0) == (found.verified, found.unverified)
    assert found.different == (1 if table == "t" else 2)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_side_that_fails_over_in_mid_sweep_proves_nothing_more_and_the_rest_is_read_later(
    pair: Pair, side: str
) -> None:
    """The server dies and comes back from its log; what was in flight counts for nothing."""
    options = replace(OPTIONS, segment_rows=20, chunk_seconds=0.001, depth=1)
    pair.target.execute("UPDATE t SET v = 'z' WHERE id IN (2500, 2999)")
    with sessions(pair) as opened:
        paired = opened.paired("t")
        plan = make_plan(opened.source, paired, options)
        sweep = TableSweep(opened.source, opened.target, paired, plan, opened.passage(), options)
        told = [step for step in (sweep.step() for _ in range(3)) if step is not None]
        server = getattr(pair, side).server
        server.kill()
        with pytest.raises(SideUnavailable):
            list(iter(sweep.step, None))
        position = sweep.position
    server.start()
    assert position == max((step.past_last for step in told), default=0) < plan.segments
    pair.source.execute("UPDATE t SET n = n + 1 WHERE id = 500")
    pair.catch_up()
    with sessions(pair) as opened:
        wait_for(lambda: Anchors().drop(opened.source), 30, "all writers to end")
        rest = TableSweep(opened.source, opened.target, paired, plan, opened.passage(), options, start=position)
        found = total([*told, *iter(rest.step, None)])
    pair.target.execute("UPDATE t SET v = 'v' || id WHERE id IN (2500, 2999)")
    assert [b"2500", b"2999"] == sorted(one.key[0] or b"" for one in found.differences)
    assert (found.rows - 2, 0, 0) == (found.verified, found.hot, found.unverified)


def test_a_slot_that_is_dropped_in_mid_sweep_leaves_the_rest_unverified(pair: Pair) -> None:
    """The last test of this module: the subscription is lost."""
    options = replace(OPTIONS, segment_rows=100, chunk_seconds=0.001, depth=1, wait_seconds=0.05)

    def drop() -> None:
        pair.target.execute(f"ALTER SUBSCRIPTION {pair.subscription} DISABLE")
        wait_for(lambda: not pair.source.value("SELECT active FROM pg_replication_slots"), 30, "the slot to be free")
        pair.source.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
        pair.source.execute("UPDATE t SET v = 'after' WHERE id = 2900")

    pair.catch_up()
    with sessions(pair) as opened:
        wait_for(lambda: Anchors().drop(opened.source), 30, "all writers to end")
        found = opened.swept("t", opened.passage(), options, between=drop)
        assert (0, True) == (found.different, found.unverified > 0)
        assert found.rows == found.verified + found.unverified
        lost = opened.swept("t", opened.passage(), options)
        assert (0, lost.rows, 0) == (lost.verified, lost.unverified, lost.different)
