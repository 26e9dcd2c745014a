"""A real PgBouncer held, led elsewhere and let go, with live clients."""

import os
import signal
import threading
from collections.abc import Iterator

import psycopg
import pytest

from comparators.errors import NeedsOperator, NotReady, Retryable
from comparators.positions import Side
from orchestrator.adapters.pgbouncer import NotTaken
from orchestrator.adapters.pgbouncer_console import WholePaused
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.ports import ProxySeen
from orchestrator.proxies import ProxyGroup
from tests.helpers import Database, Pair, wait_for
from tests.pools import (
    PASSWORD,
    Pool,
    Writers,
    create_written,
    place,
    pool_for,
    port_behind,
    role_on,
    rows_written,
    soon,
)

BRIEF = 0.6
"""Seconds that are enough for PgBouncer, and that an open transaction outlasts."""


@pytest.fixture
def role(pair: Pair) -> Iterator[str]:
    create_written(pair)
    with role_on(pair) as name:
        yield name


@pytest.fixture
def pool(pair: Pair, role: str) -> Iterator[Pool]:
    with pool_for(pair, role) as started:
        yield started


def system_of(side: Database) -> str:
    return str(side.value("SELECT system_identifier FROM pg_control_system()"))


def seen(pool: Pool) -> ProxySeen:
    return pool.driver().observe()


# Hold, lead, let go.


def test_clients_go_on_at_the_other_side_without_an_error(pair: Pair, pool: Pool) -> None:
    driver = pool.driver()
    assert [] == driver.check()
    with Writers(pool.dsn) as writers:
        wait_for(lambda: len(writers.acknowledged) > 80, 60, "clients to be busy")
        assert driver.hold(soon())["held"] is True
        at_source, acknowledged = rows_written(pair.source), sorted(writers.acknowledged)
        assert "target" == driver.route(Side.TARGET, soon())["route"]
        assert at_source == rows_written(pair.source)  # held: nobody writes
        assert driver.release(soon())["held"] is False
        count = len(writers.acknowledged)
        wait_for(lambda: len(writers.acknowledged) > count + 80, 60, "clients to go on")
    assert [] == writers.errors
    assert set(acknowledged) <= set(at_source)
    assert at_source == rows_written(pair.source)
    assert sorted(writers.acknowledged) == sorted(at_source + rows_written(pair.target))
    assert ProxySeen(False, Side.TARGET, {"app": f"running, 127.0.0.1:{pair.target.server.port}"}) == driver.observe()


def test_leading_there_and_back_gives_the_same_file(pool: Pool) -> None:
    text, driver = pool.server.config.read_text(), pool.driver()
    driver.hold(soon())
    driver.route(Side.TARGET, soon())
    assert text != pool.server.config.read_text()
    driver.route(Side.SOURCE, soon())
    driver.release(soon())
    assert text == pool.server.config.read_text()
    assert Side.SOURCE is driver.observe().route


def test_the_file_keeps_its_owner_and_mode(pool: Pool) -> None:
    before, driver = pool.server.config.stat(), pool.driver()
    driver.hold(soon())
    driver.route(Side.TARGET, soon())
    driver.release(soon())
    driver.close()
    after = pool.server.config.stat()
    assert (before.st_uid, before.st_gid, before.st_mode) == (after.st_uid, after.st_gid, after.st_mode)
    assert before.st_ino != after.st_ino  # replaced, not written over
    assert {"pgbouncer.ini", "server.log", "users.txt"} == {path.name for path in pool.server.home.iterdir()}


def test_an_aborted_hold_leaves_no_file_behind(pool: Pool) -> None:
    before, driver = pool.server.config.stat(), pool.driver()
    driver.hold(soon())
    driver.release(soon())
    driver.close()
    assert before == pool.server.config.stat()
    assert {"pgbouncer.ini", "server.log", "users.txt"} == {path.name for path in pool.server.home.iterdir()}


def test_who_lost_the_lease_leaves_the_file_alone(pool: Pool) -> None:
    driver, text = pool.driver(), pool.server.config.read_text()
    driver.hold(soon())
    with pytest.raises(DeadlinePassed):
        driver.route(Side.TARGET, soon(-1))
    assert text == pool.server.config.read_text()
    driver.release(soon())


def test_every_effect_done_again_says_the_same(pool: Pool) -> None:
    driver = pool.driver()
    for _ in range(2):
        assert driver.hold(soon())["held"] is True
        assert driver.observe().held is True
    for _ in range(2):
        assert "target" == driver.route(Side.TARGET, soon())["route"]
    for _ in range(2):
        assert driver.release(soon())["held"] is False
    assert ProxySeen(False, Side.TARGET) == ProxySeen(driver.observe().held, driver.observe().route)


def test_another_process_goes_on_where_the_first_one_was_killed(pool: Pool) -> None:
    pool.driver().hold(soon())
    pool.driver().route(Side.TARGET, soon())
    assert seen(pool).held is True
    pool.driver().release(soon())
    assert (False, Side.TARGET) == (seen(pool).held, seen(pool).route)


def test_a_restarted_pgbouncer_is_led_again_from_its_file(pair: Pair, pool: Pool) -> None:
    driver = pool.driver()
    driver.hold(soon())
    driver.route(Side.TARGET, soon())
    pool.server.kill()
    pool.server.start()
    assert (False, Side.TARGET) == (driver.observe().held, driver.observe().route)
    driver.release(soon())
    assert pair.target.server.port == int(driver.probe(soon()).address.split(":")[1])


# Transactions that do not end.


def test_an_open_transaction_ends_the_hold_at_its_deadline_and_nobody_waits_on(pool: Pool) -> None:
    driver = pool.driver()
    with pool.connect(autocommit=False) as idle, Writers(pool.dsn) as writers:
        idle.execute("SELECT 1")
        wait_for(lambda: len(writers.acknowledged) > 20, 60, "clients to be busy")
        with pytest.raises(DeadlinePassed):
            ProxyGroup([driver]).hold(soon(BRIEF))
        assert driver.observe().held is False
        count = len(writers.acknowledged)
        wait_for(lambda: len(writers.acknowledged) > count + 20, 60, "clients to go on")
        idle.rollback()
        assert driver.hold(soon())["held"] is True  # the PAUSE that never answered is not in the way
        assert driver.release(soon())["held"] is False
    assert [] == writers.errors


def test_a_resume_from_a_second_console_is_noticed(pool: Pool) -> None:
    driver = pool.driver()
    with pool.connect(autocommit=False) as idle:
        idle.execute("SELECT 1")
        second = threading.Thread(target=resume_once_paused, args=(pool,))
        second.start()
        with pytest.raises(DeadlinePassed):  # PAUSE never answers then
            driver.hold(soon(3 * BRIEF))
        second.join()
        assert driver.observe().held is False
        idle.rollback()
    assert driver.hold(soon())["held"] is True
    assert driver.release(soon())["held"] is False


def resume_once_paused(pool: Pool) -> None:
    wait_for(lambda: seen(pool).held, 60, "PAUSE to be given")
    pool.console("RESUME app")


def test_a_silent_transaction_is_seen_before_anything_is_held(pool: Pool) -> None:
    with pool.connect(autocommit=False) as idle:
        idle.execute("SELECT 1")
        assert ["silent-transactions"] == [one.name for one in pool.driver().check()]
        idle.rollback()
    assert [] == pool.driver().check()


# Leading while nothing is held: after the commit there is only forward.


def test_led_unheld_it_returns_when_the_last_link_to_the_old_side_is_closed(pair: Pair, pool: Pool) -> None:
    driver = pool.driver()
    with pool.connect() as client, pool.connect(autocommit=False) as late:
        assert pair.source.server.port == port_behind(client)
        late.execute("SELECT 1")
        with pytest.raises(Retryable):
            driver.route(Side.TARGET, soon(BRIEF))
        late.rollback()
        assert "target" == driver.route(Side.TARGET, soon())["route"]
        assert pair.target.server.port == port_behind(client)


def test_led_where_it_leads_already_it_waits_for_nobody(pool: Pool) -> None:
    with pool.connect(autocommit=False) as idle:
        idle.execute("SELECT 1")
        assert "source" == pool.driver().route(Side.SOURCE, soon())["route"]


def test_a_file_that_pgbouncer_cannot_read_is_told(pool: Pool) -> None:
    config, driver = pool.server.config, pool.driver()
    config.write_text("nonsense\n" + config.read_text())
    driver.hold(soon())
    with pytest.raises(NotTaken, match="did not take its file"):
        driver.route(Side.TARGET, soon())
    driver.release(soon())


def test_a_folder_that_cannot_be_written_is_told(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    driver, text = pool.driver(), pool.server.config.read_text()
    monkeypatch.setattr(os, "fsync", full)
    driver.hold(soon())
    with pytest.raises(NeedsOperator, match="No space left"):
        driver.route(Side.TARGET, soon())
    assert text == pool.server.config.read_text()
    monkeypatch.undo()
    driver.release(soon())
    driver.close()
    assert {"pgbouncer.ini", "server.log", "users.txt"} == {path.name for path in pool.server.home.iterdir()}


# Preflight.


def names(pool: Pool, **changes: object) -> list[str]:
    return [one.name for one in pool.driver(**changes).check()]


def test_prepared_statements_of_clients_are_found(pool: Pool) -> None:
    with pool.connect(prepare_threshold=0) as client:
        client.execute("SELECT 1 WHERE 1 = %s", [1])
        assert ["prepared-statements"] == names(pool)


def test_the_trap_of_prepared_statements_is_real(pool: Pool) -> None:
    """What the check warns of: the same name in two clients, or on another server."""
    with pool.connect(prepare_threshold=0) as first, pool.connect(prepare_threshold=0) as second:
        first.execute("SELECT 1 WHERE 1 = %s", [1])
        with pytest.raises(psycopg.errors.DuplicatePreparedStatement):
            second.execute("SELECT 1 WHERE 1 = %s", [1])


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"pool_mode": "session"}, "pool-mode"),
        ({"query_wait_timeout": "5"}, "query-wait-timeout"),
        ({"query_timeout": "5"}, "query-timeout"),
    ],
)
def test_settings_that_would_fail_clients_are_found(pair: Pair, role: str, settings: dict[str, str], name: str) -> None:
    with pool_for(pair, role, settings) as pool:
        assert name in names(pool)


def test_a_user_who_may_only_look_is_found(pair: Pair, role: str) -> None:
    with pool_for(pair, role, {"stats_users": role}) as pool:
        (found,) = pool.driver(admin=pool.server.dsn("pgbouncer", role)).check()
        assert "admin access needed" in found.reason
        assert "admin_users" in found.remedy


@pytest.mark.parametrize("words", ["PAUSE", "PAUSE app"])
def test_a_pgbouncer_that_is_paused_already_is_found(pool: Pool, words: str) -> None:
    pool.console(words)
    assert ["paused"] == names(pool)
    assert seen(pool).held is True


def test_somebody_elses_pause_of_everything_is_neither_taken_over_nor_taken_for_let_go(pool: Pool) -> None:
    pool.console("PAUSE")
    for effect in (pool.driver().hold, pool.driver().release):
        with pytest.raises(WholePaused):
            effect(soon())
    pool.console("RESUME")
    assert pool.driver().release(soon())["held"] is False


def test_places_that_are_not_where_it_leads_are_found(pool: Pool) -> None:
    assert ["places"] == names(pool, places={Side.SOURCE: "host=10.0.0.1 port=1", Side.TARGET: "host=10.0.0.2"})
    assert ["places"] == names(pool, places=dict.fromkeys(Side, pool.places[Side.SOURCE]))


def test_a_place_where_another_server_answers_is_found_before_anybody_is_led_there(pair: Pair, pool: Pool) -> None:
    """It answers, and takes writes: nothing but its name would tell that it is not the target."""
    source, third = f"{place(pair.source)} dbname={pair.name}", f"{place(pair.target)} dbname=postgres"
    (found,) = pool.driver(places={Side.SOURCE: source, Side.TARGET: third}).check()
    assert f"database postgres of server {system_of(pair.target)} answers, not {pair.name}" in found.reason
    swapped = dict(zip(Side, reversed(pool.places.values()), strict=True))
    assert ["places", "places"] == names(pool, places=swapped)
    assert "source" == pool.driver().observe().route


def test_a_place_that_cannot_be_reached_from_here_is_found(pool: Pool) -> None:
    (found,) = pool.driver(places={**pool.places, Side.TARGET: "host=127.0.0.1 port=1"}).check()
    assert "cannot be asked from here" in found.reason
    assert PASSWORD not in found.reason
    unasked = pool.driver(places={**pool.places, Side.TARGET: "host=127.0.0.1 port=1"}, destinations=None)
    assert ([], False) == (unasked.check(), unasked.places_asked)


def test_another_database_and_another_probe_are_found(pool: Pool) -> None:
    assert ["database"] == names(pool, databases=["app", "typo"])
    assert ["probe"] == names(pool, probe=pool.server.admin_dsn)


def test_a_file_that_is_not_the_running_one_is_found(pool: Pool) -> None:
    config = pool.server.config
    config.write_text(config.read_text().replace("host=127.0.0.1", "host=127.0.0.9"))
    assert ["config"] == names(pool)
    config.write_text(config.read_text().replace("app =", "other ="))
    assert ["config"] == names(pool)
    config.unlink()
    assert ["config"] == names(pool)


def test_one_that_is_down_is_found_and_not_known(pool: Pool) -> None:
    driver = pool.driver()
    pool.server.stop()
    (found,) = driver.check()
    assert "pool-1" == found.name
    assert ProxySeen(None, None) == driver.observe()
    with pytest.raises(Retryable):
        driver.hold(soon(BRIEF))


def test_one_that_hangs_ends_every_effect_at_its_deadline(pool: Pool) -> None:
    driver = pool.driver()
    assert [] == driver.check()
    os.kill(pool.server.pid or 0, signal.SIGSTOP)
    try:
        with pytest.raises(Retryable):
            driver.hold(soon(BRIEF))
        assert ProxySeen(None, None) == driver.observe()
        with pytest.raises(Retryable):
            driver.release(soon(BRIEF))
    finally:
        os.kill(pool.server.pid or 0, signal.SIGCONT)
    assert driver.release(soon())["held"] is False


# Several.


def test_several_are_held_all_or_none(pair: Pair, role: str) -> None:
    with pool_for(pair, role) as first, pool_for(pair, role) as second:
        second.name = "pool-2"
        group = ProxyGroup([first.driver(), second.driver()])
        assert [] == group.check()
        with second.connect(autocommit=False) as idle:
            idle.execute("SELECT 1")
            with pytest.raises(DeadlinePassed):
                group.hold(soon(BRIEF))
            assert [False, False] == [one.held for one in group.observe().values()]
        assert ["pool-1", "pool-2"] == list(group.hold(soon())["proxies"])
        group.route(Side.TARGET, soon())
        group.release(soon())
        addresses = [one.address for one in group.identities(soon()).values()]
        assert [f"127.0.0.1:{pair.target.server.port}"] * 2 == addresses


def test_one_of_several_that_died_lets_the_others_go(pair: Pair, role: str) -> None:
    with pool_for(pair, role) as first, pool_for(pair, role) as second:
        second.name = "pool-2"
        group = ProxyGroup([first.driver(), second.driver()])
        assert [] == group.check()
        second.server.kill()
        with pytest.raises(Retryable):
            group.hold(soon(BRIEF))
        assert seen(first).held is False


def test_several_databases_of_one_are_held_and_led_together(pair: Pair, role: str) -> None:
    with pool_for(pair, role, databases=("app", "other")) as pool:
        driver = pool.driver(databases=["app", "other"])
        assert [] == driver.check()
        assert ["app", "other"] == driver.hold(soon())["databases"]
        assert "target" == driver.route(Side.TARGET, soon())["route"]
        driver.release(soon())
        assert Side.TARGET is driver.observe().route
        pool.console("PAUSE other")
        assert driver.observe().held is False  # not all of it


def test_a_deadline_that_ends_with_the_lease_undoes_nothing(pool: Pool) -> None:
    class Lost(Deadline):
        def left(self) -> float:
            if self.doing.startswith("letting"):
                raise NotReady("the lease is somebody else's")
            return super().left()

    with pool.connect(autocommit=False) as idle:
        idle.execute("SELECT 1")
        driver = pool.driver()
        with pytest.raises(DeadlinePassed) as failed:
            ProxyGroup([driver]).hold(Lost.within(BRIEF, "a test"))
        assert ["not all proxies were let go again: the lease is somebody else's"] == failed.value.__notes__
        assert seen(pool).held is True
        driver.release(soon())
