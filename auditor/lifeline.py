"""End this process when the supervisor that started it is gone, however it went.

The supervisor holds the writing end of a pipe and never writes: its end of file is the supervisor's death. The kernel
also sends SIGTERM then; this is for the process that does not end on it.
"""

import os
import signal
import threading

GRACE_SECONDS = 8.0


def hold(descriptor: int, grace_seconds: float = GRACE_SECONDS) -> None:
    """Watch the pipe from a thread; at its end ask this process to stop, and after the grace end it."""
    threading.Thread(target=_watch, args=(descriptor, grace_seconds), name="lifeline", daemon=True).start()


def _watch(descriptor: int, grace_seconds: float) -> None:
    while os.read(descriptor, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(grace_seconds)
    os._exit(3)
