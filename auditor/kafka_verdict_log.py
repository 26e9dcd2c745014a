"""The log of verdicts in Kafka: a topic of one partition, never compacted, kept for ever."""

import json
import threading
import time
from collections.abc import Iterator, Sequence

from kafka import KafkaProducer, TopicPartition

from auditor.brokers import abandon, broker_errors, open_producer, open_reader
from auditor.kafka_records import KAFKA_SECONDS
from auditor.settings import KafkaSettings
from auditor.verdicts import Anchor, ChainForked, Draft, Entry, seal_all, tail_of
from comparators.errors import StoreUnavailable

TIMEOUT_MS = int(KAFKA_SECONDS * 1000)
PAGE = 200
"""Entries that are read at once where the end comes first."""


class KafkaVerdictLog:
    """The log on a broker. Nothing keeps a second gate from writing: it is noticed, said, and found by `verify`."""

    def __init__(self, kafka: KafkaSettings, topic: str) -> None:
        """Connect; `ensure_topics` has made the topic.

        Raises:
            StoreUnavailable: the broker cannot be reached.
        """
        self._kafka = kafka
        self._partition = TopicPartition(topic, 0)
        self._lock = threading.Lock()
        self._producer: KafkaProducer | None = None
        self._head: tuple[int, Anchor] | None = None
        """Where the topic ended after our last entry, and that entry; `None`: to be looked up."""
        self._reader = open_reader(kafka, self._partition)

    def append(self, drafts: Sequence[Draft]) -> list[Entry]:
        with self._lock, broker_errors("write the verdict log"):
            try:
                end, anchor = self._at_end()
                made = seal_all(drafts, anchor)
                self._send(made, end)
            except Exception:
                self._head = None  # what arrived is not known
                producer, self._producer = self._producer, None
                if producer is not None:
                    abandon(producer)
                raise
            self._head = (end + len(made), Anchor(made[-1].seq, made[-1].hash))
        return made

    def damage(self) -> list[str]:
        with self._lock, broker_errors("read the verdict log"):
            return tail_of(self._backwards())[1]

    def lines(self, since: float | None = None) -> Iterator[str]:
        with self._lock, broker_errors("read the verdict log"):
            first, end = self._bounds()
            if since is not None:
                found = self._reader.offsets_for_times({self._partition: int(since * 1000)}, timeout_ms=TIMEOUT_MS)
                at = found[self._partition]
                first = end if at is None else max(first, at.offset)
        for start in range(first, end, PAGE):
            with self._lock, broker_errors("read the verdict log"):
                page = self._between(start, min(start + PAGE, end))
            yield from (line for line in page if since is None or not _is_older(line, since))

    def newest(self) -> Iterator[str]:
        with self._lock, broker_errors("read the verdict log"):
            bounds = self._bounds()
        for start, end in _pages(*bounds):
            with self._lock, broker_errors("read the verdict log"):
                page = self._between(start, end)
            yield from reversed(page)

    def anchor(self) -> Anchor | None:
        with self._lock, broker_errors("read the verdict log"):
            first, _ = self._bounds()
        return Anchor() if first == 0 else None

    def close(self) -> None:
        with self._lock:
            if self._producer is not None:
                abandon(self._producer)
            self._reader.close()

    def _at_end(self) -> tuple[int, Anchor]:
        """Give the topic's end and its last good entry; read only when somebody else may have written."""
        _, end = self._bounds()
        if self._head is None or self._head[0] != end:
            self._head = (end, tail_of(self._backwards())[0])
        return self._head

    def _send(self, entries: Sequence[Entry], end: int) -> None:
        if self._producer is None:
            self._producer = open_producer(
                self._kafka,
                max_block_ms=TIMEOUT_MS,
                delivery_timeout_ms=TIMEOUT_MS,
                request_timeout_ms=TIMEOUT_MS // 2,
                compression_type="lz4",
            )
        topic, partition = self._partition
        sent = [
            self._producer.send(topic, entry.text.encode(), partition=partition, timestamp_ms=int(entry.at * 1000))
            for entry in entries
        ]
        offsets = [future.get(timeout=KAFKA_SECONDS).offset for future in sent]
        if offsets != list(range(end, end + len(entries))):
            raise ChainForked("two gates write to the verdict log at once: stop one of them")

    def _bounds(self) -> tuple[int, int]:
        one = [self._partition]
        first = self._reader.beginning_offsets(one, timeout_ms=TIMEOUT_MS)[self._partition]
        return first, self._reader.end_offsets(one, timeout_ms=TIMEOUT_MS)[self._partition]

    def _backwards(self) -> Iterator[str]:
        for start, end in _pages(*self._bounds()):
            yield from reversed(self._between(start, end))

    def _between(self, start: int, end: int) -> list[str]:
        self._reader.seek(self._partition, start)
        lines: list[str] = []
        give_up = time.monotonic() + KAFKA_SECONDS
        while self._reader.position(self._partition, timeout_ms=TIMEOUT_MS) < end:
            for record in self._reader.poll(timeout_ms=500).get(self._partition, ()):
                give_up = time.monotonic() + KAFKA_SECONDS
                if record.offset < end:
                    lines.append((record.value or b"").decode(errors="replace"))
            if time.monotonic() > give_up:
                raise StoreUnavailable(f"cannot read the verdict log: its end at {end} is out of reach")
        return lines


def _pages(first: int, end: int) -> Iterator[tuple[int, int]]:
    """Cut the offsets into pages, the last first; the very last is short, as mostly one entry is wanted."""
    size = 1
    while end > first:
        start = max(first, end - size)
        yield start, end
        end, size = start, PAGE


def _is_older(line: str, since: float) -> bool:
    try:
        return bool(json.loads(line)["at"] < since)
    except (ValueError, TypeError, KeyError):
        return False  # damaged: to be seen
