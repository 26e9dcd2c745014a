"""Look at what each subscription is, what it does, and what its counters and workers say of failures."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from comparators.checks.alterations import Alterations, followed, resumed
from comparators.checks.alterations import figures_of as alteration_figures
from comparators.checks.replication import (
    CHECKS,
    PublishedSeen,
    ReplicationSeen,
    SubscriptionSeen,
    Watched,
    figures_of,
    judge_replication,
    watched,
)
from comparators.flows import Flows
from comparators.preflight import completed
from samplers.catalog import Subscription, published_tables, select, subscriptions
from samplers.probes.base import Asked, Reading, Sides
from samplers.probes.flows import permitted, read_flows


class Replication:
    """Remembers each subscription's counters, worker and failures from look to look."""

    group = "replication"
    every_seconds = 3.0
    looks = 3

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._memory: dict[str, Watched] = {}
        self._alterations: Alterations | None = None

    def resume(self, figures: Mapping[str, float | None], now: float) -> None:
        """Go on from the figures that an earlier probe gave under the same baseline."""
        self._alterations = resumed(figures, now)

    def look(self, sides: Sides, now: float) -> Reading:
        """Look at subscriptions, workers and counters on the target, and at slots and publications on the source.

        Raises:
            SideUnavailable, ...: as `comparators.server_errors.wrapped` sorts them.
        """
        # the counters first: a failure between the two readings asks for proof of a position after it
        found = subscriptions(sides.target)
        versions = {row["name"]: row["version"] for row in permitted(sides.target, "subscription_versions") or ()}
        options = {row["name"]: row for row in select(sides.target, f"replication_options{_version(sides.target)}")}
        counts = _counts(sides.target)
        flows = read_flows(sides, self._asked.subscriptions)
        seen = tuple(
            _seen(found[name], options[name], counts, flows)
            for name in self._asked.subscriptions if name in found and name in options
        )  # fmt: skip
        self._memory = {
            one.name: watched(self._memory.get(one.name), one, flows.log.flushed, now) for one in seen
        }
        self._alterations = followed(
            self._alterations, {one.name: versions.get(one.name) for one in seen}, self._stopped(seen, now), now
        )
        items = judge_replication(self._all(sides, seen, found), self._memory, now)
        figures = figures_of(seen, self._memory) | alteration_figures(self._alterations)
        return Reading(completed(items, CHECKS), figures)

    def _stopped(self, seen: Sequence[SubscriptionSeen], now: float) -> bool:
        return any(not one.enabled for one in seen) or any(
            now in (known.failed_at, known.restarted_at) for known in self._memory.values()
        )

    def _all(
        self, sides: Sides, seen: tuple[SubscriptionSeen, ...], found: Mapping[str, Subscription]
    ) -> ReplicationSeen:
        others = {name: one.table_names for name, one in found.items() if name not in self._asked.subscriptions}
        published = tuple(
            PublishedSeen(table.full_name, table.operations, bool(table.row_filter), table.columns is not None)
            for table in published_tables(sides.source, self._asked.publications)
            if table.schema != self._asked.own_schema and self._asked.selects(table.full_name)
        )
        return ReplicationSeen(
            self._asked.subscriptions, seen, published, others,
            bool(select(sides.source, "replication_subscriber")[0]["subscribes"]),
            sides.target.info.server_version >= 180000,
        )  # fmt: skip


def _version(target: psycopg.Connection) -> str:
    version = target.info.server_version
    return "_16" if version >= 160000 else "_15" if version >= 150000 else ""


def _counts(target: psycopg.Connection) -> Sequence[dict[str, Any]]:
    return select(target, "replication_counts") if target.info.server_version >= 150000 else ()


def _seen(
    found: Subscription, options: Mapping[str, Any], counts: Sequence[Mapping[str, Any]], flows: Flows
) -> SubscriptionSeen:
    counted = next((row["counts"] for row in counts if row["oid"] == found.oid), None)
    flow = next(one for one in flows.flows if one.subscription == found.name)
    return SubscriptionSeen(
        found.name, found.oid, found.enabled, found.worker_pid,
        {f"{schema}.{name}": state for schema, name, state, _ in found.tables},
        None if counted is None else {name: int(count or 0) for name, count in counted.items()},
        flow.confirmed, options["skipping"], options["disable_on_error"], options["two_phase"], options["streaming"],
        options["origin"],
    )  # fmt: skip


PROBE = Replication
