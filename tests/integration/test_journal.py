"""The journal keeps its rules on a real server, and its twin in memory keeps the same ones."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import conninfo

from comparators.errors import NeedsOperator, SideUnavailable
from comparators.positions import Side
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline
from orchestrator.journal import PostgresJournal
from orchestrator.ports import Identity
from orchestrator.records import (
    Direction,
    Draft,
    Journal,
    JournalUnavailable,
    JournalUnfit,
    Kind,
    LeaseHeld,
    LeaseLost,
    Result,
    Wish,
)
from orchestrator.rehearsal import MemoryJournal
from tests.helpers import Pair, unique_name, wait_for

FORWARD = Direction.FORWARD
Open = Callable[[], PostgresJournal]


def draft(step: str = "check-all", **facts: object) -> Draft:
    return Draft(1, FORWARD, step, Kind.INTENT, facts)


@pytest.fixture
def opened(pair: Pair) -> Iterator[Open]:
    """Opens the journal of one migration as another process would."""
    journals: list[PostgresJournal] = []

    def open_one() -> PostgresJournal:
        journal = PostgresJournal(pair.source.dsn, "orders")
        journal.install([])
        journals.append(journal)
        return journal

    yield open_one
    for journal in journals:
        journal.close()


@pytest.fixture(params=["memory", "postgres"])
def journal(request: pytest.FixtureRequest) -> Journal:
    return MemoryJournal("orders") if request.param == "memory" else request.getfixturevalue("opened")()


# What both keep.


def test_one_holds_the_lease_until_it_is_over(journal: Journal):
    assert journal.lease() is None
    first = journal.acquire("ana", 0.2)
    assert (1, "ana") == (first.epoch, first.holder)
    with pytest.raises(LeaseHeld, match="ana"):
        journal.acquire("zoe", 10)
    wait_for(lambda: journal.lease().over, 10, "the lease to be over")
    second = journal.acquire("zoe", 10)
    assert (2, "zoe") == (second.epoch, second.holder)
    with pytest.raises(LeaseLost):
        journal.renew(first.epoch, 10)
    assert journal.renew(second.epoch, 20).left_seconds > 15
    journal.release(second.epoch)
    assert 3 == journal.acquire("ben", 10).epoch


def test_entries_are_chained_and_read_back(journal: Journal):
    epoch = journal.acquire("ana", 30).epoch
    facts = {
        "text": "naïve \u2028 \U0001f600",
        "float": 0.1,
        "whole": 10**18,
        "none": None,
        "deep": {"b": [1], "a": {}},
    }
    written = journal.append(epoch, "ana", [draft("check-all", **facts), draft("check-gate")])
    written += journal.append(epoch, "ana", [draft("check-approval")])
    assert [1, 2, 3] == [entry.seq for entry in written]
    assert written == journal.entries()
    assert written[2:] == journal.entries(after=2)
    assert written[1:2] == journal.entries(after=1, limit=1)
    assert [] == journal.entries(limit=0)
    assert facts == journal.entries()[0].facts
    verified = journal.verify()
    assert verified.intact, verified.problems
    assert (3, written[-1].hash) == (verified.entries, verified.head)


@pytest.mark.parametrize("page", [1, 2, 3, 5, 6])
def test_a_long_journal_is_read_in_pages(opened: Open, monkeypatch: pytest.MonkeyPatch, page: int):
    journal = opened()
    written = journal.append(journal.acquire("ana", 10).epoch, "ana", [draft(number=number) for number in range(5)])
    monkeypatch.setattr("orchestrator.journal.PAGE_ENTRIES", page)
    assert written == journal.entries()
    assert written[1:] == journal.entries(1)
    assert [written[1:][:limit] for limit in range(1, 7)] == [journal.entries(1, limit) for limit in range(1, 7)]
    assert [] == journal.entries(5)
    assert (5, True) == (journal.verify().entries, journal.verify().intact)


def test_facts_of_any_kind_are_written_and_verified(journal: Journal):
    epoch = journal.acquire("ana", 30).epoch
    odd = {
        "when": datetime(2030, 1, 1, tzinfo=UTC),
        "nan": float("nan"),
        "set": {"b", "a"},
        "half": "\ud800",
        1: (Side.SOURCE,),
    }
    journal.append(epoch, "ana", [draft("check-all", odd=odd, nul="\x00")])
    found = journal.entries()[0].facts
    assert ["a", "b"] == found["odd"]["set"]
    assert ["source"] == found["odd"]["1"]
    assert ("nan", "\x00") == (found["odd"]["nan"], found["nul"])
    assert journal.verify().intact


def test_nobody_writes_under_an_epoch_that_is_over(journal: Journal):
    old = journal.acquire("ana", 0.1).epoch
    wait_for(lambda: journal.lease().over, 10, "the lease to be over")
    zombie = [
        lambda: journal.append(old, "ana", [draft()]),
        lambda: journal.decide(old, "ana", 1, FORWARD, Result.COMMIT),
        lambda: journal.renew(old, 10),
    ]
    for write in zombie:
        with pytest.raises(LeaseLost):
            write()
    new = journal.acquire("zoe", 30).epoch
    for write in zombie:
        with pytest.raises(LeaseLost):
            write()
    assert journal.outcome(1) is None
    assert [] == journal.entries()
    journal.append(new, "zoe", [draft()])


def test_commit_and_abort_are_one_row(journal: Journal):
    epoch = journal.acquire("ana", 30).epoch
    assert Result.ABORT is journal.decide(epoch, "ana", 1, FORWARD, Result.ABORT).result
    again = journal.decide(epoch, "ana", 1, FORWARD, Result.COMMIT)
    assert (Result.ABORT, "ana", epoch) == (again.result, again.actor, again.epoch)
    assert again == journal.outcome(1)
    assert Result.COMMIT is journal.decide(epoch, "ana", 2, Direction.BACK, Result.COMMIT).result


def test_requests_are_left_and_answered(journal: Journal):
    asked = journal.request(Wish.ROLLBACK, "ana", "it is slow", facts={"unproven": True})
    assert asked == journal.requests()[0]
    assert asked.answer is None
    epoch = journal.acquire("ben", 30).epoch
    journal.answer(epoch, asked.id, "rolling back")
    assert "rolling back" == journal.requests()[0].answer
    assert {"unproven": True} == journal.requests()[0].facts


def test_approvals_name_a_plan_run_out_and_count_for_one_attempt(journal: Journal):
    journal.approve("sha256:a", "ana", 30)
    journal.approve("sha256:b", "ana", 30)
    journal.approve("sha256:a", "zoe", 0.1)
    wait_for(lambda: 1 == len(journal.approvals("sha256:a")), 10, "one approval to run out")
    (one,) = journal.approvals("sha256:a")
    epoch = journal.acquire("ben", 30).epoch
    journal.use_approvals(epoch, 7, [one.id])
    assert [7] == [found.attempt for found in journal.approvals("sha256:a")]


def test_fenced_roles_are_remembered_by_side(journal: Journal):
    journal.remember(Side.SOURCE, ["app", "batch"])
    journal.remember(Side.SOURCE, ["app", "web"])
    journal.remember(Side.TARGET, ["other"])
    assert ["app", "batch", "web"] == journal.remembered(Side.SOURCE)
    journal.forget(Side.SOURCE)
    assert [] == journal.remembered(Side.SOURCE)
    assert ["other"] == journal.remembered(Side.TARGET)


# What only a server can show.


def test_it_is_refused_on_the_server_of_a_side(pair: Pair, opened: Open):
    system = str(pair.source.value("SELECT system_identifier FROM pg_control_system()"))
    with pytest.raises(JournalUnfit, match="one of the sides"):
        opened().install([Identity(system, "another", "10.0.0.1:5432")])


def test_of_many_that_want_the_lease_one_gets_it(opened: Open):
    journals = [opened() for _ in range(6)]
    got, gate = [], threading.Barrier(len(journals))

    def take(number: int) -> None:
        gate.wait()
        with contextlib.suppress(LeaseHeld):
            got.append(journals[number].acquire(f"orchestrator {number}", 30).epoch)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(len(journals))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [1] == got


@pytest.mark.parametrize("attempt", range(1, 9))
def test_a_commit_and_a_dead_man_race_at_the_end_of_the_lease(opened: Open, attempt: int):
    """Whoever is first is obeyed by both; the loser learns it, or that it may act no more."""
    orchestrator, dead_man = opened(), opened()
    epoch = orchestrator.acquire("orchestrator", 0.15).epoch
    told: dict[str, object] = {}

    def commit() -> None:
        time.sleep(0.13 + attempt * 0.004)
        try:
            told["orchestrator"] = orchestrator.decide(epoch, "orchestrator", attempt, FORWARD, Result.COMMIT).result
        except LeaseLost:
            told["orchestrator"] = None

    def abort() -> None:
        while True:
            try:
                taken = dead_man.acquire("dead man", 30).epoch
                break
            except LeaseHeld:
                continue
        told["dead man"] = dead_man.decide(taken, "dead man", attempt, FORWARD, Result.ABORT).result

    threads = [threading.Thread(target=commit), threading.Thread(target=abort)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    decided = dead_man.outcome(attempt)
    assert decided is not None
    assert told["dead man"] is decided.result
    assert told["orchestrator"] in (None, decided.result)


class Cut:
    """Loses the answer of the next statements, before or after they took effect."""

    def __init__(self, session: Session, times: int, *, sent: bool) -> None:
        self.real, self.times, self.sent = session.execute, times, sent

    def __call__(self, *args: object, **kwargs: object) -> object:
        if self.times == 0:
            return self.real(*args, **kwargs)  # type: ignore[arg-type]
        self.times -= 1
        if self.sent:
            self.real(*args, **kwargs)  # type: ignore[arg-type]
        raise SideUnavailable("the connection was cut")


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("sent", [True, False])
def test_a_write_whose_answer_was_lost_is_written_once(opened: Open, sent: bool, times: int):
    journal = opened()
    epoch = journal.acquire("ana", 30).epoch
    journal.append(epoch, "ana", [draft("check-all")])
    session = journal._records
    session.execute = Cut(session, times, sent=sent)  # type: ignore[method-assign, assignment]
    journal.append(epoch, "ana", [draft("check-gate"), draft("check-approval")])
    session.execute = Cut(session, times, sent=sent)  # type: ignore[method-assign, assignment]
    assert Result.COMMIT is journal.decide(epoch, "ana", 1, FORWARD, Result.COMMIT).result
    session.execute = Cut(session, times, sent=sent)  # type: ignore[method-assign, assignment]
    journal.request(Wish.ABORT, "ana", "because")
    journal.append(epoch, "ana", [draft("shadow-reads")])
    assert ["check-all", "check-gate", "check-approval", "shadow-reads"] == [one.step for one in journal.entries()]
    assert 1 == len(journal.requests())
    assert journal.verify().intact


def test_a_session_that_is_killed_in_the_middle_of_a_commit_is_read_back(pair: Pair, opened: Open):
    """The statement waits on a lock while its backend is ended; it is sent again, and there once."""
    journal = opened()
    epoch = journal.acquire("ana", 60).epoch
    journal.append(epoch, "ana", [draft("check-all")])
    with contextlib.closing(psycopg.connect(pair.source.dsn)) as blocker:
        blocker.execute("SELECT FROM auditor_cutover.lease FOR UPDATE")
        thread = threading.Thread(target=lambda: journal.append(epoch, "ana", [draft("check-gate")]))
        thread.start()
        waiting = (
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'auditor journal' AND wait_event_type = 'Lock'"
        )
        pid = wait_for(lambda: pair.source.value(waiting), 20, "the append to wait")
        pair.source.execute(f"SELECT pg_terminate_backend({pid})")
        wait_for(lambda: pair.source.value(waiting) not in (None, pid), 20, "the append to be sent again")
    thread.join()
    assert ["check-all", "check-gate"] == [entry.step for entry in journal.entries()]
    assert journal.verify().intact


def test_a_journal_that_is_away_says_so_and_works_again(private_pair: Pair):
    with PostgresJournal(private_pair.source.dsn, "orders", patience_seconds=0.5) as journal:
        journal.install([])
        epoch = journal.acquire("ana", 60).epoch
        journal.append(epoch, "ana", [draft("check-all")])
        private_pair.source.server.kill()
        for write in (
            lambda: journal.append(epoch, "ana", [draft("check-gate")]),
            lambda: journal.decide(epoch, "ana", 1, FORWARD, Result.COMMIT),
            lambda: journal.renew(epoch, 60),
        ):
            with pytest.raises(JournalUnavailable):
                write()
        private_pair.source.server.start()
        wait_for(lambda: _answers(journal), 60, "the journal to answer")
        journal.append(epoch, "ana", [draft("check-gate")])
        assert ["check-all", "check-gate"] == [entry.step for entry in journal.entries()]


def test_a_refusal_ends_nobody_who_has_written(pair: Pair):
    """A journal whose server fails over, or whose role loses a right, is waited for once an attempt is under way."""
    role = unique_name("keeper")
    database = pair.source.value("SELECT current_database()")
    pair.source.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'secret'; GRANT CREATE ON DATABASE \"{database}\" TO {role}"
    )

    def refuse() -> None:
        pair.source.execute(f"ALTER ROLE {role} NOLOGIN")
        pair.source.execute(f"SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE usename = '{role}'")

    dsn = conninfo.make_conninfo(pair.source.dsn, user=role, password="secret")
    with PostgresJournal(dsn, "orders", patience_seconds=0.5) as journal:
        journal.install([])
        epoch = journal.acquire("ana", 60).epoch
        refuse()
        with pytest.raises(JournalUnfit, match="not permitted to log in"):
            journal.append(epoch, "ana", [draft("check-all")])
        pair.source.execute(f"ALTER ROLE {role} LOGIN")
        journal.append(epoch, "ana", [draft("check-all")])
        refuse()
        for write in (
            lambda: journal.append(epoch, "ana", [draft("check-gate")]),
            lambda: journal.decide(epoch, "ana", 1, FORWARD, Result.COMMIT),
            lambda: journal.renew(epoch, 60),
        ):
            with pytest.raises(JournalUnavailable, match="not permitted to log in"):
                write()
        pair.source.execute(f"ALTER ROLE {role} LOGIN")
        journal.append(epoch, "ana", [draft("check-gate")])
        assert ["check-all", "check-gate"] == [entry.step for entry in journal.entries()]
    pair.source.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_server_that_became_a_standby_is_left_for_the_one_that_took_over(opened: Open):
    """The session is not kept: whoever has the address by now is asked."""
    journal = opened()
    epoch = journal.acquire("ana", 60).epoch
    journal.append(epoch, "ana", [draft("check-all")])
    session = journal._records
    before, real = session.pid(Deadline.within(20, "the test")), session.execute
    refusals = [NeedsOperator("cannot execute UPDATE in a read-only transaction", hint="find the primary")]

    def refuse(*args: object, **kwargs: object) -> object:
        if refusals:
            raise refusals.pop()
        return real(*args, **kwargs)  # type: ignore[arg-type]

    session.execute = refuse  # type: ignore[method-assign, assignment]
    journal.append(epoch, "ana", [draft("check-gate")])
    assert before != session.pid(Deadline.within(20, "the test"))


def _answers(journal: PostgresJournal) -> bool:
    try:
        return journal.lease() is not None
    except JournalUnavailable:
        return False


@pytest.mark.parametrize("table", ["entries", "outcome"])
@pytest.mark.parametrize("change", ["UPDATE auditor_cutover.{} SET actor = 'eve'", "DELETE FROM auditor_cutover.{}",
                                    "TRUNCATE auditor_cutover.{}"])  # fmt: skip
def test_nothing_is_changed_or_removed(pair: Pair, opened: Open, table: str, change: str):
    journal = opened()
    epoch = journal.acquire("ana", 30).epoch
    journal.append(epoch, "ana", [draft()])
    journal.decide(epoch, "ana", 1, FORWARD, Result.ABORT)
    with pytest.raises(psycopg.errors.RaiseException):
        pair.source.execute(change.format(table))


TAMPERING = {
    "facts": "UPDATE auditor_cutover.entries SET facts = '{\"different\":0}' WHERE seq = 2",
    "actor": "UPDATE auditor_cutover.entries SET actor = 'eve' WHERE seq = 2",
    "time": "UPDATE auditor_cutover.entries SET at = at + interval '1 microsecond' WHERE seq = 2",
    "epoch": "UPDATE auditor_cutover.entries SET epoch = 9 WHERE seq = 2",
    "removed": "DELETE FROM auditor_cutover.entries WHERE seq = 2",
    "the end cut off": "DELETE FROM auditor_cutover.entries WHERE seq = 3",
    "everything": "DELETE FROM auditor_cutover.entries",
    "the decision": "UPDATE auditor_cutover.outcome SET result = 'abort'",
    "no decision": "DELETE FROM auditor_cutover.outcome",
}


@pytest.mark.parametrize("change", sorted(TAMPERING))
def test_tampering_is_found(pair: Pair, opened: Open, change: str):
    journal = opened()
    epoch = journal.acquire("ana", 30).epoch
    journal.append(epoch, "ana", [draft("check-all"), draft("compare-last", different=3)])
    journal.decide(epoch, "ana", 1, FORWARD, Result.COMMIT)
    journal.append(epoch, "ana", [Draft(1, FORWARD, "commit", Kind.DONE, {"result": "commit"})])
    assert journal.verify().intact
    for table in ("entries", "outcome"):
        pair.source.execute(f"ALTER TABLE auditor_cutover.{table} DISABLE TRIGGER ALL")
    pair.source.execute(TAMPERING[change])
    assert not journal.verify().intact, change
