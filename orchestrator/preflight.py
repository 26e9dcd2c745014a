"""Conditions that rest on the probes of both sides: the checklist, drift, markers, stalls, headroom; and on alerts.

A group of checks counts only while its record is whole, fresh, of this baseline, and says something of every check.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comparators.checklist import GROUPS
from comparators.checks.alterations import ALTERED
from comparators.preflight import Item, ItemStatus
from orchestrator import coverage
from orchestrator.measured import (
    Evaluate,
    Limits,
    Measured,
    Unknown,
    age_of,
    baseline_of,
    fresh_age,
    number_of,
    process_age,
)
from orchestrator.overrides import acceptance, standing, words_of
from orchestrator.seen import Evidence, OverrideSeen, ProbeSeen

MARKERS = 100
"""With fewer round trips nothing can be said of one in a hundred."""
IDLE_SECONDS = 10.0
"""A source seen quiet for a moment may only be between two writes."""
NAMED = 3
"""So many items a reason names, and so many objects of each."""
LONGEST = 200
"""Characters of a sentence or a remedy within a reason."""
SWITCH_ON = ("set probes.enabled: true",)
MOVING = "apply-moving"
"""Its number is that of `apply-stall`, which has a limit of its own."""
ITEMS: Mapping[str, tuple[str, ...]] = {
    "marker-ms": ("marker-path", "marker-round-trip"),
    "apply-stall": ("walsender-attached",),
    "ddl-drift": tuple(check.name for check in GROUPS["drift"].checks),
    **{
        f"preflight-{name}": tuple(check.name for check in group.checks)
        for name, group in GROUPS.items()
        if name not in ("drift", "lag")
    },
}
"""The items of the checklist that a condition rests on; each that is no invariant can be accepted by name."""
PASSING = frozenset({"activity", "replication", "capacity", "lag"})
"""Groups whose lack of capacity may pass by itself."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The items of a group, and who accepted which."""

    items: tuple[Item, ...]
    accepted: Mapping[str, OverrideSeen]
    age: float

    @property
    def blocking(self) -> list[Item]:
        return [item for item in self.items if item.status.blocks and item.name not in self.accepted]

    def of(self, names: Sequence[str]) -> "Judged":
        """Keep some of the items."""
        accepted = {name: by for name, by in self.accepted.items() if name in names}
        return Judged(tuple(item for item in self.items if item.name in names), accepted, self.age)


def probe_of(evidence: Evidence, group: str, now: float) -> tuple[ProbeSeen, float]:
    """Give what a probe saw, and how long ago.

    Raises:
        Unknown: nothing, too long ago, on another baseline, or it failed.
    """
    if not evidence.probing:
        raise Unknown("probes are switched off", person=True, steps=SWITCH_ON)
    baseline, seen = baseline_of(evidence), evidence.probes.get(group)
    if seen is None:
        raise Unknown(f"the probe {group} has not looked yet")
    age = fresh_age(seen.at, now, GROUPS[group].max_age, f"the probe {group}")
    if seen.generation != baseline.generation:
        raise Unknown(f"the probe {group} has not looked since the audit began")
    if seen.error is not None:
        raise Unknown(_short(seen.error) or f"the probe {group} failed without a reason")
    return seen, age


def judged_of(evidence: Evidence, condition: str, group: str, now: float) -> Judged:
    """Give a group's items, one for each of its checks.

    Raises:
        Unknown: as `probe_of`; or the record does not say something of each check, and once.
    """
    seen, age = probe_of(evidence, group, now)
    if seen.items is None:
        raise Unknown(f"the items of the probe {group} cannot be read")
    wanted, given = [check.name for check in GROUPS[group].checks], [item.name for item in seen.items]
    if strange := sorted(set(given) - set(wanted)):
        raise Unknown(f"the probe {group} speaks of {strange[0]}, which is not on the list")
    if lacking := [name for name in wanted if given.count(name) != 1]:
        raise Unknown(f"the probe {group} does not say one thing of {lacking[0]}")
    overrides = standing(evidence, condition, now)
    accepted = {
        item.name: by for item in seen.items if item.status.blocks and (by := acceptance(item, overrides)) is not None
    }
    return Judged(seen.items, accepted, age)


def checklist(group: str) -> Evaluate:
    """Make the condition that counts the items of a group that block."""
    condition = f"preflight-{group}"

    def measure(evidence: Evidence, limits: Limits, now: float) -> Measured:
        judged = judged_of(evidence, condition, group, now)
        said = _altered(evidence, limits, now) if group == "replication" else ""
        return _counted(judged, group, len(judged.items), int(bool(said)), said)

    return measure


def _altered(evidence: Evidence, limits: Limits, now: float) -> str:
    """Say that a subscription was altered, unless every table was swept since: a transaction may have been skipped."""
    figures = evidence.probes["replication"].figures
    if ALTERED not in figures:
        raise Unknown("when a subscription was last altered is missing")
    altered_at = figures[ALTERED]
    if altered_at is None or coverage.proved_since(evidence, limits, now, altered_at):
        return ""
    ago = age_of(altered_at, now, "the last alteration of a subscription")
    skipped = "by which transactions can be skipped, and not every table was swept since"
    return f"a subscription was altered {ago:.0f} s ago, {skipped}"


def _counted(judged: Judged, group: str, checks: int, more: int, said: str = "") -> Measured:
    blocking = judged.blocking
    words = [said] if said else []
    words += [item_words(item) for item in blocking[:NAMED]]
    words += [f"{len(blocking) - NAMED} more"] if len(blocking) > NAMED else []
    return Measured(
        len(blocking) + more,
        judged.age,
        _with_notes("; ".join(words) or f"{checks} checks, nothing blocks", judged),
        person=any(_needs_person(item, group) for item in blocking),
        steps=_remedies(blocking),
        overrides=tuple(judged.accepted.values()),
    )


def _with_notes(words: str, judged: Judged) -> str:
    """Add what was accepted and what only warns."""
    warnings = [item for item in judged.items if item.status is ItemStatus.WARN]
    notes = [f"{name} {words_of(by)}" for name, by in judged.accepted.items()]
    notes += [f"warning: {item.name}: {_short(item.sentence)}{_objects(item)}" for item in warnings[:NAMED]]
    notes += [f"{len(warnings) - NAMED} more warnings"] if len(warnings) > NAMED else []
    return "; ".join([words, *notes])


def _remedies(items: Sequence[Item]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_short(item.remedy) for item in items[:NAMED] if item.remedy))


def item_words(item: Item) -> str:
    """Name an item, its objects and what to do, within bounds."""
    remedy = f"; {_short(item.remedy)}" if item.remedy else ""
    return f"{item.name}: {_short(item.sentence)}{_objects(item)}{remedy}"


def _objects(item: Item) -> str:
    if not item.subjects:
        return ""
    count = max(item.count, len(item.subjects))
    more = f" and {count - NAMED} more" if count > NAMED else ""
    return f" ({', '.join(_short(one) for one in item.subjects[:NAMED])}{more})"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 3] + "..."


def _needs_person(item: Item, group: str) -> bool:
    if item.status is ItemStatus.UNKNOWN:
        return bool(item.remedy)
    return item.status is ItemStatus.BLOCKS_CORRECTNESS or group not in PASSING


# One function per condition.


def prober_alive(evidence: Evidence, limits: Limits, now: float) -> Measured:
    """Say how long ago the process of the probes was heard from."""
    if not evidence.probing:
        raise Unknown("probes are switched off", person=True, steps=SWITCH_ON)
    age = process_age(evidence, "prober", now)
    error = evidence.processes["prober"].error
    trouble = f"the prober says: {_short(error)}" if error else None
    return Measured(age, age, f"prober was heard from {age:.1f} s ago", trouble)


def ddl_drift(evidence: Evidence, limits: Limits, now: float) -> Measured:
    """Count changes of the schema that are not on both sides, or that no complete sweep has followed yet."""
    judged = judged_of(evidence, "ddl-drift", "drift", now)
    figures = evidence.probes["drift"].figures
    if "changed_at" not in figures:
        raise Unknown("when the schema last changed is missing")
    changed_at = figures["changed_at"]
    if changed_at is None:
        return _counted(judged, "drift", len(judged.items), 0)
    ago = age_of(changed_at, now, "the last change of the schema")
    if coverage.proved_since(evidence, limits, now, changed_at):
        return _counted(judged, "drift", len(judged.items), 0)
    said = f"the schema changed {ago:.0f} s ago, and not every table was swept since"
    return _counted(judged, "drift", len(judged.items), 1, said)


def marker_ms(evidence: Evidence, limits: Limits, now: float) -> Measured:
    """Give how long a marker takes to come through, timed on one clock."""
    judged, figures = judged_of(evidence, "marker-ms", "lag", now), evidence.probes["lag"].figures
    probes = number_of(figures.get("marker_probes"), "the number of markers")
    number_of(figures.get("marker_missing"), "the number of missing markers")
    own = judged.of(ITEMS["marker-ms"])
    if own.blocking:
        item = own.blocking[0]
        raise Unknown(item_words(item), person=_needs_person(item, "lag"), steps=_remedies([item]))
    if probes < MARKERS:
        raise Unknown(f"{probes:.0f} of {MARKERS} markers were sent")
    p99 = number_of(figures.get("marker_p99_ms"), "their time")
    return Measured(
        p99, judged.age, _with_notes(f"{p99:.1f} ms over {probes:.0f} markers", own),
        overrides=tuple(own.accepted.values()),
    )  # fmt: skip


def apply_stall(evidence: Evidence, limits: Limits, now: float) -> Measured:
    """Give for how long apply has made no progress while the source's log grew."""
    judged = judged_of(evidence, "apply-stall", "lag", now)
    stalled = number_of(evidence.probes["lag"].figures.get("stalled_seconds"), "the time without progress")
    moving = next(item for item in judged.items if item.name == MOVING)
    if moving.status is ItemStatus.UNKNOWN:
        raise Unknown(item_words(moving), person=_needs_person(moving, "lag"), steps=_remedies([moving]))
    own = judged.of(ITEMS["apply-stall"])
    words = f"no progress for {stalled:.1f} s while the source's log grew" if stalled else "apply keeps moving"
    words += f"; {item_words(moving)}" if moving.status.blocks else ""
    trouble = "; ".join(item_words(item) for item in own.blocking) or None
    return Measured(
        stalled, judged.age, _with_notes(words, own), trouble, any(_needs_person(item, "lag") for item in own.blocking),
        _remedies([*own.blocking, *([moving] if moving.status.blocks else [])]), tuple(own.accepted.values()),
    )  # fmt: skip


def apply_headroom(evidence: Evidence, limits: Limits, now: float) -> Measured:
    """Give how much faster apply drains than the source writes at its peak."""
    seen, age = probe_of(evidence, "capacity", now)
    if seen.figures.get("idle") == 1:
        watched = number_of(seen.figures.get("observed_seconds"), "for how long the source was watched")
        if watched < IDLE_SECONDS:
            raise Unknown(f"the source was watched for {watched:.0f} s of {IDLE_SECONDS:g}")
        return Measured(limits["apply-headroom"], age, "the source writes too little to ask anything of apply")
    ratio = number_of(seen.figures.get("headroom_ratio"), "the share of the drain rate in the peak")
    drain = number_of(seen.figures.get("drain_bytes_per_second"), "the rate at which apply drains")
    peak = number_of(seen.figures.get("wal_peak_bytes_per_second"), "the peak of the source's log")
    words = f"apply drains {drain / 2**20:.2f} MiB/s, {ratio:.3g} times the source's peak of {peak / 2**20:.2f} MiB/s"
    return Measured(ratio, age, words)


def external_alerts(evidence: Evidence, limits: Limits, now: float) -> Measured:
    """Count the alerts of other systems that fire."""
    age = age_of(evidence.read_at, now, "the records store")
    if evidence.alerts is None:
        raise Unknown("the alerts of other systems have not been read")
    named = [f"{one.name or one.id} ({one.severity or 'no severity'})" for one in evidence.alerts[:NAMED]]
    more = [f"{len(evidence.alerts) - NAMED} more"] if len(evidence.alerts) > NAMED else []
    return Measured(len(evidence.alerts), age, ", ".join([*named, *more]) or "none fires")
