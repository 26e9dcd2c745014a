"""Settings of both sides, read in sessions where nothing of ours is pinned: pinned ones would hide the servers'."""

import psycopg

from comparators.checks.setting_facts import ScopedSetting, Setting, SideSettings
from comparators.checks.settings import CHECKS, figures, judge_settings
from comparators.preflight import completed
from samplers.catalog import select
from samplers.connections import connect_unpinned
from samplers.probes.base import Asked, Reading, Sides

APPLICATION = "auditor settings"
_OUR_SESSIONS = frozenset({"client", "user", "database user", "session"})
"""Where a setting comes from that our own role, environment or connection string made; the others are everybody's."""


class Settings:
    """Looks at one moment; remembers nothing."""

    group = "settings"
    every_seconds = 30.0
    looks = 1

    def __init__(self, asked: Asked) -> None:
        self._budget_bytes = asked.wal_budget_bytes

    def look(self, sides: Sides, now: float) -> Reading:
        """Look once at both sides, for which each is connected to once more.

        Raises:
            Retryable, NeedsOperator: nothing is known until it works.
        """
        source, target = _read(sides.source), _read(sides.target)
        items = judge_settings(source, target, self._budget_bytes)
        return Reading(completed(items, CHECKS), figures(source, target))


def _read(connection: psycopg.Connection) -> SideSettings:
    with connect_unpinned(connection, APPLICATION) as plain:
        rows = select(plain, "server_settings")
    use = select(connection, "settings_use")[0]
    values = {
        row["name"].lower(): Setting(
            row["value"] or "", row["unit"] or "", row["source"] in _OUR_SESSIONS, row["pending_restart"]
        )
        for row in rows
    }
    scoped = tuple(ScopedSetting(**row) for row in select(connection, "scoped_settings"))
    return SideSettings(values, scoped, **{**use, "roles": frozenset(use["roles"])})


PROBE = Settings
