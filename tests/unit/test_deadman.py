"""What a dead man does follows from the journal alone: who may act now, and what is decided."""

import pytest

from comparators.errors import SideUnavailable
from orchestrator.conductor import Moment
from orchestrator.cutover import Phase, Run
from orchestrator.deadman import DeadMan, Duty, End, duty
from orchestrator.records import Direction, JournalUnavailable, Kind, Lease, Result
from tests.cutovers import RULES, World, killed, raises

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
