"""What the demo says at its end: as JSON for machines, and in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auditor.demo.faults import EXIT, PERSON, Fault
from auditor.demo.stage import Harm
from auditor.demo.view import known, milliseconds, share
from auditor.demo.watch import Picture, Turn
from comparators.findings import time_text

CONFIRMED = frozenset({"confirmed"})


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault that was injected, and where."""

    fault: Fault
    variant: str
    harm: Harm
    healed_at: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """Whether the auditor did what it owes for a fault."""

    as_expected: bool
    detected_after_ms: float | None
    said: str
    """In words, what was not as expected."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Everything the last words are made of."""

    seconds: float
    picture: Picture
    turns: Sequence[Turn]
    injected: Injected | None
    limits: Mapping[str, float]
    transport: str
    problems: Sequence[str] = ()
    alerts: Sequence[str] | None = None
    """Those that fired; `None` where nobody watched."""


def judge(injected: Injected, picture: Picture, turns: Sequence[Turn]) -> Judged:
    """Compare what the auditor said with what the fault promises."""
    fault, harm = injected.fault, injected.harm
    confirmed = [finding for finding in picture.findings if finding["state"] in CONFIRMED]
    strange = [finding for finding in confirmed if not _owed(finding, fault)]
    if strange:
        return Judged(False, None, f"{strange[0]['kind']} in {strange[0]['table']} was not to be found")
    if fault.expected and not any(_fits(finding, fault, harm) for finding in confirmed):
        return Judged(False, None, f"no {' or '.join(fault.expected)} in {harm.table} was confirmed")
    detected = _found_at(confirmed, picture, injected) if fault.expected else _closed_at(fault, harm, turns)
    if detected is None and fault.conditions:
        return Judged(False, None, f"none of {', '.join(fault.conditions)} was in trouble")
    after = None if detected is None else max(0.0, (detected - harm.at) * 1000)
    if picture.verdict["verdict"] != fault.verdict:
        return Judged(False, after, f"the verdict is {picture.verdict['verdict']}, not {fault.verdict}")
    if bool(picture.verdict.get("needs_person")) != fault.needs_person:
        return Judged(False, after, f"a person is {'not ' if fault.needs_person else ''}called for")
    return Judged(True, after, "found as expected")


def _owed(finding: Mapping[str, Any], fault: Fault) -> bool:
    """Say whether one of the audits should say this of the fault; both may, each in its own words."""
    return finding["kind"] in (fault.in_rows if finding["detector"] == "row" else fault.expected)


def _fits(finding: Mapping[str, Any], fault: Fault, harm: Harm) -> bool:
    by_columns = harm.columns <= set(finding["columns"] or harm.columns)
    return bool(finding["table"] == harm.table and finding["detector"] == fault.detector and by_columns)


def _found_at(confirmed: Sequence[Mapping[str, Any]], picture: Picture, injected: Injected) -> float | None:
    """When the first finding was confirmed."""
    fitting = (finding for finding in confirmed if _fits(finding, injected.fault, injected.harm))
    times = [picture.confirmed_at.get(finding["id"]) for finding in fitting]
    return min((at for at in times if at is not None), default=None)


def _closed_at(fault: Fault, harm: Harm, turns: Sequence[Turn]) -> float | None:
    """When the gate first named a condition that the fault must break."""
    for turn in turns:
        if turn.at >= harm.at and turn.verdict != "PASS" and set(turn.troubles) & set(fault.conditions):
            return turn.at
    return None


def exit_code(ending: Ending) -> int:
    """Follow the verdict; a fault that was not found as expected needs a person."""
    if ending.injected and not judge(ending.injected, ending.picture, ending.turns).as_expected:
        return PERSON
    if ending.picture.verdict.get("needs_person"):
        return PERSON
    return EXIT[ending.picture.verdict["verdict"]]


def document(ending: Ending) -> dict[str, Any]:
    """Build the demo's JSON line (interface.md)."""
    now, verdict = ending.picture.figures, ending.picture.verdict
    return {
        "verdict": verdict["verdict"],
        "seconds": round(ending.seconds, 1),
        "transactions": {"source": now.committed, "sampled": now.sampled, "matched": now.matched},
        "changes": now.changes,
        "in_window_share": ending.picture.share,
        "lag_ms": {name: now.lag_ms.get(name) for name in ("p50", "p95")},
        "lag_bytes": now.lag_bytes,
        "apply_delay_ms": {name: now.delay_ms.get(name) for name in ("p50", "p99")},
        "findings": list(ending.picture.findings),
        "coverage": now.coverage.document(now.at),
        "fault": _fault(ending),
        "reasons": list(verdict["reasons"]),
        "needs_person": bool(verdict.get("needs_person")),
        "positions": verdict.get("positions"),
        "sample": verdict.get("sample"),
        "relaxed_limits": dict(ending.limits),
        "transport": ending.transport,
        "alerts": None if ending.alerts is None else list(ending.alerts),
    }


def _fault(ending: Ending) -> dict[str, Any] | None:
    if ending.injected is None:
        return None
    fault, harm = ending.injected.fault, ending.injected.harm
    judged = judge(ending.injected, ending.picture, ending.turns)
    during = {turn.verdict for turn in ending.turns if turn.at >= harm.at}
    return {
        "name": fault.name,
        "variant": ending.injected.variant or None,
        "what": fault.what,
        "injected_at": time_text(harm.at),
        "table": harm.table,
        "detected_after_ms": None if judged.detected_after_ms is None else round(judged.detected_after_ms, 1),
        "expected": list(fault.expected),
        "expected_verdict": fault.verdict,
        "verdict_during": fault.verdict_during if fault.verdict_during in during else None,
        "found_as_expected": judged.as_expected,
        "said": judged.said,
    }


def words(ending: Ending) -> str:
    """Say it for people."""
    now, verdict = ending.picture.figures, ending.picture.verdict
    lag, delay = now.lag_ms, now.delay_ms
    lines = [
        f"verdict           {verdict['verdict']}",
        *(f"                  - {reason}" for reason in verdict["reasons"]),
        f"transactions      {now.committed} committed, {known(now.sampled)} sampled, {known(now.matched)} matched",
        f"in window         {share(ending.picture.share)} applied within 5 ms",
        f"lag               p50 {milliseconds(lag.get('p50'))}, p95 {milliseconds(lag.get('p95'))}",
        f"coverage          {now.coverage.line(now.at)}",
        f"apply delay       p50 {milliseconds(delay.get('p50'))}, p99 {milliseconds(delay.get('p99'))}",
        f"findings          {len(ending.picture.findings)}",
        *(f"                  {finding['sentence']}" for finding in ending.picture.findings[:10]),
        *_fault_words(ending),
        *([] if ending.alerts is None else [f"alerts            {', '.join(ending.alerts) or 'none'}"]),
        f"relaxed limits    {', '.join(f'{name} {limit:.10g}' for name, limit in ending.limits.items())}",
        *(f"workload          {problem}" for problem in ending.problems),
    ]
    return "\n".join(lines)


def _fault_words(ending: Ending) -> list[str]:
    if ending.injected is None:
        return []
    fault, judged = ending.injected.fault, judge(ending.injected, ending.picture, ending.turns)
    after = "" if judged.detected_after_ms is None else f", noticed after {judged.detected_after_ms:.0f} ms"
    return [f"fault             {fault.name} ({fault.what}): {judged.said}{after}"]
