"""Statements whose plans are kept: many at once, in their order, within one deadline."""

import os
import signal
from collections.abc import Iterator

import pytest

from comparators.errors import SideUnavailable
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline, DeadlinePassed
from tests.helpers import Pair


def soon(seconds: float = 20) -> Deadline:
    return Deadline.within(seconds, "the test")


@pytest.fixture
def session(pair: Pair) -> Iterator[Session]:
    with Session(pair.source.dsn, "test") as opened:
        yield opened


def test_answers_come_in_the_order_of_the_questions(session: Session) -> None:
    questions = [(f"SELECT {number}, $1::int WHERE $1 <> 3", ["3" if number % 2 else "4"]) for number in range(300)]
    wanted = [[] if number % 2 else [(number, 4)] for number in range(300)]
    for _ in range(2):
        assert wanted == session.ask_all(questions, deadline=soon())
    assert [] == session.ask_all([], deadline=soon())
    assert [(1,)] == session.ask("SELECT 1", deadline=soon())


def test_plans_are_kept(session: Session) -> None:
    for number in ("1", "2", "3"):
        session.ask("SELECT $1::int + 1000", [number], deadline=soon())
        session.execute("SELECT 'not kept'", deadline=soon())
    kept = session.execute("SELECT statement FROM pg_prepared_statements", deadline=soon())
    assert [("SELECT $1::int + 1000",)] == kept


def test_one_that_fails_is_told_and_leaves_the_session_of_use(session: Session) -> None:
    questions = [("SELECT 1", ()), ("SELECT 1 / $1::int", ["0"]), ("SELECT 2", ())]
    with pytest.raises(SideUnavailable, match="division by zero"):
        session.ask_all(questions, deadline=soon())
    assert [[(1,)], [(2,)]] == session.ask_all([questions[0], questions[2]], deadline=soon())


def test_the_server_gives_one_of_many_up_before_the_deadline(pair: Pair, session: Session) -> None:
    session.warm(soon())
    with pytest.raises(DeadlinePassed):
        session.ask_all([("SELECT 1", ()), ("SELECT pg_sleep($1::float8)", ["10"])], deadline=soon(0.5))
    assert 0 == pair.source.value(
        "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND wait_event = 'PgSleep'"
    )


def test_a_server_that_does_not_answer_is_given_up_at_the_deadline(session: Session) -> None:
    pid = session.pid(soon())
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(DeadlinePassed):
            session.ask_all([("SELECT 1", ()), ("SELECT 2", ())], deadline=soon(0.5))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert [(1,)] == session.ask("SELECT 1", deadline=soon())


def test_warnings_are_kept_until_somebody_asks(session: Session) -> None:
    assert [] == session.take_warnings()
    session.execute("DO $$BEGIN RAISE WARNING 'heed this'; RAISE NOTICE 'not this'; END$$", deadline=soon())
    assert ["heed this"] == session.take_warnings()
    assert [] == session.take_warnings()
