"""Read how far each configured subscription has come, on both sides."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from comparators.errors import NotPermitted
from comparators.flows import Flow, Flows, Log
from samplers.catalog import select
from samplers.probes.base import Sides


def permitted(
    connection: psycopg.Connection, name: str, parameters: Mapping[str, Any] | None = None
) -> list[dict[str, Any]] | None:
    """Run a named query; `None` where the role may not."""
    try:
        return select(connection, name, parameters)
    except NotPermitted:
        return None


def read_flows(sides: Sides, subscriptions: Sequence[str]) -> Flows:
    """Read the positions, the target's first: what it has applied is never ahead of the source's log.

    Raises:
        SideUnavailable, ...: as `comparators.server_errors.wrapped` sorts them.
    """
    known = {row["name"]: row for row in select(sides.target, "flow_subscriptions")}
    progress = {row["origin"]: row["progress"] for row in permitted(sides.target, "flow_progress") or ()}
    slots = {row["slot"]: row for row in select(sides.source, "flow_slots")}
    log = Log(**select(sides.source, "flow_log")[0])
    return Flows(log, tuple(_flow(name, known.get(name), slots, progress) for name in subscriptions))


def _flow(
    name: str, subscription: Mapping[str, Any] | None, slots: Mapping[str, Mapping[str, Any]],
    progress: Mapping[str, int],
) -> Flow:  # fmt: skip
    if subscription is None:
        return Flow(name, None)
    slot = slots.get(subscription["slot"])
    applied = progress.get(subscription["origin"])
    if slot is None:
        return Flow(name, subscription["slot"], progress=applied)
    return Flow(
        name, subscription["slot"], True, slot["active"], slot["pid"], slot["application"], slot["sent"],
        slot["confirmed"], applied,
    )  # fmt: skip
