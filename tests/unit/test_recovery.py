"""After a restart an attempt goes on, is aborted, or calls a person: whatever is seen, and wherever it stood."""

import itertools

import pytest

from comparators.positions import Side
from orchestrator.conductor import Moment
from orchestrator.cutover import Event, Phase, Run, advance, told
from orchestrator.ports import FenceSeen
from orchestrator.records import Wish
from orchestrator.recovery import Seen, Way, reconcile
from tests.cutovers import Fault, World, killed

MOVES = {Way.ABORT: Event.FAILED, Way.STOP: Event.UNCLEAR, Way.SECURE: Event.UNCLEAR}
LOOKS = [
    Seen(FenceSeen(old), FenceSeen(new), held, route)
    for old, new, held, route in itertools.product(
        (None, True, False), (None, True, False), (None, True, False), (None, *Side)
    )
]


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.STUCK])
def test_whatever_is_seen_there_is_a_lawful_way_on(phase: Phase):
    committed = phase in (Phase.COMMIT, Phase.FLIPPING, Phase.VERIFYING, Phase.GUARDED, Phase.FINALIZED)
    run = Run(1, phase=phase, done=("commit",) if committed else (), aborting=phase is Phase.ABORTING)
    for seen in LOOKS:
        found = reconcile(run, seen)
        if event := MOVES.get(found.way):
            advance(phase, event)


def killed_while_it_is_postponed() -> World:
    """A world whose orchestrator died while it waited for an operator, and whose source somebody fenced since."""
    world = World()
    world.journal.request(Wish.POSTPONE, "ana", "not yet")
    wait, die = world.wait, killed()

    def waits(seconds: float) -> None:
        if told(world.journal.entries())[-1].phase is Phase.HELD:
            world.wait = wait  # type: ignore[method-assign]
            die(world, "before")
        wait(seconds)

    world.wait = waits  # type: ignore[method-assign]
    assert world.run() is None
    world.sides[Side.SOURCE].open = False
    return world


def test_a_postponed_attempt_whose_source_was_fenced_by_somebody_calls_a_person():
    world = killed_while_it_is_postponed()
    ending = world.resume()
    assert ending is not None
    assert (Phase.STUCK, False) == (ending.phase, world.sides[Side.SOURCE].open)
    assert "no step of this attempt has fenced it" in str(ending.reason)
    world.sides[Side.SOURCE].open = True  # the person found who it was
    world.journal.request(Wish.UNPOSTPONE, "ana", "now")
    world.moments["watch", Moment.INTENT] = finalizes()
    ending = world.resume()
    assert ending is not None
    assert Phase.FINALIZED is ending.phase
    assert [] == world.settled()


def test_a_postponed_attempt_whose_target_was_opened_closes_it_once_it_may_go_on():
    world = killed_while_it_is_postponed()
    world.sides[Side.SOURCE].open = world.sides[Side.TARGET].open = True
    world.journal.request(Wish.UNPOSTPONE, "ana", "now")
    world.moments["watch", Moment.INTENT] = finalizes()
    ending = world.resume()
    assert ending is not None
    assert Phase.FINALIZED is ending.phase, ending
    assert 2 == world.calls.count("target.close")
    assert [] == world.settled()


def finalizes() -> Fault:
    def fault(world: World, moment: str) -> None:
        world.journal.request(Wish.FINALIZE, "ana", "because")

    return fault
