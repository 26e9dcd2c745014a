"""Conditions of the row audit: every table swept, lately, to the last row, by a sweeper that finds what is planted.

A table counts as covered only while its record is whole, of this baseline and free of contradictions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.measured import (
    FUTURE_SECONDS,
    Limits,
    Measured,
    Unknown,
    age_of,
    apply_of,
    baseline_of,
    fresh_age,
    number_of,
    process_age,
)
from orchestrator.seen import ApplySeen, BaselineSeen, CoverageSeen, Evidence, GapSeen, SkipSeen, SweeperSeen

SWEEPING = ("swept", "sweeping", "waiting")
"""States of a table in which its last complete sweep counts."""
COUNTS = ("rows", "verified", "unverified", "hot", "different")
NAMED = 5
SWITCH_ON = ("set sweep.enabled: true",)
ACCEPT = "make the table readable, exclude it, or accept its absence by name in the accepted_differences file"


@dataclass(frozen=True, slots=True)
class CoverageSummary:
    """What a verdict says of coverage; counts are of the covered tables, `None` where nothing can be said."""

    tables: int | None = None
    swept: int | None = None
    accepted: tuple[str, ...] = ()
    rows: int | None = None
    verified: int | None = None
    unverified: int | None = None
    hot: int | None = None
    different: int | None = None
    through: int | None = None
    """Source position that the sweeps prove for every covered table."""
    since: float | None = None
    """When the row was read that was not read again for longest."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The tables of the scope, each in exactly one of the three."""

    swept: Mapping[str, CoverageSeen] = field(default_factory=dict)
    accepted: Mapping[str, SkipSeen] = field(default_factory=dict)
    lacking: Mapping[str, Unknown] = field(default_factory=dict)
    """Why the table does not count as covered."""

    @property
    def tables(self) -> int:
        return len(self.swept) + len(self.accepted) + len(self.lacking)

    def total(self, name: str) -> int:
        """Add up one of the counts over all covered tables."""
        return sum(getattr(seen, name) for seen in self.swept.values())


def coverage_of(evidence: Evidence, limits: Limits, now: float) -> Coverage:
    """Tell the covered tables from those that are not.

    Raises:
        Unknown: the tables of the scope are not known, or nothing is to be covered.
    """
    baseline = baseline_of(evidence)
    apply, _ = apply_of(evidence, limits, now)
    if apply.to_cover is None:
        raise Unknown("the list of tables is missing")
    if not apply.to_cover:
        raise Unknown("the scope has no table")
    swept, accepted, lacking = {}, {}, {}
    for table in apply.to_cover:
        seen = evidence.coverage.get(table, CoverageSeen(table, "none"))
        try:
            _check_record(table, seen, baseline)
            if seen.state == "skipped":
                accepted[table] = _accepted(seen, now)
            else:
                _check_sweep(seen, baseline, now)
                _check_position(seen, baseline, _start_of(table, apply))
                swept[table] = seen
        except Unknown as unknown:
            lacking[table] = unknown
    return Coverage(swept, accepted, lacking)


def _check_record(table: str, seen: CoverageSeen, baseline: BaselineSeen) -> None:
    if seen.state == "none":
        raise Unknown("not swept yet")
    if seen.table != table:
        raise Unknown(f"its record is about {seen.table}")
    if seen.generation != baseline.generation:
        raise Unknown("not swept since the audit began, only before")
    if seen.state == "error":
        raise Unknown(f"its sweep fails: {seen.reason or 'no reason recorded'}")
    if seen.state not in (*SWEEPING, "skipped"):
        raise Unknown(f"its state is {seen.state!r}, which is none")


def _accepted(seen: CoverageSeen, now: float) -> SkipSeen:
    """Give the acceptance of a skipped table; without an owner, a reason and an end to come there is none."""
    words, given = f"skipped: {seen.reason or 'no reason recorded'}", seen.accepted
    if given is None:
        raise Unknown(words, person=True, steps=(ACCEPT,))
    if not given.owner or not given.reason or given.until is None:
        raise Unknown(f"{words}; its acceptance lacks an owner, a reason or an end", person=True, steps=(ACCEPT,))
    if not number_of(now, "the time") < given.until:
        raise Unknown(f"{words}; its acceptance by {given.owner} has ended", person=True, steps=(ACCEPT,))
    return given


def _check_sweep(seen: CoverageSeen, baseline: BaselineSeen, now: float) -> None:
    """Take a complete sweep of this baseline, with every number known and none against another."""
    if number_of(seen.sweep, "the number of its sweeps") < 1:
        raise Unknown("its first sweep is not complete")
    counts = {name: number_of(getattr(seen, name), f"its number of rows ({name})") for name in COUNTS}
    if counts["verified"] > counts["rows"]:
        raise Unknown(f"{counts['verified']:.0f} of {counts['rows']:.0f} rows verified makes no sense")
    began, ended = age_of(seen.at, now, "its sweep"), age_of(seen.finished_at, now, "the end of its sweep")
    if ended > began:
        raise Unknown("its sweep ended before it began")
    if began > number_of(now, "the time") - (baseline.at or 0.0) + FUTURE_SECONDS:
        raise Unknown("its sweep is older than the audit")


def _start_of(table: str, apply: ApplySeen) -> int:
    """Give the source position after which the logs are compared for a table; 0 where they never are.

    Raises:
        Unknown: the table is audited by the logs, and nobody says from where.
    """
    if table in (apply.audited or ()) and table not in apply.judged_from:
        raise Unknown("from where its changes are compared is not known")
    return apply.judged_from.get(table, 0)


def _check_position(seen: CoverageSeen, baseline: BaselineSeen, start: int) -> None:
    """Take a sweep that leaves nothing unread before the position where the comparison of the logs begins."""
    if seen.through is None and seen.unverified:
        return  # rows that are not verified are proved through nothing; they are counted by `unverified-rows`
    through = number_of(seen.through, "the position that it proves")
    if through < (baseline.floor or 0):
        raise Unknown("it proves a position before the audit began")
    if through < start:
        raise Unknown("it proves a position before its changes began to be compared; it is swept again")


def _sweeper(evidence: Evidence, limits: Limits, now: float) -> tuple[SweeperSeen, float]:
    """Give what the sweeper says of itself, and how long ago it was last heard from."""
    if not evidence.sweeps:
        raise Unknown("sweeps are switched off", person=True, steps=SWITCH_ON)
    limit = limits["samplers-alive"]
    process_age(evidence, "sweeper", now)
    heartbeat = fresh_age(evidence.processes["sweeper"].heartbeat, now, limit, "the sweeper")
    seen = evidence.sweeper or SweeperSeen()
    age = max(heartbeat, fresh_age(seen.at, now, limit, "the sweeper's state"))
    if seen.state not in ("running", "paused", "idle"):
        raise Unknown(f"the sweeper's state is {seen.state!r}, which is none")
    number_of(seen.tables, "the number of tables that the sweeper knows")
    return seen, age


def _all_swept(evidence: Evidence, limits: Limits, now: float) -> Coverage:
    """Give the coverage where no table lacks it: a figure over the others would say too much."""
    coverage = coverage_of(evidence, limits, now)
    if coverage.lacking:
        table, why = next(iter(coverage.lacking.items()))
        more = f", and {len(coverage.lacking) - 1} more" if len(coverage.lacking) > 1 else ""
        raise Unknown(f"{table}: {why}{more}")
    if not coverage.swept:
        raise Unknown("no table was swept")
    return coverage


def _proved(coverage: Coverage) -> int | None:
    """Give the source position through which every swept table is proved."""
    positions = [seen.through for seen in coverage.swept.values()]
    known = [position for position in positions if position is not None]
    return min(known) if len(known) == len(positions) else None


def summary(evidence: Evidence, limits: Limits, now: float) -> CoverageSummary:
    """Sum up the coverage for people and programs; no condition rests on it."""
    try:
        coverage = coverage_of(evidence, limits, now)
    except Unknown:
        return CoverageSummary()
    swept, accepted = list(coverage.swept.values()), tuple(coverage.accepted)
    if not swept:
        return CoverageSummary(coverage.tables, 0, accepted)
    through, since = _proved(coverage), min(seen.at or 0.0 for seen in swept)
    counts = {name: coverage.total(name) for name in COUNTS}
    return CoverageSummary(coverage.tables, len(swept), accepted, through=through, since=since, **counts)


def base_scan(evidence: Evidence, limits: Limits, now: float) -> Measured:
    """Count the tables that no complete sweep has covered under this baseline."""
    sweeper, age = _sweeper(evidence, limits, now)
    coverage = coverage_of(evidence, limits, now)
    lacking = coverage.lacking
    words = [f"{len(coverage.swept)} of {coverage.tables} tables swept"]
    words += [f"{table}: {why}" for table, why in list(lacking.items())[:NAMED]]
    words += [f"{len(lacking) - NAMED} more"] if len(lacking) > NAMED else []
    words += [f"{table} is skipped, accepted by {by.owner}: {by.reason}" for table, by in coverage.accepted.items()]
    error = sweeper.error or evidence.processes["sweeper"].error
    trouble = f"the sweeper says: {error}" if error else None if coverage.swept else "no table was swept"
    steps = tuple(dict.fromkeys(step for why in lacking.values() for step in why.steps))
    person = any(why.person for why in lacking.values())
    return Measured(len(lacking), age, "; ".join(words), trouble, person, steps)


def coverage_age(evidence: Evidence, limits: Limits, now: float) -> Measured:
    """Say how long ago the row was read that was not read again for longest."""
    sweeper, age = _sweeper(evidence, limits, now)
    ages = {table: age_of(seen.at, now, table) for table, seen in _all_swept(evidence, limits, now).swept.items()}
    oldest = max(ages, key=lambda table: ages[table])
    paused = f"; the sweeper pauses: {sweeper.paused_because or 'no reason recorded'}"
    words = f"{oldest} was read {ages[oldest]:.0f} s ago"
    return Measured(ages[oldest], age, words + (paused if sweeper.state == "paused" else ""))


def unverified_rows(evidence: Evidence, limits: Limits, now: float) -> Measured:
    """Count the rows that the last complete sweeps could not prove equal or different."""
    _, age = _sweeper(evidence, limits, now)
    coverage = _all_swept(evidence, limits, now)
    unverified, hot = coverage.total("unverified"), coverage.total("hot")
    stateless = sum(_stateless(seen) for seen in coverage.swept.values())
    words = f"{unverified} unverified, {hot} hot of {coverage.total('rows')}"
    words += f", {stateless} in no state" if stateless else ""
    known = evidence.findings.swept_tables if evidence.findings else ()
    silent = [table for table, seen in coverage.swept.items() if seen.different and table not in known]
    trouble = f"rows differ in {silent[0]}, and no finding says so" if silent else None
    return Measured(unverified + hot + stateless, age, words, trouble, person=bool(silent))


def _stateless(seen: CoverageSeen) -> int:
    counted = (seen.verified or 0) + (seen.unverified or 0) + (seen.hot or 0) + (seen.different or 0)
    return max(0, (seen.rows or 0) - counted)


def still_open(evidence: Evidence, limits: Limits, now: float) -> tuple[GapSeen, ...]:
    """List the gaps that no sweep has made good: every table read since, on a position past the gap's end."""
    gaps = evidence.gaps or ()
    try:
        _sweeper(evidence, limits, now)
        coverage = _all_swept(evidence, limits, now)
    except Unknown:
        return gaps
    through = _proved(coverage)
    if coverage.accepted or through is None:
        return gaps
    since = min(seen.at or 0.0 for seen in coverage.swept.values())
    return tuple(gap for gap in gaps if gap.end is None or gap.at is None or gap.end > through or gap.at >= since)


def proved_since(evidence: Evidence, limits: Limits, now: float, changed_at: float) -> bool:
    """Say whether every table was read whole after a time; what cannot be known proves nothing."""
    try:
        _sweeper(evidence, limits, now)
        coverage = _all_swept(evidence, limits, now)
    except Unknown:
        return False
    since = changed_at + FUTURE_SECONDS  # the clocks of two of our hosts may differ by as much
    return all(seen.at is not None and seen.at > since for seen in coverage.swept.values())


def canary(evidence: Evidence, limits: Limits, now: float) -> Measured:
    """Say how long ago both audits last found the difference that was planted for them."""
    baseline, seen = baseline_of(evidence), evidence.canary
    if baseline.canary is False:
        age = age_of(evidence.read_at, now, "the records store")
        return Measured(0.0, age, "waived, as the audit was prepared without a canary table")
    if not evidence.sweeps:
        raise Unknown("it runs with the sweeps, which are switched off", person=True, steps=SWITCH_ON)
    if seen is None:
        raise Unknown("no difference was planted yet")
    if seen.generation != baseline.generation:
        raise Unknown("no difference was planted since the audit began")
    if seen.error:
        raise Unknown(seen.error)
    age, planted = age_of(seen.at, now, "the canary"), age_of(seen.planted_at, now, "the planted difference")
    by_transaction = number_of(seen.transaction_ms, "the time of the transaction audit")
    by_row = number_of(seen.row_ms, "the time of the row audit")
    if number_of(seen.n, "the number of planted differences") < 1 or planted < age:
        raise Unknown("its receipt makes no sense")
    words = f"found {age:.0f} s ago, by the transaction audit in {by_transaction:.0f} ms"
    return Measured(planted, age, f"{words}, by the row audit in {by_row:.0f} ms")
