"""A pair that replicates and is prepared, for the probes that watch how changes flow."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from comparators.preflight import Item
from samplers.connections import connect
from samplers.objects import prepare
from samplers.probes.base import Asked, Probe, Reading, Sides
from tests.helpers import Pair, wait_for
from tests.integration.test_prepare import request_for

TABLE = "CREATE TABLE goods (id int PRIMARY KEY, v text)"


def asked_for(pair: Pair, **changes: Any) -> Asked:
    """Say of a pair what the configuration says."""
    own = f"auditor_{pair.name}"
    values: dict[str, Any] = {
        "migration": pair.name, "publications": (pair.publication,), "subscriptions": (pair.subscription,),
        "own_schema": own, "own_slots": {"source": f"{own}_source", "target": f"{own}_target"},
        "own_publications": (own, f"{own}_inserts"),
    }  # fmt: skip
    return Asked(**{**values, **changes})


def prepared(pair: Pair) -> Pair:
    """Replicate one table, and put our own objects in place."""
    pair.execute(TABLE)
    pair.replicate()
    assert () == prepare(request_for(pair)).needs_person
    wait_for(pair.ready, 60, "the marker table to be ready")
    return pair


@contextmanager
def sides_of(pair: Pair, source: str | None = None, target: str | None = None) -> Iterator[Sides]:
    """Open a session on each side, as the prober does."""
    with connect(source or pair.source.dsn) as left, connect(target or pair.target.dsn) as right:
        yield Sides(left, right)


def item(reading: Reading, name: str) -> Item:
    return next(one for one in reading.items if one.name == name)


def blocking(reading: Reading) -> dict[str, str]:
    return {one.name: one.sentence for one in reading.items if one.status.blocks}


def settled(probe: Probe, sides: Sides, now: float, seconds: float = 30) -> Reading:
    """Look until nothing blocks any more."""
    last: list[Reading] = []

    def fine() -> bool:
        last[:] = [probe.look(sides, now)]
        return not blocking(last[0])

    try:
        wait_for(fine, seconds, "a look without a blocking item")
    except AssertionError as error:
        raise AssertionError(f"{error}: {blocking(last[0])}") from None
    return last[0]
