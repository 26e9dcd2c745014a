"""Metrics of the gate: its verdict, what it rests on, and who has taken responsibility for what."""

from collections import Counter
from importlib.metadata import PackageNotFoundError, version

from auditor.metrics.values import Declared, Samples, Scrape, one
from comparators.findings import open_findings
from orchestrator.conditions import Status


def _build(scrape: Scrape) -> Samples:
    try:
        return [((version("auditor"),), 1)]
    except PackageNotFoundError:
        return [(("unknown",), 1)]


def _met(scrape: Scrape) -> Samples:
    return [((part.name,), int(part.status is Status.PASS)) for part in scrape.verdict.conditions]


def _findings(scrape: Scrape) -> Samples:
    return sorted(Counter((str(finding.kind), str(finding.state)) for finding in scrape.view.findings).items())


def _divergent(scrape: Scrape) -> Samples:
    totals = Counter({"missing": 0, "extra": 0, "different": 0})
    for finding in open_findings(scrape.view.findings):
        kind = finding.kind.removeprefix("row-")
        if kind in totals:
            totals[kind] += finding.count
    return [((kind,), total) for kind, total in sorted(totals.items())]


def _overrides(scrape: Scrape) -> Samples:
    counted = Counter(override.condition or "unknown" for override in scrape.verdict.overrides)
    return [((condition,), count) for condition, count in sorted(counted.items())]


METRICS = (
    Declared("auditor_build_info", "Always 1; the label names the version.", _build, ("version",)),
    Declared(
        "auditor_migration_info",
        "Always 1; the labels say how the migration replicates and how the auditor transports.",
        lambda scrape: [((scrape.mode, scrape.transport), 1)],
        ("mode", "transport"),
    ),
    Declared(
        "auditor_gate_open",
        "1 while the verdict is PASS, else 0.",
        lambda scrape: one(int(scrape.verdict.status is Status.PASS)),
    ),
    Declared("auditor_gate_condition_met", "1 while the condition is PASS, else 0.", _met, ("condition",)),
    Declared(
        "auditor_gate_needs_person",
        "1 while the gate waits for a person, else 0.",
        lambda scrape: one(int(scrape.verdict.needs_person)),
    ),
    Declared(
        "auditor_gate_evaluations_total",
        "Evaluations since the gate started, by their verdict.",
        lambda scrape: [((decision,), count) for decision, count in sorted(scrape.memory.decisions.items())],
        ("decision",),
    ),
    Declared(
        "auditor_gate_evaluated_timestamp_seconds",
        "When the gate last evaluated.",
        lambda scrape: one(scrape.verdict.evaluated_at),
    ),
    Declared(
        "auditor_gate_valid_until_timestamp_seconds",
        "Until when the last verdict counts.",
        lambda scrape: one(scrape.verdict.valid_until),
    ),
    Declared(
        "auditor_gate_last_pass_timestamp_seconds",
        "When the verdict was last PASS, since the gate started.",
        lambda scrape: one(scrape.memory.last_pass),
    ),
    Declared("auditor_gate_overrides", "Overrides that the verdict rests on.", _overrides, ("condition",)),
    Declared(
        "auditor_external_alerts",
        "Alerts of other systems that close the gate.",
        lambda scrape: one(None if scrape.evidence.alerts is None else len(scrape.evidence.alerts)),
    ),
    Declared("auditor_findings", "Findings by kind and state.", _findings, ("kind", "state")),
    Declared("auditor_rows_divergent", "Rows in open findings, by how they differ.", _divergent, ("kind",)),
)
