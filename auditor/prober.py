"""The process of the probes: two lanes of looks, a heartbeat, and records that are written as soon as they can be."""

import logging
import os
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from auditor.peers import Peers
from auditor.probing import QUICK, SLOW, Lane
from auditor.records import Records, open_records
from auditor.settings import Settings
from auditor.threads import Threads, stop_on_signal
from comparators.errors import AuditorError, StoreUnavailable

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
TICK_SECONDS = 0.25


class RecordsDesk:
    """Writes records; what could not be written is kept, newest value only, and written with the next heartbeat."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._lock = threading.Lock()
        self._kept: dict[str, Mapping[str, Any] | None] = {}
        self._memories: dict[str, Mapping[str, Any]] = {}

    def put(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write now, together with what was kept."""
        with self._lock:
            self._kept = {**self._kept, **items}
            try:
                self._records.put(self._kept)
            except StoreUnavailable as error:
                log.warning("records: %s", error, extra={"action": "publish-failed"})
            else:
                self._kept = {}


    def keep(self, key: str, value: Mapping[str, Any]) -> None:
        """Store a memory where it changed; one that is too large for the store must not hold up the rest."""
        if self._memories.get(key) == value:
            return
        try:
            self._records.put({key: value})
        except AuditorError as error:
            log.warning("%s: %s", key, error, extra={"action": "memory-unstored"})
        else:
            self._memories[key] = value


class Prober:
    """The lanes of one migration; `run` in the main thread."""

    def __init__(self, settings: Settings, records: Records) -> None:
        self._peers, self._desk = Peers(records), RecordsDesk(records)
        self._started = time.time()
        self._incarnation = f"prober-{self._started:.6f}"
        self.lanes = [
            Lane(name, groups, settings, self._desk, self._incarnation, self._peers)
            for name, groups in (("quick", QUICK), ("slow", SLOW))
        ]

    def run(self, threads: Threads) -> None:
        """Look until told to stop."""
        self._peers.refresh()
        for lane in self.lanes:
            threads.start(f"probes-{lane.name}", lane.run)
        written = float("-inf")
        while not threads.stop.is_set():
            self._peers.refresh()
            if time.monotonic() >= written + HEARTBEAT_SECONDS:
                written = time.monotonic()
                self._desk.put({"process/prober": self._alive()})
            threads.stop.wait(TICK_SECONDS)

    def cancel(self) -> None:
        """Have the servers drop what is under way, so that the lanes can end."""
        for lane in self.lanes:
            lane.cancel()

    def _alive(self) -> dict[str, Any]:
        return {
            "incarnation": self._incarnation, "pid": os.getpid(), "started_at": self._started,
            "heartbeat": time.time(), "restarts": 0, "error": None,
        }  # fmt: skip


def run_prober(settings: Settings) -> int:
    """Run the prober of a migration until SIGTERM.

    Returns:
        The exit status.
    Raises:
        AuditorError: a thread ended with what a person must change.
    """
    if settings.transport is not None:
        from auditor.topics import ensure_topics  # 20 MB, which who has no broker need not pay

        ensure_topics(settings)
    threads = Threads(stop_on_signal())
    with closing(open_records(settings)) as records:
        prober = Prober(settings, records)
        try:
            prober.run(threads)
        finally:
            threads.stop.set()
            prober.cancel()
            threads.join()
    if threads.failure is not None:
        raise threads.failure
    return 0
