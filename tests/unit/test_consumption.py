"""A PASS is consumed once, durably, or not at all; and the gate's writer says what it could not write."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from auditor.consumption import ConsumptionRefused, Receipt, holder, receipts, standing
from auditor.verdict_recorder import WAITING, Evaluation, VerdictRecorder
from auditor.verdicts import Anchor, Draft, Kind, seal_all
from tests.helpers import wait_for
from tests.verdict_logs import NOW, MemoryVerdictLog, verdict


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> MemoryVerdictLog:
    return MemoryVerdictLog()


Starter = Callable[..., VerdictRecorder]


@pytest.fixture
def start(log: MemoryVerdictLog, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    """Start gates' writers on one log, as after a restart; all are stopped at the end."""
    monkeypatch.setattr("auditor.verdict_recorder.RETRY_SECONDS", 0.02)
    started: list[VerdictRecorder] = []

    def start_one(closed: Callable[[], str | None] = lambda: None) -> VerdictRecorder:
        number = len(started)
        started.append(VerdictRecorder(log.open, {"incarnation": f"gate-{number}"}, closed, clock))
        started[-1].start()
        return started[-1]

    yield start_one
    for recorder in started:
        recorder.stop()


def evaluation(number: int = 0, status: str = "PASS", at: float = NOW) -> Evaluation:
    document = verdict(number, status, at)
    return Evaluation(document["id"], status, at, at + 15, document)


def note(recorder: VerdictRecorder, one: Evaluation, changed: bool = True) -> str:
    recorder.note(one, changed, {})
    return one.id


def refusal(recorder: VerdictRecorder, name: str, cutover: str) -> ConsumptionRefused:
    with pytest.raises(ConsumptionRefused) as caught:
        recorder.request(name, cutover).result(5)
    return caught.value


def test_a_pass_is_consumed_once_and_the_receipt_is_in_the_log(start: Starter, log: MemoryVerdictLog) -> None:
    recorder = start()
    name = note(recorder, evaluation())
    receipt = recorder.request(name, "friday").result(5)
    (entry,) = log.entries("consumed")
    assert (entry.seq, entry.hash, name, "friday", NOW + 15) == (
        receipt.seq, receipt.hash, receipt.id, receipt.cutover, receipt.valid_until
    )  # fmt: skip
    assert "friday" == recorder.consumed_by(NOW)
    assert recorder.consumed_by(NOW + 16) is None


def test_the_same_cutover_gets_the_same_receipt_also_when_it_has_expired(start: Starter, clock: Clock) -> None:
    recorder = start(lambda: "closed" if clock.now > NOW else None)
    name = note(recorder, evaluation())
    first = recorder.request(name, "friday").result(5)
    clock.now += 3600
    assert first == recorder.request(name, "friday").result(5)


def test_another_cutover_gets_nothing_while_the_receipt_is_valid(start: Starter, clock: Clock) -> None:
    recorder = start()
    name, later = note(recorder, evaluation(0)), note(recorder, evaluation(1, at=NOW + 1))
    clock.now += 2
    recorder.request(name, "friday").result(5)
    for wanted in (name, later):
        refused = refusal(recorder, wanted, "saturday")
        assert ("already-consumed", 409) == (refused.code, refused.status)
        assert "already consumed by friday" in str(refused)
    clock.now = NOW + 20
    assert "saturday" == recorder.request(note(recorder, evaluation(2, at=NOW + 19)), "saturday").result(5).cutover
    assert "already-consumed" == refusal(recorder, name, "saturday").code  # for ever


def test_a_receipt_survives_the_gate(start: Starter, clock: Clock) -> None:
    first = start()
    name = note(first, evaluation())
    receipt = first.request(name, "friday").result(5)
    first.stop()
    second = start()
    assert receipt == second.request(name, "friday").result(5)
    assert "already-consumed" == refusal(second, name, "saturday").code
    assert "friday" == second.consumed_by(NOW + 1)


@pytest.mark.parametrize(
    ("one", "at", "code"),
    [
        (evaluation(status="FAIL"), NOW, "verdict-not-pass"),
        (evaluation(status="INCONCLUSIVE"), NOW, "verdict-not-pass"),
        (evaluation(), NOW + 16, "verdict-expired"),
        (evaluation(), NOW - 16, "verdict-expired"),
    ],
)
def test_only_a_pass_within_its_validity_is_consumed(
    start: Starter, log: MemoryVerdictLog, clock: Clock, one: Evaluation, at: float, code: str
) -> None:
    recorder = start()
    note(recorder, one)
    clock.now = at
    refused = refusal(recorder, one.id, "friday")
    assert (code, 409) == (refused.code, refused.status)
    assert [] == log.entries("consumed")


def test_what_the_gate_does_not_remember_is_unknown(start: Starter) -> None:
    recorder = start()
    refused = refusal(recorder, "v_0000000000000000", "friday")
    assert ("verdict-unknown", 404) == (refused.code, refused.status)


def test_a_pass_that_is_one_no_more_is_not_consumed(start: Starter, log: MemoryVerdictLog) -> None:
    recorder = start(lambda: "FAIL: 1 open")
    refused = refusal(recorder, note(recorder, evaluation()), "friday")
    assert ("gate-closed", 409) == (refused.code, refused.status)
    assert "1 open" in str(refused)
    assert [] == log.entries("consumed")


def test_without_the_log_there_is_no_receipt_and_everything_else_goes_on(start: Starter, log: MemoryVerdictLog) -> None:
    recorder = start()
    name = note(recorder, evaluation())
    wait_for(lambda: log.entries("verdict"), 5, "the first entry")
    log.away = True
    refused = refusal(recorder, name, "friday")
    assert ("log-unavailable", 503) == (refused.code, refused.status)
    assert "the disk is gone" in str(recorder.error)
    note(recorder, evaluation(1))
    log.away = False
    wait_for(lambda: 2 == len(log.entries("verdict")), 5, "what waited")
    assert recorder.request(name, "friday").result(5)
    wait_for(lambda: recorder.error is None, 5, "the good news")
    assert [None, "the disk is gone"] == [entry.body["after"] for entry in log.entries("started")]


def test_the_consumed_evaluation_is_in_the_log_also_when_its_picture_was_not_new(
    start: Starter, log: MemoryVerdictLog
) -> None:
    recorder = start()
    note(recorder, evaluation(0))
    name = note(recorder, evaluation(1), changed=False)
    recorder.request(name, "friday").result(5)
    assert name in [entry.id for entry in log.entries("verdict")]


def test_an_unchanged_picture_is_recorded_once_a_minute(start: Starter, log: MemoryVerdictLog, clock: Clock) -> None:
    recorder = start()
    for second in range(150):
        recorder.note(evaluation(0, at=NOW + second), False, {})
    wait_for(lambda: 3 == len(log.entries("verdict")), 5, "three entries")
    assert [NOW, NOW + 60, NOW + 120] == [entry.at for entry in log.entries("verdict")]


def test_overrides_are_recorded_when_they_change(start: Starter, log: MemoryVerdictLog) -> None:
    recorder = start()
    given = {"o_1": {"condition": "lag-ms", "owner": "ann"}}
    for overrides in ({}, given, given, {}):
        recorder.note(evaluation(), False, overrides)
    wait_for(lambda: 2 == len(log.entries("override")), 5, "both entries")
    assert [given, {}] == [entry.body["overrides"] for entry in log.entries("override")]


def test_a_start_is_recorded_with_what_was_damaged(start: Starter, log: MemoryVerdictLog) -> None:
    log.stored.append("torn")
    start()
    wait_for(lambda: len(log.stored) == 2, 5, "the start")
    log.stored.pop(0)
    (entry,) = log.entries("started")
    assert ("gate-0", 1) == (entry.body["incarnation"], len(entry.body["damaged"]))


def test_what_had_to_be_dropped_is_counted_in_the_log(start: Starter, log: MemoryVerdictLog) -> None:
    log.away = True
    recorder = start()
    for number in range(WAITING + 5):
        note(recorder, evaluation(number))
    log.away = False
    wait_for(lambda: len(log.entries("verdict")) == WAITING, 20, "what was kept")
    assert [5] == [entry.body["left_out"] for entry in log.entries("started") if "left_out" in entry.body]


def test_in_the_logs_order_the_first_of_two_gates_counts() -> None:
    def consumed(name: str, cutover: str, at: float) -> Draft:
        return Draft(Kind.CONSUMED, name, {"cutover": cutover, "valid_until": NOW + 15}, at)

    drafts = [consumed("v_a", "friday", NOW + 1), consumed("v_b", "saturday", NOW), consumed("v_a", "sunday", NOW + 90)]
    counted = receipts(seal_all(drafts, Anchor()))
    assert ["friday"] == [one.cutover for one in counted]
    found: Any = holder(counted, "v_b", "saturday", NOW + 1)
    assert "friday" == found.cutover
    assert standing(counted, NOW + 16) is None
    assert isinstance(standing(counted, NOW), Receipt)
