"""The table of a cutover: what follows what, what a journal tells, and what nobody may do."""

from dataclasses import replace
from datetime import timedelta
from itertools import product

import pytest

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
    IllegalTransition,
    Phase,
    Run,
    advance,
    follow,
    mermaid,
    told,
)
from orchestrator.effects import EFFECTS
from orchestrator.evidence import NEEDED, before_commit
from orchestrator.records import GENESIS, Direction, Draft, Entry, Kind, chain_problems, chained, hash_of, now_utc

FORWARD, BACK = Direction.FORWARD, Direction.BACK


def event(name: Event, **facts: object) -> Draft:
    return Draft(1, FORWARD, name, Kind.EVENT, facts)


def through(run: Run, *drafts: Draft) -> Run:
    for draft in drafts:
        run = follow(run, draft)
    return run


def did(*steps: str) -> list[Draft]:
    return [Draft(1, FORWARD, step, kind) for step in steps for kind in (Kind.INTENT, Kind.DONE)]


def up_to(name: str) -> list[Draft]:
    names = [step.name for step in STEPS]
    return did(*names[: names.index(name)])


def written(*drafts: Draft) -> list[Entry]:
    return chained("orders", 1, "ana", drafts, 0, GENESIS, now_utc())


@pytest.mark.parametrize(("phase", "happens"), list(product(Phase, Event)))
def test_what_the_table_does_not_allow_is_refused(phase: Phase, happens: Event):
    if (phase, happens) in TRANSITIONS:
        assert advance(phase, happens) in Phase
    else:
        with pytest.raises(IllegalTransition, match=phase):
            advance(phase, happens)


def reachable(start: Phase, *without: Event) -> set[Phase]:
    found = {start}
    while more := {to for (at, by), to in TRANSITIONS.items() if at in found and by not in without} - found:
        found |= more
    return found


def test_every_phase_is_reached_and_only_by_next_the_commit():
    assert set(Phase) == reachable(Phase.REGISTERED)
    # that a commit had been won, and that a postponement is over, is said only of attempts that came so far
    known = (Event.NEXT, Event.COMMITTED, Event.UNPOSTPONED, Event.STAYED)
    assert not {Phase.ARMED, Phase.COMMIT, *DECIDED} & reachable(Phase.REGISTERED, *known)


def test_an_attempt_that_is_over_moves_no_more():
    refused = through(Run(1), *did("check-all"), event(Event.REFUSED))
    for happens in Event:
        with pytest.raises(IllegalTransition):
            follow(refused, event(happens))


def test_after_the_commit_nothing_leads_to_an_abort_but_a_rollback():
    for phase in DECIDED:
        assert Phase.ABORTING not in {to for (at, by), to in TRANSITIONS.items() if at is phase}
    assert Phase.ABORTING not in {
        TRANSITIONS[phase, by] for phase in DECIDED for by in Event if (phase, by) in TRANSITIONS
    }


def test_every_step_has_an_effect_and_a_time():
    own = {"commit", "win-abort", "watch"}
    assert set(ALL_STEPS) == set(EFFECTS) | own
    assert set(NEEDED) <= set(ALL_STEPS)
    assert all(step.seconds > 0 for step in ALL_STEPS.values())
    assert len(ALL_STEPS) == len({*STEPS, *ROLLBACK_STEPS, *ABORT_STEPS})


@pytest.mark.parametrize("steps", [STEPS, ROLLBACK_STEPS], ids=["forward", "back"])
def test_phases_follow_each_other_in_the_table(steps):
    phases = [step.phase for step in steps]
    order = list(Phase)
    places = [order.index(phase) for phase in phases if phase is not Phase.ROLLING_BACK]
    assert places == sorted(places)


def test_what_an_abort_undoes_are_steps_of_the_way():
    for step in ABORT_STEPS:
        assert set(step.undoes) <= {one.name for one in STEPS}
    undone = {name for step in ABORT_STEPS for name in step.undoes}
    harmless = {"rehearse-fence", "check-budget", "start-dead-man", "warm-up", "consume-verdict", "record-fence-lsn",
                "see-marker", "make-durable", "compare-last", "set-sequences", "confirm-verdict", "record-commit-line",
                "commit"}  # fmt: skip
    changing = {step.name for step in STEPS if step.phase in UNDECIDED}
    assert changing == undone | harmless


def test_a_rollback_is_the_way_forward_from_the_dead_man_on():
    names = [step.name for step in ROLLBACK_STEPS]
    assert ("check-way-back", "retire-way-back") == (names[0], names[-1])
    forward = [step.name for step in STEPS]
    assert [name for name in forward if name in names] == names[1:-1]


def test_the_next_step_is_the_first_that_is_not_done():
    run = through(Run(1), *did("check-all"), Draft(1, FORWARD, "check-gate", Kind.INTENT))
    assert ("check-gate", "check-gate", Phase.READY) == (run.next_step().name, run.pending, run.phase)
    run = follow(run, Draft(1, FORWARD, "check-gate", Kind.DONE, {"verdict": "PASS"}))
    assert ("check-approval", None) == (run.next_step().name, run.pending)
    assert "PASS" == run.facts["check-gate"]["verdict"]


def test_an_abort_undoes_only_what_was_begun():
    failed = event(Event.FAILED, reason="because")
    early = through(Run(1), *up_to("close-new"), failed)
    assert ["win-abort", "reads-back"] == [step.name for step in early.steps()]
    held = through(Run(1), *up_to("hold-proxies"), Draft(1, FORWARD, "hold-proxies", Kind.INTENT), failed)
    names = [step.name for step in held.steps()]
    assert "open-old" not in names
    assert {"route-back", "release-after-abort", "resume-after-abort", "disarm"} <= set(names)
    assert ("because", Phase.ABORTING) == (held.reason, held.phase)


def test_an_aborted_rollback_keeps_the_way_back():
    run = Run(2, BACK, Phase.GUARDED)
    run = follow(run, Draft(2, BACK, Event.ROLLBACK, Kind.EVENT))
    for step in ROLLBACK_STEPS[:8]:
        run = follow(follow(run, Draft(2, BACK, step.name, Kind.INTENT)), Draft(2, BACK, step.name, Kind.DONE))
    run = follow(run, Draft(2, BACK, Event.FAILED, Kind.EVENT))
    assert not {"disarm", "reads-back"} & {step.name for step in run.steps()}
    for step in run.steps():
        run = follow(follow(run, Draft(2, BACK, step.name, Kind.INTENT)), Draft(2, BACK, step.name, Kind.DONE))
    run = follow(run, Draft(2, BACK, Event.STAYED, Kind.EVENT))
    assert (True, Phase.GUARDED) == (run.over, run.phase)


def test_an_abort_that_came_too_late_goes_on_forward():
    run = through(
        Run(1), *up_to("commit"), Draft(1, FORWARD, "commit", Kind.INTENT), event(Event.FAILED), *did("win-abort")[:1],
        event(Event.COMMITTED), Draft(1, FORWARD, "commit", Kind.DONE),
    )  # fmt: skip
    assert (False, True) == (run.aborting, run.committed)
    assert "enable-reverse" == run.next_step().name


def test_stuck_it_goes_on_where_it_was():
    run = through(Run(1), *up_to("open-new"), Draft(1, FORWARD, "open-new", Kind.INTENT), event(Event.EXHAUSTED))
    assert (Phase.STUCK, Phase.FLIPPING) == (run.phase, run.stuck_in)
    assert run.may_roll_back()
    run = follow(run, event(Event.RESUMED))
    assert (Phase.FLIPPING, None) == (run.phase, run.stuck_in)


@pytest.mark.parametrize("step", [step.name for step in STEPS])
def test_a_rollback_may_begin_once_the_way_back_runs(step: str):
    run = through(Run(1), *up_to(step))
    if step == "finalize":
        run = follow(run, event(Event.FINALIZE))
    wanted = "enable-reverse" in run.done and step != "finalize"
    assert wanted == run.may_roll_back()


def test_writes_are_held_from_the_first_intent_until_they_are_let_go():
    assert not through(Run(1), *up_to("hold-proxies")).held
    run = through(Run(1), *up_to("hold-proxies"), Draft(1, FORWARD, "hold-proxies", Kind.INTENT))
    assert run.held
    assert not through(run, event(Event.FAILED), *did("win-abort", "release-after-abort")).held
    assert through(Run(1), *up_to("release-proxies")).held
    assert not through(Run(1), *up_to("prove-routing")).held


def test_entries_of_a_newer_version_or_for_people_move_nothing():
    run = through(Run(1), *did("check-all"))
    assert run == through(run, Draft(1, FORWARD, "watched", Kind.EVENT), Draft(1, FORWARD, "unheard-of", Kind.DONE))


def test_attempts_are_told_apart():
    entries = written(
        Draft(1, FORWARD, "begin", Kind.EVENT, {"plan": "p"}), *did("check-all"), event(Event.REFUSED, reason="no"),
        Draft(2, FORWARD, "begin", Kind.EVENT, {"plan": "q"}),
    )  # fmt: skip
    first, second = told(entries)
    assert (True, "no", "p") == (first.over, first.reason, first.opening["plan"])
    assert (False, Phase.REGISTERED, "q") == (second.over, second.phase, second.opening["plan"])


def test_what_comes_before_the_commit_is_the_same_both_ways():
    forward = {step.name for step in before_commit(Run(1))}
    back = {step.name for step in before_commit(Run(2, BACK))}
    assert back - forward == {"check-way-back"}
    only_forward = {ALL_STEPS[name].phase for name in forward - back}
    assert only_forward <= {*UNTOUCHED, Phase.SHADOWING, Phase.ARMED, Phase.FENCING}


def test_the_diagram_shows_every_move():
    drawn = mermaid()
    for (here, by), there in TRANSITIONS.items():
        assert f"{here} --> {there}: {by}" in drawn


@pytest.mark.parametrize("field", ["facts", "actor", "step", "epoch", "attempt", "at", "previous_hash"])
def test_the_hash_covers_every_field(field: str):
    (entry,) = written(Draft(1, FORWARD, "check-all", Kind.DONE, {"a": 1}))
    changed = {
        "facts": {"a": 2}, "actor": "eve", "step": "check-gate", "epoch": 2, "attempt": 2,
        "at": entry.at + timedelta(microseconds=1), "previous_hash": "1" * 64,
    }  # fmt: skip
    assert hash_of(entry) == entry.hash
    assert hash_of(replace(entry, **{field: changed[field]})) != entry.hash


def test_fields_cannot_be_shifted_into_each_other():
    one, two = written(Draft(1, FORWARD, "ab", Kind.DONE)), written(Draft(1, FORWARD, "a", Kind.DONE))
    shifted = replace(two[0], at=one[0].at, migration="orders", step="a", actor="bana")
    assert hash_of(shifted) != one[0].hash


def test_a_chain_says_where_it_is_broken():
    entries = written(*did("check-all", "check-gate"))
    assert () == chain_problems(entries, [], 4, entries[-1].hash)
    assert chain_problems(entries[:3], [], 4, entries[-1].hash)
    assert chain_problems(entries[1:], [], 4, entries[-1].hash)
    assert chain_problems([entries[0], entries[2], entries[1], entries[3]], [], 4, entries[-1].hash)
