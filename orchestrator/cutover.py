"""A cutover as data: its phases, its steps in their order, and what a step's failure leads to. Nothing here acts.

Rules of this file:
1. Before `commit` every failure aborts: the old side is opened again, then the proxies are released.
2. After `commit` nothing goes back by itself but as a rollback, which is the same table with the sides swapped.
3. A step's intent is recorded before it acts, and what it read back after it: a restart repeats, never guesses.
4. A time-out before `commit` aborts; after it the step is repeated, and at last a person is called.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from comparators.errors import Defect
from orchestrator.records import Direction, Draft, Entry, Kind


class IllegalTransition(Defect):
    """The cutover was told something that its phase does not allow."""


class Phase(StrEnum):
    """Where a migration's cutover stands."""

    REGISTERED = "REGISTERED"
    PREFLIGHT = "PREFLIGHT"
    REPLICATING = "REPLICATING"
    AUDITING = "AUDITING"
    READY = "READY"
    APPROVED = "APPROVED"
    SHADOWING = "SHADOWING"
    ARMED = "ARMED"
    FENCING = "FENCING"
    DRAINING = "DRAINING"
    SEALING = "SEALING"
    COMMIT = "COMMIT"
    FLIPPING = "FLIPPING"
    VERIFYING = "VERIFYING"
    GUARDED = "GUARDED"
    FINALIZED = "FINALIZED"
    HELD = "HELD"
    ABORTING = "ABORTING"
    ROLLING_BACK = "ROLLING_BACK"
    STUCK = "STUCK"


class Event(StrEnum):
    """What moves a cutover from one phase to another."""

    NEXT = "next"
    """The phase's steps are done."""
    REFUSED = "refused"
    """A check, an approval or a hook said no, and nothing has been done yet."""
    POSTPONED = "postponed"
    UNPOSTPONED = "unpostponed"
    FAILED = "failed"
    """A step failed or its time was over, or the operator aborts."""
    COMMITTED = "committed"
    """The abort came too late: the commit had been won."""
    ABORTED = "aborted"
    """Everything was put back; the old side is where it was before."""
    STAYED = "stayed"
    """A rollback was aborted: the new side stays where the applications are."""
    ROLLBACK = "rollback"
    """An operator, or what the watch saw, asks for the way back."""
    RETURNED = "returned"
    """The rollback is through: the source is the writable side again."""
    FINALIZE = "finalize"
    EXHAUSTED = "exhausted"
    """A step that must not be given up was repeated for as long as it may."""
    UNCLEAR = "unclear"
    """What is observed contradicts the journal."""
    RESUMED = "resumed"
    """A person has looked, and lets it go on."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that is done, known by its name in the journal, in `auditor cutover steps` and in the kill matrix."""

    name: str
    phase: Phase
    seconds: float
    """Its deadline, unless the configuration gives another."""
    holds_writes: bool
    """Clients wait while it runs."""
    does: str
    undoes: tuple[str, ...] = ()
    """Of a step of the abort: it is needed only where one of these was begun."""


STEPS: tuple[Step, ...] = (
    Step("check-all", Phase.PREFLIGHT, 30, False, "asks every part whether something speaks against it"),
    Step("check-gate", Phase.READY, 60, False, "waits for a PASS of the gate, at a sampling rate of 1"),
    Step("check-approval", Phase.APPROVED, 5, False, "finds approvals that name this plan and are still valid"),
    Step("shadow-reads", Phase.SHADOWING, 300, False, "leads reads to the new side first, where a proxy can"),
    Step("rehearse-fence", Phase.ARMED, 10, False, "exercises the fence on a role that nobody uses, and times it"),
    Step("close-new", Phase.ARMED, 30, False, "keeps the applications out of the new side until it is theirs"),
    Step("prepare-reverse", Phase.ARMED, 60, False, "makes the way back, disabled"),
    Step("start-reverse-audit", Phase.ARMED, 120, False, "makes the slots of the reverse audit and starts it"),
    Step("check-budget", Phase.ARMED, 10, False, "foretells how long writes will be held, refuses too long"),
    Step("start-dead-man", Phase.FENCING, 30, False, "starts the process that opens the old side if this one dies"),
    Step("warm-up", Phase.FENCING, 30, False, "opens what the held steps need, follows from now on what is written"),
    Step("consume-verdict", Phase.FENCING, 2, False, "takes the gate's PASS for this cutover alone"),
    Step("pause-consumers", Phase.FENCING, 10, False, "pauses the readers of change slots"),
    Step("hold-proxies", Phase.FENCING, 2, True, "lets new transactions wait in every proxy"),
    Step("close-old", Phase.FENCING, 2, True, "fences the old side in its database, and ends the sessions left"),
    Step("record-fence-lsn", Phase.DRAINING, 0.5, True, "records where the old side's last write ends, once"),
    Step("see-marker", Phase.DRAINING, 2, True, "writes a nonce on the old side and sees it on the new one"),
    Step("make-durable", Phase.DRAINING, 1, True, "commits synchronously on the new side"),
    Step("compare-last", Phase.SEALING, 1, True, "compares the rows written last on both sides"),
    Step("set-sequences", Phase.SEALING, 1, True, "sets sequences past the old side's, and reads them back"),
    Step("hand-over-consumers", Phase.SEALING, 2, True, "drains each reader to the fence, makes its new slot"),
    Step("confirm-verdict", Phase.SEALING, 2, True, "hears PASS once more, asked after the fence was closed"),
    Step("stop-forward", Phase.SEALING, 1, True, "stops the replication to the new side"),
    Step("record-commit-line", Phase.SEALING, 0.5, True, "records the new side's position, sees the old one unwritten"),
    Step("commit", Phase.COMMIT, 1, True, "wins the commit in the journal: from here on only forward"),
    Step("enable-reverse", Phase.FLIPPING, 5, True, "starts the way back, before the first write"),
    Step("open-new", Phase.FLIPPING, 5, True, "lets the applications into the new side"),
    Step("route-proxies", Phase.FLIPPING, 5, True, "leads every proxy to the new side; each node acknowledges"),
    Step("release-proxies", Phase.FLIPPING, 5, True, "lets the waiting transactions go"),
    Step("prove-routing", Phase.VERIFYING, 10, False, "asks through every proxy which server answers"),
    Step("count-old-sessions", Phase.VERIFYING, 10, False, "finds no client session on the old side"),
    Step("write-canary", Phase.VERIFYING, 10, False, "writes on the new side and reads it back through every proxy"),
    Step("resume-consumers", Phase.VERIFYING, 30, False, "lets the readers of change slots go on from the new side"),
    Step("watch", Phase.GUARDED, 3600, False, "watches reverse audit, lag, errors and latency"),
    Step("finalize", Phase.FINALIZED, 60, False, "removes the way back, when an operator says so"),
)
"""The way forward."""

_BY_NAME = {step.name: step for step in STEPS}
_REPEATED = STEPS[STEPS.index(_BY_NAME["start-dead-man"]) : STEPS.index(_BY_NAME["watch"])]
_FORWARD_ONLY = frozenset({"consume-verdict"})

ROLLBACK_STEPS: tuple[Step, ...] = (
    Step("check-way-back", Phase.ROLLING_BACK, 60, False, "asks whether the way back has carried everything"),
    *(step for step in _REPEATED if step.name not in _FORWARD_ONLY),
    Step("retire-way-back", Phase.VERIFYING, 60, False, "removes the way back, which has carried everything"),
)
"""A rollback: the same steps from `start-dead-man` on, with the sides swapped."""

ABORT_STEPS: tuple[Step, ...] = (
    Step("win-abort", Phase.ABORTING, 5, True, "wins the abort in the journal: the commit can no longer be"),
    Step("open-old", Phase.ABORTING, 5, True, "gives the old side back to the applications", ("close-old",)),
    Step("route-back", Phase.ABORTING, 5, True, "sees every proxy lead to the old side", ("hold-proxies",)),
    Step("release-after-abort", Phase.ABORTING, 5, True, "lets the waiting transactions go", ("hold-proxies",)),
    Step("resume-forward", Phase.ABORTING, 10, False, "lets the replication to the new side go on", ("stop-forward",)),
    Step(
        "resume-after-abort", Phase.ABORTING, 10, False,
        "drops the readers' new slots and lets them go on from the old side",
        ("pause-consumers", "hand-over-consumers"),
    ),
    Step("reads-back", Phase.ABORTING, 10, False, "leads reads to the old side again", ("shadow-reads",)),
    Step(
        "disarm", Phase.ABORTING, 60, False,
        "removes the way back, which carried nothing, and opens the new side as before",
        ("close-new", "prepare-reverse", "start-reverse-audit"),
    ),
)  # fmt: skip
"""The way back before `commit`. Each is done even where one before it failed; each has a deadline of its own."""

KEPT_BY_ROLLBACK = frozenset({"reads-back", "disarm"})
"""Steps of the abort that an aborted rollback must not take: its old side keeps its way back, its new one its fence."""

ALL_STEPS: Mapping[str, Step] = {step.name: step for step in (*STEPS, *ROLLBACK_STEPS, *ABORT_STEPS)}

_FORWARD_PHASES = (
    Phase.REGISTERED, Phase.PREFLIGHT, Phase.REPLICATING, Phase.AUDITING, Phase.READY, Phase.APPROVED, Phase.SHADOWING,
    Phase.ARMED, Phase.FENCING, Phase.DRAINING, Phase.SEALING, Phase.COMMIT, Phase.FLIPPING, Phase.VERIFYING,
    Phase.GUARDED,
)  # fmt: skip
UNTOUCHED = frozenset(_FORWARD_PHASES[:6])
"""Phases in which nothing outside the journal has been changed."""
UNDECIDED = frozenset(_FORWARD_PHASES[6:12])
"""Phases in which things were changed that an abort puts back."""
DECIDED = frozenset({Phase.FLIPPING, Phase.VERIFYING, Phase.GUARDED, Phase.FINALIZED})
"""Phases after the commit."""

TRANSITIONS: Mapping[tuple[Phase, Event], Phase] = {
    **{(here, Event.NEXT): there for here, there in pairwise(_FORWARD_PHASES)},
    **{(phase, Event.REFUSED): Phase.HELD for phase in UNTOUCHED},
    **{(phase, Event.FAILED): Phase.ABORTING for phase in (*UNTOUCHED, *UNDECIDED, Phase.HELD, Phase.ROLLING_BACK)},
    **{(phase, Event.EXHAUSTED): Phase.STUCK for phase in (*DECIDED, Phase.ABORTING)},
    **{
        (phase, Event.UNCLEAR): Phase.STUCK
        for phase in (*UNDECIDED, *DECIDED, Phase.HELD, Phase.ABORTING, Phase.ROLLING_BACK)
    },
    **{(phase, Event.ROLLBACK): Phase.ROLLING_BACK for phase in (Phase.FLIPPING, Phase.VERIFYING, Phase.GUARDED)},
    (Phase.ARMED, Event.POSTPONED): Phase.HELD,
    (Phase.HELD, Event.UNPOSTPONED): Phase.ARMED,
    (Phase.ROLLING_BACK, Event.NEXT): Phase.FENCING,
    (Phase.ROLLING_BACK, Event.REFUSED): Phase.GUARDED,
    (Phase.ABORTING, Event.COMMITTED): Phase.COMMIT,
    (Phase.ABORTING, Event.ABORTED): Phase.REPLICATING,
    (Phase.ABORTING, Event.STAYED): Phase.GUARDED,
    **{(phase, Event.RETURNED): Phase.REPLICATING for phase in (Phase.FLIPPING, Phase.VERIFYING, Phase.GUARDED)},
    (Phase.GUARDED, Event.FINALIZE): Phase.FINALIZED,
}
"""Every lawful move. `RESUMED` leads from STUCK to where it was stuck."""


def advance(phase: Phase, event: Event) -> Phase:
    """Look up where an event leads from a phase.

    Raises:
        IllegalTransition: the phase does not allow it.
    """
    if there := TRANSITIONS.get((phase, event)):
        return there
    raise IllegalTransition(f"{event} while {phase}")


_EVENTS = frozenset(Event)

ENDS = frozenset({Event.ABORTED, Event.STAYED, Event.RETURNED, Event.REFUSED})
"""Events after which an attempt is over."""


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt as its entries tell it."""

    attempt: int
    direction: Direction = Direction.FORWARD
    phase: Phase = Phase.REGISTERED
    began: frozenset[str] = frozenset()
    """Steps whose intent was recorded, whatever became of them."""
    done: tuple[str, ...] = ()
    pending: str | None = None
    """The step whose intent is the last word about it."""
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What each step that is done read back."""
    reason: str | None = None
    """Why it aborts, is held or is stuck."""
    aborting: bool = False
    stuck_in: Phase | None = None
    ended: Event | None = None
    opening: Mapping[str, Any] = field(default_factory=dict)
    """What was recorded when it began: the plan, who started it."""

    @property
    def committed(self) -> bool:
        return "commit" in self.done

    @property
    def touched(self) -> bool:
        """Something outside the journal may have been changed."""
        return any(ALL_STEPS[name].phase not in UNTOUCHED for name in self.began)

    @property
    def held(self) -> bool:
        """Writes may be held: an intent to hold them was recorded, and none to let them go was fulfilled."""
        return bool({"hold-proxies", "close-old"} & self.began) and not (
            {"release-proxies", "release-after-abort"} & set(self.done)
        )

    @property
    def over(self) -> bool:
        """Nothing is left to be done."""
        return self.ended is not None or "finalize" in self.done

    def steps(self) -> tuple[Step, ...]:
        """Give the steps of the way that it is on."""
        if self.aborting:
            kept = KEPT_BY_ROLLBACK if self.direction is Direction.BACK else frozenset()
            return tuple(
                step for step in ABORT_STEPS
                if step.name not in kept and (not step.undoes or self.began.intersection(step.undoes))
            )  # fmt: skip
        return ROLLBACK_STEPS if self.direction is Direction.BACK else STEPS

    def next_step(self) -> Step | None:
        """Give the first step that is not done; `None`: the way is at its end."""
        return next((step for step in self.steps() if step.name not in self.done), None)

    def may_roll_back(self) -> bool:
        """Say whether a rollback could begin: applications may be on the new side, and the way back runs."""
        here = self.stuck_in if self.phase is Phase.STUCK else self.phase
        forward = self.direction is Direction.FORWARD and not self.over and not self.aborting
        return forward and "enable-reverse" in self.done and (here, Event.ROLLBACK) in TRANSITIONS


def told(entries: Iterable[Entry]) -> tuple[Run, ...]:
    """Read the attempts out of the journal, oldest first.

    Raises:
        IllegalTransition: the entries tell what cannot have been.
    """
    runs: dict[int, Run] = {}
    for entry in entries:
        runs[entry.attempt] = follow(runs.get(entry.attempt) or opened(entry), entry)
    return tuple(runs[attempt] for attempt in sorted(runs))


def opened(entry: Entry | Draft) -> Run:
    """Give an attempt as it is before its first entry; a rollback starts where the way forward stands guarded."""
    phase = Phase.REGISTERED if entry.direction is Direction.FORWARD else Phase.GUARDED
    return Run(entry.attempt, entry.direction, phase, opening=entry.facts)


def follow(run: Run, entry: Entry | Draft) -> Run:
    """Give an attempt after one more entry."""
    if entry.kind is Kind.EVENT:
        return _moved(run, Event(entry.step), entry.facts) if entry.step in _EVENTS else run
    if entry.step not in ALL_STEPS:
        return run  # of a newer version, or only for people
    if entry.kind is Kind.INTENT:
        return _begun(run, ALL_STEPS[entry.step])
    pending = None if run.pending == entry.step else run.pending
    if entry.kind is Kind.FAILED:
        return replace(run, pending=pending)
    done = (*run.done, *(() if entry.step in run.done else (entry.step,)))
    return replace(run, done=done, pending=pending, facts={**run.facts, entry.step: entry.facts})


def _begun(run: Run, step: Step) -> Run:
    phase = run.phase
    while phase is not step.phase:  # phases without a step of their own are passed through
        phase = advance(phase, Event.NEXT)
    return replace(run, phase=phase, pending=step.name, began=run.began | {step.name})


def _moved(run: Run, event: Event, facts: Mapping[str, Any]) -> Run:
    if run.ended is not None:
        raise IllegalTransition(f"{event} after attempt {run.attempt} was over")
    reason = facts.get("reason", run.reason)
    if event is Event.RESUMED and run.stuck_in is not None:
        return replace(run, phase=run.stuck_in, stuck_in=None, reason=None)
    leaves = event in (Event.ROLLBACK, Event.RETURNED)
    here = run.stuck_in if leaves and run.stuck_in is not None else run.phase
    there = advance(here, event)
    ended = event if event in ENDS else None
    stuck = here if there is Phase.STUCK else None
    aborting = there is Phase.ABORTING or (run.aborting and event is not Event.COMMITTED)
    return replace(run, phase=there, reason=reason, aborting=aborting, stuck_in=stuck, ended=ended, pending=None)


def mermaid() -> str:
    """Draw the table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> REGISTERED"]
    order = list(Phase)
    moves = sorted(TRANSITIONS.items(), key=lambda move: (order.index(move[0][0]), move[0][1]))
    lines += [f"    {here} --> {there}: {event}" for (here, event), there in moves]
    lines += [
        f"    STUCK --> {phase}: {Event.RESUMED}"
        for phase in _FORWARD_PHASES
        if (phase, Event.EXHAUSTED) in TRANSITIONS
    ]
    return "\n".join([*lines, "    FINALIZED --> [*]"])
