"""Metrics of the audits: what was compared, how far, how fast a difference is noticed, and who is at work."""

from collections.abc import Mapping

from auditor.metrics.values import Declared, Read, Samples, Scrape, below, inner, one, sides


def _tally(field: str) -> Read:
    return lambda scrape: one(scrape.evidence.tally and getattr(scrape.evidence.tally, field))


def _tables(scrape: Scrape) -> Samples:
    tally = scrape.evidence.tally
    return [((table,), count) for table, count in sorted(tally.tables.items())] if tally else []


def _last_verified(scrape: Scrape) -> Samples:
    age = scrape.evidence.caught_up_age
    return one(None if age is None else scrape.verdict.evaluated_at - age)


def _advanced(scrape: Scrape) -> Samples:
    return [((str(partition),), at) for partition, at in sorted(scrape.memory.advanced.items())]


def _delays(scrape: Scrape) -> Samples:
    return [((audit,), delays) for audit, delays in sorted(scrape.memory.delays.items())]


def _canary(scrape: Scrape) -> Samples:
    return one(scrape.evidence.canary and scrape.evidence.canary.at)


def _coverage_rows(scrape: Scrape) -> Samples:
    return [
        ((key.removeprefix("coverage/"), state), record.get(state))
        for key, record in sorted(scrape.records.items())
        if key.startswith("coverage/") and record.get("sweep")
        for state in ("verified", "unverified", "hot", "different")
    ]


def _sweep_rate(scrape: Scrape) -> Samples:
    lines = [inner(record, "now") for key, record in scrape.records.items() if key.startswith("coverage/")]
    return one(sum(line.get("rows_per_second") or 0 for line in lines if isinstance(line, Mapping)))


def _sweeper_paused(scrape: Scrape) -> Samples:
    state = inner(scrape.records.get("sweeper"), "state")
    return one(None if state is None else int(state == "paused"))


def _processes(field: str) -> Read:
    """Read a field of what each process says of itself, if the configuration wants that process."""
    read = below("process/", field)
    return lambda scrape: [(labels, said) for labels, said in read(scrape) if labels[0] not in scrape.switched_off]


def _troubled(scrape: Scrape) -> Samples:
    return [(labels, int(bool(error))) for labels, error in _processes("error")(scrape)]


METRICS = (
    Declared(
        "auditor_transactions_compared_total",
        "Sampled transactions compared since the baseline.",
        _tally("transactions"),
    ),
    Declared("auditor_changes_compared_total", "Changes compared since the baseline.", _tally("changes")),
    Declared(
        "auditor_changes_matched_total", "Changes found equal on both sides since the baseline.", _tally("matched")
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
        lambda scrape: one(scrape.verdict.sample.bound_95),
    ),
    Declared(
        "auditor_last_verified_timestamp_seconds",
        "Everything that the source wrote until then is judged.",
        _last_verified,
    ),
    Declared(
        "auditor_detection_delay_seconds",
        "From a planted difference to its finding, by the audit that found it, since the gate started.",
        _delays,
        ("audit",),
        histogram=True,
    ),
    Declared("auditor_canary_receipt_timestamp_seconds", "When both audits had last found the canary.", _canary),
    Declared("auditor_sampler_transactions_total", "Transactions seen in the log.", sides("transactions"), ("side",)),
    Declared(
        "auditor_sampler_sampled_total", "Transactions read because they are sampled.", sides("sampled"), ("side",)
    ),
    Declared("auditor_sampler_changes_total", "Row changes of sampled transactions.", sides("changes"), ("side",)),
    Declared(
        "auditor_core_pending_changes", "Changes waiting for their other side.", below("core/", "pending"),
        ("partition",),
    ),
    Declared("auditor_core_frames_total", "Frames the core has taken in.", below("core/", "frames"), ("partition",)),
    Declared(
        "auditor_core_advanced_timestamp_seconds",
        "When the core's position was last seen to move.",
        _advanced,
        ("partition",),
    ),
    Declared(
        "auditor_core_dead_letters_total",
        "Frames the core could not read.",
        below("core/", "dead_letters"),
        ("partition",),
    ),
    Declared(
        "auditor_coverage_timestamp_seconds",
        "When the oldest piece of the table's last complete sweep was read.",
        below("coverage/", "at"),
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
        below("coverage/", "sweep"),
        ("table",),
    ),
    Declared("auditor_sweep_rows_per_second", "Rows that the sweeps under way read.", _sweep_rate),
    Declared("auditor_sweep_paused", "1 while sweeps wait because the source is busy, else 0.", _sweeper_paused),
    Declared(
        "auditor_sweep_share_ratio",
        "Share of the time that a sweep may read; it falls when the source was busy.",
        lambda scrape: one(inner(scrape.records.get("sweeper"), "share")),
    ),
    Declared(
        "auditor_unaudited_gaps",
        "Intervals of the log that nobody audited and no sweep has made good.",
        lambda scrape: one(None if scrape.evidence.gaps is None else len(scrape.evidence.gaps)),
    ),
    Declared(
        "auditor_process_heartbeat_timestamp_seconds",
        "When the process was last heard from.",
        _processes("heartbeat"),
        ("process",),
    ),
    Declared(
        "auditor_evidence_export_timestamp_seconds",
        "When a bundle of evidence was last stored elsewhere.",
        lambda scrape: one(inner(scrape.records.get("process/archiver"), "last_export")),
    ),
    Declared(
        "auditor_process_troubled",
        "1 while the process says that it cannot do its work, else 0.",
        _troubled,
        ("process",),
    ),
    Declared(
        "auditor_process_restarts_total",
        "How often the supervisor has restarted the process.",
        below("supervisor/", "restarts"),
        ("process",),
    ),
)  # fmt: skip
