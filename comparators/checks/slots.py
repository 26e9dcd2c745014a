"""Replication slots of both sides, each by name: whose it is, who reads it, how much WAL it holds back."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from comparators.checks.sessions import shortened
from comparators.preflight import NAMED, Check, Item, ItemStatus, found
from comparators.tallies import FOLLOWERS

CHECKS = (
    Check("slots-known", "slots", "every slot of the databases and every physical slot has an owner"),
    Check("slots-present", "slots", "the slot of each subscription is there"),
    Check("slots-active", "slots", "the slots of the migration's subscriptions are being read"),
    Check("slots-consumers", "slots", "the declared slots are being read", overridable=True),
    Check("slots-not-lost", "slots", "no slot has lost its WAL or is about to"),
    Check("slots-within-budget", "slots", "no slot holds back more WAL than it may", overridable=True),
    Check("slots-free", "slots", "another slot can be created", overridable=True),
    Check("slots-failover", "slots", "the subscriptions' slots survive a failover of the source"),
    Check("slots-inventory", "slots", "which slots there are"),
)

MEBIBYTE = 1 << 20
SHOWN = 50
"""So many slots have a figure of their own, those that hold most."""
LOST = ("lost", "unreserved")
"""Values of `wal_status` at which WAL that the slot needs is gone or goes at the next checkpoint."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One replication slot as its server shows it."""

    name: str
    type: str = "logical"
    plugin: str | None = "pgoutput"
    database: str | None = None
    here: bool | None = True
    """Whether it decodes the audited database; `None` for a physical slot."""
    active: bool = True
    temporary: bool = False
    wal_status: str | None = "reserved"
    retained_bytes: int | None = 0
    """`None`: it keeps no WAL."""
    consumer: str = ""
    host: str | None = None
    inactive_seconds: float | None = None
    """From PostgreSQL 17."""
    failover: bool | None = None
    synced: bool | None = None
    """From PostgreSQL 17."""
    invalidated: str | None = None
    """Why it can no longer be used, from PostgreSQL 16."""


class Belongs(StrEnum):
    """Whose a slot is."""

    AUDITOR = "ours"
    SUBSCRIPTION = "a subscription's"
    TABLE_COPY = "a table copy's"
    DECLARED = "declared"
    ELSEWHERE = "another database's"
    NOBODY = "unknown"


@dataclass(frozen=True, slots=True)
class Declared:
    """A slot that somebody takes responsibility for."""

    owner: str
    retained_bytes: int


@dataclass(frozen=True, slots=True)
class SideSlots:
    """The slots of one side and what is known about whose they are."""

    slots: tuple[Slot, ...]
    allowed: int
    """`max_replication_slots`"""
    own: str | None = None
    """Our slot there."""
    idle: frozenset[str] = frozenset()
    """Slots of a cutover there, which nobody has to read."""
    subscriptions: Mapping[str, str] = field(default_factory=dict)
    """Slot name -> the subscription of the migration that reads it here."""
    copies: tuple[tuple[str, str], ...] = ()
    """How names of slots of a table's initial copy begin and end, for each subscription of the migration."""
    declared: Mapping[str, Declared] = field(default_factory=dict)
    budget_bytes: int = 1 << 30
    """WAL that any slot may hold back which nobody declared."""

    def belongs(self, slot: Slot) -> Belongs:
        """Say whose a slot is; what is ours or a subscription's decodes the audited database with pgoutput."""
        if slot.here and slot.plugin == "pgoutput":
            if slot.name == self.own or _follows(slot):
                return Belongs.AUDITOR
            if slot.name in self.subscriptions:
                return Belongs.SUBSCRIPTION
            if any(slot.name.startswith(start) and slot.name.endswith(end) for start, end in self.copies):
                return Belongs.TABLE_COPY
        if slot.name in self.idle:
            return Belongs.AUDITOR
        if slot.name in self.declared:
            return Belongs.DECLARED
        return Belongs.ELSEWHERE if slot.here is False else Belongs.NOBODY

    def budget_of(self, slot: Slot) -> int:
        """Give how much WAL a slot may hold back."""
        declared = self.belongs(slot) is Belongs.DECLARED
        return self.declared[slot.name].retained_bytes if declared else self.budget_bytes


def _follows(slot: Slot) -> bool:
    """Say whether a cutover's last look reads it; it ends with its session."""
    return slot.temporary and slot.active and slot.name.startswith(FOLLOWERS)


Sides = Mapping[str, SideSlots]


def copy_slots(subscription_oid: int, subscriber: str) -> tuple[str, str]:
    """Give how the name of a slot begins and ends that a subscription makes while it copies a table.

    Args:
        subscriber: system identifier of the subscription's server.
    Source: `ReplicationSlotNameForTablesync` of PostgreSQL
    """
    return f"pg_{subscription_oid}_sync_", f"_{subscriber}"


def judge_slots(sides: Sides) -> tuple[Item, ...]:
    """Judge the slots of both sides.

    Args:
        sides: by name, `source` and `target`.
    """
    return (
        known(sides), present(sides), active(sides), consumers(sides), not_lost(sides), within_budget(sides),
        free(sides), failover(sides), inventory(sides),
    )  # fmt: skip


def known(sides: Sides) -> Item:
    """Find slots that nobody has declared: whoever reads them would be cut off, or has been forgotten."""
    return found(
        "slots-known", ItemStatus.BLOCKS_CORRECTNESS,
        _named(sides, lambda side, slot: side.belongs(slot) is Belongs.NOBODY and not _backup(slot)),
        "slots that nobody declared",
        "find who reads each; add it to probes.known_slots with its owner, or drop it with pg_drop_replication_slot",
        "every slot has an owner",
    )  # fmt: skip


def present(sides: Sides) -> Item:
    """Find subscriptions whose slot is not there, or is not a slot of the audited database."""
    missing = [
        f"{name}: slot {slot} of subscription {subscription}"
        for name, side in sides.items() for slot, subscription in side.subscriptions.items()
        if not any(one.name == slot and side.belongs(one) is Belongs.SUBSCRIPTION for one in side.slots)
    ]  # fmt: skip
    return found(
        "slots-present", ItemStatus.BLOCKS_CORRECTNESS, missing, "the slots of subscriptions are missing",
        "changes since the slot went are lost: set up the subscription and its data again",
        "the slot of each subscription is there",
    )  # fmt: skip


def active(sides: Sides) -> Item:
    """Find slots of the migration that nobody reads; of ours the gate's other conditions make sure."""
    idle = _named(sides, lambda side, slot: not slot.active and side.belongs(slot) is Belongs.SUBSCRIPTION)
    if idle:
        return found(
            "slots-active", ItemStatus.BLOCKS_CAPACITY, idle, "nobody reads the slots of subscriptions",
            "see whether the subscription is enabled, and the target's log for why its worker does not run",
        )  # fmt: skip
    return found(
        "slots-active", ItemStatus.WARN,
        _named(sides, lambda side, slot: not slot.active and side.belongs(slot) is Belongs.AUDITOR),
        "nobody reads our own slots", "start `auditor run`, or drop them with `auditor teardown`",
        "the slots of the subscriptions are being read",
    )  # fmt: skip


def consumers(sides: Sides) -> Item:
    """Find declared slots that nobody reads."""
    return found(
        "slots-consumers", ItemStatus.BLOCKS_CAPACITY,
        _named(sides, lambda side, slot: not slot.active and side.belongs(slot) is Belongs.DECLARED),
        "nobody reads slots that are declared",
        "start their consumers, or drop the slots and take them out of probes.known_slots",
        "the declared slots are being read",
    )  # fmt: skip


def not_lost(sides: Sides) -> Item:
    """Find slots whose reader can no longer go on where it was."""
    return found(
        "slots-not-lost", ItemStatus.BLOCKS_CORRECTNESS,
        _named(sides, lambda side, slot: side.belongs(slot) is not Belongs.ELSEWHERE and _lost(slot)),
        "slots have lost WAL that their readers need, or will at the next checkpoint",
        "raise max_slot_wal_keep_size and let readers catch up; a reader whose slot is lost must begin anew",
        "no slot has lost its WAL",
    )  # fmt: skip


def within_budget(sides: Sides) -> Item:
    """Find slots that hold back more WAL than they may, of whichever database: the disk is one."""
    over = [
        f"{_name(name, side, slot)} {_size(slot.retained_bytes)}, allowed {_size(side.budget_of(slot))}"
        for name, side in sides.items() for slot in side.slots if (slot.retained_bytes or 0) > side.budget_of(slot)
    ]  # fmt: skip
    return found(
        "slots-within-budget", ItemStatus.BLOCKS_CAPACITY, over, "slots hold back more WAL than they may",
        "let their readers catch up, drop slots that nobody needs, or allow more in probes.known_slots",
        "no slot holds back more WAL than it may",
    )  # fmt: skip


def free(sides: Sides) -> Item:
    """Say whether a table's copy, or the way back, could have a slot."""
    left = {name: side.allowed - len(side.slots) for name, side in sides.items()}
    status = ItemStatus.BLOCKS_CAPACITY if min(left.values(), default=0) < 1 else ItemStatus.WARN
    return found(
        "slots-free", status, [f"{name}: {max(count, 0)} left" for name, count in left.items() if count < 2],
        "replication slots run out", "drop slots that nobody needs, or raise max_replication_slots and restart",
        ", ".join(f"{count} left on the {name}" for name, count in left.items()),
    )  # fmt: skip


def failover(sides: Sides) -> Item:
    """Find slots of subscriptions that a standby would not have, where there seems to be one."""
    at_risk = {name: side for name, side in sides.items() if any(slot.type == "physical" for slot in side.slots)}
    return found(
        "slots-failover", ItemStatus.WARN,
        _named(at_risk, lambda side, slot: slot.failover is False and side.belongs(slot) is Belongs.SUBSCRIPTION),
        "a failover to a standby would lose the slots of subscriptions",
        "ALTER SUBSCRIPTION ... SET (failover = true), with sync_replication_slots on the standby",
        "no slot is known that a failover would lose",
    )  # fmt: skip


def inventory(sides: Sides) -> Item:
    """List the slots, those of the audited database and physical ones first, then by the WAL that they hold back."""
    slots = [(name, side, slot) for name, side in sides.items() for slot in side.slots]
    slots.sort(key=lambda entry: (entry[2].here is False, -(entry[2].retained_bytes or 0), entry[0], entry[2].name))
    lines = tuple(_described(name, side, slot) for name, side, slot in slots[:NAMED])
    counts = ", ".join(f"{len(side.slots)} on the {name}" for name, side in sides.items())
    return Item("slots-inventory", ItemStatus.OK, f"replication slots: {counts}", subjects=lines, count=len(slots))


def figures(sides: Sides) -> dict[str, float | None]:
    """Give what conditions and charts need; foreign is what neither we nor the migration's subscriptions read."""
    source = sides["source"]
    return {
        "slots": len(source.slots),
        "target_slots": len(sides["target"].slots),
        "slots_free": source.allowed - len(source.slots),
        "foreign_retained_bytes": _most(source, (Belongs.DECLARED, Belongs.ELSEWHERE, Belongs.NOBODY)),
        "subscription_retained_bytes": _most(source, (Belongs.SUBSCRIPTION, Belongs.TABLE_COPY)),
        "own_retained_bytes": _most(source, (Belongs.AUDITOR,)),
        **{f"retained_bytes/{slot.name}": slot.retained_bytes for slot in sorted(source.slots, key=_held)[:SHOWN]},
        "target_retained_bytes": max((slot.retained_bytes or 0 for slot in sides["target"].slots), default=0),
    }


def _held(slot: Slot) -> int:
    return -(slot.retained_bytes or 0)


def _most(side: SideSlots, whose: Iterable[Belongs]) -> int:
    return max((slot.retained_bytes or 0 for slot in side.slots if side.belongs(slot) in whose), default=0)


def _named(sides: Sides, wanted: Callable[[SideSlots, Slot], bool]) -> list[str]:
    return [_name(name, side, slot) for name, side in sides.items() for slot in side.slots if wanted(side, slot)]


def _name(name: str, side: SideSlots, slot: Slot) -> str:
    """Name a slot with what does not change from one look to the next."""
    owner = f", owner {side.declared[slot.name].owner}" if slot.name in side.declared else ""
    plugin = f" {slot.plugin}" if slot.plugin else ""
    return f"{name}: {slot.name} ({slot.type}{plugin}{owner})"


def _described(name: str, side: SideSlots, slot: Slot) -> str:
    """Say everything about one slot, our opinion at the end."""
    reader = shortened(slot.consumer) or "a process" if slot.active else "nobody"
    parts = [
        f"{slot.type} {slot.plugin or ''}".strip(),
        f"database {slot.database}" if slot.database else "no database",
        f"read by {reader}{f' from {slot.host}' if slot.host else ''}{_idle(slot)}",
        f"{_size(slot.retained_bytes)} retained", f"WAL {slot.wal_status or 'not kept'}",
        *(["failover"] if slot.failover else []), *(["synced"] if slot.synced else []),
        *(["temporary"] if slot.temporary else []), *([f"invalidated: {slot.invalidated}"] if slot.invalidated else []),
    ]  # fmt: skip
    return f"{name}: {slot.name}: {', '.join(parts)}: {side.belongs(slot)}"


def _backup(slot: Slot) -> bool:
    """Say whether it is of a base backup that runs, and goes with it."""
    return slot.temporary and slot.type == "physical"


def _lost(slot: Slot) -> bool:
    return slot.wal_status in LOST or slot.invalidated is not None


def _idle(slot: Slot) -> str:
    if slot.active:
        return ""
    return ", inactive" if slot.inactive_seconds is None else f", inactive for {max(slot.inactive_seconds, 0):.0f} s"


def _size(count: int | None) -> str:
    if count is None:
        return "nothing"
    return f"{count / MEBIBYTE:.0f} MiB" if count >= MEBIBYTE else f"{count} bytes"
