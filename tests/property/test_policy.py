"""Whatever is missing, old, dated ahead or senseless: the gate never says PASS."""

import math
import random
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.evidence import Expected, fold
from orchestrator.conditions import CONDITIONS, Outcome, Status
from orchestrator.policy import Dwell, Limits, Verdict, decide, worst
from orchestrator.seen import Evidence
from tests.helpers_records import FINDING, NOW, covered, good_records, suspect

EXPECTED = Expected("orders", partitions=2, configuration="c0ffee")
AT_ONCE = replace(Limits(), dwell_seconds=0.0, evaluations=1)

SAMPLER = [("at",), ("position",), ("reading",), ("slot",), ("slot", "exists"), ("slot", "retained_bytes")]
TARGET = [
    ("applied",), ("lag_bytes",), ("lag_ms",), ("lag_ms", "p95"), ("lag_ms", "samples"), ("window",),
    ("window", "in_window"), ("window", "measured"), ("window", "unmeasured"), ("window", "span_seconds"),
    ("subscriptions",), ("unpublished",), ("unknown_subscriptions",), ("scope",),
]  # fmt: skip
SUBSCRIPTION = ("enabled", "worker", "tables_not_ready")
PROCESSES = ("sampler-source", "sampler-target", "core", "sweeper")
TABLES = ("coverage/public.orders", "coverage/public.lines")
COVERAGE = (
    "table", "state", "generation", "sweep", "rows", "verified", "unverified", "hot", "different", "through", "at",
    "finished_at",
)
RECEIPT = ("at", "planted_at", "transaction_ms", "row_ms", "n", "generation")
NEEDED: list[tuple[Any, ...]] = [
    *(("baseline", name) for name in ("floor", "at", "generation")),
    *((f"sampler/{side}", *path) for side in ("source", "target") for path in SAMPLER if path != ("position",)),
    *(("sampler/target", *path) for path in TARGET),
    *(("sampler/target", "subscriptions", n, name) for n in (0, 1) for name in SUBSCRIPTION),
    *((f"core/{partition}", "at") for partition in (0, 1)),
    *((f"progress/{partition}", "tallies") for partition in (0, 1)),
    *((f"progress/{partition}", "tallies", name) for partition in (0, 1) for name in ("transactions", "matched")),
    *((f"process/{name}", field) for name in PROCESSES for field in ("incarnation", "heartbeat")),
    *((table, field) for table in TABLES for field in COVERAGE),
    *(("canary/receipt", field) for field in RECEIPT),
    *(("sweeper", field) for field in ("at", "state", "tables")),
]  # fmt: skip
RECORDS = sorted(set(good_records()) - {"supervisor/worker"})
SLOW = (*TABLES, "canary/receipt")
"""Records that may be older than those of a process."""
DATED = [path for path in NEEDED if path[-1] in ("at", "planted_at", "finished_at", "heartbeat")]
TIMES = [path for path in DATED if path[0] not in ("baseline", *SLOW)]
SLOW_TIMES = [path for path in DATED if path[0] in SLOW]
WORDS = ("incarnation", "enabled", "worker", "exists", "reading", "window", "slot", "table", "state")
NUMBERS = [path for path in NEEDED if path[-1] not in WORDS]


def evidence(records: dict[str, Any], now: float = NOW) -> Evidence:
    return replace(fold(records, now, EXPECTED), caught_up_age=0.2)


def status(seen: Evidence, now: float = NOW) -> Status:
    return decide(seen, AT_ONCE, now)[0].status


def placed(records: dict[str, Any], path: tuple[Any, ...]) -> tuple[Any, Any]:
    place: Any = records
    for name in path[:-1]:
        place = place[name]
    return place, path[-1]


def test_nothing_wrong_is_a_pass() -> None:
    verdict, _ = decide(evidence(good_records()), AT_ONCE, NOW)
    assert verdict.status is Status.PASS, verdict.reasons
    assert verdict.reasons == ()
    assert verdict.next_steps == ()
    assert verdict.sample.transactions == 400
    assert verdict.sample.bound_table == "public.lines"
    assert verdict.sample.bound_95 == pytest.approx(1 - 0.05 ** (1 / 80))


@given(st.sets(st.sampled_from(RECORDS), min_size=1))
def test_without_any_of_the_records_there_is_no_pass(lacking: set[str]) -> None:
    records = {key: value for key, value in good_records().items() if key not in lacking}
    assert status(evidence(records)) is Status.INCONCLUSIVE


@given(
    st.sets(st.sampled_from(NEEDED), min_size=1),
    st.sampled_from([None, math.nan, math.inf, -math.inf, -1, "soon", {}, "gone"]),
)
def test_a_field_that_is_missing_or_senseless_is_never_a_pass(paths: set[tuple[Any, ...]], value: Any) -> None:
    records = good_records()
    for path in sorted(paths, key=len, reverse=True):
        place, name = placed(records, path)
        if value == "gone":
            place.pop(name, None)
        else:
            place[name] = value
    if value == "soon" and all(path[-1] == "incarnation" for path in paths):
        return  # any text names an incarnation
    assert status(evidence(records)) is Status.INCONCLUSIVE


@given(st.sets(st.sampled_from(TIMES), min_size=1), st.floats(5.01, 1e9))
def test_old_evidence_is_never_a_pass(paths: set[tuple[Any, ...]], age: float) -> None:
    records = good_records()
    for path in paths:
        place, name = placed(records, path)
        place[name] = NOW - age
    assert status(evidence(records)) is Status.INCONCLUSIVE


@given(st.sets(st.sampled_from(SLOW_TIMES), min_size=1), st.floats(86400.01, 1e9))
def test_old_sweeps_and_an_old_canary_are_never_a_pass(paths: set[tuple[Any, ...]], age: float) -> None:
    records = good_records()
    records["baseline"]["at"] = 0.0
    for path in paths:
        place, name = placed(records, path)
        place[name] = NOW - age
    assert status(evidence(records)) is Status.INCONCLUSIVE


@given(st.sets(st.sampled_from([*TIMES, *SLOW_TIMES]), min_size=1), st.floats(3.01, 1e9))
def test_evidence_dated_ahead_is_never_a_pass(paths: set[tuple[Any, ...]], ahead: float) -> None:
    records = good_records()
    for path in paths:
        place, name = placed(records, path)
        place[name] = NOW + ahead
    assert status(evidence(records)) is Status.INCONCLUSIVE


@pytest.mark.parametrize(
    "name",
    ["read_at", "baseline", "source", "target", "apply", "tally", "findings", "gaps", "dead_letters", "caught_up_age"],
)
def test_evidence_without_a_part_is_never_a_pass(name: str) -> None:
    lacking: Any = {name: None}
    assert status(replace(evidence(good_records()), **lacking)) is Status.INCONCLUSIVE


@pytest.mark.parametrize("age", [10.01, math.nan, math.inf, -1.0])
def test_an_audit_that_is_behind_is_never_a_pass(age: float) -> None:
    assert status(replace(evidence(good_records()), caught_up_age=age)) is Status.INCONCLUSIVE


@pytest.mark.parametrize("now", [math.nan, math.inf, -1.0, 0.0])
def test_a_clock_that_makes_no_sense_is_never_a_pass(now: float) -> None:
    assert status(evidence(good_records()), now) is Status.INCONCLUSIVE


@given(st.sampled_from(CONDITIONS), st.sampled_from([math.nan, -1.0]))
def test_a_limit_that_makes_no_sense_is_never_a_pass(condition: Any, limit: float) -> None:
    limits = replace(AT_ONCE, conditions={**AT_ONCE.conditions, condition.name: limit})
    if condition.at_least and limit < 0:
        return  # below any share; Limits.of refuses it
    assert decide(evidence(good_records()), limits, NOW)[0].status is not Status.PASS


@given(st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(source: random.Random) -> None:
    records = good_records() | {f"suspect/{FINDING}": suspect(state="confirmed"), "gap/a": {"open": True}, "gap/b": {}}
    items = list(deepcopy(records).items())
    source.shuffle(items)
    shuffled = dict(items)
    for name in ("subscriptions", "scope"):
        source.shuffle(shuffled["sampler/target"][name])
    assert decide(evidence(records), AT_ONCE, NOW) == decide(evidence(shuffled), AT_ONCE, NOW)


def outcome(part: Status) -> Outcome:
    return Outcome("x", part, 0, 0, "", 0, "")


@given(st.sampled_from([*TABLES, "canary/receipt"]), st.integers(0, 10).filter(lambda generation: generation != 1))
def test_a_record_of_another_baseline_is_never_a_pass(key: str, generation: int) -> None:
    records = good_records()
    records[key]["generation"] = generation
    assert status(evidence(records)) is Status.INCONCLUSIVE


@given(
    st.sampled_from(TABLES),
    st.sampled_from(
        [
            {"verified": 1001}, {"rows": 1001}, {"verified": 999}, {"unverified": 1}, {"hot": 1}, {"different": 1},
            {"through": 9_999}, {"finished_at": NOW - 41}, {"at": NOW - 29}, {"at": NOW - 104}, {"sweep": 0},
            {"table": "public.other"}, {"state": "error"}, {"state": "skipped"}, {"state": "another word"},
        ]
    ),
)  # fmt: skip
def test_a_sweep_that_contradicts_itself_or_leaves_rows_out_is_never_a_pass(
    key: str, change: dict[str, Any]
) -> None:
    records = good_records()
    records[key] = covered(key.removeprefix("coverage/")) | change
    assert status(evidence(records)) is Status.INCONCLUSIVE


@given(
    st.fixed_dictionaries({}, optional={
        "owner": st.sampled_from(["ana", "", None, 7]), "reason": st.sampled_from(["archived", "", None]),
        "until": st.sampled_from([NOW + 1, NOW, NOW - 1, None, math.nan, math.inf, "2099-01-01", True]),
    })
)  # fmt: skip
def test_a_skipped_table_needs_an_owner_a_reason_and_an_end_to_come(accepted: dict[str, Any]) -> None:
    records = good_records()
    records["coverage/public.lines"] = covered("public.lines", state="skipped", accepted=accepted)
    whole = accepted == {"owner": "ana", "reason": "archived", "until": NOW + 1}
    assert status(evidence(records)) is (Status.PASS if whole else Status.INCONCLUSIVE)


@given(st.lists(st.sampled_from(Status)))
def test_the_worst_part_wins(parts: list[Status]) -> None:
    result = worst(tuple(outcome(part) for part in parts))
    assert (result is Status.FAIL) == (Status.FAIL in parts)
    assert (result is Status.PASS) == (set(parts) == {Status.PASS})


@given(st.sets(st.sampled_from(RECORDS)))
def test_a_difference_in_hand_fails_whatever_else_is_unknown(lacking: set[str]) -> None:
    records = {key: value for key, value in good_records().items() if key not in lacking}
    records[f"suspect/{FINDING}"] = suspect(state="confirmed")
    verdict, _ = decide(evidence(records), AT_ONCE, NOW)
    assert verdict.status is Status.FAIL
    assert not verdict.needs_person
    assert any(FINDING in reason for reason in verdict.reasons)


@given(st.data())
def test_only_a_confirmed_finding_fails(data: st.DataObject) -> None:
    records = good_records()
    for path in sorted(data.draw(st.sets(st.sampled_from(NEEDED))), key=len, reverse=True):
        place, name = placed(records, path)
        place[name] = data.draw(st.sampled_from([None, 0, 10**12, -1, "x", [], {}])) if path in NUMBERS else None
    records[f"suspect/{FINDING}"] = suspect()
    assert status(evidence(records)) is not Status.FAIL


# The dwell time.


def history(steps: list[tuple[float, bool]], limits: Limits) -> list[Verdict]:
    """Evaluate good or bad evidence, each some seconds after the one before."""
    now, dwell, verdicts = NOW, Dwell(), []
    for after, good in steps:
        now += after
        seen = evidence(good_records(now), now)
        verdict, dwell = decide(seen if good else replace(seen, tally=None), limits, now, dwell)
        verdicts.append(verdict)
    return verdicts


@given(st.lists(st.tuples(st.floats(0.01, 3.0), st.booleans()), max_size=40), st.floats(0.0, 5.0), st.integers(1, 6))
def test_pass_needs_every_evaluation_of_the_dwell_time(
    steps: list[tuple[float, bool]], dwell_seconds: float, evaluations: int
) -> None:
    limits = replace(Limits(), dwell_seconds=dwell_seconds, evaluations=evaluations)
    held, count = 0.0, 0
    for (after, good), verdict in zip(steps, history(steps, limits), strict=True):
        unbroken = good and count > 0 and after <= 2.0 - 1e-6
        if good and abs(after - 2.0) <= 1e-6:
            return  # the clock's own resolution decides
        held, count = (held + after, count + 1) if unbroken else (0.0, int(good))
        if verdict.status is Status.PASS:
            assert good
            assert count >= evaluations
            assert held >= dwell_seconds - 1e-3
        elif good and count >= evaluations:
            assert held <= dwell_seconds + 1e-3
