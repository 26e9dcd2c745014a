"""How long writes will be held is foretold from what was measured; what is not known is refused."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from auditor.cutover.budget import ALLOWED_MS, HOOK_MS, OTHERS_MS, MeasuredBudget, journal_ms, predict, step_times
from comparators.errors import NotReady
from orchestrator.cutover import STEPS
from orchestrator.deadlines import Deadline
from orchestrator.records import Direction, Entry, Kind

START = datetime(2030, 1, 1, tzinfo=UTC)
FIGURES: dict[str, dict[str, Any]] = {
    "activity": {"oldest_transaction_seconds": 0.02},
    "capacity": {"predicted_drain_seconds": 0.1},
    "lag": {"marker_p99_ms": 3.0},
}


def entry(seq: int, step: str, kind: Kind, ms: float, epoch: int = 1, attempt: int = 1) -> Entry:
    at = START + timedelta(milliseconds=ms)
    return Entry("orders", attempt, seq, epoch, Direction.FORWARD, step, kind, {}, "ann", at, "", "")


def run_of(step: str, began: float, took: float, beside: float = 3) -> list[Entry]:
    """Give a step whose effect took a while, and whose entries took a while beside that."""
    done = replace(entry(2, step, Kind.DONE, began + took + beside), facts={"took_ms": took})
    return [entry(1, step, Kind.INTENT, began), done]


ENTRIES = run_of("check-all", 0, 100, 2) + run_of("check-gate", 102, 8) + run_of("check-approval", 114, 6, 4)


def test_each_part_is_what_was_measured() -> None:
    facts = predict(FIGURES, {"ms": 12.0}, ENTRIES)
    held = [step.name for step in STEPS if step.holds_writes]
    parts = {name: ALLOWED_MS.get(name, OTHERS_MS) for name in held}
    parts |= {"hold-proxies": 20, "close-old": 12, "see-marker": 103, "journal": 3 * len(held), "hooks": 0}
    assert facts == {"predicted_ms": sum(parts.values()), "parts": parts, "assumed": []}


def test_a_step_that_ran_before_counts_as_long_as_it_took_at_worst() -> None:
    earlier = run_of("compare-last", -500, 60) + run_of("compare-last", -300, 80) + ENTRIES
    assert predict(FIGURES, {"ms": 1}, earlier)["parts"]["compare-last"] == 80
    slower = run_of("close-old", -500, 400) + ENTRIES
    assert predict(FIGURES, {"ms": 1}, slower)["parts"]["close-old"] == 400


def test_hooks_that_are_called_while_writes_are_held_count() -> None:
    def hooks(seq: int, phase: str, took: float) -> Entry:
        return replace(entry(seq, "hooks", Kind.EVENT, seq), facts={"phase": phase, "took_ms": took})

    earlier = [*ENTRIES, hooks(8, "SEALING", 30), hooks(9, "SEALING", 20), hooks(10, "FENCING", 4000)]
    parts = predict(FIGURES, {"ms": 1}, earlier, hooked={"FENCING", "SEALING", "FLIPPING"})["parts"]
    assert parts["hooks"] == 30 + HOOK_MS


def test_the_time_while_nobody_worked_is_no_steps_time() -> None:
    """The process died in the middle; the next one, of another epoch, found the effect done."""
    began, ended = run_of("commit", 0, 60_000)
    assert step_times([began, replace(ended, epoch=2)]) == {}


@pytest.mark.parametrize(
    ("group", "name"),
    [("activity", "oldest_transaction_seconds"), ("capacity", "predicted_drain_seconds"), ("lag", "marker_p99_ms")],
)
@pytest.mark.parametrize("value", [None, float("inf"), float("nan"), "3", True, -1, ...])
def test_a_figure_that_is_not_known_is_refused(group: str, name: str, value: Any) -> None:
    figures = {one: dict(values) for one, values in FIGURES.items()}
    figures[group] = {} if value is ... else {name: value}
    with pytest.raises(NotReady, match=rf"{group}\.{name} is not known"):
        predict(figures, {"ms": 1}, ENTRIES)


def test_a_fence_that_was_not_rehearsed_is_refused() -> None:
    with pytest.raises(NotReady, match="how long the fence takes"):
        predict(FIGURES, {}, ENTRIES)


def test_a_journal_that_says_nothing_of_its_pace_is_refused() -> None:
    with pytest.raises(NotReady, match="how long the journal takes"):
        journal_ms([entry(1, "check-all", Kind.INTENT, 0)])


def test_it_asks_the_gate_when_it_is_asked() -> None:
    class Probes:
        def figures(self, deadline: Deadline) -> dict[str, dict[str, Any]]:
            return FIGURES

    foretold = MeasuredBudget(Probes(), lambda: ENTRIES).foretell({"ms": 12}, Deadline.within(1, "a test"))
    assert foretold["predicted_ms"] > 0


def test_a_plan_may_assume_what_is_measured_only_later_and_says_so() -> None:
    foretold = predict(FIGURES, {}, [], assume=True)
    assert foretold["assumed"] == ["close-old", "journal"]
    assert predict(FIGURES, {"ms": 1}, ENTRIES, assume=True)["assumed"] == []
    with pytest.raises(NotReady, match=r"lag\.marker_p99_ms"):
        predict(FIGURES | {"lag": {}}, {}, [], assume=True)
