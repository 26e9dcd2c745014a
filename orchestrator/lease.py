"""Hold the lease: renew it in a thread of its own, and let nobody act under one that may be over.

Rules of this file:
1. The lease is over, for its holder, when its time has passed since the renewal was *sent*, on the holder's own
   monotonic clock. So the holder stops before anybody else can begin.
2. A holder that hangs in a step is as good as gone: its lease is renewed only while the step may still be at work.
3. A process that was stopped and wakes finds the time passed: `LeasedDeadline.left` is asked before each statement.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from comparators.errors import AuditorError, StoreUnavailable
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.records import Journal, LeaseLost

TTL_SECONDS = 10.0
RENEW_SHARE = 0.2
"""Of its time, after which a lease is renewed."""
RENEW_SECONDS = TTL_SECONDS * RENEW_SHARE
MARGIN_SECONDS = 0.25
"""Taken off what a holder believes is left: what runs between a look at the clock and the statement after it."""


class Keeper:
    """One holder's lease, from `take` until `stop`."""

    def __init__(
        self,
        journal: Journal,
        holder: str,
        *,
        seconds: float = TTL_SECONDS,
        every: float = RENEW_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._journal, self._holder = journal, holder
        self._seconds, self._every, self._clock = seconds, every, clock
        self._epoch = 0
        self._until = float("-inf")
        self._trusted = float("inf")
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def epoch(self) -> int:
        return self._epoch

    def now(self) -> float:
        """Read the clock by which the lease is kept."""
        return self._clock()

    def take(self) -> int:
        """Take the lease once; give its epoch.

        Raises:
            LeaseHeld: somebody else has it.
            StoreUnavailable: the journal cannot be reached.
        """
        asked = self._clock()
        lease = self._journal.acquire(self._holder, self._seconds)
        self._epoch, self._until = lease.epoch, asked + self._seconds
        return lease.epoch

    def left(self) -> float:
        """Give the seconds for which this holder may act; zero or less: it may not."""
        return self._until - MARGIN_SECONDS - self._clock()

    def check(self) -> None:
        """Make sure that this holder may act now.

        Raises:
            LeaseLost: it may not, and must not take the same epoch for its own again.
        """
        if self.left() <= 0:
            raise LeaseLost(f"{self._holder} could not renew its lease (epoch {self._epoch}) in time")

    def ensure(self, seconds: float) -> None:
        """See that at least so much of the lease is left, renewing it where it is less.

        Raises:
            LeaseLost: it cannot be had.
        """
        self.check()
        if self.left() < min(seconds, self._seconds - 2 * MARGIN_SECONDS):
            self.renew()
        self.check()

    def trust(self, seconds: float) -> None:
        """Let the thread renew for so long; the holder says so again and again while it makes progress."""
        self._trusted = self._clock() + seconds

    def renew(self) -> None:
        """Renew it now.

        Raises:
            LeaseLost: it is somebody else's, or over.
            StoreUnavailable: the journal cannot be reached; the lease goes on to its end.
        """
        with self._lock:
            asked = self._clock()
            try:
                self._journal.renew(self._epoch, self._seconds)
            except LeaseLost:
                self._until = float("-inf")
                raise
            self._until = asked + self._seconds

    def start(self) -> None:
        """Renew it from now on in a thread."""
        self._stopped.clear()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def stop(self, *, give_up: bool = True) -> None:
        """End the thread; give the lease up unless it shall run out by itself."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if give_up and self.left() > 0:
            with contextlib.suppress(LeaseLost, StoreUnavailable):  # it runs out by itself
                self._journal.release(self._epoch)
        self._until = float("-inf")

    def _keep(self) -> None:
        while not self._stopped.wait(self._every):
            if self._clock() > self._trusted:
                continue  # it may make progress again before the lease is over
            try:
                self.renew()
            except LeaseLost:
                return
            except AuditorError:
                continue  # it may come back before the lease is over

    def __enter__(self) -> Self:
        self.take()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class LeasedDeadline(Deadline):
    """A deadline that passes with the lease as well, so that a holder that lost it sends no further statement."""

    keeper: Keeper | None = None

    def left(self) -> float:
        """Give the seconds that are left of the step's own time.

        Raises:
            DeadlinePassed: the step's time is over.
            LeaseLost: the lease is.
        """
        if self.keeper is None:
            return Deadline.left(self)
        self.keeper.check()
        left = self.at - self.keeper.now()
        if left <= 0:
            raise DeadlinePassed(f"{self.doing}: the time for it is over")
        return left
