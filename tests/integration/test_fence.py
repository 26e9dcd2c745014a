"""Behind a closed fence nobody writes, whoever tries; an open one gives back exactly what was taken."""

import contextlib
import os
import signal
import socket
import struct
import threading
from collections.abc import Iterator

import psycopg
import pytest

from auditor.servers import PostgresServer
from comparators.errors import NeedsOperator, NotPermitted, StoreUnavailable
from comparators.positions import Side
from orchestrator.adapters.fence_roles import REHEARSAL
from orchestrator.deadlines import DeadlinePassed
from orchestrator.ports import FenceSeen
from tests.conftest import SETTINGS
from tests.fences import Fenced, soon
from tests.helpers import wait_for


@pytest.fixture(scope="module", params=[16, 18])
def server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """A server of the module's own: a fence takes LOGIN from every role of the server that can enter."""
    with PostgresServer(request.param, SETTINGS, "fenced") as server:
        yield server


@pytest.fixture
def side(server: PostgresServer) -> Iterator[Fenced]:
    fenced = Fenced(server)
    yield fenced
    fenced.remove()


def blockers(side: Fenced, **choice: object) -> list[str]:
    return [blocker.name for blocker in side.fence(**choice).check()]


def test_closed_it_lets_nobody_in_and_open_it_gives_back_what_was_taken(side: Fenced):
    away = side.role("away", "NOLOGIN")
    idle, fence = side.connect(side.app), side.fence()
    assert FenceSeen(False, 1, 0) == fence.observe()
    facts = fence.close(soon())
    assert (True, 0, 0, [side.app], 1) == tuple(
        facts[name] for name in ("closed", "sessions", "prepared", "roles", "ended")
    )
    assert FenceSeen(True, 0, 0) == fence.observe()
    with pytest.raises(psycopg.OperationalError):
        idle.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        side.connect(side.app)
    assert {"closed": False, "roles": [side.app]}.items() <= fence.open(soon()).items()
    assert FenceSeen(False, 0, 0) == fence.observe()
    side.connect(side.app)
    assert not side.logs_in(away)


def test_repeated_by_another_process_it_finds_its_work_done(side: Fenced):
    first, second = side.fence(), side.fence()
    assert first.close(soon())["roles"] == second.close(soon())["roles"] == [side.app]
    assert first.open(soon())["roles"] == [side.app]
    assert second.open(soon())["roles"] == []
    assert side.logs_in(side.app)
    assert {} == side.notes.roles


def test_eight_busy_clients_are_out_and_no_write_follows(side: Fenced):
    with side.writing(8) as writers:
        wait_for(lambda: writers.acknowledged > 100, 60, "writes")
        fence = side.fence()
        fence.close(soon())
        behind = side.count()
        refused = writers.refused
        wait_for(lambda: writers.refused > refused + 50, 60, "the storm of those who come back")
        assert behind == side.count()
        assert FenceSeen(True, 0, 0) == fence.observe()
        fence.open(soon())
        wait_for(lambda: side.count() > behind, 60, "writes after the fence")


def test_idle_in_transaction_is_ended_and_leaves_nothing(side: Fenced):
    idle = side.connect(side.app, autocommit=False)
    idle.execute("INSERT INTO written (by) VALUES ('idle')")
    side.fence().close(soon())
    assert 0 == side.count()
    with pytest.raises(psycopg.OperationalError):
        idle.commit()


def test_a_stubborn_session_makes_it_say_who_and_opens_again(side: Fenced):
    stubborn = side.connect(side.app)
    fence = side.fence()
    os.kill(stubborn.info.backend_pid, signal.SIGSTOP)
    try:
        with pytest.raises(DeadlinePassed, match=rf"still there: {side.app} \(process {stubborn.info.backend_pid}"):
            fence.close(soon(1))
        assert FenceSeen(True, 1, 0) == fence.observe()
        assert [side.app] == fence.open(soon())["roles"]
    finally:
        os.kill(stubborn.info.backend_pid, signal.SIGCONT)


def test_a_prepared_transaction_is_for_a_person(side: Fenced):
    session = side.connect(side.app)
    session.execute("BEGIN")
    session.execute("INSERT INTO written (by) VALUES ('prepared')")
    session.execute("PREPARE TRANSACTION 'two-phase'")
    assert ["fence-prepared"] == blockers(side)
    fence = side.fence()
    with pytest.raises(NeedsOperator, match="1 prepared"):
        fence.close(soon())
    assert FenceSeen(True, 0, 1) == fence.observe()
    side.database.execute("ROLLBACK PREPARED 'two-phase'")
    side.database.close()
    assert fence.close(soon())["closed"]


def test_a_superusers_session_is_ended_and_counted_once(side: Fenced):
    superuser = side.connect()
    facts = side.fence(role=None).close(soon())
    assert (1, 1) == (facts["ended"], facts["superusers_ended"])
    with pytest.raises(psycopg.OperationalError):
        superuser.execute("SELECT 1")


def test_a_superuser_that_comes_back_to_work_fails_it(side: Fenced):
    stubborn = side.connect(side.app)
    os.kill(stubborn.info.backend_pid, signal.SIGSTOP)  # so that the fence looks again and again
    try:
        fence = side.fence(role=None)
        closing = Closing(fence)
        while closing.goes_on():  # one whose transaction begins behind a look may be ended before the next
            with contextlib.suppress(psycopg.Error):
                side.connect().execute("SELECT pg_sleep(0.3)")
        with pytest.raises(NeedsOperator, match="superuser postgres"):
            closing.result()
    finally:
        os.kill(stubborn.info.backend_pid, signal.SIGCONT)


class Closing:
    """A fence that is being closed in a thread."""

    def __init__(self, fence) -> None:
        self._error: BaseException | None = None
        self._fence = fence
        self._thread = threading.Thread(target=self._close)
        self._thread.start()

    def _close(self) -> None:
        try:
            self._fence.close(soon())
        except BaseException as error:
            self._error = error

    def goes_on(self) -> bool:
        return self._thread.is_alive()

    def result(self) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error


def test_what_a_superuser_only_reads_may_be_allowed_by_name(side: Fenced):
    monitor = side.role("monitor", "LOGIN SUPERUSER")
    side.connect(monitor)
    facts = side.fence(role=None, keep=[monitor]).close(soon())
    assert (1, 0, 1) == (facts["ended"], facts["superusers_ended"], facts["kept_ended"])
    busy = side.connect(monitor, autocommit=False)
    busy.execute("SELECT 1")
    fence = side.fence(role=None, keep=[monitor])
    assert fence.observe() == FenceSeen(True, 0, 0)
    busy.execute("INSERT INTO written (by) VALUES ('monitor')")
    assert fence.observe() == FenceSeen(True, 1, 0)


def test_replication_roles_and_owners_of_subscriptions_keep_login(side: Fenced):
    reader, owner = side.role("reader", "LOGIN REPLICATION"), side.role("owner", "LOGIN SUPERUSER")
    with psycopg.connect(side.dsn(owner), autocommit=True) as session:
        session.execute(
            "CREATE SUBSCRIPTION s CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false, slot_name = NONE)"
        )
    side.admin(f"ALTER ROLE {owner} NOSUPERUSER")
    consumer = side.connect(reader)
    facts = side.fence().close(soon())
    assert ([side.app], 1) == (facts["roles"], facts["kept_ended"])
    with pytest.raises(psycopg.OperationalError):
        consumer.execute("SELECT 1")
    side.connect(reader).execute("SELECT 1")
    side.admin(f"ALTER ROLE {owner} SUPERUSER")


def test_the_auditors_sessions_go_on_and_others_under_its_roles_do_not(side: Fenced):
    auditor = side.role("sampler", "LOGIN")
    ours = psycopg.connect(side.dsn(auditor, "auditor sampler"), autocommit=True)
    stranger = side.connect(auditor)
    side.fence(auditors=[auditor]).close(soon())
    ours.execute("SELECT 1")
    ours.close()
    with pytest.raises(psycopg.OperationalError):
        stranger.execute("SELECT 1")


def test_a_role_that_comes_up_behind_it_is_seen(side: Fenced):
    fence = side.fence(role=None, auditors=[side.control])
    fence.close(soon())
    late = side.role("late", "LOGIN")
    assert fence.observe().closed is False
    assert sorted([side.app, late]) == fence.close(soon())["roles"]
    assert FenceSeen(True, 0, 0) == fence.observe()


def test_a_session_that_was_let_in_before_is_waited_for(side: Fenced):
    """Hold a session in the middle of coming up, when it has read its role and is not shown yet."""
    fence = side.fence()
    fence.warm(soon())
    slowly = psycopg.conninfo.make_conninfo(side.dsn(side.app), options="-c post_auth_delay=8")
    coming = threading.Thread(target=stay, args=[slowly])
    coming.start()
    wait_for(lambda: side.admin(COMING_UP), 60, "a session that comes up")
    with pytest.raises(DeadlinePassed, match="coming up"):
        fence.close(soon(2))
    assert 1 == fence.close(soon())["ended"]
    coming.join()


def test_a_client_that_never_sends_its_password_does_not_hold_it_up(side: Fenced):
    with socket.create_connection(("127.0.0.1", side.server.port)) as silent:
        words = f"user\0{side.app}\0database\0{side.database.name}\0\0".encode()
        silent.sendall(struct.pack("!II", len(words) + 8, 3 << 16) + words)
        wait_for(lambda: side.admin(COMING_UP), 60, "the server's question for the password")
        assert side.fence(role=None, auditors=[side.control]).close(soon())["closed"]


COMING_UP = """SELECT pid FROM pg_locks WHERE locktype = 'virtualxid' AND pid <> pg_backend_pid()
EXCEPT SELECT pid FROM pg_stat_activity WHERE usesysid IS NOT NULL OR backend_type <> 'client backend'"""


def stay(dsn: str) -> None:
    """Stay connected until the fence says otherwise."""
    with contextlib.suppress(psycopg.Error), psycopg.connect(dsn, autocommit=True) as session:
        session.execute("SELECT pg_sleep(600)")


def test_a_stopped_orchestrator_cannot_finish_what_it_began(side: Fenced):
    stopped, other = side.fence(), side.fence()
    stopped.warm(soon())
    pid = stopped._acting.pid(soon())
    other.close(soon())
    assert [] == side.admin(f"SELECT FROM pg_stat_activity WHERE pid = {pid}")
    other.open(soon())
    with pytest.raises(DeadlinePassed):
        stopped.close(soon(-1))
    assert side.logs_in(side.app)


def test_nothing_is_altered_that_could_not_be_remembered(side: Fenced):
    fence = side.fence()

    def away(*_: object) -> None:
        raise StoreUnavailable("the journal is away")

    side.notes.remember = away  # type: ignore[method-assign]
    with pytest.raises((StoreUnavailable, DeadlinePassed)):
        fence.close(soon(0.5))
    assert side.logs_in(side.app)


def test_a_fence_that_nobody_remembers_is_for_a_person(side: Fenced):
    fence = side.fence()
    fence.close(soon())
    side.notes.roles.clear()
    assert fence.observe().closed is None
    with pytest.raises(NeedsOperator, match="no application can log in"):
        fence.open(soon())
    side.admin(f"ALTER ROLE {side.app} LOGIN")


def test_what_cannot_be_seen_is_not_known(side: Fenced):
    side.notes.remembered = lambda _: (_ for _ in ()).throw(StoreUnavailable("away"))  # type: ignore[method-assign]
    side.admin(f"ALTER ROLE {side.app} NOLOGIN")
    assert side.fence().observe().closed is None
    side.admin(f"ALTER ROLE {side.app} LOGIN")
    side.admin(f"ALTER ROLE {side.control} NOLOGIN")
    assert FenceSeen(None, None, None) == side.fence().observe()


def test_the_rehearsal_leaves_no_trace_and_finds_a_right_that_lacks(side: Fenced):
    session = side.connect(side.app)
    facts = side.fence().rehearse(soon())
    assert (True, 1, 1) == (facts["rehearsed"], facts["roles"], facts["sessions"])
    session.execute("SELECT 1")
    assert side.logs_in(side.app)
    assert [] == side.admin(f"SELECT FROM pg_roles WHERE rolname = '{REHEARSAL}'")
    side.role("strange", "LOGIN CREATEROLE")
    if side.server.major >= 16:
        with pytest.raises(NotPermitted):
            side.fence().rehearse(soon())


def test_its_server_says_who_it_is(side: Fenced):
    assert side.database.name == side.fence().identity(soon()).database
    assert Side.SOURCE == side.fence().side


def test_what_speaks_against_it_is_told_before(side: Fenced):
    assert [] == blockers(side)
    assert ["fence-roles"] == blockers(side, keep=[side.app])
    assert ["fence-roles"] == blockers(side, only=["nobody_here", side.app])
    with psycopg.connect(side.server.dsn("postgres"), user=side.app, password="hush"):
        assert ["fence-databases"] == blockers(side)
    side.connect(side.control)
    side.connect()
    assert ["fence-control-role", "fence-superusers"] == blockers(side)


def test_rights_that_lack_are_told_before(side: Fenced):
    weak = side.role("weak", "LOGIN")
    words = [blocker.reason for blocker in side.fence(role=weak, keep=[side.control]).check()]
    assert "lacks CREATEROLE and pg_signal_backend and pg_read_all_stats" in words[0]
    assert (side.server.major >= 16) == any(f"may not alter {side.app}" in word for word in words)


def test_while_writes_are_held_it_is_looked_at_without_asking_the_journal(side: Fenced):
    fence = side.fence()
    fence.close(soon())

    def away(*_: object) -> list[str]:
        raise StoreUnavailable("the journal is away")

    side.notes.remembered = away  # type: ignore[method-assign]
    assert FenceSeen(None, 0, 0) == fence.observe()
    assert FenceSeen(True, 0, 0) == fence.observe(soon())
    del side.notes.remembered
    fence.open(soon())
    assert FenceSeen(False, 0, 0) == fence.observe(soon())


def test_a_look_that_is_not_answered_ends_with_the_step(side: Fenced):
    fence = side.fence()
    fence.close(soon())
    fence.observe()
    ((pid,),) = side.admin("SELECT pid FROM pg_stat_activity WHERE application_name = 'auditor fence watch'")
    os.kill(pid, signal.SIGSTOP)
    try:
        assert FenceSeen(None) == fence.observe(soon(0.2))
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("lost", [signal.SIGTERM, signal.SIGSTOP])
def test_sessions_that_died_since_they_were_used_are_opened_anew_when_it_is_made_ready(
    side: Fenced, lost: signal.Signals
):
    fence = side.fence()
    fence.close(soon())
    fence.observe()
    pids = side.admin("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'auditor fence%'")
    assert len(pids) == 2
    for (pid,) in pids:
        os.kill(pid, lost)
    try:
        fence.warm(soon(4))
        assert FenceSeen(True, 0, 0) == fence.observe(soon())
    finally:
        for (pid,) in pids if lost is signal.SIGSTOP else ():
            os.kill(pid, signal.SIGCONT)
    fence.open(soon())
