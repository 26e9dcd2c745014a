"""Each condition by itself, the dwell time, and what the verdict tells."""

from dataclasses import replace
from typing import Any

import pytest

from auditor.evidence import Expected, fold
from comparators.errors import SettingInvalid
from comparators.findings import time_text
from orchestrator.conditions import NAMES, Outcome, Status
from orchestrator.policy import DEFAULTS, Dwell, Limits, Verdict, decide, verdict_json
from orchestrator.watermarks import History, caught_up_age, follow
from tests.helpers_records import FINDING, NOW, covered, good_records, suspect

EXPECTED = Expected("orders", partitions=2, configuration="c0ffee")
AT_ONCE = replace(Limits(), dwell_seconds=0.0, evaluations=1)


def verdict_of(records: dict[str, Any], **changes: Any) -> Verdict:
    seen = replace(fold(records, NOW, EXPECTED), **{"caught_up_age": 0.2, **changes})
    return decide(seen, AT_ONCE, NOW)[0]


def part(verdict: Verdict, name: str) -> Outcome:
    return next(outcome for outcome in verdict.conditions if outcome.name == name)


def test_the_default_limits_are_those_of_the_contract() -> None:
    contract = {
        "open-findings": 0, "oldest-suspect": 30, "samplers-alive": 5, "core-alive": 5, "watermark-age": 10,
        "sample-size": 300, "in-window-share": 0.99, "lag-ms": 10, "lag-bytes": 1 << 20,
        "slots-in-budget": 1 << 30, "unaudited-gaps": 0, "scope-complete": 0, "base-scan": 0, "coverage-age": 86400,
        "unverified-rows": 0, "canary": 120,
    }  # fmt: skip
    assert contract.items() <= DEFAULTS.items()
    assert (Limits().dwell_seconds, Limits().valid_seconds) == (10, 15)


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("lagms", 1), ("lag-ms", -1), ("lag-ms", float("nan")), ("lag-ms", True), ("lag-ms", "5"), ("open-findings", 1),
        ("base-scan", 1), ("unaudited-gaps", 1), ("scope-complete", 2), ("subscriptions-applying", 1),
        ("samplers-alive", 1e300), ("core-alive", 61), ("prober-alive", 61), ("watermark-age", 601),
        ("oldest-suspect", 3601), ("apply-stall", 601), ("canary", 86401),
    ],
)  # fmt: skip
def test_a_limit_that_is_none_is_refused_by_name(name: str, limit: Any) -> None:
    with pytest.raises(SettingInvalid, match=name):
        Limits.of({name: limit})


@pytest.mark.parametrize("seconds", [-1.0, float("inf")])
def test_a_time_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(SettingInvalid, match="dwell_seconds"):
        Limits.of({}, dwell_seconds=seconds)
    with pytest.raises(SettingInvalid, match="valid_seconds"):
        Limits.of({}, valid_seconds=seconds)


def test_no_verdict_is_valid_for_longer_than_it_is_about_the_present() -> None:
    assert 3600 == Limits.of({}, valid_seconds=3600).valid_seconds
    with pytest.raises(SettingInvalid, match=r"gate.valid_seconds: 3601 is more than 3600"):
        Limits.of({}, valid_seconds=3601)


def test_overrides_leave_the_other_limits_alone() -> None:
    assert Limits.of({"lag-ms": 250}).conditions == {**DEFAULTS, "lag-ms": 250}


def window(inside: int, measured: int, unmeasured: int) -> dict[str, Any]:
    share = {"in_window": inside, "measured": measured, "unmeasured": unmeasured, "span_seconds": 60}
    return {"window": share}


@pytest.mark.parametrize(
    ("key", "change", "name"),
    [
        ("sampler/target", {"lag_bytes": (1 << 20) + 1}, "lag-bytes"),
        ("sampler/target", {"lag_ms": {"p95": 10.5, "samples": 4, "idle": False}}, "lag-ms"),
        ("sampler/target", {"lag_ms": {"p95": None, "samples": 0, "idle": False}}, "lag-ms"),
        ("sampler/target", window(989, 1000, 0), "in-window-share"),
        ("sampler/target", window(990, 990, 11), "in-window-share"),
        ("sampler/target", window(0, 0, 0), "in-window-share"),
        ("sampler/target", window(9, 8, 1), "in-window-share"),
        ("sampler/target", {"unpublished": ["public.new"]}, "scope-complete"),
        ("sampler/target", {"unknown_subscriptions": ["other_sub"]}, "scope-complete"),
        ("sampler/target", {"scope": []}, "scope-complete"),
        ("sampler/target", {"scope": [{"table": "public.a", "state": "skipped"}]}, "scope-complete"),
        ("sampler/target", {"scope": [{"table": "public.a", "state": "new word"}]}, "scope-complete"),
        ("sampler/target", {"subscriptions": []}, "subscriptions-applying"),
        ("sampler/source", {"error": "server closed the connection"}, "samplers-alive"),
        ("sampler/target", {"error": "server closed the connection"}, "samplers-alive"),
        ("sampler/source", {"reading": False}, "samplers-alive"),
        ("sampler/target", {"reading": False}, "samplers-alive"),
        ("process/sampler-source", {"heartbeat": NOW - 5.5}, "samplers-alive"),
        ("process/sampler-target", {"error": "gone"}, "samplers-alive"),
        ("process/core", {"heartbeat": NOW - 5.5}, "core-alive"),
        ("process/core", {"error": "gone"}, "core-alive"),
        ("core/1", {"at": NOW - 5.5}, "core-alive"),
        ("core/0", {"dead_letters": 1}, "unaudited-gaps"),
        ("gap/1", {"open": True, "reason": "slot lost"}, "unaudited-gaps"),
        ("gap/1", {"reason": "does not say whether it is open"}, "unaudited-gaps"),
        ("dead-letter/0/17", {"reason": "crc", "size": 9, "at": NOW - 5}, "unaudited-gaps"),
        ("dead-letter/0/17", {"reason": "crc", "size": 9}, "unaudited-gaps"),
        ("coverage/public.orders", {"state": "skipped", "reason": "no SELECT right"}, "base-scan"),
        ("coverage/public.orders", {"sweep": 0}, "base-scan"),
        ("coverage/public.orders", {"generation": 2}, "base-scan"),
        ("coverage/public.orders", {"state": "error", "reason": "statement timeout"}, "base-scan"),
        ("coverage/public.orders", {"unverified": 1, "verified": 999}, "unverified-rows"),
        ("coverage/public.orders", {"hot": 1, "verified": 999}, "unverified-rows"),
        ("coverage/public.orders", {"verified": 999}, "unverified-rows"),
        ("coverage/public.orders", {"different": 1, "verified": 999}, "unverified-rows"),
        ("sampler/target", {"scope": [{"table": "auditor_orders.canary", "state": "audited"}]}, "base-scan"),
        ("sampler/target", {"scope": [{"table": "public.new", "state": "partial"}]}, "base-scan"),
        ("process/sweeper", {"heartbeat": NOW - 5.5}, "base-scan"),
        ("process/sweeper", {"heartbeat": NOW - 5.5}, "coverage-age"),
        ("process/sweeper", {"error": "gone"}, "base-scan"),
        ("sweeper", {"at": NOW - 5.5}, "base-scan"),
        ("sweeper", {"error": "server closed the connection"}, "base-scan"),
        ("canary/receipt", {"planted_at": NOW - 121, "at": NOW - 120}, "canary"),
        ("canary/receipt", {"error": "the row audit did not find it"}, "canary"),
        ("canary/receipt", {"row_ms": None}, "canary"),
        ("canary/receipt", {"n": 0}, "canary"),
        (f"suspect/{FINDING}", suspect(first_seen=NOW - 31), "oldest-suspect"),
        (f"suspect/{FINDING}", {"id": FINDING}, "open-findings"),
        (f"settled/{FINDING}", {"state": "confirmed"}, "open-findings"),
    ],
)  # fmt: skip
def test_each_trouble_closes_the_gate_under_its_own_name(key: str, change: dict[str, Any], name: str) -> None:
    records = good_records()
    records[key] = {**records.get(key, {}), **change}
    verdict = verdict_of(records)
    assert verdict.status is Status.INCONCLUSIVE
    assert part(verdict, name).status is Status.INCONCLUSIVE
    assert part(verdict, name).reason in verdict.reasons


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("sampler/target", {"lag_ms": {"p95": None, "samples": 0, "idle": True}}),
        ("sampler/source", {"reading": False, "waiting_for": "the target to catch up"}),
        ("gap/1", {"open": False, "reason": "swept"}),
        ("dead-letter/0/17", {"reason": "of the baseline before", "size": 9, "at": NOW - 500}),
        (f"suspect/{FINDING}", suspect(first_seen=NOW - 29)),
        (f"suspect/{FINDING}", suspect(state="confirmed", detector="canary")),
        ("coverage/public.orders", {"state": "sweeping", "now": {"sweep": 3, "rows": 10}}),
        ("coverage/public.orders", {"state": "waiting"}),
        ("coverage/public.log", {"state": "skipped", "reason": "excluded"}),
        ("coverage/public.gone", {"state": "error", "reason": "of an earlier scope"}),
        ("sweeper", {"state": "paused", "paused_because": "active sessions"}),
    ],
)
def test_what_is_lawful_does_not_close_the_gate(key: str, change: dict[str, Any]) -> None:
    records = good_records()
    records[key] = {**records.get(key, {}), **change}
    assert verdict_of(records).status is Status.PASS


def test_the_tables_that_were_not_swept_are_named_with_the_reason() -> None:
    records = good_records()
    del records["coverage/public.lines"]
    records["coverage/public.orders"] |= {"state": "skipped", "reason": "no SELECT right"}
    verdict = verdict_of(records)
    assert "public.orders: skipped: no SELECT right" in part(verdict, "base-scan").reason
    assert "public.lines: not swept yet" in part(verdict, "base-scan").reason
    assert part(verdict, "base-scan").value == 2
    assert verdict.needs_person
    for name in ("coverage-age", "unverified-rows"):
        assert "not known, public.lines: not swept yet, and 1 more" in part(verdict, name).reason


def test_an_accepted_skip_is_named_and_counts_until_it_ends() -> None:
    records = good_records()
    accepted = {"owner": "ana", "reason": "archived", "until": NOW + 1}
    records["coverage/public.lines"] = covered("public.lines", state="skipped", accepted=accepted)
    verdict = verdict_of(records)
    assert verdict.status is Status.PASS
    assert "public.lines is skipped, accepted by ana: archived" in part(verdict, "base-scan").reason
    accepted["until"] = NOW
    assert "its acceptance by ana has ended" in part(verdict_of(records), "base-scan").reason


def test_nothing_is_covered_when_everything_is_accepted_as_skipped() -> None:
    records = good_records()
    accepted = {"owner": "ana", "reason": "archived", "until": NOW + 1}
    for table in ("public.orders", "public.lines"):
        records[f"coverage/{table}"] = covered(table, state="skipped", accepted=accepted)
    assert part(verdict_of(records), "base-scan").status is Status.INCONCLUSIVE


def test_rows_that_may_stay_unverified_do_not_hide_the_rest() -> None:
    records = good_records()
    records["coverage/public.orders"] |= {"verified": 990, "unverified": 10, "through": None}
    seen = replace(fold(records, NOW, EXPECTED), caught_up_age=0.2)
    assert decide(seen, AT_ONCE, NOW)[0].status is Status.INCONCLUSIVE
    limits = replace(AT_ONCE, conditions={**DEFAULTS, "unverified-rows": 10})
    verdict = decide(seen, limits, NOW)[0]
    assert verdict.status is Status.PASS
    assert verdict.coverage.through is None


def test_without_sweeps_their_conditions_are_not_known_whatever_the_limits() -> None:
    verdict = verdict_of(good_records(), sweeps=False)
    for name in ("base-scan", "coverage-age", "unverified-rows", "canary"):
        assert "switched off" in part(verdict, name).reason
    assert "set sweep.enabled: true" in verdict.next_steps
    assert verdict.needs_person


def test_without_a_canary_table_the_condition_is_waived_by_name() -> None:
    records = good_records()
    del records["canary/receipt"]
    assert part(verdict_of(records), "canary").status is Status.INCONCLUSIVE
    records["baseline"]["canary"] = False
    assert part(verdict_of(records), "canary").status is Status.PASS
    assert "waived" in part(verdict_of(records), "canary").reason


def test_a_missed_canary_says_who_missed_it() -> None:
    records = good_records()
    records["canary/receipt"] |= {"error": "the row audit did not find it within 60 s"}
    assert "the row audit did not find it" in part(verdict_of(records), "canary").reason


def test_differing_rows_without_a_finding_are_a_contradiction() -> None:
    records = good_records()
    records["coverage/public.orders"] |= {"different": 1, "verified": 999}
    assert "no finding says so" in part(verdict_of(records), "unverified-rows").reason
    records[f"suspect/{FINDING}"] = suspect(state="confirmed", detector="row")
    records[f"settled/{FINDING}"] = {"state": "healed", "settled_at": NOW - 1}
    assert verdict_of(records).status is Status.PASS


GAP = {"from": 20_000, "to": 30_000, "side": "source", "reason": "frames were lost", "at": NOW - 50, "open": True}


def test_a_gap_is_made_good_by_sweeps_that_began_after_it_and_prove_a_position_past_it() -> None:
    records = good_records() | {"gap/1-0-0-4E20": dict(GAP)}
    verdict = verdict_of(records)
    assert part(verdict, "unaudited-gaps").status is Status.PASS
    assert "1 made good by sweeps" in part(verdict, "unaudited-gaps").reason


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("gap/1", {"to": None}),
        ("gap/1", {"to": 45_001}),
        ("gap/1", {"at": None}),
        ("gap/1", {"at": NOW - 40}),
        ("coverage/public.lines", {"through": 29_999}),
        ("coverage/public.lines", {"through": None, "rows": 1, "unverified": 1}),
        ("coverage/public.lines", {"at": NOW - 51}),
        ("coverage/public.lines", {"generation": 2}),
        ("coverage/public.lines", {"state": "skipped", "accepted": {"owner": "a", "reason": "b", "until": NOW + 9}}),
        ("process/sweeper", {"heartbeat": None}),
    ],
)
def test_a_gap_stays_open_as_long_as_one_table_may_hold_what_it_hid(key: str, change: dict[str, Any]) -> None:
    records = good_records() | {"gap/1": dict(GAP)}
    records[key] = records[key] | change
    assert part(verdict_of(records), "unaudited-gaps").status is Status.INCONCLUSIVE


@pytest.mark.parametrize(("since", "status"), [(45_000, Status.PASS), (45_001, Status.INCONCLUSIVE)])
def test_a_sweep_covers_a_table_only_if_the_comparison_of_its_changes_goes_on_from_there(since: int, status: Status):
    """A table joins late, or comes back: what apply lost between its last sweep and its start is seen by nobody."""
    records = good_records()
    lines = next(one for one in records["sampler/target"]["scope"] if one["table"] == "public.lines")
    lines["since"] = since
    verdict = verdict_of(records)
    assert part(verdict, "base-scan").status is status
    assert (verdict.status is Status.PASS) == (status is Status.PASS)
    assert ("before its changes began to be compared" in part(verdict, "base-scan").reason) == (since > 45_000)


def test_a_small_sample_is_not_enough_and_none_is_never_enough() -> None:
    records = good_records()
    for partition in (0, 1):
        records[f"progress/{partition}"]["tallies"]["transactions"] = 149
    assert part(verdict_of(records), "sample-size").status is Status.INCONCLUSIVE
    for partition in (0, 1):
        records[f"progress/{partition}"]["tallies"]["transactions"] = 0
    limits = replace(AT_ONCE, conditions={**DEFAULTS, "sample-size": 0})
    seen = replace(fold(records, NOW, EXPECTED), caught_up_age=0.2)
    assert decide(seen, limits, NOW)[0].status is Status.INCONCLUSIVE


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("slot", [{"exists": False}, {"exists": True, "retained_bytes": 1, "wal_status": "lost"}])
def test_a_lost_slot_needs_a_person_and_says_what_to_run(side: str, slot: dict[str, Any]) -> None:
    records = good_records()
    records[f"sampler/{side}"]["slot"] = slot
    verdict = verdict_of(records)
    assert verdict.status is Status.INCONCLUSIVE
    assert verdict.needs_person
    assert verdict.next_steps[0] == "to begin the audit anew: auditor teardown, then auditor prepare"
    assert f"the slot on the {side} is lost" in part(verdict, "slots-in-budget").reason


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_slot_over_its_budget_closes_the_gate(side: str) -> None:
    records = good_records()
    records[f"sampler/{side}"]["slot"]["retained_bytes"] = (1 << 30) + 1
    assert part(verdict_of(records), "slots-in-budget").status is Status.INCONCLUSIVE


def test_a_disabled_subscription_needs_a_person_and_names_its_error() -> None:
    records = good_records()
    records["sampler/target"]["subscriptions"][0] |= {"enabled": False, "worker": False, "error": "duplicate key"}
    verdict = verdict_of(records)
    assert verdict.needs_person
    assert "app_sub: disabled after the error: duplicate key" in part(verdict, "subscriptions-applying").reason
    assert any("ALTER SUBSCRIPTION app_sub ENABLE" in step for step in verdict.next_steps)


def test_without_a_baseline_a_person_has_to_prepare() -> None:
    records = good_records()
    del records["baseline"]
    verdict = verdict_of(records)
    assert verdict.needs_person
    assert verdict.next_steps[0] == "auditor prepare"


def test_a_table_that_is_still_copied_waits_for_nobody() -> None:
    records = good_records()
    records["sampler/target"]["subscriptions"][1]["tables_not_ready"] = ["public.orders"]
    verdict = verdict_of(records)
    assert verdict.status is Status.INCONCLUSIVE
    assert not verdict.needs_person


def test_records_that_cannot_be_read_any_more_close_the_gate_with_the_reason() -> None:
    verdict = verdict_of(good_records(), records_error="the disk is gone")
    assert verdict.status is Status.INCONCLUSIVE
    assert all("the disk is gone" in reason for reason in verdict.reasons if "hold together" not in reason)


def test_a_fresh_difference_still_fails_while_the_records_are_away() -> None:
    records = good_records() | {f"suspect/{FINDING}": suspect(state="confirmed")}
    assert verdict_of(records, records_error="the disk is gone").status is Status.FAIL
    assert verdict_of(records, records_error="the disk is gone", read_at=NOW - 6).status is Status.INCONCLUSIVE


def test_an_accepted_finding_counts_again_when_its_acceptance_has_ended() -> None:
    records = good_records() | {f"suspect/{FINDING}": suspect(state="confirmed")}
    records[f"accepted/{FINDING}"] = {"owner": "ana", "reason": "known", "until": NOW + 1, "at": NOW - 9}
    assert verdict_of(records).status is Status.PASS
    records[f"accepted/{FINDING}"]["until"] = NOW - 1
    assert verdict_of(records).status is Status.FAIL


def test_a_dead_process_is_named_with_what_ended_it() -> None:
    records = good_records()
    records["process/core"]["heartbeat"] = NOW - 60
    records["supervisor/worker"]["last_exit"] = "killed by signal 9"
    assert "killed by signal 9" in part(verdict_of(records), "core-alive").reason


def test_the_verdict_is_the_contract_s_json() -> None:
    document = verdict_json(verdict_of(good_records()))
    assert {
        "migration", "verdict", "evaluated_at", "valid_until", "conditions", "reasons", "positions", "sample",
        "needs_person", "evidence_digest", "next_steps",
    } <= set(document)  # fmt: skip
    assert document["verdict"] == "PASS"
    assert document["positions"] == {"source": "0/C350", "audited_through": "0/C350", "target_applied": "0/C350"}
    assert [*NAMES, "dwell"] == [condition["name"] for condition in document["conditions"]]
    assert set(document["conditions"][0]) == {"name", "status", "value", "limit", "unit", "age_seconds", "reason"}
    assert document["evidence_digest"].startswith("sha256:")
    assert {"transactions", "changes", "matched", "in_window_share", "bound_95"} <= set(document["sample"])
    assert document["coverage"] == {
        "tables": 2, "swept": 2, "accepted": [], "rows": 1000, "verified": 1000, "unverified": 0, "hot": 0,
        "different": 0, "through": "0/AFC8", "since": time_text(NOW - 40),
    }  # fmt: skip
    assert document["evaluated_at"].endswith("Z")


# The dwell time.


def evaluations(changes: list[dict[str, Any]], every: float = 0.5) -> list[Status]:
    limits = replace(Limits(), dwell_seconds=2.0, evaluations=3)
    dwell, statuses, now = Dwell(), [], NOW
    for change in changes:
        now += change.pop("after", every)
        seen = replace(fold(good_records(now), now, EXPECTED), caught_up_age=0.2, **change)
        verdict, dwell = decide(seen, limits, now, dwell)
        statuses.append(verdict.status)
    return statuses


def steady(count: int) -> list[dict[str, Any]]:
    return [{} for _ in range(count)]


def test_pass_comes_after_the_dwell_time_and_not_before() -> None:
    assert evaluations(steady(5)) == [Status.INCONCLUSIVE] * 4 + [Status.PASS]


@pytest.mark.parametrize(
    "break_",
    [
        {"tally": None},
        {"after": 2.1},
        {"after": -0.1},
    ],
)
def test_one_bad_evaluation_or_a_hole_starts_the_dwell_time_again(break_: dict[str, Any]) -> None:
    assert evaluations([*steady(5), break_, *steady(3)])[5:] == [Status.INCONCLUSIVE] * 4


def restarted(name: str) -> dict[str, Any]:
    processes = fold(good_records(), NOW, EXPECTED).processes
    fresh = {**processes, name: replace(processes[name], incarnation="another", heartbeat=NOW + 3.0)}
    return {"processes": fresh}


@pytest.mark.parametrize("name", ["sampler-source", "sampler-target", "core", "sweeper"])
def test_a_restart_starts_the_dwell_time_again(name: str) -> None:
    assert evaluations([*steady(5), restarted(name)])[5] is Status.INCONCLUSIVE


def test_another_baseline_or_configuration_starts_the_dwell_time_again() -> None:
    baseline = fold(good_records(), NOW, EXPECTED).baseline
    assert baseline is not None
    for change in ({"baseline": replace(baseline, generation=2)}, {"configuration": "other"}, {"migration": "other"}):
        assert evaluations([*steady(5), dict(change)])[5] is Status.INCONCLUSIVE


def test_a_verdict_says_since_when_it_stands() -> None:
    records = good_records() | {f"suspect/{FINDING}": suspect(state="confirmed")}
    first, dwell = decide(fold(records, NOW, EXPECTED), AT_ONCE, NOW)
    second, _ = decide(fold(records, NOW + 4, EXPECTED), AT_ONCE, NOW + 4, dwell)
    assert (first.since, second.since) == (NOW, NOW)
    assert second.valid_until == NOW + 4 + 15


# How far the audit is behind.


def marks(*pairs: tuple[float, int]) -> History:
    history = History()
    for at, position in pairs:
        history = follow(history, at, position, now=10.0, keep_seconds=60)
    return history


@pytest.mark.parametrize(
    ("resolved", "age"),
    [(300, 1.0), (299, 3.0), (200, 3.0), (150, 6.0), (99, None), (None, None), (10**9, 1.0)],
)
def test_the_age_is_that_of_the_newest_position_resolved(resolved: int | None, age: float | None) -> None:
    assert caught_up_age(marks((4.0, 100), (7.0, 200), (9.0, 300)), resolved, now=10.0) == age


def test_an_idle_source_does_not_age() -> None:
    assert caught_up_age(marks((1.0, 100), (9.9, 100)), 100, now=10.0) == pytest.approx(0.1)


def test_a_position_that_went_back_is_no_progress() -> None:
    assert caught_up_age(marks((4.0, 100), (6.0, 500), (9.0, 100)), 100, now=10.0) == 6.0


def test_marks_from_the_future_or_repeated_are_not_taken() -> None:
    assert marks((4.0, 100), (4.0, 200), (11.0, 300)).marks == ((4.0, 100),)


def test_marks_are_forgotten_in_the_end() -> None:
    assert follow(marks((4.0, 100)), None, None, now=100.0, keep_seconds=60).marks == ()
