"""A probe asked about a pair of test databases, and the items that it gives by name."""

from collections.abc import Mapping
from typing import Any

from psycopg.conninfo import make_conninfo

from comparators.preflight import Item, ItemStatus
from samplers.connections import connect
from samplers.probes.base import Asked, Probe, Reading, Sides
from tests.helpers import Database, Pair


def asked(pair: Pair, migration: str = "lawful", **changes: Any) -> Asked:
    """Give what a configuration says about a pair whose replication is the pair's own."""
    values: dict[str, Any] = {
        "migration": migration,
        "publications": (pair.publication,),
        "subscriptions": (pair.subscription,),
        "own_schema": f"auditor_{migration}",
        "own_slots": {side: f"auditor_{migration}_{side}" for side in ("source", "target")},
    }
    return Asked(**{**values, **changes})


def look(probe: Probe, pair: Pair, now: float = 1_000_000.0, **dsns: str) -> Reading:
    """Open a session of ours on each side and look once.

    Args:
        dsns: `source` and `target`, where they are not the superuser's.
    """
    name = "auditor probes lawful"
    with (
        connect(dsns.get("source", pair.source.dsn), application_name=name) as source,
        connect(dsns.get("target", pair.target.dsn), application_name=name) as target,
    ):
        return probe.look(Sides(source, target), now)


def items(reading: Reading) -> Mapping[str, Item]:
    return {item.name: item for item in reading.items}


def blocking(reading: Reading) -> list[Item]:
    return [item for item in reading.items if item.status.blocks]


def status_of(reading: Reading, name: str) -> ItemStatus:
    return items(reading)[name].status


def as_role(database: Database, role: str) -> str:
    """Give the dsn of a role that was created with the superuser's password."""
    return make_conninfo(database.dsn, user=role)


def create_role(database: Database, role: str, grants: str = "") -> str:
    """Create a role that may log in, and give its dsn."""
    database.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{database.server.password}'")
    if grants:
        database.execute(f"GRANT {grants} TO {role}")
    return as_role(database, role)
