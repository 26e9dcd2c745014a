"""Rehearse a cutover: the same conductor and table, with twins that list what they would do, and a journal in memory.

What changes nothing (`check`, `observe`, verdicts, the budget) is asked for real; everything else is only listed.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from comparators.positions import Side
from orchestrator.conductor import Conductor, Ending
from orchestrator.deadlines import Deadline
from orchestrator.ports import (
    Blocker,
    Consumers,
    Facts,
    Fence,
    FenceSeen,
    Identity,
    Ports,
    Proxy,
    ProxySeen,
    Replication,
    Rows,
    Sequences,
)
from orchestrator.records import (
    GENESIS,
    Approval,
    Direction,
    Draft,
    Entry,
    Kind,
    Lease,
    LeaseHeld,
    LeaseLost,
    Outcome,
    Request,
    Result,
    Verified,
    Wish,
    chain_problems,
    chained,
    now_utc,
)
from orchestrator.rules import Rules

ACTOR = "rehearsal"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that the cutover would do."""

    step: str
    part: str
    does: str


class MemoryJournal:
    """A journal that is gone with its process; it keeps every rule of the real one."""

    def __init__(self, migration: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.migration = migration
        self._clock = clock
        self._lock = threading.RLock()
        self._epoch, self._holder, self._until = 0, "", float("-inf")
        self._entries: list[Entry] = []
        self._outcomes: dict[int, Outcome] = {}
        self._requests: list[Request] = []
        self._approvals: list[tuple[Approval, float]] = []
        self._fenced: dict[Side, set[str]] = {side: set() for side in Side}

    def acquire(self, holder: str, seconds: float) -> Lease:
        with self._lock:
            if self._until > self._clock() and holder != self._holder:
                raise LeaseHeld(f"{self._holder} holds the lease of {self.migration}")
            self._epoch, self._holder, self._until = self._epoch + 1, holder, self._clock() + seconds
            return Lease(self._epoch, holder, seconds)

    def renew(self, epoch: int, seconds: float) -> Lease:
        with self._lock:
            self._check(epoch)
            self._until = self._clock() + seconds
            return Lease(epoch, self._holder, seconds)

    def release(self, epoch: int) -> None:
        with self._lock:
            if self._epoch == epoch:
                self._until = min(self._until, self._clock())

    def lease(self) -> Lease | None:
        with self._lock:
            return Lease(self._epoch, self._holder, self._until - self._clock()) if self._epoch else None

    def append(self, epoch: int, actor: str, drafts: Sequence[Draft]) -> list[Entry]:
        with self._lock:
            self._check(epoch)
            seq, head = len(self._entries), self._head()
            entries = chained(self.migration, epoch, actor, drafts, seq, head, now_utc())
            self._entries += entries
            return entries

    def entries(self, after: int = 0, limit: int | None = None) -> list[Entry]:
        with self._lock:
            return self._entries[after:][:limit]

    def decide(self, epoch: int, actor: str, attempt: int, direction: Direction, result: Result) -> Outcome:
        with self._lock:
            self._check(epoch)
            made = Outcome(attempt, direction, result, epoch, actor, now_utc())
            return self._outcomes.setdefault(attempt, made)

    def outcome(self, attempt: int) -> Outcome | None:
        with self._lock:
            return self._outcomes.get(attempt)

    def outcomes(self) -> list[Outcome]:
        """Give what was decided, in order."""
        with self._lock:
            return [outcome for _, outcome in sorted(self._outcomes.items())]

    def request(
        self, wish: Wish, actor: str, reason: str, attempt: int | None = None, facts: Mapping[str, Any] | None = None
    ) -> Request:
        with self._lock:
            made = Request(len(self._requests) + 1, wish, actor, reason, now_utc(), attempt, facts or {})
            self._requests.append(made)
            return made

    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    def answer(self, epoch: int, request: int, words: str) -> None:
        with self._lock:
            self._check(epoch)
            self._requests[request - 1] = replace(self._requests[request - 1], answer=words)

    def approve(self, digest: str, actor: str, seconds: float) -> Approval:
        with self._lock:
            made = Approval(len(self._approvals) + 1, digest, actor, now_utc(), seconds)
            self._approvals.append((made, self._clock() + seconds))
            return made

    def approvals(self, digest: str) -> list[Approval]:
        with self._lock:
            now = self._clock()
            return [
                replace(one, left_seconds=until - now)
                for one, until in self._approvals
                if one.digest == digest and until > now
            ]

    def use_approvals(self, epoch: int, attempt: int, approvals: Sequence[int]) -> None:
        with self._lock:
            self._check(epoch)
            for number in approvals:
                one, until = self._approvals[number - 1]
                self._approvals[number - 1] = (replace(one, attempt=attempt), until)

    def remember(self, side: Side, roles: Sequence[str]) -> None:
        with self._lock:
            self._fenced[side].update(roles)

    def remembered(self, side: Side) -> list[str]:
        with self._lock:
            return sorted(self._fenced[side])

    def forget(self, side: Side) -> None:
        with self._lock:
            self._fenced[side].clear()

    def verify(self) -> Verified:
        with self._lock:
            problems = chain_problems(self._entries, self.outcomes(), len(self._entries), self._head())
            return Verified(len(self._entries), self._head(), problems)

    def _head(self) -> str:
        return self._entries[-1].hash if self._entries else GENESIS

    def _check(self, epoch: int) -> None:
        if epoch != self._epoch or self._until <= self._clock():
            raise LeaseLost(f"epoch {epoch} of {self.migration} is over, or was followed by another")


@dataclass
class Rehearsal:
    """What a rehearsal has found out so far."""

    actions: list[Action] = field(default_factory=list)
    step: str = ""
    ending: Ending | None = None

    def note(self, part: str, does: str) -> None:
        self.actions.append(Action(self.step, part, does))


def rehearse(migration: str, ports: Ports, plan: str, rules: Rules) -> Rehearsal:
    """Go through a whole cutover without doing anything; give each action in its order, and where it would end.

    Args:
        ports: the real ones of the way forward; only what changes nothing is asked of them.
    """
    rehearsal = Rehearsal()
    journal = MemoryJournal(migration)
    for number in range(rules.approvals_needed):
        journal.approve(plan, f"{ACTOR} {number + 1}", rules.lease_seconds + rules.insist_seconds)

    def tell(entry: Entry) -> None:
        if entry.kind is Kind.INTENT:
            rehearsal.step = entry.step
            if entry.step == "watch":
                journal.request(Wish.FINALIZE, ACTOR, "the rehearsal is at its end")

    twins = twins_of(ports, rehearsal, Direction.FORWARD)
    swift = replace(rules, guard_seconds=0, watch_seconds=0, hook_patience_seconds=0)
    conductor = Conductor(
        journal, {Direction.FORWARD: twins, Direction.BACK: twins}, plan, swift, plan_of=lambda verdict: plan,
        actor=ACTOR, tell=tell,
    )  # fmt: skip
    rehearsal.ending = conductor.start()
    return rehearsal


def twins_of(ports: Ports, rehearsal: Rehearsal, direction: Direction) -> Ports:
    """Put a twin before each port that would change something."""
    note = rehearsal.note
    replication = ReplicationTwin(ports.replication, note)
    old, new = (
        FenceTwin(fence, note, closed=False) for fence in (ports.old, ports.new)
    )  # as they are before a cutover, whatever they are now
    proxies = [ProxyTwin(proxy, new, direction.old, note) for proxy in ports.proxies]
    quiet = QuietTwin(ports, note)
    return replace(
        ports,
        old=old,
        new=new,
        proxies=proxies,
        replication=replication,
        rows=RowsTwin(ports.rows, note),
        sequences=SequencesTwin(ports.sequences, note),
        consumers=ConsumersTwin(ports.consumers, note),
        gate=GateTwin(ports, note),
        audit=AuditTwin(note),
        dead_man=DeadManTwin(note),
        hooks=quiet,
        suite=quiet,
        shadow=ShadowTwin(note),
        budget=ports.budget,
    )


Note = Callable[[str, str], None]


class FenceTwin:
    """Lists what would be done to a side's fence, and shows it as it would be then."""

    def __init__(self, real: Fence, note: Note, *, closed: bool) -> None:
        self.side = real.side
        self._real, self._note, self._closed = real, note, closed

    def check(self) -> Sequence[Blocker]:
        return self._real.check()

    def rehearse(self, deadline: Deadline) -> Facts:
        """Exercise the fence for real: it touches nobody, and its time is what the budget needs."""
        self._note(f"fence of the {self.side}", "exercises every statement on a role that nobody uses")
        return self._real.rehearse(deadline)

    def close(self, deadline: Deadline) -> Facts:
        self._note(f"fence of the {self.side}", "takes LOGIN from the applications' roles and ends their sessions")
        self._closed = True
        return {"closed": True, "sessions": 0, "prepared": 0}

    def open(self, deadline: Deadline) -> Facts:
        self._note(f"fence of the {self.side}", "gives LOGIN back to the roles that it was taken from")
        self._closed = False
        return {"closed": False}

    def warm(self, deadline: Deadline) -> None:
        self._note(f"fence of the {self.side}", "opens its sessions")

    def observe(self, deadline: Deadline | None = None) -> FenceSeen:
        return FenceSeen(self._closed, 0, 0)

    def identity(self, deadline: Deadline) -> Identity:
        return self._real.identity(deadline)


class ProxyTwin:
    """Lists what would be asked of a proxy, and shows it as it would be then."""

    def __init__(self, real: Proxy, new: FenceTwin, route: Side, note: Note) -> None:
        self.name, self.places_asked = real.name, real.places_asked
        self._real, self._new, self._note = real, new, note
        self._held, self._route, self._told = False, route, False

    def check(self) -> Sequence[Blocker]:
        return self._real.check()

    def hold(self, deadline: Deadline) -> Facts:
        self._note(f"proxy {self.name}", "lets new transactions wait, and waits for those under way")
        self._held = self._told = True
        return {"held": True}

    def release(self, deadline: Deadline) -> Facts:
        self._note(f"proxy {self.name}", "lets the waiting transactions go")
        self._held, self._told = False, True
        return {"held": False}

    def route(self, to: Side, deadline: Deadline) -> Facts:
        self._note(f"proxy {self.name}", f"leads to the {to}")
        self._route, self._told = to, True
        return {"route": to.value}

    def observe(self) -> ProxySeen:
        return ProxySeen(self._held, self._route) if self._told else self._real.observe()

    def probe(self, deadline: Deadline) -> Identity:
        """Give who would answer: the new side's server, once it was told anything."""
        if not self._told:
            return self._real.probe(deadline)
        self._note(f"proxy {self.name}", "asks through it which server answers")
        return self._new.identity(deadline)


class ReplicationTwin:
    """Lists what would be done to both ways of the data."""

    def __init__(self, real: Replication, note: Note) -> None:
        self._real, self._note = real, note
        self._nonce = ""

    def check(self) -> Sequence[Blocker]:
        return self._real.check()

    def _noted(self, does: str, **facts: Any) -> Facts:
        self._note("replication", does)
        return facts

    def prepare_reverse(self, deadline: Deadline) -> Facts:
        return self._noted("makes publication, slot and subscription of the way back", reverse="disabled")

    def warm(self, deadline: Deadline) -> Facts:
        return self._noted("opens its sessions with both sides")

    def position(self, deadline: Deadline) -> Facts:
        return self._noted("reads where the old side's log ends", fence_lsn=1)

    def write_marker(self, nonce: str, deadline: Deadline) -> Facts:
        self._nonce = nonce
        return self._noted("writes a nonce on the old side")

    def see_marker(self, nonce: str, deadline: Deadline) -> Facts:
        return self._noted("waits until the nonce is seen on the new side", nonce=nonce)

    def make_durable(self, deadline: Deadline) -> Facts:
        return self._noted("commits synchronously on the new side", durable=True)

    def stop_forward(self, deadline: Deadline) -> Facts:
        return self._noted("disables the subscription of the new side", forward="disabled")

    def commit_line(self, deadline: Deadline) -> Facts:
        return self._noted("reads where the new side's log ends", commit_line=1)

    def resume_forward(self, deadline: Deadline) -> Facts:
        return self._noted("enables the subscription of the new side", forward="enabled")

    def enable_reverse(self, fence_lsn: int, commit_line: int, deadline: Deadline) -> Facts:
        return self._noted("enables the subscription of the way back", reverse="enabled")

    def tell(self, deadline: Deadline) -> Facts:
        return {"audits_told": True}

    def tend(self, deadline: Deadline) -> Facts:
        return self.tell(deadline)

    def disarm(self, deadline: Deadline) -> Facts:
        return self._noted("removes the way back")

    def finalize(self, deadline: Deadline) -> Facts:
        return self._noted("removes what is left of both ways")

    def observe(self) -> Facts:
        return self._real.observe()


class RowsTwin:
    """Lists what would be compared."""

    def __init__(self, real: Rows, note: Note) -> None:
        self._real, self._note = real, note

    def check(self) -> Sequence[Blocker]:
        return self._real.check()

    def warm(self, deadline: Deadline) -> Facts:
        self._note("rows", "follows what is written on the old side")
        return {"follow_ms": 0.0}

    def compare_last(self, fence_lsn: int, deadline: Deadline) -> Facts:
        self._note("rows", "compares the rows written last and most")
        return {"compared": 0, "different": 0, "missing": 0, "empty": True}

    def behind(self, fence_lsn: int, deadline: Deadline) -> Facts:
        self._note("rows", "sees that nothing was committed on the old side since it was fenced")
        return {"behind": 0}

    def write_canary(self, through: Sequence[Proxy], nonce: str, deadline: Deadline) -> Facts:
        self._note("rows", "writes a nonce on the new side and reads it back through every proxy")
        return {"nonce": nonce, "proxies": len(through)}


class SequencesTwin:
    """Lists what would be done to sequences."""

    def __init__(self, real: Sequences, note: Note) -> None:
        self._real, self._note = real, note

    def check(self) -> Sequence[Blocker]:
        return self._real.check()

    def warm(self, deadline: Deadline) -> Facts:
        self._note("sequences", "pairs the sequences of both sides")
        return {}

    def set(self, deadline: Deadline) -> Facts:
        self._note("sequences", "sets each sequence of the new side past the old one, and reads it back")
        return {"sequences": 0, "behind": 0}


class ConsumersTwin:
    """Lists what would be asked of the readers of change slots."""

    def __init__(self, real: Consumers, note: Note) -> None:
        self._real, self._note = real, note

    def check(self) -> Sequence[Blocker]:
        return self._real.check()

    def _noted(self, does: str, **facts: Any) -> Facts:
        self._note("consumers", does)
        return facts

    def drain(self, fence_lsn: int, deadline: Deadline) -> Facts:
        return self._noted("waits until each has confirmed the fence's position", consumers=0, behind=0)

    def hand_over(self, deadline: Deadline) -> Facts:
        return self._noted("makes each slot on the new side", slots={})

    def take_back(self, deadline: Deadline) -> Facts:
        return self._noted("drops the slots on the new side")

    def pause(self, deadline: Deadline) -> Facts:
        return self._noted("sees that each reads and is near the end")

    def resume(self, on: Side, deadline: Deadline) -> Facts:
        return self._noted(f"lets each go on from the {on}")

    def tend(self, deadline: Deadline) -> Facts:
        return {}

    def finalize(self, deadline: Deadline) -> Facts:
        return self._noted("drops the slots on the side that was left")


class GateTwin:
    """Asks the gate for real, and consumes nothing."""

    def __init__(self, ports: Ports, note: Note) -> None:
        self._real, self._note = ports.gate, note

    def verdict(self, deadline: Deadline) -> Facts:
        return self._real.verdict(deadline)

    def consume(self, verdict: str, cutover: str, deadline: Deadline) -> Facts:
        self._note("gate", "consumes the PASS")
        return {}


class AuditTwin:
    """Lists what would be done to the reverse audit."""

    def __init__(self, note: Note) -> None:
        self._note = note

    def start(self, deadline: Deadline) -> Facts:
        self._note("reverse audit", "makes its slots and starts its processes")
        return {"ready": True}

    def verdict(self, deadline: Deadline) -> Facts:
        return {"verdict": "PASS"}

    def stop(self, deadline: Deadline) -> Facts:
        self._note("reverse audit", "ends its processes and removes its slots")
        return {}


class DeadManTwin:
    """Lists the dead man's start."""

    def __init__(self, note: Note) -> None:
        self._note = note

    def start(self, attempt: int, deadline: Deadline) -> Facts:
        self._note("dead man", "starts")
        return {"ready": True}

    def alive(self) -> bool | None:
        return True


class ShadowTwin:
    """Lists that reads would be led."""

    def __init__(self, note: Note) -> None:
        self._note = note

    def lead(self, deadline: Deadline) -> Facts:
        self._note("reads", "are led to the new side first, where a proxy can")
        return {"possible": False}

    def back(self, deadline: Deadline) -> Facts:
        self._note("reads", "are led to the old side again")
        return {}


class QuietTwin:
    """Lists calls of hooks; measures nothing."""

    def __init__(self, ports: Ports, note: Note) -> None:
        self._note = note

    def call(self, phase: str, facts: Facts, deadline: Deadline) -> Facts:
        self._note("hooks", f"are called for {phase}")
        return {}

    def measure(self, deadline: Deadline) -> Facts:
        return {"reads": 0, "errors": 0, "p99_ms": 0}
