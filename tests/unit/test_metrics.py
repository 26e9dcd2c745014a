"""Metric names keep Prometheus' rules, and no label carries a key or a position."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from auditor.cutover.documents import Followed, Seen
from auditor.cutover.story import attempts_of
from auditor.evidence import Expected, fold
from auditor.metrics import METRICS, Declared, Exporter, View
from auditor.metrics.memory import Memory
from auditor.settings import ReplicationSettings, Settings, SideSettings
from comparators.findings import merged_findings
from comparators.preflight import Item, ItemStatus, item_json
from orchestrator.conditions import Status
from orchestrator.policy import Limits, decide
from orchestrator.records import Lease
from orchestrator.seen import CanarySeen, CoreSeen, OverrideSeen
from tests.helpers_records import FINDING, NOW, good_records, suspect
from tests.journals import Written

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
LABELS = {
    "version", "mode", "transport", "condition", "decision", "kind", "state", "table", "percentile", "side",
    "partition", "process", "audit", "group", "status", "slot", "phase",
}  # fmt: skip
UNITS = ("_seconds", "_bytes", "_ratio", "_info", "_total", "_per_second")
PLAIN = {
    "auditor_gate_open", "auditor_gate_condition_met", "auditor_gate_needs_person", "auditor_findings",
    "auditor_rows_divergent", "auditor_slot_exists", "auditor_core_pending_changes", "auditor_unaudited_gaps",
    "auditor_coverage_rows", "auditor_sweep_paused", "auditor_gate_overrides", "auditor_external_alerts",
    "auditor_markers_missing", "auditor_preflight_items", "auditor_probe_failed", "auditor_process_troubled",
    "auditor_idle_in_transaction", "auditor_prepared_transactions", "auditor_cutover_journal_up",
    "auditor_cutover_phase", "auditor_cutover_running", "auditor_cutover_writes_held", "auditor_cutover_proof_links",
    "auditor_cutover_needs_person",
}  # fmt: skip
by_name = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
SETTINGS = Settings(
    migration="orders",
    source=SideSettings("host=source"),
    target=SideSettings("host=target"),
    replication=ReplicationSettings("native", ("app_pub",), ("app_sub",)),
    state_dir=Path("state"),
)


def probe(group: str, figures: Mapping[str, float | None] | None = None, *items: Item, **fields: Any) -> dict[str, Any]:
    """Give the record of a probe's look."""
    seen = {"at": NOW - 3, "generation": 1, "error": None, "items": [item_json(item) for item in items]}
    return {f"probe/{group}": seen | {"figures": figures or {}} | fields}


def planted() -> dict[str, dict[str, Any]]:
    """Give records in which every metric has a value, and what must not leave."""
    finding = suspect(state="confirmed", keys=[{"hash": "deadbeef", "clear": {"id": "secret-key"}}])
    told = Item("slots-known", ItemStatus.BLOCKS_CORRECTNESS, "secret-key", "secret-key", ("secret-key",), 1)
    capacity = {
        "headroom_ratio": 3.0, "drain_bytes_per_second": 3e6, "wal_peak_bytes_per_second": 1e6,
        "wal_bytes_per_second": 2e5, "predicted_drain_seconds": 0.5,
    }  # fmt: skip
    lag = {
        "marker_p50_ms": 1.0, "marker_p95_ms": 2.0, "marker_p99_ms": 3.0, "marker_missing": 0, "stalled_seconds": 0.0,
    }  # fmt: skip
    activity = {"oldest_transaction_seconds": 1.5, "idle_in_transaction": 1, "prepared_transactions": 0}
    slots = {"slots": 2, "retained_bytes/app_sub": 4096, "retained_bytes/debezium": 8192}
    return good_records() | {
        f"suspect/{FINDING}": finding,
        "process/archiver": {"heartbeat": NOW - 1, "error": "denied: secret-key", "last_export": NOW - 60},
        "sweeper": {**good_records()["sweeper"], "share": 0.5},
        "alert/0123456789abcdef": {"name": "secret-key", "severity": "page", "since": NOW - 9, "at": NOW - 1},
        **probe("slots", slots, told),
        **probe("lag", lag),
        **probe("capacity", capacity),
        **probe("activity", activity, Item("activity-old", ItemStatus.OK, "none found")),
        **probe("drift", {}, error="the source cannot be reached"),
    }


def rendered() -> str:
    records = planted()
    evidence = replace(fold(records, NOW, Expected("orders", 2, "c0ffee")), caught_up_age=2.0)
    verdict, _ = decide(evidence, Limits(), NOW)
    exporter = Exporter(SETTINGS)
    exporter.note(replace(verdict, status=Status.PASS), evidence)
    exporter.note(verdict, replace(evidence, canary=CanarySeen(n=4, generation=1, transaction_ms=60.0, row_ms=1100.0)))
    verdict = replace(verdict, overrides=(OverrideSeen("o_1", "lag-bytes", None, "secret-key"),))
    return exporter.render(View(verdict, evidence, records, merged_findings(records), followed())).decode()


def followed() -> Followed:
    """Give a cutover that was aborted by somebody whose words must not leave."""
    attempts = attempts_of(Written(actor="secret-key").until("see-marker").aborted("secret-key").entries)
    return Followed(Seen("orders", attempts, Lease(2, "secret-key", 5.0), (), 1), None)


@by_name
def test_names_are_prefixed_lower_case_and_in_base_units(metric: Declared) -> None:
    assert re.fullmatch(r"auditor(_[a-z0-9]+)+", metric.name)
    assert metric.name.endswith(UNITS) or metric.name in PLAIN
    assert not re.search(r"_(ms|millis\w*|minutes|kb|mb|mib|percent|gauge|counter)(_|$)", metric.name)
    assert (metric.kind == "counter") == metric.name.endswith("_total")


@by_name
def test_each_has_a_help_and_bounded_labels(metric: Declared) -> None:
    assert metric.help.endswith(".")
    assert set(metric.labels) <= LABELS


@by_name
def test_each_is_described_in_the_docs(metric: Declared) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    assert f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |" in DOCS.read_text(encoding="utf-8")


def test_names_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_prometheus_can_read_them_and_no_key_or_position_leaks() -> None:
    text = rendered()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    declared = {metric.name.removesuffix("_total") for metric in METRICS}
    assert set(families) == declared
    assert [] == [name for name, family in families.items() if not family.samples]
    assert all(sample.labels["migration"] == "orders" for family in families.values() for sample in family.samples)
    assert not re.search(r"secret-key|deadbeef|f_00|[0-9A-F]+/[0-9A-F]+", text)


def test_values_come_from_the_records() -> None:
    text = rendered()
    for line in (
        'auditor_gate_open{migration="orders"} 0.0',
        'auditor_gate_condition_met{condition="lag-ms",migration="orders"} 1.0',
        'auditor_gate_evaluations_total{decision="FAIL",migration="orders"} 1.0',
        'auditor_replication_lag_seconds{migration="orders",percentile="p95"} 0.002',
        'auditor_transactions_compared_total{migration="orders"} 400.0',
        'auditor_rows_divergent{kind="different",migration="orders"} 1.0',
        'auditor_slot_retained_bytes{migration="orders",side="target"} 4096.0',
        'auditor_source_slot_retained_bytes{migration="orders",slot="debezium"} 8192.0',
        'auditor_preflight_items{group="slots",migration="orders",status="blocks-correctness"} 1.0',
        'auditor_probe_failed{group="drift",migration="orders"} 1.0',
        'auditor_marker_round_trip_seconds{migration="orders",percentile="p99"} 0.003',
        'auditor_gate_overrides{condition="lag-bytes",migration="orders"} 1.0',
        'auditor_detection_delay_seconds_bucket{audit="transaction",le="0.1",migration="orders"} 1.0',
        'auditor_detection_delay_seconds_bucket{audit="row",le="1.0",migration="orders"} 0.0',
        'auditor_detection_delay_seconds_sum{audit="row",migration="orders"} 1.1',
    ):
        assert line in text


def test_what_is_not_known_is_left_out() -> None:
    evidence = fold({}, NOW, Expected("orders", 2, "c0ffee"))
    verdict, _ = decide(evidence, Limits(), NOW)
    text = Exporter(SETTINGS).render(View(verdict, evidence, {}, [])).decode()
    assert "auditor_replication_lag_bytes{" not in text
    assert "auditor_last_verified_timestamp_seconds{" not in text
    assert 'auditor_gate_open{migration="orders"} 0.0' in text


def test_promtool_finds_nothing_to_say_about_a_scrape() -> None:
    done = subprocess.run(["promtool", "check", "metrics"], input=rendered(), capture_output=True, text=True)
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_promtool_would_say_something() -> None:
    text = "# HELP bar_ms A bar.\n# TYPE bar_ms gauge\nbar_ms 1\n"
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert done.returncode != 0


def test_slots_beyond_fifty_have_no_line_of_their_own() -> None:
    held = {f"retained_bytes/slot_{number:02}": number for number in range(80)}
    records = good_records() | probe("slots", dict(held))
    evidence = fold(records, NOW, Expected("orders", 2, "c0ffee"))
    verdict, _ = decide(evidence, Limits(), NOW)
    text = Exporter(SETTINGS).render(View(verdict, evidence, records, [])).decode()
    lines = re.findall(r'auditor_source_slot_retained_bytes\{.*slot="(.*)"\}', text)
    assert [f"slot_{number:02}" for number in range(30, 80)] == lines


def test_figures_of_a_probe_that_fails_are_not_known() -> None:
    records = good_records() | probe("lag", {"stalled_seconds": 0.0}, error="the source cannot be reached")
    evidence = fold(records, NOW, Expected("orders", 2, "c0ffee"))
    verdict, _ = decide(evidence, Limits(), NOW)
    text = Exporter(SETTINGS).render(View(verdict, evidence, records, [])).decode()
    assert "auditor_apply_stalled_seconds{" not in text
    assert 'auditor_probe_failed{group="lag",migration="orders"} 1.0' in text


def seen_by(memory: Memory, resolved: int, n: int, now: float) -> None:
    """Let one evaluation be noted."""
    evidence = fold(good_records(), NOW, Expected("orders", 2, "c0ffee"))
    verdict, _ = decide(evidence, Limits(), NOW)
    canary = CanarySeen(n=n, generation=1, transaction_ms=100.0, row_ms=None)
    memory.note(
        replace(verdict, evaluated_at=now), replace(evidence, cores={0: CoreSeen(now, resolved)}, canary=canary)
    )


def test_a_core_advances_when_its_position_moves_and_not_when_it_is_heard_from() -> None:
    memory = Memory()
    for resolved, now in ((100, 1.0), (100, 2.0), (150, 3.0), (150, 4.0)):
        seen_by(memory, resolved, 1, now)
    assert {0: 3.0} == memory.advanced


def test_each_canary_counts_once_and_one_from_before_the_start_not_at_all() -> None:
    memory = Memory()
    for n in (7, 7, 8, 8, 9):
        seen_by(memory, 1, n, 1.0)
    assert ("+Inf", 2.0) == memory.delays["transaction"].buckets()[-1]
    assert ("0.05", 0.0) == memory.delays["transaction"].buckets()[0]
    assert ("0.1", 2.0) == memory.delays["transaction"].buckets()[1]
    assert ("+Inf", 0.0) == memory.delays["row"].buckets()[-1]


def test_a_process_that_is_switched_off_is_not_awaited() -> None:
    records = planted()
    evidence = fold(records, NOW, Expected("orders", 2, "c0ffee"))
    verdict, _ = decide(evidence, Limits(), NOW)
    settings = replace(SETTINGS, sweep=replace(SETTINGS.sweep, enabled=False))
    text = Exporter(settings).render(View(verdict, evidence, records, [])).decode()
    heard = set(re.findall(r'auditor_process_heartbeat_timestamp_seconds\{.*process="(.*)"\}', text))
    assert "sweeper" not in heard
    assert {"core", "sampler-source", "sampler-target"} <= heard


def test_a_cutover_whose_journal_is_away_is_not_known_but_for_that() -> None:
    records = good_records()
    evidence = fold(records, NOW, Expected("orders", 2, "c0ffee"))
    verdict, _ = decide(evidence, Limits(), NOW)
    away = replace(followed(), error="away")
    for cutover, said in ((away, 'auditor_cutover_journal_up{migration="orders"} 0.0'), (None, None)):
        text = Exporter(SETTINGS).render(View(verdict, evidence, records, [], cutover)).decode()
        lines = [line for line in text.splitlines() if line.startswith("auditor_cutover")]
        assert lines == ([said] if said else [])


def test_a_cutover_is_counted_as_its_journal_tells() -> None:
    text = rendered()
    for line in (
        'auditor_cutover_phase{migration="orders",phase="REPLICATING"} 1.0',
        'auditor_cutover_phase{migration="orders",phase="GUARDED"} 0.0',
        'auditor_cutover_attempts_total{migration="orders"} 1.0',
        'auditor_cutover_writes_held{migration="orders"} 0.0',
        'auditor_cutover_needs_person{migration="orders"} 1.0',
        'auditor_cutover_running{migration="orders"} 1.0',
    ):
        assert line in text
