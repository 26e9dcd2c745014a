"""Whatever goes wrong in a cutover: before the commit it aborts and names the reason, after it nothing is lost."""

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from auditor.demo.cutover import bank
from auditor.demo.cutover.faults import FAULTS, READS, End, Fault, Heal
from auditor.demo.cutover.story import Order, Story
from auditor.demo.cutover.told import Told, as_expected
from auditor.demo.cutover.world import Plan, Running, World
from auditor.demo.database import session
from comparators.positions import Side
from orchestrator.cutover import STEPS
from tests.fault.cutover_worlds import Shared, shared_world
from tests.helpers import wait_for
from tests.unaudited import Forked, said_file

pytestmark = pytest.mark.alone
UNDECIDED = {step.phase: step.name for step in STEPS[: [step.name for step in STEPS].index("commit")]}
"""The last step of each phase in which nothing is decided; the model's tests abort at every step."""
ELSEWHERE = ("gate-silent", "reads-fail")
"""Faults that need an audit, or a configuration of their own."""
WRITES = 10_000
STALE_SECONDS = 7.0


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    with shared_world() as world:
        yield world


def ends(shared: Shared, fault: Fault, **more: Any) -> Told:
    told = shared.tell(Order(fault, returns=True, **more))
    log = "\n".join([*shared.said[-40:], told.log_tail])
    assert [] == told.dangers(), log
    assert as_expected(told, fault), f"{told.end}: {told.reasons}\n{log}"
    return told


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in ELSEWHERE])
def test_a_fault_ends_as_it_promises(shared: Shared, name: str):
    told = ends(shared, FAULTS[name])
    if not FAULTS[name].clients_fail:
        assert [] == list(told.failures)


@pytest.mark.parametrize("step", UNDECIDED.values())
def test_an_operator_aborts_wherever_nothing_is_decided(shared: Shared, step: str):
    told = ends(shared, replace(FAULTS["operator-aborts"], step=step))
    assert [] == list(told.failures)


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_a_verdict_that_turns_between_fence_and_commit_aborts(shared: Shared, verdict: str):
    def say(world: World) -> Heal:
        file = said_file(world.settings)
        file.write_text(verdict)
        return file.unlink

    told = ends(shared, Fault("verdict-turns", f"the gate says {verdict}", "close-old", say, reason=verdict))
    assert [] == list(told.failures)


def test_a_pooler_that_does_not_acknowledge_is_asked_again_until_it_does(shared: Shared):
    def freeze(world: World) -> Heal:
        pid = world.pools[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        waking = threading.Timer(STALE_SECONDS, os.kill, (pid, signal.SIGCONT))
        waking.start()
        return waking.join

    fault = Fault("stale-pooler", "the pooler is stopped after the commit", "route-proxies", freeze, End.ROLLED_BACK)
    told = ends(shared, replace(fault, any_end=True))
    assert (End.ROLLED_BACK, []) == (told.end, list(told.failures))


def test_of_two_orchestrators_one_acts(shared: Shared):
    second: list[Running] = []

    def start(world: World) -> Heal:
        second.append(world.launch("cutover", "start"))
        return nothing

    told = ends(shared, Fault("second", "another orchestrator is started", "warm-up", start, any_end=True))
    wait_for(lambda: not second[0].alive, 60, "the second orchestrator to give up")
    assert (3, End.ROLLED_BACK) == (second[0].exit_code, told.end), second[0].log_tail()
    writers = {entry.actor for entry in told.entries}
    assert 1 == len(writers), writers


def test_a_rollback_after_ten_thousand_writes_loses_none(shared: Shared):
    def write(world: World) -> None:
        with session(world.target.app) as opened:
            opened.execute(f"INSERT INTO orders (client, note) SELECT -7, 'n' || n FROM generate_series(1, {WRITES}) n")

    told = shared.tell(Order(returns=True, meanwhile=write))
    assert (End.ROLLED_BACK, [], []) == (told.end, told.dangers(), list(told.failures)), told.log_tail
    for side in Side:
        with session(shared.worlds[0].sides[side].admin) as opened:
            ((count,),) = bank.rows_of(opened, "SELECT count(DISTINCT note) FROM orders WHERE client = -7")
            assert WRITES == count


def test_reads_that_fail_after_the_promotion_lead_back():
    fault = FAULTS["reads-fail"]
    with World(Plan(audited=False, launcher=Forked, config=READS), print) as world:
        told = Story(world, Order(fault), print).tell()
    assert [] == told.dangers(), told.log_tail
    assert as_expected(told, fault), f"{told.end}: {told.reasons}"


def nothing() -> None:
    """Heal what needs no healing."""
