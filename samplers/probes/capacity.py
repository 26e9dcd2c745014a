"""Measure how fast the source writes and apply drains, and how full both disks are."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from comparators.checks.capacity import (
    CHECKS,
    DISK_SOURCE,
    DISK_TARGET,
    SHORT_SECONDS,
    Disk,
    Meter,
    SlotRoom,
    headroom,
    judge_apply,
    judge_disk,
    judge_slots,
    lowest_room,
    metered,
    predicted_drain,
)
from comparators.flows import Flows
from comparators.preflight import Item, completed
from samplers.catalog import select
from samplers.probes.base import Asked, Reading, Sides
from samplers.probes.flows import permitted, read_flows

DISK_SECONDS = 60.0
"""Between two looks at the disks: every file of every database is asked for its size."""


class Capacity:
    """Remembers a minute of positions, the highest rates, and the last look at the disks."""

    group = "capacity"
    every_seconds = 5.0
    looks = 3

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._generation, self._drain = Meter(), Meter()
        self._disks: tuple[Disk, Disk] | None = None
        self._disks_at = 0.0

    def look(self, sides: Sides, now: float) -> Reading:
        """Look at positions and slots, and now and then at the disks.

        Raises:
            SideUnavailable, ...: as `comparators.server_errors.wrapped` sorts them.
        """
        flows = read_flows(sides, self._asked.subscriptions)
        self._generation = metered(self._generation, now, flows.log.inserted)
        if (applied := flows.applied) is not None:
            self._drain = metered(self._drain, now, applied)
        slots = select(sides.source, "flow_slots")
        rooms, (source, target) = self._rooms(flows, slots), self._disk(sides, now)
        figures = self._rates(flows) | _sizes(source, target) | {
            "slots_retained_bytes": max((slot["retained_bytes"] or 0 for slot in slots), default=0),
            "slot_room_bytes": lowest_room(rooms),
        }  # fmt: skip
        items = (
            self._apply(applied is not None), judge_slots(rooms, _keep_bytes(sides.source), source.budget is not None),
            judge_disk(DISK_SOURCE, source), judge_disk(DISK_TARGET, target),
        )  # fmt: skip
        return Reading(completed(items, CHECKS), figures)

    def _apply(self, known: bool) -> Item:
        drain, peak = self._drain.best, self._generation.peak
        return judge_apply(headroom(drain, peak), known, drain, peak)

    def _rates(self, flows: Flows) -> dict[str, Any]:
        drain, peak = self._drain.best, self._generation.peak
        backlog = None if flows.applied is None else max(flows.log.inserted - flows.applied, 0)
        found = headroom(drain, peak)
        return {
            "headroom_ratio": found.ratio,
            "idle": None if found.idle is None else int(found.idle),
            "drain_bytes_per_second": drain,
            "wal_bytes_per_second": self._generation.rate(SHORT_SECONDS),
            "wal_peak_bytes_per_second": peak,
            "wal_peak_short_bytes_per_second": self._generation.peak_short,
            "backlog_bytes": backlog,
            "observed_seconds": self._generation.seconds,
            "predicted_drain_seconds": predicted_drain(backlog, drain),
        }

    def _rooms(self, flows: Flows, slots: Sequence[Mapping[str, Any]]) -> list[SlotRoom]:
        wanted = {flow.slot for flow in flows.flows} | {self._asked.own_slots.get("source")}
        return [SlotRoom(s["slot"], s["wal_status"], s["safe_bytes"]) for s in slots if s["slot"] in wanted]

    def _disk(self, sides: Sides, now: float) -> tuple[Disk, Disk]:
        if self._disks is None or not 0 <= now - self._disks_at < DISK_SECONDS:
            budgets = self._asked.disk_bytes
            self._disks = (_used(sides.source, budgets.get("source")), _used(sides.target, budgets.get("target")))
            self._disks_at = now
        return self._disks


def _used(connection: psycopg.Connection, budget: int | None) -> Disk:
    databases, log = (permitted(connection, name) for name in ("disk_databases", "disk_log"))
    return Disk(budget, databases[0]["bytes"] if databases else None, log[0]["bytes"] if log else None)


def _keep_bytes(connection: psycopg.Connection) -> int | None:
    megabytes = int(select(connection, "slot_limit")[0]["megabytes"])
    return None if megabytes < 0 else megabytes << 20


def _sizes(source: Disk, target: Disk) -> dict[str, Any]:
    return {
        "source_database_bytes": source.databases, "source_wal_bytes": source.log,
        "target_database_bytes": target.databases, "target_wal_bytes": target.log,
    }  # fmt: skip


PROBE = Capacity
