"""What a dead man does follows from the journal alone: who may act now, and what is decided."""

from collections.abc import Callable
from typing import Any

import pytest

from comparators.errors import SideUnavailable
from comparators.positions import Side
from orchestrator.chronicle import Chronicle
from orchestrator.conductor import Moment
from orchestrator.cutover import Event, IllegalTransition, Phase, Run, told
from orchestrator.deadman import (
    MANY_TRIES,
    POLL_SECONDS,
    RARE_SECONDS,
    SLOW_SECONDS,
    DeadMan,
    Duty,
    End,
    duty,
    pause_after,
)
from orchestrator.records import Direction, Draft, JournalUnavailable, Kind, Lease, Result
from tests.cutovers import RULES, World, broken, killed, raises

OVER, HELD = Lease(1, "orchestrator", 0.0), Lease(1, "orchestrator", 5.0)
FENCING = Run(1, phase=Phase.FENCING)


@pytest.mark.parametrize(
    ("run", "lease", "wanted"),
    [
        (None, OVER, Duty.WATCH),
        (FENCING, None, Duty.WATCH),
        (FENCING, HELD, Duty.WATCH),
        (FENCING, OVER, Duty.ACT),
        (Run(1, phase=Phase.ABORTING, aborting=True), HELD, Duty.WATCH),
        (Run(1, phase=Phase.ABORTING, aborting=True), OVER, Duty.ACT),
        (Run(1, phase=Phase.STUCK, stuck_in=Phase.FENCING), OVER, Duty.WATCH),
        (Run(1, phase=Phase.STUCK, stuck_in=Phase.ABORTING, aborting=True), OVER, Duty.ACT),
        (Run(1, phase=Phase.FLIPPING, done=("commit",)), OVER, Duty.REST),
        (Run(1, phase=Phase.FINALIZED, done=("commit", "finalize")), OVER, Duty.REST),
    ],
)
def test_duty(run: Run | None, lease: Lease | None, wanted: Duty):
    assert wanted is duty(run, lease)


def killed_at(step: str) -> World:
    """A world whose orchestrator died in the middle of a step, and whose lease has run out since."""
    world = World()
    world.moments[step, Moment.ACTED] = killed()
    assert world.run() is None
    world.alive = True
    world.skew += 60
    return world


def dead_man(world: World, said: list[str] | None = None) -> DeadMan:
    assert world.dead_man is not None
    attempt, direction = world.dead_man
    ports = world.ports(direction)
    return DeadMan(
        world.journal, ports.old, list(ports.proxies), attempt, direction, actor="dead man", rules=RULES,
        say=(said if said is not None else []).append, wait=world.wait, clock=world.clock,
    )  # fmt: skip


def test_it_opens_before_it_lets_go_and_writes_what_it_read_back():
    world = killed_at("see-marker")
    world.calls.clear()
    assert End.OPENED is dead_man(world).stand()
    assert world.calls.index("source.open") < world.calls.index("pool-1.release")
    outcome = world.journal.outcome(1)
    assert outcome is not None
    assert (Result.ABORT, "dead man") == (outcome.result, outcome.actor)
    done = [entry.step for entry in world.journal.entries() if entry.actor == "dead man" and entry.kind is Kind.DONE]
    assert ["win-abort", "open-old", "route-back", "release-after-abort"] == done
    assert world.journal.verify().intact
    lease = world.journal.lease()
    assert lease is not None
    assert lease.over  # whoever carries the attempt on need not wait


def test_what_was_never_held_is_not_let_go():
    world = killed_at("start-dead-man")
    world.calls.clear()
    assert End.OPENED is dead_man(world).stand()
    assert [] == world.calls


def test_an_old_side_that_is_away_is_tried_again_and_the_proxies_hold_until_then():
    world = killed_at("close-old")
    world.faults["source.open"] = [raises(SideUnavailable("gone"))] * 3
    said: list[str] = []
    assert End.OPENED is dead_man(world, said).stand()
    assert 3 == sum("gone" in words for words in said)
    calls = [call for call in world.calls if call in ("source.open", "pool-1.release")]
    assert ["source.open"] * 4 + ["pool-1.release"] == calls[-5:]


def test_while_the_journal_is_away_it_touches_nothing_and_says_so():
    world = killed_at("close-old")
    said: list[str] = []
    man = dead_man(world, said)
    lease, tries = world.journal.lease, []

    def away() -> Lease | None:
        tries.append(world.sides[Direction.FORWARD.old].open)
        if len(tries) < 5:
            raise JournalUnavailable("cut")
        return lease()

    world.journal.lease = away  # type: ignore[method-assign]
    assert End.OPENED is man.stand()
    assert [False] * 5 == tries
    assert 4 == sum("until the journal answers" in words for words in said)


def stuck_in_its_abort(failing: str) -> World:
    """A world whose orchestrator gave an abort up, called a person and went."""
    world = World()
    world.faults["replication.commit_line"] = [broken()]
    world.faults[failing] = [broken()] * 100
    ending = world.run()
    assert ending is not None
    assert Phase.STUCK is ending.phase
    return world


@pytest.mark.parametrize("failing", ["source.open", "pool-1.release"])
def test_an_abort_that_got_stuck_is_carried_out_and_a_person_stays_called(failing: str):
    world = stuck_in_its_abort(failing)
    world.faults[failing] = [broken()] * 2
    world.violations.clear()  # proxies were let go at last although nobody opened the source
    assert End.OPENED is dead_man(world).stand()
    assert world.sides[Side.SOURCE].open
    assert not any(proxy.held for proxy in world.proxies)
    (run,) = told(world.journal.entries())
    assert (Phase.STUCK, Phase.ABORTING) == (run.phase, run.stuck_in)
    ending = world.resume()
    assert ending is not None
    assert Event.ABORTED is ending.ended
    assert [] == world.settled()


def test_an_abort_that_got_stuck_behind_what_opens_is_left_alone():
    world = stuck_in_its_abort("replication.disarm")
    written = world.journal.entries()
    assert End.OPENED is dead_man(world).stand()
    assert written == world.journal.entries()


def test_an_attempt_that_got_stuck_while_it_took_the_lease_is_left_to_a_person():
    """Another orchestrator was quicker: what it wrote is seen only under the lease."""
    world = killed_at("close-old")
    man, acquire = dead_man(world), world.journal.acquire

    def outrun(holder: str, seconds: float) -> Lease:
        lease = acquire("cleo", seconds)
        Chronicle(world.journal, lease.epoch, "cleo", lambda entry: None).write(
            Draft(1, Direction.FORWARD, Event.UNCLEAR, Kind.EVENT)
        )
        world.journal.release(lease.epoch)
        return acquire(holder, seconds)

    world.journal.acquire = outrun  # type: ignore[method-assign]
    assert man.look() is None
    assert world.journal.outcome(1) is None
    (run,) = told(world.journal.entries())
    assert (Phase.STUCK, Phase.FENCING) == (run.phase, run.stuck_in)


def test_what_an_attempt_does_not_allow_is_written_by_nobody():
    world = stuck_in_its_abort("replication.disarm")
    world.skew += 60
    epoch = world.journal.acquire("cleo", 10).epoch
    story, written = Chronicle(world.journal, epoch, "cleo", lambda entry: None), world.journal.entries()
    drafts = [
        Draft(1, Direction.FORWARD, "looked", Kind.EVENT),
        Draft(1, Direction.FORWARD, "open-old", Kind.INTENT),
    ]
    with pytest.raises(IllegalTransition):
        story.write(*drafts)
    story.write()
    assert written == world.journal.entries()


@pytest.mark.parametrize("call", ["source.open", "pool-1.release"])
def test_what_nobody_foresaw_does_not_end_it(call: str):
    world = killed_at("close-old")
    world.faults[call] = [raises(OSError("no space left on device"))] * 3
    said: list[str] = []
    assert End.OPENED is dead_man(world, said).stand()
    assert 3 == sum("OSError" in words for words in said)


def test_neither_a_look_nor_its_voice_that_fails_ends_it():
    world = killed_at("close-old")
    world.journal.lease = failing_once(world.journal.lease)  # type: ignore[method-assign]
    assert End.OPENED is dead_man(world).stand(failing_once(lambda: None))


def failing_once(then: Callable[[], Any]) -> Callable[[], Any]:
    errors = [OSError()]

    def call() -> Any:
        if errors:
            raise errors.pop()
        return then()

    return call


def test_it_tries_less_often_the_longer_it_fails_but_for_ever():
    pauses = [pause_after(tries) for tries in (0, 1, 2, 10, MANY_TRIES, 10**6)]
    assert [POLL_SECONDS, POLL_SECONDS * 2, POLL_SECONDS * 4, SLOW_SECONDS, SLOW_SECONDS, RARE_SECONDS] == pauses


@pytest.mark.parametrize("failing", ["source.open", "pool-1.release"])
@pytest.mark.parametrize("stuck", [True, False])
def test_however_often_it_tries_the_journal_does_not_grow(failing: str, stuck: bool):
    world = stuck_in_its_abort(failing) if stuck else killed_at("close-old")
    phase = told(world.journal.entries())[0].phase
    world.faults[failing] = [broken()] * 20
    world.violations.clear()
    man, lengths = dead_man(world), []
    while man.look() is None:
        lengths.append(len(world.journal.entries()))
    assert 20 == len(lengths)
    assert lengths[0] == lengths[-1]
    assert world.sides[Side.SOURCE].open
    assert world.journal.verify().intact
    (run,) = told(world.journal.entries())
    assert phase is run.phase or not stuck
    assert "opened the old side" in str(run.reason) or not stuck
    ending = world.resume()
    assert ending is not None
    assert Event.ABORTED is ending.ended
    assert [] == world.settled()


def test_it_beats_at_every_look():
    world = killed_at("close-old")
    beats: list[None] = []
    assert End.OPENED is dead_man(world).stand(lambda: beats.append(None))
    assert beats


def test_it_may_act_only_while_it_does():
    world = killed_at("close-old")
    man = dead_man(world)
    seen: list[bool] = []
    world.faults["source.open"] = [lambda world, moment: seen.append(man.may_act())]
    assert not man.may_act()
    assert End.OPENED is man.stand()
    assert seen[0]
    assert not man.may_act()
