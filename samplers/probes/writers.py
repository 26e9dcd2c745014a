"""Who writes to the source, gathered over looks, and whether anybody but apply writes to the target."""

import psycopg

from comparators.checks.writers import CHECKS, Inventory, WritersSeen, figures, judge_writers, remembered
from comparators.preflight import completed
from samplers.catalog import select
from samplers.probes.base import Asked, Reading, Sides
from samplers.probes.sessions import read_sessions


class Writers:
    """Keeps who was seen writing within the last hour."""

    group = "writers"
    every_seconds = 5.0
    looks = 3
    """A session that writes is seen only while it does, or until it runs another statement."""

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._inventory: Inventory = {}

    def look(self, sides: Sides, now: float) -> Reading:
        """Look once at both sides.

        Raises:
            Retryable, NeedsOperator: nothing is known until it works.
        """
        known = self._asked.known_writers
        seen = WritersSeen(
            source=read_sessions(sides.source), target=read_sessions(sides.target),
            jobs=(*self._jobs("source", sides.source), *self._jobs("target", sides.target)),
        )  # fmt: skip
        self._inventory = remembered(self._inventory, seen.source, now, known)
        return Reading(
            completed(judge_writers(seen, self._inventory, known), CHECKS), figures(seen, self._inventory)
        )

    def _jobs(self, side: str, connection: psycopg.Connection) -> list[str]:
        ours = list(self._asked.subscriptions) if side == "target" else []
        rows = select(connection, "foreign_writers", {"subscriptions": ours})
        return [f"{side}: {row['kind']} {row['name']}" for row in rows]


PROBE = Writers
