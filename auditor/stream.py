"""The Faust app around the core: frames in, resolved offsets out, and the process that runs it.

An offset is committed only when the core has stored everything that came of the frames up to it, so a restart reads
again what was not resolved, and nothing else is ever needed to rebuild the core's state.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import faust
from faust.types import TP
from mode import CrashingSupervisor

from auditor.brokers import MAX_MESSAGE_BYTES
from auditor.dead_letters import DeadLetters
from auditor.feed import Core, Feed
from auditor.records import open_records
from auditor.settings import KafkaSettings, Settings
from auditor.topics import ensure_topics
from auditor.transports import kafka, memory
from auditor.transports.memory import MemoryLog
from comparators.errors import AuditorError, Defect, NeedsOperator, StoreUnavailable

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.05
"""How often the core stores its results."""

STALL_SECONDS = 60.0
"""Frames that wait so long while nothing moves mean that the process must be replaced."""

START_SECONDS = 60.0
"""How long the app may take to have its partitions."""

WATCH_SECONDS = 2.0
"""How often that is looked at."""

LAST_TICK_SECONDS = 1.5
STOP_SECONDS = 2.5
"""What stopping may take, together below five seconds; what is not committed by then is read again."""

EXIT_STOPPED, EXIT_FAILED, EXIT_OPERATOR = 0, 3, 4

COMMON: dict[str, Any] = {
    "autodiscover": False,
    "key_serializer": "raw",
    "value_serializer": "raw",
    "topic_allow_declare": False,  # topics are made and checked by auditor.topics
    "topic_disable_leader": True,
    "stream_wait_empty": False,  # unresolved frames would hold up the stop for ever
    "stream_buffer_maxsize": 256,  # frames of 40 KB: 10 MB
    "table_standby_replicas": 0,
    "web_enabled": False,
}
MEMORY: dict[str, Any] = {
    "broker": "mem://",
    "broker_commit_interval": 0.05,  # the slots are confirmed by it
}
KAFKA: dict[str, Any] = {
    "broker_commit_interval": 0.25,
    "broker_max_poll_records": 500,
    "broker_session_timeout": 30.0,  # a core that is gone for longer loses its partitions to another
    "consumer_auto_offset_reset": "earliest",
    "consumer_max_fetch_size": 2 * MAX_MESSAGE_BYTES,
    "producer_max_request_size": MAX_MESSAGE_BYTES,
}


class CoreApp(faust.App):
    """A Faust app with a core; it keeps nothing on disk."""

    feed: Feed
    dead_letters: DeadLetters

    def _create_directories(self) -> None:
        """Make none: there are no tables."""


def build_app(settings: Settings, core: Core, log: MemoryLog | None) -> CoreApp:
    """Put an app together.

    Args:
        log: where frames come from when the transport is memory.
    Raises:
        Defect: the transport is memory and there is no log.
    """
    name = f"auditor.{settings.migration}.core"
    if settings.transport is not None:
        app = CoreApp(name, **COMMON, **KAFKA, **_kafka_options(settings.transport))
        app.transport = app.producer_transport = kafka.Transport(settings.transport, app)
    elif log is not None:
        app = CoreApp(name, **COMMON, **MEMORY)
        app.transport = app.producer_transport = memory.Transport(log, app)
    else:
        raise Defect("the memory transport needs the log of its process")
    _attach(app, settings, core)
    return app


def _kafka_options(settings: KafkaSettings) -> dict[str, Any]:
    return {
        "broker": [f"kafka://{server}" for server in settings.bootstrap],
        "broker_credentials": kafka.broker_credentials(settings.client_options()),
        # Static membership: a core that restarts on the same host has its partitions back without a rebalance.
        "consumer_group_instance_id": f"core-{socket.gethostname()}",
    }


def _attach(app: CoreApp, settings: Settings, core: Core) -> None:
    changes = settings.names.topics.changes
    app.dead_letters = DeadLetters(settings, app)
    app.feed = Feed(core, app.dead_letters.put, lambda p, offset: app.consumer.resolve(TP(changes, p), offset))
    topic = app.topic(changes, key_serializer="raw", value_serializer="raw", partitions=settings.partitions)

    async def join(stream: Any) -> None:
        async for event in stream.noack().events():
            await app.feed.receive(event.message.partition, event.message.offset, event.value)

    app.agent(topic, name="join", concurrency=1, supervisor_strategy=CrashingSupervisor)(join)
    app.timer(TICK_SECONDS, name="tick")(app.feed.tick)


class Watchdog:
    """Notices that frames wait and nothing moves."""

    def __init__(self, limit_seconds: float = STALL_SECONDS) -> None:
        self._limit_seconds = limit_seconds
        self._moves = -1
        self._since = 0.0

    def stalled(self, waiting: bool, moves: int, now: float) -> bool:
        """Look once.

        Args:
            waiting: whether there are frames that were not received, or nobody can tell.
            moves: how often anything moved so far.
            now: seconds on any steady clock.
        """
        if not waiting or moves != self._moves:
            self._moves, self._since = moves, now
        return now - self._since >= self._limit_seconds


async def frames_wait(app: CoreApp) -> bool:
    """Say whether the transport has frames that the core has not received; if it cannot be asked, assume so."""
    try:
        async with asyncio.timeout(WATCH_SECONDS):
            assigned = set(app.consumer.assignment())
            if not assigned:
                return False
            ends = await app.consumer.highwaters(*assigned)
            starts = await app.consumer.earliest_offsets(*assigned)
    except Exception:
        return True
    for tp in assigned:
        received = app.feed.received(tp.partition)
        committed = app.consumer._committed_offset[TP(tp.topic, tp.partition)] or 0
        start = max(committed, starts[tp] or 0) if received is None else received + 1
        if (ends[tp] or 0) > start:
            return True
    return False


async def run_core(
    settings: Settings,
    core: Core,
    log: MemoryLog | None,
    stop: asyncio.Event | threading.Event,
    *,
    stall_seconds: float = STALL_SECONDS,
) -> int:
    """Run the core until `stop` is set or it cannot go on.

    Args:
        log: where frames come from when the transport is memory.
        stall_seconds: how long frames may wait while nothing moves.
    Returns:
        The exit status for the process: 0 stopped as asked, 3 failed, 4 a person is needed. The reason is logged.
    """
    kafka.limit_client_logs()
    app = build_app(settings, core, log)
    starting = asyncio.create_task(app.start())
    stalling = asyncio.create_task(_stall(app, starting, Watchdog(stall_seconds)))
    try:
        while not stop.is_set():
            if (error := _failure(app, starting, stalling)) is not None:
                return _explain(error)
            await asyncio.sleep(TICK_SECONDS)
        return EXIT_STOPPED
    finally:
        stalling.cancel()
        await _stop(app, starting)


async def _stall(app: CoreApp, starting: "asyncio.Task[None]", watchdog: Watchdog) -> None:
    """Return once frames wait and nothing moves, or the app does not get going."""
    await asyncio.wait({starting}, timeout=START_SECONDS)
    if not starting.done():
        return
    gc.collect()
    gc.freeze()  # what is there now stays: full collections need not look at it again
    while not watchdog.stalled(await frames_wait(app), app.feed.moves, time.monotonic()):
        await asyncio.sleep(WATCH_SECONDS)


def _failure(app: CoreApp, starting: "asyncio.Task[None]", stalling: "asyncio.Task[None]") -> BaseException | None:
    if app.feed.failure is not None:
        return app.feed.failure
    if starting.done() and (error := starting.exception()) is not None:
        return error
    if stalling.done():
        return stalling.exception() or StoreUnavailable("nothing has moved for a long time")
    if app.crashed:
        reason: BaseException | None = app.crash_reason
        return reason or Defect("the app stopped by itself")
    return None


def _explain(error: BaseException) -> int:
    error = kafka.sorted_error(error)
    if isinstance(error, NeedsOperator):
        logger.error("The core stops: %s (%s)", error, error.hint, extra={"action": "stop"})
        return EXIT_OPERATOR
    unexpected = None if isinstance(error, AuditorError) else error
    message = str(error) or type(error).__name__
    logger.error("The core stops: %s", message, extra={"action": "stop"}, exc_info=unexpected)
    return EXIT_FAILED


async def _stop(app: CoreApp, starting: "asyncio.Task[None]") -> None:
    """Store and commit what is resolved, then stop; never take long, since what is lost here is only read again."""
    if starting.done() and app.feed.failure is None and not app.crashed:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(app.feed.tick(), LAST_TICK_SECONDS)
    starting.cancel()
    stopping = asyncio.create_task(app.stop())
    try:
        await asyncio.wait({stopping}, timeout=STOP_SECONDS)
        if not stopping.done():
            stopping.cancel()  # not awaited: a client without its broker takes seconds more
            logger.warning("The core's clients did not stop in time", extra={"action": "stop"})
        elif (error := stopping.exception()) is not None:
            logger.warning("The core's clients stopped with an error: %r", error, extra={"action": "stop"})
    finally:
        app.feed.close()
        app.dead_letters.close()
        gc.unfreeze()


def run_core_process(settings: Settings) -> int:
    """Run the core as a process of its own, on Kafka, until SIGTERM or SIGINT.

    Returns:
        The exit status, as of `run_core`.
    """
    from auditor.core import build_core  # here, as it may import what this module offers

    try:
        ensure_topics(settings)
        records = open_records(settings)
        try:
            return _run_until_signal(lambda stop: run_core(settings, build_core(settings, records), None, stop))
        finally:
            records.close()
    except AuditorError as error:
        return _explain(error)


def _run_until_signal(run: Callable[[asyncio.Event], Any]) -> int:
    async def main() -> int:
        stop = asyncio.Event()
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, stop.set)
        status = int(await run(stop))
        _leave_anyway(status)
        return status

    return asyncio.run(main())


def _leave_anyway(status: int, seconds: float = 0.8) -> None:
    """End the process soon even if a client's thread never ends."""
    timer = threading.Timer(seconds, os._exit, [status])
    timer.daemon = True
    timer.start()
