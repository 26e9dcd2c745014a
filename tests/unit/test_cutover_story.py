"""The journal tells where a cutover stands, for how long writes were held, and which links of its proof are there."""

import json
from dataclasses import replace
from typing import Any

import pytest

from auditor.cutover.documents import Seen, report_document, status_document, writable
from auditor.cutover.report import headline, markdown
from auditor.cutover.story import PROOF, State, attempts_of, owed, phase_times
from orchestrator.cutover import STEPS, Event
from orchestrator.records import Direction, Kind, Lease, Request, Verified, Wish
from tests.journals import START, Written

NOBODY: dict[str, Any] = {"lease": None, "requests": ()}


def whole() -> Written:
    return Written().until("write-canary")


def told(written: Written) -> Any:
    return attempts_of(written.entries)[-1]


def status_of(written: Written, **more: Any) -> dict[str, Any]:
    return status_document(Seen("orders", attempts_of(written.entries), **{**NOBODY, **more}))


def test_nothing_is_told_of_a_migration_that_never_cut_over() -> None:
    document = status_document(Seen("orders", (), None, ()))
    assert (document["phase"], document["attempt"], document["writable"]) == ("REGISTERED", None, "source")
    assert document["proof_chain"] == "not begun"
    assert document["next_steps"][0] == "auditor cutover plan"


def test_the_chain_is_whole_once_every_link_is_proved() -> None:
    attempt = told(whole())
    assert attempt.proved
    assert [link.step for link in attempt.chain] == [name for name, _ in PROOF]
    assert all(link.told.hash in {entry.hash for entry in attempt.entries} for link in attempt.chain)


@pytest.mark.parametrize("name", [name for name, _ in PROOF if name not in ("commit",)])
def test_a_link_without_its_facts_is_no_link(name: str) -> None:
    written = Written()
    for step in STEPS[: [step.name for step in STEPS].index("write-canary") + 1]:
        if step.name == name:
            written.write(name, Kind.INTENT).write(name, Kind.DONE)
        else:
            written.step(step.name)
    attempt = told(written)
    assert not attempt.proved
    assert name in [link.step for link in attempt.chain if link.problem]


def test_a_chain_that_stops_says_where() -> None:
    assert status_of(Written().until("make-durable"))["proof_chain"] == "incomplete: compare-last: not begun"
    failed = Written().until("make-durable").write("compare-last", Kind.INTENT).write("compare-last", Kind.FAILED)
    assert status_of(failed)["proof_chain"] == "incomplete: compare-last: failed"


def test_a_table_that_nothing_was_compared_of_is_named_where_the_chain_is_called_complete() -> None:
    written = Written().until("make-durable").step("compare-last", uncompared=3, uncompared_tables=["a.log", "a.raw"])
    written.until("write-canary")
    said = "complete, but for the last rows of a.log, a.raw, 1 more"
    assert status_of(written)["proof_chain"] == said
    report = report_document("orders", told(written), Verified(0, ""), ())
    assert dict(headline(report))["chain of proof"] == said


def test_a_proxy_whose_places_nobody_asked_is_named_where_the_chain_is_called_complete() -> None:
    written = Written().step("check-all", blockers=0, places_unasked=["edge", "ours"])
    written.step("check-gate").until("write-canary")
    said = "complete, but for the places of edge, ours, which nobody asked before"
    report = report_document("orders", told(written), Verified(0, ""), ())
    assert dict(headline(report))["chain of proof"] == said


def test_writes_are_held_from_the_first_intent_until_they_are_let_go() -> None:
    written = whole()
    steps = {one.step.name: one for one in told(written).steps}
    window = (steps["release-proxies"].ended - steps["hold-proxies"].began).total_seconds() * 1000
    assert told(written).held_ms == window
    held = [step.name for step in STEPS if step.holds_writes]
    assert window == pytest.approx(len(held) * 5 + (len(held) - 1))
    assert told(Written().until("make-durable")).held_ms is None
    assert told(Written().until("make-durable").aborted("no")).held_ms is not None
    assert told(Written().until("check-gate")).held_ms is None


def test_a_step_that_was_repeated_is_told_once_from_its_first_beginning() -> None:
    written = Written().write("check-all", Kind.INTENT).write("check-all", Kind.FAILED, error="away")
    (one,) = told(written).steps
    assert (one.state, one.tries, one.facts) == (State.FAILED, 1, {"error": "away"})
    (one,) = told(written.step("check-all")).steps
    assert (one.state, one.tries) == (State.DONE, 2)
    assert (one.began - START).total_seconds() == 0.001


def test_phases_are_told_with_their_times() -> None:
    times = phase_times(told(whole()))
    assert set(times) >= {"PREFLIGHT", "FENCING", "SEALING", "VERIFYING"}
    assert times["PREFLIGHT"] == pytest.approx(5)


@pytest.mark.parametrize(
    ("last", "side"),
    [("check-gate", "source"), ("close-old", None), ("commit", None), ("open-new", "target"), ("watch", "target")],
)
def test_the_writable_side_is_the_one_that_was_opened_last(last: str, side: str | None) -> None:
    assert writable(attempts_of(Written().until(last).entries)) == side


def test_an_abort_leaves_the_old_side_writable_and_a_rollback_the_source() -> None:
    assert writable(attempts_of(Written().until("see-marker").aborted("no").entries)) == "source"
    back = whole().event(Event.ROLLBACK, reason="slow").again(Direction.BACK)
    back.event(Event.ROLLBACK, reason="slow")
    assert writable(attempts_of(back.entries)) == "target"
    back.until("close-old")
    assert writable(attempts_of(back.entries)) is None
    back.until("retire-way-back").event(Event.RETURNED)
    assert writable(attempts_of(back.entries)) == "source"
    assert status_of(back)["result"] == "rolled back"


def test_after_a_rollback_status_and_report_say_that_the_audit_is_begun_anew() -> None:
    back = whole().event(Event.ROLLBACK, reason="slow").again(Direction.BACK).event(Event.ROLLBACK, reason="slow")
    back.until("retire-way-back").event(Event.RETURNED)
    status = status_of(back, owed=1)
    assert [step.split(":")[0] for step in status["next_steps"]][1] == "auditor prepare"
    assert status_of(back)["next_steps"][0].startswith("auditor prepare: the audit ended at the commit")
    document = report_document("orders", attempts_of(back.entries)[-1], Verified(9, "h", ()), ())
    assert "auditor prepare: the audit ended at the commit" in markdown(document)
    assert "auditor prepare" not in markdown(report_document("orders", told(whole()), Verified(9, "h", ()), ()))


def test_the_status_says_what_to_do_next() -> None:
    running = Lease(3, "ann@host", 8.0)
    over = replace(running, left_seconds=0.0)
    assert status_of(Written().until("see-marker"), lease=running)["next_steps"] == ["auditor cutover status --watch"]
    stopped = status_of(Written().until("see-marker"), lease=over)
    assert (stopped["running"], stopped["holder"], stopped["writes_held"]) == (False, None, True)
    assert stopped["next_steps"] == ["auditor cutover start"]
    owed = status_of(Written().until("see-marker").aborted("no"), owed=1)
    assert owed["next_steps"][1] == "auditor cutover approve, then auditor cutover start --acknowledge 1"
    guarded = status_of(whole().write("watch", Kind.INTENT), lease=running)
    assert [step.split(",")[0] for step in guarded["next_steps"]] == [
        "auditor cutover finalize", "auditor cutover rollback",
    ]  # fmt: skip
    stuck = status_of(whole().event(Event.UNCLEAR, reason="two sides open"), lease=over)
    assert (stuck["phase"], stuck["reason"]) == ("STUCK", "two sides open")
    assert "docs/runbook.md" in stuck["next_steps"][0]


def test_what_was_asked_and_not_answered_is_shown() -> None:
    asked = Request(1, Wish.ABORT, "bob", "page", START), Request(2, Wish.POSTPONE, "bob", "", START, answer="done")
    assert [one["wish"] for one in status_of(Written().until("check-all"), requests=asked)["requests"]] == ["abort"]


def test_every_document_is_json_without_oddities() -> None:
    document = report_document("orders", told(whole()), Verified(9, "h", ()), ())
    json.dumps(document, allow_nan=False)
    json.dumps(status_of(whole()), allow_nan=False)
    assert document["result"] == "committed"
    assert document["proof_chain"] == "complete"
    assert document["journal"] == {"entries": 9, "head": "h", "intact": True, "problems": []}
    assert document["approvals"] == [{"by": "ann", "digest": "sha256:p"}]


def test_what_the_holder_measured_counts_and_not_the_journals_clock() -> None:
    written = Written().until("route-proxies").step("release-proxies", held_ms=77.5)
    assert told(written).held_ms == 77.5


def test_a_failed_attempt_is_owed_until_somebody_acknowledges_it() -> None:
    def owes(written: Written, *requests: Request) -> int | None:
        return owed(attempts_of(written.entries), requests)

    known = Request(1, Wish.ACKNOWLEDGE, "ann", "", START, attempt=1)
    failed = Written().until("see-marker").aborted("no")
    assert owes(failed) == 1
    assert owes(failed, known) is None
    assert owes(Written().until("check-all").event(Event.REFUSED, reason="no")) is None
    assert owes(whole()) is None
    failed.again().until("see-marker").aborted("again")
    assert owes(failed, known) == 2
