"""Renders the table of metrics as Prometheus reads it."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from auditor import metrics
from auditor.metrics.memory import Delays, Memory
from auditor.metrics.values import Declared, Scrape, View
from auditor.settings import Settings
from orchestrator.policy import Verdict
from orchestrator.seen import Evidence


class Exporter(Collector):
    """Follows the gate's evaluations, and renders all metrics in a registry of its own."""

    def __init__(self, settings: Settings) -> None:
        self._mode = settings.replication.mode
        self._transport = "memory" if settings.transport is None else "kafka"
        self._migration = settings.migration
        self._switched_off = switched_off(settings)
        self._memory = Memory()
        self._scrape: Scrape | None = None
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def note(self, verdict: Verdict, evidence: Evidence) -> None:
        """Take one evaluation in."""
        self._memory.note(verdict, evidence)

    def render(self, view: View) -> bytes:
        """Write all metrics as Prometheus reads them."""
        self._scrape = Scrape(view, self._memory, self._mode, self._transport, self._switched_off)
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        if self._scrape is not None:
            for declared in metrics.METRICS:
                yield self._family(declared, self._scrape)

    def _family(self, declared: Declared, scrape: Scrape) -> Metric:
        labels = ("migration", *declared.labels)
        if declared.histogram:
            return self._histogram(HistogramMetricFamily(declared.name, declared.help, labels=labels), declared, scrape)
        make = CounterMetricFamily if declared.kind == "counter" else GaugeMetricFamily
        family = make(declared.name, declared.help, labels=labels)
        for values, number in declared.read(scrape):
            if isinstance(number, int | float):
                family.add_metric([self._migration, *values], float(number))
        return family

    def _histogram(self, family: HistogramMetricFamily, declared: Declared, scrape: Scrape) -> Metric:
        for values, delays in declared.read(scrape):
            if isinstance(delays, Delays):
                family.add_metric([self._migration, *values], delays.buckets(), delays.total_seconds)
        return family


def switched_off(settings: Settings) -> frozenset[str]:
    """Name the processes that the configuration does not want: what they once recorded is no news."""
    wanted = {
        "sweeper": settings.sweep.enabled,
        "prober": settings.probes.enabled,
        "archiver": settings.evidence.export is not None,
    }
    return frozenset(name for name, yes in wanted.items() if not yes)
