"""Records in Kafka, for migrations whose processes are on several hosts."""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from kafka import KafkaProducer, TopicPartition

from auditor.brokers import abandon, broker_errors, open_producer, open_reader
from auditor.records import Value, encode_items
from auditor.settings import KafkaSettings
from comparators.errors import StoreUnavailable

KAFKA_SECONDS = 10.0
"""How long one call may wait for the broker before it is reported as away."""


class KafkaRecords:
    """Records in a compacted topic of one partition: its order is the order of all puts."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        """Connect; `ensure_topics` has made the topic.

        Raises:
            StoreUnavailable: the broker cannot be reached.
        """
        self._kafka = kafka
        self._partition = TopicPartition(topic, 0)
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._unread: dict[str, Value | None] = {}
        self._first = True
        self._reader = open_reader(kafka, self._partition)

    def put(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        encoded = encode_items(items)
        with self._write_lock, broker_errors("write records"):
            try:
                self._send(encoded)
            except Exception:
                # The order of what is under way is unknown now: whoever puts again starts from a clean producer.
                self._drop_producer()
                raise

    def changes(self) -> dict[str, Value | None]:
        with self._read_lock, broker_errors("read records"):
            self._read_to_end()
            first, self._first = self._first, False
            unread, self._unread = self._unread, {}
        return {key: value for key, value in unread.items() if not (first and value is None)}

    def close(self) -> None:
        with self._write_lock:
            self._drop_producer()
        with self._read_lock:
            self._reader.close()

    def _send(self, encoded: list[tuple[str, str | None]]) -> None:
        if self._producer is None:
            self._producer = open_producer(
                self._kafka,
                max_block_ms=int(KAFKA_SECONDS * 1000),
                delivery_timeout_ms=int(KAFKA_SECONDS * 1000),
                request_timeout_ms=int(KAFKA_SECONDS * 500),
            )
        topic, partition = self._partition
        sent = [
            self._producer.send(topic, None if value is None else value.encode(), key.encode(), partition=partition)
            for key, value in encoded
        ]
        for future in sent:
            future.get(timeout=KAFKA_SECONDS)

    def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            abandon(producer)

    def _read_to_end(self) -> None:
        end = self._reader.end_offsets([self._partition], timeout_ms=int(KAFKA_SECONDS * 1000))[self._partition]
        give_up = time.monotonic() + KAFKA_SECONDS
        while self._reader.position(self._partition, timeout_ms=int(KAFKA_SECONDS * 1000)) < end:
            for record in self._reader.poll(timeout_ms=500).get(self._partition, ()):
                self._unread[record.key.decode()] = None if record.value is None else json.loads(record.value)
            if time.monotonic() > give_up:
                raise StoreUnavailable(f"cannot read records: {self._partition.topic} ends at {end}, out of reach")
