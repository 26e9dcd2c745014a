"""What every sink promises a sampler; run on this process's log and on a real broker."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import TopicPartition

from auditor.brokers import open_reader
from auditor.kafka_sink import KafkaSink
from auditor.settings import Settings
from auditor.sinks import MemorySink, open_sink
from auditor.topics import ensure_topics
from auditor.transports.memory import MemoryLog
from comparators.errors import Defect, StoreUnavailable
from comparators.positions import Side
from tests.helpers import unique_name, wait_for
from tests.migrations import kafka_settings, memory_settings


class Memory:
    """A sink into a log that a test resolves by hand."""

    def __init__(self, folder: Path) -> None:
        self.log = MemoryLog(2, budget_bytes=1000)
        self.sink = open_sink(memory_settings(folder), Side.SOURCE, self.log)

    def resolve(self) -> None:
        for partition in range(self.log.partitions):
            self.log.commit(partition, self.log.end(partition))

    def frames(self, partition: int) -> list[bytes]:
        return [entry.payload for entry in self.log.read(partition, 0)]


class Kafka:
    """A sink to a topic of its own on a real broker, which resolves by itself."""

    def __init__(self, settings: Settings) -> None:
        ensure_topics(settings)
        assert settings.transport is not None
        self.settings, self.kafka = settings, settings.transport
        self.sink = open_sink(settings, Side.SOURCE, None)

    def resolve(self) -> None:
        """The broker acknowledges unasked."""

    def frames(self, partition: int) -> list[bytes]:
        topic = TopicPartition(self.settings.names.topics.changes, partition)
        reader = open_reader(self.kafka, topic)
        end = reader.end_offsets([topic])[topic]
        found: list[bytes] = []
        while reader.position(topic) < end:
            found += [record.value for record in reader.poll(timeout_ms=500).get(topic, ())]
        reader.close()
        return found


@pytest.fixture(params=["memory", "kafka"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Memory | Kafka]:
    if request.param == "memory":
        way: Memory | Kafka = Memory(tmp_path)
    else:
        kafka, name = request.getfixturevalue("kafka"), unique_name("sinks").replace("_", "-")
        way = Kafka(kafka_settings(kafka, tmp_path, name))
    yield way
    way.sink.close()


def arrives(way: Memory | Kafka, position: int) -> None:
    """Wait until a position is durable."""
    way.resolve()
    wait_for(lambda: way.sink.durable() == position, 10, f"position {position} to be durable")


def test_nothing_is_durable_at_first(way: Memory | Kafka) -> None:
    assert way.sink.durable() == 0
    assert way.sink.room()


def test_frames_arrive_whole_and_in_order_on_the_partition_named(way: Memory | Kafka) -> None:
    for number in range(10):
        way.sink.send(number % 2, b"\x00frame %d" % number, position=100 + number)
    assert [[b"\x00frame %d" % n for n in range(p, 10, 2)] for p in (0, 1)] == [
        wait_for(lambda p=p: len(f := way.frames(p)) == 5 and f, 10, "five frames")  # type: ignore[misc]
        for p in (0, 1)
    ]


def test_the_last_position_is_durable_once_all_arrived(way: Memory | Kafka) -> None:
    for number in range(10):
        way.sink.send(number % 2, b"frame", position=100 + number)
    arrives(way, 109)
    way.sink.send(1, b"frame", position=200)
    arrives(way, 200)


def test_a_position_may_stand_still_over_several_frames(way: Memory | Kafka) -> None:
    for partition in (0, 1, 0):
        way.sink.send(partition, b"frame", position=50)
    arrives(way, 50)


def test_closing_twice_is_harmless(way: Memory | Kafka) -> None:
    way.sink.send(0, b"frame", position=1)
    way.sink.close()
    way.sink.close()


def test_no_position_passes_a_frame_that_is_not_resolved() -> None:
    log = MemoryLog(2)
    sink = MemorySink(log, Side.SOURCE)
    for partition, position in [(0, 10), (1, 20), (0, 30)]:
        sink.send(partition, b"frame", position)
    log.commit(0, 2)
    assert sink.durable() == 10
    log.commit(1, 1)
    assert sink.durable() == 30


def test_room_is_per_side_and_returns_when_frames_are_resolved() -> None:
    """If a side could fill the log alone, the other could never send what would resolve it."""
    log = MemoryLog(1, budget_bytes=100)
    source, target = MemorySink(log, Side.SOURCE), MemorySink(log, Side.TARGET)
    source.send(0, bytes(100), position=1)
    assert (source.room(), target.room()) == (False, True)
    log.commit(0, 1)
    assert source.room()


def test_sinks_of_one_log_see_only_their_own_frames_as_durable() -> None:
    log = MemoryLog(1)
    source, target = MemorySink(log, Side.SOURCE), MemorySink(log, Side.TARGET)
    source.send(0, b"frame", position=7)
    target.send(0, b"frame", position=900)
    log.commit(0, 1)
    assert (source.durable(), target.durable()) == (7, 0)


def test_the_memory_transport_needs_its_log(tmp_path: Path) -> None:
    with pytest.raises(Defect):
        open_sink(memory_settings(tmp_path), Side.SOURCE, None)


def kafka_way(kafka: object, folder: Path, in_flight_bytes: int) -> KafkaSink:
    settings = kafka_settings(kafka, folder, unique_name("sinks").replace("_", "-"))
    ensure_topics(settings)
    assert settings.transport is not None
    return KafkaSink(settings.transport, settings.names.topics.changes, in_flight_bytes=in_flight_bytes)


def test_bytes_under_way_are_bounded(kafka: object, tmp_path: Path) -> None:
    sink = kafka_way(kafka, tmp_path, in_flight_bytes=100_000)
    sent = 0
    while sink.room():
        sink.send(sent % 2, bytes(50_000), position=sent + 1)
        sent += 1
    wait_for(sink.room, 10, "room again")
    wait_for(lambda: sink.durable() == sent, 10, "all to be durable")
    sink.close()


def test_a_frame_that_failed_is_told_at_every_later_call(kafka: object, tmp_path: Path) -> None:
    sink = kafka_way(kafka, tmp_path, in_flight_bytes=1 << 20)
    calls: list[Callable[[], object]] = [sink.room, sink.durable, lambda: sink.send(0, b"frame", position=3)]
    sink.send(0, b"frame", position=1)
    wait_for(lambda: sink.durable() == 1, 10, "the first frame")
    with pytest.raises(StoreUnavailable):
        sink.send(0, bytes(64 << 20), position=2)  # larger than anybody takes
    for call in calls:
        with pytest.raises(StoreUnavailable):
            call()
    sink.close()


def test_a_topic_that_nobody_made_is_reported(kafka: object, tmp_path: Path) -> None:
    settings = kafka_settings(kafka, tmp_path, unique_name("sinks").replace("_", "-"))
    with pytest.raises(StoreUnavailable, match="find topic"):
        open_sink(settings, Side.SOURCE, None)
