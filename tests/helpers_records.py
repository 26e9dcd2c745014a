"""A records store in memory, and records of a migration on which nothing is wrong."""

import threading
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from auditor.settings import GateSettings, ReplicationSettings, Settings, SideSettings
from comparators.checklist import GROUPS
from comparators.errors import StoreUnavailable
from comparators.preflight import Item, ItemStatus, item_json

NOW = 1_900_000_000.0
FINDING = "f_00000000000000aa"


class MemoryRecords:
    """The records port on a dict; `away` makes every call fail as a lost store does."""

    def __init__(self, values: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        self._lock = threading.Lock()
        self.values: dict[str, dict[str, Any]] = {key: dict(value) for key, value in (values or {}).items()}
        self._unread: dict[str, dict[str, Any] | None] = dict(self.values)
        self.away = False
        self.closed = False
        self.puts: list[dict[str, Any]] = []

    def put(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        self._check()
        with self._lock:
            self.puts.append(deepcopy(dict(items)))
            for key, value in items.items():
                self._unread[key] = None if value is None else dict(value)
                if value is None:
                    self.values.pop(key, None)
                else:
                    self.values[key] = dict(value)

    def changes(self) -> dict[str, dict[str, Any] | None]:
        self._check()
        with self._lock:
            unread, self._unread = self._unread, {}
            return unread

    def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the disk is gone")


def sampler(now: float, position: int) -> dict[str, Any]:
    return {
        "at": now - 0.3, "position": position, "wal_insert": position, "reading": True, "waiting_for": None,
        "error": None, "transactions": 1000, "sampled": 900, "changes": 2000, "rate": 1.0,
        "slot": {
            "name": "auditor_orders_x", "exists": True, "active": True, "retained_bytes": 4096,
            "budget_bytes": 1 << 30, "wal_status": "reserved",
        },
    }  # fmt: skip


def good_records(now: float = NOW) -> dict[str, dict[str, Any]]:
    """Give the records of a migration that deserves PASS."""
    target = sampler(now, 70_000) | {
        "applied": 50_000, "watermark": 50_000, "lag_bytes": 0,
        "lag_ms": {"p50": 0.4, "p95": 2.0, "p99": 3.0, "samples": 500, "span_seconds": 10, "idle": False},
        "window": {"in_window": 999, "measured": 1000, "unmeasured": 0, "span_seconds": 60},
        "delay_ms": {"p50": 0.4, "p95": 1.0, "p99": 2.0, "samples": 500}, "clock_uncertainty_ms": 0.1,
        "nudge": {"on": True, "xids_per_second": 0.0},
        "subscriptions": [
            {"name": "app_sub", "enabled": True, "worker": True, "error": None, "tables_not_ready": []},
            {"name": "more_sub", "enabled": True, "worker": True, "error": None, "tables_not_ready": []},
        ],
        "foreign_transactions": 0, "unpublished": [], "unknown_subscriptions": [],
        "scope": [
            {"table": "public.orders", "state": "audited", "reason": "", "since": 9_000},
            {"table": "public.lines", "state": "audited", "reason": "", "since": 9_000},
            {"table": "public.log", "state": "excluded", "reason": "tables.exclude"},
            {"table": "auditor_orders.canary", "state": "audited", "reason": "", "since": 9_000},
        ],
    }  # fmt: skip
    records: dict[str, dict[str, Any]] = {
        "baseline": {"floor": 10_000, "at": now - 100, "generation": 1, "canary": True},
        "sampler/source": sampler(now, 50_000),
        "sampler/target": target,
        "supervisor/worker": {"restarts": 0, "last_exit": None, "at": now - 90},
    }
    for partition in (0, 1):
        records[f"core/{partition}"] = {
            "at": now - 0.2, "resolved": 50_000, "source_watermark": 50_000, "target_watermark": 50_000,
            "pending": 0, "frames": 10, "dead_letters": 0,
        }  # fmt: skip
        tables = {"public.orders": [400, 200], "public.lines": [90, 40]}
        tallies = {"transactions": 200, "changes": 500, "matched": 500, "tables": tables}
        records[f"progress/{partition}"] = {"resolved": 50_000, "tallies": tallies}
    for name in ("sampler-source", "sampler-target", "core", "sweeper", "prober"):
        process = {"incarnation": f"{name}-1", "pid": 7, "started_at": now - 90, "heartbeat": now - 0.4, "error": None}
        records[f"process/{name}"] = process
    return records | sweep_records(now) | probe_records(now)


FIGURES: dict[str, dict[str, float | None]] = {
    "lag": {"marker_p99_ms": 3.0, "marker_probes": 200, "marker_missing": 0, "stalled_seconds": 0.0},
    "capacity": {
        "headroom_ratio": 4.0, "drain_bytes_per_second": 4e6, "wal_peak_bytes_per_second": 1e6,
        "wal_bytes_per_second": 2e5, "predicted_drain_seconds": 0.1, "observed_seconds": 60.0,
    },
    "slots": {"foreign_retained_bytes": 0, "slots": 3},
    "activity": {"oldest_transaction_seconds": 0.2, "prepared_transactions": 0, "idle_in_transaction": 0},
    "replication": {"apply_errors": 0, "sync_errors": 0, "conflicts": 0, "worker_restarts": 0, "altered_at": None},
    "drift": {"changed_at": None},
}  # fmt: skip


def probe_records(now: float = NOW) -> dict[str, dict[str, Any]]:
    """Give the records of probes that find everything in order."""
    return {
        f"probe/{group.name}": {
            "at": now - 1, "generation": 1, "incarnation": "prober-1", "error": None,
            "items": [item_json(Item(check.name, ItemStatus.OK, "none found")) for check in group.checks],
            "figures": dict(FIGURES.get(group.name, {})),
        }
        for group in GROUPS.values()
    }  # fmt: skip


def sweep_records(now: float = NOW) -> dict[str, dict[str, Any]]:
    """Give the records of a sweeper that has read everything and of a canary that was found."""
    return {
        "sweeper": {"at": now - 0.5, "state": "idle", "paused_because": None, "load": {}, "tables": 2, "error": None},
        "coverage/public.orders": covered("public.orders", now),
        "coverage/public.lines": covered("public.lines", now, sweep=1, rows=0, verified=0),
        "canary/receipt": {
            "at": now - 12, "planted_at": now - 14, "transaction_ms": 60.0, "row_ms": 1100.0, "n": 3, "generation": 1,
            "error": None,
        },
    }  # fmt: skip


def covered(table: str, now: float = NOW, **fields: Any) -> dict[str, Any]:
    """Give the coverage record of a table that was swept completely."""
    return {
        "table": table, "state": "swept", "reason": None, "mode": "ranges", "generation": 1, "sweep": 2, "rows": 1000,
        "verified": 1000, "unverified": 0, "hot": 0, "different": 0, "through": 45_000, "at": now - 40,
        "finished_at": now - 30, "seconds": 10.0, "now": None, "columns": [], "notes": [],
    } | fields  # fmt: skip


def suspect(name: str = FINDING, now: float = NOW, **fields: Any) -> dict[str, Any]:
    """Give the record of a finding as the core first writes it."""
    return {
        "id": name, "kind": "row-different", "state": "suspect", "detector": "transaction", "table": "public.orders",
        "keys": [{"hash": "ab" * 16}], "key_cipher": None, "count": 1, "columns": ["total"],
        "source_position": 40_000, "target_position": 60_000, "first_seen": now - 2, "subscription": "app_sub",
        "partition": 0,
    } | fields  # fmt: skip


def settings_of(**changes: Any) -> Settings:
    """Give settings of a migration that nobody connects to; the gate opens at once."""
    values: dict[str, Any] = {
        "migration": "orders",
        "source": SideSettings("host=source"),
        "target": SideSettings("host=target"),
        "replication": ReplicationSettings("native", ("app_pub",), ("app_sub",)),
        "state_dir": Path("state"),
        "gate": GateSettings(dwell_seconds=0.0),
    }
    return Settings(**values | changes)
