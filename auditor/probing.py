"""Look at both sides again and again, each probe at its pace, and record at once what was seen or why nothing was.

Two lanes, each with a session of its own on either side, so that a long look at the catalogs never holds up the look
at replication. A look that fails is recorded as such: good news never outlives the probe that brought it.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any

from auditor.peers import Peers
from auditor.same_server import check_server
from auditor.settings import Settings
from comparators.checklist import GROUPS
from comparators.errors import AuditorError, NeedsOperator, Retryable
from comparators.positions import Side
from comparators.preflight import item_json
from samplers.catalog import server_facts
from samplers.connections import connect
from samplers.probes.base import Asked, KnownSlot, Probe, Reading, Sides

log = logging.getLogger(__name__)

QUICK = ("lag", "replication")
SLOW = tuple(group for group in GROUPS if group not in QUICK)
STATEMENT_SECONDS: Mapping[str, float] = {"quick": 5.0, "slow": 10.0}
AGAIN_SECONDS = 1.0
"""Until the next attempt where a server could not be reached."""
REST = 3.0
"""A probe of the slow lane rests this many times as long as its look took: probing must not become a load."""
CANCEL_SECONDS = 1.0

Publish = Callable[[Mapping[str, Mapping[str, Any] | None]], None]
Baseline = Mapping[str, Any] | None


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
        known_slots={name: KnownSlot(one.owner, one.retained_bytes) for name, one in probes.known_slots.items()},
        known_writers=probes.known_writers,
        wal_budget_bytes=settings.wal_budget_bytes,
        disk_bytes=probes.disk,
    )


def new_probes(groups: Iterable[str], asked: Asked) -> list[Probe]:
    """Make probes without memory."""
    return [import_module(f"samplers.probes.{group}").PROBE(asked) for group in groups]


def open_sides(settings: Settings, statement_seconds: float, baseline: Baseline = None) -> Sides:
    """Open a session on each side, and make sure that it is the server of the baseline.

    Raises:
        SideUnavailable, NotPermitted, PositionLost: as `connect` and `check_server` say.
    """
    name = f"auditor probe {settings.migration}"
    opened = []
    try:
        for side in Side:
            conninfo = settings.side(side).conninfo()
            session = connect(conninfo, application_name=name, statement_seconds=statement_seconds)
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
        self, name: str, groups: Sequence[str], settings: Settings, publish: Publish, incarnation: str, peers: Peers,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        """Args: peers: the records; without a baseline in them there is nothing to look at yet."""
        self.name, self._groups, self._settings = name, groups, settings
        self._publish, self._incarnation, self._peers, self._clock = publish, incarnation, peers, clock
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
        self._generation, self._probes = generation, new_probes(self._groups, self._asked)
        self._due = {probe.group: 0.0 for probe in self._probes}

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
        self._due[probe.group] = time.monotonic() + self._pause(probe, time.monotonic() - began)
        return 0.0

    def _pause(self, probe: Probe, worked: float) -> float:
        pause = self._settings.probes.interval_seconds or probe.every_seconds
        return pause if self.name == "quick" else max(pause, REST * worked)

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
        self._publish({f"probe/{group}": record for group, record in records.items()})

    def _opened(self, baseline: Mapping[str, Any]) -> Sides:
        sides = self._sides
        if sides is None or sides.source.closed or sides.target.closed:
            self._close()
            sides = self._sides = open_sides(self._settings, STATEMENT_SECONDS[self.name], baseline)
        return sides

    def _close(self) -> None:
        sides, self._sides = self._sides, None
        for session in (sides.source, sides.target) if sides else ():
            with suppress(Exception):
                session.close()
