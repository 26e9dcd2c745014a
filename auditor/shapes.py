"""Columns that only one side has: a suspect while a change of the tables may be under way, then a confirmed finding."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from comparators.findings import finding_id
from samplers.scope import AuditedTable, Scope

GRACE_SECONDS = 20.0
"""A column is added on one side first: a migration of the schema gets this long to reach the other."""


class ShapeWatch:
    """Follows the shape of each audited table from one reading of the catalogs to the next."""

    def __init__(
        self, migration: str, subscriptions: Sequence[str], known: Callable[[str], Mapping[str, Any] | None]
    ) -> None:
        """Args: known: gives a record by its key."""
        self._migration, self._subscriptions, self._known = migration, subscriptions, known
        self._since: dict[str, float] = {}
        self._told: dict[str, str] = {}

    def look(self, scope: Scope, now: float) -> dict[str, dict[str, Any] | None]:
        """Give the records that changed: what is suspected, confirmed or healed."""
        items: dict[str, dict[str, Any] | None] = {}
        for table in scope.tables.values():
            columns = [*table.only_on_source, *table.only_on_target]
            name = self._subscriptions[table.subscription]
            identity = finding_id(self._migration, "shape-different", table.name, name, None, None)
            if columns:
                items |= self._differs(identity, table, columns, now)
            elif self._stands(identity):
                self._told.pop(identity, None)
                self._since.pop(identity, None)
                items[f"settled/{identity}"] = _settled("healed", [], now)
        return items

    def _stands(self, identity: str) -> bool:
        """Say whether a difference is on record, from this process or from one before it."""
        if identity in self._told:
            return True
        settled = self._known(f"settled/{identity}")
        return settled is not None and settled["state"] != "healed"

    def _differs(
        self, identity: str, table: AuditedTable, columns: list[str], now: float
    ) -> dict[str, dict[str, Any] | None]:
        first = self._since.setdefault(identity, now)
        state = "confirmed" if now - first >= GRACE_SECONDS else "suspect"
        if self._told.get(identity) == state:
            return {}
        self._told[identity] = state
        if state == "confirmed":
            return {f"settled/{identity}": _settled(state, columns, now)}
        return {
            f"suspect/{identity}": {
                "id": identity, "kind": "shape-different", "state": "suspect", "detector": "shape",
                "table": table.name, "keys": [], "key_cipher": None, "count": len(columns), "columns": columns,
                "source_position": None, "target_position": None, "first_seen": now,
                "subscription": self._subscriptions[table.subscription], "partition": None,
            },
            f"settled/{identity}": _settled(state, columns, now),
        }  # fmt: skip


def _settled(state: str, columns: list[str], now: float) -> dict[str, Any]:
    return {
        "state": state, "kind": "shape-different", "columns": columns, "count": len(columns), "keys": [], "rounds": 1,
        "settled_at": now, "explained_by": None, "reason": None,
    }  # fmt: skip
