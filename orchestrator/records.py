"""What the journal of a cutover holds, as values; its hash chain; and the journal as a port. Nothing here acts.

Rules of this file:
1. An entry is never changed and never removed. Each carries the hash of the one before it, from the first one on.
2. Whoever writes names the epoch of its lease; the journal refuses any but the current one, in the same statement.
3. A refused or lost answer is no answer: the journal repeats the same statement until it knows, or raises.
4. Commit and abort are one row that can be written once (`Outcome`): whoever comes second reads what the first wrote.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from comparators.errors import NeedsOperator, Retryable, StoreUnavailable
from comparators.positions import Side

GENESIS = "0" * 64
"""Stands for the hash before the first entry."""


class LeaseLost(Retryable):
    """Somebody else holds the lease, or it is over: whoever gets this may act no more under its epoch."""


class LeaseHeld(Retryable):
    """Another orchestrator, or the dead man, holds the lease now."""


class JournalUnavailable(StoreUnavailable):
    """The journal cannot be reached; what was about to be written may or may not be there: read it again."""


class JournalUnfit(NeedsOperator):
    """The journal's database cannot be used as it is."""


class Direction(StrEnum):
    """Forward leads from the source to the target; a rollback is the same with the sides swapped."""

    FORWARD = "forward"
    BACK = "back"

    @property
    def old(self) -> Side:
        return Side.SOURCE if self is Direction.FORWARD else Side.TARGET

    @property
    def new(self) -> Side:
        return self.old.other


class Kind(StrEnum):
    """What an entry says of its step; an event's `step` is the event's name."""

    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"
    EVENT = "event"


class Result(StrEnum):
    COMMIT = "commit"
    ABORT = "abort"


class Wish(StrEnum):
    """What an operator may ask for while a conductor lives, or before one is started."""

    ABORT = "abort"
    ROLLBACK = "rollback"
    FINALIZE = "finalize"
    POSTPONE = "postpone"
    UNPOSTPONE = "unpostpone"
    PANIC = "panic"
    ACKNOWLEDGE = "acknowledge"


@dataclass(frozen=True, slots=True)
class Draft:
    """An entry that is to be written."""

    attempt: int
    direction: Direction
    step: str
    kind: Kind
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the journal; `at` is the journal's clock as its writer knew it, for people only."""

    migration: str
    attempt: int
    seq: int
    epoch: int
    direction: Direction
    step: str
    kind: Kind
    facts: Mapping[str, Any]
    actor: str
    at: datetime
    previous_hash: str
    hash: str


@dataclass(frozen=True, slots=True)
class Lease:
    """Who may act; `left_seconds` by the journal's clock when it was asked, `0` or less where it is over."""

    epoch: int
    holder: str
    left_seconds: float

    @property
    def over(self) -> bool:
        return self.left_seconds <= 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: written once, by whoever was first."""

    attempt: int
    direction: Direction
    result: Result
    epoch: int
    actor: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Request:
    """What an operator asked for; `answer` is empty until a conductor has dealt with it."""

    id: int
    wish: Wish
    actor: str
    reason: str
    at: datetime
    attempt: int | None = None
    """The one it is about (`acknowledge`)."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Approval:
    """A named person approves one plan, by its digest, for a time that the journal's clock measures."""

    id: int
    digest: str
    actor: str
    at: datetime
    left_seconds: float
    attempt: int | None = None
    """The one that used it up."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What recomputing the chain found."""

    entries: int
    head: str
    problems: tuple[str, ...] = ()

    @property
    def intact(self) -> bool:
        return not self.problems


class Journal(Protocol):
    """The one store that every decision is written to; it is on neither side.

    Every method raises `JournalUnavailable` where the journal cannot be reached; every method that takes an epoch
    raises `LeaseLost` where that is not the current one, or its time is over.
    """

    migration: str

    def acquire(self, holder: str, seconds: float) -> Lease:
        """Take the lease under a new epoch.

        Raises:
            LeaseHeld: it is not over yet.
        """
        ...

    def renew(self, epoch: int, seconds: float) -> Lease: ...
    def release(self, epoch: int) -> None:
        """Give the lease up, so that the next one need not wait."""
        ...

    def lease(self) -> Lease | None:
        """Look at the lease as it is, of whatever epoch; `None`: nobody ever took it."""
        ...

    def append(self, epoch: int, actor: str, drafts: Sequence[Draft]) -> list[Entry]:
        """Write entries at the chain's end, all or none; return once they are durable."""
        ...

    def entries(self, after: int = 0, limit: int | None = None) -> list[Entry]:
        """Read the entries with a `seq` above `after`, in order; where a limit is given only the first ones."""
        ...

    def decide(self, epoch: int, actor: str, attempt: int, direction: Direction, result: Result) -> Outcome:
        """Write how an attempt ends unless that is written already; give what is written, whoever wrote it."""
        ...

    def outcome(self, attempt: int) -> Outcome | None:
        """Look what is decided. `None` is no ground to act on: only what `decide` gives is."""
        ...

    def request(
        self, wish: Wish, actor: str, reason: str, attempt: int | None = None, facts: Mapping[str, Any] | None = None
    ) -> Request:
        """Leave word for the conductor; needs no lease."""
        ...

    def requests(self) -> list[Request]:
        """Read what was asked for, in order, answered or not."""
        ...

    def answer(self, epoch: int, request: int, words: str) -> None: ...
    def approve(self, digest: str, actor: str, seconds: float) -> Approval: ...
    def approvals(self, digest: str) -> list[Approval]:
        """Read the approvals of a plan whose time is not over."""
        ...

    def use_approvals(self, epoch: int, attempt: int, approvals: Sequence[int]) -> None:
        """Bind approvals to an attempt: they count for no other."""
        ...

    def remember(self, side: Side, roles: Sequence[str]) -> None:
        """Store whose LOGIN is about to be taken; added to what is stored."""
        ...

    def remembered(self, side: Side) -> list[str]: ...
    def forget(self, side: Side) -> None:
        """Forget the roles of a side: they were read back with LOGIN."""
        ...

    def verify(self) -> Verified:
        """Recompute the chain, and hold it against the head, the outcomes and the order of epochs."""
        ...


def canonical(facts: Mapping[str, Any]) -> str:
    """Write facts in the one way that the hash covers; what JSON does not know is written as its text.

    An effect has happened when its facts are written: nothing in them may keep them out of the journal.
    """
    return json.dumps(_plain(facts), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(str(name)): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in (sorted(value, key=str) if isinstance(value, set | frozenset) else value)]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return str(value).encode("utf-8", "replace").decode()


def hash_of(entry: Entry) -> str:
    """Compute an entry's hash from everything else in it, each part with its length before it."""
    parts = (
        entry.migration, str(entry.attempt), str(entry.seq), str(entry.epoch), entry.direction, entry.step, entry.kind,
        canonical(entry.facts), entry.actor, entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
        entry.previous_hash,
    )  # fmt: skip
    encoded = [part.encode() for part in parts]
    return hashlib.sha256(b"".join(b"%d:%b" % (len(part), part) for part in encoded)).hexdigest()


def chained(
    migration: str, epoch: int, actor: str, drafts: Sequence[Draft], seq: int, head: str, at: datetime
) -> list[Entry]:
    """Make entries of drafts, behind the entry `seq` with the hash `head`."""
    entries: list[Entry] = []
    for number, draft in enumerate(drafts, start=seq + 1):
        facts = json.loads(canonical(draft.facts))
        entry = Entry(
            migration, draft.attempt, number, epoch, draft.direction, draft.step, draft.kind, facts, actor, at, head, ""
        )
        head = hash_of(entry)
        entries.append(replace(entry, hash=head))
    return entries


def chain_problems(entries: Sequence[Entry], outcomes: Sequence[Outcome], seq: int, head: str) -> tuple[str, ...]:
    """Say what speaks against a chain.

    Args:
        seq, head: number and hash of the last entry, as the lease keeps them.
    """
    problems: list[str] = []
    previous, epoch = GENESIS, 0
    for number, entry in enumerate(entries, start=1):
        if entry.seq != number:
            problems.append(f"entry {number} is missing or out of place: found {entry.seq}")
            break
        if entry.previous_hash != previous:
            problems.append(f"entry {number} does not follow the one before it")
        if hash_of(entry) != entry.hash:
            problems.append(f"entry {number} was changed: its hash does not fit")
        if entry.epoch < epoch:
            problems.append(f"entry {number} was written under epoch {entry.epoch}, after {epoch}")
        previous, epoch = entry.hash, max(epoch, entry.epoch)
    if not problems and (len(entries), previous) != (seq, head):
        problems.append(f"the chain ends at entry {len(entries)}, but {seq} were written")
    return (*problems, *_outcome_problems(entries, outcomes))


def _outcome_problems(entries: Sequence[Entry], outcomes: Sequence[Outcome]) -> list[str]:
    decided = {outcome.attempt: outcome for outcome in outcomes}
    said = [entry for entry in entries if entry.kind is Kind.DONE and entry.step in ("commit", "win-abort")]
    problems = [
        f"entry {entry.seq} says {entry.step}, but attempt {entry.attempt} is not decided so"
        for entry in said
        if entry.attempt not in decided or (entry.step == "commit") != (decided[entry.attempt].result is Result.COMMIT)
    ]
    return problems


def now_utc() -> datetime:
    """Give the time for people; nothing is decided by it."""
    return datetime.now(UTC)
