"""Metric names keep Prometheus' rules, and no label carries a key or a position."""

import re
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from auditor.evidence import Expected, fold
from auditor.metrics import METRICS, Declared, Exporter, View
from auditor.settings import ReplicationSettings, Settings, SideSettings
from comparators.findings import merged_findings
from orchestrator.policy import Limits, decide
from tests.helpers_records import FINDING, NOW, good_records, suspect

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
LABELS = {
    "version", "mode", "transport", "condition", "decision", "kind", "state", "table", "percentile", "side",
    "partition", "process",
}  # fmt: skip
UNITS = ("_seconds", "_bytes", "_ratio", "_info", "_total", "_per_second")
PLAIN = {
    "auditor_gate_open", "auditor_gate_condition_met", "auditor_gate_needs_person", "auditor_findings",
    "auditor_rows_divergent", "auditor_slot_exists", "auditor_core_pending_changes", "auditor_unaudited_gaps",
    "auditor_coverage_rows", "auditor_sweep_paused",
}  # fmt: skip
by_name = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
SETTINGS = Settings(
    migration="orders",
    source=SideSettings("host=source"),
    target=SideSettings("host=target"),
    replication=ReplicationSettings("native", ("app_pub",), ("app_sub",)),
    state_dir=Path("state"),
)


def rendered() -> str:
    records = good_records() | {
        f"suspect/{FINDING}": suspect(state="confirmed", keys=[{"hash": "deadbeef", "clear": {"id": "secret-key"}}])
    }
    evidence = fold(records, NOW, Expected("orders", 2, "c0ffee"))
    verdict, _ = decide(evidence, Limits(), NOW)
    exporter = Exporter(SETTINGS)
    exporter.count(verdict)
    return exporter.render(View(verdict, evidence, records, merged_findings(records))).decode()


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
    assert all(sample.labels["migration"] == "orders" for family in families.values() for sample in family.samples)
    assert not re.search(r"secret-key|deadbeef|f_00|[0-9A-F]+/[0-9A-F]+", text.replace("# HELP", ""))


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
    ):
        assert line in text


def test_what_is_not_known_is_left_out() -> None:
    evidence = fold({}, NOW, Expected("orders", 2, "c0ffee"))
    verdict, _ = decide(evidence, Limits(), NOW)
    text = Exporter(SETTINGS).render(View(verdict, evidence, {}, [])).decode()
    assert "auditor_replication_lag_bytes{" not in text
    assert "auditor_last_verified_timestamp_seconds{" not in text
    assert 'auditor_gate_open{migration="orders"} 0.0' in text
