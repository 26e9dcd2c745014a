"""Every metric of the auditor, in one table; values are taken from the last evaluation when somebody scrapes.

Names: prefix `auditor_`, base units (seconds, bytes, ratios from 0 to 1), `_total` for counters. Labels are bounded:
migration, condition, kind, side, process, partition, table. Never a key, a position or a text of the user's.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from auditor.settings import Settings
from comparators.findings import Finding, open_findings
from orchestrator.conditions import Status
from orchestrator.policy import Verdict
from orchestrator.seen import Evidence

Samples = Iterable[tuple[tuple[str, ...], Any]]


@dataclass(frozen=True, slots=True)
class View:
    """What the values are taken from."""

    verdict: Verdict
    evidence: Evidence
    records: Mapping[str, Mapping[str, Any]]
    findings: list[Finding]


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric; `read` gives label values (without the migration) and numbers, and leaves out what is not known."""

    name: str
    help: str
    read: Callable[["Exporter", View], Samples]
    labels: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return "counter" if self.name.endswith("_total") else "gauge"


class Exporter(Collector):
    """Counts evaluations, and renders all metrics in a registry of its own."""

    def __init__(self, settings: Settings) -> None:
        self.mode = settings.replication.mode
        self.transport = "memory" if settings.transport is None else "kafka"
        self.migration = settings.migration
        self.decisions: Counter[str] = Counter({str(status): 0 for status in Status})
        self.last_pass: float | None = None
        self._view: View | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def count(self, verdict: Verdict) -> None:
        """Note one evaluation."""
        self.decisions[str(verdict.status)] += 1
        if verdict.status is Status.PASS:
            self.last_pass = verdict.evaluated_at

    def render(self, view: View) -> bytes:
        """Write all metrics as Prometheus reads them."""
        self._view = view
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        if self._view is None:
            return
        for declared in METRICS:
            yield self._family(declared, self._view)

    def _family(self, declared: Declared, view: View) -> Metric:
        make = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
        family = make(declared.name, declared.help, labels=("migration", *declared.labels))
        for labels, value in declared.read(self, view):
            if isinstance(value, int | float):
                family.add_metric([self.migration, *labels], float(value))
        return family


def _one(value: Any) -> Samples:
    return [((), value)]


def _build(exporter: Exporter, view: View) -> Samples:
    try:
        return [((version("auditor"),), 1)]
    except PackageNotFoundError:
        return [(("unknown",), 1)]


def _met(exporter: Exporter, view: View) -> Samples:
    return [((part.name,), int(part.status is Status.PASS)) for part in view.verdict.conditions]


def _findings(exporter: Exporter, view: View) -> Samples:
    counted = Counter((str(finding.kind), str(finding.state)) for finding in view.findings)
    return sorted(counted.items())


def _divergent(exporter: Exporter, view: View) -> Samples:
    totals = Counter({"missing": 0, "extra": 0, "different": 0})
    for finding in open_findings(view.findings):
        kind = finding.kind.removeprefix("row-")
        if kind in totals:
            totals[kind] += finding.count
    return [((kind,), total) for kind, total in sorted(totals.items())]


def _last_verified(exporter: Exporter, view: View) -> Samples:
    age = view.evidence.caught_up_age
    return _one(None if age is None else view.verdict.evaluated_at - age)


def _inner(record: Mapping[str, Any] | None, *path: str) -> Any:
    value: Any = record
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _seconds(value: Any) -> float | None:
    return value / 1000 if isinstance(value, int | float) else None


def _target(*path: str) -> Callable[[Exporter, View], Samples]:
    return lambda exporter, view: _one(_inner(view.records.get("sampler/target"), *path))


def _percentiles(name: str) -> Callable[[Exporter, View], Samples]:
    def read(exporter: Exporter, view: View) -> Samples:
        spread = _inner(view.records.get("sampler/target"), name)
        return [((share,), _seconds(_inner(spread, share))) for share in ("p50", "p95", "p99")]

    return read


def _sides(*path: str) -> Callable[[Exporter, View], Samples]:
    return lambda exporter, view: [
        ((side,), _inner(view.records.get(f"sampler/{side}"), *path)) for side in ("source", "target")
    ]


def _below(area: str, field: str) -> Callable[[Exporter, View], Samples]:
    return lambda exporter, view: [
        ((key.removeprefix(area),), _inner(record, field))
        for key, record in sorted(view.records.items())
        if key.startswith(area)
    ]


def _tables(exporter: Exporter, view: View) -> Samples:
    tally = view.evidence.tally
    return [((table,), count) for table, count in sorted(tally.tables.items())] if tally else []


def _coverage_age(exporter: Exporter, view: View) -> Samples:
    now = view.verdict.evaluated_at
    for key, record in sorted(view.records.items()):
        at = record.get("at") if key.startswith("coverage/") else None
        if isinstance(at, int | float):
            yield (key.removeprefix("coverage/"),), max(now - at, 0.0)


def _coverage_rows(exporter: Exporter, view: View) -> Samples:
    return [
        ((key.removeprefix("coverage/"), state), record.get(state))
        for key, record in sorted(view.records.items())
        if key.startswith("coverage/") and record.get("sweep")
        for state in ("verified", "unverified", "hot", "different")
    ]


def _sweep_rate(exporter: Exporter, view: View) -> Samples:
    lines = [_inner(record, "now") for key, record in view.records.items() if key.startswith("coverage/")]
    return _one(sum(line.get("rows_per_second") or 0 for line in lines if isinstance(line, Mapping)))


def _sweeper_paused(exporter: Exporter, view: View) -> Samples:
    state = _inner(view.records.get("sweeper"), "state")
    return _one(None if state is None else int(state == "paused"))


METRICS = (
    Declared("auditor_build_info", "Always 1; the label names the version.", _build, ("version",)),
    Declared(
        "auditor_migration_info",
        "Always 1; the labels say how the migration replicates and how the auditor transports.",
        lambda exporter, view: [((exporter.mode, exporter.transport), 1)],
        ("mode", "transport"),
    ),
    Declared(
        "auditor_gate_open",
        "1 while the verdict is PASS, else 0.",
        lambda exporter, view: _one(int(view.verdict.status is Status.PASS)),
    ),
    Declared("auditor_gate_condition_met", "1 while the condition is PASS, else 0.", _met, ("condition",)),
    Declared(
        "auditor_gate_needs_person",
        "1 while the gate waits for a person, else 0.",
        lambda exporter, view: _one(int(view.verdict.needs_person)),
    ),
    Declared(
        "auditor_gate_evaluations_total",
        "Evaluations since the gate started, by their verdict.",
        lambda exporter, view: [((decision,), count) for decision, count in sorted(exporter.decisions.items())],
        ("decision",),
    ),
    Declared(
        "auditor_gate_evaluated_timestamp_seconds",
        "When the gate last evaluated.",
        lambda exporter, view: _one(view.verdict.evaluated_at),
    ),
    Declared(
        "auditor_gate_last_pass_timestamp_seconds",
        "When the verdict was last PASS, since the gate started.",
        lambda exporter, view: _one(exporter.last_pass),
    ),
    Declared("auditor_findings", "Findings by kind and state.", _findings, ("kind", "state")),
    Declared("auditor_rows_divergent", "Rows in open findings, by how they differ.", _divergent, ("kind",)),
    Declared(
        "auditor_transactions_compared_total",
        "Sampled transactions compared since the baseline.",
        lambda exporter, view: _one(view.evidence.tally and view.evidence.tally.transactions),
    ),
    Declared(
        "auditor_changes_compared_total",
        "Changes compared since the baseline.",
        lambda exporter, view: _one(view.evidence.tally and view.evidence.tally.changes),
    ),
    Declared(
        "auditor_changes_matched_total",
        "Changes found equal on both sides since the baseline.",
        lambda exporter, view: _one(view.evidence.tally and view.evidence.tally.matched),
    ),
    Declared(
        "auditor_table_transactions_compared_total",
        "Sampled transactions compared since the baseline, by table.",
        _tables,
        ("table",),
    ),
    Declared(
        "auditor_divergence_bound_ratio",
        "Share of differing transactions not exceeded at 95 % confidence, for the worst table.",
        lambda exporter, view: _one(view.verdict.sample.bound_95),
    ),
    Declared(
        "auditor_last_verified_timestamp_seconds",
        "Everything that the source wrote until then is judged.",
        _last_verified,
    ),
    Declared(
        "auditor_replication_lag_seconds",
        "Commit on the source to applied on the target, over the last 10 s.",
        _percentiles("lag_ms"),
        ("percentile",),
    ),
    Declared("auditor_replication_lag_bytes", "WAL of the source not applied on the target.", _target("lag_bytes")),
    Declared(
        "auditor_apply_delay_seconds",
        "From commit to applied, of all transactions of the last ten seconds.",
        _percentiles("delay_ms"),
        ("percentile",),
    ),
    Declared(
        "auditor_in_window_ratio",
        "Share of sampled transactions applied within the window, over the last minute.",
        lambda exporter, view: _one(view.verdict.sample.in_window_share),
    ),
    Declared(
        "auditor_clock_uncertainty_seconds",
        "How well the offset of the source's clock is known.",
        lambda exporter, view: _one(_seconds(_inner(view.records.get("sampler/target"), "clock_uncertainty_ms"))),
    ),
    Declared(
        "auditor_foreign_transactions_total",
        "Transactions on the target that did not come through replication.",
        _target("foreign_transactions"),
    ),
    Declared(
        "auditor_nudge_transaction_ids_per_second",
        "Transaction ids that flushing the target's WAL uses up.",
        _target("nudge", "xids_per_second"),
    ),
    Declared("auditor_sampler_transactions_total", "Transactions seen in the log.", _sides("transactions"), ("side",)),
    Declared(
        "auditor_sampler_sampled_total", "Transactions read because they are sampled.", _sides("sampled"), ("side",)
    ),
    Declared("auditor_sampler_changes_total", "Row changes of sampled transactions.", _sides("changes"), ("side",)),
    Declared(
        "auditor_slot_retained_bytes",
        "WAL that the auditor's own slot holds back.",
        _sides("slot", "retained_bytes"),
        ("side",),
    ),
    Declared(
        "auditor_slot_budget_bytes",
        "WAL that the auditor's own slot may hold back before it is dropped.",
        _sides("slot", "budget_bytes"),
        ("side",),
    ),
    Declared(
        "auditor_slot_exists", "1 while the auditor's own slot exists, else 0.", _sides("slot", "exists"), ("side",)
    ),
    Declared(
        "auditor_core_pending_changes",
        "Changes waiting for their other side.",
        _below("core/", "pending"),
        ("partition",),
    ),
    Declared("auditor_core_frames_total", "Frames the core has taken in.", _below("core/", "frames"), ("partition",)),
    Declared(
        "auditor_core_dead_letters_total",
        "Frames the core could not read.",
        _below("core/", "dead_letters"),
        ("partition",),
    ),
    Declared(
        "auditor_coverage_age_seconds",
        "Age of the oldest piece of the table's last complete sweep.",
        _coverage_age,
        ("table",),
    ),
    Declared(
        "auditor_coverage_rows",
        "Rows of the table's last complete sweep, by what is known of them.",
        _coverage_rows,
        ("table", "state"),
    ),
    Declared(
        "auditor_table_sweeps_total",
        "Complete sweeps of the table since the baseline.",
        _below("coverage/", "sweep"),
        ("table",),
    ),
    Declared("auditor_sweep_rows_per_second", "Rows that the sweeps under way read.", _sweep_rate),
    Declared("auditor_sweep_paused", "1 while sweeps wait because the source is busy, else 0.", _sweeper_paused),
    Declared(
        "auditor_sweep_share_ratio",
        "Share of the time that a sweep may read; it falls when the source was busy.",
        lambda exporter, view: _one(_inner(view.records.get("sweeper"), "share")),
    ),
    Declared(
        "auditor_unaudited_gaps",
        "Intervals of the log that nobody audited and no sweep has made good.",
        lambda exporter, view: _one(None if view.evidence.gaps is None else len(view.evidence.gaps)),
    ),
    Declared(
        "auditor_process_heartbeat_timestamp_seconds",
        "When the process was last heard from.",
        _below("process/", "heartbeat"),
        ("process",),
    ),
    Declared(
        "auditor_process_restarts_total",
        "How often the supervisor has restarted the process.",
        _below("supervisor/", "restarts"),
        ("process",),
    ),
)
