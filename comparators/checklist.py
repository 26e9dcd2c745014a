"""The whole checklist: its groups, how old what was seen of each may be, and the checks in it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from comparators.checks import (
    activity,
    capacity,
    drift,
    identity,
    lag,
    replication,
    sequences,
    settings,
    shape,
    slots,
    writers,
)
from comparators.preflight import Check


@dataclass(frozen=True, slots=True)
class Group:
    """Checks that one look of one probe makes."""

    name: str
    max_age: float
    """Seconds after which what was seen is no longer known."""
    checks: tuple[Check, ...]


GROUPS: Mapping[str, Group] = {
    group.name: group
    for group in (
        Group("identity", 120, identity.CHECKS),
        Group("settings", 120, settings.CHECKS),
        Group("shape", 180, shape.CHECKS),
        Group("sequences", 120, sequences.CHECKS),
        Group("drift", 120, drift.CHECKS),
        Group("activity", 30, activity.CHECKS),
        Group("writers", 60, writers.CHECKS),
        Group("slots", 30, slots.CHECKS),
        Group("replication", 15, replication.CHECKS),
        Group("capacity", 30, capacity.CHECKS),
        Group("lag", 15, lag.CHECKS),
    )
}
CHECKS: tuple[Check, ...] = tuple(check for group in GROUPS.values() for check in group.checks)


def check_of(name: str) -> Check | None:
    """Find a check by its name."""
    return next((check for check in CHECKS if check.name == name), None)
