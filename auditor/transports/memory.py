"""A log in this process's memory, and the faust transport that reads it.

The log is no storage: what it holds is also in the replication slots, which are confirmed only as far as the core has
resolved. A process that dies reads it from there again.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from faust.transport import base
from faust.types import TP, ConsumerMessage
from yarl import URL

from auditor.transports.resolving import ResolvingConsumer
from comparators.positions import Side

BUDGET_BYTES = 96 << 20
"""Frames that one side may have unresolved. Per side, so that neither can take the room the other needs to resolve."""

READ_FRAMES = 256
"""Frames handed to faust at once, as many as its stream buffers."""


class Entry(NamedTuple):
    """One frame in the log."""

    offset: int
    payload: bytes
    side: Side


class _Partition:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.committed = 0  # the first offset that is not
        self.end = 0  # the offset that the next frame gets


class MemoryLog:
    """Partitions of frames, from the samplers' threads to the core's; what is committed is dropped."""

    def __init__(self, partitions: int, budget_bytes: int = BUDGET_BYTES) -> None:
        self._partitions = [_Partition() for _ in range(partitions)]
        self._budget_bytes = budget_bytes
        self._held = dict.fromkeys(Side, 0)
        self._lock = threading.Lock()
        self._watcher: Callable[[], None] | None = None

    @property
    def partitions(self) -> int:
        return len(self._partitions)

    def append(self, partition: int, payload: bytes, side: Side) -> int:
        """Add a frame and give its offset; whoever asks `room` first stays within the budget."""
        with self._lock:
            log = self._partitions[partition]
            entry = Entry(log.end, payload, side)
            log.entries.append(entry)
            log.end += 1
            self._held[side] += len(payload)
            watcher = self._watcher
        if watcher is not None:
            watcher()
        return entry.offset

    def room(self, side: Side) -> bool:
        """Say whether a side holds less than its budget."""
        with self._lock:
            return self._held[side] < self._budget_bytes

    def read(self, partition: int, offset: int, limit: int = READ_FRAMES) -> list[Entry]:
        """Give frames from `offset` on, or from the oldest kept."""
        with self._lock:
            log = self._partitions[partition]
            first = max(offset - (log.end - len(log.entries)), 0)
            return log.entries[first : first + limit]

    def commit(self, partition: int, offset: int) -> None:
        """Drop the frames before `offset`: they are resolved."""
        with self._lock:
            log = self._partitions[partition]
            dropped = log.entries[: max(offset - (log.end - len(log.entries)), 0)]
            del log.entries[: len(dropped)]
            log.committed = max(log.committed, offset)
            for entry in dropped:
                self._held[entry.side] -= len(entry.payload)

    def committed(self, partition: int) -> int:
        """Give the first offset that is not committed."""
        with self._lock:
            return self._partitions[partition].committed

    def end(self, partition: int) -> int:
        """Give the offset that the next frame gets."""
        with self._lock:
            return self._partitions[partition].end

    def watch(self, watcher: Callable[[], None] | None) -> None:
        """Have `watcher` called, in the appending thread, after each frame."""
        with self._lock:
            self._watcher = watcher


class Consumer(ResolvingConsumer, base.Consumer):
    """Reads one topic, all of whose partitions are this process's."""

    def __init__(self, transport: "Transport", *args: Any, **kwargs: Any) -> None:
        self._log = transport.memory_log
        self._topic = ""
        self._assigned: set[TP] = set()
        self._positions: dict[TP, int] = {}
        self._appended = asyncio.Event()
        self._waking = False
        super().__init__(transport, *args, **kwargs)

    async def subscribe(self, topics: Iterable[str]) -> None:
        (self._topic,) = topics
        # A task of its own: the conductor awaits this call, and the assignment awaits the conductor.
        self.add_future(self.assign(range(self._log.partitions)))

    async def assign(self, partitions: Iterable[int]) -> None:
        """Take these partitions and no others, as Kafka's rebalance would say."""
        self.app.on_rebalance_start()
        await self.on_partitions_revoked(set(self._assigned))
        self._assigned = {TP(self._topic, partition) for partition in partitions}
        self._positions = {tp: self._log.committed(tp.partition) for tp in self._assigned}
        self.app.consumer_generation_id += 1
        await self.on_partitions_assigned(set(self._assigned), self.app.consumer_generation_id)

    async def on_start(self) -> None:
        self._log.watch(self._on_append)
        await super().on_start()

    async def on_stop(self) -> None:
        await super().on_stop()
        self._log.watch(None)

    def on_buffer_drop(self, tp: TP) -> None:
        super().on_buffer_drop(tp)
        self._appended.set()  # its frames are here already

    def _on_append(self) -> None:
        if not self._waking:  # one wake-up on its way is enough
            self._waking = True
            self.loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._waking = False
        self._appended.set()

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Entry]]:
        self._appended.clear()
        if found := self._read(active_partitions or set()):
            return found
        try:
            await asyncio.wait_for(self._appended.wait(), timeout)
        except TimeoutError:
            return {}
        return self._read(active_partitions or set())

    def _read(self, partitions: set[TP]) -> dict[TP, list[Entry]]:
        found = {}
        for tp in partitions & self._assigned:
            if entries := self._log.read(tp.partition, self._positions[tp]):
                self._positions[tp] = entries[-1].offset + 1
                found[tp] = entries
        return found

    def _to_message(self, tp: TP, record: Entry) -> ConsumerMessage:
        size = len(record.payload)
        generation = self.app.consumer_generation_id
        return ConsumerMessage(
            tp.topic, tp.partition, record.offset, None, None, None, None, record.payload, None, 0, size, tp,
            generation_id=generation,
        )  # fmt: skip

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        for tp, offset in offsets.items():
            self._log.commit(tp.partition, offset)
        return True

    async def seek_to_committed(self) -> Mapping[TP, int]:
        self._positions = {tp: self._log.committed(tp.partition) for tp in self._assigned}
        return dict(self._positions)

    async def _seek(self, partition: TP, offset: int) -> None:
        self._positions[partition] = offset

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        self._positions.update(partitions)

    async def position(self, tp: TP) -> int | None:
        return self._positions.get(tp)

    def assignment(self) -> set[TP]:
        return self._assigned

    def highwater(self, tp: TP) -> int:
        return self._log.end(tp.partition)

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self.highwater(tp) for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        return {tp: self._log.committed(tp.partition) for tp in partitions}

    def topic_partitions(self, topic: str) -> int | None:
        return self._log.partitions

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        return partition

    async def create_topic(self, *args: Any, **kwargs: Any) -> None:
        """The log is there already."""

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)


class Producer(base.Producer):
    """Sends nothing: only samplers write to the log."""

    async def flush(self) -> None:
        await self.buffer.flush()


class Transport(base.Transport):
    """Reads a `MemoryLog`, handed over by whoever builds the app."""

    Consumer = Consumer
    Producer = Producer
    default_port = 0
    driver_version = "memory"

    def __init__(self, log: MemoryLog, app: Any) -> None:
        self.memory_log = log
        super().__init__([URL("mem://")], app)
