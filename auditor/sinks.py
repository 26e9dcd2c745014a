"""Where samplers put frames: called from a plain thread, never waiting long, so that keepalives are answered.

What a sink reports as durable is what the sampler may confirm to its replication slot, which forgets it then.
"""

import threading
from collections import deque
from typing import TYPE_CHECKING, Protocol

from auditor.settings import Settings
from comparators.errors import Defect
from comparators.positions import Side

if TYPE_CHECKING:
    from auditor.transports.memory import MemoryLog


class Sink(Protocol):
    """One sampler's way to the core.

    A call that raised `Retryable` ends the sink: close it, open another, and read again from the confirmed position.
    """

    def send(self, partition: int, frame: bytes, position: int) -> None:
        """Pass a frame on.

        Args:
            position: own LSN up to which everything, on every partition, was sent with or before this frame.
        Raises:
            StoreUnavailable: an earlier frame, or this one, did not arrive.
        """

    def room(self) -> bool:
        """Say whether to read on; if not, ask again soon.

        Raises:
            StoreUnavailable: an earlier frame did not arrive.
        """

    def durable(self) -> int:
        """Give the own LSN through which everything is safe; 0 before anything is.

        Raises:
            StoreUnavailable: an earlier frame did not arrive.
        """

    def close(self) -> None:
        """Let what is under way arrive, within seconds."""


def open_sink(settings: Settings, side: Side, log: "MemoryLog | None") -> Sink:
    """Open one sampler's way to the core.

    Args:
        log: this process's log, when the transport is memory.
    Raises:
        StoreUnavailable: the broker cannot be reached.
    """
    if settings.transport is None:
        if log is None:
            raise Defect("the memory transport needs the log of its process")
        return MemorySink(log, side)
    from auditor.kafka_sink import KafkaSink  # its library is large: see open_records

    return KafkaSink(settings.transport, settings.names.topics.changes)


class MemorySink:
    """Frames into this process's own log; they are safe once the core has resolved them, as nothing else keeps them."""

    def __init__(self, log: "MemoryLog", side: Side) -> None:
        self._log = log
        self._side = side
        self._lock = threading.Lock()
        self._sent: deque[tuple[int, int, int]] = deque()  # partition, offset, position
        self._durable = 0

    def send(self, partition: int, frame: bytes, position: int) -> None:
        with self._lock:
            self._sent.append((partition, self._log.append(partition, frame, self._side), position))

    def room(self) -> bool:
        return self._log.room(self._side)

    def durable(self) -> int:
        with self._lock:
            while self._sent and self._sent[0][1] < self._log.committed(self._sent[0][0]):
                self._durable = self._sent.popleft()[2]
            return self._durable

    def close(self) -> None:
        """Nothing is under way: a frame is in the log or was never sent."""
