"""The sampler processes: which threads run for which sides, and how they end together."""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Sequence

from auditor.core import build_core
from auditor.evidence_key import evidence_key
from auditor.peers import Peers
from auditor.publishing import Publisher
from auditor.reading import SideReader, SideState, Watches
from auditor.recheck import Rechecker
from auditor.records import open_records
from auditor.scoping import ScopeKeeper, load_scope
from auditor.sealing import Sealer
from auditor.settings import Settings
from auditor.sinks import Sink, open_sink
from auditor.stream import run_core
from auditor.threads import Threads, stop_on_signal
from auditor.topics import ensure_topics
from auditor.transports.memory import MemoryLog
from comparators.errors import NeedsOperator, SettingInvalid
from comparators.positions import Side
from samplers.marker import Marker
from samplers.progress import ApplyWatch, Nudge, SourceWatch

log = logging.getLogger(__name__)

FIRST_SCOPE_SECONDS = 30.0
SWITCH_SECONDS = 0.0005
"""How long a busy thread may keep the others waiting: the apply watch times what happens within milliseconds."""


def start_samplers(
    settings: Settings, sides: Sequence[Side], open_sink: Callable[[Side], Sink], threads: Threads
) -> None:
    """Start every thread that reading some sides takes.

    Raises:
        NeedsOperator: nothing can be read before a person acts, such as a missing baseline or subscription.
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    records = open_records(settings)
    peers = Peers(records)
    peers.refresh()
    if peers.baseline() is None:
        raise NeedsOperator("no baseline is recorded for this migration", hint="run `auditor prepare`")
    sealer = Sealer(evidence_key(settings))
    keeper = ScopeKeeper(lambda: load_scope(settings))
    _first_scope(keeper, threads.stop)
    watches = _watches(settings, sides, keeper, peers)
    states = [SideState(side) for side in sides]
    publisher = Publisher(settings, records, peers, states, keeper, watches)
    publisher.publish()  # the core must know the tables before their first frame
    threads.start("scope", keeper.run)
    if watches.source:
        threads.start("source-watch", watches.source.run)
    if watches.apply and watches.nudge:
        threads.start("apply-watch", watches.apply.run)
        threads.start("nudge", watches.nudge.run)
        threads.start("marker", _marker(settings, keeper, peers).run)
        threads.start("recheck", Rechecker(settings, open_records(settings), sealer, keeper, watches.apply).run)
    threads.start("publisher", publisher.run)
    for state in states:
        reader = SideReader(settings, state, peers, sealer, open_sink, keeper, watches)
        threads.start(f"{state.side}-reader", reader.run)


def _first_scope(keeper: ScopeKeeper, stop: threading.Event) -> None:
    """Read the catalogs before anything is judged; a side that is down is waited for."""
    deadline = time.monotonic() + FIRST_SCOPE_SECONDS
    keeper.read()
    while keeper.current is None and not stop.is_set():
        if time.monotonic() > deadline:
            raise NeedsOperator(str(keeper.error), hint="check that both sides can be reached, then start again")
        log.warning("waiting for both sides: %s", keeper.error, extra={"action": "waiting"})
        stop.wait(1.0)
        keeper.read()


def _watches(settings: Settings, sides: Sequence[Side], keeper: ScopeKeeper, peers: Peers) -> Watches:
    catalogs = keeper.catalogs
    if catalogs is None:
        return Watches()
    label = f"auditor {settings.migration}"
    source = SourceWatch(
        settings.source.conninfo(), [s.slot_name for s in catalogs.subscriptions], application_name=label
    )
    if Side.TARGET not in sides:
        return Watches(source=source)
    conninfo = settings.target.conninfo()
    apply = ApplyWatch(conninfo, keeper.origins, source, window_ms=settings.window_ms, application_name=label)
    wanted = _nudge_wanted(settings, peers)
    nudge = Nudge(conninfo, settings.nudge.interval_ms / 1000, wanted, application_name=label)
    return Watches(source=source, apply=apply, nudge=nudge)


def _marker(settings: Settings, keeper: ScopeKeeper, peers: Peers) -> Marker:
    name = f"{settings.names.schema}.marker"

    def installed() -> bool:
        table = keeper.now().tables.get(name)
        return table is not None and table.ready and not peers.committed()

    label = f"auditor marker {settings.migration}"
    return Marker(settings.source.conninfo(), settings.names.schema, installed, application_name=label)


def _nudge_wanted(settings: Settings, peers: Peers) -> Callable[[bool], bool]:
    """Decide on the nudge: always where it is free of transaction ids, else while somebody waits for an answer."""

    def wanted(takes_xids: bool) -> bool:
        if settings.nudge.mode != "auto":
            return settings.nudge.mode == "on"
        if not takes_xids:
            return True
        now = time.time()
        return any(float(value["until"]) > now for value in peers.below("wait/").values())

    return wanted


def run_sampler(settings: Settings, side: Side) -> int:
    """Run the sampler of one side until SIGTERM; Kafka carries its frames.

    Returns:
        The exit status.
    """
    if settings.transport is None:
        raise SettingInvalid(
            "transport: memory keeps samplers and core in one process", hint="use `auditor run`, or configure Kafka"
        )
    ensure_topics(settings)
    threads = Threads(stop_on_signal())
    try:
        start_samplers(settings, [side], lambda side: open_sink(settings, side, None), threads)
        threads.stop.wait()
    finally:
        threads.join()
    if threads.failure is not None:
        raise threads.failure
    return 0


def run_worker(settings: Settings) -> int:
    """Run both samplers and the core in this process until SIGTERM, joined by memory.

    Returns:
        The exit status.
    """
    if settings.transport is not None:
        raise SettingInvalid("transport: frames go through Kafka", hint="run `auditor sampler` and `auditor core`")
    frames = MemoryLog(settings.partitions)
    core = build_core(settings, open_records(settings))
    threads = Threads(stop_on_signal())
    try:
        start_samplers(settings, list(Side), lambda side: open_sink(settings, side, frames), threads)
        status = asyncio.run(run_core(settings, core, frames, threads.stop))
    finally:
        threads.join()
    if threads.failure is not None:
        raise threads.failure
    return status
