"""Read one side's log into frames: look at one byte, skip what is not sampled, digest raw bytes, append to columns.

The hot loop is `WalReader.pump`. It never builds an object per row; what it cannot read is an error with its position.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol

import xxhash

from comparators.builder import MAX_KEY_BYTES, MAX_ROWS, LaneBuilder
from comparators.canonical import RowPlan, tuple_end
from comparators.errors import NotReady, ProtocolViolation
from comparators.frames import FORCED, FOREIGN
from comparators.positions import Side, format_lsn
from comparators.sampling import partition_of, share_of, threshold_of
from samplers import pgoutput
from samplers.replication import ReplicationStream

_INSERT, _UPDATE, _DELETE, _TRUNCATE = b"IUDT"
_BEGIN, _COMMIT, _ORIGIN, _RELATION, _TYPE, _MESSAGE = b"BCORYM"
_NEW, _OLD, _KEY = b"NOK"
_DATA, _KEEPALIVE = b"wk"
_BODY = 25
"""Where the message begins behind the copy header: kind, start, end, clock."""

_SUBSCRIPTION = re.compile(r"pg_\d+")
"""Origins of apply workers; those of initial copies name a table too."""

FLUSH_SECONDS = 0.005
MARK_SECONDS = 0.02
HEARTBEAT_SECONDS = 0.25
CONFIRM_SECONDS = 0.1


class Route(NamedTuple):
    """Where the rows of one relation go."""

    plan: RowPlan
    lane: int
    """Number of the subscription that the table belongs to."""
    seed: int
    """Seeds the key hash: keys of two tables never meet."""
    control: bool = False
    """Never sampled away."""
    foreign_from: int = 0
    """Own position from which a write without the subscription's origin is foreign."""


class Router(Protocol):
    """Knows the tables of the migration on both sides."""

    def route(self, relation: pgoutput.Relation) -> Route | None:
        """Plan a relation; `None` leaves its rows out."""
        ...


class Sink(Protocol):
    """Takes frames and says how far they are safe."""

    def send(self, partition: int, frame: bytes, position: int) -> None: ...
    def room(self) -> bool: ...
    def durable(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """What both samplers of a migration must agree on."""

    seed: int
    rate: float
    partitions: int
    subscriptions: tuple[str, ...]
    """Origin names on the target (`pg_<oid>`); on the source one entry for each subscription."""
    others: frozenset[str]
    """Origin names of subscriptions on the target that are none of ours: what they write is foreign."""
    generation: int
    epoch: int


class _Mode(Enum):
    SKIP = auto()
    READ = auto()
    UNDECIDED = auto()


@dataclass(slots=True)
class Counts:
    """What the reader saw since it started."""

    transactions: int = 0
    sampled: int = 0
    changes: int = 0
    foreign: int = 0


class WalReader:
    """Turns the messages of one slot into frames of its lanes; owns the stream it reads."""

    def __init__(
        self,
        side: Side,
        stream: ReplicationStream,
        sampling: Sampling,
        router: Router,
        sink: Sink,
        *,
        start: int,
        seal: Callable[[bytes], bytes],
        watermark: Callable[[int, int], int],
        on_applied: Callable[[int, int, int, bool], None] | None = None,
    ) -> None:
        """Prepare to read.

        Args:
            start: own position that the slot has confirmed: the frames of every lane begin there.
            seal: encrypts the packed keys of a frame.
            watermark: (subscription, own position decoded through) to the source position that the side has passed.
            on_applied: called on the target for each replicated transaction: (subscription, source position, commit
                time, sampled).
        """
        self._side, self._stream, self._router, self._sink = side, stream, router, sink
        self._seal, self._watermark, self._on_applied = seal, watermark, on_applied
        self._sampling = sampling
        self._threshold = threshold_of(sampling.rate)
        self._lanes = [
            [
                LaneBuilder(
                    side, subscription, partition, generation=sampling.generation, epoch=sampling.epoch,
                    rate=sampling.rate, start=start,
                )
                for subscription in range(len(sampling.subscriptions))
            ]
            for partition in range(sampling.partitions)
        ]  # fmt: skip
        self.counts = Counts()
        self.through = start
        """Own position up to which every transaction was read."""
        self.source_position = 0
        """Source position of the last replicated transaction read."""
        self._relations: dict[bytes, pgoutput.Relation] = {}
        self._routes: dict[bytes, Route] = {}
        self._control: set[bytes] = set()
        self._mode = _Mode.SKIP
        self._begin: pgoutput.Begin | None = None
        self._current = self._lanes[0]
        self._source = 0
        self._flags = 0
        self._subscription = 0
        self._all_lanes = [lane for lanes in self._lanes for lane in lanes]
        self._marks: dict[LaneBuilder, tuple[int, float]] = {}
        """Watermark and time of each lane's last frame."""
        self._next_flush = 0.0
        self._next_confirm = 0.0
        self._reply_wanted = False
        self._dirty = False

    # --- the loop -----------------------------------------------------------------------------------------------

    def step(self, *, may_read: bool) -> None:
        """Read what is there, send what is due, answer the server; waits a few milliseconds when there is nothing.

        Args:
            may_read: false holds the reading back (the frames have nowhere to go); the server is answered all the same.
        """
        reading = may_read and self._sink.room()
        idle = not reading or self.pump(4000)
        now = time.monotonic()
        if now >= self._next_flush:
            self.flush(now)
        if self._reply_wanted or now >= self._next_confirm:
            self._stream.confirm(self.through, self._sink.durable())
            self._reply_wanted, self._next_confirm = False, now + CONFIRM_SECONDS
        if idle and reading:
            self._stream.wait(min(FLUSH_SECONDS if self._dirty else MARK_SECONDS, self._next_confirm - now))
        elif not reading:
            time.sleep(FLUSH_SECONDS)

    def has_room(self) -> bool:
        """Say whether the sink takes more frames."""
        return self._sink.room()

    def pump(self, limit: int) -> bool:
        """Take at most `limit` messages; say whether the server has no more for now."""
        get, stream = self._stream.get, self._stream
        for _ in range(limit):
            size, view = get(1)
            if size <= 0:
                if size < 0:
                    raise stream.ended()
                stream.fill()
                size, view = get(1)
                if size == 0:
                    return True
                if size < 0:
                    raise stream.ended()
            data = bytes(view)
            if data[0] == _KEEPALIVE:
                self._keepalive(data)
                continue
            tag = data[_BODY]
            if tag in b"IUD":
                if self._mode is _Mode.SKIP:
                    if not self._control or data[26:30] not in self._control:
                        continue
                    self._flags |= FORCED
                elif self._mode is _Mode.UNDECIDED:
                    self._foreign()
                route = self._routes.get(data[26:30])
                if route is not None:
                    self._change(tag, data, route)
            else:
                self._other(tag, data)
        return False

    def _change(self, tag: int, data: bytes, route: Route) -> None:
        """Append one change to its lane."""
        plan = route.plan
        kind = data[30]
        if tag not in plan.operations:
            return
        if kind == _NEW:
            row = old = data[31:]
        elif tag == _DELETE:
            row, old = b"", data[31:]
        else:
            end = tuple_end(data, 31)
            row, old = data[end + 1 :], data[31:end]
        lane = self._lane_of(route)
        if lane is None or lane.oversize:
            return
        packed = plan.key(old)
        lane.add(
            lane.table_number(plan), tag, xxhash.xxh3_64_intdigest(packed, route.seed),
            plan.digest(row) if row else 0, packed,
        )  # fmt: skip
        self.counts.changes += 1
        if len(lane.key) >= MAX_ROWS or len(lane.keys) >= MAX_KEY_BYTES:
            self._send(lane, time.monotonic())

    def _lane_of(self, route: Route) -> LaneBuilder | None:
        """Choose the lane of a change; a foreign write before the table was ready has none."""
        if not self._flags & FOREIGN:
            return self._current[route.lane]
        begin = self._begin
        if begin is not None and begin.final_lsn >= route.foreign_from:
            return self._current[0]
        return None

    # --- transactions -------------------------------------------------------------------------------------------

    def _other(self, tag: int, data: bytes) -> None:
        position = int.from_bytes(data[1:9], "big")
        body = data[_BODY:]
        if tag == _BEGIN:
            self._on_begin(pgoutput.begin(body, position))
        elif tag == _COMMIT:
            self._on_commit(pgoutput.commit(body, position))
        elif tag == _RELATION:
            self._on_relation(pgoutput.relation(body, position))
        elif tag == _ORIGIN:
            self._on_origin(pgoutput.origin(body, position))
        elif tag == _TRUNCATE:
            self._on_truncate(pgoutput.truncate(body, position))
        elif tag not in (_TYPE, _MESSAGE):
            raise ProtocolViolation(f"{self._side}: unknown message {chr(tag)!r} at {format_lsn(position)}")

    def _on_begin(self, begin: pgoutput.Begin) -> None:
        self._begin = begin
        self._flags = self._source = self._subscription = 0
        self.counts.transactions += 1
        share = share_of(begin.commit_ts, self._sampling.seed)
        self._current = self._lanes[partition_of(share, self._sampling.partitions)]
        sampled = share < self._threshold
        if self._side is Side.SOURCE:
            self._mode = _Mode.READ if sampled else _Mode.SKIP
            self.counts.sampled += sampled
        else:
            self._mode = _Mode.UNDECIDED

    def _on_origin(self, origin: pgoutput.Origin) -> None:
        """Decide on the target whether the transaction came through one of the subscriptions, and is sampled."""
        if self._side is Side.SOURCE or self._begin is None or not origin.lsn:
            return  # apply always names a position: an origin without one is somebody's session that borrowed it
        if origin.name not in self._sampling.subscriptions:
            if _SUBSCRIPTION.fullmatch(origin.name) and origin.name not in self._sampling.others:
                raise NotReady(f"origin {origin.name} is new on the target: a subscription was created")
            return
        self._subscription = self._sampling.subscriptions.index(origin.name)
        self._source = origin.lsn
        sampled = share_of(self._begin.commit_ts, self._sampling.seed) < self._threshold
        self._mode = _Mode.READ if sampled else _Mode.SKIP
        self.counts.sampled += sampled

    def _foreign(self) -> None:
        """Read a target transaction in full that no subscription of ours brought."""
        self._mode = _Mode.READ
        self._flags |= FOREIGN

    def _on_truncate(self, truncate: pgoutput.Truncate) -> None:
        """Note a TRUNCATE: it is never sampled away."""
        if self._mode is _Mode.UNDECIDED:
            self._foreign()
        for relid in truncate.relids:
            route = self._routes.get(relid.to_bytes(4, "big"))
            if route is None or _TRUNCATE not in route.plan.operations:
                continue
            if self._mode is _Mode.SKIP:
                self._flags |= FORCED
            lane = self._lane_of(route)
            if lane is not None:
                lane.add(lane.table_number(route.plan), _TRUNCATE, xxhash.xxh3_64_intdigest(b"", route.seed), 0, b"")
                self.counts.changes += 1

    def _on_commit(self, commit: pgoutput.Commit) -> None:
        begin = self._begin
        if begin is None:
            raise ProtocolViolation(f"{self._side}: commit without begin at {format_lsn(commit.lsn)}")
        source = commit.end_lsn if self._side is Side.SOURCE else self._source
        flags = self._flags
        for lane in self._current:
            lane.end(begin.final_lsn, source, begin.commit_ts, flags)
            self._dirty = self._dirty or lane.holds_transactions
        if flags & FOREIGN:
            self.counts.foreign += 1
        elif source:
            self.source_position = max(self.source_position, source)
            if self._on_applied is not None:
                sampled = self._mode is _Mode.READ or bool(flags & FORCED)
                self._on_applied(self._subscription, source, begin.commit_ts, sampled)
        self._begin, self._mode = None, _Mode.SKIP
        self.through = max(self.through, commit.end_lsn)

    def replan(self) -> None:
        """Plan every relation anew: the tables of the migration are no longer what they were."""
        for relation in list(self._relations.values()):
            self._on_relation(relation)

    def _on_relation(self, relation: pgoutput.Relation) -> None:
        relid = relation.relid.to_bytes(4, "big")
        self._relations[relid] = relation
        route = self._router.route(relation)
        self._control.discard(relid)
        if route is None:
            self._routes.pop(relid, None)
            return
        self._routes[relid] = route
        if route.control:
            self._control.add(relid)

    def _keepalive(self, data: bytes) -> None:
        if self._begin is None:
            self.through = max(self.through, int.from_bytes(data[1:9], "big"))
        if data[17]:
            self._reply_wanted = True

    # --- frames -------------------------------------------------------------------------------------------------

    def flush(self, now: float) -> None:
        """Send the lanes that hold something, and the watermarks that are due."""
        for lane in self._all_lanes:
            if self._is_due(lane, now):
                self._send(lane, now)
        self._dirty = False
        self._next_flush = now + FLUSH_SECONDS

    def _is_due(self, lane: LaneBuilder, now: float) -> bool:
        if lane.holds_transactions:
            return True
        watermark, at = self._marks.get(lane, (0, 0.0))
        moved = now - at >= MARK_SECONDS and self._watermark(lane.subscription, self.through) > watermark
        return moved or now - at >= HEARTBEAT_SECONDS

    def _send(self, lane: LaneBuilder, now: float) -> None:
        begin = self._begin
        still_open = (begin.final_lsn, self._source, begin.commit_ts, self._flags) if begin is not None else None
        watermark = self._watermark(lane.subscription, self.through)
        frame = lane.cut(self.through, watermark, int(time.time() * 1_000_000), self._seal, still_open)
        self._sink.send(lane.partition, frame, min(other.position for other in self._all_lanes))
        self._marks[lane] = (watermark, now)
