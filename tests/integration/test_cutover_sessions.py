"""Sessions of a cutover keep their deadlines on both ends, and are opened again when they were lost."""

import os
import signal
import threading
import time

import pytest

from comparators.errors import NotPermitted, SettingInvalid, SideUnavailable
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline, DeadlinePassed
from tests.helpers import Pair, wait_for


def soon(seconds: float = 20) -> Deadline:
    return Deadline.within(seconds, "the test")


def insert_and_fail(session: Session) -> None:
    with session.transaction(soon(3)):
        session.execute("INSERT INTO public.kept VALUES (1)", deadline=soon(3))
        session.execute("SELECT 1 / 0", deadline=soon(3))


def test_a_session_is_pinned_and_named(pair: Pair):
    pair.source.execute(f'ALTER DATABASE "{pair.name}" SET default_transaction_read_only = on')
    with Session(pair.source.dsn, "test") as session:
        assert "auditor test" == session.value("SHOW application_name", deadline=soon())
        assert "pg_catalog,pg_temp" == session.value("SHOW search_path", deadline=soon()).replace(" ", "")
        assert "off" == session.value("SHOW default_transaction_read_only", deadline=soon())
        assert [] == session.execute("CREATE TABLE public.made (id int)", deadline=soon())
        identity = session.identity(soon())
    assert pair.name == identity.database
    assert str(pair.source.value("SELECT system_identifier FROM pg_control_system()")) == identity.system


def test_the_server_gives_a_statement_up_before_the_deadline(pair: Pair):
    with Session(pair.source.dsn, "test") as session:
        began = time.monotonic()
        with pytest.raises(DeadlinePassed, match="the test"):
            session.execute("SELECT pg_sleep(60)", deadline=soon(0.5))
        assert time.monotonic() - began < 10
        pid = session.pid(soon())
        assert 1 == session.value("SELECT 1", deadline=soon())
        assert pid == session.pid(soon())


def test_a_server_that_stopped_answering_holds_nobody_up(private_pair: Pair):
    with Session(private_pair.source.dsn, "test") as session:
        session.warm(soon())
        pid = session.pid(soon())
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(DeadlinePassed, match="does not answer"):
                session.execute("SELECT 1", deadline=soon(0.5))
        finally:
            os.kill(pid, signal.SIGCONT)
        assert 1 == session.value("SELECT 1", deadline=soon())
        assert pid != session.pid(soon())


def test_a_lost_session_fails_once_and_is_opened_again(pair: Pair):
    with Session(pair.source.dsn, "test") as session:
        pid = session.pid(soon())
        pair.source.execute("SELECT pg_terminate_backend(%s)", pid)
        wait_for(lambda: not pair.source.rows("SELECT FROM pg_stat_activity WHERE pid = %s", pid), 20, "its end")
        with pytest.raises(SideUnavailable):
            session.execute("SELECT 1", deadline=soon())
        assert 1 == session.value("SELECT 1", deadline=soon())


def test_a_limit_that_a_rollback_took_back_is_set_again(pair: Pair):
    with Session(pair.source.dsn, "test") as session:
        session.execute("CREATE TABLE public.kept (id int)", deadline=soon())
        with pytest.raises(SideUnavailable, match="zero"):
            insert_and_fail(session)
        assert 0 == session.value("SELECT count(*) FROM public.kept", deadline=soon(30))
        assert 15000 < int(
            session.value("SELECT setting FROM pg_settings WHERE name = 'statement_timeout'", deadline=soon(30))
        )
        with session.transaction(soon()):
            session.execute("INSERT INTO public.kept VALUES (%s)", [1], deadline=soon())
        assert 1 == session.value("SELECT count(*) FROM public.kept", deadline=soon())


def test_a_deadline_that_passed_sends_nothing(pair: Pair):
    with Session(pair.source.dsn, "test") as session:
        session.warm(soon())
        with pytest.raises(DeadlinePassed):
            session.execute("CREATE TABLE public.never (id int)", deadline=soon(-1))
    assert pair.source.value("SELECT to_regclass('public.never')") is None


def test_why_a_server_cannot_be_entered_decides_what_to_do(pair: Pair):
    with pytest.raises(SideUnavailable):
        Session("host=127.0.0.1 port=1 dbname=x password=hush", "test").warm(soon())
    with pytest.raises(SettingInvalid) as unreadable:
        Session("host=x secret", "test").warm(soon())
    assert "secret" not in str(unreadable.value)
    with pytest.raises(NotPermitted):
        Session(pair.source.dsn + " user=nobody_here", "test").warm(soon())


def test_threads_wait_for_their_own_sessions_alone(pair: Pair):
    with Session(pair.source.dsn, "slow") as slow, Session(pair.source.dsn, "fast") as fast:
        slow.warm(soon())
        waiting = threading.Thread(target=lambda: slow.execute("SELECT pg_sleep(0.5)", deadline=soon()))
        waiting.start()
        assert 1 == fast.value("SELECT 1", deadline=soon())
        assert waiting.is_alive()
        waiting.join()
