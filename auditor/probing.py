"""Look at both sides again and again, each probe at its pace, and record at once what was seen or why nothing was.

Two lanes, each with a session of its own on either side, so that a long look at the catalogs never holds up the looks
at what moves. A look that fails is recorded as such: good news never outlives the probe that brought it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from auditor.peers import Peers
from auditor.same_server import check_server
from auditor.settings import Names, Settings
from comparators.checklist import GROUPS
from comparators.errors import AuditorError, NeedsOperator, Retryable
from comparators.positions import Side
from comparators.preflight import item_json
from samplers.catalog import server_facts
from samplers.connections import connect
from samplers.probes.base import Asked, KnownSlot, Probe, Reading, Sides

log = logging.getLogger(__name__)

SLOW = ("identity", "settings", "shape", "sequences", "drift")
"""They read catalogs whole."""
QUICK = tuple(group for group in GROUPS if group not in SLOW)
AGAIN_SECONDS = 1.0
"""Until the next attempt where a server could not be reached."""
REST, REST_SECONDS = 3.0, 2.0
"""The slow lane rests this many times as long as a look took, two seconds at most: it must not become a load."""
CANCEL_SECONDS = 1.0

STORED = "shape/baseline"
"""The record of the one probe whose memory outlives it."""

Baseline = Mapping[str, Any] | None


class Desk(Protocol):
    """Where a lane hands in what it saw."""

    def put(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Record what was seen, at once."""

    def keep(self, key: str, value: Mapping[str, Any]) -> None:
        """Store a memory, unless it is stored already."""


@runtime_checkable
class Remembers(Protocol):
    """A probe whose memory is stored, and given to the next one of its kind."""

    def take(self, record: Mapping[str, Any] | None, generation: int) -> None:
        """Go on from what was stored."""

    def record(self) -> dict[str, Any] | None:
        """Give what is to be stored after a look."""


@runtime_checkable
class Resumes(Protocol):
    """A probe that goes on from the figures of its last record."""

    def resume(self, figures: Mapping[str, Any], now: float) -> None:
        """Go on from them; figures that say nothing may hide anything."""


def asked_of(settings: Settings) -> Asked:
    """Take from the settings what the probes are asked."""
    names, probes = settings.names, settings.probes
    return Asked(
        migration=settings.migration,
        publications=settings.replication.publications,
        subscriptions=settings.replication.subscriptions,
        own_schema=names.schema,
        own_slots={"source": names.source_slot, "target": names.target_slot},
        own_publications=(names.publication, names.publication_inserts),
        selects=settings.tables.selects,
        idle_slots=_idle_slots(settings),
        known_slots={name: KnownSlot(one.owner, one.retained_bytes) for name, one in probes.known_slots.items()},
        known_writers=probes.known_writers,
        wal_budget_bytes=settings.wal_budget_bytes,
        disk_bytes=probes.disk,
    )


def _idle_slots(settings: Settings) -> dict[str, tuple[str, ...]]:
    """Name the slots by side that belong to a cutover of the migration, whether anybody reads them now or not."""
    names = settings.names
    if settings.reverse_of is not None:
        forward = Names.of(settings.reverse_of)
        return {"source": (forward.target_slot,), "target": (forward.source_slot, *settings.parked_slots)}
    if settings.cutover is None:
        return {}
    way_back = names.way_back
    return {"source": (f"{way_back}_target",), "target": (way_back, f"{way_back}_source")}


def new_probes(groups: Iterable[str], asked: Asked, stored: Mapping[str, Any] | None, generation: int) -> list[Probe]:
    """Make probes without memory, but for what was stored of it.

    Args:
        stored: the record `STORED`.
    """
    probes: list[Probe] = [import_module(f"samplers.probes.{group}").PROBE(asked) for group in groups]
    for probe in probes:
        if isinstance(probe, Remembers):
            probe.take(stored, generation)
    return probes


def open_sides(settings: Settings, baseline: Baseline = None) -> Sides:
    """Open a session on each side, and make sure that it is the server of the baseline.

    Raises:
        SideUnavailable, NotPermitted, PositionLost: as `connect` and `check_server` say.
    """
    name = f"auditor probe {settings.migration}"
    opened = []
    try:
        for side in Side:
            conninfo = settings.side(side).conninfo()
            session = connect(conninfo, application_name=name)
            opened.append(session)
            if baseline is not None:
                check_server(side, server_facts(session), baseline)
    except BaseException:
        for session in opened:
            session.close()
        raise
    return Sides(*opened)


def said_of(error: Exception) -> str:
    """Say what went wrong, with nothing of the server's beyond its first line."""
    if isinstance(error, Retryable | NeedsOperator | AuditorError):
        return " ".join(str(error).split("\n")[0].split())
    return f"{type(error).__name__}: see the prober's log"


def _numbers(figures: Any) -> dict[str, Any]:
    """Keep what is a number or not known, as a record of any age may hold anything."""
    given = figures if isinstance(figures, Mapping) else {}
    return {name: value for name, value in given.items() if value is None or type(value) in (int, float)}


def record_of(reading: Reading | None, error: str | None, at: float, generation: int, who: str) -> dict[str, Any]:
    """Write what a look gave."""
    seen = reading or Reading()
    return {
        "at": at,
        "generation": generation,
        "incarnation": who,
        "error": error,
        "items": [item_json(item) for item in seen.items],
        "figures": dict(seen.figures),
    }


class Lane:
    """Some probes that take turns on one session of each side."""

    def __init__(
        self, name: str, groups: Sequence[str], settings: Settings, desk: Desk, incarnation: str, peers: Peers,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """Args: peers: the records; without a baseline in them there is nothing to look at yet."""
        self.name, self._groups, self._settings = name, groups, settings
        self._desk, self._incarnation, self._peers, self._clock = desk, incarnation, peers, clock
        self._asked = asked_of(settings)
        self._probes: list[Probe] = []
        self._due: dict[str, float] = {}
        self._sides: Sides | None = None
        self._generation: int | None = None

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        try:
            while not stop.is_set():
                baseline = self._peers.baseline()
                if baseline is None:
                    stop.wait(AGAIN_SECONDS)
                    continue
                self._begin(baseline)
                stop.wait(self._turn(baseline))
        finally:
            self._close()

    def cancel(self) -> None:
        """Have both servers drop what is under way."""
        sides = self._sides
        for session in (sides.source, sides.target) if sides else ():
            with suppress(Exception):  # a connection that is just being closed; the process ends in any case
                session.cancel_safe(timeout=CANCEL_SECONDS)

    def _begin(self, baseline: Mapping[str, Any]) -> None:
        """Forget what was seen under another baseline."""
        generation = int(baseline["generation"])
        if generation == self._generation:
            return
        self._close()
        self._generation, stored = generation, self._peers.get(STORED)
        self._probes = new_probes(self._groups, self._asked, stored, generation)
        self._due = {probe.group: 0.0 for probe in self._probes}
        for probe in self._probes:
            record = self._peers.get(f"probe/{probe.group}")
            if isinstance(probe, Resumes) and record is not None and record.get("generation") == generation:
                probe.resume(_numbers(record.get("figures")), self._clock())

    def _turn(self, baseline: Mapping[str, Any]) -> float:
        """Make the look that is due, and give the seconds until the next one."""
        probe = min(self._probes, key=lambda one: self._due[one.group])
        wait = self._due[probe.group] - time.monotonic()
        if wait > 0:
            return min(wait, AGAIN_SECONDS)
        at, began = self._clock(), time.monotonic()
        try:
            sides = self._opened(baseline)
        except Exception as error:
            self._all_failed(said_of(error), at)
            return AGAIN_SECONDS
        reading, said = self._look(probe, sides, at)
        self._record({probe.group: record_of(reading, said, at, self._generation or 0, self._incarnation)})
        if isinstance(probe, Remembers) and (memory := probe.record()) is not None:
            self._desk.keep(STORED, memory)
        ended = time.monotonic()
        self._due[probe.group] = ended + (self._settings.probes.interval_seconds or probe.every_seconds)
        return min(REST * (ended - began), REST_SECONDS) if self.name == "slow" else 0.0

    def _look(self, probe: Probe, sides: Sides, at: float) -> tuple[Reading | None, str | None]:
        try:
            return probe.look(sides, at), None
        except Exception as error:
            said = said_of(error)
            expected = isinstance(error, Retryable | NeedsOperator)
            about = {"action": "probe-failed", "group": probe.group}
            log.warning("%s: %s", probe.group, said, extra=about, exc_info=None if expected else error)
            self._close()  # the session may be in any state
            return None, said

    def _all_failed(self, said: str, at: float) -> None:
        """What cannot be reached is not known, for every probe of the lane and at once."""
        log.warning("probes: %s", said, extra={"action": "probe-failed"})
        self._record({
            group: record_of(None, said, at, self._generation or 0, self._incarnation) for group in self._groups
        })  # fmt: skip

    def _record(self, records: Mapping[str, Mapping[str, Any]]) -> None:
        self._desk.put({f"probe/{group}": record for group, record in records.items()})

    def _opened(self, baseline: Mapping[str, Any]) -> Sides:
        sides = self._sides
        if sides is None or sides.source.closed or sides.target.closed:
            self._close()
            sides = self._sides = open_sides(self._settings, baseline)
        return sides

    def _close(self) -> None:
        sides, self._sides = self._sides, None
        for session in (sides.source, sides.target) if sides else ():
            with suppress(Exception):
                session.close()
