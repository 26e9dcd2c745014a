"""The core's app on the memory transport: what is committed, what comes again, and how it ends."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from auditor import stream
from auditor.records import SqliteRecords
from auditor.sinks import MemorySink
from auditor.stream import build_app, run_core
from auditor.transports.memory import MemoryLog
from comparators.errors import Defect, NotPermitted, StoreUnavailable
from comparators.positions import Side
from tests.fake_core import FakeCore
from tests.helpers import wait_for_async
from tests.migrations import memory_settings

HOUR = 3600.0


class Running:
    """Cores on one log, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.settings = memory_settings(folder)
        self.log = MemoryLog(2)
        self.sink = MemorySink(self.log, Side.SOURCE)
        self.core = FakeCore()
        self.stop = asyncio.Event()
        self.status: asyncio.Task[int] | None = None

    def start(self, core: FakeCore | None = None, **options: Any) -> FakeCore:
        self.core, self.stop = core or FakeCore(), asyncio.Event()
        self.status = asyncio.create_task(run_core(self.settings, self.core, self.log, self.stop, **options))
        return self.core

    async def ended(self) -> int:
        assert self.status is not None
        return await asyncio.wait_for(self.status, 20)

    async def end(self) -> int:
        """Stop as a process is told to, within the five seconds it has."""
        self.stop.set()
        assert self.status is not None
        return await asyncio.wait_for(self.status, 5)

    def send(self, *payloads: bytes, partition: int = 0) -> None:
        for payload in payloads:
            self.log.append(partition, payload, Side.SOURCE)

    def frames(self, partition: int = 0) -> list[bytes]:
        return [payload for p, _, payload in self.core.received if p == partition]

    async def receives(self, frames: int, partition: int = 0) -> list[bytes]:
        await wait_for_async(lambda: len(self.frames(partition)) >= frames, 60, f"{frames} frames")
        return self.frames(partition)

    async def commits(self, offset: int, partition: int = 0) -> None:
        await wait_for_async(lambda: self.log.committed(partition) == offset, 60, f"offset {offset}")

    async def ticks(self, times: int = 3) -> None:
        """Let the core and the commits have their turns."""
        done = 0

        def count() -> None:
            nonlocal done
            done += 1

        self.core.on_tick = count
        await wait_for_async(lambda: done >= times, 60, "ticks")


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    one = Running(tmp_path)
    yield one
    if one.status is not None and not one.status.done():
        await one.end()


def numbered(first: int, past_last: int) -> list[bytes]:
    return [b"frame %d" % number for number in range(first, past_last)]


async def test_frames_reach_the_core_in_order_and_resolved_ones_are_dropped(running: Running) -> None:
    running.start()
    running.send(*numbered(0, 1000))
    running.send(*numbered(0, 10), partition=1)
    assert await running.receives(1000) == numbered(0, 1000)
    assert await running.receives(10, partition=1) == numbered(0, 10)
    await running.commits(1000)
    await running.commits(10, partition=1)
    assert running.log.read(0, 0) == []


async def test_frames_of_other_threads_arrive(running: Running) -> None:
    running.start()
    threads = [threading.Thread(target=running.send, args=numbered(0, 200)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert sorted(await running.receives(600)) == sorted(3 * numbered(0, 200))
    for thread in threads:
        thread.join()


async def test_a_slot_is_confirmed_only_up_to_the_oldest_unresolved_frame(running: Running) -> None:
    core = running.start()
    core.held.add((0, 2))
    for position in range(1, 6):
        running.sink.send(0, b"frame", position)
    await running.commits(2)
    assert running.sink.durable() == 2
    core.held.clear()
    await wait_for_async(lambda: running.sink.durable() == 5, 10, "all to be durable")


async def test_a_restart_reads_again_from_the_oldest_unresolved_frame(running: Running) -> None:
    running.start().held.add((0, 4))
    running.send(*numbered(0, 10))
    await running.receives(10)
    await running.commits(4)
    assert await running.end() == 0
    running.start()
    assert await running.receives(6) == numbered(4, 10)
    await running.commits(10)


async def test_a_defect_stops_the_process_and_its_frame_comes_again(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    running.start()
    running.send(*numbered(0, 5), b"crash", *numbered(6, 9))
    assert await running.ended() == 3
    assert "a defect" in caplog.text
    assert running.log.committed(0) <= 5
    running.start()
    assert await running.ended() == 3
    assert running.log.committed(0) <= 5


async def test_a_defect_in_a_tick_stops_the_process(running: Running) -> None:
    core = running.start()

    def fail() -> None:
        raise Defect("wrong result")

    core.on_tick = fail
    assert await running.ended() == 3


async def test_what_needs_a_person_ends_with_a_status_of_its_own(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    core = running.start()

    def refuse() -> None:
        raise NotPermitted("cannot write", hint="grant it")

    core.on_tick = refuse
    assert await running.ended() == 4
    assert "grant it" in caplog.text


async def test_a_poison_frame_is_recorded_and_the_audit_goes_on(running: Running) -> None:
    running.start()
    running.send(b"frame 0", b"poison", b"frame 2")
    assert await running.receives(2) == [b"frame 0", b"frame 2"]
    await running.commits(3)
    assert running.core.poison == [(0, 1, "the test says so")]
    records = SqliteRecords(running.settings.state_dir / "records.sqlite")
    (letter,) = records.changes().items()
    records.close()
    assert letter[0] == "dead-letter/0/1"
    assert letter[1] is not None
    assert (letter[1]["reason"], letter[1]["size"]) == ("the test says so", 6)


async def test_a_store_that_is_away_for_a_while_costs_nothing(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    core = running.start()

    def away() -> None:
        raise StoreUnavailable("the disk is busy")

    core.on_tick = away
    running.send(*numbered(0, 10))
    await running.receives(10)
    await wait_for_async(lambda: "the disk is busy" in caplog.text, 10, "a warning")
    assert running.log.committed(0) == 0
    await running.ticks()
    await running.commits(10)


async def test_many_more_frames_than_fit_the_buffer_arrive_although_the_core_was_slow(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All partitions are full at once; with faust's own sleep, or ours never cut short, this would not end."""
    monkeypatch.setattr("auditor.transports.resolving.RESUME_SECONDS", HOUR)
    core = running.start()
    go_on = threading.Event()
    core.on_tick = lambda: [go_on.wait(20)].clear()
    for partition in (0, 1):
        running.send(*numbered(0, 3000), partition=partition)
    await asyncio.sleep(0.3)  # not for luck: with less waiting the test is only weaker
    go_on.set()
    for partition in (0, 1):
        assert await running.receives(3000, partition) == numbered(0, 3000)
        await running.commits(3000, partition)


async def test_stopping_takes_less_than_five_seconds_with_unresolved_frames(running: Running) -> None:
    running.start().held.add((0, 0))
    running.send(*numbered(0, 2000))
    await running.receives(2000)
    assert await running.end() == 0
    assert running.log.committed(0) == 0


async def test_stopping_takes_less_than_five_seconds_with_a_core_that_hangs(running: Running) -> None:
    core, go_on, hanging = running.start(), threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        go_on.wait(20)

    core.on_tick = hang
    assert await asyncio.to_thread(hanging.wait, 10)
    assert await running.end() == 0
    go_on.set()


async def test_a_stop_before_the_start_is_done_ends_too(running: Running) -> None:
    running.start()
    assert await running.end() == 0


async def test_a_thread_may_ask_for_the_stop(running: Running) -> None:
    stop = threading.Event()
    status = asyncio.create_task(run_core(running.settings, running.core, running.log, stop))
    running.send(b"frame 0")
    await running.receives(1)
    stop.set()
    assert await asyncio.wait_for(status, 5) == 0


async def test_frames_that_wait_while_nothing_moves_end_the_process(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stream, "WATCH_SECONDS", 0.1)
    core, go_on = running.start(stall_seconds=0.5), threading.Event()
    running.send(b"frame 0")
    await running.receives(1)
    hanging = threading.Event()

    def hang() -> None:
        hanging.set()
        go_on.wait(20)

    core.on_tick = hang
    assert await asyncio.to_thread(hanging.wait, 10)
    running.send(b"frame 1")
    assert await running.ended() == 3
    assert "nothing has moved" in caplog.text
    go_on.set()


async def test_unresolved_frames_alone_do_not_end_the_process(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The target lags: everything was received, and the core waits for it."""
    monkeypatch.setattr(stream, "WATCH_SECONDS", 0.02)
    running.start(stall_seconds=0.1).held.add((0, 0))
    running.send(*numbered(0, 3))
    await running.receives(3)
    await running.ticks(10)
    assert await running.end() == 0


async def test_nothing_is_written_to_the_working_directory(
    running: Running, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(folder)
    running.start()
    running.send(b"frame 0")
    await running.receives(1)
    await running.end()
    assert list(folder.iterdir()) == []


async def test_the_memory_transport_needs_its_log(tmp_path: Path) -> None:
    with pytest.raises(Defect):
        build_app(memory_settings(tmp_path), FakeCore(), None)


class TestAssignments:
    """Partitions that go and come, as in a group of several cores."""

    @pytest.fixture
    async def app(self, running: Running) -> AsyncIterator[Any]:
        app = build_app(running.settings, running.core, running.log)
        await app.start()
        yield app
        await app.stop()
        app.feed.close()

    async def test_a_revoked_partition_is_forgotten_and_comes_again_from_its_committed_offset(
        self, running: Running, app: Any
    ) -> None:
        running.core.held.add((1, 2))
        running.send(*numbered(0, 5))
        running.send(*numbered(0, 5), partition=1)
        await running.receives(5, partition=1)
        await running.commits(2, partition=1)
        await app.consumer.assign([0])
        assert running.core.since_assigned.keys() == {0}
        running.send(*numbered(5, 6), partition=1)
        await running.ticks()
        assert len(running.frames(1)) == 5

        running.core.held.clear()
        await app.consumer.assign([0, 1])
        assert (await running.receives(9, partition=1))[5:] == numbered(2, 6)
        await running.commits(6, partition=1)
        assert running.core.since_assigned[1] == [2, 3, 4, 5]

    async def test_rebalances_under_load_lose_nothing(self, running: Running, app: Any) -> None:
        for number in range(20):
            for partition in (0, 1):
                running.send(*numbered(100 * number, 100 * (number + 1)), partition=partition)
            await app.consumer.assign([number % 2] if number % 3 else [0, 1])
        await app.consumer.assign([0, 1])
        for partition in (0, 1):
            await running.commits(2000, partition)
            assert set(running.frames(partition)) == set(numbered(0, 2000))


def test_the_logs_of_client_libraries_do_not_flood(caplog: pytest.LogCaptureFixture) -> None:
    from auditor.transports.kafka import OncePerWhile, limit_client_logs

    client = logging.getLogger("aiokafka.some_client")
    limit_client_logs()
    limit_client_logs()
    assert [type(one) for one in client.filters] == [OncePerWhile]
    for node in range(1000):
        client.warning("cannot reach node %d", node)
    client.warning("something else")
    assert len(caplog.records) == 2
