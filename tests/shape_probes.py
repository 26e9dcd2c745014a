"""Looks of the probes of identity, shape, sequences and drift at a test's pair."""

from collections.abc import Callable
from typing import Any

from comparators.preflight import Item
from samplers.connections import connect
from samplers.probes.base import Asked, Probe, Reading, Sides
from tests.helpers import Pair

OWN_SCHEMA = "auditor_t"


def asked_for(pair: Pair, selects: Callable[[str], bool] = lambda table: True) -> Asked:
    return Asked("t", (pair.publication,), (pair.subscription,), OWN_SCHEMA, {}, selects=selects)


def look(probe: Probe, pair: Pair, now: float = 1000.0, source: str | None = None) -> Reading:
    """Look once; `source` is another connection string for that side."""
    with connect(source or pair.source.dsn) as on_source, connect(pair.target.dsn) as on_target:
        return probe.look(Sides(on_source, on_target), now)


def items_of(make: Callable[[Asked], Any], pair: Pair, **more: Any) -> dict[str, Item]:
    """Look once with a new probe, and give its items by name."""
    return {item.name: item for item in look(make(asked_for(pair)), pair, **more).items}


def blocking(items: dict[str, Item]) -> dict[str, tuple[str, ...]]:
    return {name: item.subjects for name, item in items.items() if item.status.blocks}
