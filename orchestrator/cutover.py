"""A cutover as data: its phases, its steps in their order, and what a step's failure leads to. Nothing here acts.

Rules of this file:
1. Before `commit` every failure aborts: the old side is opened again, then the proxies are released.
2. After `commit` nothing goes back by itself but as a rollback, which is the same table with the sides swapped.
3. A step's intent is recorded before it acts, and what it read back after it: a restart repeats, never guesses.
4. A time-out before `commit` aborts; after it the step is repeated, and at last a person is called.
"""

from dataclasses import dataclass
from enum import StrEnum


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
    Step("start-dead-man", Phase.FENCING, 5, False, "starts the process that opens the old side if this one dies"),
    Step("consume-verdict", Phase.FENCING, 2, False, "takes the gate's PASS for this cutover alone"),
    Step("pause-consumers", Phase.FENCING, 10, False, "pauses the readers of change slots"),
    Step("hold-proxies", Phase.FENCING, 2, True, "lets new transactions wait in every proxy"),
    Step("close-old", Phase.FENCING, 2, True, "fences the old side in its database, and ends the sessions left"),
    Step("record-fence-lsn", Phase.DRAINING, 0.5, True, "records where the old side's last write ends, once"),
    Step("see-marker", Phase.DRAINING, 2, True, "writes a nonce on the old side and sees it on the new one"),
    Step("make-durable", Phase.DRAINING, 1, True, "commits synchronously on the new side"),
    Step("compare-last", Phase.SEALING, 1, True, "compares the rows written last on both sides"),
    Step("set-sequences", Phase.SEALING, 1, True, "sets sequences past the old side's, and reads them back"),
    Step(
        "hand-over-consumers",
        Phase.SEALING,
        2,
        True,
        "drains each reader to the fence, makes its new slot",
    ),
    Step("stop-forward", Phase.SEALING, 1, True, "stops the replication to the new side"),
    Step("record-commit-line", Phase.SEALING, 0.5, True, "records the new side's position before it is opened"),
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
"""The way forward. A rollback takes it with the sides swapped, from `start-dead-man` on."""

ABORT_STEPS: tuple[Step, ...] = (
    Step("win-abort", Phase.ABORTING, 5, False, "wins the abort in the journal: the commit can no longer be"),
    Step("open-old", Phase.ABORTING, 5, True, "gives the old side back to the applications"),
    Step("route-back", Phase.ABORTING, 5, True, "leads every proxy to the old side, as it did"),
    Step("release-after-abort", Phase.ABORTING, 5, True, "lets the waiting transactions go"),
    Step("resume-forward", Phase.ABORTING, 10, False, "lets the replication to the new side go on"),
    Step("resume-after-abort", Phase.ABORTING, 10, False, "lets the readers of change slots go on from the old side"),
    Step(
        "disarm",
        Phase.ABORTING,
        60,
        False,
        "removes the way back, which carried nothing, and opens the new side as before",
    ),
)
"""The way back before `commit`. Each is done even where one before it failed; each has a deadline of its own."""
