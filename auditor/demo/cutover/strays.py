"""End what outlives its starter by design and works on a world that is gone: dead men, reverse audits, orchestrators.

Also run as a program of its own: `python strays.py FOLDER`. Its standard input is a pipe whose other end only the show
holds. A line on it means that all is well; its end without a line means that the show was killed.
"""

import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path


def end(folder: Path) -> None:
    """Kill every process whose command line names a file of the world."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"{folder}/".encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


class Keeper:
    """Ends the strays of a world should this process die without a word."""

    def __init__(self, folder: Path) -> None:
        command = [sys.executable, "-I", "-S", __file__, str(folder)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True, cwd="/"
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()  # from here on it is deaf to signals

    def release(self) -> None:
        """Let it go: the world ends in order."""
        with suppress(BrokenPipeError):
            self._process.communicate(b"released\n", timeout=30)


def keep(folder: Path) -> None:
    """Wait for the show's word, or for its death."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if not sys.stdin.buffer.readline():
        end(folder)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
