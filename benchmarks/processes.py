"""A program's run as others see it: seconds, processor time, peak memory, output."""

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

POLL_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Ran:
    """What one run took and wrote."""

    seconds: float
    cpu_seconds: float
    peak_megabytes: float
    code: int
    output: str
    errors: str


class TookTooLong(Exception):
    """A program was killed at its time limit."""


def run(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, *, limit_seconds: float = 900
) -> Ran:
    """Run a program to its end, whatever its exit code.

    The peak is the process's own (VmHWM, looked at while it runs): `ru_maxrss` would count ours before the exec.

    Raises:
        TookTooLong: it had to be killed.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started, peak = time.perf_counter(), 0.0
        process = subprocess.Popen(command, stdout=output, stderr=errors, env={**os.environ, **(environment or {})})
        while True:
            peak = max(peak, _peak_megabytes(process.pid))
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if time.perf_counter() - started > limit_seconds:
                process.kill()
                process.wait()
                raise TookTooLong(f"it had not ended after {limit_seconds:.0f} s")
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)  # it is reaped: Popen must not wait for it again
        texts = []
        for file in (output, errors):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    return Ran(seconds, usage.ru_utime + usage.ru_stime, peak, process.returncode, *texts)


def _peak_megabytes(pid: int) -> float:
    with suppress(FileNotFoundError, ProcessLookupError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0  # it has just ended
