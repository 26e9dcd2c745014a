"""Whether the target has applied a source position: asked when somebody needs to know, not watched."""

import time
from collections.abc import Sequence
from typing import Protocol

from comparators.errors import NotPermitted
from samplers.rows import Session, fetch

_PROGRESS = """SELECT coalesce((remote_lsn - '0/0')::bigint, 0)::text FROM pg_show_replication_origin_status()
WHERE external_id = $1"""
_CONFIRMED = """SELECT coalesce((confirmed_flush_lsn - '0/0')::bigint, 0)::text FROM pg_replication_slots
WHERE slot_name = $1"""
POLL_SECONDS = 0.002


class Passing(Protocol):
    """Tells how far the target has come."""

    anchored: bool
    """Positions mean something here: what is equal is equal through one."""
    asks: Session | None
    """A session with the source that is free while it digests; `None` where no position is asked for."""

    def passed(self, position: int) -> bool:
        """Say whether the target has applied a source position, as far as can be seen now."""
        ...

    def wait(self, position: int, seconds: float) -> bool:
        """Wait until it has; false when it did not in time."""
        ...


class Passage:
    """The progress of one subscription, read on two sessions that nothing else uses."""

    anchored = True

    def __init__(self, source: Session, target: Session, origin: str, slot: str | None) -> None:
        """Choose what to ask.

        Args:
            origin: name of the subscription's replication origin on the target.
            slot: of the subscription on the source: it moves past log that has nothing for the target.
        """
        self.asks: Session | None = source
        self._source, self._target, self._origin, self._slot = source, target, origin.encode(), slot
        self._known = 0
        self._asked = 0.0
        self._may_read_origin = True

    def passed(self, position: int) -> bool:
        """Say whether the target has applied a source position, as far as can be seen now.

        Raises:
            SideUnavailable: a side cannot be asked.
        """
        now = time.monotonic()
        if position > self._known and now - self._asked >= POLL_SECONDS:
            self._asked = now
            self._known = max(self._known, self._progress(), self._confirmed())
        return position <= self._known

    def wait(self, position: int, seconds: float) -> bool:
        """Wait until the target has applied a source position; false when it did not in time."""
        deadline = time.monotonic() + seconds
        while not self.passed(position):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
        return True

    def _progress(self) -> int:
        if not self._may_read_origin:
            return 0
        try:
            found = fetch(self._target, _PROGRESS, [self._origin])
        except NotPermitted:
            self._may_read_origin = False  # the slot's confirmed position is all there is, only slower
            return 0
        return int(found[0][0] or 0) if found else 0

    def _confirmed(self) -> int:
        if self._slot is None:
            return 0
        found = fetch(self._source, _CONFIRMED, [self._slot.encode()])
        return int(found[0][0] or 0) if found else 0


class Passages:
    """The progress of several subscriptions that bring one table: the slowest tells."""

    anchored = True

    def __init__(self, passages: Sequence[Passage]) -> None:
        """Take at least one; all ask on the same sessions."""
        self.asks = passages[0].asks
        self._passages = passages

    def passed(self, position: int) -> bool:
        """Say whether all of them have applied a source position."""
        return all(one.passed(position) for one in self._passages)

    def wait(self, position: int, seconds: float) -> bool:
        """Wait until all of them have; false when one did not in time."""
        deadline = time.monotonic() + seconds
        return all(one.wait(position, max(deadline - time.monotonic(), 0)) for one in self._passages)


class NoPassage:
    """For two servers between which no progress can be read: rows are read again until they agree or stand still."""

    anchored = False
    asks: Session | None = None

    def passed(self, position: int) -> bool:
        """Let every position pass."""
        return True

    def wait(self, position: int, seconds: float) -> bool:
        """Let every position pass."""
        return True
