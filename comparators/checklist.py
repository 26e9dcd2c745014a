"""The whole checklist: its groups, how old what was seen of each may be, and the checks in it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from comparators.preflight import Check

_MAX_AGES: Mapping[str, float] = {
    "identity": 120,
    "settings": 120,
    "shape": 180,
    "sequences": 120,
    "drift": 120,
    "activity": 30,
    "writers": 60,
    "slots": 30,
    "replication": 15,
    "capacity": 30,
    "lag": 15,
}


@dataclass(frozen=True, slots=True)
class Group:
    """Checks that one look of one probe makes."""

    name: str
    max_age: float
    """Seconds after which what was seen is no longer known."""
    checks: tuple[Check, ...]


def _checks(name: str) -> tuple[Check, ...]:
    module = f"comparators.checks.{name}"
    return tuple(import_module(module).CHECKS) if find_spec(module) else ()


GROUPS: Mapping[str, Group] = {name: Group(name, age, _checks(name)) for name, age in _MAX_AGES.items()}
CHECKS: tuple[Check, ...] = tuple(check for group in GROUPS.values() for check in group.checks)


def check_of(name: str) -> Check | None:
    """Find a check by its name."""
    return next((check for check in CHECKS if check.name == name), None)
