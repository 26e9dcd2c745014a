"""The archiver's process: a bundle of evidence again and again. What fails is said and tried again; it ends nothing."""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from auditor.bundles.places import Place, open_place
from auditor.evidence_command import export
from auditor.records import Records, open_records
from auditor.settings import ExportSettings, Settings
from auditor.threads import stop_on_signal
from comparators.errors import AuditorError, Defect, SettingInvalid

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 5.0, 600.0


def run_archiver(settings: Settings) -> int:
    """Export in the foreground until SIGTERM or SIGINT.

    Raises:
        SettingInvalid: no destination is configured.
    """
    how = settings.evidence.export
    if how is None:
        raise SettingInvalid("evidence.export is not set", hint="set evidence.export: {to: s3://BUCKET/PREFIX}")
    stop = stop_on_signal()
    archiver = Archiver(settings, how)
    # not waited for at the end: an upload may hang, and half a bundle has no manifest and counts for nothing
    threading.Thread(target=archiver.work, args=(stop,), name="exports", daemon=True).start()
    while not stop.wait(HEARTBEAT_SECONDS):
        archiver.report()
    return 0


def retry_seconds(failures: int, every: float) -> float:
    """Say how long to wait after so many failures in a row; never longer than the pause between two exports."""
    return float(min(every, LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10)))


class Archiver:
    """Exports, and remembers what became of it."""

    def __init__(
        self, settings: Settings, how: ExportSettings, open_to: Callable[[str, ExportSettings], Place] = open_place
    ) -> None:
        self._settings, self._how, self._open = settings, how, open_to
        self._state: dict[str, Any] = {
            "incarnation": uuid.uuid4().hex,
            "pid": os.getpid(),
            "started_at": time.time(),
            "restarts": 0,
            "error": None,
            "exports": 0,
            "failures": 0,
            "last_bundle": None,
            "last_export": None,
        }
        self._records: Records | None = None

    def work(self, stop: threading.Event) -> None:
        """Export until told to stop."""
        failures = 0
        while not stop.is_set():
            failures = 0 if self.once() else failures + 1
            stop.wait(retry_seconds(failures, self._how.every_seconds) if failures else self._how.every_seconds)

    def once(self) -> bool:
        """Export one bundle; `False` when that failed, and the reason is in the record."""
        try:
            done = export(self._settings, self._open(self._how.to, self._how), go_on=True)
        except Exception as error:  # whatever it is, the audit goes on, and the next try may succeed
            known = isinstance(error, AuditorError) and not isinstance(error, Defect)
            said = str(error) if known else f"{type(error).__name__}: this should not happen"
            log.error("no evidence was exported: %s", said, exc_info=not known, extra={"action": "export"})
            self._state |= {"error": f"no evidence was exported: {said}", "failures": self._state["failures"] + 1}
            return False
        log.info("evidence was exported", extra={"action": "export", "bundle": done.name})
        error_text = f"the verdict log does not hold: {done.broken[0]}" if done.broken else None
        exports = self._state["exports"] + 1
        now = time.time()
        self._state |= {"error": error_text, "exports": exports, "last_bundle": done.name, "last_export": now}
        return True

    def report(self) -> None:
        """Write the record `process/archiver`; a store that is away is said in the log only."""
        try:
            if self._records is None:
                self._records = open_records(self._settings)
            self._records.put({"process/archiver": {**self._state, "heartbeat": time.time()}})
        except AuditorError as error:
            log.warning("the archiver's state cannot be recorded: %s", error)
