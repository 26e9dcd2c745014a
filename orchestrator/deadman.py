"""The dead man: watch the lease of an attempt, and once it is over open the old side, if ABORT can be won.

Rules of this file:
1. It acts as any orchestrator does: under a lease of its own, by an epoch of its own, which ends the one before it.
2. It opens nothing before `decide` has told it that the attempt is aborted; after a commit it never opens anything.
3. While the journal cannot be asked, everything stays as it is: one writer outranks none. It says so again and again.
4. LOGIN comes before the proxies let go.
5. What else an abort puts back is left to whoever carries the attempt on; until then it holds nothing up.
6. However often it tries, the journal does not grow: a step is tried again under its intent, silently until it is done.
"""

import time
from collections.abc import Callable
from enum import Enum, StrEnum, auto

from comparators.errors import told_of
from orchestrator.chronicle import Chronicle
from orchestrator.cutover import Event, Phase, Run, Step, follow, opened
from orchestrator.evidence import shortcoming
from orchestrator.lease import Keeper, LeasedDeadline
from orchestrator.ports import Facts, Fence, Proxy
from orchestrator.proxies import ProxyGroup
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
)
from orchestrator.rules import Rules

ACTOR = "dead man"
"""How the name of every dead man begins, as it stands in the journal and in the lease."""
POLL_SECONDS = 0.25
SLOW_SECONDS = 5.0
"""Between two tries where the old side cannot be opened."""
RARE_SECONDS = 60.0
"""The same after so many tries that nobody expects it to be back at once."""
MANY_TRIES = 120
_DOUBLINGS = 5
"""Of the time between two tries, until it is slow."""

_OPENING = ("win-abort", "open-old", "route-back", "release-after-abort")
_NEEDED = frozenset({"open-old", "release-after-abort"})
"""Steps without which applications wait; it stays until these are done."""


class Duty(Enum):
    """What a dead man has to do, as things are."""

    WATCH = auto()
    ACT = auto()
    REST = auto()
    """The attempt is over or committed: there is nothing to do any more."""


class End(StrEnum):
    """Why it went."""

    COMMITTED = "committed"
    """The attempt can only go forward."""
    OVER = "over"
    """The attempt came to its end without it."""
    OPENED = "opened"
    """It won ABORT, opened the old side and let the proxies go."""


def duty(run: Run | None, lease: Lease | None) -> Duty:
    """Decide by what the journal tells of the attempt, and by who may act now; not known is never a ground to act."""
    if run is None or lease is None:
        return Duty.WATCH
    due = _due(run)
    return due if due is Duty.REST or lease.over else Duty.WATCH


def _due(run: Run) -> Duty:
    """Decide by the attempt alone, where nobody else may act."""
    if run.over or run.committed:
        return Duty.REST
    if run.phase is Phase.STUCK and not run.aborting:
        return Duty.WATCH  # a person was called before anything was decided, and nothing may be touched
    return Duty.ACT


class DeadMan:
    """Stands by one attempt in one direction."""

    def __init__(
        self,
        journal: Journal,
        old: Fence,
        proxies: list[Proxy],
        attempt: int,
        direction: Direction,
        *,
        actor: str,
        rules: Rules | None = None,
        say: Callable[[str], None] = lambda words: None,
        tell: Callable[[Entry], None] = lambda entry: None,
        wait: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take everything; nothing is opened or asked yet.

        Args:
            old: the fence of the direction's old side.
            actor: who is written into the journal; it must be this process's alone.
            say: hears why nothing can be done.
            tell: gets each entry that it wrote.
        """
        self._journal, self._old, self._group = journal, old, ProxyGroup(proxies)
        self._attempt, self._direction, self._actor = attempt, direction, actor
        self._rules, self._say, self._tell = rules or Rules(), say, tell
        self._wait, self._clock = wait, clock
        self._runs: dict[int, Run] = {}
        self._read_to = 0
        self._tries = 0
        self._begun: set[str] = set()
        """Steps whose intent this process has written."""
        self._blamed: set[str] = set()
        """Steps whose failure it has written."""
        self._keeper: Keeper | None = None

    def may_act(self) -> bool:
        """Say whether it holds the lease and the attempt is decided to be aborted."""
        return self._keeper is not None and self._keeper.left() > 0

    def stand(self, beat: Callable[[], None] = lambda: None) -> End:
        """Watch, and act when it must; return when there is nothing left to do.

        Args:
            beat: is called at every look, so that others see that it lives.
        """
        while True:
            try:
                beat()
                if (end := self.look()) is not None:
                    return end
            except (LeaseHeld, LeaseLost):
                self._say("somebody else has taken the lease")
            except JournalUnavailable as error:
                self._say(f"everything stays as it is, fenced or not, until the journal answers: {error}")
            except Exception as error:  # whatever it was: who stands by must not fall
                self._tries += 1
                self._say(told_of(error))
            self._wait(pause_after(self._tries))

    def look(self) -> End | None:
        """Look once, and act if it must; give why it may go.

        Raises:
            JournalUnavailable: nothing is known.
            LeaseHeld, LeaseLost: somebody else acts.
        """
        lease = self._journal.lease()
        self._read()
        run = self._runs.get(self._attempt)
        match duty(run, lease):
            case Duty.WATCH:
                self._tries = 0
                return None
            case Duty.ACT:
                return self._act()
            case Duty.REST:
                return _why(run)

    def _read(self) -> None:
        """Follow what was written since the last look."""
        for entry in self._journal.entries(self._read_to):
            self._runs[entry.attempt] = follow(self._runs.get(entry.attempt) or opened(entry), entry)
            self._read_to = entry.seq

    def _act(self) -> End | None:
        """Take the lease, win ABORT or find out that it cannot be won, and open."""
        keeper = Keeper(
            self._journal,
            self._actor,
            seconds=self._rules.lease_seconds,
            every=self._rules.renew_seconds,
            clock=self._clock,
        )
        with keeper:
            self._read()  # under the lease: nobody else writes any more
            story = Chronicle(self._journal, keeper.epoch, self._actor, self._tell, self._runs)
            run = story.runs[self._attempt]
            if (due := _due(run)) is not Duty.ACT:
                return _why(run) if due is Duty.REST else None
            outcome = self._journal.decide(keeper.epoch, self._actor, self._attempt, self._direction, Result.ABORT)
            if outcome.result is Result.COMMIT:
                return End.COMMITTED
            self._keeper = keeper
            try:
                return self._open(story, keeper)
            finally:
                self._keeper = None

    def _open(self, story: Chronicle, keeper: Keeper) -> End | None:
        before = story.runs[self._attempt]
        story.write(*self._won(before))
        for step in run_steps(self._now(story)):
            if step.name == "release-after-abort" and _missing(self._now(story), "open-old"):
                break
            self._do(step, story, keeper)
        end = None if any(_missing(self._now(story), name) for name in _NEEDED) else End.OPENED
        if before.phase is Phase.STUCK:
            self._call_again(before, story, end)
        self._tries = 0 if end else self._tries + 1
        return end

    def _call_again(self, before: Run, story: Chronicle, end: End | None) -> None:
        """Call the person again who was waited for; where nothing has changed, it stands written."""
        now = self._now(story)
        if now.phase is Phase.STUCK and (end is None or not run_steps(before)):
            return
        reason = before.reason if end is None else "the dead man opened the old side; what else was begun is left"
        story.write(*self._resumed(now), self._draft(Event.EXHAUSTED, Kind.EVENT, {"reason": reason}))

    def _won(self, run: Run) -> list[Draft]:
        """Word what `decide` has told, unless that is written already."""
        drafts = self._resumed(run) if "win-abort" not in run.done else []
        if not run.aborting:
            reason = "the orchestrator was gone: its lease was over"
            drafts.append(self._draft(Event.FAILED, Kind.EVENT, {"reason": reason}))
        if "win-abort" not in run.done:
            drafts.append(self._draft("win-abort", Kind.INTENT, {}))
            drafts.append(self._draft("win-abort", Kind.DONE, {"result": Result.ABORT.value, "by": self._actor}))
        return drafts

    def _resumed(self, run: Run) -> list[Draft]:
        """Word that it goes on where it was given up: no step begins where a person is waited for."""
        if run.phase is not Phase.STUCK:
            return []
        return [self._draft(Event.RESUMED, Kind.EVENT, {"reason": "the dead man goes on with the abort"})]

    def _do(self, step: Step, story: Chronicle, keeper: Keeper) -> None:
        seconds = self._rules.seconds_of(step)
        keeper.ensure(seconds)
        if step.name not in self._begun:
            story.write(*self._resumed(self._now(story)), self._draft(step.name, Kind.INTENT, {}))
            self._begun.add(step.name)
        began = self._clock()
        try:
            facts = self._performed(step, LeasedDeadline(began + seconds, f"dead man: {step.name}", keeper))
            keeper.check()
        except (LeaseLost, JournalUnavailable):
            raise
        except Exception as error:
            self._failed(step, told_of(error), story)
            return
        facts = {**facts, "took_ms": round((self._clock() - began) * 1000, 1)}
        if problem := shortcoming(step.name, facts, self._now(story)):
            self._failed(step, f"not proven: {problem}", story)
        else:
            story.write(self._draft(step.name, Kind.DONE, facts))

    def _performed(self, step: Step, deadline: LeasedDeadline) -> Facts:
        if step.name == "open-old":
            return self._old.open(deadline)
        if step.name == "release-after-abort":
            return self._group.release(deadline)
        old = self._direction.old
        if all(seen.route is old for seen in self._group.observe().values()):
            return {"route": old.value, "already": True}
        return self._group.route(old, deadline)

    def _failed(self, step: Step, reason: str, story: Chronicle) -> None:
        self._say(f"{step.name}: {reason}")
        if step.name not in self._blamed:
            story.write(self._draft(step.name, Kind.FAILED, {"reason": reason}))
            self._blamed.add(step.name)

    def _draft(self, step: str, kind: Kind, facts: Facts) -> Draft:
        return Draft(self._attempt, self._direction, step, kind, {**facts, "dead_man": True})

    def _now(self, story: Chronicle) -> Run:
        return story.runs[self._attempt]


def conducted(lease: Lease | None) -> bool:
    """Say whether somebody who heeds wishes holds a lease: a dead man opens the old side, and asks nobody."""
    return lease is not None and not lease.over and not lease.holder.startswith(ACTOR)


def pause_after(tries: int) -> float:
    """Give the seconds until the next look, after so many tries in a row that failed."""
    if tries > MANY_TRIES:
        return RARE_SECONDS
    return min(POLL_SECONDS * 2.0 ** min(tries, _DOUBLINGS), SLOW_SECONDS)


def _why(run: Run | None) -> End:
    return End.COMMITTED if run is not None and run.committed else End.OVER


def run_steps(run: Run) -> list[Step]:
    """Give the steps of the abort that are the dead man's and not done."""
    return [step for step in run.steps() if step.name in _OPENING and step.name not in run.done]


def _missing(run: Run, name: str) -> bool:
    """Say whether a step of the abort is needed and not done."""
    return any(step.name == name for step in run_steps(run))
