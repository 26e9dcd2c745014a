"""A conductor takes a cutover through, or puts everything back; whatever fails, and wherever it is killed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from comparators.errors import NotReady
from comparators.positions import Side
from orchestrator.conductor import Latched, Moment, NotBegun
from orchestrator.cutover import (
    ABORT_STEPS,
    ALL_STEPS,
    ROLLBACK_STEPS,
    STEPS,
    UNDECIDED,
    UNTOUCHED,
    Event,
    Phase,
    Step,
    told,
)
from orchestrator.ports import Blocker, FenceSeen
from orchestrator.records import Direction, Kind, LeaseHeld, Wish
from tests.cutovers import (
    PLAN,
    RULES,
    FakeFence,
    FakeReplication,
    Fault,
    World,
    broken,
    bug,
    killed,
    late,
    raises,
    refusing,
    stopped,
    stuck_person,
)

BEFORE_COMMIT = [step for step in STEPS if step.phase in UNDECIDED and step.name != "commit"]
AFTER_COMMIT = [step for step in STEPS if step.phase in (Phase.FLIPPING, Phase.VERIFYING)]
MOMENTS = list(Moment)


def asks(wish: Wish, **facts: object) -> Fault:
    """Let an operator ask for something at some moment."""

    def fault(world: World, moment: str) -> None:
        world.journal.request(wish, "ana", "because", facts=facts)

    return fault


def through(world: World) -> World:
    """Let the door be closed as soon as the guard is reached."""
    world.moments["watch", Moment.INTENT] = asks(Wish.FINALIZE)
    return world


def rolling_back(**facts: object) -> World:
    """A world in which an operator asks for the way back once the guard is reached."""
    world = World()
    world.moments["watch", Moment.INTENT] = asks(Wish.ROLLBACK, **facts)
    return world


def steps_done(world: World) -> list[str]:
    return [entry.step for entry in world.journal.entries() if entry.kind is Kind.DONE]


def finish(world: World) -> None:
    """Let the dead man act, and another process end what is left to be done."""
    world.skew += 60
    world.run_dead_man()
    through(world)
    world.resume()


def names(steps: list[Step]) -> list[str]:
    return [step.name for step in steps]


def test_the_whole_way():
    world = through(World())
    ending = world.run()
    assert (Phase.FINALIZED, None) == (ending.phase, ending.ended), ending
    assert [] == world.settled()
    assert 0 == world.failed
    assert Side.TARGET is world.owner()
    assert [step.name for step in STEPS] == steps_done(world)


def test_a_rollback_brings_every_write_back():
    world = rolling_back()
    ending = world.run()
    assert Event.RETURNED is ending.ended, ending
    assert [] == world.settled()
    assert 0 == world.failed
    assert Side.SOURCE is world.owner()
    assert any(side is Side.TARGET for side in world.acknowledged.values())


CALLS_BEFORE_COMMIT = [
    "target.close", "replication.prepare_reverse", "audit.start", "source.rehearse", "dead_man.start",
    "replication.warm", "rows.warm", "sequences.warm", "gate.consume", "consumers.pause", "pool-1.hold", "pool-2.hold",
    "source.close", "replication.position", "replication.write_marker", "replication.see_marker",
    "replication.make_durable", "rows.compare_last", "sequences.set", "consumers.drain", "consumers.hand_over",
    "replication.stop_forward", "replication.commit_line", "rows.behind", "shadow.lead",
]  # fmt: skip
CALLS_AFTER_COMMIT = [
    "replication.enable_reverse", "target.open", "pool-1.route", "pool-2.route", "pool-1.release", "pool-2.release",
    "rows.write_canary", "consumers.resume",
]  # fmt: skip
CALLS_OF_ABORT = [
    "source.open", "pool-1.release", "pool-2.release", "replication.resume_forward", "consumers.take_back",
    "consumers.resume", "shadow.back", "audit.stop", "replication.disarm", "target.open",
]  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", [broken, bug])
@pytest.mark.parametrize("call", CALLS_BEFORE_COMMIT)
def test_a_failure_before_the_commit_puts_everything_back(call: str, fault: Callable[..., Fault], when: str):
    world = World()
    world.faults[call] = [fault(when)]
    ending = world.run()
    assert Event.ABORTED is ending.ended, ending
    assert [] == world.settled()
    assert Side.SOURCE is world.owner()
    assert world.sides[Side.TARGET].open, "as it was before"
    assert not world.slot[Side.TARGET]
    assert 0 == world.failed


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("fault", [late, stuck_person])
@pytest.mark.parametrize("call", CALLS_AFTER_COMMIT)
def test_a_failure_after_the_commit_is_repeated(call: str, fault: Callable[..., Fault], when: str):
    world = through(World())
    world.faults[call] = [fault(when), fault(when)]
    ending = world.run()
    assert (Phase.FINALIZED, None) == (ending.phase, ending.ended), ending
    assert [] == world.settled()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", CALLS_OF_ABORT)
def test_an_abort_tries_every_step_and_again_what_failed(call: str, when: str):
    world = World()
    world.faults["replication.commit_line"] = [broken()]
    world.faults[call] = [broken(when), bug(when)]
    ending = world.run()
    assert Event.ABORTED is ending.ended, ending
    assert [] == world.settled()
    assert 0 == world.failed


def test_an_abort_that_cannot_be_done_calls_a_person_and_goes_on_when_started_again():
    world = World()
    world.faults["replication.commit_line"] = [broken()]
    world.faults["replication.disarm"] = [broken()] * 100
    ending = world.run()
    assert Phase.STUCK is ending.phase, ending
    assert world.sides[Side.SOURCE].open
    world.faults.clear()
    assert Event.ABORTED is world.resume().ended
    assert [] == world.settled()


def test_proxies_are_released_at_last_although_the_source_cannot_be_opened():
    world = World()
    world.faults["replication.commit_line"] = [broken()]
    world.faults["source.open"] = [broken()] * 100
    ending = world.run()
    assert Phase.STUCK is ending.phase, ending
    assert 4 <= world.calls.count("source.open")
    first_release = world.calls.index("pool-1.release")
    assert 3 <= world.calls[:first_release].count("source.open")


def test_a_stale_proxy_holds_the_flip_until_a_person_comes():
    world = World()
    world.proxies[1].stale = True
    ending = world.run()
    assert (Phase.STUCK, Side.TARGET) == (ending.phase, world.owner()), ending
    assert not world.sides[Side.SOURCE].open
    world.proxies[1].stale = False
    finish(world)
    assert [] == world.settled()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", [step.name for step in STEPS if step.name != "watch"])
def test_killed_at_every_step(step: str, moment: Moment):
    world = through(World())
    world.moments[step, moment] = killed()
    assert world.run() is None
    if "finalize" == step:
        world.resume()
    else:
        finish(world)
    assert [] == world.settled(), (step, moment)
    assert 0 == world.failed


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", [step.name for step in STEPS if step.name != "watch"])
def test_killed_at_every_step_and_restarted_before_the_dead_man(step: str, moment: Moment):
    world = through(World())
    world.moments[step, moment] = killed()
    assert world.run() is None
    world.resume()
    assert not world.run_dead_man() or Side.SOURCE is world.owner()
    assert [] == world.settled(), (step, moment)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", [step.name for step in ABORT_STEPS])
def test_killed_in_the_abort(step: str, moment: Moment):
    world = World()
    world.faults["replication.commit_line"] = [broken()]
    world.moments[step, moment] = killed()
    assert world.run() is None
    finish(world)
    assert [] == world.settled(), (step, moment)
    assert Side.SOURCE is world.owner()


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("step", [step.name for step in ROLLBACK_STEPS])
def test_killed_in_the_rollback(step: str, moment: Moment):
    world = World()
    world.moments["watch", Moment.INTENT] = _rollback_then(step, moment)
    assert world.run() is None
    finish(world)
    assert [] == world.settled(), (step, moment)


def _rollback_then(step: str, moment: Moment) -> Fault:
    def fault(world: World, when: str) -> None:
        asks(Wish.ROLLBACK)(world, when)
        world.moments[step, moment] = killed()

    return fault


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", names(BEFORE_COMMIT))
def test_stopped_until_the_dead_man_has_acted(step: str, when: str):
    """SIGSTOP, the lease runs out, the dead man opens the source, the process wakes and must not close it again."""
    world = through(World())
    moment = Moment.INTENT if when == "before" else Moment.ACTED
    world.moments[step, moment] = stopped(60, World.run_dead_man)
    world.run()
    finish(world)
    assert [] == world.settled(), (step, when)
    held = ALL_STEPS[step].phase in (Phase.FENCING, Phase.DRAINING, Phase.SEALING)
    assert (Side.SOURCE if held else Side.TARGET) is world.owner()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("name", ["append", "decide", "requests", "renew", "use_approvals"])
@pytest.mark.parametrize("count", [1, 9, 18, 27])
def test_the_journal_is_cut_off_in_the_middle_of_a_write(name: str, when: str, count: int):
    """Whether what was written took effect is not known; the conductor reads it back under a new lease."""
    from orchestrator.records import JournalUnavailable

    world = through(World())
    calm: Fault = lambda world, moment: None  # noqa: E731
    world.faults[f"journal.{name}"] = [calm] * count + [raises(JournalUnavailable("cut"), when)]
    world.run()
    finish(world)
    assert [] == world.settled()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_whose_answer_was_lost_is_read_back(when: str):
    from orchestrator.records import JournalUnavailable

    world = through(World())
    world.faults["journal.decide"] = [raises(JournalUnavailable("cut"), when)]
    ending = world.run()
    assert (Side.TARGET if when == "after" else Side.SOURCE) is world.owner(), ending
    assert [] == world.settled()


def test_the_dead_man_and_the_commit_cannot_both_win():
    world = World()

    def dead_man_first(world: World, moment: str) -> None:
        world.skew += 60
        assert world.run_dead_man()

    world.moments["commit", Moment.INTENT] = dead_man_first
    world.run()
    assert Side.SOURCE is world.owner()
    assert [] == world.settled()


def test_a_dead_man_that_comes_after_the_commit_does_nothing():
    world = through(World())
    world.moments["commit", Moment.ACTED] = killed()
    assert world.run() is None
    world.skew += 60
    assert not world.run_dead_man()
    world.resume()
    assert (Side.TARGET, []) == (world.owner(), world.settled())


@pytest.mark.parametrize("step", [step.name for step in STEPS if step.phase in UNTOUCHED | UNDECIDED])
@pytest.mark.parametrize("wish", [Wish.ABORT, Wish.PANIC])
def test_an_operator_aborts_at_every_step_before_the_commit(step: str, wish: Wish):
    world = through(World())
    world.moments[step, Moment.INTENT] = asks(wish)
    ending = world.run()
    if step == "commit":
        assert Side.TARGET is world.owner()
        return
    assert Event.ABORTED is ending.ended, ending
    assert Side.SOURCE is world.owner()
    assert [] == world.settled()
    assert "ana" in ending.reason


@pytest.mark.parametrize("step", names(AFTER_COMMIT))
def test_an_abort_after_the_commit_is_refused(step: str):
    world = through(World())
    world.moments[step, Moment.INTENT] = asks(Wish.ABORT)
    world.run()
    assert Side.TARGET is world.owner()
    assert "too late" in world.journal.requests()[0].answer
    assert [] == world.settled()


@pytest.mark.parametrize("step", names(AFTER_COMMIT))
def test_a_rollback_asked_for_at_every_step_after_the_commit(step: str):
    world = World()
    world.moments[step, Moment.INTENT] = asks(Wish.ROLLBACK)
    ending = world.run()
    assert Event.RETURNED is ending.ended, ending
    assert [] == world.settled()
    assert Side.SOURCE is world.owner()


def test_panic_after_the_commit_stops_where_it_is():
    world = World()
    world.moments["open-new", Moment.ACTED] = asks(Wish.PANIC)
    ending = world.run()
    assert Phase.STUCK is ending.phase
    assert not world.sides[Side.SOURCE].open


def test_a_failed_attempt_stays_failed_until_a_person_acknowledges_it():
    world = World()
    world.faults["source.close"] = [broken()]
    assert Event.ABORTED is world.run().ended
    with pytest.raises(Latched, match="attempt 1"):
        world.run()
    world.journal.request(Wish.ACKNOWLEDGE, "ana", "the network was down", attempt=1)
    ending = through(world).run()
    assert Phase.FINALIZED is ending.phase, ending
    assert "noted" == world.journal.requests()[0].answer
    with pytest.raises(NotBegun):
        world.run()


def test_approvals_count_once_for_one_attempt_and_by_different_persons():
    world = World()
    world.faults["source.close"] = [broken()]
    world.run()
    world.journal.request(Wish.ACKNOWLEDGE, "ana", "seen", attempt=1)
    ending = world.conductor().start()
    assert (Event.REFUSED, Phase.HELD) == (ending.ended, ending.phase)
    assert "0 of 1" in ending.reason
    world.journal.approve("sha256:other", "ben", 60)
    world.journal.approve(PLAN, "ben", 60)
    world.journal.approve(PLAN, "ben", 60)
    ending = world.conductor(rules=replace(RULES, approvals_needed=2, renew_seconds=3600)).start()
    assert "1 of 2" in ending.reason


def test_an_approval_runs_out():
    world = World()
    world.journal.approve(PLAN, "ben", 5)
    world.skew += 6
    assert "0 of 1" in world.conductor().start().reason


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE", None])
def test_a_verdict_that_is_no_longer_a_pass_after_the_fence_aborts(verdict: str | None):
    world = World()

    def turn(world: World, moment: str) -> None:
        world.verdict = verdict

    world.moments["close-old", Moment.INTENT] = turn
    ending = world.run()
    assert Event.ABORTED is ending.ended
    assert "confirm-verdict" in ending.reason
    assert [] == world.settled()


def _writes(world: World) -> None:
    world.next_row += 1
    world.record(Side.SOURCE, world.next_row)
    world.acknowledged[world.next_row] = Side.SOURCE


def _gets_in(world: World) -> None:
    world.sides[Side.SOURCE].open = True


@pytest.mark.parametrize("step", ["compare-last", "confirm-verdict", "stop-forward"])
@pytest.mark.parametrize("gets_past", [_writes, _gets_in])
def test_whoever_gets_past_the_fence_after_the_last_look_ends_the_attempt(
    step: str, gets_past: Callable[[World], None]
):
    world = World()
    world.moments[step, Moment.ACTED] = lambda world, moment: gets_past(world)
    ending = world.run()
    assert Event.ABORTED is ending.ended, ending
    assert "record-commit-line" in ending.reason
    assert Side.SOURCE is world.owner()
    assert [] == world.settled()


def test_a_fence_that_cannot_be_seen_before_the_commit_ends_the_attempt(monkeypatch: pytest.MonkeyPatch):
    world = World()
    world.moments["stop-forward", Moment.ACTED] = lambda world, moment: monkeypatch.setattr(
        FakeFence, "observe", lambda fence, deadline: FenceSeen(None)
    )
    ending = world.run()
    assert "record-commit-line: NotProven: closed is missing" in ending.reason
    assert [] == world.settled()


def test_a_fence_that_does_not_answer_before_the_commit_holds_writes_no_longer_than_they_may_be():
    world = World()
    world.moments["stop-forward", Moment.ACTED] = lambda world, moment: world.unseen.update({Side.SOURCE: 60})
    ending = world.run()
    assert "record-commit-line" in ending.reason
    (held,) = (entry.facts["held_ms"] for entry in world.journal.entries() if "held_ms" in entry.facts)
    assert held <= RULES.hold_budget_ms + 100
    assert [] == world.settled()


@pytest.mark.parametrize("side", Side)
def test_a_fence_that_cannot_be_made_ready_is_found_before_anything_is_held(side: Side):
    world = World()
    world.faults[f"{side}.warm"] = [broken()]
    ending = world.run()
    assert "warm-up" in ending.reason
    assert "pool-1.hold" not in world.calls
    assert [] == world.settled()


@pytest.mark.parametrize("back", [False, True])
def test_a_verdict_from_before_the_fence_is_not_taken(back: bool):
    """The gate goes on saying PASS, but decides no more once the fence is closed."""
    world = World()

    def stands_still(world: World, moment: str) -> None:
        world.decides = False

    def ask_and_stop(world: World, moment: str) -> None:
        asks(Wish.ROLLBACK)(world, moment)
        asks(Wish.FINALIZE)(world, moment)
        world.moments["close-old", Moment.INTENT] = stands_still

    world.moments["watch" if back else "close-old", Moment.INTENT] = ask_and_stop if back else stands_still
    ending = world.run()
    assert (Phase.FINALIZED if back else Phase.REPLICATING) is ending.phase, ending
    assert (Side.TARGET if back else Side.SOURCE) is world.owner()
    reasons = [str(run.reason) for run in told(world.journal.entries())]
    assert any("confirm-verdict" in reason for reason in reasons), reasons
    assert [] == world.settled()


def test_a_plan_that_changed_since_it_was_approved_is_not_carried_out():
    world = World()

    def override(world: World, moment: str) -> None:
        world.plan = "sha256:another"

    world.moments["warm-up", Moment.INTENT] = override
    ending = world.run()
    assert Event.ABORTED is ending.ended, ending
    assert "sha256:another" in ending.reason
    assert "pool-1.hold" not in world.calls
    assert [] == world.settled()


@pytest.mark.parametrize(("approved", "now", "ended"), [
    (["lag"], [], None), ([], ["lag"], Event.ABORTED), (["lag"], ["lag", "other"], Event.ABORTED),
])  # fmt: skip
def test_an_override_that_ended_stops_no_cutover_and_one_that_came_does(
    approved: list[str], now: list[str], ended: Event | None
):
    world = through(World())
    world.overrides = approved
    world.moments["warm-up", Moment.INTENT] = lambda world, moment: setattr(world, "overrides", now)
    ending = world.run()
    assert ended is ending.ended, ending
    assert (ended is None) == ("pool-1.hold" in world.calls)
    assert [] == world.settled()


@pytest.mark.parametrize(("consumed", "confirmed", "ended"), [
    ([], ["samplers-alive"], Event.ABORTED), (["lag"], ["lag", "other"], Event.ABORTED), (["lag"], [], None),
])  # fmt: skip
def test_a_word_that_nobody_had_agreed_to_confirms_no_verdict(
    consumed: list[str], confirmed: list[str], ended: Event | None
):
    world = through(World())
    world.overrides = consumed
    world.moments["hold-proxies", Moment.INTENT] = lambda world, moment: setattr(world, "overrides", confirmed)
    ending = world.run()
    assert ended is ending.ended, ending
    assert (ended is None) == ("replication.commit_line" in world.calls)
    assert [] == world.settled()


@pytest.mark.parametrize(("step", "moment"), [("consume-verdict", Moment.INTENT), ("close-old", Moment.ACTED)])
def test_a_gate_whose_records_were_not_read_in_time_is_asked_again(step: str, moment: Moment):
    world = through(World())
    late = [raises(NotReady("503 Not ready"))]
    world.moments[step, moment] = lambda world, moment: world.faults.update({"gate.verdict": late})
    ending = world.run()
    assert Phase.FINALIZED is ending.phase, ending
    assert late == []
    assert [] == world.settled()


@pytest.mark.parametrize("rate", [0.99, None, "1"])
def test_a_verdict_over_a_sample_begins_nothing(rate: object):
    world = World()
    world.rate = rate
    ending = world.run(rules=replace(RULES, steps={"check-gate": 0.05}, poll_seconds=0.01))
    assert (Event.REFUSED, Phase.HELD) == (ending.ended, ending.phase)
    assert [] == world.settled()


@pytest.mark.parametrize("predicted", [751, None, "100", True, -1, float("nan")])
def test_a_cutover_that_would_hold_writes_too_long_is_not_begun(predicted: object):
    world = World()
    world.predicted = predicted
    ending = world.run()
    assert Event.ABORTED is ending.ended
    assert "source.close" not in world.calls
    assert [] == world.settled()


@pytest.mark.parametrize(("follow_ms", "ended"), [(649, None), (651, Event.ABORTED), (float("nan"), Event.ABORTED)])
def test_a_log_that_is_read_too_far_behind_counts_into_the_budget_before_anything_is_held(
    follow_ms: float, ended: Event | None
):
    world = through(World())
    world.follow_ms = follow_ms
    ending = world.run()
    assert ended is ending.ended
    assert (ended is None) == ("source.close" in world.calls)


LIES = {
    "source.close": [{"sessions": 1}, {"sessions": None}, {"prepared": 1}, {"closed": None}, {"sessions": False}],
    "target.close": [{"closed": False}],
    "replication.position": [{"fence_lsn": None}, {"fence_lsn": 0}, {"fence_lsn": "0/1"}],
    "replication.see_marker": [{"nonce": "another"}, {"nonce": None}],
    "replication.make_durable": [{"durable": None}, {"durable": "yes"}],
    "rows.compare_last": [{"different": 1}, {"compared": 0}, {"missing": 1}, {"different": None}, {"compared": None}],
    "sequences.set": [{"behind": 1}, {"behind": None}, {"sequences": None}],
    "consumers.drain": [{"behind": 1}, {"behind": None}, {"consumers": None}],
    "replication.stop_forward": [{"forward": "enabled"}, {"forward": None}],
    "replication.commit_line": [{"commit_line": None}],
    "rows.behind": [{"behind": 1}, {"behind": None}],
    "replication.prepare_reverse": [{"reverse": None}, {"reverse": "absent"}],
    "audit.start": [{"ready": None}],
    "dead_man.start": [{"ready": False}],
    "shadow.lead": [{"different": 1}, {"compared": 0}, {"errors": None}],
}


@pytest.mark.parametrize(("call", "lie"), [(call, lie) for call, lies in LIES.items() for lie in lies])
def test_what_is_missing_or_wrong_in_what_was_read_back_is_no_pass(call: str, lie: dict[str, object]):
    world = World()
    world.sides[Side.SOURCE].rows.add(0)
    world.sides[Side.TARGET].rows.add(0)
    world.traffic_on = False
    if call == "rows.compare_last":
        lie = {"empty": False, **lie}
    world.lies[call] = lie
    ending = world.run()
    assert Event.ABORTED is ending.ended, ending
    assert Side.SOURCE is world.owner()
    world.lies.clear()
    assert [] == world.settled()


def test_a_dead_man_that_does_not_live_lets_nothing_be_held():
    world = World()

    def dies(world: World, moment: str) -> None:
        world.dead_man_alive = False

    world.moments["hold-proxies", Moment.INTENT] = dies
    assert Event.ABORTED is world.run().ended
    assert "pool-1.hold" not in world.calls


def test_writes_are_held_no_longer_than_they_may_before_the_commit():
    world = World()

    def slow(world: World, moment: str) -> None:
        if moment == "before":
            world.skew += 0.8

    world.faults["replication.see_marker"] = [slow]
    ending = world.run()
    assert Event.ABORTED is ending.ended
    assert "DeadlinePassed" in ending.reason
    assert [] == world.settled()


def test_postponed_it_waits_before_anything_is_held():
    world = through(World())
    world.journal.request(Wish.POSTPONE, "ana", "not yet")
    seen: list[Phase] = []

    def go_on(world: World, moment: str) -> None:
        pass

    plain = world.wait

    def wait(seconds: float) -> None:
        plain(seconds)
        run = told(world.journal.entries())[-1]
        seen.append(run.phase)
        if run.phase is Phase.HELD and len(seen) > 3:
            world.journal.request(Wish.UNPOSTPONE, "ana", "now")

    world.wait = wait  # type: ignore[method-assign]
    ending = world.run()
    assert Phase.HELD in seen
    assert Phase.FINALIZED is ending.phase
    assert [] == world.settled()


ARMED_CALLS = ["source.rehearse", "target.close", "replication.prepare_reverse", "audit.start"]


def postponed_until(world: World, then: Callable[[World], None]) -> World:
    """Let an operator postpone it, and let it go on once something has happened."""
    world.journal.request(Wish.POSTPONE, "ana", "not yet")
    plain = world.wait

    def wait(seconds: float) -> None:
        plain(seconds)
        if told(world.journal.entries())[-1].phase is Phase.HELD and Wish.UNPOSTPONE not in wishes():
            then(world)
            world.journal.request(Wish.UNPOSTPONE, "ana", "now")

    def wishes() -> set[Wish]:
        return {request.wish for request in world.journal.requests()}

    world.wait = wait  # type: ignore[method-assign]
    return world


def test_postponed_it_is_armed_anew_before_anything_is_held():
    world = postponed_until(through(World()), lambda world: None)
    ending = world.run()
    assert (Phase.FINALIZED, []) == (ending.phase, world.settled()), ending
    assert [2] * 4 == [world.calls[: world.calls.index("pool-1.hold")].count(call) for call in ARMED_CALLS]
    assert 2 == steps_done(world).count("check-budget")


@pytest.mark.parametrize("worse", [
    lambda world: setattr(world, "predicted", 5000),
    lambda world: world.blockers.append(Blocker("role app", "it is a superuser", "take that from it")),
    lambda world: world.lies.update({"audit.start": {"ready": None}}),
    lambda world: world.faults.update({"source.rehearse": [broken()]}),
])  # fmt: skip
def test_what_has_become_worse_while_it_was_postponed_holds_nothing(worse: Callable[[World], None]):
    world = postponed_until(World(), worse)
    ending = world.run()
    assert Event.ABORTED is ending.ended, ending
    assert "pool-1.hold" not in world.calls
    world.lies.clear()
    assert [] == world.settled()


@pytest.mark.parametrize("moment", MOMENTS)
def test_restarted_before_anything_was_held_it_is_armed_anew(moment: Moment):
    world = through(World())
    world.moments["check-budget", moment] = killed()
    assert world.run() is None
    before = len(world.calls)
    assert Phase.FINALIZED is world.resume().phase
    assert [1] * 4 == [world.calls[before:].count(call) for call in ARMED_CALLS]
    assert any(entry.step == "asked-again" for entry in world.heard)
    assert [] == world.settled()


BLOCKER = Blocker("silent", "a transaction is silent", "end it")


def stopped_in_arming(monkeypatch: pytest.MonkeyPatch, blocked: int) -> World:
    """A world whose orchestrator died while it armed, and in which something passing speaks against going on."""
    world = through(World())
    world.moments["check-budget", Moment.INTENT] = killed()
    assert world.run() is None
    left = [BLOCKER] * blocked
    monkeypatch.setattr(FakeReplication, "check", lambda port: [left.pop()] if left else [])
    return world


def test_what_speaks_against_an_armed_attempt_for_a_moment_does_not_end_it(monkeypatch: pytest.MonkeyPatch):
    world = stopped_in_arming(monkeypatch, 5)
    ending = world.resume()
    assert Phase.FINALIZED is ending.phase, ending
    assert any(entry.step == "asked-again" for entry in world.heard)
    assert [] == world.settled()


def test_what_goes_on_speaking_against_an_armed_attempt_ends_it(monkeypatch: pytest.MonkeyPatch):
    world = stopped_in_arming(monkeypatch, 1000)
    ending = world.resume(rules=replace(RULES, lease_seconds=600))
    assert Event.ABORTED is ending.ended, ending
    assert "a transaction is silent" in ending.reason
    assert "pool-1.hold" not in world.calls
    assert [] == world.settled()


def test_a_proxy_that_leads_elsewhere_refuses_the_cutover():
    world = World()
    world.traffic_on, world.proxies[0].leads_to = False, Side.TARGET
    ending = world.run()
    assert Event.REFUSED is ending.ended, ending
    assert "check-all" in ending.reason
    assert "pool-1" in ending.reason
    assert "target.close" not in world.calls


@pytest.mark.parametrize("phase", ["PREFLIGHT", "READY", "SHADOWING", "ARMED", "FENCING", "DRAINING", "SEALING"])
def test_a_hook_that_says_no_before_the_commit_holds_and_then_gives_up(phase: str):
    world = World()
    world.hook = refusing(phase)
    ending = world.run()
    assert ending.ended in (Event.ABORTED, Event.REFUSED), ending
    assert "hook" in ending.reason
    assert [] == world.settled()


def test_a_hook_has_no_longer_than_writes_may_be_held():
    world = through(World())

    def slow(world: World, moment: str) -> None:
        world.skew += 0.25 if moment == "before" else 0

    world.faults["replication.make_durable"] = [slow]
    assert Phase.FINALIZED is world.run().phase
    given = world.hook_seconds
    assert pytest.approx([10, 10], abs=0.01) == [given["FENCING"], given["VERIFYING"]]
    held = [given[phase] for phase in ("DRAINING", "SEALING", "COMMIT", "FLIPPING")]
    assert pytest.approx([0.75, 0.5, 0.5, 1], abs=0.01) == held


@pytest.mark.parametrize("phase", ["FLIPPING", "VERIFYING", "GUARDED"])
def test_a_hook_that_says_no_after_the_commit_is_told_and_stops_nothing(phase: str):
    world = through(World())
    world.hook = refusing(phase)
    ending = world.run()
    assert Phase.FINALIZED is ending.phase
    assert any(entry.step == "hook-refused" for entry in world.heard)


def test_a_restart_does_not_begin_the_time_of_the_guard_anew():
    world = World()
    rules = replace(RULES, guard_seconds=200, watch_seconds=10, lease_seconds=3600)
    world.moments["watch", Moment.INTENT] = asks(Wish.FINALIZE)
    plain, waits = world.wait, []

    def wait(seconds: float) -> None:
        plain(seconds)
        waits.append(seconds)
        if len(waits) == 13:
            killed()(world, "before")

    world.wait = wait  # type: ignore[method-assign]
    assert world.run(rules=rules) is None
    assert [10.0] * 13 == waits
    assert Phase.FINALIZED is world.resume("ana", rules).phase
    assert 200 <= sum(waits) < 270, "at most a minute of it is not known to whoever goes on"
    assert [] == world.settled()


def test_worse_reads_lead_back_once():
    world = World()
    world.reads = {"reads": 100, "errors": 50, "p99_ms": 5}
    ending = world.run(
        rules=replace(RULES, guard_seconds=0, watch_seconds=0.01, max_error_share=0.1, renew_seconds=3600)
    )
    assert Event.RETURNED is ending.ended
    assert "50 of 100" in ending.reason
    assert [] == world.settled()


def test_a_late_difference_leads_back():
    world = World()
    world.moments["watch", Moment.INTENT] = lambda world, moment: setattr(world, "verdict", "FAIL")
    ending = world.run()
    assert Event.RETURNED is ending.ended
    assert [] == world.settled()


def test_what_an_audit_finds_that_was_not_told_of_the_commit_leads_nowhere():
    world = World()
    world.audits_told = False

    def begun(world: World, moment: str) -> None:
        world.verdict = "FAIL"
        asks(Wish.FINALIZE)(world, moment)

    world.moments["watch", Moment.INTENT] = begun
    ending = world.run(rules=replace(RULES, guard_seconds=0.2))
    assert Phase.FINALIZED is ending.phase, ending
    assert [] == world.settled()


def test_the_audits_are_told_again_before_the_guard_and_after_a_restart():
    world = World()
    world.faults["replication.tell"] = [broken()]
    world.moments["watch", Moment.INTENT] = killed()
    assert world.run() is None
    before = world.calls.count("replication.tell")
    assert 1 < before
    world.moments["watch", Moment.INTENT] = asks(Wish.FINALIZE)
    assert Phase.FINALIZED is world.resume().phase
    assert before < world.calls.count("replication.tell")


@pytest.mark.parametrize("verdict", ["FAIL", "INCONCLUSIVE", "silent", None])
def test_a_rollback_waits_for_the_reverse_audit_and_is_refused_without_it(verdict: str | None):
    world = rolling_back()
    world.reverse_verdict = verdict
    ask = world.moments["watch", Moment.INTENT]

    def then_finalize(world: World, moment: str) -> None:
        ask(world, moment)
        asks(Wish.FINALIZE)(world, moment)

    world.moments["watch", Moment.INTENT] = then_finalize
    ending = world.run(rules=replace(RULES, steps={"check-way-back": 2.0}, poll_seconds=1))
    assert Phase.FINALIZED is ending.phase, ending
    assert Side.TARGET is world.owner()
    assert [] == world.settled()


def test_a_person_may_answer_for_a_rollback_that_the_audit_is_not_sure_of():
    world = rolling_back(unproven=True)
    world.reverse_verdict = "INCONCLUSIVE"
    assert Event.RETURNED is world.run().ended
    assert [] == world.settled()


@pytest.mark.parametrize("verdict", ["silent", "hangs"])
def test_a_person_may_answer_for_a_rollback_whose_audit_is_silent(verdict: str):
    world = rolling_back(unproven=True)
    world.reverse_verdict = verdict
    rules = replace(RULES, steps={"check-way-back": 4.0}, poll_seconds=1, lease_seconds=600)
    assert Event.RETURNED is world.run(rules=rules).ended
    assert [] == world.settled()


@pytest.mark.parametrize("call", ["source.close", "target.close", "replication.see_marker", "sequences.set"])
def test_a_rollback_that_fails_leaves_the_target_where_it_was(call: str):
    world = rolling_back()

    def ask_and_break(world: World, moment: str) -> None:
        asks(Wish.ROLLBACK)(world, moment)
        asks(Wish.FINALIZE)(world, moment)
        if call != "source.close":
            world.faults[call] = [broken()]

    world.moments["watch", Moment.INTENT] = ask_and_break
    world.lies["source.close"] = {}
    ending = world.run()
    if call == "source.close":
        assert Event.RETURNED is ending.ended
    else:
        assert (Phase.FINALIZED, Side.TARGET) == (ending.phase, world.owner()), ending
    assert [] == world.settled()


@pytest.mark.parametrize(("holder", "waits"), [("zoe@host:7", False), ("dead man:7", True)])
def test_a_lease_is_waited_for_unless_an_orchestrator_renews_it(holder: str, waits: bool):
    world = World()
    world.approve()
    lease, plain, looks = world.journal.acquire(holder, 5), world.wait, []

    def wait(seconds: float) -> None:
        """Let the holder renew for a while, as one does whose step takes its time."""
        looks.append(seconds)
        plain(seconds)
        if len(looks) < 100:
            world.journal.renew(lease.epoch, 5)

    world.wait = wait  # type: ignore[method-assign]
    world.moments["watch", Moment.INTENT] = asks(Wish.FINALIZE)
    if waits:
        assert Phase.FINALIZED is world.conductor().start().phase
    else:
        with pytest.raises(LeaseHeld):
            world.conductor().start()
        assert len(looks) < 5


def test_two_orchestrators_do_not_act_together():
    world = World()

    def second(world: World, moment: str) -> None:
        with pytest.raises(LeaseHeld):
            world.journal.acquire("zoe", 10)

    for step in STEPS:
        if step.name != "watch":
            world.moments[step.name, Moment.INTENT] = second
    world.moments["watch", Moment.INTENT] = asks(Wish.FINALIZE)
    assert Phase.FINALIZED is world.run().phase


def test_an_old_side_that_somebody_opened_after_the_commit_is_closed_and_a_person_called():
    world = World()

    def open_it(world: World, moment: str) -> None:
        world.traffic_on = False
        world.sides[Side.SOURCE].open = True

    world.moments["watch", Moment.INTENT] = open_it
    ending = world.run()
    assert Phase.STUCK is ending.phase
    assert not world.sides[Side.SOURCE].open


def test_killed_after_the_commit_with_an_open_old_side():
    world = World()
    world.moments["enable-reverse", Moment.INTENT] = killed()
    assert world.run() is None
    world.sides[Side.SOURCE].open = True
    ending = world.resume()
    assert Phase.STUCK is ending.phase
    assert not world.sides[Side.SOURCE].open


def test_a_stopped_holder_that_woke_finds_what_others_did():
    """A zombie sleeps over a whole abort and the begin of nothing else; it then ends with what the journal says."""
    world = World()

    def others(world: World, moment: str) -> None:
        world.skew += 60
        world.run_dead_man()
        lease = world.journal.acquire("zoe", 10)
        world.journal.release(lease.epoch)

    world.moments["see-marker", Moment.INTENT] = others
    ending = world.run()
    assert Event.ABORTED is ending.ended
    assert [] == world.settled()
    for proxy in world.proxies:
        before_it_led_again = proxy.forgot[0]
        assert before_it_led_again is not None
        assert "zoe" == before_it_led_again.holder


def test_a_resume_with_nothing_to_do_does_nothing():
    world = World()
    assert world.resume().attempt is None
    assert [] == world.calls


def test_the_told_direction_of_a_rollback():
    world = rolling_back()
    world.run()
    runs = told(world.journal.entries())
    assert [Direction.FORWARD, Direction.BACK] == [run.direction for run in runs]
    assert all(run.over for run in runs)
