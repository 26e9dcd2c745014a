"""Once the orchestrator is gone its dead man opens the old side, if it wins ABORT; after a commit it never does."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.servers import PostgresServer
from comparators.errors import NotReady
from comparators.positions import Side
from orchestrator.adapters.commands import exec_proxy
from orchestrator.adapters.destinations import Destinations
from orchestrator.cutover import Phase, told
from orchestrator.deadman import DeadMan, End
from orchestrator.records import Direction, Kind, LeaseHeld, LeaseLost, Outcome, Result
from tests.conftest import SETTINGS
from tests.dead_men import Stage
from tests.fences import Fenced, soon
from tests.helpers import wait_for
from tests.orchestrator_process import begun

OPENING = ["win-abort", "open-old", "route-back", "release-after-abort"]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer(16, SETTINGS, "fenced") as server:
        yield server


@pytest.fixture(scope="module")
def third() -> Iterator[PostgresServer]:
    """The journal's server, which tests stop and start again."""
    with PostgresServer(18, SETTINGS, "journal") as server:
        yield server


@pytest.fixture
def side(server: PostgresServer) -> Iterator[Fenced]:
    fenced = Fenced(server)
    yield fenced
    fenced.remove()


@pytest.fixture
def stage(side: Fenced, third: PostgresServer, tmp_path: Path) -> Iterator[Stage]:
    with Stage(side, third, tmp_path) as stage:
        yield stage


def done(stage: Stage) -> list[str]:
    return [step for step, kind in stage.said() if kind is Kind.DONE]


def test_an_orchestrator_that_is_killed_leaves_the_source_open(stage: Stage):
    orchestrator = stage.orchestrate()
    assert not stage.opened()
    orchestrator.kill()
    stage.wait_for_open()
    stage.wait_for_rest()
    assert OPENING == done(stage)
    outcome = stage.journal.outcome(1)
    assert outcome is not None
    assert (Result.ABORT, True) == (outcome.result, stage.journal.verify().intact)
    assert "goes: opened" in stage.log()
    assert [] == stage.journal.remembered(Side.SOURCE)


def test_an_orchestrator_that_was_stopped_and_wakes_closes_nothing_again(stage: Stage):
    orchestrator = stage.orchestrate()
    os.kill(orchestrator.pid, signal.SIGSTOP)
    stage.wait_for_open()
    os.kill(orchestrator.pid, signal.SIGCONT)
    assert orchestrator.stdout is not None
    assert "lost" == orchestrator.stdout.read().splitlines()[-1]
    assert stage.opened()
    assert 0 == orchestrator.wait()


def test_after_the_commit_it_goes_and_opens_nothing(stage: Stage):
    epoch = stage.begin()
    stage.fence().close(soon())
    stage.stand()
    stage.journal.decide(epoch, "orchestrator", 1, Direction.FORWARD, Result.COMMIT)
    stage.journal.release(epoch)  # as a killed orchestrator, which could not write that it had won
    stage.wait_for_rest()
    assert "goes: committed" in stage.log()
    assert not stage.side.logs_in(stage.side.app)
    assert [] == stage.said()
    stage.fence().open(soon())


def test_while_the_journal_is_away_everything_stays_fenced_and_it_says_so(stage: Stage, third: PostgresServer):
    epoch = stage.begin()
    stage.fence().close(soon())
    man, _ = stage.stand()
    stage.journal.release(epoch)
    third.stop("immediate")
    try:
        wait_for(lambda: "until the journal answers" in stage.log(), 60, "its complaint")
        assert not stage.side.logs_in(stage.side.app)
        assert stage.dead_men()
    finally:
        third.start()
    stage.wait_for_open()
    stage.wait_for_rest()
    wait_for(lambda: man.alive() is False, 60, "the process to be gone")


def test_it_goes_once_the_attempt_is_over(stage: Stage):
    epoch = stage.begin()
    man, _ = stage.stand()
    assert man.alive() is True
    stage.write(epoch, "failed", Kind.EVENT)
    stage.write(epoch, "aborted", Kind.EVENT)
    stage.wait_for_rest()
    assert "goes: over" in stage.log()
    assert stage.journal.outcome(1) is None


def test_an_abort_whose_orchestrator_dies_is_brought_to_its_end(stage: Stage):
    epoch = stage.begin()
    stage.fence().close(soon())
    stage.stand()
    stage.write(epoch, "failed", Kind.EVENT)
    stage.journal.decide(epoch, "orchestrator", 1, Direction.FORWARD, Result.ABORT)
    stage.journal.release(epoch)
    stage.wait_for_open()
    stage.wait_for_rest()
    assert OPENING == done(stage)


def test_an_abort_that_got_stuck_is_carried_out_and_leaves_a_journal_that_can_be_read(stage: Stage):
    epoch = stage.begin()
    stage.fence().close(soon())
    stage.held.touch()
    stage.side.admin(f"ALTER ROLE {stage.side.control} NOCREATEROLE")
    stage.stand()
    stage.write(epoch, "failed", Kind.EVENT)
    stage.write(epoch, "win-abort", Kind.INTENT)
    stage.write(epoch, "open-old", Kind.FAILED)
    stage.write(epoch, "exhausted", Kind.EVENT)
    stage.journal.release(epoch)  # the orchestrator has called a person and gone
    wait_for(lambda: ("open-old", Kind.FAILED) in stage.said(), 60, "its first failure")
    assert all(run.phase in (Phase.ABORTING, Phase.STUCK) for run in told(stage.journal.entries()))
    stage.side.admin(f"ALTER ROLE {stage.side.control} CREATEROLE")
    stage.wait_for_open()
    stage.wait_for_rest()
    assert sorted(OPENING) == sorted(done(stage))
    (run,) = told(stage.journal.entries())
    assert (Phase.STUCK, Phase.ABORTING) == (run.phase, run.stuck_in)
    assert stage.journal.verify().intact


def test_a_source_that_cannot_be_opened_is_tried_again_until_it_can(stage: Stage):
    epoch = stage.begin()
    stage.fence().close(soon())
    stage.held.touch()
    stage.side.admin(f"ALTER ROLE {stage.side.control} NOCREATEROLE")
    stage.stand()
    stage.journal.release(epoch)
    wait_for(lambda: ("open-old", Kind.FAILED) in stage.said(), 60, "its first failure")
    assert stage.held.exists()  # LOGIN comes before the proxies let go
    stage.side.admin(f"ALTER ROLE {stage.side.control} CREATEROLE")
    stage.wait_for_open()
    stage.wait_for_rest()
    assert stage.journal.verify().intact


def test_signals_of_a_terminal_do_not_reach_it_and_a_frozen_one_does_not_live(stage: Stage):
    stage.begin()
    man, pid = stage.stand()
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGINT)
    os.kill(pid, signal.SIGHUP)
    assert man.alive() is True
    os.kill(pid, signal.SIGSTOP)
    wait_for(lambda: man.alive() is False, 60, "that its silence is noticed")
    os.kill(pid, signal.SIGCONT)
    wait_for(lambda: man.alive() is True, 60, "its voice")
    assert man.start(1, soon())["pid"] == pid


def test_one_that_cannot_start_says_why(stage: Stage, third: PostgresServer):
    stage.config.write_text(stage.config.read_text().replace(f"port={third.port}", "port=1"))
    with pytest.raises(NotReady, match="the dead man ended with"):
        stage.stand()


def test_commit_and_abort_are_never_both_won(stage: Stage):
    """Let both ask for the decision when the lease ends, again and again: each time one wins, and both hear who."""
    results = [Race(stage, attempt).result() for attempt in range(1, 31)]
    assert {Result.COMMIT, Result.ABORT} >= set(results)
    assert stage.journal.verify().intact


class Race:
    """One attempt at whose end an orchestrator wants to commit and a dead man to abort."""

    def __init__(self, stage: Stage, attempt: int) -> None:
        self.stage, self.attempt = stage, attempt
        self.heard: Outcome | None = None
        self.fence = CountedFence()
        epoch = stage.journal.acquire("orchestrator", 0.2).epoch
        ends = time.monotonic() + 0.2
        stage.journal.append(epoch, "orchestrator", [*begun(attempt)])
        self.thread = threading.Thread(target=self.commit, args=[epoch, ends - random.uniform(0, 0.02)])
        self.thread.start()

    def commit(self, epoch: int, at: float) -> None:
        time.sleep(max(0, at - time.monotonic()))
        try:
            self.heard = self.stage.journal.decide(
                epoch, "orchestrator", self.attempt, Direction.FORWARD, Result.COMMIT
            )
        except LeaseLost:
            self.heard = None

    def result(self) -> Result:
        observe = ["echo", '{"held": false, "route": "source"}']
        proxy = exec_proxy(
            "ours", hold=observe, release=observe, route=observe, observe=observe, probe="",
            destinations=Destinations({}),
        )  # fmt: skip
        man = DeadMan(self.stage.open_journal(), self.fence, [proxy], self.attempt, Direction.FORWARD, actor="dead man")
        while (end := self.look(man)) is None:
            time.sleep(0.001)
        self.thread.join()
        outcome = self.stage.journal.outcome(self.attempt)
        assert outcome is not None
        if self.heard is not None:
            assert outcome.result is self.heard.result
        assert (outcome.result is Result.ABORT) == (end is End.OPENED) == (self.fence.opened == 1)
        return outcome.result

    def look(self, man: DeadMan) -> End | None:
        try:
            return man.look()
        except (LeaseHeld, LeaseLost):
            return None


class CountedFence:
    """A fence that counts how often it is opened."""

    side = Side.SOURCE

    def __init__(self) -> None:
        self.opened = 0

    def open(self, deadline: object) -> dict[str, object]:
        self.opened += 1
        return {"closed": False}
