"""`auditor` with a gate that passes until a test says otherwise, and without audits: for tests of cutovers.

Each command is a process of its own, forked from one that has loaded the program already; everything else is the
program itself, the dead man's process too.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import auditor.cutover.running
import auditor.cutover.wiring
from auditor.cli import main
from auditor.settings import Settings
from orchestrator.deadlines import Deadline
from orchestrator.ports import Facts
from orchestrator.records import now_utc

VERDICT: Mapping[str, Any] = {
    "id": "v_test", "verdict": "PASS", "rate": 1.0, "reasons": [], "needs_person": False, "conditions": {},
    "overrides": [], "accepted": [], "evidence_digest": "sha256:test",
}  # fmt: skip
FIGURES: Mapping[str, Mapping[str, Any]] = {
    "activity": {"oldest_transaction_seconds": 0.01},
    "capacity": {"predicted_drain_seconds": 0.01},
    "lag": {"marker_p99_ms": 5.0},
}


class SaidGate:
    """The gate of an audit that never ran: it says what a test has written into its file, and PASS before that."""

    def __init__(self, settings: Settings) -> None:
        self._file = said_file(settings)

    @classmethod
    def of(cls, settings: Settings) -> "SaidGate":
        return cls(settings)

    def verdict(self, deadline: Deadline) -> Facts:
        said = self._file.read_text() if self._file.exists() else "PASS"
        reasons = [] if said == "PASS" else ["the test says so"]
        return {**VERDICT, "verdict": said, "reasons": reasons, "evaluated_at": _now()}

    def consume(self, verdict: str, cutover: str, deadline: Deadline) -> Facts:
        return {"receipt": {"id": verdict, "cutover": cutover}}

    def figures(self, deadline: Deadline) -> Mapping[str, Mapping[str, Any]]:
        return FIGURES

    def blocking(self, deadline: Deadline) -> list[Mapping[str, Any]]:
        return []


def _now() -> str:
    return now_utc().isoformat(timespec="microseconds")


def said_file(settings: Settings) -> Path:
    """Name the file that the gate reads."""
    return settings.state_dir / "said"


class NoAudit:
    """A reverse audit that is content without looking."""

    def __init__(self, settings: Settings) -> None:
        pass

    def start(self, deadline: Deadline) -> Facts:
        return {"ready": True}

    def verdict(self, deadline: Deadline) -> Facts:
        return {**VERDICT, "evaluated_at": _now()}

    def stop(self, deadline: Deadline) -> Facts:
        return {"stopped": True}


def not_drawn(settings: Settings) -> Callable[[int, int], None]:
    """Tell nobody of fence and commit line: no audit listens."""
    return lambda fence, line: None


def perform(words: Sequence[str], log: Path) -> None:
    """Run one command in this process, which ends with its exit code."""
    os.setsid()
    with log.open("ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    where = "auditor.cutover.wiring"
    with (
        patch(f"{where}.HttpGate", SaidGate),
        patch(f"{where}.ReverseAudit", NoAudit),
        patch(f"{where}.draw_forward", not_drawn),
        patch(f"{where}.draw_back", not_drawn),
    ):
        code = main(words)
    sys.stdout.flush()
    os._exit(code)


class Forked:
    """A command under way."""

    def __init__(self, words: Sequence[str], log: Path) -> None:
        self._log = log
        self._process = _FORKS.Process(target=perform, args=(list(words), log))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    @property
    def exit_code(self) -> int | None:
        return self._process.exitcode

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    def kill(self) -> None:
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
            self._process.join()

    def stop(self, request: signal.Signals, seconds: float) -> bool:
        if self.alive:
            os.kill(self.pid, request)
        self._process.join(seconds)
        return not self.alive


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([__name__, auditor.cutover.running.__name__, auditor.cutover.wiring.__name__])
