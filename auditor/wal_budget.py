"""Hold our slots to their WAL budget from outside the samplers: a dead one drops nothing (docs/operations.md)."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from auditor.settings import Settings, Side
from orchestrator.seen import Evidence
from samplers.connections import connect
from samplers.slots import SlotState, enforce_budget

log = logging.getLogger(__name__)

Tell = Callable[[Mapping[str, Mapping[str, Any]]], None]


def enforcer(tell: Tell, seen: Callable[[], Evidence]) -> Callable[[Settings, Side], None]:
    """Build what looks at one side's slot and gives it up when it holds back too much.

    Args:
        tell: takes the record of the interval that nobody will audit now.
        seen: what is known of the audit's progress.
    """

    def enforce(settings: Settings, side: Side) -> None:
        slot = settings.names.source_slot if side is Side.SOURCE else settings.names.target_slot
        with connect(settings.side(side).conninfo(), application_name="auditor budget") as connection:
            lost = enforce_budget(connection, slot, settings.wal_budget_bytes)
        if lost is not None:
            noted = gap(lost, side, settings.wal_budget_bytes, seen(), time.time())
            tell(noted)
            for record in noted.values():
                log.error("%s", record["reason"], extra={"action": "slot-dropped", "side": str(side), "slot": slot})

    return enforce


def gap(lost: SlotState, side: Side, budget_bytes: int, evidence: Evidence, now: float) -> dict[str, dict[str, Any]]:
    """Describe the interval that dropping a slot leaves unaudited, from what was judged last onwards."""
    baseline = evidence.baseline
    generation = baseline.generation if baseline else None
    start = evidence.resolved() or (baseline.floor if baseline else None) or 0
    reason = (
        f"slot {lost.name} on the {side} was dropped: it held back {lost.retained_bytes / 2**20:.0f} MiB of WAL, "
        f"its budget is {budget_bytes / 2**20:.0f} MiB"
    )
    record = {"from": start, "to": None, "reason": reason, "at": now, "side": side.value, "open": True}
    return {f"gap/budget-{side}-{generation}": record}
