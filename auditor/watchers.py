"""What the supervisor does besides keeping processes alive, each in a thread: nothing here may hold up a restart."""

import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from auditor.settings import Settings, Side
from auditor.status import read_records
from comparators.errors import AuditorError, NeedsOperator

if TYPE_CHECKING:
    from auditor.records import Records

log = logging.getLogger(__name__)

READY_SECONDS = 0.2
BUDGET_SECONDS = 2.0
RETRY_SECONDS = 1.0
FLUSH_SECONDS = 1.0
"""How long the end of the supervisor waits for its last records."""

OpenRecords = Callable[[Settings], "Records"]
Enforce = Callable[[Settings, Side], object]


class Watcher:
    """A thread that does one thing again and again until it is left."""

    def __init__(self, name: str) -> None:
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        self._thread.join(FLUSH_SECONDS)

    def _watch(self) -> None:
        raise NotImplementedError


class RecordsWriter(Watcher):
    """Writes `supervisor/<name>`; while the store is away it keeps the newest of each."""

    def __init__(self, settings: Settings, open_records: OpenRecords | None = None) -> None:
        super().__init__("records")
        self._settings, self._open = settings, open_records
        self._changed = threading.Condition()
        self._unwritten: dict[str, Mapping[str, Any]] = {}

    def report(self, name: str, restarts: int, last_exit: str | None) -> None:
        """Note the state of one process; returns at once."""
        with self._changed:
            self._unwritten[f"supervisor/{name}"] = {"restarts": restarts, "last_exit": last_exit, "at": time.time()}
            self._changed.notify()

    def __exit__(self, *error: Any) -> None:
        with self._changed:
            self._left.set()
            self._changed.notify()
        super().__exit__(*error)

    def _watch(self) -> None:
        while not self._left.is_set() or self._unwritten:
            try:
                with closing(self._opened()) as records:
                    self._write_to(records)
            except AuditorError as error:
                log.warning("cannot record the state of the processes", extra={"reason": str(error)})
                if self._left.wait(RETRY_SECONDS):
                    return

    def _opened(self) -> "Records":
        if self._open is None:
            from auditor.records import open_records

            self._open = open_records
        return self._open(self._settings)

    def _write_to(self, records: "Records") -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._unwritten or self._left.is_set())
                taken, self._unwritten = self._unwritten, {}
            if not taken:
                return
            try:
                records.put(taken)
            except AuditorError:
                with self._changed:
                    self._unwritten = taken | self._unwritten
                raise


class BudgetWatch(Watcher):
    """Drops a slot of ours that holds back more WAL than allowed: a dead sampler would never do it.

    One for each side: a database that hangs must not keep the other's disk from being protected.
    """

    def __init__(self, settings: Settings, side: Side, enforce: Enforce | None = None) -> None:
        super().__init__(f"wal-budget-{side}")
        self._settings, self._side, self._enforce = settings, side, enforce or _enforcing(settings, side)
        self._said: str | None = None

    def _watch(self) -> None:
        while not self._left.wait(BUDGET_SECONDS):
            try:
                self._enforce(self._settings, self._side)
                self._said = None
            except Exception as error:  # whatever it is, it must be tried again: a full disk is worse
                self._complain(error)

    def _complain(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text != self._said:
            hint = {"hint": error.hint} if isinstance(error, NeedsOperator) else {}
            about = {"action": "wal-budget", "side": str(self._side), "reason": text}
            log.warning("the WAL budget of the %s cannot be enforced now", self._side, extra=about | hint)
        self._said = text


class ReadyWatch(Watcher):
    """Says once that the gate is ready."""

    def __init__(self, url: str) -> None:
        super().__init__("ready")
        self._url = url
        self.reached = False

    def _watch(self) -> None:
        # a proxy from the environment must not stand between us and this host
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while not self._left.wait(READY_SECONDS):
            try:
                with opener.open(f"{self._url}/readyz", timeout=2) as answer:
                    if answer.status == 200:
                        break
            except (OSError, urllib.error.URLError, ValueError):
                continue
        else:
            return
        self.reached = True
        log.info("ready: gate at %s", self._url, extra={"action": "ready"})


def _enforcing(settings: Settings, side: Side) -> Enforce:
    """Build what holds every slot of ours on one side to the budget."""
    from auditor.way_back_slot import WayBackSlot

    way_back = WayBackSlot(settings, side)

    def enforce(settings: Settings, side: Side) -> None:
        enforce_budget_of(settings, side)
        way_back.look()

    return enforce


def enforce_budget_of(settings: Settings, side: Side) -> None:
    """Hold our slot on one side to the budget; if it had to go, record the interval that nobody audits now."""
    from auditor.evidence import expected_of, fold
    from auditor.records import open_records
    from auditor.wal_budget import enforcer

    def tell(gaps: Mapping[str, Mapping[str, Any]]) -> None:
        with closing(open_records(settings)) as records:
            records.put(gaps)

    enforcer(tell, lambda: fold(read_records(settings), time.time(), expected_of(settings)))(settings, side)
