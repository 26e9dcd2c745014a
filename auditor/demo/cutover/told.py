"""What a cutover's show came to: as JSON for machines, and in words; with the judgement whether it was safe."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from auditor.cutover.documents import chain_word
from auditor.cutover.story import Attempt, attempts_of, phase_times
from auditor.demo.cutover.checker import Checked
from auditor.demo.cutover.clients import Failure
from auditor.demo.cutover.faults import End, Fault
from comparators.positions import Side
from orchestrator.cutover import Event
from orchestrator.records import Direction, Entry, Kind

EXIT = {End.PROMOTED: 0, End.ABORTED: 1, End.ROLLED_BACK: 1}
PERSON = 4
ENDS = {Event.ABORTED: End.ABORTED, Event.REFUSED: End.ABORTED, Event.RETURNED: End.ROLLED_BACK}


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a cutover."""

    seconds: float
    end: End | None
    """`None`: it came to no end."""
    serving: Side
    """The side that must hold everything."""
    entries: Sequence[Entry]
    checked: Checked
    writable: Sequence[Side]
    """Sides that the application can write to, past every proxy."""
    turns: Sequence[Side]
    """As the witness of two writers saw them."""
    failures: Sequence[Failure]
    stalls: Mapping[Direction, float]
    """The longest that a client waited (ms) while writes were held; a direction that held none is not named."""
    journal: Sequence[str]
    """What speaks against its chain."""
    exit_codes: Sequence[int | None]
    log_tail: str
    missed: Sequence[str] = ()
    """Steps at which something was to happen, and to which it never came."""

    def way(self, direction: Direction) -> Attempt | None:
        """Give the last attempt in a direction."""
        ways = [attempt for attempt in attempts_of(self.entries) if attempt.run.direction is direction]
        return ways[-1] if ways else None

    @property
    def proof(self) -> str:
        """Say whether every link of the chain is there, of the way that was taken last."""
        if self.end is End.ABORTED or self.end is None:
            return "none: nothing was promoted"
        way = self.way(Direction.FORWARD if self.end is End.PROMOTED else Direction.BACK)
        missing = [link.step for link in way.chain if link.problem] if way else ["all"]
        return f"without {', '.join(missing)}" if missing else chain_word(way)

    def dangers(self) -> list[str]:
        """Say what must never be, worst first."""
        found = [
            (self.two_writers, f"two sides accepted writes: {', '.join(self.turns)}"),
            (bool(self.checked.lost), f"{len(self.checked.lost)} acknowledged writes are lost"),
            (bool(self.checked.doubled), f"{len(self.checked.doubled)} writes are there twice"),
            (bool(self.checked.altered), f"{len(self.checked.altered)} writes are not what they were"),
            (bool(self.checked.torn), f"accounts {list(self.checked.torn)} hold half of a transaction"),
            (self.serving not in self.writable, f"the {self.serving} does not accept writes"),
            (self.end is None, "it came to no end"),
            (bool(self.missed), f"it never came to {', '.join(self.missed)}"),
            (bool(self.journal), f"the journal does not verify: {'; '.join(self.journal)}"),
        ]
        return [text for true, text in found if true]

    @property
    def two_writers(self) -> bool:
        """Say whether the sides took turns that no cutover allows."""
        promotions = sum(entry.kind is Kind.DONE and entry.step == "commit" for entry in self.entries)
        changes = sum(one is not other for one, other in pairwise(self.turns))
        switched = self.end not in (None, End.ABORTED)  # an abort opens the target as it was before
        return changes > promotions or (switched and len(self.writable) > 1)

    @property
    def reasons(self) -> list[str]:
        """Give what the journal names as the reason for an end other than promotion."""
        told = [
            str(entry.facts["reason"])
            for entry in self.entries
            if entry.kind in (Kind.EVENT, Kind.FAILED) and entry.facts.get("reason")
        ]
        return list(dict.fromkeys(told))


def end_of(entries: Sequence[Entry]) -> End | None:
    """Read how a cutover ended; `None`: not yet."""
    for entry in reversed(entries):
        if entry.kind is Kind.EVENT and entry.step in ENDS:
            return ENDS[Event(entry.step)]
        if entry.kind is Kind.DONE and entry.step == "finalize":
            return End.PROMOTED
    return None


def document(told: Told, fault: Fault | None, kill: str | None) -> dict[str, Any]:
    """Build the show's JSON line."""
    forward, back = told.way(Direction.FORWARD), told.way(Direction.BACK)
    return {
        "seconds": round(told.seconds, 1),
        "cutover": {
            "end": told.end,
            "serving": told.serving,
            "held_write_ms": _held(forward),
            "rollback_held_write_ms": _held(back),
            "worst_stall_ms": _rounded(told.stalls.get(Direction.FORWARD)),
            "rollback_worst_stall_ms": _rounded(told.stalls.get(Direction.BACK)),
            "acknowledged_writes": told.checked.acknowledged,
            "failed_transactions": len(told.failures),
            "lost_writes": len(told.checked.lost),
            "doubled_writes": len(told.checked.doubled),
            "proof_chain": told.proof,
            "phases": _phases(forward),
            "rollback_phases": _phases(back),
            "reasons": told.reasons,
            "journal": "intact" if not told.journal else list(told.journal),
            "dangers": told.dangers(),
        },
        "fault": None if fault is None else _fault(told, fault),
        "killed_at": kill,
        "exit_codes": list(told.exit_codes),
    }


def _fault(told: Told, fault: Fault) -> dict[str, Any]:
    return {
        "name": fault.name,
        "what": fault.what,
        "step": fault.step,
        "expected_end": fault.end,
        "as_expected": as_expected(told, fault),
    }


def _held(way: Attempt | None) -> float | None:
    return None if way is None else _rounded(way.held_ms)


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)


def _phases(way: Attempt | None) -> dict[str, float]:
    return {} if way is None else {phase: round(ms, 1) for phase, ms in phase_times(way).items()}


def as_expected(told: Told, fault: Fault) -> bool:
    """Say whether a fault ended as it must, with its reason named."""
    return (fault.any_end or told.end is fault.end) and (
        not fault.reason or any(fault.reason in reason for reason in told.reasons)
    )


def exit_code(told: Told, fault: Fault | None) -> int:
    """Follow the end; what was unsafe, or not as expected, needs a person."""
    if told.dangers() or told.end is None or (fault is not None and not as_expected(told, fault)):
        return PERSON
    if told.end is not End.ABORTED and told.proof != "complete":
        return PERSON
    return EXIT[told.end]


def words(told: Told, fault: Fault | None) -> str:
    """Say it for people."""
    held = _held(told.way(Direction.FORWARD))
    lines = [
        f"end               {told.end or 'none'}; the {told.serving} serves",
        f"writes held       {'not' if held is None else f'{held:.0f} ms'}",
        f"longest wait      {max(told.stalls.values(), default=0):.0f} ms of a client while they were",
        f"clients           {told.checked.acknowledged} writes acknowledged, {len(told.checked.lost)} lost,"
        f" {len(told.failures)} failed transactions",
        f"proof chain       {told.proof}",
        *(f"because           {reason}" for reason in told.reasons),
        *(f"DANGER            {danger}" for danger in told.dangers()),
    ]
    if fault is not None:
        lines.append(f"fault             {fault.what}: {'as' if as_expected(told, fault) else 'NOT as'} expected")
    return "\n".join(lines)
