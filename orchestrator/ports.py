"""What a cutover needs from outside, as protocols, and the values that come back.

Rules of this file:
1. An effect is idempotent: performed again it finds its work done and says the same.
2. An effect returns only after it has read its result back; what it returns is evidence and goes into the journal.
3. `observe` changes nothing, and tells what it could not see by `None`: not known is never good.
4. `check` changes nothing either; it is asked long before anything is held.
5. An effect that cannot finish raises: `Retryable` (also `DeadlinePassed`) where the same call may succeed later,
   `NeedsOperator` where a person must act first. It never swallows a failure.
6. Nothing that comes back holds a secret or a row's value.
7. `deadline.left()` is asked before every statement: it is also how a holder that lost its lease is stopped.
8. What a step must have shown is in `orchestrator.evidence`; a fact that is missing is a failure, never a pass.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from comparators.positions import Side
from orchestrator.deadlines import Deadline

Facts = Mapping[str, Any]
"""JSON values that prove what an effect did."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """Why a cutover should not begin, and what to do."""

    name: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Which server answered, as it says itself."""

    system: str
    """`pg_control_system().system_identifier`."""
    database: str
    address: str
    """As in `10.0.0.1:5432`."""


@dataclass(frozen=True, slots=True)
class FenceSeen:
    """A side's fence as the database shows it; `None` is not known."""

    closed: bool | None
    """Every role that is to be fenced is; `False` also where only some are."""
    sessions: int | None = None
    """Client sessions of fenced roles."""
    prepared: int | None = None
    """Prepared transactions."""


@dataclass(frozen=True, slots=True)
class ProxySeen:
    """A proxy as it shows itself; `None` is not known."""

    held: bool | None
    """New transactions wait."""
    route: Side | None
    """Where all of its nodes lead; `None` also where they differ."""
    nodes: Mapping[str, str] = field(default_factory=dict)
    """What each node of it last acknowledged."""


class Fence(Protocol):
    """Keeps the applications' roles out of one side, by the database itself."""

    side: Side

    def check(self) -> Sequence[Blocker]: ...
    def rehearse(self, deadline: Deadline) -> Facts:
        """Exercise every statement of the fence on a role of its own, which nobody uses; with the time it took."""
        ...

    def close(self, deadline: Deadline) -> Facts:
        """Take LOGIN from every fenced role, end its sessions until there are none twice; nothing is prepared.

        Returns:
            With `closed`: true, `sessions`: 0, `prepared`: 0, as read back.
        """
        ...

    def open(self, deadline: Deadline) -> Facts:
        """Give back exactly the LOGINs that `close` took; roles that could not log in before still cannot.

        Returns:
            With `closed`: false, as read back.
        """
        ...

    def warm(self, deadline: Deadline) -> None:
        """Open what `close`, `open` and `observe` need, or see that it answers; nothing is changed."""
        ...

    def observe(self, deadline: Deadline | None = None) -> FenceSeen:
        """Look; within a deadline where writes are held, and else within seconds of its own."""
        ...

    def identity(self, deadline: Deadline) -> Identity:
        """Ask the side's own server who it is, so that routing can be proved against it."""
        ...


class Proxy(Protocol):
    """One data access layer (a PgBouncer, a fleet of Envoys, something of the user's)."""

    name: str
    places_asked: bool
    """`check` asks each server that it will lead to who it is; otherwise this is seen only once clients are there."""

    def check(self) -> Sequence[Blocker]: ...
    def hold(self, deadline: Deadline) -> Facts:
        """Let new transactions wait; return when none is under way through it, with `held`: true."""
        ...

    def release(self, deadline: Deadline) -> Facts:
        """Let the waiting transactions go; with `held`: false, as read back."""
        ...

    def route(self, to: Side, deadline: Deadline) -> Facts:
        """Lead everything that comes from now on to a side; return when every node acknowledged it, with `route`."""
        ...

    def observe(self) -> ProxySeen: ...
    def probe(self, deadline: Deadline) -> Identity:
        """Ask the server behind it who it is, by a new session through it."""
        ...


class Replication(Protocol):
    """The way of the data from the old side to the new one, and the way back, which is armed before it is needed."""

    def check(self) -> Sequence[Blocker]: ...
    def prepare_reverse(self, deadline: Deadline) -> Facts:
        """Make publication, slot and subscription of the way back, disabled, `origin = none`, `copy_data = false`.

        Returns:
            With `reverse`: "disabled", as read back.
        """
        ...

    def warm(self, deadline: Deadline) -> Facts:
        """Open what the held steps need, so that they wait for nothing but their work; nothing lasting is changed."""
        ...

    def position(self, deadline: Deadline) -> Facts:
        """Give the old side's `fence_lsn` (an integer), taken after its last writer was gone; it is recorded once."""
        ...

    def write_marker(self, nonce: str, deadline: Deadline) -> Facts:
        """Write a nonce on the old side that comes by replication."""
        ...

    def see_marker(self, nonce: str, deadline: Deadline) -> Facts:
        """Wait until the nonce is seen on the new side; with that `nonce`."""
        ...

    def make_durable(self, deadline: Deadline) -> Facts:
        """Commit synchronously on the new side, so that all that was applied before is on its disk.

        Returns:
            With `durable`: true.
        """
        ...

    def stop_forward(self, deadline: Deadline) -> Facts:
        """Disable the subscription of the new side, and see its workers end; with `forward`: "disabled"."""
        ...

    def commit_line(self, deadline: Deadline) -> Facts:
        """Give the new side's position before it is opened, as `commit_line` (an integer)."""
        ...

    def resume_forward(self, deadline: Deadline) -> Facts:
        """Enable it again: a cutover was aborted; with `forward`: "enabled"."""
        ...

    def enable_reverse(self, fence_lsn: int, commit_line: int, deadline: Deadline) -> Facts:
        """Start the way back, and tell both audits where theirs ends and begins; with `reverse`: "enabled"."""
        ...

    def tell(self, deadline: Deadline) -> Facts:
        """Tell both audits of the last commit, again; with `audits_told`: true once they are, without long waits."""
        ...

    def tend(self, deadline: Deadline) -> Facts:
        """Do as `tell`, and hold the slots of both ways to what they may keep; called again and again in the guard."""
        ...

    def disarm(self, deadline: Deadline) -> Facts:
        """Remove the way back that `prepare_reverse` made: it carried nothing, or all that it had to (a rollback)."""
        ...

    def finalize(self, deadline: Deadline) -> Facts:
        """Remove what is left of both ways: the door closes."""
        ...

    def observe(self) -> Facts:
        """Give `forward` and `reverse`: enabled, disabled, absent, or null where it is not known."""
        ...


class Rows(Protocol):
    """The last look at the data itself, while nobody writes."""

    def check(self) -> Sequence[Blocker]: ...
    def warm(self, deadline: Deadline) -> Facts:
        """Do as `Replication.warm`, and follow from now on what is written on the old side.

        Returns:
            With `follow_ms`: how long it takes now to read what is written to its end.
        Raises:
            NotReady: transactions were open for too long, so that their rows could not be followed.
        """
        ...

    def compare_last(self, fence_lsn: int, deadline: Deadline) -> Facts:
        """Compare the rows written last and those written most.

        Returns:
            With the counts `compared`, `different` and `missing` (could not be compared); `empty`: true where there
            is not one row in any table, so that nothing could be compared.
        """
        ...

    def behind(self, fence_lsn: int, deadline: Deadline) -> Facts:
        """Count the changes that were committed on the old side behind the fence until now, as `behind`."""
        ...

    def write_canary(self, through: Sequence["Proxy"], nonce: str, deadline: Deadline) -> Facts:
        """Write a nonce on the new side, read it back through every proxy; with that `nonce`, and `proxies` counted."""
        ...


class Sequences(Protocol):
    """Counters, which replication does not carry."""

    def check(self) -> Sequence[Blocker]: ...
    def warm(self, deadline: Deadline) -> Facts:
        """Do as `Replication.warm`."""
        ...

    def set(self, deadline: Deadline) -> Facts:
        """Set each sequence of the new side past the old one's value, cache and headroom, and read it back.

        Returns:
            With the counts `sequences`, and `behind` (read back and not past the old one's).
        """
        ...


class Consumers(Protocol):
    """Readers of change slots on the old side, that go on from the new one."""

    def check(self) -> Sequence[Blocker]: ...
    def drain(self, fence_lsn: int, deadline: Deadline) -> Facts:
        """Wait until each consumer has confirmed the fence's position, then let it stop.

        Returns:
            With the counts `consumers` and `behind`.
        """
        ...

    def hand_over(self, deadline: Deadline) -> Facts:
        """Create each slot on the new side while it is fenced, and record where it starts, as `slots` by name."""
        ...

    def take_back(self, deadline: Deadline) -> Facts:
        """Drop the slots that `hand_over` made on the new side: the cutover was aborted, nobody read them."""
        ...

    def pause(self, deadline: Deadline) -> Facts:
        """See that each consumer reads and is near the end, so that `drain` is short; it goes on reading until then."""
        ...

    def resume(self, on: Side, deadline: Deadline) -> Facts:
        """Let each consumer go on from a side."""
        ...

    def tend(self, deadline: Deadline) -> Facts:
        """Move the slots on the side that was left, as nobody reads them; called again and again in the guard."""
        ...

    def finalize(self, deadline: Deadline) -> Facts:
        """Drop the slots on the side that was left."""
        ...


class Gate(Protocol):
    """The auditor's verdict, asked as any orchestrator would."""

    def verdict(self, deadline: Deadline) -> Facts:
        """Give the verdict's JSON as it is now."""
        ...

    def consume(self, verdict: str, cutover: str, deadline: Deadline) -> Facts: ...


class Audit(Protocol):
    """The reverse audit: the same auditor with its sides swapped."""

    def start(self, deadline: Deadline) -> Facts:
        """Make its slots and start its processes; what it finds counts from the commit line on.

        Returns:
            With `ready`: true, once its slots are made.
        """
        ...

    def verdict(self, deadline: Deadline) -> Facts:
        """Give the verdict's JSON as it is now; it decides whether a rollback loses nothing."""
        ...

    def stop(self, deadline: Deadline) -> Facts:
        """End its processes and remove its slots."""
        ...


class DeadMan(Protocol):
    """A process of its own that opens the old side once the orchestrator is gone, if it wins ABORT in the journal."""

    def start(self, attempt: int, deadline: Deadline) -> Facts:
        """Start it for one attempt and hear that its connections are open; with `ready`: true.

        It takes the lease as anybody does, once that is over: so whoever held it can write no more.
        """
        ...

    def alive(self) -> bool | None: ...


class Hooks(Protocol):
    """Programs and addresses of the user's, called at each phase."""

    def call(self, phase: str, facts: Facts, deadline: Deadline) -> Facts:
        """Call what is configured for a phase.

        Raises:
            NotReady: one of them failed, said no, or took too long: the phase holds.
        """
        ...


class Suite(Protocol):
    """Reads of the user's that are watched after the switch."""

    def measure(self, deadline: Deadline) -> Facts:
        """Give `errors`, `reads` and `p99_ms`, read through the proxies."""
        ...


class Shadow(Protocol):
    """Reads that are led to the new side before writes are, where a proxy can tell them apart."""

    def lead(self, deadline: Deadline) -> Facts:
        """Lead reads to the new side and compare answers; with the counts `compared`, `different` and `errors`.

        Where no proxy can: `possible`: false, and nothing else.
        """
        ...

    def back(self, deadline: Deadline) -> Facts:
        """Lead reads to the old side again."""
        ...


class Budget(Protocol):
    """Foretells how long writes will be held."""

    def foretell(self, rehearsed: Facts, deadline: Deadline) -> Facts:
        """Give `predicted_ms`, by part, from what was measured and what `rehearse-fence` recorded."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything a conductor acts through; `old` and `new` are the sides of this direction."""

    old: Fence
    new: Fence
    proxies: Sequence[Proxy]
    replication: Replication
    rows: Rows
    sequences: Sequences
    consumers: Consumers
    gate: Gate
    audit: Audit
    dead_man: DeadMan
    hooks: Hooks
    suite: Suite
    shadow: Shadow
    budget: Budget
