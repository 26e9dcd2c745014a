"""Whether changes keep coming: markers timed on one clock, walsenders, and apply that stands while the log grows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from comparators.flows import Flow, Flows
from comparators.preflight import Check, Item, ItemStatus, found, unknown

MARKER = Check("marker-path", "lag", "markers written on the source can be seen on the target", True)
ROUND_TRIP = Check("marker-round-trip", "lag", "no marker is missing", True)
SENDER = Check("walsender-attached", "lag", "the slot of each subscription is read", True)
MOVING = Check("apply-moving", "lag", "apply makes progress while the source's log grows", True)
CHECKS = (MARKER, ROUND_TRIP, SENDER, MOVING)

MISSING_SECONDS = 5.0
"""A marker that was not seen for so long is missing."""
STALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Markers:
    """The newest round trips in milliseconds; `None` stands for a marker that was never seen."""

    trips: tuple[float | None, ...] = ()
    by_position: bool = False
    """Without a marker table: until everything up to the marker's commit is confirmed, which takes longer."""

    @property
    def missing(self) -> int:
        return sum(trip is None for trip in self.trips)

    def percentile(self, share: float) -> float | None:
        """Give the nearest-rank percentile of those that were seen; `None` without any."""
        seen = sorted(trip for trip in self.trips if trip is not None)
        return seen[min(int(share * len(seen)), len(seen) - 1)] if seen else None


@dataclass(frozen=True, slots=True)
class Pace:
    """What is remembered of one subscription's progress from look to look."""

    applied: int
    at: float
    """When it was looked at."""
    owed: int
    """What the source had flushed at that look."""
    stalled_since: float | None = None
    judged: bool = False
    """There was an earlier look to compare with."""

    @property
    def stalled_seconds(self) -> float | None:
        """Give how long nothing was applied of what had to be; `None` after a first look."""
        if not self.judged:
            return None
        return 0.0 if self.stalled_since is None else max(self.at - self.stalled_since, 0.0)


def pace(before: Pace | None, flow: Flow, flushed: int, now: float) -> Pace | None:
    """Take one more look into account.

    Only what was flushed at the look before is owed: what came since may well be on its way. Positions that went back
    belong to another slot, or to another server: what was remembered says nothing any more.

    Args:
        flushed: how far the source's log could be sent at this look.
    Returns:
        `None` where it is not known how far the subscription is.
    """
    applied = flow.applied
    if applied is None:
        return None
    if before is None or applied < before.applied or flushed < before.owed:
        return Pace(applied, now, flushed)
    since = None
    if applied == before.applied < before.owed:
        since = before.at if before.stalled_since is None else before.stalled_since
        since -= max(before.at - now, 0.0)  # a clock that went back ends no stall
    return Pace(applied, now, flushed, since, True)


def judge_lag(
    flows: Flows, paces: Mapping[str, Pace | None], markers: Markers, trouble: Item | None
) -> tuple[Item, ...]:
    """Give the items of one look.

    Args:
        trouble: why no markers could be sent.
    """
    return (trouble or _path(markers), _round_trip(markers), _senders(flows.flows), _moving(flows, paces))


def _path(markers: Markers) -> Item:
    if markers.by_position:
        return Item(
            MARKER.name, ItemStatus.WARN,
            "there is no marker table: times are those until the target has confirmed a position, which takes longer",
            "run `auditor prepare` as a role that may add the marker table to the publication",
        )  # fmt: skip
    return Item(MARKER.name, ItemStatus.OK, "the marker table is replicated")


def _round_trip(markers: Markers) -> Item:
    if not markers.trips:
        return unknown(ROUND_TRIP.name, "no marker has come through yet", "wait, and see the other items")
    if markers.missing:
        return Item(
            ROUND_TRIP.name, ItemStatus.BLOCKS_CAPACITY,
            f"{markers.missing} of the last {len(markers.trips)} markers were not seen within {MISSING_SECONDS:.0f} s",
            "look at the walsender and at apply; the item is fine again once newer markers have all come through",
            (), markers.missing,
        )  # fmt: skip
    return Item(
        ROUND_TRIP.name, ItemStatus.OK,
        f"99 of 100 markers take at most {markers.percentile(0.99):.1f} ms ({len(markers.trips)} sent)",
    )  # fmt: skip


def _senders(flows: Sequence[Flow]) -> Item:
    idle = [f"{flow.subscription} ({_slot(flow)})" for flow in flows if not flow.active]
    return found(
        SENDER.name, ItemStatus.BLOCKS_CAPACITY, idle, "nobody reads the slot of a subscription",
        "see whether the subscription is enabled, its worker runs and it reaches the source", "each slot is read",
    )  # fmt: skip


def _slot(flow: Flow) -> str:
    if flow.slot is None:
        return "no slot is known"
    return f"slot {flow.slot}" if flow.exists else f"slot {flow.slot} is not on the source"


def _moving(flows: Flows, paces: Mapping[str, Pace | None]) -> Item:
    known = {flow.subscription: paces.get(flow.subscription) for flow in flows.flows}
    if dark := [name for name, one in known.items() if one is None]:
        remedy = "give the subscription a slot that exists on the source; grant EXECUTE on the origin functions"
        return unknown(MOVING.name, f"how far {', '.join(dark)} has come cannot be read", remedy)
    seconds = {name: one.stalled_seconds for name, one in known.items() if one is not None}
    stalled = [flow for flow in flows.flows if (seconds[flow.subscription] or 0.0) >= STALL_SECONDS]
    if stalled:
        return _stalled(stalled, seconds, flows.log.flushed)
    if not known or None in seconds.values():
        return unknown(MOVING.name, "there is no earlier look to compare with", "look again")
    return Item(MOVING.name, ItemStatus.OK, "apply keeps up with what was sent, or moves")


def _stalled(stalled: Sequence[Flow], seconds: Mapping[str, float | None], flushed: int) -> Item:
    longest = max(seconds[flow.subscription] or 0.0 for flow in stalled)
    return Item(
        MOVING.name, ItemStatus.BLOCKS_CAPACITY, f"no progress for {longest:.0f} s while the source's log grew",
        "see what the named process waits for (pg_stat_activity: wait_event), and what the target's apply worker does"
        " (pg_locks, server log); end the process if it hangs: apply connects again by itself",
        tuple(sorted(_name_of(flow, flushed) for flow in stalled)), len(stalled),
    )  # fmt: skip


def _name_of(flow: Flow, flushed: int) -> str:
    if flow.pid is None:
        return f"subscription {flow.subscription}: {_slot(flow)}, read by nobody"
    who = f"process {flow.pid} ({flow.application or 'name not readable'})"
    return f"subscription {flow.subscription}: slot {flow.slot}, {who}: {_where(flow.sent, flushed)}"


def _where(sent: int | None, flushed: int) -> str:
    if sent is None:
        return "pg_stat_replication is not readable"
    return "the walsender does not send" if sent < flushed else "apply does not finish what it was sent"


def stalled_seconds(paces: Mapping[str, Pace | None]) -> float | None:
    """Give the longest stall of all subscriptions; `None` where one is not known."""
    times = [None if one is None else one.stalled_seconds for one in paces.values()]
    known = [one for one in times if one is not None]
    return max(known) if known and len(known) == len(times) else None


def lag_bytes(flows: Flows) -> int | None:
    """Give how many bytes of the source's log the slowest subscription has not applied."""
    applied = flows.applied
    return None if applied is None else max(flows.log.written - applied, 0)
