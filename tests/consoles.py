"""Evidence for the console's tests and pictures: a migration in trouble, and as many tables as anybody has."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from auditor.console.page import Page, Renderer, page_of
from auditor.console.pulse import Point, Pulse
from auditor.gate import Snapshot
from comparators.findings import Finding, merged_findings
from comparators.preflight import Item, ItemStatus
from orchestrator.conditions import Status
from orchestrator.policy import Limits, decide
from orchestrator.seen import Evidence
from tests.gates import AT_ONCE, evidence_of, with_figures, with_item
from tests.helpers_records import NOW, covered, good_records, suspect

Records = dict[str, dict[str, Any]]


def troubled_records(now: float = NOW) -> Records:
    """Give records of a migration of which each section of the page has something to show."""
    records = good_records(now)
    scope = [{"table": f"public.{name}", "state": "audited", "reason": "", "since": 0} for name in (*TABLES, "events")]
    for number, name in enumerate(TABLES):
        rows = 1200 * 7**number % 9_000_000
        line = covered(f"public.{name}", now, rows=rows, verified=rows, at=now - 900 - 300 * number)
        records[f"coverage/public.{name}"] = line | {"finished_at": now - 60 - 250 * number, "sweep": 4}
    records["coverage/public.orders"] |= {"different": 2, "verified": records["coverage/public.orders"]["rows"] - 2}
    records["coverage/public.payments"] |= {"state": "sweeping", "hot": 31}
    records["sampler/target"]["scope"] = scope
    records["sampler/target"]["lag_ms"] |= {"p50": 0.7, "p95": 2.8}
    records["sampler/target"]["delay_ms"] |= {"p95": 2.0}
    records["baseline"]["at"] = now - 90_000
    records["process/gate"] = records["process/core"] | {"incarnation": "gate-1", "heartbeat": now}
    records["suspect/f_5c1e09a7d2b84f30"] = suspect(
        "f_5c1e09a7d2b84f30", now - 190, state="confirmed", kind="row-different", count=2, columns=["total"]
    )
    records["suspect/f_0b7740e19ac6d215"] = suspect(
        "f_0b7740e19ac6d215", now, kind="row-missing", table="public.payments", keys=[{"hash": "c9" * 16}]
    )
    records["override/o_1"] = {
        "condition": "marker-ms", "item": None, "owner": "dana", "reason": "cross-region link, agreed in CHG-1042",
        "at": now - 4000, "until": now + 40_000, "by": "token:operators",
    }  # fmt: skip
    records["alert/a1b2"] = {"name": "TargetDiskFilling", "severity": "warning", "since": now - 420, "at": now - 5}
    return _probed(records)


TABLES = ("orders", "lines", "customers", "payments", "shipments", "products", "stock")


def _probed(records: Records) -> Records:
    here = "logical pgoutput, database app, read by"
    inventory = (
        "source: etl_legacy: logical wal2json, database app, read by nobody, inactive for 5400 s, 700 MiB retained, "
        "WAL reserved: unknown",
        f"source: app_sub: {here} app_sub from 10.0.0.2, 16384 bytes retained, WAL reserved: a subscription's",
        f"source: auditor_orders_x: {here} auditor from 10.0.0.9, 4096 bytes retained, WAL reserved: ours",
    )
    for item in (
        Item(
            "slots-known", ItemStatus.BLOCKS_CORRECTNESS, "slots that nobody declared",
            "declare each under probes.known_slots with its owner, or drop it",
            ("source: etl_legacy (logical wal2json)",), 1,
        ),
        Item("slots-inventory", ItemStatus.OK, "replication slots: 3 on the source", "", inventory, len(inventory)),
        Item(
            "writers-known", ItemStatus.WARN, "roles that write while probes.known_writers is not given",
            "list them under probes.known_writers", ("app", "batch"), 2,
        ),
    ):
        records = with_item(records, item)
    return with_figures(records, "slots", slots=3, foreign_retained_bytes=734_003_200)


def large_records(tables: int, findings: int, now: float = NOW) -> Records:
    """Give records of many tables and findings."""
    records = {key: value for key, value in good_records(now).items() if not key.startswith("coverage/")}
    names = [f"public.table_{number:04}" for number in range(tables)]
    records |= {f"coverage/{name}": covered(name, now) for name in names}
    entry = {"state": "audited", "reason": "", "since": 0}
    records["sampler/target"]["scope"] = [{"table": name, **entry} for name in names]
    for number in range(findings):
        name = f"f_{number:016x}"
        records[f"suspect/{name}"] = suspect(name, now - number, state="confirmed", table=names[number % tables])
    return records


def snapshot_of(records: Mapping[str, Any], limits: Limits = AT_ONCE, number: int = 1, **changes: Any) -> Snapshot:
    """Evaluate records once."""
    evidence: Evidence = evidence_of(dict(records), **changes)
    verdict, _ = decide(evidence, limits, NOW)
    return Snapshot(verdict, evidence, b"{}", 100.0, number)


def waving_pulse(now: float = NOW) -> Pulse:
    """Give ten minutes of delays: quiet, a minute unknown, then a burst."""
    pulse = Pulse()
    for number in range(300):
        at, wave = now - 600 + 2 * number, math.sin(number / 9) + math.sin(number / 2.3) / 2
        burst = 9 * math.exp(-(((number - 235) / 12) ** 2))
        known = not 90 < number < 120
        p95 = 2.6 + wave * 0.6 + burst
        pulse.points.append(Point(at, 0.7 + wave * 0.1 + burst / 5, p95, p95 * 0.7) if known else Point(at))
    return pulse


def rendered(records: Mapping[str, Any], pulse: Pulse | None = None, **changes: Any) -> str:
    """Give the whole page for records, as HTML."""
    return html_of(snapshot_of(records, **changes), merged_findings(records, NOW), pulse)


def html_of(snapshot: Snapshot, findings: Sequence[Finding] = (), pulse: Pulse | None = None) -> str:
    """Render one evaluation."""
    renderer, pulse = Renderer(lambda: 0.0), pulse or Pulse()
    pulse.note(snapshot.verdict, {})

    def make() -> Page:
        return page_of(snapshot, findings, pulse, NOW - 3600)

    return renderer.whole(*renderer.current(snapshot, make), remaining="15.000")


def with_status(snapshot: Snapshot, status: Status, **changes: Any) -> Snapshot:
    """Change what the verdict says."""
    return replace(snapshot, verdict=replace(snapshot.verdict, status=status, **changes))
