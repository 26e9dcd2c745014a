"""Deadlines: every effect of a cutover has one of its own, on the monotonic clock of the process that acts."""

import time
from dataclasses import dataclass, replace
from typing import Self

from comparators.errors import Retryable


class DeadlinePassed(Retryable):
    """A step did not come to its end in its time; what it began may or may not have taken effect."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """When something must be over; `doing` names it for people."""

    at: float
    doing: str

    @classmethod
    def within(cls, seconds: float, doing: str) -> Self:
        """Start the clock now."""
        return cls(time.monotonic() + seconds, doing)

    def anew(self, seconds: float, doing: str) -> Self:
        """Start the clock again, for undoing what came too late; what else ends this deadline ends that one too."""
        return replace(self, at=time.monotonic() + seconds, doing=doing)

    def left(self) -> float:
        """Give the seconds that are left.

        Raises:
            DeadlinePassed: none are.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise DeadlinePassed(f"{self.doing}: the time for it is over")
        return left
