"""A cutover's state and history as JSON documents: what the commands print with `--json` and the API gives. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from auditor.cutover.story import Attempt, Link, StepTold, current, phase_times
from orchestrator.cutover import ALL_STEPS, Event, Phase, Run, Step
from orchestrator.records import Approval, Direction, Entry, Lease, Request, Verified

Document = dict[str, Any]
ATTEMPTS_LISTED = 50


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read of a journal at one moment."""

    migration: str
    attempts: tuple[Attempt, ...]
    lease: Lease | None
    requests: tuple[Request, ...]
    owed: int | None = None
    """The failed attempt that nobody has acknowledged."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What was read of a journal last; `error` says why it is not of now."""

    seen: Seen | None = None
    error: str | None = "the journal was not read yet"


def status_document(seen: Seen) -> Document:
    """Tell where the migration's cutover stands, and what to do next."""
    attempt = current(seen.attempts)
    run = attempt.run if attempt else Run(0)
    return {
        "migration": seen.migration,
        "phase": str(run.phase),
        "attempt": run.attempt or None,
        "direction": str(run.direction) if attempt else None,
        "result": attempt.result if attempt else None,
        "reason": run.reason,
        "writable": writable(seen.attempts),
        "writes_held": run.held,
        "held_write_ms": _rounded(attempt.held_ms) if attempt else None,
        "running": seen.lease is not None and not seen.lease.over,
        "holder": seen.lease.holder if seen.lease and not seen.lease.over else None,
        "doing": run.pending,
        "acknowledgement_owed": seen.owed,
        "proof_chain": chain_word(attempt),
        "steps": [step_document(one) for one in attempt.steps] if attempt else [],
        "proof": [link_document(link) for link in attempt.chain] if attempt else [],
        "requests": [request_document(one) for one in seen.requests if one.answer is None],
        "attempts": [summary_document(one) for one in seen.attempts[-ATTEMPTS_LISTED:]],
        "next_steps": next_steps(seen, run),
    }


def next_steps(seen: Seen, run: Run) -> list[str]:
    """Say what a person would do now."""
    runs = seen.lease is not None and not seen.lease.over
    if run.phase is Phase.STUCK:
        return ["look at both sides and at every proxy; docs/runbook.md says how each reason is resolved"]
    if run.attempt and not run.over and not runs:
        return ["auditor cutover start" if not run.committed else "auditor cutover start (it goes on after the commit)"]
    if seen.owed is not None:
        return [
            f"auditor cutover report --attempt {seen.owed}",
            *audit_steps(run),
            f"auditor cutover approve, then auditor cutover start --acknowledge {seen.owed}",
        ]
    if run.phase is Phase.GUARDED:
        return ["auditor cutover finalize, when you will not go back", "auditor cutover rollback, to go back"]
    if run.phase is Phase.HELD and not run.over:
        return ["auditor cutover unpostpone, or auditor cutover abort"]
    if runs:
        return ["auditor cutover status --watch"]
    if run.phase is Phase.FINALIZED:
        return ["auditor cutover report"]
    return [*audit_steps(run), "auditor cutover plan", "auditor cutover approve", "auditor cutover start"]


def audit_steps(run: Run) -> list[str]:
    """Say what becomes of the migration's audit: it ended at the commit, and a rollback does not bring it back."""
    if run.ended is not Event.RETURNED:
        return []
    return ["auditor prepare: the audit ended at the commit; this begins it anew, with a new baseline"]


def writable(attempts: Sequence[Attempt]) -> str | None:
    """Name the side that the journal last let the applications write to; `None` while none is.

    The databases themselves are the judges; this is what the journal tells.
    """
    side = Direction.FORWARD.old
    for attempt in attempts:
        done = set(attempt.run.done)
        if "open-new" in done:
            side = attempt.run.direction.new
        elif attempt.run.committed or ("close-old" in attempt.run.began and "open-old" not in done):
            return None
    return str(side)


def chain_word(attempt: Attempt | None) -> str:
    """Say whether the chain of proof is whole, at which link it is not, and what it does not speak of."""
    if attempt is None:
        return "not begun"
    lacking = next((link for link in attempt.chain if link.problem is not None), None)
    if lacking is not None:
        return f"incomplete: {lacking.step}: {lacking.problem}"
    unseen, unasked = uncompared(attempt), ", ".join(attempt.run.facts.get("check-all", {}).get("places_unasked", ()))
    lacks = [f"the last rows of {unseen}"] if unseen else []
    lacks += [f"the places of {unasked}, which nobody asked before"] if unasked else []
    return "complete" + (", but for " + " and ".join(lacks) if lacks else "")


def uncompared(attempt: Attempt) -> str:
    """Name the tables whose last rows nothing was compared of: they have no key, and are too large to be read whole."""
    facts = attempt.run.facts.get("compare-last", {})
    count, names = facts.get("uncompared", 0), facts.get("uncompared_tables", ())
    more = [f"{count - len(names)} more"] if count > len(names) else []
    return ", ".join([*names, *more])


def report_document(migration: str, attempt: Attempt, verified: Verified, requests: Sequence[Request]) -> Document:
    """Tell one attempt whole.

    Args:
        requests: what operators asked for, of any attempt; those made while this one ran are told.
    """
    return {
        "migration": migration,
        **summary_document(attempt),
        "made_at": time_of(datetime.now(UTC)),
        "started_by": attempt.actor,
        "proof_chain": chain_word(attempt),
        "phases": {name: _rounded(ms) for name, ms in phase_times(attempt).items()},
        "proof": [link_document(link) for link in attempt.chain],
        "steps": [step_document(one) for one in attempt.steps],
        "events": [entry_document(entry) for entry in attempt.entries if entry.step not in ALL_STEPS],
        "approvals": approvals_of(attempt),
        "requests": [request_document(one) for one in requests if attempt.began <= one.at <= attempt.last],
        "journal": {"entries": verified.entries, "head": verified.head, "intact": verified.intact,
                    "problems": list(verified.problems)},
        "next_steps": audit_steps(attempt.run),
    }  # fmt: skip


def approvals_of(attempt: Attempt) -> list[Document]:
    """Tell who had agreed to the plan that the attempt carried out."""
    facts = attempt.run.facts.get("check-approval", {})
    return [{"by": person, "digest": facts.get("plan")} for person in facts.get("by", ())]


def summary_document(attempt: Attempt) -> Document:
    """Tell an attempt in short."""
    run = attempt.run
    return {
        "attempt": run.attempt,
        "direction": str(run.direction),
        "phase": str(run.phase),
        "result": attempt.result,
        "reason": run.reason,
        "started_at": time_of(attempt.began),
        "last_at": time_of(attempt.last),
        "held_write_ms": _rounded(attempt.held_ms),
    }


def step_document(told: StepTold) -> Document:
    """Tell a step."""
    return {
        "step": told.step.name,
        "phase": str(told.step.phase),
        "does": told.step.does,
        "holds_writes": told.step.holds_writes,
        "state": str(told.state),
        "began_at": time_of(told.began),
        "ended_at": None if told.ended is None else time_of(told.ended),
        "ms": _rounded(told.ms),
        "tries": told.tries,
        "facts": dict(told.facts),
    }


def link_document(link: Link) -> Document:
    """Tell a link of the chain of proof, with the journal's entry that it rests on."""
    told = link.told
    return {
        "step": link.step,
        "proves": link.proves,
        "proved": link.problem is None,
        "problem": link.problem,
        "at": time_of(told.ended) if told and told.ended else None,
        "entry": told.seq if told else None,
        "hash": told.hash if told else None,
        "facts": dict(told.facts) if told else {},
    }


def planned_document(step: Step, seconds: float) -> Document:
    """Tell a step that is to come; `seconds` is its deadline."""
    return {
        "step": step.name,
        "phase": str(step.phase),
        "deadline_seconds": seconds,
        "holds_writes": step.holds_writes,
        "does": step.does,
    }


def entry_document(entry: Entry) -> Document:
    """Tell an entry of the journal as it is."""
    return {
        "seq": entry.seq,
        "attempt": entry.attempt,
        "epoch": entry.epoch,
        "direction": str(entry.direction),
        "step": entry.step,
        "kind": str(entry.kind),
        "facts": dict(entry.facts),
        "actor": entry.actor,
        "at": time_of(entry.at),
        "previous_hash": entry.previous_hash,
        "hash": entry.hash,
    }


def request_document(one: Request) -> Document:
    """Tell what an operator asked for."""
    return {
        "id": one.id,
        "wish": str(one.wish),
        "by": one.actor,
        "reason": one.reason,
        "at": time_of(one.at),
        "attempt": one.attempt,
        "answer": one.answer,
    }


def approval_document(one: Approval) -> Document:
    """Tell an approval."""
    return {
        "id": one.id,
        "digest": one.digest,
        "by": one.actor,
        "at": time_of(one.at),
        "seconds_left": round(one.left_seconds, 1),
        "attempt": one.attempt,
    }


def time_of(at: datetime) -> str:
    """Write a time as RFC 3339, in UTC, to the microsecond: steps take milliseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 1)
