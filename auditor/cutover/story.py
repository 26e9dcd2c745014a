"""What the journal tells of a migration's cutovers: steps, times, and the chain of proof. Pure.

Times are the journal's, which one clock gave; a time between two entries of different epochs holds a wait for a new
orchestrator as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from orchestrator.cutover import ALL_STEPS, Event, Phase, Run, Step, told
from orchestrator.evidence import shortcoming
from orchestrator.records import Direction, Entry, Kind, Request, Wish


class State(StrEnum):
    """What became of a step."""

    DONE = "done"
    FAILED = "failed"
    DOING = "doing"


@dataclass(frozen=True, slots=True)
class StepTold:
    """One step of an attempt; a step that was repeated is told once, from its first beginning."""

    step: Step
    state: State
    began: datetime
    ended: datetime | None = None
    tries: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0
    """Number of its last entry."""
    hash: str = ""
    """Hash of its last entry."""

    @property
    def ms(self) -> float | None:
        """Milliseconds from its first beginning to its end."""
        return None if self.ended is None else (self.ended - self.began).total_seconds() * 1000


@dataclass(frozen=True, slots=True)
class Link:
    """One link of the chain of proof; `problem` says what it lacks."""

    step: str
    proves: str
    told: StepTold | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt."""

    run: Run
    began: datetime
    last: datetime
    actor: str
    steps: tuple[StepTold, ...]
    entries: tuple[Entry, ...]

    @property
    def held_ms(self) -> float | None:
        """Milliseconds for which writes were held; `None`: they were not, or still are.

        The process that held them measured it, unless another one let them go.
        """
        measured = [one.facts["held_ms"] for one in self.steps if "held_ms" in one.facts]
        if measured:
            return float(max(measured))
        window = held_window(self.steps)
        return None if window is None or window[1] is None else (window[1] - window[0]).total_seconds() * 1000

    @property
    def chain(self) -> tuple[Link, ...]:
        """The links of the proof, in their order."""
        found = {one.step.name: one for one in self.steps}
        return tuple(Link(name, proves, found.get(name), self._problem(found.get(name))) for name, proves in PROOF)

    @property
    def proved(self) -> bool:
        return all(link.problem is None for link in self.chain)

    @property
    def result(self) -> str:
        """One word on how it stands."""
        if self.run.ended is not None:
            return _ENDS.get(self.run.ended, str(self.run.ended))
        if self.run.over:
            return "finalized"
        return "committed" if self.run.committed else "under way"

    def _problem(self, told: StepTold | None) -> str | None:
        if told is None:
            return "not begun"
        if told.state is not State.DONE:
            return "failed" if told.state is State.FAILED else "not done yet"
        return shortcoming(told.step.name, told.facts, self.run)


PROOF: tuple[tuple[str, str], ...] = (
    ("close-old", "nobody can write on the old side"),
    ("record-fence-lsn", "where the old side's last write ends"),
    ("see-marker", "a nonce written behind it has arrived on the new side"),
    ("make-durable", "what arrived is on the new side's disk"),
    ("compare-last", "the rows written last and most are equal on both sides"),
    ("set-sequences", "no sequence can give a value twice"),
    ("hand-over-consumers", "change consumers lose nothing and see nothing twice"),
    ("confirm-verdict", "the audit decided anew after the fence, and still found nothing"),
    ("record-commit-line", "until then nobody was in or had written on the old side, and the way back has its slot"),
    ("commit", "the journal decided, once"),
    ("route-proxies", "every proxy has acknowledged the new side"),
    ("prove-routing", "through every proxy the new side answers"),
    ("count-old-sessions", "nobody is left on the old side"),
    ("write-canary", "a write on the new side is read back through every proxy"),
)
"""The chain, and what each link of it proves."""

_FAILED = (Event.ABORTED, Event.RETURNED)
_ENDS = {
    Event.ABORTED: "aborted",
    Event.STAYED: "rollback aborted",
    Event.RETURNED: "rolled back",
    Event.REFUSED: "refused",
}


def attempts_of(entries: Iterable[Entry]) -> tuple[Attempt, ...]:
    """Tell the attempts, oldest first.

    Raises:
        IllegalTransition: the entries tell what cannot have been.
    """
    by_attempt: dict[int, list[Entry]] = {}
    for entry in entries:
        by_attempt.setdefault(entry.attempt, []).append(entry)
    runs = {run.attempt: run for run in told(entry for listed in by_attempt.values() for entry in listed)}
    return tuple(_attempt(runs[number], by_attempt[number]) for number in sorted(by_attempt) if number in runs)


def held_window(steps: Sequence[StepTold]) -> tuple[datetime, datetime | None] | None:
    """Give when writes began to be held and when they were let go, `None` where they still are."""
    found = {one.step.name: one for one in steps}
    starts = [found[name].began for name in ("hold-proxies", "close-old") if name in found]
    if not starts:
        return None
    releases = [found[name] for name in ("release-proxies", "release-after-abort") if name in found]
    ends = [one.ended for one in releases if one.state is State.DONE and one.ended is not None]
    return min(starts), max(ends, default=None)


def phase_times(attempt: Attempt) -> dict[str, float]:
    """Give the milliseconds of each phase: from its first step's beginning to its last one's end."""
    bounds: dict[Phase, tuple[datetime, datetime]] = {}
    for one in attempt.steps:
        if one.ended is not None:
            began, ended = bounds.get(one.step.phase, (one.began, one.ended))
            bounds[one.step.phase] = min(began, one.began), max(ended, one.ended)
    return {str(phase): (ended - began).total_seconds() * 1000 for phase, (began, ended) in bounds.items()}


def current(attempts: Sequence[Attempt]) -> Attempt | None:
    """Give the newest attempt, whether or not it is over."""
    return attempts[-1] if attempts else None


def forward_of(attempts: Sequence[Attempt]) -> Attempt | None:
    """Give the newest way forward."""
    return next((one for one in reversed(attempts) if one.run.direction is Direction.FORWARD), None)


def owed(attempts: Sequence[Attempt], requests: Iterable[Request]) -> int | None:
    """Give the failed attempt that nobody has acknowledged: nothing begins before somebody does."""
    failed = [
        one.run.attempt
        for one in attempts
        if one.run.direction is Direction.FORWARD and one.run.touched and one.run.ended in _FAILED
    ]
    known = {request.attempt for request in requests if request.wish is Wish.ACKNOWLEDGE}
    return failed[-1] if failed and failed[-1] not in known else None


def _attempt(run: Run, entries: Sequence[Entry]) -> Attempt:
    steps: dict[str, StepTold] = {}
    for entry in entries:
        if entry.kind is not Kind.EVENT and entry.step in ALL_STEPS:
            steps[entry.step] = _step(steps.get(entry.step), entry)
    return Attempt(run, entries[0].at, entries[-1].at, entries[0].actor, tuple(steps.values()), tuple(entries))


def _step(before: StepTold | None, entry: Entry) -> StepTold:
    step = ALL_STEPS[entry.step]
    began = before.began if before else entry.at
    tries = (before.tries if before else 0) + (entry.kind is Kind.INTENT)
    if entry.kind is Kind.INTENT:
        facts = before.facts if before else {}
        return StepTold(step, State.DOING, began, None, tries, facts, entry.seq, entry.hash)
    state = State.DONE if entry.kind is Kind.DONE else State.FAILED
    return StepTold(step, state, began, entry.at, max(tries, 1), entry.facts, entry.seq, entry.hash)
