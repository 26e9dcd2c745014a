"""The gate's copy of the records: a thread keeps it current, and says since when it could not."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from auditor.evidence import FINDING_AREAS
from auditor.records import Records
from comparators.errors import AuditorError, Retryable, StoreUnavailable

log = logging.getLogger(__name__)

POLL_SECONDS = 0.05
"""SQLite answers in microseconds; a difference should reach the verdict within a few hundredths of a second."""
RETRY_SECONDS = 0.5
URGENT = ("suspect/", "settled/", "accepted/", "gap/", "dead-letter/", "baseline", "override/", "alert/")


@dataclass(frozen=True, slots=True)
class Board:
    """What the records held when they were last read."""

    records: Mapping[str, Mapping[str, Any]]
    read_at: float | None = None
    error: str | None = None
    findings_version: int = 0
    state: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The records without those of findings, which may be thousands."""
    accepted: bool = False
    """Whether any finding was ever accepted: acceptances end by themselves."""


class BoardKeeper:
    """Reads the records again and again in a thread, and writes what the gate has to say in another."""

    def __init__(
        self,
        open_store: Callable[[], Records],
        urgent: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing happens before `start`.

        Args:
            open_store: opens the records; called again until it succeeds.
            urgent: called from the reading thread when findings, gaps or the baseline changed.
        """
        self._open_store, self._urgent, self._clock = open_store, urgent, clock
        self._store: Records | None = None
        self._board = Board({}, error=None)
        self._stop = threading.Event()
        self._hurry = threading.Event()
        self._pending: dict[str, Mapping[str, Any] | None] = {}
        self._pending_lock = threading.Lock()
        self._to_write = threading.Event()
        self._threads = [
            threading.Thread(target=self._guard, args=(work,), name=name, daemon=True)
            for name, work in (("records-reader", self._read_forever), ("records-writer", self._write_forever))
        ]
        self.failure: BaseException | None = None

    @property
    def board(self) -> Board:
        return self._board

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def hurry(self) -> None:
        """Let the records be read at once."""
        self._hurry.set()

    def put(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Hand over values to be written soon; of several for one key the newest wins."""
        with self._pending_lock:
            self._pending.update(items)
        self._to_write.set()

    def store(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write values at once; durable once it returns. For keys that are never handed to `put`.

        Raises:
            StoreUnavailable: nothing is known about what was stored.
        """
        if self._store is None:
            raise StoreUnavailable("the records could not be opened yet")
        self._store.put(items)

    def stop(self, seconds: float = 3.0) -> None:
        """Write what is left, then let go of the store; gives up after a few seconds."""
        self._stop.set()
        self._hurry.set()
        self._to_write.set()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))
        if self._store is not None and not any(thread.is_alive() for thread in self._threads):
            with contextlib.suppress(AuditorError):
                self._store.close()

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as failure:  # a thread must not die unheard: the gate stops with this error
            log.exception("the gate lost its %s", threading.current_thread().name)
            self.failure = failure
            self._urgent()

    def _read_forever(self) -> None:
        while not self._stop.is_set():
            self._hurry.clear()
            try:
                self._read_once()
            except Retryable as error:
                self._board = replace(self._board, error=f"the records cannot be read: {error}")
                self._stop.wait(RETRY_SECONDS)
            else:
                self._hurry.wait(POLL_SECONDS)

    def _read_once(self) -> None:
        if self._store is None:
            self._store = self._open_store()
        at = self._clock()  # before reading: evidence is at least this fresh
        changed = self._store.changes()
        first = self._board.read_at is None
        urgent = any(key.startswith(URGENT) for key in changed)
        self._board = advanced(self._board, changed, at, urgent)
        if urgent or first:
            self._urgent()

    def _write_forever(self) -> None:
        while not (self._stop.is_set() and not self._pending):
            self._to_write.wait()
            self._to_write.clear()
            if not self._write_once() and self._stop.wait(RETRY_SECONDS):
                return

    def _write_once(self) -> bool:
        with self._pending_lock:
            items, self._pending = self._pending, {}
        try:
            if items and self._store is not None:
                self._store.put(items)
                return True
        except Retryable as error:
            log.warning("the gate's records cannot be written: %s", error)
        with self._pending_lock:
            self._pending = {**items, **self._pending}
        if items:
            self._to_write.set()
        return not items


def advanced(board: Board, changed: Mapping[str, dict[str, Any] | None], at: float, urgent: bool = True) -> Board:
    """Give the board with what changed since, read at a time."""
    state = {key: value for key, value in changed.items() if not key.startswith(FINDING_AREAS)}
    return Board(
        records=_patched(board.records, changed),
        read_at=at,
        findings_version=board.findings_version + urgent,
        state=_patched(board.state, state),
        accepted=board.accepted or any(key.startswith("accepted/") for key in changed),
    )


def _patched(
    records: Mapping[str, Mapping[str, Any]], changed: Mapping[str, dict[str, Any] | None]
) -> Mapping[str, Mapping[str, Any]]:
    if not changed:
        return records
    patched = {**records, **{key: value for key, value in changed.items() if value is not None}}
    for key, value in changed.items():
        if value is None:
            patched.pop(key, None)
    return patched
