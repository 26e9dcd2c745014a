"""The threads of one process: they stop together, on a signal or when one of them fails."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

STOP_SECONDS = 5.0


@dataclass(slots=True)
class Threads:
    """Threads that stop together; the first that fails stops the rest."""

    stop: threading.Event
    running: list[threading.Thread] = field(default_factory=list)
    failure: BaseException | None = None

    def start(self, name: str, work: Callable[[threading.Event], None]) -> None:
        """Run `work(stop)` in a thread of its own."""

        def guarded() -> None:
            try:
                work(self.stop)
            except BaseException as error:  # a thread that ends by itself is a defect: end the process with its reason
                log.exception("thread %s ended", name, extra={"action": "thread-ended"})
                self.failure = self.failure or error
                self.stop.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self.running.append(thread)
        thread.start()

    def join(self) -> None:
        """Stop all and wait for them, a few seconds at most."""
        self.stop.set()
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self.running:
            thread.join(max(deadline - time.monotonic(), 0.1))


def stop_on_signal() -> threading.Event:
    """Give an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
