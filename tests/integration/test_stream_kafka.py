"""The core's app on a real broker: poison, kills and restarts of either end, and several cores."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition

from auditor import stream
from auditor.brokers import open_admin, open_reader
from auditor.records import open_records
from auditor.servers import KafkaServer
from auditor.settings import KafkaSettings, Settings
from auditor.sinks import Sink, open_sink
from auditor.stream import run_core
from auditor.topics import ensure_topics
from comparators.positions import Side
from tests.fake_core import FakeCore
from tests.helpers import unique_name, wait_for, wait_for_async
from tests.migrations import kafka_settings


def prepared(kafka: Any, folder: Path) -> Settings:
    settings = kafka_settings(kafka, folder, unique_name("stream").replace("_", "-"))
    ensure_topics(settings)
    return settings


def transport(settings: Settings) -> KafkaSettings:
    assert settings.transport is not None
    return settings.transport


def committed(settings: Settings) -> dict[int, int]:
    """Ask the broker for the group's committed offsets."""
    admin = open_admin(transport(settings))
    try:
        group = f"auditor.{settings.migration}.core"
        offsets = admin.list_group_offsets([group])[group]
        return {tp.partition: found.offset for tp, found in offsets.items()}
    finally:
        admin.close()


class Running:
    """One core in this process."""

    def __init__(self, settings: Settings) -> None:
        self.core = FakeCore()
        self.stop = asyncio.Event()
        self.status = asyncio.create_task(run_core(settings, self.core, None, self.stop))

    async def receives(self, frames: int) -> set[bytes]:
        await wait_for_async(lambda: len(self.core.received) >= frames, 60, f"{frames} frames")
        return {payload for _, _, payload in self.core.received}

    async def end(self) -> int:
        self.stop.set()
        return await asyncio.wait_for(self.status, 5)


@pytest.fixture
def settings(kafka: KafkaServer, tmp_path: Path) -> Settings:
    return prepared(kafka, tmp_path)


@pytest.fixture
def sink(settings: Settings) -> Iterator[Sink]:
    sink = open_sink(settings, Side.SOURCE, None)
    yield sink
    sink.close()


@pytest.fixture
async def running(settings: Settings) -> AsyncIterator[Running]:
    one = Running(settings)
    yield one
    if not one.status.done():
        await one.end()


def send(sink: Sink, first: int, past_last: int) -> set[bytes]:
    """Send numbered frames to both partitions in turn."""
    frames = [b"frame %d" % number for number in range(first, past_last)]
    for number, frame in enumerate(frames, first):
        sink.send(number % 2, frame, number + 1)
    return set(frames)


async def test_frames_arrive_and_resolved_ones_are_committed(settings: Settings, sink: Sink, running: Running) -> None:
    frames = send(sink, 0, 2000)
    assert await running.receives(2000) == frames
    await wait_for_async(_commits(settings, {0: 1000, 1: 1000}), 20, "all to be committed")


def _commits(settings: Settings, wanted: dict[int, int]) -> Any:
    async def ask() -> bool:
        return await asyncio.to_thread(committed, settings) == wanted

    return ask


async def test_a_poison_frame_goes_to_the_dead_letters_and_the_audit_goes_on(
    settings: Settings, sink: Sink, running: Running
) -> None:
    for frame in (b"frame 0", b"poison \x00", b"frame 2"):
        sink.send(1, frame, 1)
    assert await running.receives(2) == {b"frame 0", b"frame 2"}
    await wait_for_async(_commits(settings, {1: 3}), 20, "the offset to pass it")

    (letter,) = await asyncio.to_thread(dead_letters, settings)
    assert (letter.key, letter.value) == (b"1/1", b"poison \x00")
    assert dict(letter.headers) == {"reason": b"the test says so", "partition": b"1", "offset": b"1"}
    records = open_records(settings)
    assert [*records.changes()] == ["dead-letter/1/1"]
    records.close()


def dead_letters(settings: Settings) -> list[Any]:
    topic = TopicPartition(settings.names.topics.dead_letter, 0)
    reader = open_reader(transport(settings), topic)
    end = reader.end_offsets([topic])[topic]
    found: list[Any] = []
    while reader.position(topic) < end:
        found += reader.poll(timeout_ms=500).get(topic, ())
    reader.close()
    return found


class CoreProcess:
    """A core that can be killed."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        (folder / "held").touch()
        (folder / "received").unlink(missing_ok=True)
        self._received = folder / "received"
        arguments = [transport(settings).bootstrap[0], settings.migration, str(folder)]
        self.process = subprocess.Popen([sys.executable, "-m", "tests.core_process", *arguments])

    def frames(self) -> list[bytes]:
        lines = self._received.read_bytes().splitlines() if self._received.exists() else []
        return [line.split(b" ", 2)[2] for line in lines]

    def receives(self, frames: int) -> list[bytes]:
        return wait_for(lambda: len(seen := self.frames()) >= frames and seen, 60, f"{frames} frames") or []

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "process"
    folder.mkdir()
    return folder


def test_a_killed_core_reads_again_from_the_oldest_unresolved_frame(
    settings: Settings, sink: Sink, folder: Path
) -> None:
    (folder / "held").write_bytes(b"frame 12\n")  # offset 6 of partition 0
    frames = send(sink, 0, 40)
    first = CoreProcess(settings, folder)
    assert set(first.receives(40)) == frames
    wait_for(lambda: committed(settings) == {0: 6, 1: 20}, 20, "what is resolved to be committed")
    assert first.end(signal.SIGKILL) == -signal.SIGKILL

    (folder / "held").write_bytes(b"")
    second = CoreProcess(settings, folder)
    assert second.receives(14) == [b"frame %d" % number for number in range(12, 40, 2)]
    wait_for(lambda: committed(settings) == {0: 20, 1: 20}, 20, "all to be committed")
    assert second.end(signal.SIGTERM) == 0


def test_a_core_that_is_told_to_stop_commits_no_more_than_is_resolved(
    settings: Settings, sink: Sink, folder: Path
) -> None:
    """What a stop has no time to commit is read again, and only that."""
    core = CoreProcess(settings, folder)
    send(sink, 0, 20)
    core.receives(20)
    assert core.end(signal.SIGTERM) == 0
    done = committed(settings)
    assert all(0 <= offset <= 10 for offset in done.values())
    again = CoreProcess(settings, folder)
    wait_for(lambda: committed(settings) == {0: 10, 1: 10}, 60, "the rest to be resolved")
    again.end(signal.SIGKILL)  # it may not even have begun: all that was asked of it is done


def test_a_core_whose_broker_is_gone_stops_all_the_same(
    private_kafka: KafkaServer, tmp_path: Path, folder: Path
) -> None:
    settings = prepared(private_kafka, tmp_path)
    core = CoreProcess(settings, folder)
    sink = open_sink(settings, Side.SOURCE, None)
    send(sink, 0, 20)
    core.receives(20)
    sink.close()
    private_kafka.kill()
    assert core.end(signal.SIGTERM) == 0


def test_a_core_that_finds_no_broker_ends(folder: Path) -> None:
    class Nowhere:
        bootstrap = "127.0.0.1:1"

    assert CoreProcess(kafka_settings(Nowhere, folder), folder).process.wait(60) == 3


async def test_frames_that_the_core_does_not_take_are_seen_to_wait(settings: Settings, sink: Sink) -> None:
    app = stream.build_app(settings, FakeCore(), None)
    await app.start()
    assert not await stream.frames_wait(app)
    async with app.feed._turn:
        sink.send(0, b"frame", 1)
        waits: Any = lambda: stream.frames_wait(app)  # noqa: E731
        await wait_for_async(waits, 20, "the frame to be seen")
    await wait_for_async(lambda: app.feed.received(0) == 0, 20, "the frame to be received")
    assert not await stream.frames_wait(app)
    await app.stop()
    app.feed.close()


async def test_two_cores_share_the_partitions_and_lose_nothing(
    settings: Settings, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "first")
    first = Running(settings)
    frames = send(sink, 0, 500)
    assert await first.receives(500) == frames
    monkeypatch.setattr("socket.gethostname", lambda: "second")
    second = Running(settings)
    await wait_for_async(lambda: len(second.core.since_assigned) == 1, 30, "the second core to get a partition")
    await wait_for_async(lambda: len(first.core.since_assigned) == 1, 30, "the first core to give it up")

    frames |= send(sink, 500, 1000)
    both = [first, second]
    await wait_for_async(
        lambda: frames == {payload for one in both for _, _, payload in one.core.received}, 30, "all frames"
    )
    await wait_for_async(_commits(settings, {0: 500, 1: 500}), 20, "all to be committed")
    assert [await one.end() for one in both] == [0, 0]


async def test_a_broker_that_is_killed_and_comes_back_loses_nothing(private_kafka: KafkaServer, tmp_path: Path) -> None:
    settings = prepared(private_kafka, tmp_path)
    running = Running(settings)
    sent: set[bytes] = set()
    done = threading.Event()

    def sample() -> None:
        sink = open_sink(settings, Side.SOURCE, None)
        number = 0
        while not done.wait(0.005):
            if sink.room():
                sent.update(send(sink, number, number + 1))
                number += 1
        wait_for(lambda: sink.durable() == number, 60, "all frames to be durable")
        sink.close()

    sampler = asyncio.create_task(asyncio.to_thread(sample))
    await running.receives(200)
    private_kafka.kill()
    at_kill = len(sent)
    await wait_for_async(lambda: len(sent) > at_kill + 200, 30, "frames sent without a broker")
    await asyncio.to_thread(private_kafka.start)
    await wait_for_async(lambda: len(sent) > at_kill + 1000, 60, "frames sent after it came back")
    done.set()
    await sampler
    await wait_for_async(lambda: {one for _, _, one in running.core.received} == sent, 90, "all frames")
    assert len({(partition, offset) for partition, offset, _ in running.core.received}) == len(sent)  # stored once each
    await wait_for_async(_commits(settings, running_ends(running)), 30, "all to be committed")
    assert await running.end() == 0


def running_ends(running: Running) -> dict[int, int]:
    return {p: 1 + max(o for q, o, _ in running.core.received if p == q) for p in (0, 1)}
