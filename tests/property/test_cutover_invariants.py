"""What must never happen in a cutover, I1 to I26: each invariant is held by a test of its name.

Those about a running cutover are held in `test_cutover_model` as well, under any fault, by a world that judges for
itself.
"""

import inspect
import re
from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from comparators.positions import Side
from orchestrator import conductor, cutover, effects, evidence, guard, recovery
from orchestrator.conductor import Latched, Moment
from orchestrator.cutover import (
    ABORT_STEPS,
    ALL_STEPS,
    DECIDED,
    ROLLBACK_STEPS,
    STEPS,
    TRANSITIONS,
    UNDECIDED,
    UNTOUCHED,
    Event,
    Phase,
    Run,
    told,
)
from orchestrator.evidence import NEEDED, missing_proof, shortcoming
from orchestrator.lease import MARGIN_SECONDS, Keeper, LeasedDeadline
from orchestrator.ports import FenceSeen
from orchestrator.records import Direction, Draft, Kind, LeaseLost, Result, Wish
from orchestrator.recovery import Seen, Way, reconcile
from tests.cutovers import RULES, World, broken, killed, late
from tests.journals import FORWARD_FACTS

SHORT = replace(RULES, steps={"check-gate": 1, "check-way-back": 1, "count-old-sessions": 1}, insist_seconds=2)
FORWARD_NAMES = [step.name for step in STEPS]
BACK_NAMES = [step.name for step in ROLLBACK_STEPS]
BOTH = pytest.mark.parametrize("names", [FORWARD_NAMES, BACK_NAMES], ids=["forward", "back"])


def in_order(names: list[str], *wanted: str) -> bool:
    places = [names.index(name) for name in wanted]
    return places == sorted(places)


def proved(leaving_out: str | None = None) -> Run:
    """An attempt that stands before its commit, with every proof but one."""
    before = [name for name in FORWARD_NAMES[: FORWARD_NAMES.index("commit")] if name != leaving_out]
    facts = {name: FORWARD_FACTS.get(name, {}) for name in before}
    return Run(1, phase=Phase.COMMIT, began=frozenset(before), done=tuple(before), facts=facts)


def committed() -> Run:
    run = proved()
    return replace(run, phase=Phase.FLIPPING, done=(*run.done, "commit"), began=run.began | {"commit"})


def whole_attempt(world: World, wish: Wish = Wish.FINALIZE) -> World:
    """Run an attempt until its guard, where an operator asks for something."""
    world.moments["watch", Moment.INTENT] = lambda world, moment: ask(world, wish)
    world.run(rules=SHORT)
    return world


def ask(world: World, wish: Wish) -> None:
    world.journal.request(wish, "ana", "because")


def test_the_proof_is_whole_where_nothing_is_left_out():
    assert [] == missing_proof(proved())


def test_i1_two_writers_are_seen_by_the_world_where_a_fence_only_says_that_it_is_closed():
    """The judge has teeth: what the conductor cannot see, the world does."""
    world = World()
    close = world.close_side
    world.close_side = lambda side: close(side) if side is Side.TARGET else None  # type: ignore[method-assign]
    whole_attempt(world)
    assert any("I4" in violation for violation in world.violations)


def test_i1_two_writers_do_not_happen():
    world = whole_attempt(World(), Wish.ROLLBACK)
    assert [] == world.settled()


def test_i2_unfence_after_commit():
    for names in (FORWARD_NAMES, BACK_NAMES):
        assert not {"open-old", "route-back"} & set(names)
    for seen in (Seen(), Seen(FenceSeen(True)), Seen(FenceSeen(False)), Seen(route=Side.SOURCE, held=True)):
        assert reconcile(committed(), seen).way is not Way.ABORT
    assert (Phase.FLIPPING, Event.FAILED) not in TRANSITIONS


@BOTH
def test_i3_early_writer(names):
    assert in_order(names, "commit", "open-new", "route-proxies", "release-proxies")


@BOTH
def test_i4_moving_goalpost(names):
    assert in_order(names, "hold-proxies", "close-old", "record-fence-lsn", "see-marker")
    assert shortcoming("see-marker", {"fence_lsn": 4712, "seen": True}, proved())
    entries = whole_attempt(World()).journal.entries()
    assert 1 == [(entry.step, entry.kind) for entry in entries].count(("record-fence-lsn", Kind.DONE))


@pytest.mark.parametrize("step", ["see-marker", "make-durable"])
def test_i5_unproven_drain(step):
    assert any(step in problem for problem in missing_proof(proved(leaving_out=step)))
    assert in_order(FORWARD_NAMES, "see-marker", "make-durable", "commit")


def test_i6_stale_evidence():
    assert shortcoming("confirm-verdict", {"verdict": "PASS", "asked_after_fence": False}, proved())
    assert shortcoming("confirm-verdict", {"verdict": "PASS"}, proved())
    same = proved().facts["confirm-verdict"]
    assert shortcoming("confirm-verdict", same, proved()) is None
    assert shortcoming("confirm-verdict", {**same, "evaluated_at": same["evaluated_after"]}, proved())
    assert shortcoming("confirm-verdict", {**same, "evaluated_after": None}, proved())
    assert in_order(FORWARD_NAMES, "close-old", "confirm-verdict", "stop-forward", "commit")


@pytest.mark.parametrize("nothing", ["absent", None, "", float("nan"), [], "0"])
@pytest.mark.parametrize("step", sorted(NEEDED))
def test_i7_absence_is_no_pass(step, nothing):
    facts = {} if nothing == "absent" else dict.fromkeys(FORWARD_FACTS.get(step, {}), nothing)
    assert shortcoming(step, facts, proved())


def test_i8_soft_fence_only():
    assert any("close-old" in problem for problem in missing_proof(proved("close-old")))
    for facts in ({"closed": True}, {"closed": True, "sessions": 1, "prepared": 0}, {"sessions": 0, "prepared": 0}):
        assert shortcoming("close-old", facts, proved())


def test_i9_zombie_orchestrator():
    world = World()
    keeper = Keeper(world.journal, "ana", clock=world.clock)
    epoch = keeper.take()
    deadline = LeasedDeadline(world.clock() + 3600, "a step", keeper)
    world.skew += 11
    with pytest.raises(LeaseLost):
        deadline.left()
    world.journal.acquire("zoe", 10)
    for refused in (
        lambda: world.journal.append(epoch, "ana", [Draft(1, Direction.FORWARD, "begin", Kind.EVENT)]),
        lambda: world.journal.renew(epoch, 10),
        lambda: world.journal.decide(epoch, "ana", 1, Direction.FORWARD, Result.COMMIT),
        lambda: world.journal.use_approvals(epoch, 1, []),
    ):
        with pytest.raises(LeaseLost):
            refused()
    assert world.journal.outcome(1) is None


@pytest.mark.parametrize("step", ["hold-proxies", "close-old", "see-marker", "record-commit-line", "commit"])
def test_i10_orphaned_fence(step):
    world = World()
    world.moments[step, Moment.INTENT] = killed()
    world.run()
    world.skew += 60
    assert world.run_dead_man()
    assert world.sides[Side.SOURCE].open
    assert not any(proxy.held for proxy in world.proxies)


def test_i10_a_fence_after_the_commit_is_never_released_by_itself():
    world = World()
    world.moments["enable-reverse", Moment.INTENT] = killed()
    world.run()
    world.skew += 3600
    assert not world.run_dead_man()
    assert not world.sides[Side.SOURCE].open


def test_i11_wrong_time_out_direction():
    for phase in UNDECIDED:
        assert Phase.ABORTING is TRANSITIONS[phase, Event.FAILED]
        assert (phase, Event.EXHAUSTED) not in TRANSITIONS
    for phase in DECIDED:
        assert (phase, Event.FAILED) not in TRANSITIONS
        assert Phase.STUCK is TRANSITIONS[phase, Event.EXHAUSTED]
    for phase in UNTOUCHED:
        assert Phase.HELD is TRANSITIONS[phase, Event.REFUSED]


def test_i12_abort_that_aborts_nothing():
    world = World()
    world.faults["replication.commit_line"] = [broken()]
    undoing = {
        "source.open", "pool-1.release", "pool-2.release", "replication.resume_forward", "consumers.resume",
        "consumers.take_back", "shadow.back", "audit.stop", "replication.disarm", "target.open",
    }  # fmt: skip
    world.faults.update({call: [late()] for call in undoing})
    world.run(rules=SHORT)
    assert undoing <= set(world.calls)
    assert [] == world.settled()


@given(st.sampled_from([None, *Side]), st.sampled_from([None, True, False]))
def test_i13_inferred_state(route, held):
    """Where the proxies lead says nothing about what was decided."""
    for run in (committed(), replace(proved(), phase=Phase.SEALING)):
        plain = reconcile(run, Seen(FenceSeen(True), FenceSeen(True)))
        assert plain.way is reconcile(run, Seen(FenceSeen(True), FenceSeen(True), held, route)).way


def test_i14_one_way_door():
    assert in_order(FORWARD_NAMES, "prepare-reverse", "commit", "enable-reverse", "open-new")
    assert in_order(BACK_NAMES, "commit", "enable-reverse", "open-new")
    assert any("prepare-reverse" in problem for problem in missing_proof(proved(leaving_out="prepare-reverse")))
    assert shortcoming("enable-reverse", {"reverse": "disabled"}, committed())


@BOTH
def test_i15_loop_or_double_apply(names):
    assert in_order(names, "stop-forward", "commit", "enable-reverse")


def test_i16_positions_of_two_lineages():
    """A rollback takes its own fence's position; no attempt uses another one's."""
    forward, back = told(whole_attempt(World(), Wish.ROLLBACK).journal.entries())
    for run in (forward, back):
        assert run.facts["see-marker"]["fence_lsn"] == run.facts["record-fence-lsn"]["fence_lsn"]
    assert forward.facts["record-fence-lsn"]["fence_lsn"] != back.facts["record-fence-lsn"]["fence_lsn"]


@BOTH
def test_i17_cdc_gap(names):
    assert in_order(names, "close-old", "hand-over-consumers", "commit", "resume-consumers")
    assert shortcoming("hand-over-consumers", {"consumers": 1, "behind": 1}, proved())


@BOTH
def test_i18_sequence_reuse(names):
    assert in_order(names, "close-old", "set-sequences", "commit", "open-new")
    assert shortcoming("set-sequences", {"sequences": 3, "behind": 1}, proved())


@BOTH
def test_i19_blind_flip(names):
    assert in_order(names, "route-proxies", "release-proxies", "prove-routing", "count-old-sessions")
    assert shortcoming("route-proxies", {"route": Side.SOURCE}, committed())
    assert shortcoming("route-proxies", {"route": None}, committed())
    assert shortcoming("count-old-sessions", {"sessions": 1, "closed": True}, committed())


def test_i20_outage_by_hope():
    assert in_order(FORWARD_NAMES, "check-budget", "start-dead-man", "hold-proxies", "close-old")
    world = World()
    world.predicted = RULES.hold_budget_ms + 1
    world.run(rules=SHORT)
    assert "pool-1.hold" not in world.calls
    held = [step for step in (*STEPS, *ABORT_STEPS) if step.holds_writes]
    whole_lease = RULES.lease_seconds - 2 * MARGIN_SECONDS
    assert all(step.seconds + RULES.abort_reserve_seconds <= whole_lease for step in held)


@pytest.mark.parametrize("wish", [Wish.FINALIZE, Wish.ROLLBACK])
def test_i21_slot_bomb(wish):
    assert not whole_attempt(World(), wish).slot[Side.TARGET]
    world = World()
    world.faults["replication.commit_line"] = [broken()]
    world.run(rules=SHORT)
    assert not world.slot[Side.TARGET]
    assert not world.sides[Side.TARGET].slots


@pytest.mark.parametrize("removing", [".disarm(", ".finalize(", ".take_back(", "audit.stop("])
def test_i22_destructive_error_path(removing):
    """What removes anything belongs to an abort that was won, to the end of a rollback, or to the closed door."""
    users = {name for name, effect in effects.EFFECTS.items() if removing in inspect.getsource(effect)}
    assert users
    assert users <= {"disarm", "finalize", "retire-way-back", "resume-after-abort"}
    assert "win-abort" == ABORT_STEPS[0].name
    assert Phase.FINALIZED is ALL_STEPS["finalize"].phase
    assert in_order(BACK_NAMES, "commit", "resume-consumers", "retire-way-back")


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE"])
def test_i23_silent_skip(verdict):
    """Whatever the audit finds while writes are held ends the attempt before its commit."""
    world = World()
    world.moments["hold-proxies", Moment.ACTED] = lambda world, moment: setattr(world, "verdict", verdict)
    world.run(rules=SHORT)
    assert Side.SOURCE is world.owner()
    assert [] == world.settled()


@pytest.mark.parametrize("module", [cutover, evidence, recovery, effects, guard, conductor])
def test_i24_wall_clocks(module):
    """No module that decides knows a wall clock; entries carry a time for people, which none of them reads."""
    source = inspect.getsource(module)
    assert "datetime" not in source
    assert "time.time(" not in source
    assert not re.search(r"entry\.at\b", source)


def test_i25_quiet_override():
    opening = {"unproven": True, "reason": "asked for by ana: the target burns"}
    back = replace(proved(), direction=Direction.BACK, opening=opening)
    unsure = {"verdict": "INCONCLUSIVE"}
    assert shortcoming("check-way-back", unsure, back) is None
    assert shortcoming("check-way-back", unsure, replace(back, opening={"unproven": True}))
    assert shortcoming("check-way-back", unsure, replace(back, opening={"reason": "because"}))
    assert shortcoming("check-way-back", {"verdict": "FAIL"}, back)
    silent = {"verdict": "INCONCLUSIVE", "answered": False, "asked_after_fence": True}
    assert shortcoming("confirm-verdict", silent, back) is None
    assert shortcoming("confirm-verdict", silent | {"verdict": "FAIL"}, back)
    assert shortcoming("confirm-verdict", silent, replace(back, opening={}))
    assert shortcoming("confirm-verdict", silent | {"verdict": "PASS"}, proved())
    assert shortcoming("confirm-verdict", {"verdict": "INCONCLUSIVE", "asked_after_fence": True}, proved())


def test_i26_retry_amnesia():
    world = World()
    world.faults["replication.see_marker"] = [broken()]
    world.run(rules=SHORT)
    with pytest.raises(Latched):
        world.run(rules=SHORT)
    ending = world.resume(rules=SHORT)
    assert ending is not None
    assert Event.ABORTED is ending.ended
    assert 1 == len(told(world.journal.entries()))
