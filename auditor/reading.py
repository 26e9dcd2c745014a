"""Read one side's slot for as long as the process lives: sessions that start where the slot was confirmed."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from auditor.peers import Peers
from auditor.scoping import ScopeKeeper
from auditor.sealing import Sealer
from auditor.settings import Settings
from auditor.sinks import Sink
from comparators.errors import NeedsOperator, NotReady, PositionLost, Retryable
from comparators.positions import Side
from comparators.sampling import seed_of
from samplers.catalog import server_facts
from samplers.connections import connect
from samplers.progress import ApplyWatch, Nudge, SourceWatch
from samplers.replication import ReplicationStream
from samplers.scope import NEVER, Catalogs, ScopeRouter
from samplers.slots import SlotState, inspect_slot
from samplers.wal import Sampling, WalReader

log = logging.getLogger(__name__)

AHEAD_BYTES = 64 << 20
"""How far one side may be read ahead of the other: beyond it the WAL waits in the slot, not in our memory."""
RETRY_SECONDS = 1.0
HOLD_SECONDS = 5.0
"""How long a stream may stay open without being read."""


@dataclass(slots=True)
class SideState:
    """What is known of one side's reading."""

    side: Side
    reader: WalReader | None = None
    slot: SlotState | None = None
    slot_at: float = 0.0
    """When it was looked at, unix seconds; 0 where nothing may be concluded from its absence."""
    reading: bool = False
    waiting_for: str | None = None
    waiting_since: float = 0.0
    error: str | None = None
    strangers: set[str] = field(default_factory=set)
    ready_from: dict[str, int] = field(default_factory=dict)
    """On the target: own position from which a table's writes without origin are foreign."""
    judged_from: dict[str, int] = field(default_factory=dict)
    """Source position after which a table is judged; 0: as soon as replication brings its rows."""


@dataclass(slots=True)
class Watches:
    """What is watched beside the logs; only where the target is read."""

    source: SourceWatch | None = None
    apply: ApplyWatch | None = None
    nudge: Nudge | None = None

    def follow(self, catalogs: Catalogs) -> None:
        """Watch the subscriptions as they are now."""
        if self.source:
            self.source.follow([one.slot_name for one in catalogs.subscriptions])
        if self.apply:
            self.apply.follow([one.origin_name for one in catalogs.subscriptions])


class SideReader:
    """Reads one side's slot for as long as the process lives."""

    def __init__(
        self, settings: Settings, state: SideState, peers: Peers, sealer: Sealer, open_sink: Callable[[Side], Sink],
        scope: ScopeKeeper, watches: Watches,
    ) -> None:  # fmt: skip
        self._settings, self._state, self._peers, self._sealer = settings, state, peers, sealer
        self._open_sink, self._scope, self._watches = open_sink, scope, watches

    def run(self, stop: threading.Event) -> None:
        """Read until told to stop; start again from the slot after every interruption."""
        while not stop.is_set():
            try:
                self._session(stop)
            except (Retryable, NeedsOperator) as error:
                if self._state.error != str(error):  # said once, not each second of an outage
                    log.warning("%s sampler: %s", self._state.side, error, extra={"action": "sampler-interrupted"})
                self._state.error = str(error)
            self._state.reading = False
            stop.wait(RETRY_SECONDS)
            while self._still_ahead() and not stop.wait(RETRY_SECONDS):
                pass

    def _session(self, stop: threading.Event) -> None:
        baseline = self._peers.baseline()
        if baseline is None:
            raise NeedsOperator("no baseline is recorded", hint="run `auditor prepare`")
        self._scope.read()  # subscriptions may have been made anew
        if self._scope.catalogs is None or self._scope.error:
            raise NotReady(self._scope.error or "the catalogs were not read yet")
        self._watches.follow(self._scope.catalogs)
        state, names = self._state, self._settings.names
        slot = names.source_slot if state.side is Side.SOURCE else names.target_slot
        start = self._check_side(baseline, slot)
        router = ScopeRouter(
            state.side is Side.SOURCE, self._scope.now, lambda t: state.ready_from.get(t, NEVER), state.strangers
        )
        sink = self._open_sink(state.side)
        stream = ReplicationStream(
            self._conninfo, slot, self._publications(), side=state.side, local_only=self._local_only()
        )
        try:
            state.reader = self._reader(stream, router, sink, start, int(baseline["generation"]))
            self._read(state.reader, router, int(baseline["generation"]), stop)
        finally:
            stream.close()
            sink.close()

    @property
    def _conninfo(self) -> str:
        return self._settings.side(self._state.side).conninfo()

    def _publications(self) -> tuple[str, ...]:
        names = self._settings.names
        if self._state.side is Side.SOURCE:
            return self._settings.replication.publications
        return (names.publication, names.publication_inserts)

    def _local_only(self) -> bool:
        """Say whether the source sends only what was written on it; what is not sent must not be missed.

        Raises:
            NeedsOperator: subscriptions differ in that, so that one slot cannot show what each of them gets.
        """
        catalogs = self._scope.catalogs
        if self._state.side is Side.TARGET or catalogs is None:
            return False
        origins = {one.origin for one in catalogs.subscriptions}
        if len(origins) > 1:
            raise NeedsOperator(
                "the subscriptions differ in `origin`", hint="ALTER SUBSCRIPTION ... SET (origin = ...), all alike"
            )
        return origins == {"none"}

    def _check_side(self, baseline: Mapping[str, Any], slot: str) -> int:
        """Make sure that this is the server, the timeline and the slot of the baseline; give the slot's position."""
        side = self._state.side
        with connect(self._conninfo, application_name=f"auditor {self._settings.migration}") as connection:
            facts = server_facts(connection)
            if facts.system_identifier != baseline[f"{side}_system"]:
                raise PositionLost(
                    f"{side}: this is another server than the one prepared", hint="run `auditor prepare --new-baseline`"
                )
            if facts.timeline != baseline[f"{side}_timeline"]:
                raise PositionLost(
                    f"{side}: the server was failed over or restored (timeline {facts.timeline})",
                    hint="run `auditor prepare --new-baseline`",
                )
            found = inspect_slot(connection, slot)
        self._state.slot = found
        if not found.exists or found.wal_status == "lost" or found.confirmed_flush_lsn is None:
            raise PositionLost(f"{side}: slot {slot} is gone", hint="run `auditor prepare --new-baseline`")
        return int(found.confirmed_flush_lsn)

    def _reader(
        self, stream: ReplicationStream, router: ScopeRouter, sink: Sink, start: int, generation: int
    ) -> WalReader:
        settings, watches = self._settings, self._watches
        sampling = Sampling(
            seed=seed_of(settings.migration), rate=settings.sampling_rate, partitions=settings.partitions,
            subscriptions=self._scope.origins, others=self._scope.other_origins, generation=generation,
            epoch=time.time_ns() // 1000,
        )  # fmt: skip
        target = self._state.side is Side.TARGET
        return WalReader(
            self._state.side, stream, sampling, router, sink, start=start, seal=self._sealer.seal,
            watermark=watches.apply.watermark if target and watches.apply else lambda _subscription, through: through,
            on_applied=watches.apply.on_applied if target and watches.apply else None,
        )  # fmt: skip

    def _read(self, reader: WalReader, router: ScopeRouter, generation: int, stop: threading.Event) -> None:
        state = self._state
        version = self._scope.version
        state.error = None
        while not stop.is_set():
            self._hold_back(reader)
            state.reading = True
            if self._generation() != generation:
                raise NotReady("a new baseline was prepared")
            reader.step(may_read=state.waiting_for is None)
            if router.unexpected:
                router.unexpected = False
                self._scope.read_again()
            if version != self._scope.version:
                version = self._scope.version
                reader.replan()

    def _hold_back(self, reader: WalReader) -> None:
        """Note why reading waits; a stream that is not read for long is closed, as its server could not shut down.

        Raises:
            NotReady: it has waited for long; start again once there is room.
        """
        state, now = self._state, time.monotonic()
        state.waiting_for = self._ahead(reader) or (None if reader.has_room() else "what was read is not resolved yet")
        if state.waiting_for is None:
            state.waiting_since = now
        elif now - state.waiting_since > HOLD_SECONDS:
            raise NotReady(state.waiting_for)

    def _still_ahead(self) -> bool:
        """Say whether a new session would have to wait at once."""
        reader = self._state.reader
        return reader is not None and self._state.waiting_for is not None and self._ahead(reader) is not None

    def _ahead(self, reader: WalReader) -> str | None:
        """Say why reading waits: this side is too far ahead of what the other has shown."""
        if self._state.side is Side.SOURCE:
            other, mine = self._peers.get("sampler/target"), reader.through
            reached = int(other["applied"]) if other else self._floor()
        else:
            other, mine = self._peers.get("sampler/source"), reader.source_position
            reached = int(other["position"]) if other else self._floor()
        if mine - reached <= AHEAD_BYTES:
            return None
        return f"the {self._state.side.other} is {mine - reached} bytes behind"

    def _floor(self) -> int:
        return int((self._peers.baseline() or {}).get("floor", 0))

    def _generation(self) -> int:
        return int((self._peers.baseline() or {}).get("generation", 0))
