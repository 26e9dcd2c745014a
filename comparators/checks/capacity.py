"""Whether apply keeps up with what the source writes at its worst, and whether both disks have room for it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from comparators.preflight import Check, Item, ItemStatus, found, unknown

APPLY = Check("apply-capacity", "capacity", "apply drains at least as fast as the source writes at its peak", True)
SLOTS = Check("slot-room", "capacity", "the source keeps log for each slot of the migration for long enough", True)
DISK_SOURCE = Check("disk-source", "capacity", "databases and log of the source fit its disk budget", True)
DISK_TARGET = Check("disk-target", "capacity", "databases and log of the target fit its disk budget", True)
CHECKS = (APPLY, SLOTS, DISK_SOURCE, DISK_TARGET)

LEAST_SECONDS, SHORT_SECONDS, LONG_SECONDS = 1.0, 10.0, 60.0
SPACING_SECONDS = 0.5
"""Looks that come faster are not kept, so that a meter holds a bounded number of them."""
IDLE_BYTES_PER_SECOND = 64 << 10
"""A source that writes less at its peak asks nothing of apply, and shows nothing of what apply could do."""
SMALL_BYTES = 64 << 10
"""A backlog that no drain rate matters for."""
ROOM_SHARE = 0.2
"""A slot with less of max_slot_wal_keep_size left may be lost in the next peak."""
WARN_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Meter:
    """How fast a position grows: the looks of the last minute, and the highest rates since the first, in bytes/s."""

    looks: tuple[tuple[float, int], ...] = ()
    """(unix seconds, position), both growing."""
    best: float | None = None
    """Over windows of at least a second."""
    peak_short: float | None = None
    peak_long: float | None = None
    """Over whole windows of ten and of sixty seconds."""

    def rate(self, seconds: float) -> float | None:
        """Give the rate over the newest window of so many seconds, or over all there is if that is a second or more."""
        if not self.looks:
            return None
        at, position = self.looks[-1]
        long_ago = [look for look in self.looks if look[0] <= at - seconds]
        since, before = long_ago[-1] if long_ago else self.looks[0]
        return (position - before) / (at - since) if at - since >= LEAST_SECONDS else None

    @property
    def seconds(self) -> float:
        """Give for how long it has looked, up to a minute and a look."""
        return self.looks[-1][0] - self.looks[0][0] if self.looks else 0.0

    def spans(self, seconds: float) -> bool:
        return bool(self.looks) and self.looks[0][0] <= self.looks[-1][0] - seconds

    @property
    def peak(self) -> float | None:
        """Give the peak over a minute; a younger meter gives the rate since it began, if that is higher."""
        return _highest(self.peak_long, self.rate(LONG_SECONDS))


def metered(meter: Meter, at: float, position: int) -> Meter:
    """Take one more look into account; a position that went back begins anew, a clock that did forgets no peak."""
    if meter.looks and position < meter.looks[-1][1]:
        return Meter(((at, position),))
    if meter.looks and at < meter.looks[-1][0]:
        return replace(meter, looks=((at, position),))
    if meter.looks and at - meter.looks[-1][0] < SPACING_SECONDS:
        return meter
    old = [look for look in meter.looks if look[0] <= at - LONG_SECONDS]
    recent = [look for look in meter.looks if look[0] > at - LONG_SECONDS]
    now = Meter((*old[-1:], *recent, (at, position)))
    return Meter(
        now.looks,
        _highest(meter.best, now.rate(LEAST_SECONDS)),
        _highest(meter.peak_short, now.rate(SHORT_SECONDS) if now.spans(SHORT_SECONDS) else None),
        _highest(meter.peak_long, now.rate(LONG_SECONDS) if now.spans(LONG_SECONDS) else None),
    )


def _highest(*rates: float | None) -> float | None:
    return max((rate for rate in rates if rate is not None), default=None)


@dataclass(frozen=True, slots=True)
class Headroom:
    """How much faster apply was seen to drain than the source writes at its peak."""

    ratio: float | None
    idle: bool | None
    """The source writes too little for the ratio to mean anything; `None`: its rate is not known."""

    @property
    def enough(self) -> bool | None:
        """Say whether apply keeps up; `None` where nothing shows it."""
        return True if self.idle else None if self.ratio is None else self.ratio >= 1


def headroom(drain: float | None, peak: float | None) -> Headroom:
    """Compare the best proven drain rate with the peak of generation; an idle source limits nothing.

    Args:
        drain, peak: bytes/s; `None`: not known.
    """
    if peak is None:
        return Headroom(None, None)
    if peak < IDLE_BYTES_PER_SECOND:
        return Headroom(None, True)
    return Headroom(None if drain is None else drain / peak, False)


def predicted_drain(backlog: int | None, drain: float | None) -> float | None:
    """Give the seconds until a backlog is applied at the best proven rate; `None` where either is not known."""
    if backlog is None:
        return None
    if backlog <= SMALL_BYTES:
        return 0.0
    return backlog / drain if drain else None


@dataclass(frozen=True, slots=True)
class Disk:
    """What one side uses of what it may; `None`: no budget, or not readable."""

    budget: int | None
    databases: int | None
    log: int | None

    @property
    def used(self) -> int | None:
        return None if self.databases is None or self.log is None else self.databases + self.log


@dataclass(frozen=True, slots=True)
class SlotRoom:
    """What one slot of the migration may still hold back; `None` without a limit."""

    name: str
    wal_status: str | None
    safe_bytes: int | None


def judge_apply(rates: Headroom, applied_known: bool, drain: float | None, peak: float | None) -> Item:
    """Judge the headroom; too little is said and not decided here, as its limit is the configuration's."""
    if not applied_known:
        remedy = "see the items of the groups lag and slots: every subscription needs its slot on the source"
        return unknown(APPLY.name, "how far apply has come cannot be read", remedy)
    if rates.idle is None:
        return unknown(APPLY.name, "the source's rate has not been measured yet", "look again")
    if rates.idle:
        return Item(APPLY.name, ItemStatus.OK, f"the source writes less than {IDLE_BYTES_PER_SECOND >> 10} KiB/s")
    if rates.ratio is None:
        return unknown(APPLY.name, "apply has not been seen to drain anything yet", "look again")
    said = f"apply was seen to drain {_rate(drain)}, {rates.ratio:.2f} times the source's peak of {_rate(peak)}"
    if rates.enough:
        return Item(APPLY.name, ItemStatus.OK, said)
    return Item(
        APPLY.name, ItemStatus.WARN, said,
        "let the prober see more, or run `auditor preflight --drain-test SECONDS`; if that is all apply can do, set"
        " streaming = parallel, add a subscription, or move at a quieter time",
    )  # fmt: skip


def judge_slots(slots: Sequence[SlotRoom], keep_bytes: int | None, disk_budget: bool) -> Item:
    """Judge what the slots of the migration may still hold back.

    Args:
        keep_bytes: max_slot_wal_keep_size; `None`: without limit.
        disk_budget: the configuration has one for the source.
    """
    short = [f"{one.name} ({_room(one)})" for one in slots if _short(one, keep_bytes)]
    if short:
        return found(
            SLOTS.name, ItemStatus.BLOCKS_CAPACITY, short, "slots are about to lose the log they need, or have lost it",
            "let apply catch up; raise max_slot_wal_keep_size and reload; a slot that lost log needs a new copy",
        )  # fmt: skip
    if keep_bytes is None and not disk_budget:
        return Item(
            SLOTS.name, ItemStatus.WARN, "slots may hold back log without limit: a stalled one fills the source's disk",
            "set max_slot_wal_keep_size on the source, or probes.disk.source in the configuration",
        )  # fmt: skip
    return Item(SLOTS.name, ItemStatus.OK, "each slot of the migration has room left")


def _short(slot: SlotRoom, keep_bytes: int | None) -> bool:
    if slot.wal_status in ("unreserved", "lost"):
        return True
    return keep_bytes is not None and slot.safe_bytes is not None and slot.safe_bytes < keep_bytes * ROOM_SHARE


def _room(slot: SlotRoom) -> str:
    return f"{slot.wal_status}, {_size(slot.safe_bytes)} left" if slot.safe_bytes is not None else f"{slot.wal_status}"


def judge_disk(check: Check, disk: Disk) -> Item:
    """Judge what one side uses against its budget."""
    if disk.budget is None:
        known = "" if disk.used is None else f"; {_size(disk.used)} are used"
        return Item(check.name, ItemStatus.OK, f"no budget is configured{known}")
    if disk.used is None:
        return unknown(check.name, "the role may not see all sizes", "GRANT pg_monitor to the auditor's role")
    said = f"{_size(disk.used)} of {_size(disk.budget)} are used, {_size(disk.log or 0)} of it by the log"
    if disk.used < disk.budget * WARN_SHARE:
        return Item(check.name, ItemStatus.OK, said)
    full = disk.used >= disk.budget
    remedy = "free space, find what holds log back (group slots), or enlarge the disk and probes.disk"
    return Item(check.name, ItemStatus.BLOCKS_CAPACITY if full else ItemStatus.WARN, said, remedy)


def lowest_room(slots: Iterable[SlotRoom]) -> int | None:
    """Give the least that a slot may still hold back; `None` without a limit."""
    return min((slot.safe_bytes for slot in slots if slot.safe_bytes is not None), default=None)


def _rate(rate: float | None) -> str:
    return "nothing" if rate is None else f"{_size(int(rate))}/s"


def _size(size: int) -> str:
    for unit, shift in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if size >= 1 << shift:
            return f"{size / (1 << shift):.1f} {unit}"
    return f"{size} bytes"
