"""The drain test on real servers: it measures, refuses what would do harm, and never leaves apply held up."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comparators.errors import NeedsOperator, NotPermitted
from samplers.drain import LEAST_BYTES, DrainRequest, drain_test
from tests.flow_probes import asked_for, prepared
from tests.helpers import Pair, unique_name, wait_for

ROOT = Path(__file__).parents[2]
HELD = """SELECT count(*) FROM pg_locks l JOIN pg_stat_subscription w ON w.pid = l.pid
WHERE NOT l.granted AND w.subname = %s"""


@pytest.fixture
def flowing(pair: Pair) -> Pair:
    return prepared(pair)


def request_of(pair: Pair, **changes) -> DrainRequest:
    schema = asked_for(pair).own_schema
    base = DrainRequest(pair.source.dsn, pair.target.dsn, pair.subscription, schema, 2.0, 1 << 30)
    return replace(base, **changes)


def written(pair: Pair, rows: int = 3000) -> None:
    pair.source.execute("INSERT INTO goods SELECT g + (SELECT count(*) FROM goods), repeat('x', 1000)"
                        f" FROM generate_series(1, {rows}) g")  # fmt: skip


def applies(pair: Pair) -> None:
    """Write on the source and wait until the target has it."""
    pair.source.execute("INSERT INTO goods VALUES (-1, 'after') ON CONFLICT (id) DO UPDATE SET v = 'again'")
    pair.catch_up(seconds=30)
    assert pair.source.rows("SELECT count(*) FROM goods") == pair.target.rows("SELECT count(*) FROM goods")


def held(pair: Pair) -> bool:
    return bool(pair.target.value(HELD, pair.subscription))


def test_it_measures_what_apply_drains_and_lets_go(flowing: Pair):
    seen = []

    def paused() -> None:
        written(flowing)
        seen.append((held(flowing), flowing.target.value("SELECT count(*) FROM goods")))

    measured = drain_test(request_of(flowing), paused)
    assert [(True, 0)] == seen, "nothing is applied while it is held up"
    assert measured.paused_seconds >= 2
    assert measured.backlog_bytes > LEAST_BYTES
    assert measured.bytes_per_second == measured.backlog_bytes / measured.drain_seconds
    applies(flowing)


def test_an_idle_source_shows_no_rate(flowing: Pair):
    assert drain_test(request_of(flowing, seconds=0.5)).bytes_per_second is None
    applies(flowing)


def test_an_error_in_the_pause_lets_go(flowing: Pair):
    def failing() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drain_test(request_of(flowing, seconds=20), failing)
    wait_for(lambda: not held(flowing), 10, "apply to go on")
    applies(flowing)


@pytest.fixture
def child(flowing: Pair, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the pause of a drain test, of 25 seconds unless the test says otherwise."""
    asked = request_of(flowing, seconds=getattr(request, "param", 25.0))
    code = f"import sys; from samplers.drain import *; drain_test({asked!r})"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        wait_for(lambda: held(flowing), 20, "apply to be held up")
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_that_ends_in_the_pause_leaves_apply_running(flowing: Pair, child, number: int):
    written(flowing)
    assert 0 == flowing.target.value("SELECT count(*) FROM goods")
    os.kill(child.pid, number)
    child.wait(60)
    wait_for(lambda: not held(flowing), 10, "apply to go on")
    applies(flowing)
    assert flowing.target.value("SELECT subenabled FROM pg_subscription WHERE subname = %s", flowing.subscription)


@pytest.mark.parametrize("child", [3.0], indirect=True)
def test_a_machine_that_vanishes_is_given_up_by_the_server(flowing: Pair, child):
    """Nobody closes its connection; the server's own limit ends the session that holds the lock."""
    limit = flowing.target.connect()
    holder = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE '%holds up apply'"
    assert limit.execute(holder).fetchone() is not None
    os.kill(child.pid, signal.SIGSTOP)
    wait_for(lambda: limit.execute(holder).fetchone() is None, 60, "the session to be ended")
    applies(flowing)


def test_it_refuses_what_would_do_harm(flowing: Pair):
    for changes, words in (
        ({"seconds": 40}, "wal_sender_timeout"),
        ({"subscription": "none"}, "does not bring the marker table"),
        ({"schema": "none"}, "does not bring the marker table"),
    ):
        with pytest.raises(NeedsOperator, match=words):
            drain_test(request_of(flowing, **changes))
    flowing.target.execute(f'ALTER SUBSCRIPTION "{flowing.subscription}" DISABLE')
    with pytest.raises(NeedsOperator, match="apply does not run"):
        drain_test(request_of(flowing))


def test_it_refuses_where_the_slot_holds_back_a_lot_already(flowing: Pair):
    with flowing.source.connect(autocommit=False) as writer:
        writer.execute("INSERT INTO goods SELECT g, repeat('x', 1000) FROM generate_series(1, 3000) g")
        flowing.source.execute("INSERT INTO goods VALUES (-1, 'x')")
        flowing.catch_up()
        with pytest.raises(NeedsOperator, match="half of the budget"):
            drain_test(request_of(flowing, wal_budget_bytes=1 << 20))
    applies(flowing)


def test_it_ends_early_where_the_log_held_back_outgrows_its_budget(flowing: Pair):
    held_back = flowing.source.value(
        "SELECT pg_current_wal_lsn() - restart_lsn FROM pg_replication_slots WHERE slot_name = %s", flowing.subscription
    )
    budget = int(held_back) * 2 + 4_000_000
    with pytest.raises(NeedsOperator, match="grew past its budget"):
        drain_test(request_of(flowing, seconds=20, wal_budget_bytes=budget), lambda: written(flowing, 20_000))
    applies(flowing)


def test_apply_that_has_a_time_limit_for_locks_is_noticed(flowing: Pair):
    owner = flowing.target.value("SELECT current_user")
    flowing.target.execute(f"ALTER ROLE {owner} IN DATABASE {flowing.name} SET lock_timeout = '1s'")
    flowing.target.execute(f'ALTER SUBSCRIPTION "{flowing.subscription}" DISABLE')
    worker = "SELECT count(*) FROM pg_stat_subscription WHERE subname = %s AND pid IS NOT NULL"
    wait_for(lambda: not flowing.target.value(worker, flowing.subscription), 20, "the worker to end")
    flowing.target.execute(f'ALTER SUBSCRIPTION "{flowing.subscription}" ENABLE')
    wait_for(flowing.ready, 30, "the worker to come back")
    with pytest.raises(NeedsOperator, match="gave up waiting"):
        drain_test(request_of(flowing, seconds=20))
    applies(flowing)


def test_a_role_that_may_not_lock_is_told_the_grant(flowing: Pair):
    role, schema = unique_name("reader"), asked_for(flowing).own_schema
    flowing.target.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA {schema} TO {role}")
    try:
        with pytest.raises(NotPermitted) as refused:
            drain_test(request_of(flowing, target_conninfo=f"{flowing.target.dsn} user={role} password=x"))
        assert "GRANT" in refused.value.hint
    finally:
        flowing.target.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_traffic_that_goes_on_while_it_drains_does_not_count(flowing: Pair):
    stop = threading.Event()
    connection = flowing.source.connect()

    def traffic() -> None:
        number = 0
        while not stop.wait(0.01):
            number += 1
            connection.execute("INSERT INTO goods SELECT %s - n, repeat('y', 1000) FROM generate_series(1, 50) n",
                               [-50 * number])  # fmt: skip

    thread = threading.Thread(target=traffic)
    thread.start()
    try:
        measured = drain_test(request_of(flowing))
    finally:
        stop.set()
        thread.join()
    assert measured.bytes_per_second is not None
    applies(flowing)
