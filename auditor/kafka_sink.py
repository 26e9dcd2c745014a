"""Frames to Kafka: idempotent, bounded, never waiting for the broker in the sampler's thread."""

import threading
from collections import deque
from typing import NamedTuple

from kafka.producer.future import FutureRecordMetadata

from auditor.brokers import BATCH_BYTES, abandon, broker_errors, open_producer, require_crc32c
from auditor.settings import KafkaSettings
from comparators.errors import StoreUnavailable

IN_FLIGHT_BYTES = 32 << 20
"""Frames under way to the broker; beyond it the sampler stops reading, and the slot keeps the WAL."""

AWAY_SECONDS = 60.0
"""A broker that acknowledges nothing for so long is away: the sampler starts again from its slot."""

CLOSE_SECONDS = 2.0
"""What is not acknowledged by then is read from the slot again."""


class _Sent(NamedTuple):
    future: FutureRecordMetadata
    position: int
    size: int


class KafkaSink:
    """Frames to the changes topic; they are safe once every replica has them."""

    def __init__(self, kafka: KafkaSettings, topic: str, *, in_flight_bytes: int = IN_FLIGHT_BYTES) -> None:
        """Connect.

        Raises:
            NotInstalled: the checksum package is missing.
            StoreUnavailable: the broker cannot be reached, or does not know the topic.
        """
        require_crc32c()
        self._topic = topic
        self._in_flight_bytes = in_flight_bytes
        self._lock = threading.Lock()
        self._sent: deque[_Sent] = deque()
        self._bytes = 0
        self._durable = 0
        self._failure: Exception | None = None
        self._producer = open_producer(
            kafka,
            linger_ms=1,
            batch_size=BATCH_BYTES,
            max_block_ms=1_000,
            delivery_timeout_ms=int(AWAY_SECONDS * 1000),
            request_timeout_ms=10_000,
        )
        try:
            with broker_errors(f"find topic {topic}"):
                self._producer.partitions_for(topic)
        except Exception:
            abandon(self._producer)
            raise

    def send(self, partition: int, frame: bytes, position: int) -> None:
        with self._lock:
            self._settle()
            try:
                with broker_errors("send frames"):
                    future = self._producer.send(self._topic, frame, partition=partition)
            except Exception as error:
                self._failure = error
                raise
            self._sent.append(_Sent(future, position, len(frame)))
            self._bytes += len(frame)

    def room(self) -> bool:
        with self._lock:
            self._settle()
            return self._bytes < self._in_flight_bytes

    def durable(self) -> int:
        with self._lock:
            self._settle()
            return self._durable

    def close(self) -> None:
        try:
            self._producer.close(timeout=CLOSE_SECONDS)
        except Exception:
            abandon(self._producer)

    def _settle(self) -> None:
        """Take what arrived off the front: in order sent, so that no position passes a frame still under way."""
        if self._failure is not None:
            raise StoreUnavailable(f"cannot send frames: {self._failure}") from self._failure
        while self._sent and self._sent[0].future.is_done:
            if (error := self._sent[0].future.exception) is not None:
                self._failure = error
                raise StoreUnavailable(f"cannot send frames: {error}") from error
            done = self._sent.popleft()
            self._durable, self._bytes = done.position, self._bytes - done.size
