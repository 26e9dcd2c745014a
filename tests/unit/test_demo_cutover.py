"""The judgement of the cutover's show: what it calls safe, and that no danger is overlooked."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from auditor.demo.cutover.checker import Checked, Witness, kept_in
from auditor.demo.cutover.command import kill_at
from auditor.demo.cutover.faults import FAULTS, End, find
from auditor.demo.cutover.story import KILLABLE, LATE_ABORT, Kill, Order
from auditor.demo.cutover.told import PERSON, Told, document, end_of, exit_code, words
from comparators.errors import SettingInvalid
from comparators.positions import Side
from orchestrator.cutover import ALL_STEPS, STEPS, Event
from orchestrator.records import GENESIS, Direction, Draft, Entry, Kind, chained

SOUND = Checked(100, (), (), (), ())
AT = datetime(2026, 1, 1, tzinfo=UTC)
FACTS: dict[str, dict[str, Any]] = {
    "consume-verdict": {"overrides": [], "accepted": []},
    "close-old": {"closed": True, "sessions": 0, "prepared": 0},
    "record-fence-lsn": {"fence_lsn": 7},
    "see-marker": {"fence_lsn": 7, "seen": True},
    "make-durable": {"durable": True},
    "compare-last": {"different": 0, "missing": 0, "compared": 9},
    "set-sequences": {"sequences": 2, "behind": 0},
    "hand-over-consumers": {"consumers": 0, "behind": 0},
    "confirm-verdict": {
        "verdict": "PASS", "asked_after_fence": True, "evaluated_after": "2026-01-01T00:00:00.001Z",
        "evaluated_at": "2026-01-01T00:00:00.002Z", "overrides": [], "accepted": [],
    },
    "record-commit-line": {"commit_line": 9, "closed": True, "sessions": 0, "prepared": 0, "behind": 0},
    "commit": {"result": "commit"},
    "route-proxies": {"route": "target"},
    "prove-routing": {"elsewhere": 0, "proxies": 1},
    "count-old-sessions": {"sessions": 0, "closed": True},
    "write-canary": {"seen": True},
}


def entries(*drafts: Draft) -> list[Entry]:
    made = chained("bank", 1, "test", drafts, 0, GENESIS, AT)
    return [replace(entry, at=AT + timedelta(milliseconds=10 * number)) for number, entry in enumerate(made)]


def whole(leave_out: str = "") -> list[Entry]:
    """Give a promotion that was finalized."""
    drafts: list[Draft] = []
    for step in STEPS:
        if step.name == "finalize":
            drafts.append(Draft(1, Direction.FORWARD, Event.FINALIZE, Kind.EVENT, {}))
        if step.name != leave_out:
            drafts.append(Draft(1, Direction.FORWARD, step.name, Kind.INTENT))
            drafts.append(Draft(1, Direction.FORWARD, step.name, Kind.DONE, FACTS.get(step.name, {})))
    return entries(*drafts)


def aborted(reason: str) -> list[Entry]:
    return entries(
        Draft(1, Direction.FORWARD, "check-all", Kind.INTENT),
        Draft(1, Direction.FORWARD, Event.FAILED, Kind.EVENT, {"reason": reason}),
        Draft(1, Direction.FORWARD, "win-abort", Kind.INTENT),
        Draft(1, Direction.FORWARD, "win-abort", Kind.DONE),
        Draft(1, Direction.FORWARD, Event.ABORTED, Kind.EVENT, {}),
    )


def told(written: list[Entry], **more: Any) -> Told:
    end = end_of(written)
    serving = Side.TARGET if end is End.PROMOTED else Side.SOURCE
    turns = (Side.SOURCE, Side.TARGET) if end is End.PROMOTED else (Side.SOURCE,)
    values: dict[str, Any] = {
        "seconds": 10.0, "end": end, "serving": serving, "entries": written, "checked": SOUND, "writable": (serving,),
        "turns": turns, "failures": (), "stalls": {Direction.FORWARD: 80.0}, "journal": (), "exit_codes": (0,),
        "log_tail": "",
    }  # fmt: skip
    return Told(**{**values, **more})


def test_a_promotion_with_every_link_is_good():
    seen = told(whole())
    cutover = document(seen, None, None)["cutover"]
    assert (0, [], "complete", "promoted") == (
        exit_code(seen, None), cutover["dangers"], cutover["proof_chain"], cutover["end"]
    )  # fmt: skip
    steps = [step.name for step in STEPS]
    held = 10.0 * (2 * (steps.index("release-proxies") - steps.index("hold-proxies")) + 1)
    assert held == cutover["held_write_ms"]
    assert "DANGER" not in words(seen, None)


@pytest.mark.parametrize("link", ["see-marker", "make-durable", "compare-last", "write-canary"])
def test_a_promotion_without_a_link_needs_a_person(link: str):
    seen = told(whole(link))
    assert f"without {link}" == document(seen, None, None)["cutover"]["proof_chain"]
    assert PERSON == exit_code(seen, None)


@pytest.mark.parametrize(
    "bad",
    [
        {"checked": replace(SOUND, lost=((1, 2),))},
        {"checked": replace(SOUND, doubled=((1, 2),))},
        {"checked": replace(SOUND, altered=((1, 2),))},
        {"checked": replace(SOUND, torn=(3,))},
        {"writable": ()},
        {"writable": (Side.SOURCE,)},
        {"writable": (Side.SOURCE, Side.TARGET)},
        {"turns": (Side.SOURCE, Side.TARGET, Side.SOURCE, Side.TARGET)},
        {"journal": ("entry 3 was changed",)},
        {"end": None},
        {"missed": ("commit (done)",)},
    ],
)
def test_no_danger_is_overlooked(bad: dict[str, Any]):
    seen = told(whole(), **bad)
    assert PERSON == exit_code(seen, None)
    assert "DANGER" in words(seen, None)


def test_an_abort_is_bad_but_safe_and_names_its_reason():
    fault = replace(FAULTS["prepared-transaction"])
    seen = told(aborted("1 prepared transaction is left"))
    assert (1, []) == (exit_code(seen, fault), seen.dangers())
    assert document(seen, fault, None)["fault"]["as_expected"]
    assert PERSON == exit_code(told(aborted("something else")), fault)
    assert PERSON == exit_code(told(whole()), fault)


def test_two_writers_of_an_abort_are_seen_until_the_target_is_opened_as_before():
    assert told(aborted("x"), turns=(Side.SOURCE, Side.TARGET)).two_writers
    assert not told(aborted("x"), writable=(Side.SOURCE, Side.TARGET)).two_writers
    witness = Witness({})
    witness.seen += [(1.0, Side.TARGET, False), (2.0, Side.SOURCE, True), (3.0, Side.TARGET, True)]
    assert [Side.SOURCE] == witness.turns(3.0)
    assert [Side.SOURCE, Side.TARGET] == witness.turns()


def test_what_a_story_needs_so_that_it_comes_to_a_step():
    assert set(ALL_STEPS) == set(KILLABLE)
    assert LATE_ABORT is Kill("open-old").fault
    assert FAULTS["operator-rolls-back"] is Kill("retire-way-back").fault
    assert None is Kill("commit").fault
    assert Direction.BACK is Kill("retire-way-back").direction
    assert "finalize" == Order(kill=Kill("commit")).wish
    assert "rollback" == Order(kill=Kill("commit"), returns=True).wish
    assert None is Order(kill=Kill("retire-way-back")).wish


def test_unknown_steps_and_faults_are_refused_by_name():
    with pytest.raises(SettingInvalid, match="no step"):
        kill_at("comit")
    with pytest.raises(SettingInvalid, match="no fault"):
        find("nothing")


def test_a_last_line_that_was_cut_off_was_not_acknowledged(tmp_path: Path):
    (tmp_path / "client-3.txt").write_text("1 11 5 -7\n2 12 5 8\n3 1")
    assert {(3, 1): (11, 5, -7), (3, 2): (12, 5, 8)} == kept_in(tmp_path)


def test_turns_count_from_when_the_target_was_first_closed():
    witness = Witness({})
    assert [] == witness.turns()
    both = [(0.0, Side.SOURCE, True), (0.1, Side.TARGET, True)]
    after = [(0.2, Side.TARGET, False), (0.3, Side.SOURCE, True), (0.4, Side.SOURCE, False), (0.5, Side.TARGET, True)]
    witness.seen = both + after
    assert [Side.SOURCE, Side.TARGET] == witness.turns()
    slow = [(0.2, Side.TARGET, False), (0.3, Side.SOURCE, False), (0.4, Side.TARGET, True)]
    witness.seen = both + slow
    assert [Side.SOURCE, Side.TARGET] == witness.turns()
