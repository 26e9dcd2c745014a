"""How changes flow from the source to the target: positions of the source's log, and how far each subscription is."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Log:
    """Where the source's log stood at one look; each position is at most the one before it."""

    inserted: int
    written: int
    flushed: int
    """What walsenders may send."""


@dataclass(frozen=True, slots=True)
class Flow:
    """One subscription's way through the source's log; `None`: not known."""

    subscription: str
    slot: str | None
    exists: bool = False
    """The slot is there."""
    active: bool = False
    pid: int | None = None
    """The walsender's process on the source."""
    application: str | None = None
    sent: int | None = None
    confirmed: int | None = None
    """Everything below is durable on the target, or was of no interest to it."""
    progress: int | None = None
    """End of the last transaction applied, durable or not."""

    @property
    def applied(self) -> int | None:
        """Give the source position through which everything is applied, as far as anything shows."""
        return max((one for one in (self.confirmed, self.progress) if one is not None), default=None)


@dataclass(frozen=True, slots=True)
class Flows:
    """One look at all configured subscriptions."""

    log: Log
    flows: tuple[Flow, ...]

    @property
    def applied(self) -> int | None:
        """Give the source position that every subscription has applied; `None` where one does not tell."""
        return lowest([flow.applied for flow in self.flows])


def lowest(positions: Sequence[int | None]) -> int | None:
    """Give the lowest position; `None` where one of them is not known, or where there are none."""
    known = [one for one in positions if one is not None]
    return min(known) if known and len(known) == len(positions) else None
