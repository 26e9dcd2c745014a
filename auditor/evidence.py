"""Fold the records into evidence: pure, and whatever cannot be read becomes "not known"."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor import fields
from auditor.accepted_differences import AcceptedFile
from auditor.fields import Records
from auditor.probe_evidence import alerts_seen, overrides_seen, probes_seen
from auditor.row_evidence import canary_seen, coverage_seen, sweeper_seen
from auditor.settings import Names, Settings
from comparators.acceptance import lay_over
from comparators.findings import Finding, State, about_data, merged_finding, open_findings, read_findings
from orchestrator.seen import (
    ApplySeen,
    BaselineSeen,
    CoreSeen,
    Evidence,
    FindingsSeen,
    GapSeen,
    OverrideSeen,
    ProcessSeen,
    SamplerSeen,
    SlotSeen,
    SubscriptionSeen,
    Tally,
)
from orchestrator.watermarks import PAGE_HEADER

FINDING_AREAS = ("suspect/", "settled/", "accepted/", "recheck/")
"""There may be thousands of these records; nothing but the findings is read from them."""
NAMED = 3
"""So many open findings are named in a reason; the list has them all."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the configuration says must be there."""

    migration: str
    partitions: int
    configuration: str
    sweeps: bool = True
    probing: bool = True
    overrides: tuple[OverrideSeen, ...] = ()
    """Those that the configuration makes."""


def expected_of(settings: Settings) -> Expected:
    """Take from the settings what evidence is held against."""
    text = "\n".join([repr(settings), settings.source.dsn, settings.target.dsn])
    configuration = hashlib.sha256(text.encode()).hexdigest()
    probes, overrides = settings.probes.enabled, settings.gate.overrides
    return Expected(
        settings.migration, settings.partitions, configuration, settings.sweep.enabled, probes, overrides
    )


def fold(
    records: Records,
    now: float,
    expected: Expected,
    *,
    read_at: float | None = None,
    records_error: str | None = None,
    findings: FindingsSeen | None = None,
) -> Evidence:
    """Give the evidence that the records hold.

    Args:
        records: keys and values as the records store holds them, in any order.
        now: unix seconds.
        read_at: when the records were last read; `None` means now.
        records_error: why they could not be read since.
        findings: what `fold_findings` gave for the same records, where the caller keeps it.
    """
    if findings is None:
        findings = fold_findings(records, now)
    records = {key: value for key, value in records.items() if not key.startswith(FINDING_AREAS)}
    target = fields.record_of(records, "sampler/target")
    return Evidence(
        migration=expected.migration,
        partitions=expected.partitions,
        configuration=expected.configuration,
        read_at=now if read_at is None and records_error is None else read_at,
        records_error=records_error,
        baseline=_baseline(fields.record_of(records, "baseline")),
        processes=_processes(records),
        source=_sampler(fields.record_of(records, "sampler/source")),
        target=_sampler(target),
        apply=_apply(target, f"{Names.of(expected.migration).schema}."),
        cores=_cores(records),
        tally=_tally(records, expected.partitions),
        findings=findings,
        gaps=_gaps(records),
        dead_letters=_dead_letters(records),
        sweeps=expected.sweeps,
        sweeper=sweeper_seen(fields.record_of(records, "sweeper")),
        coverage=coverage_seen(records),
        canary=canary_seen(fields.record_of(records, "canary/receipt")),
        probing=expected.probing,
        probes=probes_seen(records),
        overrides=(*expected.overrides, *overrides_seen(records)),
        alerts=alerts_seen(records),
    )


class FindingsReader:
    """Reads findings again and again; only those whose records are other objects than last time are merged anew."""

    def __init__(self, accepted: AcceptedFile | None = None) -> None:
        """Args: accepted: what is laid over the findings at each reading."""
        self._known: dict[str, tuple[Any, Any, Finding]] = {}
        self.accepted = accepted or AcceptedFile(None)

    def read(self, records: Records, now: float) -> tuple[list[Finding], tuple[str, ...]]:
        """Do as `read_findings` does, and lay the file of accepted differences over it."""
        findings, unreadable = read_findings(records, now, self._merge)
        return lay_over(findings, self.accepted.entries(), now), unreadable

    def _merge(self, name: str, seen: Any, settled: Any, accepted: Any, now: float | None) -> Finding:
        known = self._known.get(name)
        if known and known[0] is seen and known[1] is settled and accepted is None:
            return known[2]
        finding = merged_finding(name, seen, settled, accepted, now)
        if accepted is None:
            self._known[name] = (seen, settled, finding)
        return finding


def fold_findings(records: Records, now: float, reader: FindingsReader | None = None) -> FindingsSeen:
    """Count the findings; an acceptance that has ended by `now` no longer counts."""
    reader = reader or FindingsReader()
    findings, unreadable = reader.read(records, now)
    opened = open_findings(findings)
    suspects = [finding for finding in about_data(findings) if finding.state is State.SUSPECT]
    return FindingsSeen(
        open_count=len(opened),
        open_named=tuple(f"{finding.kind} in {finding.table}: {finding.id}" for finding in opened[:NAMED]),
        suspects=len(suspects),
        oldest_suspect=min((finding.first_seen for finding in suspects), default=None),
        unreadable=unreadable,
        differing=_differing(findings),
        swept_tables=tuple(sorted({finding.table for finding in findings if finding.detector == "row"})),
        accepted=sum(finding.state is State.ACCEPTED for finding in findings),
        accepted_error=reader.accepted.error,
    )


def source_mark(evidence: Evidence) -> tuple[float, int] | None:
    """Give where the source's log ended at a time: the position that the audit has to reach.

    The end is known to whoever watches the source: its own sampler, or the target's, which measures the lag from it.
    How far the source's log was read is no substitute: a sampler that waits stands still.
    """
    source, apply = evidence.source, evidence.apply
    if source is None or source.at is None or source.position is None:
        return None
    if source.wal_insert:
        return source.at, max(source.position, source.wal_insert - PAGE_HEADER)
    if apply is None or apply.at is None or not apply.applied or apply.lag_bytes is None:
        return None
    return min(source.at, apply.at), max(source.position, apply.applied + apply.lag_bytes - PAGE_HEADER)


def _differing(findings: list[Finding]) -> dict[str, int]:
    """Count the source transactions of each table that were found different and stayed so."""
    seen = {
        (finding.table, finding.subscription, finding.source_position)
        for finding in findings
        if finding.source_position is not None and finding.state in (State.CONFIRMED, State.ACCEPTED)
    }
    return dict(sorted(Counter(table for table, _, _ in seen).items()))


def _baseline(record: Mapping[str, Any] | None) -> BaselineSeen | None:
    if record is None or "ended" in record or "renewing" in record:  # torn down, or being prepared
        return None
    return BaselineSeen(
        floor=fields.whole(record, "floor"),
        at=fields.number(record, "at"),
        generation=fields.whole(record, "generation"),
        canary=fields.flag(record, "canary"),
    )


def _processes(records: Records) -> dict[str, ProcessSeen]:
    supervised = fields.below(records, "supervisor/")
    return {
        name: ProcessSeen(
            incarnation=fields.name(record, "incarnation"),
            heartbeat=fields.number(record, "heartbeat"),
            error=fields.text(record, "error"),
            last_exit=_last_exit(supervised, name),
        )
        for name, record in fields.below(records, "process/").items()
    }


def _last_exit(supervised: Mapping[str, Mapping[str, Any]], name: str) -> str | None:
    """In memory mode the samplers and the core are one process, the worker."""
    host = name if name in supervised or name == "gate" else "worker"
    return fields.text(supervised.get(host, {}), "last_exit")


def _sampler(record: Mapping[str, Any] | None) -> SamplerSeen | None:
    if record is None:
        return None
    slot = fields.inner(record, "slot")
    return SamplerSeen(
        at=fields.number(record, "at"),
        position=fields.whole(record, "position"),
        wal_insert=fields.whole(record, "wal_insert"),
        reading=fields.flag(record, "reading"),
        waiting_for=fields.text(record, "waiting_for"),
        error=fields.text(record, "error"),
        slot=SlotSeen(
            name=fields.text(slot, "name"),
            exists=fields.flag(slot, "exists"),
            retained_bytes=fields.whole(slot, "retained_bytes"),
            wal_status=fields.text(slot, "wal_status"),
        ),
        rate=fields.number(record, "rate"),
    )


def _apply(record: Mapping[str, Any] | None, control: str) -> ApplySeen | None:
    if record is None:
        return None
    lag, window = fields.inner(record, "lag_ms"), fields.inner(record, "window")
    return ApplySeen(
        at=fields.number(record, "at"),
        applied=fields.whole(record, "applied"),
        lag_bytes=fields.whole(record, "lag_bytes"),
        lag_ms_p95=fields.number(lag, "p95"),
        lag_samples=fields.whole(lag, "samples"),
        idle=fields.flag(lag, "idle"),
        in_window=fields.whole(window, "in_window"),
        measured=fields.whole(window, "measured"),
        unmeasured=fields.whole(window, "unmeasured"),
        span_seconds=fields.number(window, "span_seconds"),
        subscriptions=_subscriptions(record.get("subscriptions")),
        unpublished=fields.names(record, "unpublished"),
        unknown_subscriptions=fields.names(record, "unknown_subscriptions"),
        audited=_scope(record.get("scope"), "audited"),
        skipped=_scope(record.get("scope"), "skipped"),
        to_cover=_to_cover(record.get("scope"), control),
        judged_from=judged_from(record.get("scope")),
    )


def _subscriptions(value: Any) -> tuple[SubscriptionSeen, ...] | None:
    if not isinstance(value, list | tuple):
        return None
    records = [item if isinstance(item, Mapping) else {} for item in value]
    seen = [
        SubscriptionSeen(
            name=str(record.get("name")),
            enabled=fields.flag(record, "enabled"),
            worker=fields.flag(record, "worker"),
            error=fields.text(record, "error"),
            tables_not_ready=fields.names(record, "tables_not_ready"),
        )
        for record in records
    ]
    return tuple(sorted(seen, key=lambda subscription: json.dumps([subscription.name, subscription.error])))


def _scope(value: Any, state: str | None) -> tuple[str, ...] | None:
    """Name the tables in a state, or all of them; an entry nobody can read counts as skipped."""
    if not isinstance(value, list | tuple):
        return None
    named = [
        (str(item.get("table")), str(item.get("state"))) if isinstance(item, Mapping) else (str(item), "skipped")
        for item in value
    ]
    known = ("audited", "excluded", "skipped")
    found = {(table, seen if seen in known else "skipped") for table, seen in named}
    return tuple(sorted({table for table, seen in found if state in (None, seen)}))


def _to_cover(value: Any, control: str) -> tuple[str, ...] | None:
    """Name the tables that sweeps have to cover: whatever is not said to be excluded, and none of our own."""
    excluded, everything = _scope(value, "excluded"), _scope(value, None)
    if excluded is None or everything is None:
        return None
    return tuple(table for table in everything if table not in excluded and not table.startswith(control))


def judged_from(value: Any) -> dict[str, int]:
    """Give where each audited table begins to be judged, as far as it is said; of two positions the later."""
    starts: dict[str, int] = {}
    for item in value if isinstance(value, list | tuple) else ():
        start = fields.whole(item, "since") if isinstance(item, Mapping) else None
        if start is not None and item.get("state") == "audited":
            name = str(item.get("table"))
            starts[name] = max(start, starts.get(name, 0))
    return dict(sorted(starts.items()))


def _cores(records: Records) -> dict[int, CoreSeen]:
    return {
        int(name): CoreSeen(fields.number(record, "at"), fields.whole(record, "resolved"))
        for name, record in fields.below(records, "core/").items()
        if name.isdecimal()
    }


def _tally(records: Records, partitions: int) -> Tally | None:
    parts = [fields.record_of(records, f"progress/{partition}") for partition in range(partitions)]
    tallies = [fields.inner(part, "tallies") for part in parts if part is not None]
    if not tallies or len(tallies) != partitions or not all(tallies):
        return None
    return Tally(
        _total(tallies, "transactions"), _total(tallies, "changes"), _total(tallies, "matched"), _table_totals(tallies)
    )


def _total(tallies: list[Mapping[str, Any]], name: str) -> int | None:
    values = [fields.whole(tally, name) for tally in tallies]
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _table_totals(tallies: list[Mapping[str, Any]]) -> dict[str, int]:
    """Sum up the transactions of each table; `{}` when one is not known, since the worst table may be that one."""
    totals: Counter[str] = Counter()
    for tally in tallies:
        for table, counts in fields.inner(tally, "tables").items():
            transactions = counts[1] if isinstance(counts, list | tuple) and len(counts) == 2 else None
            if not isinstance(transactions, int) or isinstance(transactions, bool) or transactions < 0:
                return {}
            totals[str(table)] += transactions
    return dict(sorted(totals.items()))


def _gaps(records: Records) -> tuple[GapSeen, ...]:
    """List the gaps not closed; one that does not say so is open."""
    return tuple(
        GapSeen(
            id=name,
            side=fields.text(record, "side"),
            reason=fields.text(record, "reason"),
            end=fields.whole(record, "to"),
            at=fields.number(record, "at"),
        )
        for name, record in fields.below(records, "gap/").items()
        if record.get("open") is not False
    )


def _dead_letters(records: Records) -> int:
    """Count the unreadable frames of this baseline; each may have held anything."""
    since = fields.number(fields.record_of(records, "baseline") or {}, "at") or 0.0
    ats = [fields.number(record, "at") for record in fields.below(records, "dead-letter/").values()]
    listed = sum(at is None or at >= since for at in ats)
    counted = sum(fields.whole(record, "dead_letters") or 0 for record in fields.below(records, "core/").values())
    return max(listed, counted)
