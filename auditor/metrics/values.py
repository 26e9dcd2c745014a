"""What a metric is, what its values are taken from, and the ways to read them that several share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from auditor.cutover.documents import Followed
from auditor.metrics.memory import Memory
from comparators.findings import Finding
from orchestrator.policy import Verdict
from orchestrator.seen import Evidence


@dataclass(frozen=True, slots=True)
class View:
    """One evaluation, and the records it was made from."""

    verdict: Verdict
    evidence: Evidence
    records: Mapping[str, Mapping[str, Any]]
    findings: list[Finding]
    cutover: Followed | None = None
    """`None`: no cutover is configured."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """Everything that a value may be taken from."""

    view: View
    memory: Memory
    mode: str
    transport: str
    switched_off: frozenset[str] = frozenset()
    """Processes that the configuration does not want."""

    @property
    def verdict(self) -> Verdict:
        return self.view.verdict

    @property
    def evidence(self) -> Evidence:
        return self.view.evidence

    @property
    def records(self) -> Mapping[str, Mapping[str, Any]]:
        return self.view.records


Samples = Iterable[tuple[tuple[str, ...], Any]]
Read = Callable[[Scrape], Samples]


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric; `read` gives label values (without the migration) and numbers, and leaves out what is not known."""

    name: str
    help: str
    read: Read
    labels: tuple[str, ...] = ()
    histogram: bool = False
    """The values are `Delays`."""

    @property
    def kind(self) -> str:
        if self.histogram:
            return "histogram"
        return "counter" if self.name.endswith("_total") else "gauge"


def one(value: Any) -> Samples:
    """Give a metric without labels its value."""
    return [((), value)]


def inner(record: object, *path: str) -> Any:
    """Follow a path into a record; `None` where it ends early."""
    value: Any = record
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def seconds(milliseconds: Any) -> float | None:
    """Bring milliseconds to the base unit."""
    return milliseconds / 1000 if isinstance(milliseconds, int | float) else None


def target(*path: str) -> Read:
    """Read a field of what the target's sampler reports."""
    return lambda scrape: one(inner(scrape.records.get("sampler/target"), *path))


def percentiles(name: str) -> Read:
    """Read a spread that the target's sampler reports in milliseconds."""

    def read(scrape: Scrape) -> Samples:
        spread = inner(scrape.records.get("sampler/target"), name)
        return [((share,), seconds(inner(spread, share))) for share in ("p50", "p95", "p99")]

    return read


def sides(*path: str) -> Read:
    """Read a field of what each sampler reports."""
    return lambda scrape: [
        ((side,), inner(scrape.records.get(f"sampler/{side}"), *path)) for side in ("source", "target")
    ]


def below(area: str, field: str) -> Read:
    """Read a field of each record whose key begins so; the rest of the key is the label."""
    return lambda scrape: [
        ((key.removeprefix(area),), inner(record, field))
        for key, record in sorted(scrape.records.items())
        if key.startswith(area)
    ]


def figure(group: str, name: str) -> Read:
    """Read a figure of a probe."""
    return lambda scrape: one(figure_of(scrape, group, name))


def figure_of(scrape: Scrape, group: str, name: str) -> float | None:
    """Give a figure of a probe's last look; `None` where that failed or does not know it."""
    seen = scrape.evidence.probes.get(group)
    return None if seen is None or seen.error else seen.figures.get(name)
