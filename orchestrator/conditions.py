"""The gate's conditions: one table, and for each row a small function that measures it or says why it cannot.

A condition passes only on a number that is known, fresh and within its limit. Everything else is INCONCLUSIVE, and
only `open-findings` can give FAIL.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator import coverage, preflight
from orchestrator.measured import (
    Evaluate,
    Limits,
    Measured,
    Unknown,
    age_of,
    apply_of,
    baseline_of,
    fresh_age,
    last_exit,
    number_of,
    process_age,
)
from orchestrator.overrides import item_refusal, refusal, standing, words_of
from orchestrator.seen import CoreSeen, Evidence, OverrideSeen, SamplerSeen, SlotSeen, SubscriptionSeen


class Status(StrEnum):
    """Three outcomes; the worst part wins."""

    PASS = "PASS"
    INCONCLUSIVE = "INCONCLUSIVE"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One condition of a verdict."""

    name: str
    status: Status
    value: float | None
    limit: float
    unit: str
    age_seconds: float | None
    reason: str
    person: bool = False
    steps: tuple[str, ...] = ()
    overrides: tuple[OverrideSeen, ...] = ()
    """Those without which it would not pass, or of items that they accept."""
    troubled: bool = False
    """More is wrong than the number."""


class Kind(StrEnum):
    """What a condition is about, and so who is asked when it does not hold."""

    PROOF = "proof"
    """A difference, or data about which nothing is proved."""
    AUDIT = "audit"
    """A part of the audit is silent or behind."""
    REPLICATION = "replication"
    """The target does not receive, or too slowly."""
    CHECKLIST = "checklist"
    """Something on either side has to be put in order."""
    OUTSIDE = "outside"
    """Another system objects."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A row of the table; whatever of `needs` is not known, the condition is not known."""

    name: str
    kind: Kind
    unit: str
    limit: float
    measure: Evaluate
    sentence: str
    needs: tuple[str, ...]
    """The parts of the evidence that it rests on."""
    steps: tuple[str, ...] = ()
    ceiling: float = math.inf
    """The highest limit that still says something; beyond it the condition would be switched off."""
    fixed: str | None = None
    """Nobody may change its limit; what to do instead."""
    overridable: bool = False
    """A person may accept that its number is over the limit; not so with invariants."""
    noisy: bool = False
    """Its number swings around its limit, so it opens below what closes it (`gate.hysteresis`)."""
    at_least: bool = False
    """The limit is one from below."""
    gives_fail: bool = False


def evaluate(
    condition: Condition, evidence: Evidence, limits: Limits, now: float, must_reach: float | None = None
) -> Outcome:
    """Measure one condition and hold it against its limit.

    Args:
        must_reach: what a noisy number must come down to once it was over its limit.
    """
    outcome = _measured(condition, evidence, limits, now)
    if must_reach is not None and outcome.status is Status.PASS and not (outcome.value or 0) <= must_reach:
        reason = f"{outcome.reason}; it was over the limit, and has to come down to {_figure(must_reach)}"
        outcome = replace(outcome, status=Status.INCONCLUSIVE, reason=reason, steps=condition.steps)
    return _overridden(condition, outcome, evidence, now)


def _overridden(condition: Condition, outcome: Outcome, evidence: Evidence, now: float) -> Outcome:
    """Accept a number that is known and nothing but over its limit; name the overrides that count for nothing."""
    if outcome.status is Status.PASS:
        return outcome
    given = [one for one in standing(evidence, condition.name, now) if one.item is None]
    over = outcome.status is Status.INCONCLUSIVE and outcome.value is not None and not outcome.troubled
    if condition.overridable and over and given:
        reason = f"{outcome.reason}; {words_of(given[0])}"
        return replace(outcome, status=Status.PASS, reason=reason, person=False, steps=(), overrides=(given[0],))
    idle = [(one, why) for one in evidence.overrides if one.condition == condition.name and (why := idle_for(one, now))]
    said = [f"the override by {one.owner or 'nobody'} does not count: {why}" for one, why in idle]
    return replace(outcome, reason="; ".join([outcome.reason, *said]))


def idle_for(one: OverrideSeen, now: float) -> str | None:
    """Say why an override counts for nothing at all; `None` where it may be applied."""
    return override_problem(one.condition, one.item) or refusal(one, now)


def override_problem(name: str | None, item: str | None) -> str | None:
    """Say why nobody may override a condition, or an item of it; `None` where somebody may."""
    condition = next((one for one in CONDITIONS if one.name == name), None)
    if condition is None:
        return f"there is no condition {name}"
    items = preflight.ITEMS.get(condition.name, ())
    if item is not None:
        return item_refusal(condition.name, item, items) if items else f"{name} has no items"
    if condition.overridable:
        return None
    return f"{name} is accepted item by item" if items else f"{name} is an invariant"


def _measured(condition: Condition, evidence: Evidence, limits: Limits, now: float) -> Outcome:
    limit = limits[condition.name]
    try:
        records_age = _records_age(evidence, limits, now)
        measured = condition.measure(evidence, limits, now)
        value, age = number_of(measured.value, "its value"), number_of(measured.age_seconds, "its age")
    except Unknown as unknown:
        reason = f"{condition.sentence}: not known, {unknown}"
        steps = unknown.steps or condition.steps
        return _outcome(condition, limit, Status.INCONCLUSIVE, None, None, reason, unknown.person, steps)
    within = value >= limit if condition.at_least else value <= limit
    fails = condition.gives_fail and value > limit
    trouble = measured.trouble or evidence.records_error
    status = Status.FAIL if fails else Status.PASS if within and not trouble else Status.INCONCLUSIVE
    reason = _reason(condition, measured, value, limit, within, trouble)
    steps = () if status is Status.PASS else measured.steps or condition.steps
    person = measured.person and status is not Status.PASS
    outcome = _outcome(condition, limit, status, value, max(age, records_age), reason, person, steps)
    return replace(outcome, overrides=measured.overrides, troubled=bool(trouble))


def _outcome(
    condition: Condition,
    limit: float,
    status: Status,
    value: float | None,
    age: float | None,
    reason: str,
    person: bool,
    steps: tuple[str, ...],
) -> Outcome:
    return Outcome(condition.name, status, value, limit, condition.unit, age, reason, person, steps)


def _reason(
    condition: Condition, measured: Measured, value: float, limit: float, within: bool, trouble: str | None
) -> str:
    unit = "" if condition.unit == "share" else f" {condition.unit}"
    words = measured.words or f"{_figure(value)}{unit}"
    if not within:
        side = "at least" if condition.at_least else "at most"
        words += f" (the limit is {side} {_figure(limit)}{unit})"
    return f"{condition.sentence}: {words}" + (f"; {trouble}" if trouble else "")


def _figure(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    return f"{int(value)}" if value == int(value) else f"{value:.3g}" if value < 100 else f"{value:.1f}"


# Reading evidence.


def _records_age(evidence: Evidence, limits: Limits, now: float) -> float:
    if evidence.read_at is None:
        raise Unknown(evidence.records_error or "the records have not been read yet")
    try:
        return fresh_age(evidence.read_at, now, limits["core-alive"], "the records store")
    except Unknown as stale:
        raise Unknown(f"{stale} ({evidence.records_error})" if evidence.records_error else str(stale)) from None


def _sampler(evidence: Evidence, side: str) -> SamplerSeen:
    seen = evidence.source if side == "source" else evidence.target
    if seen is None:
        raise Unknown(f"the {side}'s sampler has not reported yet")
    return seen


def _core_age(evidence: Evidence, now: float) -> float:
    if evidence.partitions < 1:
        raise Unknown("the number of partitions is not known")
    return max(
        age_of(evidence.cores.get(partition, CoreSeen()).at, now, f"the core's partition {partition}")
        for partition in range(evidence.partitions)
    )


def _heard(evidence: Evidence, ages: Mapping[str, float], process: str, limit: float) -> str:
    """Name the part that was silent for longest, and what ended its process if that is too long."""
    name = max(ages, key=lambda part: ages[part])
    ended = last_exit(evidence.processes[process]) if ages[name] > limit else ""
    return f"{name} was heard from {ages[name]:.1f} s ago{ended}"


# One function per condition.


def _open_findings(evidence: Evidence, limits: Limits, now: float) -> Measured:
    seen = evidence.findings
    if seen is None:
        raise Unknown("the findings have not been read")
    age = age_of(evidence.read_at, now, "the records store")
    count = int(number_of(seen.open_count, "the number of confirmed findings"))
    more = [f"{count - len(seen.open_named)} more"] if count > len(seen.open_named) > 0 else []
    words = f"{count} open" + (f" ({', '.join([*seen.open_named, *more])})" if seen.open_named else "")
    words += f", {seen.accepted} accepted" if seen.accepted else ""
    unreadable = f"{len(seen.unreadable)} findings cannot be read" if seen.unreadable else None
    if evidence.baseline is None and not count:
        baseline_of(evidence)
    trouble = unreadable or seen.accepted_error
    return Measured(count, age, words, trouble, person=bool(trouble))


def _oldest_suspect(evidence: Evidence, limits: Limits, now: float) -> Measured:
    seen = evidence.findings
    if seen is None:
        raise Unknown("the findings have not been read")
    age = age_of(evidence.read_at, now, "the records store")
    count = int(number_of(seen.suspects, "the number of suspects"))
    unreadable = f"{len(seen.unreadable)} findings cannot be read" if seen.unreadable else None
    if not count:
        return Measured(0.0, age, "no suspect waits for its re-check", unreadable)
    oldest = age_of(seen.oldest_suspect, now, "the oldest suspect")
    return Measured(oldest, age, f"{count} not settled, the oldest for {oldest:.1f} s", unreadable)


def _samplers_alive(evidence: Evidence, limits: Limits, now: float) -> Measured:
    slowest, words, troubles = -1.0, "", []
    for side in ("source", "target"):
        seen, name = _sampler(evidence, side), f"sampler-{side}"
        ages = {name: process_age(evidence, name, now), f"the {side}'s log": age_of(seen.at, now, f"the {side}'s log")}
        if max(ages.values()) > slowest:
            slowest, words = max(ages.values()), _heard(evidence, ages, name, limits["samplers-alive"])
        error = seen.error or evidence.processes[name].error
        if error:
            troubles.append(f"the {side}'s sampler says: {error}")
        elif seen.reading is not True and not seen.waiting_for:
            troubles.append(f"the {side}'s sampler is not reading its slot")
    return Measured(slowest, slowest, words, "; ".join(troubles) or None)


def _core_alive(evidence: Evidence, limits: Limits, now: float) -> Measured:
    ages = {"core": process_age(evidence, "core", now), "the core's state": _core_age(evidence, now)}
    error, age = evidence.processes["core"].error, max(ages.values())
    trouble = f"the core says: {error}" if error else None
    return Measured(age, age, _heard(evidence, ages, "core", limits["core-alive"]), trouble)


def _watermark_age(evidence: Evidence, limits: Limits, now: float) -> Measured:
    baseline_of(evidence)
    age = max(
        _core_age(evidence, now),
        *(age_of(_sampler(evidence, side).at, now, f"the {side}'s sampler") for side in ("source", "target")),
    )
    if evidence.caught_up_age is None:
        raise Unknown("the audit has not reached any position that the source was seen at")
    behind = number_of(evidence.caught_up_age, "the age of the watermark")
    waiting = [seen.waiting_for for seen in (evidence.source, evidence.target) if seen and seen.waiting_for]
    words = f"everything the source wrote until {max(age, behind):.1f} s ago is judged"
    return Measured(max(age, behind), age, words + (f" (a sampler waits: {waiting[0]})" if waiting else ""))


def _sample_size(evidence: Evidence, limits: Limits, now: float) -> Measured:
    baseline_of(evidence)
    age = _core_age(evidence, now)
    if not age <= limits["core-alive"]:
        raise Unknown(f"the core was last heard from {age:.0f} s ago")
    if evidence.tally is None:
        raise Unknown("not every partition of the core has reported its totals")
    count = int(number_of(evidence.tally.transactions, "the number of transactions"))
    number_of(evidence.tally.matched, "the number of matched changes")
    return Measured(count, age, f"{count} transactions compared", None if count else "nothing was compared")


def _in_window_share(evidence: Evidence, limits: Limits, now: float) -> Measured:
    apply, age = apply_of(evidence, limits, now)
    inside = number_of(apply.in_window, "the number of transactions within the window")
    measured = number_of(apply.measured, "the number of measured transactions")
    unmeasured = number_of(apply.unmeasured, "the number of unmeasured transactions")
    span = number_of(apply.span_seconds, "the span of the window's statistics")
    if not measured + unmeasured:
        raise Unknown(f"no transactions in the last {span:.0f} s")
    if inside > measured:
        raise Unknown(f"{inside:.0f} of {measured:.0f} transactions makes no sense")
    share = inside / (measured + unmeasured)
    return Measured(share, age, f"{share:.2%} of {measured + unmeasured:.0f} transactions in the last {span:.0f} s")


def _lag_ms(evidence: Evidence, limits: Limits, now: float) -> Measured:
    apply, age = apply_of(evidence, limits, now)
    if number_of(apply.lag_samples, "the number of lag samples"):
        return Measured(number_of(apply.lag_ms_p95, "the lag"), age)
    if apply.idle is not True:
        raise Unknown("nothing was applied in the last seconds although the source has committed")
    return Measured(0.0, age, "nothing to apply")


def _lag_bytes(evidence: Evidence, limits: Limits, now: float) -> Measured:
    apply, age = apply_of(evidence, limits, now)
    number_of(apply.applied, "the applied position")
    return Measured(number_of(apply.lag_bytes, "the lag in bytes"), age)


def _slots_in_budget(evidence: Evidence, limits: Limits, now: float) -> Measured:
    held, ages, troubles = [0.0], [], []
    for side in ("source", "target"):
        seen = _sampler(evidence, side)
        ages.append(fresh_age(seen.at, now, limits["samplers-alive"], f"the {side}'s sampler"))
        slot = seen.slot or SlotSeen()
        if slot.exists is None:
            raise Unknown(f"the {side}'s slot has not been looked at")
        if slot.exists is not True or slot.wal_status == "lost":
            troubles.append(f"the slot on the {side} is lost")
            continue
        held.append(number_of(slot.retained_bytes, f"the WAL held on the {side}"))
        if slot.wal_status == "unreserved":
            troubles.append(f"the {side} is about to remove WAL that our slot still needs")
    lost = any(trouble.endswith("is lost") for trouble in troubles)
    words = f"{max(held) / 2**20:.1f} MiB held back at most"
    return Measured(max(held), max(ages), words, "; ".join(troubles) or None, lost, PREPARE_AGAIN if lost else ())


def _unaudited_gaps(evidence: Evidence, limits: Limits, now: float) -> Measured:
    baseline_of(evidence)
    age = age_of(evidence.read_at, now, "the records store")
    if evidence.gaps is None:
        raise Unknown("the list of gaps has not been read")
    dead = int(number_of(evidence.dead_letters, "the number of unreadable frames"))
    still_open = coverage.still_open(evidence, limits, now)
    words = [f"{gap.side or 'one side'}: {gap.reason or 'no reason recorded'}" for gap in still_open[:3]]
    words += [f"{dead} frames could not be read"] if dead else []
    count = len(still_open) + dead
    text = f"{count} gaps" + (f" ({'; '.join(words)})" if words else "")
    made_good = len(evidence.gaps) - len(still_open)
    return Measured(count, age, text + (f", {made_good} made good by sweeps" if made_good else ""), person=count > 0)


def _scope_complete(evidence: Evidence, limits: Limits, now: float) -> Measured:
    apply, age = apply_of(evidence, limits, now)
    if apply.unpublished is None or apply.unknown_subscriptions is None or apply.subscriptions is None:
        raise Unknown("publications and subscriptions have not been looked at")
    if apply.audited is None or apply.skipped is None:
        raise Unknown("the list of tables is missing")
    copying = {table for part in apply.subscriptions for table in _copying(part)}
    left_out = set(apply.unpublished) | set(apply.skipped)
    strange = set(apply.unknown_subscriptions)
    words = [
        f"{what}: {', '.join(sorted(names)[:5])}"
        for what, names in (
            ("included but not audited", left_out),
            ("still being copied", copying - left_out),
            ("subscriptions not named in the configuration", strange),
        )
        if names
    ]
    nothing = None if apply.audited else "no table is audited"
    count = len(left_out | copying) + len(strange)
    text = "; ".join(words) or f"{len(apply.audited)} tables audited"
    return Measured(count, age, text, nothing, bool(left_out or strange))


def _copying(subscription: SubscriptionSeen) -> tuple[str, ...]:
    if subscription.tables_not_ready is None:
        raise Unknown(f"the tables of subscription {subscription.name} have not been looked at")
    return subscription.tables_not_ready


def _subscriptions_applying(evidence: Evidence, limits: Limits, now: float) -> Measured:
    apply, age = apply_of(evidence, limits, now)
    if not apply.subscriptions:
        raise Unknown("no subscription of the configuration was seen on the target")
    idle = [subscription for subscription in apply.subscriptions if _stopped(subscription)]
    words = "; ".join(f"{subscription.name}: {_stopped(subscription)}" for subscription in idle)
    names = [subscription.name for subscription in idle if subscription.enabled is False]
    steps = tuple(f"on the target, once its cause is gone: ALTER SUBSCRIPTION {name} ENABLE" for name in names)
    return Measured(len(idle), age, words or "all apply", None, bool(names), steps)


def _stopped(subscription: SubscriptionSeen) -> str | None:
    if subscription.enabled is not True:
        return "disabled" + (f" after the error: {subscription.error}" if subscription.error else "")
    if subscription.worker is not True:
        return "no apply worker runs" + (f", its error: {subscription.error}" if subscription.error else "")
    return subscription.error


PREPARE_AGAIN = ("to begin the audit anew: auditor teardown, then auditor prepare", "auditor gate check --wait")
LOOK = ("auditor status",)
PROBE = ("auditor preflight",)
CHECKLIST = "put the item in order; what may be accepted is overridden by its name"
AUDITED = ("baseline", "source", "target", "cores")
CHECKED = ("baseline", "probes")

CONDITIONS = (
    Condition(
        "open-findings", Kind.PROOF, "findings", 0, _open_findings, "Confirmed differences", ("findings",),
        ("auditor findings list --state confirmed", "auditor findings recheck ID"),
        fixed="auditor findings accept ID", gives_fail=True,
    ),
    Condition(
        "oldest-suspect", Kind.PROOF, "seconds", 30, _oldest_suspect, "Differences not settled yet", ("findings",),
        ("auditor findings list --state suspect",), ceiling=3600,
    ),
    Condition("samplers-alive", Kind.AUDIT, "seconds", 5, _samplers_alive, "The samplers",
              ("processes", "source", "target"), LOOK, ceiling=60),
    Condition("core-alive", Kind.AUDIT, "seconds", 5, _core_alive, "The stream core", ("processes", "cores"), LOOK,
              ceiling=60),
    Condition("prober-alive", Kind.AUDIT, "seconds", 5, preflight.prober_alive, "The prober", ("processes",), LOOK,
              ceiling=60),
    Condition("watermark-age", Kind.AUDIT, "seconds", 10, _watermark_age, "The audit's progress",
              (*AUDITED, "caught_up_age"), LOOK, ceiling=600),
    Condition("sample-size", Kind.PROOF, "transactions", 300, _sample_size, "The sample",
              ("baseline", "cores", "tally"), ("auditor gate check --wait",), at_least=True),
    Condition("in-window-share", Kind.REPLICATION, "share", 0.99, _in_window_share, "Applied within the window",
              ("apply",), at_least=True, overridable=True),
    Condition("lag-ms", Kind.REPLICATION, "ms", 10, _lag_ms, "Commit to applied, 95th percentile", ("apply",),
              overridable=True, noisy=True),
    Condition("lag-bytes", Kind.REPLICATION, "bytes", 2**20, _lag_bytes, "WAL not applied yet", ("apply",),
              overridable=True, noisy=True),
    Condition("marker-ms", Kind.REPLICATION, "ms", 10, preflight.marker_ms, "Marker round trips, 99th percentile",
              CHECKED, PROBE, overridable=True, noisy=True),
    Condition("apply-stall", Kind.REPLICATION, "seconds", 10, preflight.apply_stall,
              "Apply stands still while WAL grows", CHECKED, PROBE, ceiling=600),
    Condition("apply-headroom", Kind.REPLICATION, "ratio", 1, preflight.apply_headroom, "Headroom of apply", CHECKED,
              PROBE, at_least=True, overridable=True),
    Condition("subscriptions-applying", Kind.REPLICATION, "subscriptions", 0, _subscriptions_applying,
              "Subscriptions that do not apply", ("apply",),
              ("on the target: SELECT * FROM pg_stat_subscription_stats",),
              fixed="ALTER SUBSCRIPTION ... ENABLE, or take it out of replication.subscription"),
    Condition("slots-in-budget", Kind.AUDIT, "bytes", 2**30, _slots_in_budget, "The auditor's replication slots",
              ("source", "target"), LOOK),
    Condition("unaudited-gaps", Kind.PROOF, "gaps", 0, _unaudited_gaps, "Intervals nobody audited",
              ("baseline", "gaps", "dead_letters"), PREPARE_AGAIN,
              fixed="let a complete sweep make the gap good, or run `auditor prepare --new-baseline`"),
    Condition("scope-complete", Kind.PROOF, "tables", 0, _scope_complete, "Tables outside the audit", ("apply",),
              ("publish the table and run `auditor prepare`, or name it in tables.exclude",),
              fixed="publish the table, or name it in tables.exclude"),
    Condition(
        "base-scan", Kind.PROOF, "tables", 0, coverage.base_scan, "Tables without a complete sweep",
        ("baseline", "apply", "coverage", "sweeper"), ("auditor coverage", "auditor gate check --wait"),
        fixed="name the table in tables.exclude or, as skipped, in the accepted_differences file",
    ),
    Condition("coverage-age", Kind.PROOF, "seconds", 86400, coverage.coverage_age, "Age of the oldest sweep",
              ("baseline", "apply", "coverage", "sweeper"), ("auditor coverage",), overridable=True),
    Condition("unverified-rows", Kind.PROOF, "rows", 0, coverage.unverified_rows, "Rows not verified",
              ("baseline", "apply", "coverage", "sweeper"), ("auditor coverage",)),
    Condition("canary", Kind.AUDIT, "seconds", 120, coverage.canary, "The canary", ("baseline", "canary"), LOOK,
              ceiling=86400),
    *(
        Condition(f"preflight-{group}", Kind.CHECKLIST, "items", 0, preflight.checklist(group), sentence, CHECKED,
                  PROBE, fixed=CHECKLIST)
        for group, sentence in (
            ("identity", "Which servers these are"),
            ("settings", "Settings of both servers"),
            ("shape", "Tables, columns, constraints and indexes"),
            ("sequences", "Sequences"),
            ("activity", "Transactions and sessions"),
            ("writers", "Who writes"),
            ("slots", "Every replication slot"),
            ("replication", "Replication of every table"),
            ("capacity", "Disk, WAL and apply"),
        )
    ),
    Condition("ddl-drift", Kind.CHECKLIST, "changes", 0, preflight.ddl_drift, "Changes of the schema", CHECKED, PROBE,
              fixed="bring the change to both sides and wait for a sweep"),
    Condition("external-alerts", Kind.OUTSIDE, "alerts", 0, preflight.external_alerts, "Alerts of other systems",
              ("alerts",), ("see to the alert where it comes from",), overridable=True),
)  # fmt: skip
NAMES = tuple(condition.name for condition in CONDITIONS)
