"""Each correction of faust's consumer, beside what faust does without it: if faust changes, these say so."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from faust.transport.consumer import Consumer as Stock
from faust.transport.drivers import aiokafka as stock_driver
from faust.types import TP, ConsumerMessage

from auditor.stream import build_app
from auditor.transports import TRIED, kafka, require_tried_versions
from auditor.transports.memory import MemoryLog
from comparators.errors import NotInstalled
from comparators.positions import Side
from tests.fake_core import FakeCore
from tests.helpers import wait_for_async
from tests.migrations import kafka_settings, memory_settings

HOUR = 3600.0


@pytest.fixture
async def consumer(tmp_path: Path) -> Any:
    settings = memory_settings(tmp_path)
    app = build_app(settings, FakeCore(), MemoryLog(2))
    app.consumer._topic = settings.names.topics.changes
    app.topics._acking_topics.add(settings.names.topics.changes)
    return app.consumer


@pytest.fixture
def tp(consumer: Any) -> TP:
    consumer._assigned = {TP(consumer._topic, 0)}
    consumer._positions = {TP(consumer._topic, 0): 0}
    return TP(consumer._topic, 0)


def message(tp: TP, offset: int) -> ConsumerMessage:
    return ConsumerMessage(
        tp.topic, tp.partition, offset, None, None, None, None, b"", None, 0, 0, tp, generation_id=1
    )  # fmt: skip


async def test_nothing_above_a_frame_under_way_is_committed(consumer: Any, tp: TP) -> None:
    """Faust's issue 606: with 31 under way and 32, 33 acknowledged, it commits 34."""
    consumer._committed_offset[tp] = 31
    for acked in (message(tp, 32), message(tp, 33)):
        Stock.ack(consumer, acked)
    assert Stock._new_offset(consumer, tp) == 34

    assert consumer._new_offset(tp) is None
    consumer.resolve(tp, 31)
    assert consumer._new_offset(tp) == 32


async def test_what_a_stream_skips_is_not_committed(consumer: Any, tp: TP) -> None:
    """Faust acknowledges frames that its streams skip while they stop; they were never looked at."""
    skipped = message(tp, 0)
    skipped.incref()
    skipped.ack(consumer)
    assert {} == consumer._filter_committable_offsets(consumer._filter_tps_with_pending_acks())

    Stock.ack(consumer, message(tp, 0))
    assert Stock._new_offset(consumer, tp) == 1


async def test_a_commit_that_failed_is_tried_again(consumer: Any, tp: TP, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust's issue 316: it takes a failed commit for done."""

    async def fail(offsets: Any) -> bool:
        return False

    monkeypatch.setattr(consumer, "_commit", fail)
    consumer.resolve(tp, 6)
    assert {tp: 7} == consumer._filter_committable_offsets([tp])
    await consumer._commit_offsets({tp: 7})
    assert {tp: 7} == consumer._filter_committable_offsets([tp])
    await Stock._commit_offsets(consumer, {tp: 7})
    assert {} == consumer._filter_committable_offsets([tp])


async def test_reading_resumes_as_soon_as_one_of_all_full_partitions_has_room(
    consumer: Any, tp: TP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust sleeps for a second once every partition is full, whatever happens meanwhile."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(consumer, "sleep", sleep)
    consumer._set_active_tps({tp})
    consumer.on_buffer_full(tp)
    await Stock._wait_next_records(consumer, 0.0)
    assert slept == [1]

    monkeypatch.setattr("auditor.transports.resolving.RESUME_SECONDS", HOUR)
    waiting = asyncio.create_task(consumer._wait_next_records(0.0))
    await asyncio.sleep(0)
    assert not waiting.done()
    consumer.on_buffer_drop(tp)
    records, active = await asyncio.wait_for(waiting, 5)
    assert (records, active) == ({}, {tp})
    assert slept == [1]


async def test_a_full_partition_does_not_wait_for_an_idle_one(
    consumer: Any, tp: TP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust waits a second for frames of the idle one before it looks at the other again."""
    waited: list[float] = []

    async def getmany(active_partitions: set[TP], timeout: float) -> dict[TP, Any]:
        waited.append(timeout)
        return {}

    monkeypatch.setattr(consumer, "_getmany", getmany)
    consumer._set_active_tps({tp, TP(tp.topic, 1)})
    await consumer._wait_next_records(1.0)
    consumer.on_buffer_full(tp)
    await Stock._wait_next_records(consumer, 1.0)
    await consumer._wait_next_records(1.0)
    assert waited == [1.0, 1.0, 0.01]


async def test_frames_are_handed_over_without_a_task_for_each(
    consumer: Any, tp: TP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Faust starts four tasks for each message."""
    for drain, tasks in ((Stock._drain_messages, 4), (type(consumer)._drain_messages, 0)):
        assert await _tasks_per_message(consumer, tp, drain, monkeypatch) == tasks


async def _tasks_per_message(consumer: Any, tp: TP, drain: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    delivered: list[int] = []
    created = 0
    consumer._read_offset[tp] = None
    consumer._stopped.clear()

    async def getmany(timeout: float) -> Any:
        for offset in range(10):
            yield tp, message(tp, offset)
        consumer._stopped.set()

    async def callback(one: Any) -> None:
        delivered.append(one.offset)

    def count(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        nonlocal created
        created += 1
        return asyncio.Task(coroutine, loop=loop, **options)

    with monkeypatch.context() as patch:
        patch.setattr(consumer, "getmany", getmany)
        patch.setattr(consumer, "callback", callback)
        loop = asyncio.get_running_loop()
        loop.set_task_factory(count)
        await drain(consumer, consumer.app._fetcher)
        loop.set_task_factory(None)
    assert delivered == list(range(10))
    return created // 10


async def test_a_seek_while_a_frame_waits_for_room_is_not_undone(
    consumer: Any, tp: TP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise all frames between the place sought and the one that waited would be dropped as read."""
    go_on = asyncio.Event()

    async def wait_for_room(one: Any) -> None:
        await go_on.wait()

    monkeypatch.setattr(consumer, "callback", wait_for_room)
    handing_over = asyncio.create_task(consumer._hand_over(tp, message(tp, 57)))
    await asyncio.sleep(0)
    await consumer.perform_seek()
    go_on.set()
    await handing_over
    assert consumer._read_offset[tp] == 0


async def test_the_broker_is_not_asked_to_hold_fetches_for_long(tmp_path: Path) -> None:
    class Nowhere:
        bootstrap = "127.0.0.1:1"

    app = build_app(kafka_settings(Nowhere, tmp_path), FakeCore(), None)
    threads = [stock_driver.AIOKafkaConsumerThread(app.consumer), kafka.ConsumerThread(app.consumer)]
    stock, ours = (thread._create_worker_consumer(app.transport) for thread in threads)
    threads.append(app.consumer._thread)
    assert (stock._fetch_max_wait_ms, ours._fetch_max_wait_ms) == (1500, 100)
    await stock.stop()
    await ours.stop()
    for thread in threads:
        thread.thread_loop.close()


@pytest.mark.parametrize("package", sorted(TRIED))
def test_other_versions_are_refused_by_name(package: str) -> None:
    with pytest.raises(NotInstalled, match=package) as refusal:
        require_tried_versions({**TRIED, package: "99.0"})
    assert f"{package}=={TRIED[package]}" in refusal.value.hint


async def test_a_frame_appended_by_another_thread_wakes_the_reader(consumer: Any, tp: TP) -> None:
    log: MemoryLog = consumer._log
    log.watch(consumer._on_append)
    reading = asyncio.create_task(consumer._getmany({tp}, HOUR))
    await asyncio.sleep(0)
    await asyncio.to_thread(log.append, 0, b"frame", Side.SOURCE)
    await wait_for_async(reading.done, 5, "the reader to wake")
    assert [b"frame"] == [entry.payload for entry in reading.result()[tp]]
