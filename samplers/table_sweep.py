"""Compare one table on both sides, piece by piece, while it is being written to.

Both servers digest the same segments at the same time: the source in a snapshot that holds everything through a known
position, the target once it has applied what the source had written before (audit-model 4). Segments whose digests
agree are done; of the others rows are listed by key and hash, and each row that differs is looked at until it is equal,
different, or known to be hot.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from comparators.digest_sql import key_after, segments_digest, whole_digest
from comparators.segments import Key, Pace, Plan, Range, bound_arrays
from comparators.server_errors import Locked, StatementCancelled
from comparators.tables import Mode, TablePair
from samplers.anchors import Anchors, flush_position
from samplers.passage import Passing
from samplers.question import Question, wait_any
from samplers.rows import Session, Text, fetch
from samplers.table_differences import LATE, Drill, Drilled, Place, RowDifference
from samplers.table_plan import SweepOptions, make_plan

__all__ = ["RowDifference", "Step", "SweepOptions", "TableSweep", "make_plan"]

HELD_PLACES = 500
"""Segments that differ at first sight and wait for their second look; more of them are looked at at once."""
HELD_SECONDS = 3.0
"""How long they wait at most, where positions tell at once what is late."""
LOOKED_PLACES = 50
LOOKED_KEYS = 50_000
"""Rows that are looked at together, give or take the segments listed at a time: where all differ, not all are held."""
STILL_OPEN = "a transaction that was writing when the sweep began is still open on the source"
SPEAK_SECONDS = 1.0
"""The caller hears from us at least so often, though no segment may be finished."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is known of segments [first, past_last), each of which is told once, in order."""

    first: int
    past_last: int
    rows: int = 0
    """On the source."""
    verified: int = 0
    different: int = 0
    hot: int = 0
    unverified: int = 0
    through: int | None = None
    """Source position through which the verified rows are proved; `None` where there are no positions."""
    started_at: float = 0.0
    seconds: float = 0.0
    reason: str | None = None
    """Why rows are unverified, or what is waited for."""
    differences: tuple[RowDifference, ...] = ()


@dataclass(slots=True)
class _Run:
    """One chunk on its way through both servers."""

    first: int
    past_last: int
    position: int
    through: int | None
    started_at: float
    asked: float
    source: list[tuple[Text, ...]] | None = None
    target: list[tuple[Text, ...]] | None = None
    late: bool = False

    @property
    def done(self) -> bool:
        """Say whether nothing more comes; a chunk that is late still has its rows counted on the source."""
        return self.source is not None and (self.late or self.target is not None)


@dataclass(slots=True)
class _Held:
    """A chunk with rows that differ at first sight, or one that stands behind such a chunk."""

    started: Step
    equal_rows: int = 0
    found: Drilled = field(default_factory=Drilled)
    places: list[Place] = field(default_factory=list)


class TableSweep:
    """One sweep over one table; call `step` until it gives `None`."""

    def __init__(
        self, source: Session, target: Session, pair: TablePair, plan: Plan, passage: Passing,
        options: SweepOptions, *, start: int = 0, anchors: Anchors | None = None,
    ) -> None:  # fmt: skip
        """Begin a sweep, or go on with one.

        Args:
            source, target: sessions that nothing else uses meanwhile, the passage's are others.
            start: first segment to compare.
            anchors: kept from table to table, so that a long transaction does not hide an older position.
        Raises:
            SideUnavailable: a connection is lost.
        """
        self._source, self._target, self._pair, self._plan = source, target, pair, plan
        self._passage, self._options = passage, options
        self._anchors = anchors or Anchors()
        self._pace = Pace(options.chunk_seconds)
        self._runs: deque[_Run] = deque()
        self._held: list[_Held] = []
        self._held_since = 0.0
        self._ready: deque[Step] = deque()
        self._asking: dict[str, tuple[_Run, Question]] = {}
        self._next = self._at = start
        self._whole_segments = list(range(plan.segments))
        """Which segment of the plan each of ours is of: one that takes too long as a whole is cut."""
        self._partial: Step | None = None
        self._through: int | None = None
        self._drop_anchor()
        self._drill = Drill(source, target, pair, passage, options.seed,
                            options.wait_seconds, options.settle_seconds)  # fmt: skip
        self.position = start
        for session in (source, target):
            # an index serves every range; without statistics the planner may read the whole table for each
            fetch(session, f"SET enable_seqscan = {'off' if plan.bounds else 'on'}")

    def step(self) -> Step | None:
        """Go on until some segments are finished, or for about a second.

        Returns:
            What was found out; without segments when only time has passed; `None` when the table is done.
        Raises:
            SideUnavailable, StatementCancelled, ...: what was not told counts for nothing; begin again at `position`.
        """
        try:
            return self._whole() if self._pair.mode is Mode.BUCKETS else self._step()
        except BaseException:
            for _, question in self._asking.values():
                question.abandon()
            raise

    def _step(self) -> Step | None:
        if self._at >= self._plan.segments:
            return None
        speak_at = time.monotonic() + SPEAK_SECONDS
        while not self._ready:
            try:
                self._go_on()
            except Locked:
                raise
            except StatementCancelled:
                self._slower()
                continue
            if not self._ready and time.monotonic() >= speak_at:
                return Step(self.position, self.position, reason=self._waiting_for())
        return self._told(self._ready.popleft())

    def _go_on(self) -> None:
        """Do the next thing: take an answer, ask, look again at rows, or rest."""
        self._take()
        self._ask()  # before anything else is done: a server that waits for us is lost time
        if self._runs and self._runs[0].done:
            self._hold(self._finish(self._runs.popleft()))
        elif self._runs:
            self._rest()
        if self._held and self._due():
            self._look_again()

    # --- asking both servers ------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Send the next chunk to the source, and to the target the first one whose position it has applied."""
        if "source" not in self._asking and self._next < self._plan.segments and len(self._runs) < self._options.depth:
            self._ask_source()
        waiting = next((run for run in self._runs if run.target is None and not run.late), None)
        if waiting is None or "target" in self._asking:
            return
        if self._passage.passed(waiting.position):
            self._asking["target"] = (waiting, self._question(self._target, waiting))
        elif time.monotonic() - waiting.asked > self._options.wait_seconds:
            waiting.late = True

    def _ask_source(self) -> None:
        position = flush_position(self._source) if self._passage.anchored else 0
        first = self._next
        past_last = min(first + self._pace.segments, self._plan.segments)
        run = _Run(first, past_last, position, self._through, time.time(), time.monotonic())
        self._runs.append(run)
        self._next = past_last
        self._asking["source"] = (run, self._question(self._source, run))
        self._drop_anchor()  # while the source digests: the next chunk need not wait for it

    def _drop_anchor(self) -> None:
        if self._passage.anchored and self._passage.asks is not None:
            self._through = self._anchors.drop(self._passage.asks)

    def _question(self, session: Session, run: _Run) -> Question:
        table = self._pair.source if session is self._source else self._pair.target
        ranges = self._plan.ranges(run.first, run.past_last)
        inner = [one for one in ranges if one.ends == (True, True)]
        open_ends = [text for one in ranges if one.ends != (True, True) for text in one.parameters]
        ends = (run.first > 0, run.past_last < self._plan.segments)
        if not self._plan.bounds:
            return Question(session, whole_digest(table, self._options.seed, self._pair.sha))
        statement = segments_digest(table, bool(inner), ends, self._options.seed, self._pair.sha)
        return Question(session, statement, [*(bound_arrays(inner) if inner else ()), *open_ends])

    def _take(self) -> None:
        for side, (run, question) in list(self._asking.items()):
            if question.ready():
                self._keep(side, run, question)

    def _keep(self, side: str, run: _Run, question: Question) -> None:
        del self._asking[side]
        answer = sorted(question.answer(), key=lambda row: int(row[0] or 0))
        if side == "source":
            run.source = answer
            self._pace.took(run.past_last - run.first, time.monotonic() - question.asked_at)
        else:
            run.target = answer

    def _rest(self) -> None:
        waits = any(run.target is None for run in self._runs) and "target" not in self._asking
        questions = [question for _, question in self._asking.values()]
        if questions:
            wait_any(questions, 0.002 if waits else SPEAK_SECONDS)
        else:
            time.sleep(0.002)

    def _slower(self) -> None:
        """Throw away what is on its way and take less at a time; a segment that is slow by itself is cut.

        Raises:
            StatementCancelled: it cannot be cut.
        """
        self._drain(keep=False)
        self._runs.clear()
        self._held.clear()
        self._next = self._at
        if self._pace.segments > 1:
            self._pace.too_slow()
        else:
            self._cut(self._at)

    def _cut(self, number: int) -> None:
        found: list[Key] = []
        rest = self._plan.range(number)
        while row := self._key_after(rest):
            found.append(row[0])
            rest = Range(row[0], rest.high)
        if not found:
            raise StatementCancelled("a piece of the table takes longer than a statement may, however small it is cut")
        self._plan = Plan((*self._plan.bounds[:number], *found, *self._plan.bounds[number:]))
        self._whole_segments[number:number] = [self._whole_segments[number]] * len(found)

    def _key_after(self, rest: Range) -> list[Key]:
        """Find where to cut: a full piece on, and much less when pieces were too slow as well."""
        rows = max(self._options.segment_rows, 1)
        if self._whole_segments.count(self._whole_segments[self._at]) > 1:
            rows = max(rows // 16, 1)
        return fetch(self._source, key_after(self._pair.source, rest.ends, rows), rest.parameters)

    def _drain(self, keep: bool = True) -> None:
        """Wait for the answers that are on their way: what follows needs both sessions."""
        for side, (run, question) in list(self._asking.items()):
            if keep:
                self._keep(side, run, question)
                continue
            del self._asking[side]
            try:
                question.answer()
            except StatementCancelled:
                continue

    # --- what the answers say -----------------------------------------------------------------------------------

    def _finish(self, run: _Run) -> _Held:
        started = Step(run.first, run.past_last, started_at=run.started_at, through=run.through)
        rows = sum(int(row[1] or 0) for row in run.source or ())
        held = _Held(started)
        if run.source is None or run.target is None:
            held.found.leave(rows, LATE)
        elif self._passage.anchored and run.through is None:
            held.found.leave(rows, STILL_OPEN)
        else:
            unequal = [n for n, (ours, theirs) in enumerate(zip(run.source, run.target, strict=True)) if ours != theirs]
            held.equal_rows = rows - sum(int(run.source[n][1] or 0) for n in unequal)
            ranges = self._plan.ranges(run.first, run.past_last)
            counts = [max(int(one[1] or 0) for one in both) for both in zip(run.source, run.target, strict=True)]
            held.places = [Place(ranges[n], counts[n]) for n in unequal]
        return held

    def _hold(self, held: _Held) -> None:
        """Tell it at once, unless rows of it or of a chunk before it are to be looked at again."""
        if not self._held and not held.places:
            self._ready.append(_summed(held))
            return
        if not self._held:
            self._held_since = time.monotonic()
        self._held.append(held)

    def _due(self) -> bool:
        waited = self._passage.anchored and time.monotonic() - self._held_since > HELD_SECONDS
        last = not self._runs and self._next >= self._plan.segments
        return last or waited or sum(len(held.places) for held in self._held) > HELD_PLACES

    def _look_again(self) -> None:
        self._drain()
        waiting: list[tuple[_Held, list[Key]]] = []
        for held in self._held:
            for first in range(0, len(held.places), LOOKED_PLACES):
                places = held.places[first : first + LOOKED_PLACES]
                waiting.append((held, self._drill.suspects(places, held.found)))
                if sum(len(keys) for _, keys in waiting) > LOOKED_KEYS:
                    self._settle(waiting)
                    waiting = []
        self._settle(waiting)
        self._ready += [_summed(held) for held in self._held]
        self._held.clear()

    def _settle(self, waiting: Sequence[tuple[_Held, list[Key]]]) -> None:
        settled = self._drill.settle(key for _, keys in waiting for key in keys)
        for held, keys in waiting:
            for key in keys:
                held.found.count(settled[key])

    def _told(self, step: Step) -> Step:
        """Speak of the plan's own segments; of one that was cut only when all its pieces are done."""
        self._at = step.past_last
        whole = step if self._partial is None else _joined(self._partial, step)
        cut = self._at < self._plan.segments and self._whole_segments[self._at] == self._whole_segments[self._at - 1]
        self._partial = whole if cut else None
        if cut:
            return Step(self.position, self.position)
        first, self.position = self.position, self._position_at(self._at)
        return replace(whole, first=first, past_last=self.position, seconds=time.time() - whole.started_at)

    def _position_at(self, number: int) -> int:
        return self._whole_segments[number] if number < len(self._whole_segments) else self._whole_segments[-1] + 1

    def _waiting_for(self) -> str | None:
        head = self._runs[0] if self._runs else None
        if head is None or head.target is not None or "target" in self._asking:
            return None
        return "waits for the target to apply what the source has written"

    # --- tables without ranges ----------------------------------------------------------------------------------

    def _whole(self) -> Step | None:
        if self.position:
            return None
        started_at = time.time()
        held = _Held(Step(0, 1, started_at=started_at, through=self._through))
        held.equal_rows = self._drill.buckets(max(self._pair.rows, 0), held.found)
        step = _summed(held)
        if self._passage.anchored and self._through is None:
            step = replace(step, verified=0, unverified=max(step.unverified + step.verified, 1), reason=STILL_OPEN)
        return self._told(step)


def _summed(held: _Held) -> Step:
    """Add what was drilled to what was equal at once."""
    found = held.found
    rows = held.equal_rows + found.rows
    gone = found.different_here + found.hot + found.unverified
    return replace(
        held.started, rows=rows, verified=max(rows - gone, 0), different=found.different, hot=found.hot,
        unverified=found.unverified, reason=found.reason, differences=found.told,
    )  # fmt: skip


def _joined(first: Step, second: Step) -> Step:
    """Add up two steps over neighbouring pieces."""
    known = first.through is not None and second.through is not None
    sums = {
        name: getattr(first, name) + getattr(second, name)
        for name in ("rows", "verified", "different", "hot", "unverified", "differences")
    }
    return replace(
        first, past_last=second.past_last, reason=second.reason or first.reason,
        through=min(first.through or 0, second.through or 0) if known else None, **sums,
    )  # fmt: skip
