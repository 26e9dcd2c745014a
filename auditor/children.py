"""One supervised process: how it is started, how its end is told, and when it is started again."""

import contextlib
import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

FIRST_SECONDS, LONGEST_SECONDS = 0.2, 10.0
HEALTHY_SECONDS = 60.0
"""A process that lived this long is not in a crash loop: its next end is treated as its first."""
PERSON_SECONDS = 30.0
"""A person is needed, and trying again soon would only fill the log."""
NEEDS_PERSON = (2, 4)
LAST_LINE_CHARS = 300
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)  # looked up now: between fork and exec nothing may be loaded

Report = Callable[[str, int, str | None], None]
"""Takes a process's name, how often it was started again, and how it last ended."""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """A process to keep alive."""

    name: str
    command: tuple[str, ...]
    lifeline: bool = False
    """The command takes `--lifeline FD`, see `auditor.lifeline`."""


def backoff(failures: int, code: int) -> float:
    """Seconds to wait before starting a process again.

    Args:
        failures: ends in a row, this one included, without a healthy time between them.
        code: its exit code; negative for a signal.
    """
    if code in NEEDS_PERSON:
        return PERSON_SECONDS
    return float(min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(failures - 1, 30)))


class Child:
    """A process and its successors."""

    def __init__(self, spec: ChildSpec, report: Report) -> None:
        self._spec, self._report = spec, report
        self._process: subprocess.Popen[bytes] | None = None
        self._output: _Output | None = None
        self._lifeline: int | None = None
        self._started_at = 0.0
        self._starts = self._failures = 0
        self._last_exit: str | None = None
        self.restart_at: float | None = 0.0
        """When it is due to be started, on the monotonic clock; None while it runs."""

    def look(self) -> None:
        """Notice its end; start it when it is due."""
        if self._process is not None and self._process.poll() is not None:
            self._ended()
        if self.restart_at is not None and time.monotonic() >= self.restart_at:
            self._start()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def end(self, give_up: float) -> None:
        """Wait until it has ended; kill it and all it started when it has not by then."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, give_up - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop and is killed", self._spec.name, extra={"action": "kill"})
        self._release()

    def _start(self) -> None:
        reading, writing = os.pipe2(os.O_CLOEXEC)
        command = [*self._spec.command, *(["--lifeline", str(reading)] if self._spec.lifeline else [])]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(reading,),
                preexec_fn=_die_with(os.getpid()),
                process_group=0,  # Ctrl-C in the terminal is for the supervisor to answer
            )
        finally:
            os.close(reading)
        self._lifeline = writing
        self._output = _Output(self._process, self._spec.name)
        self._started_at, self.restart_at = time.monotonic(), None
        self._starts += 1
        self._report(self._spec.name, self._starts - 1, self._last_exit)
        log.info("%s started", self._spec.name, extra={"action": "start", "child": self._process.pid})

    def _ended(self) -> None:
        assert self._process is not None
        assert self._output is not None
        code = self._process.returncode
        self._release()
        healthy = time.monotonic() - self._started_at >= HEALTHY_SECONDS
        self._failures = 1 if healthy else self._failures + 1
        wait = backoff(self._failures, code)
        self.restart_at = time.monotonic() + wait
        self._last_exit = exit_text(code, self._output.last_line)
        self._report(self._spec.name, self._starts - 1, self._last_exit)
        about = {"action": "restart", "in_seconds": wait, "last_exit": self._last_exit}
        log.error("%s died and is started again", self._spec.name, extra=about)

    def _release(self) -> None:
        """Leave nothing of the ended process: its descendants, its zombie, our ends of its pipes."""
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._output is not None:
            self._output.finish()
        if self._lifeline is not None:
            os.close(self._lifeline)
        self._process = self._lifeline = None


def exit_text(code: int, last_line: str) -> str:
    """Say how a process ended, in words for a verdict's reason."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}"
        return f"killed by signal {-code}"
    return f"exit code {code}: {last_line}" if last_line else f"exit code {code}"


def _die_with(parent: int) -> Callable[[], None]:
    def tie() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the line above
            os._exit(3)

    return tie


class _Output:
    """Passes a process's lines on to our stderr, and remembers the last one."""

    def __init__(self, process: subprocess.Popen[bytes], name: str) -> None:
        self.last_line = ""
        self._process = process
        self._thread = threading.Thread(target=self._pass_on, name=f"output-{name}", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Wait for the rest of the output."""
        self._thread.join(2)

    def _pass_on(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for raw in output:
                line = raw.decode(errors="replace")
                self.last_line = _plain(line) or self.last_line
                with contextlib.suppress(OSError, ValueError):  # nobody reads our stderr any more: the audit goes on
                    sys.stderr.write(line)
                    sys.stderr.flush()


def _plain(line: str) -> str:
    text = line.strip()
    with contextlib.suppress(ValueError):
        if isinstance(document := json.loads(text), dict):
            text = str(document.get("message", text))
    return text[:LAST_LINE_CHARS]
