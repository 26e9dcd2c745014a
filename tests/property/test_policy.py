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
from comparators.checklist import CHECKS, GROUPS
from comparators.preflight import Check, ItemStatus
from orchestrator.conditions import CONDITIONS, Condition, Outcome, Status
from orchestrator.policy import DEFAULTS, Dwell, Limits, Verdict, decide, worst
from orchestrator.preflight import ITEMS
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
PROCESSES = ("sampler-source", "sampler-target", "core", "sweeper", "prober")
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
    *(("sampler/target", "scope", n, "since") for n in (0, 1)),
    *((f"core/{partition}", "at") for partition in (0, 1)),
    *((f"progress/{partition}", "tallies") for partition in (0, 1)),
    *((f"progress/{partition}", "tallies", name) for partition in (0, 1) for name in ("transactions", "matched")),
    *((f"process/{name}", field) for name in PROCESSES for field in ("incarnation", "heartbeat")),
    *((table, field) for table in TABLES for field in COVERAGE),
    *(("canary/receipt", field) for field in RECEIPT),
    *(("sweeper", field) for field in ("at", "state", "tables")),
]  # fmt: skip
RECORDS = sorted(set(good_records()) - {"supervisor/worker"})
PROBES = tuple(f"probe/{group}" for group in GROUPS)
NEEDED += [(key, field) for key in PROBES for field in ("at", "generation", "items")]
NEEDED += [("probe/lag", "figures", name) for name in ("marker_p99_ms", "marker_probes", "stalled_seconds")]
NEEDED += [
    ("probe/capacity", "figures", name)
    for name in ("headroom_ratio", "drain_bytes_per_second", "wal_peak_bytes_per_second")
]
SLOW = (*TABLES, "canary/receipt", *PROBES)
"""Records that may be older than those of a process."""
DATED = [path for path in NEEDED if path[-1] in ("at", "planted_at", "finished_at", "heartbeat")]
TIMES = [path for path in DATED if path[0] not in ("baseline", *SLOW)]
SLOW_TIMES = [path for path in DATED if path[0] in SLOW]
WORDS = ("incarnation", "enabled", "worker", "exists", "reading", "window", "slot", "table", "state", "items")
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
    [
        "read_at", "baseline", "source", "target", "apply", "tally", "findings", "gaps", "dead_letters",
        "caught_up_age", "alerts",
    ],
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


# What every condition needs.


@pytest.mark.parametrize(
    ("condition", "need"), [(condition, need) for condition in CONDITIONS for need in condition.needs]
)
def test_a_condition_does_not_hold_without_what_it_needs(condition: Condition, need: str) -> None:
    nothing: Any = {"processes": {}, "cores": {}, "coverage": {}, "probes": {}}.get(need)
    seen = replace(evidence(good_records()), **{need: nothing})
    verdict, _ = decide(seen, AT_ONCE, NOW)
    found = next(one for one in verdict.conditions if one.name == condition.name)
    assert found.status is Status.INCONCLUSIVE


# The checklist.


def of_group(records: dict[str, Any], group: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = records[f"probe/{group}"]["items"]
    return items


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("found", list(ItemStatus))
def test_an_item_closes_the_gate_exactly_when_it_blocks(check: Check, found: ItemStatus) -> None:
    records = good_records()
    for item in of_group(records, check.group):
        if item["name"] == check.name:
            item["status"] = str(found)
    expected = Status.INCONCLUSIVE if found.blocks else Status.PASS
    if check.name == "apply-moving" and found is not ItemStatus.UNKNOWN:
        expected = Status.PASS  # its number is that of apply-stall
    assert status(evidence(records)) is expected


@given(st.data())
def test_a_checklist_that_is_not_whole_is_never_a_pass(data: st.DataObject) -> None:
    records = good_records()
    group = data.draw(st.sampled_from(sorted(GROUPS)))
    items = of_group(records, group)
    at = data.draw(st.integers(0, len(items) - 1))
    odd = data.draw(st.sampled_from([
        "gone", "twice", None, 7, "text", {}, {"name": 5}, {"status": "fine"}, {"status": None}, {"sentence": None},
        {"name": "of-no-list"}, {"count": -1}, {"count": True}, {"subjects": "abc"},
    ]))  # fmt: skip
    if odd == "gone":
        del items[at]
    elif odd == "twice":
        items.append(items[at])
    else:
        items[at] = {**items[at], **odd} if isinstance(odd, dict) and odd else odd
    assert status(evidence(records)) is Status.INCONCLUSIVE


@given(st.sampled_from(sorted(GROUPS)), st.sampled_from(["gone", "", "the server closed", 0, False, []]))
def test_a_look_that_failed_or_does_not_say_is_never_a_pass(group: str, error: Any) -> None:
    records = good_records()
    records[f"probe/{group}"]["error"] = error
    if error == "gone":
        del records[f"probe/{group}"]["error"]
    assert status(evidence(records)) is Status.INCONCLUSIVE


@given(st.sampled_from(sorted(GROUPS)), st.floats(0.01, 1e9))
def test_a_look_older_than_its_group_allows_is_never_a_pass(group: str, more: float) -> None:
    records = good_records()
    records[f"probe/{group}"]["at"] = NOW - GROUPS[group].max_age - more
    assert status(evidence(records)) is Status.INCONCLUSIVE


@given(st.floats(-3.0, 1e9))
def test_a_change_of_the_schema_is_proved_only_by_sweeps_that_began_after_it(ago: float) -> None:
    records = good_records()
    records["baseline"]["at"] = 0.0
    records["probe/drift"]["figures"]["changed_at"] = NOW - ago
    oldest = min(records[table]["at"] for table in TABLES)
    expected = Status.PASS if oldest > NOW - ago + 3.0 else Status.INCONCLUSIVE
    assert status(evidence(records)) is expected


# Overrides.

WHOLE = {"owner": "ann", "reason": "known", "at": NOW - 5, "until": NOW + 60}


def over_everything(records: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Add an override of every condition, and of every item of every condition."""
    given = [(condition.name, None) for condition in CONDITIONS] + [("dwell", None)]
    given += [(name, item) for name, items in ITEMS.items() for item in items]
    return records | {
        f"override/{number}": WHOLE | {"condition": name, "item": item} | changes
        for number, (name, item) in enumerate(given)
    }


@given(st.sets(st.sampled_from(RECORDS), min_size=1))
def test_overrides_never_stand_in_for_records_that_are_missing(lacking: set[str]) -> None:
    records = {key: value for key, value in good_records().items() if key not in lacking}
    assert status(evidence(over_everything(records))) is Status.INCONCLUSIVE


@given(st.sampled_from(NEEDED), st.sampled_from([None, math.nan, -1, {}]))
def test_overrides_never_stand_in_for_what_is_not_known(path: tuple[Any, ...], value: Any) -> None:
    records = good_records()
    place, name = placed(records, path)
    place[name] = value
    assert status(evidence(over_everything(records))) is Status.INCONCLUSIVE


@given(st.sampled_from([*TIMES, *SLOW_TIMES]), st.sampled_from([-4.0, 5e8]))
def test_overrides_never_make_old_or_future_evidence_good(path: tuple[Any, ...], age: float) -> None:
    records = good_records()
    place, name = placed(records, path)
    place[name] = NOW - age
    verdict, _ = decide(evidence(over_everything(records)), AT_ONCE, NOW)
    if verdict.status is Status.PASS:  # the one age that somebody may accept
        assert {one.condition for one in verdict.overrides} == {"coverage-age"}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
@pytest.mark.parametrize("found", [ItemStatus.BLOCKS_CAPACITY, ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.UNKNOWN])
def test_an_override_opens_for_items_that_may_be_accepted_and_are_known(check: Check, found: ItemStatus) -> None:
    records = good_records()
    for item in of_group(records, check.group):
        if item["name"] == check.name:
            item["status"] = str(found)
    accepted = check.overridable and found is not ItemStatus.UNKNOWN
    if check.name == "apply-moving":
        accepted = found is not ItemStatus.UNKNOWN
    assert status(evidence(over_everything(records))) is (Status.PASS if accepted else Status.INCONCLUSIVE)


LAGGING: dict[str, tuple[str, tuple[Any, ...], Any]] = {
    "lag-bytes": ("sampler/target", ("lag_bytes",), 2 << 20),
    "lag-ms": ("sampler/target", ("lag_ms", "p95"), 11.0),
    "in-window-share": ("sampler/target", ("window", "in_window"), 1),
    "marker-ms": ("probe/lag", ("figures", "marker_p99_ms"), 11.0),
    "apply-headroom": ("probe/capacity", ("figures", "headroom_ratio"), 0.5),
}


def over_limit(name: str) -> dict[str, Any]:
    records = good_records()
    key, path, value = LAGGING[name]
    place, last = placed(records[key], path)
    place[last] = value
    return records


@given(
    st.sampled_from(sorted(LAGGING)),
    st.fixed_dictionaries({}, optional={
        "owner": st.sampled_from(["ann", "", " ", None, 7]), "reason": st.sampled_from(["known", "", None, []]),
        "at": st.sampled_from([NOW - 5, NOW + 2, NOW + 4, None, "now", math.nan]),
        "until": st.sampled_from([NOW + 60, NOW, NOW - 1, None, math.nan, math.inf, 1e300, "2099-01-01", True]),
        "condition": st.sampled_from(["lag-bytes", "lag-ms", None, 5]),
        "item": st.sampled_from([None, "marker-path", 7, ""]),
    }),
)  # fmt: skip
def test_an_override_counts_only_when_it_is_whole(name: str, given_: dict[str, Any]) -> None:
    override = WHOLE | {"condition": name} | given_
    verdict, _ = decide(evidence(over_limit(name) | {"override/o_1": override}), AT_ONCE, NOW)
    whole = (
        override["owner"] == "ann" and override["reason"] == "known" and override["at"] in (NOW - 5, NOW + 2)
        and override["until"] == NOW + 60 and override["condition"] == name and override.get("item") is None
    )  # fmt: skip
    assert verdict.status is (Status.PASS if whole else Status.INCONCLUSIVE)
    assert [one.id for one in verdict.overrides] == (["o_1"] if whole else [])


@given(st.sampled_from([condition for condition in CONDITIONS if not condition.overridable]))
def test_an_invariant_is_never_overridden(condition: Condition) -> None:
    seen = evidence(over_everything(good_records()))
    limits = replace(AT_ONCE, conditions={**AT_ONCE.conditions, condition.name: math.nan})
    assert decide(seen, limits, NOW)[0].status is not Status.PASS


# Hysteresis.


@given(st.lists(st.floats(0, 20), min_size=1, max_size=30), st.sampled_from(["lag-ms", "lag-bytes", "marker-ms"]))
def test_hysteresis_never_opens_earlier_and_opens_again_below_its_share(values: list[float], name: str) -> None:
    with_it, without = Dwell(), Dwell()
    free = replace(AT_ONCE, hysteresis=1.0)
    closed = False
    for value in values:
        records = good_records()
        key, path, _ = LAGGING[name]
        place, last = placed(records[key], path)
        figure = round(value / 10 * DEFAULTS[name])
        place[last] = figure
        held, with_it = decide(evidence(records), AT_ONCE, NOW, with_it)
        plain, without = decide(evidence(records), free, NOW, without)
        closed = figure > DEFAULTS[name] or (closed and figure > 0.8 * DEFAULTS[name])
        assert held.status is (Status.INCONCLUSIVE if closed else Status.PASS)
        assert plain.status is Status.PASS or held.status is Status.INCONCLUSIVE


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
