"""Every replication slot of both sides by name, and whose it is."""

from collections.abc import Mapping
from typing import Any

import psycopg

from comparators.checks.slots import CHECKS, Declared, SideSlots, Slot, copy_slots, figures, judge_slots
from comparators.preflight import completed
from samplers.catalog import select
from samplers.probes.base import Asked, Reading, Sides


class Slots:
    """Looks at one moment; remembers nothing."""

    group = "slots"
    every_seconds = 5.0
    looks = 1

    def __init__(self, asked: Asked) -> None:
        self._asked = asked

    def look(self, sides: Sides, now: float) -> Reading:
        """Look once at both sides.

        Raises:
            Retryable, NeedsOperator: nothing is known until it works.
        """
        source, target = _server(sides.source), _server(sides.target)
        rows = select(sides.target, "subscription_slots", {"subscriptions": list(self._asked.subscriptions)})
        seen = {
            "source": self._side(
                "source", sides.source, source,
                subscriptions={row["slot"]: row["subscription"] for row in rows if row["slot"]},
                copies=tuple(copy_slots(row["oid"], target["system_identifier"]) for row in rows),
            ),
            "target": self._side("target", sides.target, target),
        }  # fmt: skip
        return Reading(completed(judge_slots(seen), CHECKS), figures(seen))

    def _side(self, side: str, connection: psycopg.Connection, server: Mapping[str, Any], **whose: Any) -> SideSlots:
        budget = self._asked.wal_budget_bytes
        declared = {
            name: Declared(slot.owner, budget if slot.retained_bytes is None else slot.retained_bytes)
            for name, slot in self._asked.known_slots.items()
        }
        return SideSlots(
            slots=tuple(Slot(**row) for row in select(connection, "all_slots")), allowed=server["allowed"],
            own=self._asked.own_slots.get(side), idle=frozenset(self._asked.idle_slots.get(side, ())),
            declared=declared, budget_bytes=budget, **whose,
        )  # fmt: skip


def _server(connection: psycopg.Connection) -> dict[str, Any]:
    return select(connection, "slots_allowed")[0]


PROBE = Slots
