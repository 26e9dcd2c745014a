"""Metrics of the pair: replication, slots and WAL, the checklist, and what the auditor costs the servers."""

from collections import Counter

from auditor.metrics.values import (
    Declared,
    Samples,
    Scrape,
    figure,
    figure_of,
    inner,
    one,
    percentiles,
    seconds,
    sides,
    target,
)

SLOTS = 50
"""So many slots have a line of their own, those that hold most first."""
SLOT_FIGURE = "retained_bytes/"


def _items(scrape: Scrape) -> Samples:
    return [
        ((group, status), count)
        for group, seen in sorted(scrape.evidence.probes.items())
        if seen.items is not None
        for status, count in sorted(Counter(str(item.status) for item in seen.items).items())
    ]


def _probed(scrape: Scrape) -> Samples:
    return [((group,), seen.at) for group, seen in sorted(scrape.evidence.probes.items())]


def _failed(scrape: Scrape) -> Samples:
    return [((group,), int(bool(seen.error))) for group, seen in sorted(scrape.evidence.probes.items())]


def _markers(scrape: Scrape) -> Samples:
    return [((share,), seconds(figure_of(scrape, "lag", f"marker_{share}_ms"))) for share in ("p50", "p95", "p99")]


def _slots(scrape: Scrape) -> Samples:
    seen = scrape.evidence.probes.get("slots")
    if seen is None or seen.error:
        return []
    held = {name.removeprefix(SLOT_FIGURE): held for name, held in seen.figures.items() if name.startswith(SLOT_FIGURE)}
    most = sorted(held, key=lambda slot: (-(held[slot] or 0), slot))[:SLOTS]
    return [((slot,), held[slot]) for slot in sorted(most)]


METRICS = (
    Declared(
        "auditor_replication_lag_seconds",
        "Commit on the source to applied on the target, over the last 10 s.",
        percentiles("lag_ms"),
        ("percentile",),
    ),
    Declared("auditor_replication_lag_bytes", "WAL of the source not applied on the target.", target("lag_bytes")),
    Declared(
        "auditor_apply_delay_seconds",
        "From commit to applied, of all transactions of the last ten seconds.",
        percentiles("delay_ms"),
        ("percentile",),
    ),
    Declared(
        "auditor_in_window_ratio",
        "Share of sampled transactions applied within the window, over the last minute.",
        lambda scrape: one(scrape.verdict.sample.in_window_share),
    ),
    Declared(
        "auditor_marker_round_trip_seconds",
        "From writing a marker on the source to seeing it on the target, on one clock.",
        _markers,
        ("percentile",),
    ),
    Declared(
        "auditor_markers_missing",
        "Markers of the last looks that did not arrive in time.",
        figure("lag", "marker_missing"),
    ),
    Declared(
        "auditor_apply_stalled_seconds",
        "For so long nothing was applied although the source writes.",
        figure("lag", "stalled_seconds"),
    ),
    Declared(
        "auditor_source_wal_bytes_per_second",
        "WAL that the source writes.",
        figure("capacity", "wal_bytes_per_second"),
    ),
    Declared(
        "auditor_source_wal_peak_bytes_per_second",
        "WAL that the source wrote at its busiest.",
        figure("capacity", "wal_peak_bytes_per_second"),
    ),
    Declared(
        "auditor_apply_drain_bytes_per_second",
        "WAL that the target applies while it catches up.",
        figure("capacity", "drain_bytes_per_second"),
    ),
    Declared(
        "auditor_apply_headroom_ratio",
        "How fast the target catches up against the source's busiest; below 1 it falls behind.",
        figure("capacity", "headroom_ratio"),
    ),
    Declared(
        "auditor_predicted_drain_seconds",
        "How long the target would need to apply what waits now.",
        figure("capacity", "predicted_drain_seconds"),
    ),
    Declared(
        "auditor_clock_uncertainty_seconds",
        "How well the offset of the source's clock is known.",
        lambda scrape: one(seconds(inner(scrape.records.get("sampler/target"), "clock_uncertainty_ms"))),
    ),
    Declared(
        "auditor_foreign_transactions_total",
        "Transactions on the target that did not come through replication.",
        target("foreign_transactions"),
    ),
    Declared(
        "auditor_nudge_transaction_ids_per_second",
        "Transaction ids that flushing the target's WAL uses up.",
        target("nudge", "xids_per_second"),
    ),
    Declared(
        "auditor_slot_retained_bytes",
        "WAL that the auditor's own slot holds back.",
        sides("slot", "retained_bytes"),
        ("side",),
    ),
    Declared(
        "auditor_slot_budget_bytes",
        "WAL that the auditor's own slot may hold back before it is dropped.",
        sides("slot", "budget_bytes"),
        ("side",),
    ),
    Declared(
        "auditor_slot_exists", "1 while the auditor's own slot exists, else 0.", sides("slot", "exists"), ("side",)
    ),
    Declared(
        "auditor_source_slot_retained_bytes",
        f"WAL that each slot on the source holds back, whoever's it is; the {SLOTS} that hold most.",
        _slots,
        ("slot",),
    ),
    Declared("auditor_preflight_items", "Items of the checklist by what they say.", _items, ("group", "status")),
    Declared("auditor_probe_timestamp_seconds", "When the probe of that group last looked.", _probed, ("group",)),
    Declared("auditor_probe_failed", "1 while the probe of that group fails, else 0.", _failed, ("group",)),
    Declared(
        "auditor_oldest_transaction_seconds",
        "Age of the oldest open transaction on either side.",
        figure("activity", "oldest_transaction_seconds"),
    ),
    Declared(
        "auditor_idle_in_transaction",
        "Sessions on either side that hold a transaction open and do nothing.",
        figure("activity", "idle_in_transaction"),
    ),
    Declared(
        "auditor_prepared_transactions",
        "Prepared transactions on either side.",
        figure("activity", "prepared_transactions"),
    ),
)
