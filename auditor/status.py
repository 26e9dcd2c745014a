"""`auditor status`: what the records say, on one screen; works also when nothing runs."""

import json
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime
from typing import Any

from auditor.settings import Settings
from comparators.positions import format_lsn

Records = Mapping[str, Any]
PROCESSES = ("sampler-source", "sampler-target", "core", "sweeper", "prober", "gate", "archiver")
ALIVE_SECONDS = 5.0


def status_command(settings: Settings, *, as_json: bool) -> int:
    """Print the status; 0 means that it could be read, not that all is well."""
    document = status_of(settings, read_records(settings), time.time())
    print(json.dumps(document) if as_json else screen(document))
    return 0


def read_records(settings: Settings) -> dict[str, Any]:
    """Read all records of the migration; none where nothing has been stored yet, and nothing is created.

    Raises:
        StoreUnavailable: they cannot be reached.
    """
    if settings.transport is None and not (settings.state_dir / "records.sqlite").exists():
        return {}
    from auditor.records import open_records

    with closing(open_records(settings)) as records:
        return {key: value for key, value in records.changes().items() if value is not None}


def status_of(settings: Settings, records: Records, now: float) -> dict[str, Any]:
    """Sum the records up.

    Args:
        now: unix seconds.
    """
    verdict = _verdict(records.get("verdict"), now)
    switches = {"sweeper": settings.sweep.enabled, "prober": settings.probes.enabled}
    off = {name for name, on in (switches | {"archiver": settings.evidence.export is not None}).items() if not on}
    processes = [_process(name, records, now) for name in PROCESSES if name not in off]
    return {
        "migration": settings.migration,
        "prepared": "baseline" in records,
        "verdict": verdict["verdict"],
        "reasons": verdict["reasons"],
        "processes": processes,
        "positions": _positions(records),
        "lag": _lag(records),
        "coverage": _coverage(records, now),
        "findings": _findings(settings, records, now),
        "checklist": _checklist(records),
        "next_steps": _next_steps(records, processes, verdict),
    }


def screen(status: Mapping[str, Any]) -> str:
    """Lay the status out for a terminal."""
    lines = [f"migration {status['migration']}: {status['verdict']}"]
    lines += [f"  {reason}" for reason in status["reasons"]]
    lines += ["", "processes"]
    lines += [f"  {one['name']:<15} {_process_words(one)}" for one in status["processes"]]
    lines += [""]
    for title in ("positions", "lag", "coverage", "findings"):
        parts = (f"{name.replace('_', ' ')} {_known(value)}" for name, value in status[title].items())
        lines += [f"{title:<10} {', '.join(parts)}"]
    lines += [f"checklist  {_checklist_words(status['checklist'])}"]
    lines += [f"  {one['name']}: {one['status']}: {one['sentence']}" for one in status["checklist"]["blocking"]]
    return "\n".join([*lines, "", "next", *(f"  {step}" for step in status["next_steps"])])


def _verdict(verdict: Any, now: float) -> dict[str, Any]:
    if not isinstance(verdict, Mapping):
        return {"verdict": "INCONCLUSIVE", "reasons": ["no verdict yet: the gate has not run"], "next_steps": []}
    late = now - (_seconds(verdict.get("valid_until")) or 0)
    if late > 0:
        reason = f"the last verdict ({verdict.get('verdict')}) is no longer valid: the gate does not run"
        return {"verdict": "INCONCLUSIVE", "reasons": [reason], "next_steps": []}
    return {name: verdict.get(name) or [] for name in ("verdict", "reasons", "next_steps")}


def _seconds(text: Any) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except ValueError:
        return None


def _process(name: str, records: Records, now: float) -> dict[str, Any]:
    seen = records.get(f"process/{name}") or {}
    supervised = records.get(f"supervisor/{name}")
    if supervised is None and name != "gate":
        supervised = records.get("supervisor/worker")  # with the memory transport one process is all three
    supervised = supervised or {}
    heartbeat = seen.get("heartbeat")
    age = None if heartbeat is None else max(0.0, now - heartbeat)
    return {
        "name": name,
        "alive": age is not None and age <= ALIVE_SECONDS,
        "age_seconds": None if age is None else round(age, 3),
        "pid": seen.get("pid"),
        "restarts": supervised.get("restarts", 0),
        "last_exit": supervised.get("last_exit"),
        "error": seen.get("error"),
    }


def _process_words(process: Mapping[str, Any]) -> str:
    age = process["age_seconds"]
    words = "not started" if age is None else f"{'alive' if process['alive'] else 'silent'}, heard from {age:.1f} s ago"
    words += f", restarts: {process['restarts']}" if process["restarts"] else ""
    words += f", last end: {process['last_exit']}" if process["last_exit"] else ""
    return words + (f"; {process['error']}" if process["error"] else "")


def _positions(records: Records) -> dict[str, str | None]:
    source, target = records.get("sampler/source") or {}, records.get("sampler/target") or {}
    cores = [value.get("resolved") for key, value in records.items() if key.startswith("core/")]
    audited = min(cores) if cores and None not in cores else None
    return {
        "source": _position(source.get("wal_insert")),
        "audited_through": _position(audited),
        "target_applied": _position(target.get("applied")),
    }


def _position(value: Any) -> str | None:
    return format_lsn(value) if isinstance(value, int) else None


def _lag(records: Records) -> dict[str, Any]:
    target = records.get("sampler/target") or {}
    lag = target.get("lag_ms") or {}
    window = target.get("window") or {}
    measured = window.get("measured")
    share = round(window.get("in_window", 0) / measured, 4) if measured else None
    return {
        "p50_ms": lag.get("p50"),
        "p95_ms": lag.get("p95"),
        "bytes": target.get("lag_bytes"),
        "in_window_share": share,
    }


def _coverage(records: Records, now: float) -> dict[str, Any]:
    """Sum the ledger up: tables swept whole, rows, the age of the oldest, and what the sweeper does."""
    lines = [value for key, value in records.items() if key.startswith("coverage/")]
    ages = [now - line["at"] for line in lines if line.get("at")]
    rates = [line["now"]["rows_per_second"] for line in lines if line.get("now")]
    sweeper = records.get("sweeper") or {}
    return {
        "tables": len(lines),
        "swept": sum(bool(line.get("sweep")) for line in lines),
        **{name: sum(line.get(name) or 0 for line in lines) for name in ("verified", "unverified", "hot", "different")},
        "age_seconds": round(max(ages), 1) if ages else None,
        "rows_per_second": round(sum(rate or 0 for rate in rates)),
        "sweeper": sweeper.get("paused_because") or sweeper.get("state"),
    }


def _checklist(records: Records) -> dict[str, Any]:
    """Sum the probes up: how many items block or are not known, which, and how many warn."""
    from auditor.probe_evidence import probes_seen
    from comparators.preflight import ItemStatus, item_json

    probes = probes_seen(records)
    items = [item for seen in probes.values() for item in seen.items or ()]
    return {
        "items": len(items),
        "warnings": sum(item.status is ItemStatus.WARN for item in items),
        "blocking": [item_json(item) for item in items if item.status.blocks],
        "failed": sorted(group for group, seen in probes.items() if seen.error),
    }


def _checklist_words(checklist: Mapping[str, Any]) -> str:
    words = f"{checklist['items']} items, {len(checklist['blocking'])} block or are not known"
    words += f", {checklist['warnings']} warn"
    return words + (f"; probes that failed: {', '.join(checklist['failed'])}" if checklist["failed"] else "")


def _findings(settings: Settings, records: Records, now: float) -> dict[str, Any]:
    from auditor.accepted_differences import load_accepted
    from comparators.acceptance import lay_over
    from comparators.findings import State, merged_findings, open_findings

    entries = load_accepted(settings.accepted_differences)
    findings = lay_over(merged_findings(records, now), entries, now)
    accepted = sum(finding.state is State.ACCEPTED for finding in findings)
    suspects = sum(finding.state is State.SUSPECT for finding in findings)
    opened = len(open_findings(findings))
    return {"open": opened, "suspects": suspects, "accepted": accepted, "all": len(findings)}


def _next_steps(records: Records, processes: list[dict[str, Any]], verdict: Mapping[str, Any]) -> list[str]:
    if "baseline" not in records:
        return ["auditor prepare", "auditor run"]
    if not any(process["alive"] for process in processes):
        return ["auditor run"]
    if verdict["verdict"] == "PASS":
        return ["auditor gate check"]
    return list(verdict["next_steps"]) or ["auditor gate check --wait"]


def _known(value: Any) -> str:
    if value is None:
        return "not known"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
