"""The preflight command's table and exit code, and what the gate says of the checklist, of markers and of overrides."""

import json
from dataclasses import replace
from typing import Any

import pytest

from auditor.preflight import CODES, Looked, document, failed, groups_of, table, verdict_of
from auditor.status import screen, status_of
from comparators.checklist import CHECKS, GROUPS
from comparators.errors import SettingInvalid
from comparators.preflight import Item, ItemStatus, item_json
from orchestrator.conditions import Status, override_problem
from orchestrator.policy import Dwell, decide, verdict_json
from tests import gates
from tests.gates import AT_ONCE, evidence_of, part, with_figures, with_item
from tests.helpers_records import NOW, good_records, settings_of

FINE = Item("encodings-alike", ItemStatus.OK, "both UTF8")
INVALID = Item(
    "indexes-valid", ItemStatus.BLOCKS_CAPACITY, "indexes are not valid", "REINDEX INDEX CONCURRENTLY them",
    tuple(f"public.i{number}" for number in range(7)), 9,
)  # fmt: skip
OVERRIDE = {"condition": "lag-bytes", "item": None, "owner": "ann", "reason": "slow link", "at": NOW - 5}


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        ([ItemStatus.OK, ItemStatus.WARN], "ok"),
        ([ItemStatus.OK, ItemStatus.UNKNOWN], "unknown"),
        ([ItemStatus.UNKNOWN, ItemStatus.BLOCKS_CAPACITY], "blocked"),
        ([ItemStatus.BLOCKS_CORRECTNESS], "blocked"),
        ([], "unknown"),
    ],
)
def test_the_worst_item_decides_and_nothing_is_not_ok(statuses: list[ItemStatus], verdict: str) -> None:
    looked = [Looked("shape", tuple(Item(f"i{n}", one, "x") for n, one in enumerate(statuses)))]
    assert verdict_of(looked) == verdict
    assert verdict_of([]) == "unknown"
    assert CODES[verdict] in (0, 1, 3)


def test_a_probe_that_failed_leaves_each_of_its_items_unknown() -> None:
    looked = failed("slots", "the server is away")
    assert verdict_of([Looked("identity", (FINE,)), looked]) == "unknown"
    assert {item.name for item in looked.items} == {check.name for check in GROUPS["slots"].checks}
    assert "slots: the probe failed: the server is away" in table("orders", [looked], "unknown", colours=False)


def test_the_table_ends_with_what_blocks_its_objects_and_what_to_do() -> None:
    text = table("orders", [Looked("identity", (FINE,)), Looked("shape", (INVALID,))], "blocked", colours=False)
    end = text.split("orders: blocked: ")[1]
    assert "1 ok, 1 blocks-capacity" in end
    assert "what: public.i0, public.i1, public.i2, public.i3, public.i4 and 4 more" in end
    assert "do:   REINDEX INDEX CONCURRENTLY them" in end
    assert "\033" not in text
    assert "\033[31mblocks-capacity\033[0m" in table("orders", [Looked("shape", (INVALID,))], "blocked", colours=True)


def test_the_document_has_every_item() -> None:
    shown = document("orders", [Looked("shape", (INVALID,)), failed("slots", "away")], "blocked", NOW)
    assert (shown["migration"], shown["verdict"]) == ("orders", "blocked")
    assert shown["groups"][0] == {"name": "shape", "error": None, "items": [item_json(INVALID)]}
    assert shown["groups"][1]["error"] == "away"
    assert json.dumps(shown)


def test_a_group_that_does_not_exist_is_refused_with_those_that_do() -> None:
    assert groups_of("shape") == ("shape",)
    assert len(groups_of(None)) == 11
    with pytest.raises(SettingInvalid, match="shapes"):
        groups_of("shapes")


def test_every_check_has_a_name_of_its_own_and_its_group() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    for name, group in GROUPS.items():
        assert group.checks
        assert {check.group for check in group.checks} == {name}


# What the gate says.


def test_a_reason_names_item_objects_and_remedy_within_bounds() -> None:
    verdict = gates.verdict_of(with_item(good_records(), INVALID))
    seen = part(verdict, "preflight-shape")
    assert (seen.status, seen.value) == (Status.INCONCLUSIVE, 1)
    words = "indexes-valid: indexes are not valid (public.i0, public.i1, public.i2 and 6 more); REINDEX"
    assert words in seen.reason
    assert verdict.needs_person
    assert "REINDEX INDEX CONCURRENTLY them" in verdict.next_steps
    long = replace(INVALID, sentence="x" * 5000, subjects=("y" * 5000,))
    assert len(part(gates.verdict_of(with_item(good_records(), long)), "preflight-shape").reason) < 1200


def test_a_warning_is_shown_and_closes_nothing() -> None:
    verdict = gates.verdict_of(with_item(good_records(), replace(INVALID, status=ItemStatus.WARN)))
    assert verdict.status is Status.PASS
    assert "warning: indexes-valid: indexes are not valid" in part(verdict, "preflight-shape").reason


def test_what_is_not_known_needs_a_person_where_something_can_be_done() -> None:
    for remedy, person in (("GRANT pg_monitor to it", True), ("", False)):
        item = Item("disk-target", ItemStatus.UNKNOWN, "not known", remedy)
        assert gates.verdict_of(with_item(good_records(), item)).needs_person is person


def test_a_lack_that_may_pass_by_itself_needs_no_person() -> None:
    item = Item("disk-target", ItemStatus.BLOCKS_CAPACITY, "the disk is full", "free space")
    assert not gates.verdict_of(with_item(good_records(), item)).needs_person


def test_without_probes_their_conditions_need_a_person() -> None:
    verdict = gates.verdict_of(probing=False)
    for name in ("prober-alive", "preflight-shape", "marker-ms", "apply-stall", "apply-headroom", "ddl-drift"):
        assert "switched off" in part(verdict, name).reason
    assert "set probes.enabled: true" in verdict.next_steps


@pytest.mark.parametrize(
    ("group", "figures", "name", "words"),
    [
        ("lag", {"marker_p99_ms": 10.5}, "marker-ms", "10.5 ms over 200 markers"),
        ("lag", {"marker_probes": 99}, "marker-ms", "99 of 100 markers"),
        ("lag", {"stalled_seconds": 10.5}, "apply-stall", "no progress for 10.5 s"),
        ("lag", {"stalled_seconds": None}, "apply-stall", "not known"),
        ("capacity", {"headroom_ratio": 0.9}, "apply-headroom", "0.9 times the source's peak"),
        ("capacity", {"headroom_ratio": None}, "apply-headroom", "not known"),
    ],
)
def test_figures_of_probes_close_their_condition(group: str, figures: dict[str, Any], name: str, words: str) -> None:
    seen = part(gates.verdict_of(with_figures(good_records(), group, **figures)), name)
    assert seen.status is Status.INCONCLUSIVE
    assert words in seen.reason


def test_a_source_that_writes_next_to_nothing_needs_no_headroom() -> None:
    quiet = {"idle": 1, "headroom_ratio": None}
    watched = gates.verdict_of(with_figures(good_records(), "capacity", **quiet, observed_seconds=10.0))
    assert watched.status is Status.PASS


@pytest.mark.parametrize("seconds", [None, 0.0, 9.9])
def test_a_source_that_was_quiet_for_a_moment_may_only_be_between_two_writes(seconds: float | None) -> None:
    quiet = {"idle": 1, "headroom_ratio": None, "observed_seconds": seconds}
    seen = part(gates.verdict_of(with_figures(good_records(), "capacity", **quiet)), "apply-headroom")
    assert (Status.INCONCLUSIVE, None) == (seen.status, seen.value)


@pytest.mark.parametrize("figures", [{}, [1], {"changed_at": "1900000000"}, {"changed_at": float("nan")}, None])
def test_drift_that_does_not_say_when_the_schema_changed_is_not_known(figures: Any) -> None:
    records = good_records()
    records["probe/drift"] = records["probe/drift"] | {"figures": figures}
    seen = part(gates.verdict_of(records), "ddl-drift")
    assert (Status.INCONCLUSIVE, None) == (seen.status, seen.value)


def test_the_item_of_a_stall_names_the_process_and_a_limit_of_ones_own_counts() -> None:
    item = Item("apply-moving", ItemStatus.BLOCKS_CAPACITY, "no progress", "end it", ("walsender 7",), 1)
    records = with_item(with_figures(good_records(), "lag", stalled_seconds=12.0), item)
    assert "walsender 7" in part(gates.verdict_of(records), "apply-stall").reason
    patient = replace(AT_ONCE, conditions={**AT_ONCE.conditions, "apply-stall": 60.0})
    assert gates.verdict_of(records, patient).status is Status.PASS


def test_an_alert_of_another_system_closes_the_gate_by_its_name() -> None:
    records = good_records() | {"alert/f1": {"name": "PagesSlow", "severity": "critical", "since": NOW, "at": NOW}}
    assert "PagesSlow (critical)" in part(gates.verdict_of(records), "external-alerts").reason
    assert gates.verdict_of(good_records() | {"alert/f1": {}}).status is Status.INCONCLUSIVE


def test_an_override_is_shown_in_the_verdict_and_in_the_reason_and_ends() -> None:
    records = good_records() | {"override/o_1": OVERRIDE | {"until": NOW + 60}}
    records["sampler/target"]["lag_bytes"] = 2 << 20
    verdict = gates.verdict_of(records)
    assert verdict.status is Status.PASS
    assert "accepted by ann: slow link" in part(verdict, "lag-bytes").reason
    (shown,) = verdict_json(verdict)["overrides"]
    assert (shown["id"], shown["condition"], shown["owner"]) == ("o_1", "lag-bytes", "ann")
    records["override/o_1"]["until"] = NOW
    ended = gates.verdict_of(records)
    assert ended.status is Status.INCONCLUSIVE
    assert "the override by ann does not count: it has ended" in part(ended, "lag-bytes").reason
    assert verdict_json(ended)["overrides_refused"][0]["why"] == "it has ended"


def test_an_override_that_nothing_needs_is_not_shown_as_applied() -> None:
    verdict = gates.verdict_of(good_records() | {"override/o_1": OVERRIDE | {"until": NOW + 60}})
    assert verdict.overrides == ()
    assert [one["id"] for one in verdict_json(verdict)["overrides_standing"]] == ["o_1"]
    ended = gates.verdict_of(good_records() | {"override/o_1": OVERRIDE | {"until": NOW}})
    assert verdict_json(ended)["overrides_standing"] == []


@pytest.mark.parametrize(
    ("condition", "item", "why"),
    [
        ("lag-bytes", None, None),
        ("preflight-shape", "no-such", "preflight-shape has no item no-such"),
        ("preflight-shape", None, "preflight-shape is accepted item by item"),
        ("preflight-identity", "indexes-valid", "preflight-identity has no item indexes-valid"),
        ("lag-bytes", "indexes-valid", "lag-bytes has no items"),
        ("open-findings", None, "open-findings is an invariant"),
        ("dwell", None, "there is no condition dwell"),
        ("marker-ms", "marker-round-trip", None),
        ("replication", None, "there is no condition replication"),
    ],
)
def test_what_can_be_overridden(condition: str, item: str | None, why: str | None) -> None:
    assert override_problem(condition, item) == why


INVARIANTS = {
    "open-findings", "oldest-suspect", "samplers-alive", "core-alive", "prober-alive", "watermark-age",
    "unaudited-gaps", "base-scan", "unverified-rows", "canary", "sample-size", "dwell", "subscriptions-applying",
    "slots-in-budget", "scope-complete", "apply-stall",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(INVARIANTS))
def test_an_invariant_can_be_overridden_by_nobody(name: str) -> None:
    assert override_problem(name, None) is not None


def test_a_noisy_number_has_to_come_back_below_its_share() -> None:
    def lagging(value: int, dwell: Dwell) -> tuple[Any, Dwell]:
        records = good_records()
        records["sampler/target"]["lag_bytes"] = value
        return decide(evidence_of(records), AT_ONCE, NOW, dwell)

    verdict, dwell = lagging(1 << 20, Dwell())
    assert verdict.status is Status.PASS
    _, dwell = lagging((1 << 20) + 1, dwell)
    verdict, dwell = lagging(1 << 20, dwell)
    assert verdict.status is Status.INCONCLUSIVE
    assert "it was over the limit, and has to come down to" in part(verdict, "lag-bytes").reason
    verdict, dwell = lagging(800_000, dwell)
    assert verdict.status is Status.PASS
    assert lagging(1 << 20, dwell)[0].status is Status.PASS


def test_the_status_shows_the_prober_and_the_items_that_block() -> None:
    status = status_of(settings_of(), with_item(good_records(), INVALID), NOW)
    assert "prober" in {process["name"] for process in status["processes"]}
    assert [item["name"] for item in status["checklist"]["blocking"]] == ["indexes-valid"]
    assert "indexes-valid: blocks-capacity: indexes are not valid" in screen(status)
