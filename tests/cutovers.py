"""A world without servers for the conductor: two sides, proxies, clients, both ways of the data, any fault.

The world judges by itself: whatever breaks an invariant is written into `violations` at the moment it happens, from
what is true in the world and not from what the conductor believes.
"""

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from comparators.errors import NeedsOperator, NotReady, SideUnavailable
from comparators.positions import Side
from orchestrator.conductor import Conductor, Ending, Moment
from orchestrator.cutover import Step, told
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.deadman import DeadMan, End
from orchestrator.ports import Blocker, Facts, FenceSeen, Identity, Ports, Proxy, ProxySeen
from orchestrator.records import Direction, Entry, JournalUnavailable, Lease, Outcome, Result, Wish
from orchestrator.rehearsal import MemoryJournal
from orchestrator.rules import Rules

PLAN = "sha256:plan"
RULES = Rules(
    guard_seconds=0, watch_seconds=0.01, poll_seconds=0.01, hook_patience_seconds=0.5, insist_seconds=5,
    renew_seconds=3600, wait_for_lease_seconds=60, journal_patience_seconds=120,
)  # fmt: skip


class Killed(BaseException):
    """The process is gone, as after kill -9: nothing of it runs any more."""


Fault = Callable[["World", str], None]
"""Is called with the world and `before` or `after` (the effect); what it raises is what the port raises."""


def raises(error: BaseException, when: str = "before") -> Fault:
    """Make a port's call fail, before or after it took effect."""

    def fault(world: "World", moment: str) -> None:
        if moment == when:
            raise error

    return fault


def broken(when: str = "before") -> Fault:
    return raises(SideUnavailable("the connection was cut"), when)


def late(when: str = "before") -> Fault:
    return raises(DeadlinePassed("the time for it is over"), when)


def stuck_person(when: str = "before") -> Fault:
    return raises(NeedsOperator("a person must look", hint="look"), when)


def bug(when: str = "before") -> Fault:
    return raises(KeyError("unforeseen"), when)


def killed(when: str = "before") -> Fault:
    def fault(world: "World", moment: str) -> None:
        if moment == when:
            world.alive = False
            raise Killed

    return fault


def stopped(seconds: float, meanwhile: Callable[["World"], None], when: str = "before") -> Fault:
    """Stop the process there (SIGSTOP) while the world goes on, then let it wake."""

    def fault(world: "World", moment: str) -> None:
        if moment == when:
            world.skew += seconds
            meanwhile(world)

    return fault


@dataclass
class Data:
    """What one side holds; `stream` is what its slot has not yet delivered to the other side."""

    rows: set[int] = field(default_factory=set)
    stream: list[int] = field(default_factory=list)
    markers: set[str] = field(default_factory=set)
    open: bool = True
    sequence: int = 0
    slots: set[str] = field(default_factory=set)


class World:
    """Everything outside of the conductor."""

    def __init__(self, proxies: int = 2, consumers: bool = True) -> None:
        self.started, self.skew = time.monotonic(), 0.0
        self._ticks = itertools.count()
        self.waits = 0
        self.alive = True
        self.journal = MemoryJournal("orders", self.clock)
        self.sides = {side: Data() for side in Side}
        self.way = {Side.SOURCE: True, Side.TARGET: False}
        """By the side that data comes from: its subscription is enabled."""
        self.slot = {Side.SOURCE: True, Side.TARGET: False}
        """By the side that data comes from: its slot exists, and keeps what was not delivered."""
        self.durable = 0
        self.proxies = [FakeProxy(self, f"pool-{number + 1}") for number in range(proxies)]
        self.consumers = {"debezium": Side.SOURCE} if consumers else {}
        """Where each reads."""
        self.paused = False
        self.seen_by_consumers: list[int] = []
        self.verdict, self.reverse_verdict, self.rate = "PASS", "PASS", 1.0
        self.plan, self.overrides = PLAN, list[str]()
        """What people would agree to now, and which overrides are in force."""
        self.agreed: list[str] = []
        """Those that were in force when it was approved last: with others it is another plan."""
        self.decides, self.decided = True, datetime(2026, 1, 1, tzinfo=UTC)
        self.reads: dict[str, Any] = {"reads": 100, "errors": 0, "p99_ms": 5}
        self.predicted: Any = 100
        self.follow_ms = 1.0
        self.unseen: dict[Side, float] = {}
        """For how many seconds a side does not answer a look at its fence."""
        self.dead_man: tuple[int, Direction] | None = None
        self.dead_man_alive = False
        self.reverse_audit = False
        self.audits_told = True
        self.hook: Callable[[str], None] = lambda phase: None
        self.hook_seconds: dict[str, float] = {}
        """What the hooks of each phase were given last."""
        self.blockers: list[Blocker] = []
        self.faults: dict[str, list[Fault]] = {}
        self.lies: dict[str, Mapping[str, Any]] = {}
        self.calls: list[str] = []
        self.acknowledged: dict[int, Side] = {}
        self.failed = 0
        self.next_row = 0
        self.violations: list[str] = []
        self.moments: dict[tuple[str, Moment], Fault] = {}
        self.consumed: set[str] = set()
        self.traffic_on = True
        self.journal_down = 0
        self.closed_by: dict[Side, int] = {}
        """By which attempt a side was closed."""
        self.heard: list[Entry] = []

    # Time.

    def clock(self) -> float:
        """Time passes only where a test lets it, and by a tick at each look: a busy machine changes nothing."""
        return self.started + next(self._ticks) * 1e-6 + self.skew

    def wait(self, seconds: float) -> None:
        """Let time pass without passing any."""
        self.check_alive()
        self.waits += 1
        assert self.waits < 5000, "nothing ends this cutover"
        if self.waits % 500 == 0:
            self.journal.request(Wish.UNPOSTPONE, "ana", "it was postponed for long enough")
        self.skew += seconds
        self.traffic()

    def evaluated(self) -> str:
        """Give when an audit decided what it answers now: at each question anew, unless it stands still."""
        if self.decides:
            self.decided += timedelta(milliseconds=1)
        return self.decided.isoformat(timespec="milliseconds")

    def check_alive(self) -> None:
        if not self.alive:
            raise Killed

    # Who may write, by what is decided and by nothing else.

    def owner(self) -> Side:
        """Give the side that applications may write to, as the outcomes say."""
        owner = Side.SOURCE
        for outcome in self.journal.outcomes():
            if outcome.result is Result.COMMIT:
                owner = outcome.direction.new
        return owner

    def traffic(self) -> None:
        """Let every client try one write through each proxy, and one that knows the source by its address."""
        if not self.traffic_on:
            return
        for proxy in self.proxies:
            if not proxy.held:
                self.client_writes(proxy.leads_to)
        self.deliver()

    def client_writes(self, side: Side) -> bool:
        if not self.sides[side].open:
            self.failed += 1
            return False
        if side is not self.owner():
            self.violations.append(f"I1: a client wrote on the {side}, which is not the side decided on")
        self.next_row += 1
        data = self.sides[side]
        data.sequence += 1
        self.record(side, self.next_row)
        self.acknowledged[self.next_row] = side
        return True

    def record(self, side: Side, row: int) -> None:
        data = self.sides[side]
        data.rows.add(row)
        if self.slot[side]:
            data.stream.append(row)
        if not self.paused and side in self.consumers.values():
            self.seen_by_consumers.append(row)

    def deliver(self) -> None:
        """Let both ways carry what they can; `origin = none` keeps rows from going in a circle."""
        if all(self.way.values()):
            self.violations.append("I15: both ways run together")
        for side, data in self.sides.items():
            if self.way[side] and self.slot[side]:
                for row in data.stream:
                    self.sides[side.other].rows.add(row)
                data.stream.clear()

    # Calls.

    def call(self, name: str, deadline: Deadline | None, effect: Callable[[], dict[str, Any]]) -> Facts:
        """Perform an effect of a port, with whatever was to go wrong with it."""
        self.check_alive()
        self.calls.append(name)
        self.traffic()
        fault = self._fault(name)
        fault(self, "before")
        self.check_alive()
        if deadline is not None:
            deadline.left()
            if deadline.at < self.clock():
                raise DeadlinePassed(deadline.doing)
        facts = effect()
        self.traffic()
        fault(self, "after")
        self.check_alive()
        return {**facts, **self.lies.get(name, {})}

    def _fault(self, name: str) -> Fault:
        waiting = self.faults.get(name)
        return waiting.pop(0) if waiting else lambda world, moment: None

    def at(self, moment: Moment, step: Step) -> None:
        self.check_alive()
        if fault := self.moments.pop((step.name, moment), None):
            fault(self, "before")
            self.check_alive()

    # Other processes.

    def conductor(self, actor: str = "ana", rules: Rules = RULES) -> Conductor:
        """Start another orchestrator process."""
        self.alive = True
        ports = {direction: self.ports(direction) for direction in Direction}
        return Conductor(
            Line(self), ports, PLAN, rules, plan_of=self.plan_of, actor=actor, tell=self.heard.append,
            at=self.at, wait=self.wait, clock=self.clock,
        )  # fmt: skip

    def plan_of(self, verdict: Facts) -> str:
        return self.plan if verdict["overrides"] == self.agreed else "sha256:other overrides"

    def approve(self, *persons: str) -> None:
        self.agreed = list(self.overrides)
        for person in persons or ("ben",):
            self.journal.approve(PLAN, person, 3600)

    def run(self, actor: str = "ana", rules: Rules = RULES) -> Ending | None:
        """Approve and start; `None`: the process died on the way."""
        self.approve()
        try:
            return self.conductor(actor, rules).start()
        except Killed:
            return None

    def resume(self, actor: str = "cleo", rules: Rules = RULES) -> Ending | None:
        """Start another process after the lease of the first has run out."""
        self.skew += 60
        try:
            return self.conductor(actor, rules).resume()
        except Killed:
            return None

    def run_dead_man(self) -> bool:
        """Let the dead man act if he may; say whether he opened the old side."""
        if self.dead_man is None or not self.dead_man_alive:
            return False
        attempt, direction = self.dead_man
        ports = self.ports(direction)
        man = DeadMan(
            self.journal, ports.old, list(ports.proxies), attempt, direction, actor="dead man", rules=RULES,
            clock=self.clock,
        )  # fmt: skip
        alive, self.alive = self.alive, True  # it is another process than the one that died
        try:
            end = man.look()
        finally:
            self.alive = alive
        self.dead_man_alive = end is None
        return end is End.OPENED

    # What the world knows to be wrong.

    def close_side(self, side: Side) -> None:
        if self.sides[side].open:
            self.closed_by[side] = max((entry.attempt for entry in self.journal.entries()), default=0)
        self.sides[side].open = False

    def open_side(self, side: Side) -> None:
        """Open a side; lawful only behind a decision that was won since it was closed."""
        if not self.sides[side].open and not any(self._allows(side, one) for one in self.journal.outcomes()):
            self.violations.append(f"I2, I3, I10: the {side} was opened, and nothing that was decided allows it")
        self.sides[side].open = True

    def _allows(self, side: Side, outcome: Outcome) -> bool:
        if outcome.attempt < self.closed_by.get(side, 0):
            return False
        if outcome.result is Result.COMMIT:
            return side is outcome.direction.new and side is self.owner()
        armed = side is Side.TARGET and outcome.direction is Direction.FORWARD
        return armed or (side is outcome.direction.old and side is self.owner())

    def check_commit(self, direction: Direction) -> None:
        """Judge a commit by the world as it is when it is won."""
        old, new = self.sides[direction.old], self.sides[direction.new]
        wrong = {
            "I3: the new side was open": new.open,
            "I4: the old side was open": old.open,
            "I5: writes had not come over": not old.rows <= new.rows,
            "I5: what came over was not on disk": self.durable < len(old.rows & new.rows),
            "I14: the way back could not have kept the first write": not self.slot[direction.new],
            "I15: the way forward still ran": self.way[direction.old],
            "I17: a consumer had no slot on the new side": not set(self.consumers) <= new.slots,
            "I18: sequences were not set": new.sequence <= old.sequence,
            "I9: proxies let clients through": any(not proxy.held for proxy in self.proxies),
        }
        self.violations += [words for words, is_so in wrong.items() if is_so]

    def settled(self) -> list[str]:
        """Say what is wrong in a world in which nothing is left to be done."""
        self.deliver()
        owner = self.owner()
        wrong = list(self.violations)
        if not self.sides[owner].open:
            wrong.append(f"I10: the {owner} stays fenced")
        if any(proxy.held for proxy in self.proxies):
            wrong.append("writes stay held")
        if any(proxy.leads_to is not owner for proxy in self.proxies):
            wrong.append(f"I19: a proxy does not lead to the {owner}")
        lost = set(self.acknowledged) - self.sides[owner].rows
        if lost:
            wrong.append(f"{len(lost)} acknowledged writes are lost")
        if not self.journal.verify().intact:
            wrong.append(f"the journal does not verify: {self.journal.verify().problems}")
        told(self.journal.entries())  # raises where nobody could read it
        if len(set(self.consumers.values()) - {owner}):
            wrong.append(f"I17: a consumer does not read on the {owner}")
        return wrong

    def ports(self, direction: Direction) -> Ports:
        old, new = FakeFence(self, direction.old), FakeFence(self, direction.new)
        rest = FakeRest(self, direction)
        return Ports(
            old=old, new=new, proxies=self.proxies, replication=FakeReplication(self, direction),
            rows=FakeRows(self, direction), sequences=FakeSequences(self, direction),
            consumers=FakeConsumers(self, direction), gate=FakeGate(self), audit=FakeAudit(self),
            dead_man=FakeDeadMan(self, direction), hooks=rest, suite=rest, shadow=FakeShadow(self), budget=rest,
        )  # fmt: skip


class Line:
    """The journal as one process reaches it: gone with the process, and sometimes cut."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.migration = world.journal.migration

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._world.journal, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            world = self._world
            world.check_alive()
            if world.journal_down > 0:
                world.journal_down -= 1
                world.skew += 1
                raise JournalUnavailable("the journal cannot be reached")
            fault = world._fault(f"journal.{name}")
            fault(world, "before")
            world.check_alive()
            first = name == "decide" and world.journal.outcome(args[2]) is None
            found = method(*args, **kwargs)
            if first and found.result is Result.COMMIT:
                world.check_commit(found.direction)
            fault(world, "after")
            world.check_alive()
            return found

        return call


class FakeFence:
    def __init__(self, world: World, side: Side) -> None:
        self.world, self.side = world, side

    def check(self) -> Sequence[Blocker]:
        return self.world.blockers

    def rehearse(self, deadline: Deadline) -> Facts:
        return self.world.call(f"{self.side}.rehearse", deadline, lambda: {"ms": 5.0})

    def close(self, deadline: Deadline) -> Facts:
        def close() -> dict[str, Any]:
            self.world.close_side(self.side)
            return {"closed": True, "sessions": 0, "prepared": 0}

        return self.world.call(f"{self.side}.close", deadline, close)

    def open(self, deadline: Deadline) -> Facts:
        def open_it() -> dict[str, Any]:
            self.world.open_side(self.side)
            return {"closed": False}

        return self.world.call(f"{self.side}.open", deadline, open_it)

    def warm(self, deadline: Deadline) -> None:
        self.world.call(f"{self.side}.warm", deadline, dict)

    def observe(self, deadline: Deadline | None = None) -> FenceSeen:
        self.world.call(f"{self.side}.observe", None, dict)
        if self.world.unseen.get(self.side, 0) > 0:
            left = 5 if deadline is None else deadline.at - self.world.clock()
            self.world.skew += min(self.world.unseen[self.side], left)
            return FenceSeen(None)
        return FenceSeen(not self.world.sides[self.side].open, 0, 0)

    def identity(self, deadline: Deadline) -> Identity:
        return Identity(f"system of {self.side}", "app", f"{self.side}:5432")


class FakeProxy:
    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.held, self.leads_to = False, Side.SOURCE
        self.places_asked = True
        self.stale = False
        """It acknowledges nothing that leads elsewhere."""
        self.forgot: list[Lease | None] = []
        """Who held the lease whenever it was told to forget what it knew."""

    def forget(self) -> None:
        self.forgot.append(self.world.journal.lease())

    def check(self) -> Sequence[Blocker]:
        return ()

    def hold(self, deadline: Deadline) -> Facts:
        def hold() -> dict[str, Any]:
            self.held = True
            return {"held": True}

        return self.world.call(f"{self.name}.hold", deadline, hold)

    def release(self, deadline: Deadline) -> Facts:
        def release() -> dict[str, Any]:
            if not self.world.sides[self.leads_to].open:
                self.world.violations.append(f"{self.name} let clients go to the {self.leads_to}, which is fenced")
            self.held = False
            return {"held": False}

        return self.world.call(f"{self.name}.release", deadline, release)

    def route(self, to: Side, deadline: Deadline) -> Facts:
        def route() -> dict[str, Any]:
            if self.stale:
                raise DeadlinePassed(f"{self.name} did not acknowledge")
            self.leads_to = to
            return {"route": to.value}

        return self.world.call(f"{self.name}.route", deadline, route)

    def observe(self) -> ProxySeen:
        return ProxySeen(self.held, self.leads_to)

    def probe(self, deadline: Deadline) -> Identity:
        return FakeFence(self.world, self.leads_to).identity(deadline)


class FakeReplication:
    def __init__(self, world: World, direction: Direction) -> None:
        self.world, self.direction = world, direction
        self.old, self.new = world.sides[direction.old], world.sides[direction.new]

    def _call(self, name: str, deadline: Deadline, effect: Callable[[], dict[str, Any]]) -> Facts:
        return self.world.call(f"replication.{name}", deadline, effect)

    def check(self) -> Sequence[Blocker]:
        return ()

    def _switch(self, side: Side, on: bool, **facts: Any) -> Callable[[], dict[str, Any]]:
        def switch() -> dict[str, Any]:
            self.world.way[side] = on
            return facts

        return switch

    def prepare_reverse(self, deadline: Deadline) -> Facts:
        def prepare() -> dict[str, Any]:
            self.world.slot[self.direction.new] = True
            return {"reverse": "disabled"}

        return self._call("prepare_reverse", deadline, prepare)

    def warm(self, deadline: Deadline) -> Facts:
        return self._call("warm", deadline, dict)

    def position(self, deadline: Deadline) -> Facts:
        def position() -> dict[str, Any]:
            if self.old.open:
                self.world.violations.append("I4: the fence's position was taken while the old side was open")
            return {"fence_lsn": 1000 + len(self.old.rows)}

        return self._call("position", deadline, position)

    def write_marker(self, nonce: str, deadline: Deadline) -> Facts:
        def write() -> dict[str, Any]:
            self.old.markers.add(nonce)
            return {}

        return self._call("write_marker", deadline, write)

    def see_marker(self, nonce: str, deadline: Deadline) -> Facts:
        def see() -> dict[str, Any]:
            self.world.deliver()
            if self.old.stream or not self.world.way[self.direction.old]:
                raise DeadlinePassed("the marker did not come")
            self.new.markers.add(nonce)
            return {"nonce": nonce}

        return self._call("see_marker", deadline, see)

    def make_durable(self, deadline: Deadline) -> Facts:
        def durable() -> dict[str, Any]:
            self.world.durable = len(self.new.rows)
            return {"durable": True}

        return self._call("make_durable", deadline, durable)

    def stop_forward(self, deadline: Deadline) -> Facts:
        return self._call("stop_forward", deadline, self._switch(self.direction.old, False, forward="disabled"))

    def commit_line(self, deadline: Deadline) -> Facts:
        return self._call("commit_line", deadline, lambda: {"commit_line": 5000})

    def resume_forward(self, deadline: Deadline) -> Facts:
        return self._call("resume_forward", deadline, self._switch(self.direction.old, True, forward="enabled"))

    def enable_reverse(self, fence_lsn: int, commit_line: int, deadline: Deadline) -> Facts:
        def enable() -> dict[str, Any]:
            if self.world.owner() is not self.direction.new:
                self.world.violations.append("I15: the way back was started before the commit")
            self.world.way[self.direction.new] = True
            return {"reverse": "enabled"}

        return self._call("enable_reverse", deadline, enable)

    def tell(self, deadline: Deadline) -> Facts:
        return self._call("tell", deadline, lambda: {"audits_told": True})

    def tend(self, deadline: Deadline) -> Facts:
        return self._call("tend", deadline, lambda: {"audits_told": self.world.audits_told})

    def disarm(self, deadline: Deadline) -> Facts:
        def disarm() -> dict[str, Any]:
            if self.world.owner() is self.direction.new:
                self.world.violations.append("I22: the way back was removed while it was needed")
            self.world.slot[self.direction.new] = self.world.way[self.direction.new] = False
            self.new.stream.clear()
            return {}

        return self._call("disarm", deadline, disarm)

    def finalize(self, deadline: Deadline) -> Facts:
        def finalize() -> dict[str, Any]:
            self.world.slot = dict.fromkeys(Side, False)
            self.world.way = dict.fromkeys(Side, False)
            return {}

        return self._call("finalize", deadline, finalize)

    def observe(self) -> Facts:
        words = {True: "enabled", False: "disabled"}
        return {
            "forward": words[self.world.way[self.direction.old]],
            "reverse": words[self.world.way[self.direction.new]],
        }


class FakeRows:
    def __init__(self, world: World, direction: Direction) -> None:
        self.world, self.direction = world, direction

    def check(self) -> Sequence[Blocker]:
        return ()

    def warm(self, deadline: Deadline) -> Facts:
        return self.world.call("rows.warm", deadline, lambda: {"follow_ms": self.world.follow_ms})

    def compare_last(self, fence_lsn: int, deadline: Deadline) -> Facts:
        def compare() -> dict[str, Any]:
            old, new = (self.world.sides[side].rows for side in (self.direction.old, self.direction.new))
            return {"compared": len(old), "different": len(old - new), "missing": 0, "empty": not old}

        return self.world.call("rows.compare_last", deadline, compare)

    def behind(self, fence_lsn: int, deadline: Deadline) -> Facts:
        written = 1000 + len(self.world.sides[self.direction.old].rows)
        return self.world.call("rows.behind", deadline, lambda: {"behind": written - fence_lsn})

    def write_canary(self, through: Sequence[Proxy], nonce: str, deadline: Deadline) -> Facts:
        return self.world.call("rows.write_canary", deadline, lambda: {"nonce": nonce, "proxies": len(through)})


class FakeSequences:
    def __init__(self, world: World, direction: Direction) -> None:
        self.world, self.direction = world, direction

    def check(self) -> Sequence[Blocker]:
        return ()

    def warm(self, deadline: Deadline) -> Facts:
        return self.world.call("sequences.warm", deadline, dict)

    def set(self, deadline: Deadline) -> Facts:
        def set_them() -> dict[str, Any]:
            old, new = (self.world.sides[side] for side in (self.direction.old, self.direction.new))
            new.sequence = max(new.sequence, old.sequence + 1000)
            return {"sequences": 1, "behind": 0}

        return self.world.call("sequences.set", deadline, set_them)


class FakeConsumers:
    def __init__(self, world: World, direction: Direction) -> None:
        self.world, self.direction = world, direction

    def _call(self, name: str, deadline: Deadline, effect: Callable[[], dict[str, Any]]) -> Facts:
        return self.world.call(f"consumers.{name}", deadline, effect)

    def check(self) -> Sequence[Blocker]:
        return ()

    def drain(self, fence_lsn: int, deadline: Deadline) -> Facts:
        return self._call("drain", deadline, lambda: {"consumers": len(self.world.consumers), "behind": 0})

    def hand_over(self, deadline: Deadline) -> Facts:
        def hand_over() -> dict[str, Any]:
            new = self.world.sides[self.direction.new]
            if new.open:
                self.world.violations.append("I17: a slot was made on the new side while that was open")
            new.slots.update(self.world.consumers)
            return {"slots": {name: 1 for name in self.world.consumers}}

        return self._call("hand_over", deadline, hand_over)

    def take_back(self, deadline: Deadline) -> Facts:
        def take_back() -> dict[str, Any]:
            if self.world.owner() is self.direction.new:
                self.world.violations.append("I22: slots were dropped that were needed")
            self.world.sides[self.direction.new].slots.clear()
            return {}

        return self._call("take_back", deadline, take_back)

    def pause(self, deadline: Deadline) -> Facts:
        return self._call("pause", deadline, dict)

    def resume(self, on: Side, deadline: Deadline) -> Facts:
        def resume() -> dict[str, Any]:
            if on is not self.world.owner():
                self.world.violations.append(f"I17: consumers were led to the {on}")
            self.world.consumers = dict.fromkeys(self.world.consumers, on)
            return {}

        return self._call("resume", deadline, resume)

    def tend(self, deadline: Deadline) -> Facts:
        return self._call("tend", deadline, dict)

    def finalize(self, deadline: Deadline) -> Facts:
        return self._call("finalize", deadline, dict)


class FakeGate:
    def __init__(self, world: World) -> None:
        self.world = world

    def verdict(self, deadline: Deadline) -> Facts:
        world = self.world
        if fault := world.faults.get("gate.verdict"):
            fault.pop(0)(world, "before")
        said = {"verdict": world.verdict, "rate": world.rate, "reasons": ["as told"]}
        rests_on = {"overrides": list(world.overrides), "accepted": []}
        return {**said, **rests_on, "id": f"v{len(world.calls)}", "evaluated_at": world.evaluated()}

    def consume(self, verdict: str, cutover: str, deadline: Deadline) -> Facts:
        def consume() -> dict[str, Any]:
            self.world.consumed.add(cutover)
            return {"receipt": verdict}

        return self.world.call("gate.consume", deadline, consume)


class FakeAudit:
    def __init__(self, world: World) -> None:
        self.world = world

    def start(self, deadline: Deadline) -> Facts:
        def start() -> dict[str, Any]:
            self.world.reverse_audit = True
            return {"ready": True}

        return self.world.call("audit.start", deadline, start)

    def verdict(self, deadline: Deadline) -> Facts:
        if self.world.reverse_verdict == "silent":
            raise NotReady("nobody listens")
        if self.world.reverse_verdict == "hangs":
            self.world.skew += max(deadline.at - self.world.clock(), 0)
            raise DeadlinePassed(deadline.doing)
        said = {"verdict": self.world.reverse_verdict, "reasons": ["as told"]}
        return {**said, "evaluated_at": self.world.evaluated()}

    def stop(self, deadline: Deadline) -> Facts:
        def stop() -> dict[str, Any]:
            self.world.reverse_audit = False
            return {}

        return self.world.call("audit.stop", deadline, stop)


class FakeDeadMan:
    def __init__(self, world: World, direction: Direction) -> None:
        self.world, self.direction = world, direction

    def start(self, attempt: int, deadline: Deadline) -> Facts:
        def start() -> dict[str, Any]:
            self.world.dead_man, self.world.dead_man_alive = (attempt, self.direction), True
            return {"ready": True}

        return self.world.call("dead_man.start", deadline, start)

    def alive(self) -> bool | None:
        return self.world.dead_man_alive


class FakeShadow:
    def __init__(self, world: World) -> None:
        self.world = world

    def lead(self, deadline: Deadline) -> Facts:
        return self.world.call(
            "shadow.lead", deadline, lambda: {"possible": True, "compared": 10, "different": 0, "errors": 0}
        )

    def back(self, deadline: Deadline) -> Facts:
        return self.world.call("shadow.back", deadline, dict)


class FakeRest:
    """Hooks, the suite of reads, and the budget."""

    def __init__(self, world: World, direction: Direction) -> None:
        self.world, self.direction = world, direction

    def call(self, phase: str, facts: Facts, deadline: Deadline) -> Facts:
        self.world.check_alive()
        self.world.hook_seconds[phase] = deadline.at - self.world.clock()
        self.world.hook(phase)
        return {}

    def measure(self, deadline: Deadline) -> Facts:
        self.world.check_alive()
        return self.world.reads

    def foretell(self, rehearsed: Facts, deadline: Deadline) -> Facts:
        return {"predicted_ms": self.world.predicted}


def refusing(*phases: str) -> Callable[[str], None]:
    """Make a hook that says no in some phases."""

    def hook(phase: str) -> None:
        if phase in phases:
            raise NotReady(f"not in {phase}")

    return hook
