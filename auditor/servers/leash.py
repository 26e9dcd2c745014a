"""Kill a server when the process that started it is gone, however it went.

Run as a program of its own: `python leash.py PID FOLDER...`. Its standard input is a pipe whose other end only the
parent holds. A line on it means that all is well and the leash goes; its end without a line means that the parent died,
and the server is killed and the folders are removed. Death signals of the kernel do not serve here: they follow the
thread that started the server, and threads end before their process does.
"""

import os
import select
import shutil
import signal
import sys

GRACE_SECONDS = 10


def follow(pid: int, folders: list[str]) -> None:
    """Wait for the parent's word, or for its death."""
    process = os.pidfd_open(pid)  # before the answer below, while the parent keeps the pid from being used again
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if sys.stdin.buffer.readline():
        return
    _kill(process)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _kill(process: int) -> None:
    """Ask with SIGQUIT (PostgreSQL ends its children at once; Java would only print its threads), then insist."""
    for request, seconds in ((signal.SIGQUIT, 2), (signal.SIGKILL, GRACE_SECONDS)):
        try:
            signal.pidfd_send_signal(process, request)
        except ProcessLookupError:
            return
        if select.select([process], [], [], seconds)[0]:
            return


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    follow(int(sys.argv[1]), sys.argv[2:])
