"""The sections of the page: evidence and findings as tables, the worst on top, each of a bounded length."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from auditor.console.pulse import Change
from auditor.console.tables import LISTED, Cell, Table, Tone, cells, columns, listed
from auditor.console.words import NOT_KNOWN, age, count, duration, figure, moment
from comparators.checklist import GROUPS
from comparators.findings import Finding, State, open_findings
from comparators.preflight import Item, ItemStatus
from orchestrator.conditions import Outcome, Status
from orchestrator.coverage import COUNTS, CoverageSummary
from orchestrator.seen import (
    AlertSeen,
    CoverageSeen,
    Evidence,
    OverrideSeen,
    ProbeSeen,
    ProcessSeen,
    SamplerSeen,
    SlotSeen,
)

TONES: Mapping[str, Tone] = {
    **{Status.PASS: Tone.GOOD, Status.INCONCLUSIVE: Tone.UNKNOWN, Status.FAIL: Tone.BAD},
    **{ItemStatus.OK: Tone.GOOD, ItemStatus.WARN: Tone.WARN, ItemStatus.UNKNOWN: Tone.UNKNOWN},
    **{ItemStatus.BLOCKS_CAPACITY: Tone.BAD, ItemStatus.BLOCKS_CORRECTNESS: Tone.BAD},
    **{State.CONFIRMED: Tone.BAD, State.SUSPECT: Tone.WARN},
}
WORST = (Status.FAIL, Status.INCONCLUSIVE, Status.PASS)
BUSY = ("swept", "sweeping")
PROCESSES = ("sampler-source", "sampler-target", "core", "sweeper", "prober", "gate")
ALIVE_SECONDS = 5.0
INVENTORY = "slots-inventory"
"""The item that lists every slot of both sides."""


def badge(word: str, note: str = "") -> Cell:
    """Show a status as a word with the icon of its tone."""
    return Cell(word, TONES.get(word, Tone.PLAIN), note)


def conditions(outcomes: Sequence[Outcome]) -> Table:
    """List every condition, those that close the gate first."""
    ordered = sorted(outcomes, key=lambda outcome: WORST.index(outcome.status))
    held = sum(outcome.status is Status.PASS for outcome in outcomes)
    return Table(
        "conditions",
        "Conditions",
        columns("condition", "status", "value", "limit", "age", "reason",
                number=("value", "limit", "age"), wide=("reason",)),
        tuple(
            cells(
                outcome.name,
                badge(outcome.status),
                figure(outcome.value, outcome.unit),
                figure(outcome.limit, outcome.unit),
                duration(outcome.age_seconds),
                outcome.reason,
            )
            for outcome in ordered
        ),
        "Not known: nothing was evaluated.",
        f"{held} of {len(outcomes)} hold",
    )  # fmt: skip


def coverage(evidence: Evidence, summed: CoverageSummary, now: float) -> Table:
    """List the tables and what sweeps prove of each, the least proved first."""
    lines = dict(evidence.coverage)
    for table in (evidence.apply.to_cover if evidence.apply else None) or ():
        lines.setdefault(table, CoverageSeen(table, "not swept yet"))
    ordered = sorted(lines.items(), key=lambda line: (*_proof(line[1]), line[0]))
    totals = (figure(getattr(summed, name)) for name in COUNTS)
    return Table(
        "coverage",
        "Coverage",
        columns("table", "state", *COUNTS, "age", number=(*COUNTS, "age"), code=("table",)),
        tuple(_covered(table, seen, now) for table, seen in ordered[:LISTED]),
        "Not known: no table was swept yet, and no list of tables has come.",
        _covered_words(summed),
        listed(ordered, "auditor coverage"),
        (cells("all covered tables", "", *totals, age(summed.since, now)),) if lines else (),
    )


def _covered_words(summed: CoverageSummary) -> str:
    if summed.tables is None:
        return "sums are not known"
    accepted = f", {len(summed.accepted)} accepted as not swept" if summed.accepted else ""
    return f"{summed.swept or 0:,} of {count(summed.tables, 'table', 'tables')} swept{accepted}"


def _proof(seen: CoverageSeen) -> tuple[bool, bool, float]:
    """Order tables: those that differ, those in trouble, then those not read for longest."""
    quiet = seen.state in BUSY and not seen.unverified
    return not seen.different, quiet, float("-inf") if seen.at is None else seen.at


def _covered(table: str, seen: CoverageSeen, now: float) -> tuple[Cell, ...]:
    tone = Tone.BAD if seen.different else Tone.GOOD if seen.state in BUSY and seen.sweep else Tone.UNKNOWN
    word = (seen.state or NOT_KNOWN) + (", rows differ" if seen.different else "")
    state = Cell(word, tone, seen.reason or "")
    return cells(table, state, *(figure(getattr(seen, name)) for name in COUNTS), age(seen.at, now))


def findings(found: Sequence[Finding], evidence: Evidence) -> Table:
    """List the findings that stand open, the confirmed ones first; keys only as hashes."""
    opened = open_findings(found)
    suspects = [finding for finding in found if finding.state is State.SUSPECT]
    ordered = [*_newest_first(opened), *_newest_first(suspects)]
    unreadable = len(evidence.findings.unreadable) if evidence.findings else 0
    states = Counter(finding.state for finding in found)
    summary = f"{len(opened):,} confirmed, {len(suspects):,} suspected; {states[State.HEALED]:,} healed, "
    summary += f"{states[State.ACCEPTED]:,} accepted" + (f"; {unreadable:,} cannot be read" if unreadable else "")
    return Table(
        "findings",
        "Open findings",
        columns("id", "kind", "table", "state", "count", "first seen (UTC)", "key hash", number=("count",),
                code=("id", "table", "key hash")),
        tuple(_finding(finding) for finding in ordered[:LISTED]),
        "No difference stands open." if evidence.findings else "Not known: the findings were not read yet.",
        summary if evidence.findings else NOT_KNOWN,
        listed(ordered, "auditor findings list"),
    )  # fmt: skip


def _newest_first(found: Iterable[Finding]) -> list[Finding]:
    return sorted(found, key=lambda finding: (-finding.first_seen, finding.id))


def _finding(finding: Finding) -> tuple[Cell, ...]:
    key = next((key.hash[:12] for key in finding.keys if key.hash), "")
    what = (finding.id, str(finding.kind), finding.table, badge(finding.state))
    return cells(*what, figure(finding.count), moment(finding.first_seen), key)


def slots(evidence: Evidence) -> Table:
    """List our slots as their readers see them, and all slots as the probe saw them."""
    ours = [_own_slot(side, seen) for side, seen in (("source", evidence.source), ("target", evidence.target))]
    probe = evidence.probes.get("slots")
    items = (probe.items if probe else None) or ()
    rows = [_own_slot_row(*slot) for slot in ours]
    rows += [_slot_item(item) for item in items if item.status is not ItemStatus.OK]
    names = {slot.name for _, slot in ours if slot}
    listing = next((item for item in items if item.name == INVENTORY), Item(INVENTORY, ItemStatus.OK, ""))
    rows += [row for subject in listing.subjects if (row := _other_slot(subject))[0].text not in names]
    left = listing.count - len(listing.subjects)
    return Table(
        "slots",
        "Replication slots",
        columns("slot", "status", "what", code=("slot",), wide=("what",)),
        tuple(rows[:LISTED]),
        "Not known: the slots were not looked at yet.",
        _held_words(probe),
        listed(rows, "auditor preflight") or (f"and {left:,} more: auditor preflight" if left > 0 else ""),
    )


def _held_words(probe: ProbeSeen | None) -> str:
    if probe is None or probe.items is None:
        return "slots of others: not known"
    return f"those of others hold back up to {figure(probe.figures.get('foreign_retained_bytes'), 'bytes')}"


def _own_slot(side: str, seen: SamplerSeen | None) -> tuple[str, SlotSeen | None]:
    return side, seen.slot if seen else None


def _own_slot_row(side: str, slot: SlotSeen | None) -> tuple[Cell, ...]:
    if slot is None or slot.exists is None:
        return cells(f"ours, on the {side}", Cell(NOT_KNOWN, Tone.UNKNOWN), f"{side}: its sampler has not said")
    status = Cell("exists", Tone.GOOD) if slot.exists else Cell("missing", Tone.BAD)
    if slot.wal_status not in (None, "reserved", "extended"):
        status = Cell(f"WAL {slot.wal_status}", Tone.BAD)
    what = f"{side}: ours, holds back {figure(slot.retained_bytes, 'bytes')}"
    return cells(slot.name or NOT_KNOWN, status, what)


def _slot_item(item: Item) -> tuple[Cell, ...]:
    return cells(item.name, badge(item.status), Cell(f"{item.sentence}: {_named(item)}", note=item.remedy))


def _other_slot(subject: str) -> tuple[Cell, ...]:
    """Lay out a line of the probe's inventory, `side: slot: description: whose`."""
    side, _, rest = subject.partition(": ")
    slot, _, described = rest.partition(": ")
    description, _, whose = described.rpartition(": ")
    return cells(slot or subject, badge(whose or "listed"), f"{side}: {description}")


def preflight(evidence: Evidence, now: float) -> Table:
    """List the items that block, are unknown or warn; what is in order is only counted."""
    probes = evidence.probes
    items = [item for _, seen in sorted(probes.items()) for item in seen.items or ()]
    counted = Counter(item.status for item in items)
    lost = [(group, why) for group in sorted({*GROUPS, *probes}) if (why := _lost(group, probes.get(group), now))]
    worst = list(ItemStatus)[::-1]
    rows = [cells(group, Cell(NOT_KNOWN, Tone.UNKNOWN), why, "auditor preflight") for group, why in lost]
    rows += [_item(item) for item in sorted(items, key=lambda item: worst.index(item.status)) if item.status != "ok"]
    return Table(
        "preflight",
        "Preflight",
        columns("item", "status", "what", "what to do", wide=("what", "what to do")),
        tuple(rows[:LISTED]) if probes else (),
        f"Every item is in order: {len(items)}." if probes else "Not known: the checklist was not gone through yet.",
        _counted(counted) if probes else NOT_KNOWN,
        listed(rows, "auditor preflight") if probes else "",
    )


def _counted(counted: Counter[ItemStatus]) -> str:
    blocking = sum(number for status, number in counted.items() if status.blocks)
    return f"{blocking} block, {counted[ItemStatus.WARN]} warn, {counted[ItemStatus.OK]} in order"


def _lost(group: str, seen: ProbeSeen | None, now: float) -> str | None:
    """Say why a whole group of the checklist is not known."""
    if seen is None or seen.at is None:
        return "was not looked at yet"
    if seen.error or seen.items is None:
        return seen.error or "its record cannot be read"
    late = group in GROUPS and not abs(now - seen.at) <= GROUPS[group].max_age
    return f"was last looked at {age(seen.at, now)} ago" if late else None


def _item(item: Item) -> tuple[Cell, ...]:
    return cells(item.name, badge(item.status), Cell(item.sentence, note=_named(item)), item.remedy)


def _named(item: Item) -> str:
    left = item.count - len(item.subjects)
    return ", ".join(item.subjects) + (f" and {left:,} more" if left > 0 and item.subjects else "")


def processes(evidence: Evidence, now: float) -> Table:
    """List the processes of the audit, and when each was last heard from."""
    names = [*(name for name in PROCESSES if _wanted(name, evidence)), *sorted(set(evidence.processes) - {*PROCESSES})]
    return Table(
        "processes",
        "Processes",
        columns("process", "status", "heard", "trouble", number=("heard",), wide=("trouble",)),
        tuple(_process(name, evidence.processes.get(name), now) for name in names),
        "Not known: no process was heard from.",
    )


def _wanted(name: str, evidence: Evidence) -> bool:
    """Say whether a process belongs to this migration: what is switched off is not missed."""
    optional = {"sweeper": evidence.sweeps, "prober": evidence.probing}
    return name in evidence.processes or optional.get(name, True)


def _process(name: str, seen: ProcessSeen | None, now: float) -> tuple[Cell, ...]:
    at = seen.heartbeat if seen else None
    alive = at is not None and abs(now - at) <= ALIVE_SECONDS
    status = Cell("alive", Tone.GOOD) if alive else Cell("never heard" if at is None else "silent", Tone.BAD)
    trouble = "; ".join(words for words in ((seen.error, seen.last_exit) if seen else ()) if words)
    return cells(name, status, NOT_KNOWN if at is None else f"{age(at, now)} ago", trouble or "none")


def overrides(evidence: Evidence, now: float) -> Table:
    """List what persons took responsibility for, with name, reason and end."""
    ordered = sorted(evidence.overrides, key=lambda one: (one.until or 0.0, one.id))
    return Table(
        "overrides",
        "Overrides",
        columns("condition", "owner", "status", "until (UTC)", "reason", wide=("reason",)),
        tuple(_override(one, now) for one in ordered[:LISTED]),
        "Nobody has taken responsibility for a condition.",
        more=listed(ordered, "auditor gate overrides"),
    )


def _override(one: OverrideSeen, now: float) -> tuple[Cell, ...]:
    runs = one.until is not None and now < one.until
    status = Cell("in force", Tone.WARN) if runs else Cell("ended", Tone.PLAIN)
    about = f"{one.condition or NOT_KNOWN}{f': {one.item}' if one.item else ''}"
    return cells(about, one.owner or NOT_KNOWN, status, moment(one.until), one.reason or NOT_KNOWN)


def alerts(seen: Sequence[AlertSeen] | None) -> Table:
    """List the alerts of other systems that close the gate."""
    ordered = sorted(seen or (), key=lambda one: (one.since or 0.0, one.id))
    return Table(
        "alerts",
        "Alerts of other systems",
        columns("alert", "severity", "since (UTC)"),
        tuple(cells(one.name or one.id, one.severity or NOT_KNOWN, moment(one.since)) for one in ordered[:LISTED]),
        "Not known." if seen is None else "None fires.",
        more=listed(ordered, "the Alertmanager that sent them"),
    )


def history(changes: Iterable[Change], began: float) -> Table:
    """List the changes of the verdict, newest first."""
    newest = list(changes)[::-1]
    return Table(
        "history",
        "History of the verdict",
        columns("from (UTC)", "verdict", "first reason", wide=("first reason",)),
        tuple(
            cells(moment(one.at), badge(one.status), one.reasons[0] if one.reasons else "every condition holds")
            for one in newest[:LISTED]
        ),
        "No verdict yet.",
        f"since {moment(began)} UTC",
        listed(newest, "auditor gate history"),
    )
