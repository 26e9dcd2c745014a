"""Pair the changes of both sides, transaction by transaction, in one lane pair (a subscription in a partition).

Rules of this file.
1. A transaction is named by the source's commit end position, which both sides show. It is resolved once it was seen
   whole on both sides, or once one side has passed its position without it.
2. `resolved` is the smaller of both watermarks, after everything at or below it was judged. All durable state speaks of
   it: whatever is at or below is done for good, whatever is above comes again after a restart, from both sides.
3. What cannot be known (a hole in a lane) moves the floor above it and is reported as a gap: never as equal, never as
   missing.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xxhash

from comparators.batches import Batch, Tallies
from comparators.counted import Counted
from comparators.frames import ENDED, FORCED, FOREIGN, OVERSIZE, Array, Cut, Frame
from comparators.lanes import Lane, Open, first_origin, holds, new_from, places_of, sums
from comparators.positions import Side
from comparators.sampling import share_of, threshold_of
from comparators.suspects import (
    Piece,
    Suspect,
    Transaction,
    compare_transactions,
    foreign_writes,
    mixed,
    order_violated,
    row_identities,
)

MAX_HELD = 64
"""Frames that wait for an earlier one of their lane; more than that and the earlier one is lost."""
NEVER = 1 << 63
_PLACE = np.uint64(0xA24BAED4963EE407)


class Gap(NamedTuple):
    """Source positions between which this lane pair can prove nothing."""

    start: int
    end: int
    side: Side
    reason: str


class _Waiting(NamedTuple):
    """A frame that was received and may not be forgotten yet."""

    offset: int
    side: Side
    own: int
    """Largest own position that must be resolved first; on the target the origin's."""
    end: Cut


class Join:
    """The state of one lane pair: frames go in by `receive`, `advance` judges, `take` hands over what was found."""

    def __init__(self, *, seed: int, floor: int, starts: Mapping[Side, int] | None = None) -> None:
        """Begin with nothing seen.

        Args:
            seed: of the migration's sampling.
            floor: source position at or before which nothing is judged.
            starts: own position from which each side's lane must be seen; a side without one begins with any frame.
        """
        self._seed = seed
        self.floor = floor
        self.resolved = floor
        self._counted = Counted()
        self.floors: dict[str, int] = {}
        self._lanes = {side: Lane() for side in Side}
        for side, start in (starts or {}).items():
            self._lanes[side].covered = self._lanes[side].acked = Cut(start)
        self._ids: dict[str, int] = {}
        self._suspects: list[Suspect] = []
        self._gaps: list[Gap] = []
        self._too_large: set[int] = set()
        self._waiting: deque[_Waiting] = deque()
        self._ackable: list[int] = []

    # --- what the caller sees -----------------------------------------------------------------------------------

    @property
    def tallies(self) -> Tallies:
        """Give the totals of what is resolved."""
        return self._counted.tallies

    @property
    def pending(self) -> int:
        """Count the transactions that wait for their other side."""
        return sum(len(lane.pending) for lane in self._lanes.values())

    def watermark(self, side: Side) -> int:
        """Give the source position that a side has passed in this lane pair."""
        return self._lanes[side].watermark

    def audit(self, tables: Mapping[str, int]) -> bool:
        """Set which tables are judged; a table that is new here counts from the first position not seen yet.

        Args:
            tables: name to the source position after which replication itself, not the initial copy, brings its rows.
        Returns:
            Whether anything changed: then the state must be durable before the next frame.
        """
        fresh = {name: start for name, start in tables.items() if name not in self.floors}
        gone = [name for name in self.floors if name not in tables]
        front = max(self.resolved, *(max(lane.last, lane.watermark) for lane in self._lanes.values()))
        for name, start in fresh.items():
            self.floors[name] = max(start, front)
        for name in gone:
            del self.floors[name]
        return bool(fresh or gone)

    def receive(self, frame: Frame, offset: int) -> None:
        """Take in one frame; repetitions are dropped, early frames wait for the ones before them."""
        lane = self._lanes[frame.side]
        if lane.covered is not None and frame.start > lane.covered:
            self._hold(lane, frame, offset)
            if len(lane.held) > MAX_HELD:
                self._lose(lane)
            return
        self._accept(lane, frame, offset)
        self._release(lane)

    def take(self) -> tuple[list[Suspect], list[Gap]]:
        """Hand over what was found since the last call."""
        taken = self._suspects, self._gaps
        self._suspects, self._gaps = [], []
        return taken

    def advance(self) -> list[int]:
        """Judge everything that both sides have passed.

        Returns:
            Offsets of frames that are resolved; they may be forgotten once the state is durable.
        """
        source, target = self._lanes[Side.SOURCE], self._lanes[Side.TARGET]
        self._judge(Side.SOURCE, source, target.watermark)
        self._judge(Side.TARGET, target, source.watermark)
        through = min(source.watermark, target.watermark)
        if through > self.resolved:
            self.resolved = through
            self._counted.count(through)
            self._too_large = {source for source in self._too_large if source > through}
        for lane in self._lanes.values():
            while len(lane.rates) > 1 and lane.rates[1][0] <= self.resolved:
                lane.rates.pop(0)
        while self._waiting and self._waiting[0].own <= self.resolved:
            done = self._waiting.popleft()
            lane = self._lanes[done.side]
            lane.acked = max(lane.acked, done.end) if lane.acked else done.end
            self._ackable.append(done.offset)
        offsets, self._ackable = self._ackable, []
        return offsets

    # --- durable state ------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Describe what must survive a restart."""
        return {
            "floor": self.floor,
            "resolved": self.resolved,
            "target_done": self._counted.target_done,
            "floors": dict(self.floors),
            "acked": {side.value: list(lane.acked) for side, lane in self._lanes.items() if lane.acked},
            "rates": {side.value: [list(r) for r in lane.rates] for side, lane in self._lanes.items()},
            "tallies": self._counted.state(),
        }

    @classmethod
    def resume(cls, state: Mapping[str, Any], *, seed: int) -> "Join":
        """Begin where a durable state ends."""
        join = cls(seed=seed, floor=state["floor"])
        join.resolved = state["resolved"]
        join.floors = dict(state["floors"])
        join._counted = Counted.resume(state["tallies"], state["target_done"])
        for side, lane in join._lanes.items():
            acked = state["acked"].get(side.value)
            lane.acked = lane.covered = Cut(*acked) if acked else None
            lane.rates = [(position, rate) for position, rate in state["rates"].get(side.value, [])]
            lane.last = join.resolved
        return join

    # --- taking frames in ---------------------------------------------------------------------------------------

    def _hold(self, lane: Lane, frame: Frame, offset: int) -> None:
        """Keep a frame that came early; of two that start alike the longer one says it all."""
        other = lane.held.get(frame.start)
        if other is not None and other[0].end >= frame.end:
            self._ackable.append(offset)
            return
        if other is not None:
            self._ackable.append(other[1])
        lane.held[frame.start] = (frame, offset)

    def _release(self, lane: Lane) -> None:
        """Accept held frames that now follow."""
        while lane.held:
            start = min(lane.held)
            if lane.covered is not None and start > lane.covered:
                return
            frame, offset = lane.held.pop(start)
            self._accept(lane, frame, offset)

    def _lose(self, lane: Lane) -> None:
        """Give up on the frame that the held ones wait for: everything up to the next known position is a gap."""
        for start in sorted(lane.held):
            frame, offset = lane.held.pop(start)
            through = self._known_from(frame)
            if through is None:
                self._ackable.append(offset)
                continue
            self._raise_floor(through, frame.side, "a frame of this lane was lost before it was read")
            lane.open = None
            lane.covered = frame.start
            self._accept(lane, frame, offset)
            self._release(lane)
            return

    def _known_from(self, frame: Frame) -> int | None:
        """Find the source position before which the lost frames lie; `None` when this frame does not tell."""
        if len(frame.own) and frame.skipped[0]:
            return None
        if frame.side is Side.SOURCE:
            return frame.start.position
        return first_origin(frame, less=1)

    def _raise_floor(self, through: int, side: Side, reason: str) -> None:
        if through <= self.resolved:
            through = self.resolved
        self._gaps.append(Gap(self.resolved, through, side, reason))
        self.floor = self.resolved = through
        for lane in self._lanes.values():
            for lsn in [lsn for lsn in lane.pending if lsn <= through]:
                del lane.pending[lsn]
        self._counted.skip(through)

    def _accept(self, lane: Lane, frame: Frame, offset: int) -> None:
        """Process a frame that starts at or before what is covered."""
        if lane.covered is None or frame.end >= lane.covered:
            self._note_rate(lane, frame)
            self._identify(frame)
            self._transactions(lane, frame)
            lane.covered = frame.end
            lane.watermark = max(lane.watermark, frame.watermark)
        self._waiting.append(_Waiting(offset, frame.side, self._needed(frame), frame.end))

    def _needed(self, frame: Frame) -> int:
        """Find the source position that must be resolved before a frame may be forgotten."""
        if not len(frame.own):
            return 0
        if frame.side is Side.SOURCE:
            return int(frame.own[-1]) + 1
        return int(frame.source.max())

    def _note_rate(self, lane: Lane, frame: Frame) -> None:
        """Remember from which position a rate holds; without a transaction to tell, the old one is assumed."""
        if not lane.rates:
            lane.rates.append((0, frame.rate))
        elif lane.rates[-1][1] != frame.rate:
            new, _ = new_from(frame, lane)
            named = frame.own if frame.side is Side.SOURCE else frame.source
            own = named[new:][(frame.flags[new:] & FOREIGN) == 0]
            if len(own):
                lane.rates.append((int(own[0]), frame.rate))

    def _identify(self, frame: Frame) -> None:
        for entry in frame.tables:
            if entry.name not in self._ids:
                self._ids[entry.name] = xxhash.xxh3_64_intdigest(entry.name.encode())

    def _transactions(self, lane: Lane, frame: Frame) -> None:
        """Sum up each new transaction of a frame and pair it."""
        first, row = new_from(frame, lane)
        if first == len(frame.own):
            return
        chosen, counts = self._judged_rows(frame, row)
        before = lane.open.judged if lane.open is not None else 0
        places = places_of(counts, first, before)
        totals = sums(mixed(row_identities(frame, self._ids)[chosen] + (places + np.uint64(1)) * _PLACE), counts)
        bounds = np.concatenate(([0], np.cumsum(counts)))
        if first == 0 and isinstance(chosen, slice) and self._plain(lane, frame):
            sources = frame.source.tolist()
            batch = Batch(frame, None, sources, totals.tolist(), counts.tolist(), bounds.tolist())
            self._match_all(lane, frame.side, batch)
        else:
            self._pair(lane, frame, first, chosen, counts.tolist(), totals.tolist(), bounds.tolist())
        if frame.side is Side.TARGET:
            ended = ((frame.flags & ENDED) != 0) & ((frame.flags & FOREIGN) == 0)
            if ended.any():
                self._counted.shown_by_target(frame.source[ended], frame.own[ended])

    def _judged_rows(self, frame: Frame, first_row: int) -> tuple[Any, Array]:
        """Choose the new rows of tables that are judged at their position.

        Returns:
            Their numbers, and how many each transaction has.
        """
        position = frame.own if frame.side is Side.SOURCE else frame.source
        replicated = (frame.flags & FOREIGN) == 0
        lowest = int(position[replicated].min()) if replicated.any() else NEVER - 1
        floors = [self.floors.get(entry.name, NEVER) for entry in frame.tables]
        if first_row == 0 and max(floors, default=0) < lowest:
            return slice(None), frame.rows.astype("i8")
        owner = np.repeat(np.arange(len(frame.own)), frame.rows)
        limit = np.array(floors, "u8")[frame.table]
        keep = position[owner] >= limit if frame.side is Side.SOURCE else position[owner] > limit
        keep |= ~replicated[owner]
        keep &= np.arange(len(owner)) >= first_row
        return np.flatnonzero(keep), np.bincount(owner[keep], minlength=len(frame.own))

    def _pair(
        self, lane: Lane, frame: Frame, first: int, chosen: Any, counts: list[int], totals: list[int],
        bounds: list[int],
    ) -> None:  # fmt: skip
        """Hand each transaction on, whole ones directly."""
        columns = (frame.own, frame.source, frame.committed, frame.flags)
        for number, (own, source, committed, flags) in enumerate(zip(*(c.tolist() for c in columns), strict=True)):
            if number < first:
                continue
            span = slice(bounds[number], bounds[number + 1])
            piece = Piece(frame, span if isinstance(chosen, slice) else chosen[span])
            transaction = Transaction(own, source, committed, flags, counts[number], totals[number], (piece,))
            if lane.open is not None or not flags & ENDED:
                whole = self._continue(lane, transaction, int(frame.skipped[number] + frame.rows[number]))
                if whole is None:
                    continue
                transaction = whole
            if flags & FOREIGN:
                self._suspects += foreign_writes(transaction, self._ids)
            elif source <= self.resolved:
                self._late(transaction, frame.side)
            elif transaction.flags & OVERSIZE:
                self._give_up(lane, frame.side, transaction)
            else:
                self._match(lane, frame.side, transaction)

    def _continue(self, lane: Lane, piece: Transaction, seen: int) -> Transaction | None:
        """Add a piece to the transaction that is open; return it once it has ended."""
        merged = piece
        if lane.open is not None and lane.open.own == piece.own:
            before = lane.open
            merged = piece._replace(
                changes=before.judged + piece.changes,
                total=(before.total + piece.total) % 2**64,
                pieces=(*before.pieces, *piece.pieces),
            )
        ended = bool(piece.flags & ENDED)
        lane.open = None if ended else Open(piece.own, seen, merged.changes, merged.total, merged.pieces)
        return merged if ended else None

    def _give_up(self, lane: Lane, side: Side, transaction: Transaction) -> None:
        """Leave a transaction that is too large unaudited, on both sides, and say so."""
        source = transaction.source
        lane.last = max(lane.last, source)
        self._too_large.add(source)
        self._gaps.append(Gap(source, source, side, "a transaction was too large to be compared"))

    def _match(self, lane: Lane, side: Side, transaction: Transaction) -> None:
        """Pair a whole transaction with its other side, or let it wait."""
        if not transaction.changes:
            lane.last = max(lane.last, transaction.source)
            return
        if transaction.source <= lane.last and side is Side.TARGET:
            self._suspects += order_violated(transaction, self._ids)
        self._match_all(lane, side, Batch.of(transaction))

    def _plain(self, lane: Lane, frame: Frame) -> bool:
        """Say whether a frame holds only whole, replicated, new transactions in order, each with rows to judge."""
        return bool(
            lane.open is None
            and ((frame.flags & (ENDED | FOREIGN)) == ENDED).all()
            and frame.source[0] > max(self.resolved, lane.last)
            and (frame.source[1:] > frame.source[:-1]).all()
            and frame.rows.all()
        )

    def _match_all(self, lane: Lane, side: Side, batch: Batch) -> None:
        """Pair whole transactions with their other side, or let them wait."""
        mine, pop = lane.pending, self._lanes[side.other].pending.pop
        totals, changes = batch.totals, batch.changes
        for number, source in enumerate(batch.sources):
            other = pop(source, None)
            if other is None:
                mine[source] = (batch, number)
                continue
            theirs, place = other
            if theirs.totals[place] != totals[number] or theirs.changes[place] != changes[number]:
                self._differ(side, batch.transaction(number), theirs.transaction(place))
        lane.last = max(lane.last, batch.sources[-1])
        if side is Side.SOURCE:
            self._counted.add(batch)

    def _late(self, transaction: Transaction, side: Side) -> None:
        """Tell a harmless repetition from a transaction that came after its turn."""
        late = side is Side.TARGET and transaction.source > self.floor and transaction.own > self._counted.target_done
        if late and transaction.changes and self._counted.target_done:
            self._suspects += order_violated(transaction, self._ids)

    # --- judging ------------------------------------------------------------------------------------------------

    def _judge(self, side: Side, lane: Lane, passed: int) -> None:
        """Judge the transactions of one side that the other side has passed without showing them."""
        due = []
        for lsn in lane.pending:
            if lsn > passed:
                break
            due.append(lsn)
        for lsn in due:
            batch, number = lane.pending.pop(lsn)
            transaction = batch.transaction(number)
            if self._expected(transaction, side.other):
                source, target = (transaction, None) if side is Side.SOURCE else (None, transaction)
                self._suspect(compare_transactions(source, target, self._ids), transaction)
            elif side is Side.SOURCE:
                self._counted.leave_out(lsn)

    def _expected(self, transaction: Transaction, side: Side) -> bool:
        """Say whether the other side should have sampled this transaction too."""
        if transaction.source in self._too_large:
            return False
        if transaction.flags & FORCED:
            return True
        rates = self._lanes[side].rates
        rate = min((r for i, (_, r) in enumerate(rates) if holds(rates, i, transaction.source)), default=0.0)
        return rate >= 1 or share_of(transaction.committed, self._seed) < threshold_of(rate)

    def _differ(self, side: Side, mine: Transaction, other: Transaction) -> None:
        source, target = (mine, other) if side is Side.SOURCE else (other, mine)
        partly = bool((mine.flags ^ other.flags) & FORCED)
        self._suspect(compare_transactions(source, target, self._ids, only_truncates=partly), source)

    def _suspect(self, found: list[Suspect], transaction: Transaction) -> None:
        if found:
            self._suspects += found
            self._counted.mismatched(transaction.source, sum(s.count for s in found))
