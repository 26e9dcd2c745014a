"""Evidence and limits give a verdict: PASS, FAIL or INCONCLUSIVE. Pure: the time comes in, nothing goes out.

Rules of this file:
1. Not known is not good: whatever is missing, stale, dated ahead or senseless makes its condition INCONCLUSIVE.
2. FAIL needs a confirmed difference in hand (`open-findings`); every other limit passed is INCONCLUSIVE.
3. PASS needs every condition at once, evaluation after evaluation, for the whole dwell time.
4. A verdict expires. It is never latched, and a restart of any process begins again.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from comparators.bounds import upper_bound
from comparators.errors import SettingInvalid
from comparators.findings import position_text, time_text
from orchestrator.conditions import CONDITIONS, NAMES, Condition, Outcome, Status, evaluate, idle_for
from orchestrator.coverage import CoverageSummary, summary
from orchestrator.seen import Evidence, OverrideSeen

HOLE_SECONDS = 2.0
"""A longer pause between two evaluations proves nothing about the time in it: the dwell time starts again."""
LONGEST_VALID_SECONDS = 3600.0
"""A verdict that may be relied on for longer is no longer about the present."""
DEFAULTS: Mapping[str, float] = {condition.name: condition.limit for condition in CONDITIONS}
NOISY = frozenset(condition.name for condition in CONDITIONS if condition.noisy)


@dataclass(frozen=True, slots=True)
class Limits:
    """When the gate may open: a limit for each condition, and for how long all of them must hold."""

    conditions: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULTS))
    dwell_seconds: float = 10.0
    evaluations: int = 5
    """So many evaluations in a row at least, however short the dwell time is."""
    valid_seconds: float = 15.0
    hysteresis: float = 0.8
    """Share of its limit below which a noisy number must come back once it was over the limit."""

    @classmethod
    def of(
        cls, given: Mapping[str, float], dwell_seconds: float = 10.0, valid_seconds: float = 15.0,
        hysteresis: float = 0.8,
    ) -> "Limits":  # fmt: skip
        """Lay a configuration's limits over the defaults.

        Raises:
            SettingInvalid: a condition that does not exist, or a number that cannot be a limit.
        """
        for condition in CONDITIONS:
            if condition.fixed and given.get(condition.name):
                raise SettingInvalid(f"gate.limits.{condition.name}: is 0 and stays 0", hint=condition.fixed)
        for condition in CONDITIONS:
            _check_ceiling(condition, given.get(condition.name))
        if valid_seconds > LONGEST_VALID_SECONDS:
            raise SettingInvalid(
                f"gate.valid_seconds: {valid_seconds!r} is more than {LONGEST_VALID_SECONDS:g}",
                hint="ask the gate again before each cutover",
            )
        for name, limit in {**given, "dwell_seconds": dwell_seconds, "valid_seconds": valid_seconds}.items():
            _check_limit(name, limit)
        if not 0 < hysteresis <= 1:
            raise SettingInvalid(f"gate.hysteresis: {hysteresis!r} is not a share between 0 and 1", hint="use 0.8")
        return cls({**DEFAULTS, **given}, dwell_seconds, valid_seconds=valid_seconds, hysteresis=hysteresis)


def _check_ceiling(condition: Condition, limit: Any) -> None:
    if isinstance(limit, int | float) and limit > condition.ceiling:
        raise SettingInvalid(
            f"gate.limits.{condition.name}: {limit!r} is above {condition.ceiling:g}, where it would mean nothing",
            hint=f"use at most {condition.ceiling:g}",
        )


def _check_limit(name: str, limit: Any) -> None:
    path = name if name.endswith("_seconds") else f"limits.{name}"
    if name not in NAMES and not name.endswith("_seconds"):
        raise SettingInvalid(f"gate.{path}: there is no such condition", hint=f"use one of: {', '.join(NAMES)}")
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit) or limit < 0:
        raise SettingInvalid(f"gate.{path}: {limit!r} is not a number from 0 upwards", hint="give a plain number")


@dataclass(frozen=True, slots=True)
class Dwell:
    """For how long, and how often in a row, every condition has held; and since when the verdict is what it is."""

    since: float | None = None
    count: int = 0
    last_at: float | None = None
    identity: str | None = None
    status: Status | None = None
    status_since: float | None = None
    over: frozenset[str] = frozenset()
    """Noisy conditions that were over their limit and have not come back far enough."""

    def must_reach(self, condition: Condition, limits: Limits) -> float | None:
        """Give what a number must come down to after it was over its limit; `None` where the limit is enough."""
        return limits.hysteresis * limits.conditions[condition.name] if condition.name in self.over else None

    def noted(self, outcomes: Sequence[Outcome], limits: Limits) -> "Dwell":
        """Remember which noisy numbers are over their limit; one that is not known changes nothing."""
        over = set(self.over)
        for outcome in outcomes:
            if outcome.name not in NOISY or outcome.value is None:
                continue
            if not outcome.value <= outcome.limit:
                over.add(outcome.name)
            elif outcome.value <= limits.hysteresis * outcome.limit:
                over.discard(outcome.name)
        return replace(self, over=frozenset(over))

    def fold(self, all_pass: bool, identity: str, now: float) -> "Dwell":
        """Add one evaluation; anything but the same good picture without a hole starts again."""
        steady = self.last_at is not None and 0 <= now - self.last_at <= HOLE_SECONDS
        if not all_pass:
            return replace(self, since=None, count=0, last_at=now, identity=identity)
        if not steady or identity != self.identity or self.since is None:
            return replace(self, since=now, count=1, last_at=now, identity=identity)
        return replace(self, count=self.count + 1, last_at=now)

    def held_seconds(self, now: float) -> float:
        return 0.0 if self.since is None else max(0.0, now - self.since)

    def stamped(self, status: Status, now: float) -> "Dwell":
        return self if status is self.status else replace(self, status=status, status_since=now)


@dataclass(frozen=True, slots=True)
class Sample:
    """What was compared since the baseline; `bound_95` is the worst table's upper bound on differing transactions."""

    transactions: int | None = None
    changes: int | None = None
    matched: int | None = None
    in_window_share: float | None = None
    bound_95: float | None = None
    bound_table: str | None = None
    rate: float | None = None
    """Share of the transactions that both sides sample now."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer and all it rests on; times are unix seconds, positions are of the source's WAL."""

    migration: str
    status: Status
    evaluated_at: float
    valid_until: float
    since: float
    conditions: tuple[Outcome, ...]
    reasons: tuple[str, ...]
    positions: Mapping[str, int | None]
    sample: Sample
    coverage: CoverageSummary
    needs_person: bool
    next_steps: tuple[str, ...]
    evidence_digest: str
    incarnations: Mapping[str, str]
    overrides: tuple[OverrideSeen, ...] = ()
    """Those that were applied."""
    overrides_standing: tuple[OverrideSeen, ...] = ()
    """All that are in force, whether anything needs them at this moment or not."""
    overrides_refused: tuple[tuple[OverrideSeen, str], ...] = ()
    """Those that count for nothing, and why."""


def decide(evidence: Evidence, limits: Limits, now: float, dwell: Dwell = Dwell()) -> tuple[Verdict, Dwell]:
    """Say whether the gate may open.

    Args:
        now: unix seconds of the auditor's clock.
        dwell: what the previous call returned; without it the dwell time has just begun.
    Returns:
        The verdict, and the state to hand to the next call.
    """
    measured = [
        evaluate(condition, evidence, limits.conditions, now, dwell.must_reach(condition, limits))
        for condition in CONDITIONS
    ]
    all_pass = all(outcome.status is Status.PASS for outcome in measured)
    dwell = dwell.noted(measured, limits).fold(all_pass, _identity(evidence, limits), now)
    outcomes = (*measured, _dwell_outcome(dwell, limits, all_pass, now))
    status = worst(outcomes)
    dwell = dwell.stamped(status, now)
    # A difference in hand is the louder news: exit 1 must not be hidden by exit 4.
    person = status is Status.INCONCLUSIVE and any(outcome.person for outcome in outcomes)
    verdict = Verdict(
        migration=evidence.migration,
        status=status,
        evaluated_at=now,
        valid_until=now + limits.valid_seconds,
        since=now if dwell.status_since is None else dwell.status_since,
        conditions=outcomes,
        reasons=tuple(outcome.reason for outcome in outcomes if outcome.status is not Status.PASS),
        positions=_positions(evidence),
        sample=_sample(evidence, measured),
        coverage=summary(evidence, limits.conditions, now),
        needs_person=person,
        next_steps=_next_steps(outcomes),
        evidence_digest=digest(evidence),
        incarnations=_incarnations(evidence),
        overrides=_applied(outcomes),
        overrides_standing=tuple(one for one in evidence.overrides if idle_for(one, now) is None),
        overrides_refused=_refused(evidence, now),
    )
    return verdict, dwell


def worst(outcomes: tuple[Outcome, ...]) -> Status:
    """Let the worst part win; no part at all is INCONCLUSIVE."""
    seen = {outcome.status for outcome in outcomes} or {Status.INCONCLUSIVE}
    return next(status for status in (Status.FAIL, Status.INCONCLUSIVE, Status.PASS) if status in seen)


def digest(evidence: Evidence) -> str:
    """Name the evidence by its content; whoever folds it sorts it, so the order in which it arrived does not show."""
    return "sha256:" + hashlib.sha256(repr(evidence).encode()).hexdigest()


def verdict_json(verdict: Verdict) -> dict[str, Any]:
    """Give the verdict as interface.md promises it."""
    return {
        "migration": verdict.migration,
        "verdict": str(verdict.status),
        "evaluated_at": time_text(verdict.evaluated_at),
        "valid_until": time_text(verdict.valid_until),
        "since": time_text(verdict.since),
        "conditions": [_condition_json(outcome) for outcome in verdict.conditions],
        "reasons": list(verdict.reasons),
        "positions": {name: position_text(position) for name, position in verdict.positions.items()},
        "sample": asdict(verdict.sample),
        "coverage": _coverage_json(verdict.coverage),
        "needs_person": verdict.needs_person,
        "evidence_digest": verdict.evidence_digest,
        "next_steps": list(verdict.next_steps),
        "incarnations": dict(verdict.incarnations),
        "overrides": [_override_json(one) for one in verdict.overrides],
        "overrides_standing": [_override_json(one) for one in verdict.overrides_standing],
        "overrides_refused": [_override_json(one) | {"why": why} for one, why in verdict.overrides_refused],
    }


def _override_json(one: OverrideSeen) -> dict[str, Any]:
    named = {name: getattr(one, name) for name in ("id", "condition", "item", "owner", "reason")}
    return named | {"until": None if one.until is None else time_text(one.until)}


def _coverage_json(coverage: CoverageSummary) -> dict[str, Any]:
    texts = {"through": position_text(coverage.through), "since": time_text(coverage.since)}
    return asdict(coverage) | {"accepted": list(coverage.accepted)} | texts


def _condition_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "name": outcome.name,
        "status": str(outcome.status),
        "value": outcome.value,
        "limit": outcome.limit,
        "unit": outcome.unit,
        "age_seconds": None if outcome.age_seconds is None else round(outcome.age_seconds, 3),
        "reason": outcome.reason,
    }


def _dwell_outcome(dwell: Dwell, limits: Limits, all_pass: bool, now: float) -> Outcome:
    held, limit = dwell.held_seconds(now), limits.dwell_seconds
    enough = all_pass and held >= limit and dwell.count >= limits.evaluations
    what = f"{held:.1f} s of {limit:g} s, {dwell.count} evaluations" if all_pass else "not every condition holds"
    status = Status.PASS if enough else Status.INCONCLUSIVE
    steps = () if enough or not all_pass else ("auditor gate check --wait",)
    return Outcome("dwell", status, held, limit, "seconds", 0.0, f"All conditions hold together: {what}", False, steps)


def _applied(outcomes: Sequence[Outcome]) -> tuple[OverrideSeen, ...]:
    return tuple(dict.fromkeys(one for outcome in outcomes for one in outcome.overrides))


def _refused(evidence: Evidence, now: float) -> tuple[tuple[OverrideSeen, str], ...]:
    return tuple((one, why) for one in evidence.overrides if (why := idle_for(one, now)) is not None)


def _identity(evidence: Evidence, limits: Limits) -> str:
    """Name who and what a row of evaluations is about: none reaches across a restart or a new configuration."""
    generation = evidence.baseline.generation if evidence.baseline else None
    about = [evidence.migration, evidence.configuration, evidence.partitions, generation, _limits_json(limits)]
    return json.dumps([*about, _incarnations(evidence)], sort_keys=True, default=str)


def _limits_json(limits: Limits) -> list[Any]:
    timing = (limits.dwell_seconds, limits.evaluations, limits.valid_seconds, limits.hysteresis)
    return [dict(limits.conditions), *timing]


def _incarnations(evidence: Evidence) -> dict[str, str]:
    return {name: process.incarnation or "" for name, process in sorted(evidence.processes.items())}


def _positions(evidence: Evidence) -> dict[str, int | None]:
    return {
        "source": evidence.source.position if evidence.source else None,
        "audited_through": evidence.resolved(),
        "target_applied": evidence.apply.applied if evidence.apply else None,
    }


def _sample(evidence: Evidence, measured: list[Outcome]) -> Sample:
    share = next(outcome.value for outcome in measured if outcome.name == "in-window-share")
    if evidence.tally is None:
        return Sample(in_window_share=share, rate=_rate(evidence))
    tally, differing = evidence.tally, evidence.findings.differing if evidence.findings else {}
    bounds = {
        table: upper_bound(min(differing.get(table, 0), count), count)
        for table, count in sorted(tally.tables.items())
        if count > 0
    }
    table = max(bounds, key=lambda name: bounds[name]) if bounds else None
    bound = bounds[table] if table is not None else None
    return Sample(tally.transactions, tally.changes, tally.matched, share, bound, table, _rate(evidence))


def _rate(evidence: Evidence) -> float | None:
    """Give the share that both sides sample: the smaller one's."""
    rates = [None if side is None else side.rate for side in (evidence.source, evidence.target)]
    known = [rate for rate in rates if rate is not None]
    return min(known) if len(known) == len(rates) else None


def _next_steps(outcomes: tuple[Outcome, ...]) -> tuple[str, ...]:
    """List what to do, without repeats; what only a person can do comes first."""
    ordered = sorted(outcomes, key=lambda outcome: (outcome.status is not Status.FAIL, not outcome.person))
    return tuple(dict.fromkeys(step for outcome in ordered for step in outcome.steps))
