"""Child processes that are servers: started in a session of their own, stopped by pid, killed with their children."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from auditor.servers import leash as leash_program
from comparators.errors import AuditorError

LOG_TAIL_LINES = 20
POLL_SECONDS = 0.02


class ServerFailed(AuditorError):
    """A server of our own did not start or did not stop; the text ends with its last log lines."""


class Account:
    """The account that a server runs as: ours, or an unprivileged one when we are root."""

    def __init__(self, user: int | None, group: int | None) -> None:
        self.user, self.group = user, group

    def give(self, path: Path) -> None:
        """Make the account the owner of a file or folder."""
        if self.user is not None and self.group is not None:
            os.chown(path, self.user, self.group)


class ServerProcess:
    """One server, its log, and the leash that ends it when we die."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str], account: Account) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(environment),
                cwd=log.parent,
                user=account.user,
                group=account.group,
                extra_groups=None if account.user is None else [],
                start_new_session=True,  # Ctrl-C in the terminal is for us to answer, not for the server
            )
        self._leash: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """As `subprocess` gives it; `None` while it runs."""
        return self._process.poll()

    def tie(self, folders: Sequence[Path]) -> None:
        """Have the server killed and the folders removed should this process die without a word."""
        command = [sys.executable, "-I", "-S", leash_program.__file__, str(self.pid), *map(str, folders)]
        self._leash = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd="/"
        )
        assert self._leash.stdout is not None
        if self._leash.stdout.readline() != b"ready\n" and self.alive:
            raise ServerFailed(f"the watcher of process {self.pid} did not start")

    def stop(self, request: signal.Signals, seconds: float) -> bool:
        """Send a signal and wait; say whether the server went by itself (it is killed otherwise)."""
        if self.alive:
            self._process.send_signal(request)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        went = not self.alive
        self.kill()
        return went

    def kill(self) -> None:
        """Kill the server and all its descendants, and wait until they are gone."""
        children = descendants(self.pid) if self.alive else []
        self._process.kill()
        self._process.wait()
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        wait_until(lambda: not any(map(_exists, children)), 30)
        self._release()

    def _release(self) -> None:
        if self._leash is not None:
            with contextlib.suppress(BrokenPipeError):
                self._leash.communicate(b"released\n", timeout=30)
            self._leash = None

    def log_tail(self) -> str:
        """Return the last lines of the log, for an error message."""
        lines = self.log.read_text(errors="replace").splitlines()
        return "\n".join(lines[-LOG_TAIL_LINES:])


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll until the condition holds; say whether it did before the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def descendants(pid: int) -> list[int]:
    """List the children of a process and theirs, parents first."""
    parents = dict(_parents())
    found = [pid]
    for ancestor in found:
        found.extend(child for child, parent in parents.items() if parent == ancestor)
    return found[1:]


def _parents() -> list[tuple[int, int]]:
    pairs = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                # the name, in brackets, may hold anything: what counts starts after the last bracket
                status = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
                pairs.append((int(entry.name), int(status[1])))
    return pairs


def _exists(pid: int) -> bool:
    """Say whether a process is there and more than a zombie that its parent has not yet collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
