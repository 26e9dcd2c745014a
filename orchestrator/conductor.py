"""Carry a cutover out: write the intent, act through the ports, write what was read back. The table decides.

Rules of this file:
1. Whoever acts holds the lease, and has enough of it left for the step and for an abort behind it.
2. What the journal did not take is not known: the conductor reads the journal again and goes on as after a restart.
3. A failure before the commit aborts, whatever raised it; an abort has deadlines of its own and tries every step.
4. Nothing starts again by itself: an attempt that failed stays so until a person acknowledges it and approves anew.
"""

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any

from comparators.errors import NeedsOperator, NotReady, told_of
from orchestrator import effects
from orchestrator.chronicle import Chronicle
from orchestrator.cutover import ALL_STEPS, UNTOUCHED, Event, Phase, Run, Step
from orchestrator.deadman import conducted
from orchestrator.effects import Scene
from orchestrator.evidence import missing_proof, shortcoming
from orchestrator.guard import Guard
from orchestrator.lease import Keeper, LeasedDeadline
from orchestrator.operators import Operators
from orchestrator.ports import Facts, Ports
from orchestrator.records import (
    Direction,
    Draft,
    Entry,
    Journal,
    JournalUnavailable,
    Kind,
    Lease,
    LeaseHeld,
    LeaseLost,
    Result,
    Wish,
)
from orchestrator.recovery import ARMED, Way, look, reconcile
from orchestrator.rules import Rules

TRUST_SECONDS = 30.0
"""For how long the lease is renewed without a sign of progress, outside of a step."""
HOOK_SECONDS = 10.0
COMMITTED_HOOK_SECONDS = 1.0
"""Once it is committed, while clients still wait: a hook can hold up nothing any more, and must not make them fail."""
NOTE_SECONDS = 60.0
"""At most so much of the time for which it was watched is not written down yet."""
BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
OPEN_FIRST_TRIES = 3
"""Tries to open the old side before the proxies are released all the same: LOGIN comes before RESUME."""
_QUIET_HOOKS = frozenset({*UNTOUCHED, Phase.SHADOWING, Phase.ARMED, Phase.FENCING, Phase.ROLLING_BACK, Phase.FINALIZED})
"""Phases that a hook may hold up, as they begin before writes are held or after all is over."""


class Latched(NeedsOperator):
    """The last attempt failed, and nobody has acknowledged that."""


class NotBegun(NeedsOperator):
    """A cutover cannot begin as things are."""


class NotProven(NotReady):
    """A step returned, but what it read back does not prove its effect."""


class Moment(StrEnum):
    """Between which two instructions a conductor is; for those who kill it there."""

    INTENT = "intent"
    """The step's intent is recorded, nothing done yet."""
    ACTED = "acted"
    """The step took effect, which is not recorded yet."""


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a conductor returned."""

    attempt: int | None
    direction: Direction = Direction.FORWARD
    phase: Phase = Phase.REGISTERED
    ended: Event | None = None
    """`None` with the phase FINALIZED: the cutover is through; with STUCK: a person is needed."""
    reason: str | None = None


class Conductor:
    """One orchestrator of one migration."""

    def __init__(
        self,
        journal: Journal,
        ports: Mapping[Direction, Ports],
        plan: str,
        rules: Rules,
        *,
        plan_of: Callable[[Facts], str],
        actor: str,
        tell: Callable[[Entry], None] = lambda entry: None,
        at: Callable[[Moment, Step], None] = lambda moment, step: None,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take everything; nothing is opened or asked yet.

        Args:
            ports: of both directions; in `BACK` the sides are swapped.
            plan: digest of what approvals are given for.
            plan_of: names what would be approved on a verdict of the gate; may ask both sides.
            actor: who is written into the journal, as in `ana@host:4711`; it must be this process's alone.
            tell: gets each entry once it is durable.
            at: is called in each step at each moment; tests stop the process there.
        """
        self._journal, self._ports, self._plan, self._rules = journal, ports, plan, rules
        self._plan_of = plan_of
        self._actor, self._tell, self._at, self._wait, self._clock = actor, tell, at, wait, clock
        self._keeper = Keeper(journal, actor, clock=clock)
        self._story: Chronicle
        self._operators: Operators
        self._hold_began: float | None = None
        self._heard: Future[Facts] | None = None
        self._hooked: tuple[int, Phase] | None = None
        self._tries = 0
        self._trying_since: float | None = None

    def start(self) -> Ending:
        """Begin an attempt, or go on with the one that is not over; return when nothing is left to be done by itself.

        Raises:
            Latched: the last attempt failed and is not acknowledged.
            LeaseHeld: another orchestrator is at work.
            NotBegun: the migration is finalized.
            JournalUnavailable: it cannot be reached.
        """
        return self._conduct(begin=True)

    def resume(self) -> Ending:
        """Go on with the attempt that is not over; begin none.

        Raises:
            LeaseHeld, JournalUnavailable: as `start`.
        """
        return self._conduct(begin=False)

    def may_act(self) -> bool:
        """Say whether this conductor holds the lease now: parts that act by themselves ask before they do."""
        return self._keeper.left() > 0

    # The lease around everything.

    def _conduct(self, *, begin: bool) -> Ending:
        self._take(first=True)
        while True:
            try:
                return self._drive(begin)
            except (LeaseLost, JournalUnavailable):
                # whatever was begun is not begun again by itself: the dead man may have ended it meanwhile
                begin = False
            finally:
                self._keeper.stop()
                self._forget()
            self._take(first=False)

    def _forget(self) -> None:
        """Let proxies drop what they were told under the lease that is over: somebody else may lead them since."""
        for proxy in {proxy.name: proxy for ports in self._ports.values() for proxy in ports.proxies}.values():
            getattr(proxy, "forget", _nothing)()

    def _take(self, *, first: bool) -> None:
        rules = self._rules
        until = self._clock() + (rules.wait_for_lease_seconds if first else rules.journal_patience_seconds)
        seen: list[Lease] = []
        while True:
            self._keeper = Keeper(
                self._journal, self._actor, seconds=rules.lease_seconds, every=rules.renew_seconds, clock=self._clock
            )
            try:
                self._keeper.take()
                break
            except LeaseHeld:
                seen += self._other()
                if self._clock() > until or (first and _renewed(seen)):
                    raise
            except JournalUnavailable:
                if first or self._clock() > until:
                    raise
            self._wait(rules.poll_seconds)
        self._keeper.trust(TRUST_SECONDS)
        self._keeper.start()

    def _other(self) -> list[Lease]:
        with suppress(JournalUnavailable):
            return [lease for lease in (self._journal.lease(),) if lease is not None]
        return []

    # From the journal to the next step.

    def _drive(self, begin: bool) -> Ending:
        self._hold_began, self._heard, self._hooked = None, None, None
        self._story = Chronicle(self._journal, self._keeper.epoch, self._actor, self._tell)
        self._operators = Operators(self._journal, self._keeper.epoch, self._story)
        run = self._story.current()
        if run is not None:
            self._recover(run)
        elif begin:
            self._begin()
        while (run := self._story.current()) is not None and run.phase is not Phase.STUCK:
            self._go_on(run)
        self._story.write()
        if run is not None:
            with suppress(LeaseLost, JournalUnavailable):  # what is not answered now is heeded by whoever goes on
                self._operators.dismiss(f"not done, as a person is needed first: {run.reason}")
        return self._ending()

    def _ending(self) -> Ending:
        forward = [run for _, run in sorted(self._story.runs.items()) if run.direction is Direction.FORWARD]
        run = self._story.current() or (forward[-1] if forward else None)
        if run is None:
            return Ending(None)
        return Ending(run.attempt, run.direction, run.phase, run.ended, run.reason)

    def _begin(self) -> None:
        last = self._story.last()
        self._refuse_latched()
        if any("finalize" in run.done for run in self._story.runs.values()):
            raise NotBegun("this migration is finalized", hint="start a new migration")
        self._operators.dismiss()
        facts = {"plan": self._plan, "by": self._actor, "after": last.attempt if last else None}
        self._story.write(Draft((last.attempt if last else 0) + 1, Direction.FORWARD, "begin", Kind.EVENT, facts))

    def _refuse_latched(self) -> None:
        failed = [
            run for run in self._story.runs.values()
            if run.direction is Direction.FORWARD and run.ended in (Event.ABORTED, Event.RETURNED) and run.touched
        ]  # fmt: skip
        if failed and failed[-1].attempt not in self._operators.acknowledged():
            attempt, reason = failed[-1].attempt, failed[-1].reason
            raise Latched(
                f"attempt {attempt} failed: {reason}",
                hint=f"see why, then start with --acknowledge {attempt} and new approvals",
            )

    def _recover(self, run: Run) -> None:
        if run.phase is Phase.STUCK:
            self._story.move(run, Event.RESUMED, "a person started it again")
            run = self._story.of(run)
        found = reconcile(run, look(self._ports[run.direction]))
        again = sorted(found.again)
        facts = {"way": found.way.value, "reason": found.reason, "phase": run.phase.value, "again": again}
        self._story.write(Draft(run.attempt, run.direction, "recovered", Kind.EVENT, facts))
        self._story.repeat(run, found.again)
        if found.way is Way.ABORT:
            self._story.move(run, Event.FAILED, found.reason)
        elif found.way is Way.STOP:
            self._story.move(run, Event.UNCLEAR, found.reason)
        elif found.way is Way.SECURE:
            self._secure(run, found.reason)
        elif found.again & ARMED:
            self._ask_again(run)
        self._tell_audits(self._story.of(run))

    def _tell_audits(self, run: Run) -> None:
        """Tell the audits of the commit again: what they find counts in the guard, and nobody waits for them before."""
        if not run.committed or "enable-reverse" not in run.done:
            return
        deadline = LeasedDeadline(self._clock() + 1, "telling the audits", self._keeper)
        try:
            self._ports[run.direction].replication.tell(deadline)
        except LeaseLost:
            raise
        except Exception:
            return

    def _secure(self, run: Run, reason: str) -> None:
        """Close the old side again, which must not be open, and call a person."""
        deadline = LeasedDeadline(self._clock() + 30, "closing the old side again", self._keeper)
        try:
            facts = dict(self._ports[run.direction].old.close(deadline))
        except LeaseLost:
            raise
        except Exception as error:
            facts = {"failed": told_of(error)}
        self._story.write(Draft(run.attempt, run.direction, "secured", Kind.EVENT, facts))
        self._story.move(self._story.of(run), Event.UNCLEAR, reason)

    def _go_on(self, run: Run) -> None:
        self._keeper.check()
        self._keeper.trust(TRUST_SECONDS)
        if self._operators.heed(run):
            return
        step = run.next_step()
        if step is None:
            self._end(run)
        elif run.aborting:
            self._undo(run)
        elif step.name == "start-dead-man" and self._put_off(run):
            return
        elif self._hooks_agree(run, step.phase):
            if step.name == "watch":
                self._watch(run, step)
            else:
                self._do(run, step)

    def _end(self, run: Run) -> None:
        self._hold_began = None
        if run.direction is Direction.FORWARD:
            self._story.move(run, Event.ABORTED, run.reason)
        elif run.aborting:
            self._story.move(run, Event.STAYED, run.reason)
        else:
            of = self._story.runs[int(run.opening["of"])]
            self._story.move(run, Event.RETURNED, run.opening.get("reason"), of=of)

    # One step.

    def _do(self, run: Run, step: Step) -> None:
        self._prepare(run, step)
        scene = self._scene(run, step)
        self._keeper.trust(scene.deadline.at - self._clock() + self._rules.abort_reserve_seconds)
        self._story.write(Draft(run.attempt, run.direction, step.name, Kind.INTENT, {"nonce": scene.nonce}))
        run = self._story.of(run)
        self._at(Moment.INTENT, step)
        began = self._clock()
        try:
            facts = self._performed(step, replace(scene, run=run))
            self._keeper.check()
        except (LeaseLost, JournalUnavailable):
            raise
        except Exception as error:
            self._failed(run, step, told_of(error))
            return
        self._at(Moment.ACTED, step)
        facts = {**facts, "took_ms": round((self._clock() - began) * 1000, 1)}
        if step.name == "win-abort" and facts.get("result") == Result.COMMIT:
            self._too_late(run, facts)
        elif problem := shortcoming(step.name, facts, run):
            self._failed(run, step, f"NotProven: {problem}")
        else:
            self._succeeded(run, step, facts)

    def _prepare(self, run: Run, step: Step) -> None:
        if step.holds_writes:
            self._keeper.ensure(self._rules.seconds_of(step) + self._rules.abort_reserve_seconds)
        if step.phase is Phase.VERIFYING:
            self._tell_audits(run)
        if step.name == "hold-proxies":
            self._hold_began = self._clock()

    def _scene(self, run: Run, step: Step) -> Scene:
        at = self._clock() + self._rules.seconds_of(step)
        if step.holds_writes and self._hold_began is not None and not run.committed and not run.aborting:
            at = min(at, self._hold_began + self._rules.hold_budget_ms / 1000)
        return Scene(
            run=run,
            ports=self._ports[run.direction],
            forward=self._ports[Direction.FORWARD],
            journal=self._journal,
            epoch=self._keeper.epoch,
            actor=self._actor,
            plan=self._plan,
            plan_of=self._plan_of,
            rules=self._rules,
            nonce=secrets.token_hex(16),
            deadline=LeasedDeadline(at, step.name, self._keeper),
            wait=self._wait,
            heard=self._heard,
        )

    def _performed(self, step: Step, scene: Scene) -> Facts:
        if step.name == "commit":
            return self._commit(scene)
        if step.name == "win-abort":
            return self._decide(scene, Result.ABORT)
        return effects.perform(step, scene)

    def _commit(self, scene: Scene) -> Facts:
        if missing := missing_proof(scene.run):
            raise NotProven("; ".join(missing))
        scene.deadline.left()
        return self._decide(scene, Result.COMMIT)

    def _decide(self, scene: Scene, result: Result) -> Facts:
        run = scene.run
        outcome = self._journal.decide(scene.epoch, self._actor, run.attempt, run.direction, result)
        return {"result": outcome.result.value, "by": outcome.actor, "epoch": outcome.epoch}

    def _succeeded(self, run: Run, step: Step, facts: Facts) -> None:
        self._tries, self._trying_since = 0, None
        if step.name == "close-old":
            self._heard = self._ask_verdict(self._scene(run, step))
        if step.name in ("release-proxies", "release-after-abort") and self._hold_began is not None:
            facts = {**facts, "held_ms": round((self._clock() - self._hold_began) * 1000, 1)}
            self._hold_began = None
        self._story.owe(Draft(run.attempt, run.direction, step.name, Kind.DONE, facts))

    def _ask_verdict(self, scene: Scene) -> "Future[Facts]":
        """Ask in the background for what is decided from now on, while the steps of the drain run."""
        heard: Future[Facts] = Future()
        scene = replace(scene, wait=time.sleep)

        def ask() -> None:
            try:
                heard.set_result(effects.fresh_verdict(scene))
            except Exception as error:
                heard.set_exception(error)

        threading.Thread(target=ask, name="verdict", daemon=True).start()
        return heard

    def _too_late(self, run: Run, facts: Facts) -> None:
        """Follow the commit that was won before this abort."""
        event = Draft(run.attempt, run.direction, Event.COMMITTED, Kind.EVENT, {"reason": "the commit had been won"})
        self._story.write(event, Draft(run.attempt, run.direction, "commit", Kind.DONE, facts))

    def _failed(self, run: Run, step: Step, reason: str) -> None:
        self._story.write(Draft(run.attempt, run.direction, step.name, Kind.FAILED, {"reason": reason}))
        run = self._story.of(run)
        if run.aborting:
            return
        reason = f"{step.name}: {reason}"
        if run.committed:
            self._insist(run, reason)
        elif run.phase in UNTOUCHED or run.phase is Phase.ROLLING_BACK:
            self._story.move(run, Event.REFUSED, reason)
        else:
            self._story.move(run, Event.FAILED, reason)

    def _insist(self, run: Run, reason: str) -> None:
        """Wait before the step is repeated, or give up on it and call a person."""
        if self._trying_since is None:
            self._trying_since = self._clock()
        if self._clock() - self._trying_since >= self._rules.insist_seconds:
            self._tries, self._trying_since = 0, None
            self._story.move(run, Event.EXHAUSTED, reason)
            return
        self._wait(BACKOFF_SECONDS[min(self._tries, len(BACKOFF_SECONDS) - 1)])
        self._tries += 1

    def _undo(self, run: Run) -> None:
        """Try each step of the abort that is not done; then wait, and try those again that failed."""
        number = run.attempt
        for step in run.steps():
            run = self._story.runs[number]
            if not run.aborting or (step.name != "win-abort" and "win-abort" not in run.done):
                return
            if step.name not in run.done and not self._must_wait(run, step):
                self._do(run, step)
        run = self._story.runs[number]
        if (left := run.next_step()) is not None:
            self._insist(run, f"{left.name} could not be done")

    def _must_wait(self, run: Run, step: Step) -> bool:
        opened = "open-old" in run.done or "close-old" not in run.began
        return step.name == "release-after-abort" and not opened and self._tries < OPEN_FIRST_TRIES

    # Operators and hooks.

    def _put_off(self, run: Run) -> bool:
        """Wait while an operator postpones it, then arm it again; say whether there was anything to wait for."""
        if run.direction is Direction.BACK:
            return False
        if self._operators.postponed():
            self._stay_postponed(run)
            return True
        if run.phase is Phase.HELD:
            self._story.move(run, Event.UNPOSTPONED, None)
            self._story.repeat(run, ARMED)
            self._ask_again(self._story.of(run))
            return True
        return False

    def _ask_again(self, run: Run) -> None:
        """Ask every part anew, before what was armed is armed again: nothing spoke against it, long ago."""
        scene = self._scene(run, ALL_STEPS["check-all"])
        self._keeper.trust(scene.deadline.at - self._clock() + self._rules.abort_reserve_seconds)
        try:
            facts = effects.check_all_again(scene)
        except LeaseLost:
            raise
        except Exception as error:
            self._story.move(run, Event.FAILED, f"check-all, asked again: {told_of(error)}")
        else:
            self._story.write(Draft(run.attempt, run.direction, "asked-again", Kind.EVENT, facts))

    def _stay_postponed(self, run: Run) -> None:
        if run.phase is not Phase.HELD:
            self._story.move(run, Event.POSTPONED, "an operator postpones it")
        self._story.write()
        self._wait(self._rules.poll_seconds)

    def _hooks_agree(self, run: Run, phase: Phase) -> bool:
        """Call the hooks of a phase that is about to begin; say whether it may."""
        if self._hooked == (run.attempt, phase):
            return True
        facts = {"attempt": run.attempt, "direction": run.direction.value, "migration": self._journal.migration}
        began = self._clock()
        deadline = LeasedDeadline(began + self._hook_seconds(run), f"hooks of {phase}", self._keeper)
        try:
            said = self._ports[run.direction].hooks.call(phase.value, facts, deadline)
        except LeaseLost:
            raise
        except Exception as error:
            return self._hook_refuses(run, phase, told_of(error))
        self._hooked, self._tries, self._trying_since = (run.attempt, phase), 0, None
        if said:
            took = {"phase": phase.value, "took_ms": round((self._clock() - began) * 1000, 1)}
            self._story.owe(Draft(run.attempt, run.direction, "hooks", Kind.EVENT, {**took, **said}))
        return True

    def _hook_seconds(self, run: Run) -> float:
        """Give how long the hooks of a phase may take: while writes are held, no longer than these may be."""
        if not run.held:
            return HOOK_SECONDS
        if run.committed or self._hold_began is None:
            return COMMITTED_HOOK_SECONDS
        return min(HOOK_SECONDS, self._hold_began + self._rules.hold_budget_ms / 1000 - self._clock())

    def _hook_refuses(self, run: Run, phase: Phase, reason: str) -> bool:
        facts = {"phase": phase.value, "reason": reason}
        refused = Draft(run.attempt, run.direction, "hook-refused", Kind.EVENT, facts)
        if self._trying_since is None:
            self._story.write(refused)  # once, however often it is asked
        if phase not in _QUIET_HOOKS and run.committed:
            self._hooked = (run.attempt, phase)
            return True  # only forward; who watches is told
        since = self._trying_since = self._clock() if self._trying_since is None else self._trying_since
        patient = phase in _QUIET_HOOKS and self._clock() - since < self._rules.hook_patience_seconds
        if patient or phase is Phase.FINALIZED:
            self._wait(self._rules.poll_seconds)
            return False
        self._trying_since = None
        refuses = run.phase in UNTOUCHED or run.phase is Phase.ROLLING_BACK
        self._story.move(run, Event.REFUSED if refuses else Event.FAILED, f"the hook of {phase}: {reason}")
        return False

    # The guard.

    def _watch(self, run: Run, step: Step) -> None:
        """Watch until an operator closes the door, or something leads back."""
        self._story.write(Draft(run.attempt, run.direction, step.name, Kind.INTENT))
        run = self._story.of(run)
        self._at(Moment.INTENT, step)
        guard = Guard(self._ports[Direction.FORWARD], self._rules)
        since = self._clock() - self._watched_before(run)
        told_before, noted = dict[str, Any](), 0.0
        while not self._operators.heed(run):
            self._keeper.check()
            self._keeper.trust(TRUST_SECONDS)
            seen = guard.look(LeasedDeadline(self._clock() + HOOK_SECONDS, step.name, self._keeper))
            watched = self._clock() - since
            if seen.notes != told_before or watched - noted >= NOTE_SECONDS:
                told_before, noted = dict(seen.notes), watched
                facts = {**seen.notes, "seconds": round(watched, 1)}
                self._story.write(Draft(run.attempt, run.direction, "watched", Kind.EVENT, facts))
            if seen.unclear:
                self._secure(run, seen.unclear)
                return
            if seen.worse and not self._story.rolled_back(run):  # what failed is not tried again without a person
                self._story.roll_back(run, seen.worse)
                return
            if watched >= self._rules.guard_seconds and self._closes_door(run, step, seen.notes):
                return
            self._wait(self._rules.watch_seconds)

    def _watched_before(self, run: Run) -> float:
        """Give for how long it was watched, as whoever did wrote down; time in which nobody did counts for nothing."""
        told = (
            entry.facts.get("seconds", 0.0) for entry in self._journal.entries()
            if (entry.attempt, entry.step) == (run.attempt, "watched")
        )  # fmt: skip
        return max(told, default=0.0)

    def _closes_door(self, run: Run, step: Step, notes: Mapping[str, Any]) -> bool:
        asked = next((one for one in self._operators.open_requests() if one.wish is Wish.FINALIZE), None)
        if asked is None:
            return False
        self._at(Moment.ACTED, step)
        facts = {"reason": asked.reason, "by": asked.actor}
        self._story.write(
            Draft(run.attempt, run.direction, step.name, Kind.DONE, notes),
            Draft(run.attempt, run.direction, Event.FINALIZE, Kind.EVENT, facts),
        )
        self._operators.answer(asked, "finalizing")
        return True


def _renewed(seen: list[Lease]) -> bool:
    """Say whether one conductor was seen to renew its lease: it lives, and is at work; a dead man lets go of it."""
    return any(
        earlier.epoch == later.epoch and later.left_seconds > earlier.left_seconds and conducted(later)
        for earlier, later in pairwise(seen)
    )


def _nothing() -> None:
    """Forget nothing: most proxies remember nothing."""
