"""Hold the slot of a cutover's way back to its WAL budget, and give it up when nobody has read it for a day.

Both audits of a migration look after it, so that it ends even where no orchestrator is left that would disarm it.
"""

import logging
import time
from collections.abc import Callable

from auditor.settings import Settings, Side
from samplers.connections import connect
from samplers.slots import SlotState, drop_slot, enforce_budget, inspect_slot

log = logging.getLogger(__name__)

UNREAD_SECONDS = 86_400.0
"""Longer than any guard lasts that is watched; what is parked for a day was forgotten."""


def way_back_slot(settings: Settings, side: Side) -> str | None:
    """Name the slot of the way back where a side of an audit has it: the migration's target, which is its source."""
    if settings.reverse_of is not None:
        return settings.replication.subscriptions[0] if side is Side.SOURCE else None
    return settings.names.way_back if side is Side.TARGET else None


class WayBackSlot:
    """Looks after the slot from one process; remembers since when nobody reads it."""

    def __init__(self, settings: Settings, side: Side, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._side, self._clock = settings, side, clock
        self._slot = way_back_slot(settings, side)
        self._unread_since: float | None = None

    def look(self) -> None:
        """Drop it where it holds back more than it may, or nobody has read it for a day.

        Raises:
            SideUnavailable, NotReady: look again later.
        """
        if self._slot is None:
            return
        budget = self._settings.wal_budget_bytes
        with connect(self._settings.side(self._side).conninfo(), application_name="auditor budget") as connection:
            if (lost := enforce_budget(connection, self._slot, budget)) is not None:
                self._tell(lost, f"it held back {lost.retained_bytes >> 20} MiB of WAL of {budget >> 20} allowed")
                return
            seen = inspect_slot(connection, self._slot)
            if self._forgotten(seen) and drop_slot(connection, self._slot):
                self._tell(seen, "nobody has read it for a day")

    def _forgotten(self, seen: SlotState) -> bool:
        if not seen.exists or seen.active:
            self._unread_since = None
            return False
        if self._unread_since is None:
            self._unread_since = self._clock()
        return self._clock() - self._unread_since > UNREAD_SECONDS

    def _tell(self, lost: SlotState, reason: str) -> None:
        about = {"action": "slot-dropped", "side": str(self._side), "slot": lost.name, "reason": reason}
        log.error("the way back of the cutover is lost: its slot was dropped", extra=about)
