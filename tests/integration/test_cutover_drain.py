"""The drain's proof: a position with nobody behind it, a nonce that came by replication, a barrier on the disk."""

import threading
from collections.abc import Iterator

import pytest

from comparators.errors import NotReady
from orchestrator.adapters.markers import Drain
from orchestrator.deadlines import Deadline, DeadlinePassed
from tests.helpers import Pair, commits_wait, unique_name

OURS = "auditor_test"
TABLES = f"""
    CREATE SCHEMA {OURS};
    CREATE TABLE {OURS}.marker (id int PRIMARY KEY, nonce bigint, written_at timestamptz);
    CREATE TABLE t (id int PRIMARY KEY, v text);
"""


def soon(seconds: float = 20) -> Deadline:
    return Deadline.within(seconds, "the test")


@pytest.fixture
def replicated(pair: Pair) -> Pair:
    pair.execute(TABLES)
    pair.replicate()
    return pair


@pytest.fixture
def drain(replicated: Pair) -> Iterator[Drain]:
    made = Drain(
        replicated.source.dsn, replicated.target.dsn, schema=OURS, subscriptions=[replicated.subscription]
    )  # fmt: skip
    yield made
    made.close()


def test_what_was_committed_before_the_marker_is_on_the_new_side_once_it_is_seen(
    replicated: Pair, drain: Drain
) -> None:
    drain.warm(soon())
    for number in range(5):
        replicated.source.execute(f"INSERT INTO t VALUES ({number}, 'v')")
        drain.write_marker(f"nonce-{number}", soon())
        assert drain.see_marker(f"nonce-{number}", soon())["seen"] is True
        assert number + 1 == replicated.target.value("SELECT count(*) FROM t")


def test_a_nonce_that_was_not_written_is_never_seen(drain: Drain) -> None:
    drain.write_marker("one", soon())
    drain.see_marker("one", soon())
    with pytest.raises(DeadlinePassed):
        drain.see_marker("two", soon(0.3))


def test_a_marker_row_that_vanished_from_the_new_side_does_not_keep_the_next_one_out(
    replicated: Pair, drain: Drain
) -> None:
    drain.write_marker("one", soon())
    drain.see_marker("one", soon())
    replicated.target.execute(f"DELETE FROM {OURS}.marker")
    drain.write_marker("two", soon())
    assert drain.see_marker("two", soon())["seen"] is True


def test_a_subscription_that_is_disabled_keeps_the_marker_out(replicated: Pair, drain: Drain) -> None:
    replicated.target.execute(f"ALTER SUBSCRIPTION {replicated.subscription} DISABLE")
    drain.write_marker("one", soon())
    with pytest.raises(DeadlinePassed):
        drain.see_marker("one", soon(0.3))
    assert ["subscription-unfit"] == [blocker.name for blocker in drain.check()]


def test_the_marker_waits_for_what_another_subscription_brings(pair: Pair) -> None:
    pair.execute(TABLES)
    pair.replicate(f"TABLE {OURS}.marker")
    other = f"{pair.name}_other"
    pair.replicate("TABLE t", publication=other, subscription=other)
    drain = Drain(pair.source.dsn, pair.target.dsn, schema=OURS, subscriptions=[pair.subscription, other])
    assert [] == drain.check()
    lock = pair.target.connect(autocommit=False)
    lock.execute("LOCK TABLE t IN EXCLUSIVE MODE")
    pair.source.execute("INSERT INTO t VALUES (1, 'v')")
    drain.write_marker("one", soon())
    with pytest.raises(DeadlinePassed):
        drain.see_marker("one", soon(0.5))
    lock.rollback()
    assert [other] == drain.see_marker("one", soon())["other_slots"]
    assert 1 == pair.target.value("SELECT count(*) FROM t")
    drain.close()


def test_a_role_that_does_not_see_how_far_others_are_is_told_so(pair: Pair) -> None:
    pair.execute(TABLES)
    pair.replicate(f"TABLE {OURS}.marker")
    other, role = f"{pair.name}_other", unique_name("blind")
    pair.replicate("TABLE t", publication=other, subscription=other)
    pair.source.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'blind'; GRANT USAGE ON SCHEMA {OURS} TO {role};"
        f"GRANT SELECT, INSERT, DELETE ON {OURS}.marker TO {role}"
    )
    blind = f"{pair.source.dsn} user={role} password=blind"
    drain = Drain(blind, pair.target.dsn, schema=OURS, subscriptions=[pair.subscription, other])
    assert ["progress-unseen"] == [blocker.name for blocker in drain.check()]
    pair.source.execute(f"GRANT pg_monitor TO {role}")
    assert [] == drain.check()
    drain.close()
    pair.source.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_table_that_is_copied_anew_makes_the_marker_prove_nothing(replicated: Pair, drain: Drain) -> None:
    drain.write_marker("one", soon())
    drain.see_marker("one", soon())
    replicated.target.execute("UPDATE pg_subscription_rel SET srsubstate = 'd' WHERE srrelid = 't'::regclass")
    with pytest.raises(NotReady, match="not copied yet"):
        drain.see_marker("one", soon())


def test_the_position_lies_behind_every_write_and_is_refused_while_something_is_prepared(
    replicated: Pair, drain: Drain
) -> None:
    replicated.source.execute("INSERT INTO t VALUES (1, 'v')")
    behind = replicated.source.value("SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint")
    found = drain.position(soon())
    assert found["fence_lsn"] >= behind
    assert str(replicated.source.value("SELECT system_identifier FROM pg_control_system()")) == found["system"]
    name = f"{replicated.name}_prepared"
    replicated.source.execute(f"BEGIN; INSERT INTO t VALUES (2, 'v'); PREPARE TRANSACTION '{name}'")
    with pytest.raises(NotReady, match="prepared"):
        drain.position(soon())
    replicated.source.execute(f"ROLLBACK PREPARED '{name}'")
    assert drain.position(soon())["fence_lsn"] >= found["fence_lsn"]


def test_what_was_applied_is_flushed_behind_the_barrier(replicated: Pair, drain: Drain) -> None:
    drain.write_marker("one", soon())
    drain.see_marker("one", soon())
    applied = replicated.target.value("SELECT pg_current_wal_insert_lsn()")
    drain.make_durable(soon())
    assert replicated.target.value("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", applied)


def test_a_barrier_that_no_standby_confirms_is_none(private_pair: Pair) -> None:
    private_pair.execute(TABLES)
    private_pair.replicate()
    drain = Drain(
        private_pair.source.dsn, private_pair.target.dsn, schema=OURS, subscriptions=[private_pair.subscription]
    )  # fmt: skip
    drain.warm(soon())
    with commits_wait(private_pair.target), pytest.raises((NotReady, DeadlinePassed)):
        drain.make_durable(soon(0.5))
    drain.close()


def test_what_is_missing_is_told_before_anything_is_held(pair: Pair) -> None:
    pair.execute(TABLES)
    pair.replicate("TABLE t")
    drain = Drain(pair.source.dsn, pair.target.dsn, schema=OURS, subscriptions=[pair.subscription, "absent"])
    assert {"marker-not-carried", "subscription-unfit"} == {blocker.name for blocker in drain.check()}
    pair.execute(f"DROP SCHEMA {OURS} CASCADE")
    assert "marker-rights" in {blocker.name for blocker in drain.check()}
    drain.close()


def test_writers_at_full_speed_do_not_keep_the_marker_from_proving_what_came_before(
    replicated: Pair, drain: Drain
) -> None:
    stop, written = threading.Event(), [0]
    writer = replicated.source.connect()

    def write() -> None:
        while not stop.is_set():
            writer.execute("INSERT INTO t VALUES (%s, 'v')", [written[0]])
            written[0] += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(20):
            before = written[0]
            drain.write_marker(f"nonce-{number}", soon())
            drain.see_marker(f"nonce-{number}", soon())
            assert replicated.target.value("SELECT count(*) FROM t") >= before
    finally:
        stop.set()
        thread.join()
