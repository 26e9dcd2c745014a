"""Fold the records into evidence: pure, and whatever cannot be read becomes "not known"."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from auditor.accepted_differences import AcceptedFile
from auditor.settings import Names, Settings
from comparators.acceptance import lay_over
from comparators.findings import Finding, State, about_data, merged_finding, open_findings, read_findings
from orchestrator.seen import (
    ApplySeen,
    BaselineSeen,
    CanarySeen,
    CoreSeen,
    CoverageSeen,
    Evidence,
    FindingsSeen,
    GapSeen,
    ProcessSeen,
    SamplerSeen,
    SkipSeen,
    SlotSeen,
    SubscriptionSeen,
    SweeperSeen,
    Tally,
)
from orchestrator.watermarks import PAGE_HEADER

Records = Mapping[str, Any]
FINDING_AREAS = ("suspect/", "settled/", "accepted/", "recheck/")
"""There may be thousands of these records; nothing but the findings is read from them."""
COUNTED = ("sweep", "rows", "verified", "unverified", "hot", "different", "through")
NAMED = 3
"""So many open findings are named in a reason; the list has them all."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the configuration says must be there."""

    migration: str
    partitions: int
    configuration: str
    sweeps: bool = True


def expected_of(settings: Settings) -> Expected:
    """Take from the settings what evidence is held against."""
    text = "\n".join([repr(settings), settings.source.dsn, settings.target.dsn])
    configuration = hashlib.sha256(text.encode()).hexdigest()
    return Expected(settings.migration, settings.partitions, configuration, settings.sweep.enabled)


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
    target = _record(records, "sampler/target")
    return Evidence(
        migration=expected.migration,
        partitions=expected.partitions,
        configuration=expected.configuration,
        read_at=now if read_at is None and records_error is None else read_at,
        records_error=records_error,
        baseline=_baseline(_record(records, "baseline")),
        processes=_processes(records),
        source=_sampler(_record(records, "sampler/source")),
        target=_sampler(target),
        apply=_apply(target, f"{Names.of(expected.migration).schema}."),
        cores=_cores(records),
        tally=_tally(records, expected.partitions),
        findings=findings,
        gaps=_gaps(records),
        dead_letters=_dead_letters(records),
        sweeps=expected.sweeps,
        sweeper=_sweeper(_record(records, "sweeper")),
        coverage=_coverage(records),
        canary=_canary(_record(records, "canary/receipt")),
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


def _record(records: Records, key: str) -> Mapping[str, Any] | None:
    value = records.get(key)
    return value if isinstance(value, Mapping) else None


def _below(records: Records, area: str) -> dict[str, Mapping[str, Any]]:
    """Give the records `area/...` by the rest of their key, sorted: the order of arrival must not show."""
    found = {
        key.removeprefix(area): value if isinstance(value, Mapping) else {}
        for key, value in records.items()
        if key.startswith(area) and value is not None
    }
    return dict(sorted(found.items()))


def _number(record: Mapping[str, Any], name: str) -> float | None:
    value = record.get(name)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if fits else None


def _whole(record: Mapping[str, Any], name: str) -> int | None:
    value = record.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _flag(record: Mapping[str, Any], name: str) -> bool | None:
    value = record.get(name)
    return value if isinstance(value, bool) else None


def _text(record: Mapping[str, Any], name: str) -> str | None:
    value = record.get(name)
    return None if value is None else str(value)


def _name(record: Mapping[str, Any], name: str) -> str | None:
    """Give a text that was written as one; a number or a list in its place names nothing."""
    value = record.get(name)
    return value if isinstance(value, str) else None


def _names(record: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    value = record.get(name)
    return tuple(sorted({str(item) for item in value})) if isinstance(value, list | tuple) else None


def _inner(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}


def _baseline(record: Mapping[str, Any] | None) -> BaselineSeen | None:
    if record is None or "ended" in record or "renewing" in record:  # torn down, or being prepared
        return None
    return BaselineSeen(
        _whole(record, "floor"), _number(record, "at"), _whole(record, "generation"), _flag(record, "canary")
    )


def _processes(records: Records) -> dict[str, ProcessSeen]:
    supervised = _below(records, "supervisor/")
    return {
        name: ProcessSeen(
            incarnation=_name(record, "incarnation"),
            heartbeat=_number(record, "heartbeat"),
            error=_text(record, "error"),
            last_exit=_last_exit(supervised, name),
        )
        for name, record in _below(records, "process/").items()
    }


def _last_exit(supervised: Mapping[str, Mapping[str, Any]], name: str) -> str | None:
    """In memory mode the samplers and the core are one process, the worker."""
    host = name if name in supervised or name == "gate" else "worker"
    return _text(supervised.get(host, {}), "last_exit")


def _sampler(record: Mapping[str, Any] | None) -> SamplerSeen | None:
    if record is None:
        return None
    slot = _inner(record, "slot")
    return SamplerSeen(
        at=_number(record, "at"),
        position=_whole(record, "position"),
        wal_insert=_whole(record, "wal_insert"),
        reading=_flag(record, "reading"),
        waiting_for=_text(record, "waiting_for"),
        error=_text(record, "error"),
        slot=SlotSeen(
            _text(slot, "name"), _flag(slot, "exists"), _whole(slot, "retained_bytes"), _text(slot, "wal_status")
        ),
    )


def _apply(record: Mapping[str, Any] | None, control: str) -> ApplySeen | None:
    if record is None:
        return None
    lag, window = _inner(record, "lag_ms"), _inner(record, "window")
    return ApplySeen(
        at=_number(record, "at"),
        applied=_whole(record, "applied"),
        lag_bytes=_whole(record, "lag_bytes"),
        lag_ms_p95=_number(lag, "p95"),
        lag_samples=_whole(lag, "samples"),
        idle=_flag(lag, "idle"),
        in_window=_whole(window, "in_window"),
        measured=_whole(window, "measured"),
        unmeasured=_whole(window, "unmeasured"),
        span_seconds=_number(window, "span_seconds"),
        subscriptions=_subscriptions(record.get("subscriptions")),
        unpublished=_names(record, "unpublished"),
        unknown_subscriptions=_names(record, "unknown_subscriptions"),
        audited=_scope(record.get("scope"), "audited"),
        skipped=_scope(record.get("scope"), "skipped"),
        to_cover=_to_cover(record.get("scope"), control),
    )


def _subscriptions(value: Any) -> tuple[SubscriptionSeen, ...] | None:
    if not isinstance(value, list | tuple):
        return None
    records = [item if isinstance(item, Mapping) else {} for item in value]
    seen = [
        SubscriptionSeen(
            name=str(record.get("name")),
            enabled=_flag(record, "enabled"),
            worker=_flag(record, "worker"),
            error=_text(record, "error"),
            tables_not_ready=_names(record, "tables_not_ready"),
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


def _sweeper(record: Mapping[str, Any] | None) -> SweeperSeen | None:
    if record is None:
        return None
    return SweeperSeen(
        at=_number(record, "at"),
        state=_name(record, "state"),
        paused_because=_text(record, "paused_because"),
        tables=_whole(record, "tables"),
        error=_text(record, "error"),
    )


def _coverage(records: Records) -> dict[str, CoverageSeen]:
    return {
        table: CoverageSeen(
            table=_name(record, "table"),
            state=_name(record, "state"),
            reason=_text(record, "reason"),
            generation=_whole(record, "generation"),
            **{name: _whole(record, name) for name in COUNTED},
            at=_number(record, "at"),
            finished_at=_number(record, "finished_at"),
            accepted=_skip(record.get("accepted")),
        )
        for table, record in _below(records, "coverage/").items()
    }


def _skip(value: Any) -> SkipSeen | None:
    if not isinstance(value, Mapping):
        return None
    return SkipSeen(_name(value, "owner"), _name(value, "reason"), _number(value, "until"))


def _canary(record: Mapping[str, Any] | None) -> CanarySeen | None:
    if record is None:
        return None
    return CanarySeen(
        at=_number(record, "at"),
        planted_at=_number(record, "planted_at"),
        transaction_ms=_number(record, "transaction_ms"),
        row_ms=_number(record, "row_ms"),
        n=_whole(record, "n"),
        generation=_whole(record, "generation"),
        error=_text(record, "error"),
    )


def _cores(records: Records) -> dict[int, CoreSeen]:
    return {
        int(name): CoreSeen(_number(record, "at"), _whole(record, "resolved"))
        for name, record in _below(records, "core/").items()
        if name.isdecimal()
    }


def _tally(records: Records, partitions: int) -> Tally | None:
    parts = [_record(records, f"progress/{partition}") for partition in range(partitions)]
    tallies = [_inner(part, "tallies") for part in parts if part is not None]
    if not tallies or len(tallies) != partitions or not all(tallies):
        return None
    return Tally(
        _total(tallies, "transactions"), _total(tallies, "changes"), _total(tallies, "matched"), _table_totals(tallies)
    )


def _total(tallies: list[Mapping[str, Any]], name: str) -> int | None:
    values = [_whole(tally, name) for tally in tallies]
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _table_totals(tallies: list[Mapping[str, Any]]) -> dict[str, int]:
    """Sum up the transactions of each table; `{}` when one is not known, since the worst table may be that one."""
    totals: Counter[str] = Counter()
    for tally in tallies:
        for table, counts in _inner(tally, "tables").items():
            transactions = counts[1] if isinstance(counts, list | tuple) and len(counts) == 2 else None
            if not isinstance(transactions, int) or isinstance(transactions, bool) or transactions < 0:
                return {}
            totals[str(table)] += transactions
    return dict(sorted(totals.items()))


def _gaps(records: Records) -> tuple[GapSeen, ...]:
    """List the gaps not closed; one that does not say so is open."""
    return tuple(
        GapSeen(name, _text(record, "side"), _text(record, "reason"), _whole(record, "to"), _number(record, "at"))
        for name, record in _below(records, "gap/").items()
        if record.get("open") is not False
    )


def _dead_letters(records: Records) -> int:
    """Count the unreadable frames of this baseline; each may have held anything."""
    since = _number(_record(records, "baseline") or {}, "at") or 0.0
    ats = [_number(record, "at") for record in _below(records, "dead-letter/").values()]
    listed = sum(at is None or at >= since for at in ats)
    counted = sum(_whole(record, "dead_letters") or 0 for record in _below(records, "core/").values())
    return max(listed, counted)
