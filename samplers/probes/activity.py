"""What is under way on both sides: transactions, prepared ones, schema changes, vacuums."""

import psycopg

from comparators.checks.activity import (
    CHECKS,
    LIMITS,
    ActivityLimits,
    Prepared,
    SideActivity,
    figures,
    judge_activity,
)
from comparators.preflight import completed
from samplers.catalog import select
from samplers.probes.base import Asked, Reading, Sides
from samplers.probes.sessions import read_sessions


class Activity:
    """Looks at one moment; remembers nothing."""

    group = "activity"
    every_seconds = 5.0
    looks = 1

    def __init__(self, asked: Asked, limits: ActivityLimits = LIMITS) -> None:
        self._limits = limits

    def look(self, sides: Sides, now: float) -> Reading:
        """Look once at both sides.

        Raises:
            Retryable, NeedsOperator: nothing is known until it works.
        """
        seen = {"source": _read(sides.source), "target": _read(sides.target)}
        return Reading(completed(judge_activity(seen, self._limits), CHECKS), figures(seen))


def _read(connection: psycopg.Connection) -> SideActivity:
    ages = select(connection, "transaction_ages")[0]
    return SideActivity(
        sessions=read_sessions(connection),
        prepared=tuple(Prepared(**row) for row in select(connection, "prepared_transactions")),
        transactions_behind=ages["transactions"], multixacts_behind=ages["multixacts"],
    )  # fmt: skip


PROBE = Activity
