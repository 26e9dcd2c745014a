"""The story of one cutover: clients at work, an order to start, a fault or a kill on the way, and what it came to."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum

from auditor.cutover.story import attempts_of, forward_of, held_window
from auditor.demo.cutover.breakpoints import Breakpoint, Breakpoints, Moment
from auditor.demo.cutover.checker import Witness, check, writable
from auditor.demo.cutover.clients import LiveClients
from auditor.demo.cutover.faults import FAULTS, End, Fault, Heal
from auditor.demo.cutover.told import Told, end_of
from auditor.demo.cutover.world import OPERATOR, Running, World
from auditor.demo.database import wait_until
from comparators.errors import AuditorError
from comparators.positions import Side
from orchestrator.cutover import ABORT_STEPS, ALL_STEPS, STEPS, Event
from orchestrator.records import Direction, Entry, Kind

END_SECONDS = 600.0
LOOK_SECONDS = 0.05
AGAIN_SECONDS = 1.0
CLIENTS_SECONDS = 60.0
ZOMBIE_SECONDS = 120.0
FINAL = (0, 1, 2, 4)
"""Exit codes of an orchestrator that will not do more if it is started again."""


class How(StrEnum):
    """How an orchestrator is disturbed."""

    KILL = "kill"
    STOP = "stop"
    """Stopped until somebody else has done its work, then woken: a zombie."""
    CUT = "cut"
    """Its session with the journal is cut."""


@dataclass(frozen=True, slots=True)
class Kill:
    """Where and how an orchestrator is disturbed."""

    step: str
    moment: Moment = Moment.AFTER
    how: How = How.KILL

    @property
    def direction(self) -> Direction:
        there = {step.name for step in (*STEPS, *ABORT_STEPS)}
        return Direction.FORWARD if self.step in there else Direction.BACK

    @property
    def fault(self) -> Fault | None:
        """What must happen so that the cutover comes to the step."""
        if self.direction is Direction.BACK:
            return FAULTS["operator-rolls-back"]
        return LATE_ABORT if self.step in {step.name for step in ABORT_STEPS} else None


LATE_ABORT = Fault(
    "operator-aborts-late", "an operator says abort just before the commit", "record-commit-line",
    FAULTS["operator-aborts"].inject, reason="operator",
)  # fmt: skip
"""Everything that an abort has to put back has been done by then."""
KILLABLE: Sequence[str] = tuple(ALL_STEPS)


@dataclass(frozen=True, slots=True)
class Order:
    """What the user asked for."""

    fault: Fault | None = None
    kill: Kill | None = None
    returns: bool = False
    """The operator leads everything back at the end, so that the next story can begin where this one did."""
    pause: float = 0.05
    """Seconds that each client thinks between two transactions."""
    busy: float = 2.0
    """Seconds for which the clients are at work before anything is asked of them."""
    guard: float = 3.0
    """Seconds for which the promoted side is watched before its operator asks for anything."""
    meanwhile: Callable[[World], None] | None = None
    """Is done while the promoted side is watched, before the operator asks for anything."""

    @property
    def strikes(self) -> Fault | None:
        return self.fault or (self.kill.fault if self.kill else None)

    @property
    def wish(self) -> str | None:
        """What the operator asks for at the end of a promotion that nothing else ends."""
        fault = self.strikes
        if fault is not None and not fault.any_end and fault.end is End.ROLLED_BACK:
            return None
        return "rollback" if self.returns else "finalize"


class Story:
    """One cutover from its approval to its end."""

    def __init__(self, world: World, order: Order, say: Callable[[str], None]) -> None:
        self._world, self._order, self._say = world, order, say
        self._journal = world.open_journal()
        self._before = len(self._journal.entries())
        self._entries: list[Entry] = []
        self._processes: list[Running] = []
        self._guarded_at: float | None = None
        self._asked = False
        self._heals: list[Heal] = []
        self._missed: list[str] = []
        self._stopped: Running | None = None

    def tell(self) -> Told:
        """Let it happen.

        Raises:
            ServerFailed: a command that must work did not.
            TimeoutError: it did not come to an end.
        """
        with self._journal:
            return self._lived_through()

    def _lived_through(self) -> Told:
        world, began = self._world, time.monotonic()
        folder, pause = world.folder / f"writes-{self._before}", self._order.pause
        live = LiveClients(world.through, folder, pause=pause, first=10 * self._before)
        witness = Witness({side: stage.app for side, stage in world.sides.items()})
        with ExitStack() as closing:
            closing.callback(self._heal)
            live.start()
            closing.callback(live.stop)
            time.sleep(self._order.busy)
            world.await_pass()
            world.answer("cutover", "approve", "--by", OPERATOR)
            witness.start()
            closing.callback(witness.stop)
            self._happen(closing)
            over = time.monotonic()
            self._heal()
            wait_until(lambda: live.all_wrote_since(over), "every client to write again", CLIENTS_SECONDS)
        return self._told(began, live, witness)

    def _happen(self, closing: ExitStack) -> None:
        """Start it, strike where the order says, and follow it to its end."""
        stops, fault, kill = Breakpoints(self._world.journal_admin), self._order.strikes, self._order.kill
        if fault or kill:
            stops.install()
        strike = closing.enter_context(stops.at(fault.step, Moment.BEFORE)) if fault else None
        hit = closing.enter_context(stops.at(kill.step, kill.moment, kill.direction)) if kill else None
        waiting: dict[Breakpoint, Callable[[], None]] = {}
        if fault and strike:
            waiting[strike] = lambda: self._strike(fault, strike)
        if kill and hit:
            waiting[hit] = lambda: self._disturb(kill, hit)
        self._start(*self._acknowledged())
        while (reached := self._follow(list(waiting))) is not None:
            waiting.pop(reached)()
        self._wake()
        self._missed = [one.name for one in waiting]

    def _strike(self, fault: Fault, strike: Breakpoint) -> None:
        self._say(f"now: {fault.what}")
        self._heals.append(fault.inject(self._world))
        strike.go_on()
        if fault.lasts is not None:
            time.sleep(fault.lasts)
            self._heal()

    def _disturb(self, kill: Kill, hit: Breakpoint) -> None:
        """Disturb the orchestrator that waits at a breakpoint."""
        self._say(f"now: {kill.how} at {kill.step}")
        pid = self._processes[-1].pid
        if kill.how is How.KILL:
            os.kill(pid, signal.SIGKILL)
        elif kill.how is How.STOP:
            os.kill(pid, signal.SIGSTOP)
        if kill.moment is Moment.AFTER or kill.how is How.CUT:
            hit.cut()
        else:
            hit.go_on()
        if kill.how is How.STOP:
            self._stopped = self._processes[-1]
            self._start()

    def _wake(self) -> None:
        """Let the one go on that was stopped, and see it end by itself: whatever it still does is witnessed."""
        if (zombie := self._stopped) is not None:
            self._say("now: the one that was stopped wakes")
            os.kill(zombie.pid, signal.SIGCONT)
            wait_until(lambda: not zombie.alive, "the end of the one that was stopped", ZOMBIE_SECONDS)

    def _start(self, *options: str) -> None:
        self._processes.append(self._world.launch("cutover", "start", *options))

    def _acknowledged(self) -> list[str]:
        """Answer for the attempt before, where that has failed: a story before this one made it fail."""
        last = forward_of(attempts_of(self._journal.entries()))
        failed = last is not None and last.run.ended in (Event.ABORTED, Event.RETURNED)
        return ["--acknowledge", str(last.run.attempt)] if failed and last else []

    def _follow(self, until: Sequence[Breakpoint]) -> Breakpoint | None:
        """Read along until an orchestrator stands at a breakpoint, and give that; `None`: what was begun has ended."""
        deadline = time.monotonic() + END_SECONDS
        while (reached := next((one for one in until if one.reached is not None), None)) is None and not self._ended():
            self._read()
            self._keep_door()
            if time.monotonic() > deadline:
                raise TimeoutError(f"the cutover did not get on within {END_SECONDS:g} s\n{self._log()}")
            time.sleep(LOOK_SECONDS)
        self._read()
        return reached

    def _ended(self) -> bool:
        """Say whether it is over; where its orchestrator was killed before, or lost its way, another one is started."""
        process = self._processes[-1]
        if process.alive:
            return False
        self._read()
        if end_of(self._entries) is not None or process.exit_code in FINAL:
            return True
        time.sleep(AGAIN_SECONDS)
        self._start()
        return False

    def _read(self) -> None:
        """Read what is new in the journal, and say it."""
        try:
            new = self._journal.entries(self._entries[-1].seq if self._entries else self._before)
        except AuditorError:
            return  # the journal's own outage may be what is shown
        for entry in new:
            self._say(f"{entry.direction:<8}{entry.step:<22}{entry.kind}")
            if entry.step == "watch" and entry.kind is Kind.INTENT:
                self._guarded_at = time.monotonic()
            if entry.kind is Kind.EVENT and entry.step in (Event.STAYED, Event.REFUSED):
                self._asked = False  # the way back was not taken: an operator asks again
            fault = self._order.strikes
            if fault and entry.step == fault.heal_after and entry.kind is Kind.DONE:
                self._heal()
        self._entries += new

    def _keep_door(self) -> None:
        """Do what an operator does once the promoted side was watched for a while."""
        due = self._guarded_at is not None and time.monotonic() > self._guarded_at + self._order.guard
        if due and self._order.wish and not self._asked:
            self._asked = True
            if self._order.meanwhile:
                self._order.meanwhile(self._world)
            reason = ["--reason", "the show asks for it"] if self._order.wish == "rollback" else []
            self._world.launch("cutover", self._order.wish, "--by", OPERATOR, *reason)

    def _heal(self) -> None:
        while self._heals:
            self._heals.pop()()

    def _log(self) -> str:
        return "\n".join(process.log_tail() for process in self._processes[-2:])

    def _told(self, began: float, live: LiveClients, witness: Witness) -> Told:
        end = end_of(self._entries)
        serving = Side.TARGET if end is End.PROMOTED else Side.SOURCE
        return Told(
            seconds=time.monotonic() - began,
            end=end,
            serving=serving,
            entries=self._entries,
            checked=check(self._world.sides[serving].admin, live.folder),
            writable=tuple(side for side, stage in self._world.sides.items() if writable(stage.app)),
            turns=tuple(witness.turns(_opened_as_before(self._entries))),
            failures=tuple(live.failures),
            stalls=_stalls(self._entries, live),
            journal=self._journal.verify().problems,
            exit_codes=tuple(process.exit_code for process in self._processes),
            log_tail=self._log(),
            missed=self._missed,
        )


def _opened_as_before(entries: Sequence[Entry]) -> float:
    """Say when (monotonic clock) an abort began to open the target as it was."""
    ahead = time.time() - time.monotonic()  # the journal's server and the witness have one clock here
    opened = (one.at.timestamp() - ahead for one in entries if one.step == "disarm" and one.kind is Kind.INTENT)
    return min(opened, default=float("inf"))


def _stalls(entries: Sequence[Entry], live: LiveClients) -> dict[Direction, float]:
    """Find the longest that a client waited (ms) while writes were held, by direction."""
    ahead = time.time() - time.monotonic()  # the journal's server and the clients have one clock here
    stalls: dict[Direction, float] = {}
    for attempt in attempts_of(entries):
        window = held_window(attempt.steps)
        if window is None:
            continue
        began, ended = window
        if ended is not None:
            worst = live.worst(began.timestamp() - ahead, ended.timestamp() - ahead) * 1000
            stalls[attempt.run.direction] = max(worst, stalls.get(attempt.run.direction, 0.0))
    return stalls
