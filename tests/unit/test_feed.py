"""What the core is told and when, whatever the consumer does."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest

from auditor import stream
from auditor.feed import Feed
from auditor.stream import Watchdog
from comparators.errors import NotPermitted, StoreUnavailable
from tests.fake_core import FakeCore
from tests.migrations import memory_settings


class Fed(NamedTuple):
    core: FakeCore
    feed: Feed
    resolved: list[tuple[int, int]]
    set_aside: list[tuple[int, int, bytes, str]]


@pytest.fixture
async def fed() -> AsyncIterator[Fed]:
    resolved: list[tuple[int, int]] = []
    letters: list[tuple[int, int, bytes, str]] = []

    async def set_aside(*letter: object) -> None:
        letters.append(letter)  # type: ignore[arg-type]

    core = FakeCore()
    feed = Feed(core, set_aside, lambda partition, offset: resolved.append((partition, offset)))
    await feed.assign({0, 1})
    yield Fed(core, feed, resolved, letters)
    feed.close()


async def receive(fed: Fed, *offsets: int, partition: int = 0) -> None:
    for offset in offsets:
        await fed.feed.receive(partition, offset, b"frame")


async def test_what_is_resolved_is_passed_on_once(fed: Fed) -> None:
    await receive(fed, 0, 1, 2)
    await fed.feed.tick()
    await fed.feed.tick()
    assert fed.resolved == [(0, 2)]


async def test_nothing_is_resolved_past_a_frame_that_is_not(fed: Fed) -> None:
    fed.core.held.add((0, 1))
    await receive(fed, 0, 1, 2)
    await fed.feed.tick()
    assert fed.resolved == [(0, 0)]
    fed.core.held.clear()
    await fed.feed.tick()
    assert fed.resolved == [(0, 0), (0, 2)]


async def test_a_frame_of_a_partition_that_was_revoked_is_not_shown(fed: Fed) -> None:
    await receive(fed, 0)
    await fed.feed.revoke({0})
    await receive(fed, 1)
    assert fed.core.received == [(0, 0, b"frame")]
    await fed.feed.tick()
    assert fed.resolved == []


async def test_an_assignment_starts_every_partition_anew(fed: Fed) -> None:
    """Faust sets all of them back to their committed offsets, also those that were here before."""
    await receive(fed, 0, 1, 2)
    await fed.feed.assign({0})
    await receive(fed, 1)
    assert fed.core.assignments == [("assign", {0, 1}), ("revoke", {0, 1}), ("assign", {0})]
    assert fed.core.since_assigned == {0: [1]}


async def test_offsets_that_go_back_start_the_partition_anew(fed: Fed) -> None:
    """The consumer was set back without an assignment; the core would take the frames for duplicates."""
    await receive(fed, 5, 6, 57)
    await receive(fed, 5, 6, 7)
    assert fed.core.since_assigned == {0: [5, 6, 7], 1: []}


async def test_a_hole_in_the_offsets_is_passed(fed: Fed) -> None:
    await receive(fed, 3, 9)
    await fed.feed.tick()
    assert fed.resolved == [(0, 9)]


async def test_results_for_frames_that_were_never_received_are_ignored(fed: Fed) -> None:
    await receive(fed, 3)
    fed.core._seen = {0: 9, 7: 1}
    await fed.feed.tick()
    assert fed.resolved == []


async def test_a_poison_frame_is_set_aside_and_then_resolved(fed: Fed) -> None:
    await receive(fed, 0)
    await fed.feed.receive(0, 1, b"poison!")
    await receive(fed, 2)
    await fed.feed.tick()
    assert fed.set_aside == [(0, 1, b"poison!", "the test says so")]
    assert fed.core.poison == [(0, 1, "the test says so")]
    assert fed.resolved == [(0, 2)]
    assert fed.feed.failure is None


async def test_a_poison_frame_that_cannot_be_set_aside_now_is_set_aside_later(
    fed: Fed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.feed.RETRY_SECONDS", 0)
    tries: list[object] = []

    async def fail_twice(*letter: object) -> None:
        tries.append(letter)
        if len(tries) < 3:
            raise StoreUnavailable("away")

    fed.feed._set_aside = fail_twice
    await fed.feed.receive(0, 1, b"poison!")
    assert len(tries) == 3
    assert fed.core.poison == [(0, 1, "the test says so")]


async def test_a_frame_that_the_core_cannot_take_yet_is_tried_again_and_ticks_go_on(
    fed: Fed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("auditor.feed.RETRY_SECONDS", 0)
    fed.core.not_ready = True
    receiving = asyncio.create_task(fed.feed.receive(0, 0, b"frame"))
    for _ in range(5):
        await fed.feed.tick()
    assert not receiving.done()
    fed.core.not_ready = False
    await asyncio.wait_for(receiving, 5)
    assert fed.core.received == [(0, 0, b"frame")]
    assert caplog.text.count("have to wait") == 1


async def test_a_frame_that_waits_is_dropped_when_its_partition_is_revoked(
    fed: Fed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("auditor.feed.RETRY_SECONDS", 0)
    fed.core.not_ready = True
    receiving = asyncio.create_task(fed.feed.receive(0, 0, b"frame"))
    await fed.feed.tick()
    await fed.feed.revoke({0})
    await asyncio.wait_for(receiving, 5)
    assert fed.core.received == []


async def test_the_first_defect_is_kept_as_the_failure(fed: Fed) -> None:
    with pytest.raises(ValueError, match="a defect"):
        await fed.feed.receive(0, 0, b"crash")
    assert str(fed.feed.failure) == "a defect"


async def test_results_that_cannot_be_stored_now_are_stored_later(fed: Fed) -> None:
    def away() -> None:
        raise StoreUnavailable("away")

    await receive(fed, 0)
    fed.core.on_tick = away
    await fed.feed.tick()
    assert (fed.resolved, fed.feed.failure) == ([], None)
    fed.core.on_tick = lambda: None
    await fed.feed.tick()
    assert fed.resolved == [(0, 0)]


async def test_the_core_is_called_by_one_at_a_time_and_the_loop_goes_on(fed: Fed) -> None:
    """The fake core fails when called twice at once."""
    ticking, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        ticking.set()
        assert go_on.wait(10)

    fed.core.on_tick = hang
    tick = asyncio.create_task(fed.feed.tick())
    assert await asyncio.to_thread(ticking.wait, 10)
    others = [asyncio.create_task(one) for one in (receive(fed, 0), fed.feed.revoke({1}), fed.feed.assign({0}))]
    await asyncio.sleep(0)
    assert not any(one.done() for one in others)
    go_on.set()
    await asyncio.gather(tick, *others)
    assert fed.feed.failure is None


def test_the_watchdog_wants_waiting_and_standstill() -> None:
    dog = Watchdog(limit_seconds=60)
    assert not dog.stalled(True, moves=1, now=1000)
    assert not dog.stalled(True, moves=2, now=1059)
    assert not dog.stalled(True, moves=2, now=1118)
    assert not dog.stalled(False, moves=2, now=1119)
    assert not dog.stalled(True, moves=2, now=1178)
    assert dog.stalled(True, moves=2, now=1179)


@pytest.mark.parametrize(
    ("error", "status"), [(StoreUnavailable("no broker"), 3), (NotPermitted("no right", hint="grant it"), 4)]
)
def test_a_process_that_cannot_begin_says_why_and_who_is_needed(
    error: Exception, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(settings: object) -> None:
        raise error

    monkeypatch.setattr(stream, "ensure_topics", fail)
    assert stream.run_core_process(memory_settings(tmp_path)) == status
    assert str(error) in caplog.text
