"""Whether each server's settings fit the part that it has: source of a stream, target of it, and the way back."""

from collections.abc import Mapping

from comparators.checks.setting_facts import BYTES, SECONDS, Sides, SideSettings
from comparators.preflight import Item, ItemStatus, found, unknown

FITNESS = frozenset({
    "wal_level", "max_replication_slots", "max_wal_senders", "max_worker_processes", "max_logical_replication_workers",
    "max_sync_workers_per_subscription", "max_active_replication_origins", "max_prepared_transactions",
})  # fmt: skip
"""Settings on which replication depends, and which change by a restart only."""

_TIMEOUT_SECONDS = 10.0
"""Below it a busy peer is taken for a dead one."""
_PARKED_SECONDS = 3600.0
"""A slot may well be idle for so long during a cutover."""
_DECODING_BYTES = 16 << 20


def wal_level(sides: Sides) -> Item:
    """Look at what is logged: without it no slot decodes anything, there or on the way back."""
    name = "settings-wal-level"
    levels = {side: seen.values.get("wal_level") for side, seen in sides.items()}
    if None in levels.values():
        return _not_shown(name, "wal_level")
    return found(
        name, ItemStatus.BLOCKS_CORRECTNESS,
        [f"{side}: {level}" for side, level in levels.items() if level and level.value != "logical"],
        "changes cannot be decoded", "set wal_level = logical (Amazon RDS: rds.logical_replication = 1) and restart",
        "wal_level is logical on both sides",
    )  # fmt: skip


def writable(target: SideSettings) -> Item:
    """Say whether the target would take the application's writes."""
    name, read_only = "settings-writable", target.values.get("default_transaction_read_only")
    if target.in_recovery:
        return found(
            name, ItemStatus.BLOCKS_CORRECTNESS, ["target: in recovery"], "the target takes no writes",
            "let the dsn name the primary server",
        )  # fmt: skip
    if read_only is None or read_only.masked:
        return _not_shown(name, "default_transaction_read_only")
    return found(
        name, ItemStatus.BLOCKS_CORRECTNESS,
        [f"target: default_transaction_read_only {read_only}"] if read_only.value != "off" else [],
        "the target takes no writes", "set default_transaction_read_only = off", "the target takes writes",
    )  # fmt: skip


def pending_restart(sides: Sides) -> Item:
    """Find settings that were changed and will hold after the next restart only."""
    waiting = [
        (side, name) for side, seen in sides.items() for name, setting in seen.values.items()
        if setting.pending_restart
    ]  # fmt: skip
    graver = any(name in FITNESS for _, name in waiting)
    return found(
        "settings-pending-restart", ItemStatus.BLOCKS_CAPACITY if graver else ItemStatus.WARN,
        [f"{side}: {name}" for side, name in waiting], "settings wait for a restart, and a failover would bring them",
        "restart that server before the cutover, or take the change back", "no setting waits for a restart",
    )  # fmt: skip


def walsenders_free(sides: Sides) -> Item:
    """Count the connections for replication that are left."""
    return _left(
        "settings-walsenders-free",
        {side: (seen.number("max_wal_senders"), seen.walsenders) for side, seen in sides.items()},
        "connections for replication run out", "raise max_wal_senders and restart", "max_wal_senders",
    )  # fmt: skip


def slot_wal_keep(sides: Sides, budget_bytes: int) -> Item:
    """Compare how much WAL a slot may keep with what was planned."""
    name = "settings-slot-wal-keep"
    kept = {side: seen.scaled("max_slot_wal_keep_size", BYTES) for side, seen in sides.items()}
    known = {side: size for side, size in kept.items() if size is not None}
    if len(known) < len(kept):
        return _not_shown(name, "max_slot_wal_keep_size")
    if short := {side: size for side, size in known.items() if 0 <= size < budget_bytes}:
        return found(
            name, ItemStatus.BLOCKS_CAPACITY,
            [f"{side}: {size / (1 << 20):.0f} MiB, planned {budget_bytes / (1 << 20):.0f} MiB"
             for side, size in short.items()],
            "a slot may lose its WAL before it has used its budget",
            "raise max_slot_wal_keep_size, or lower the WAL budget",
        )  # fmt: skip
    return found(
        name, ItemStatus.WARN, [f"{side}: no limit" for side, size in known.items() if size < 0],
        "a slot that nobody reads may fill the disk", "set max_slot_wal_keep_size to what the disk allows",
        "slots may keep as much WAL as was planned",
    )  # fmt: skip


def idle_slots(sides: Sides) -> Item:
    """Find servers that drop slots which were idle for too long; before PostgreSQL 18 none does."""
    name, setting = "settings-idle-slots", "idle_replication_slot_timeout"
    new = {side: seen.scaled(setting, SECONDS) for side, seen in sides.items() if seen.version >= 180000}
    limits = {side: seconds for side, seconds in new.items() if seconds is not None}
    if len(limits) < len(new):
        return _not_shown(name, setting)
    short = any(0 < seconds < _PARKED_SECONDS for seconds in limits.values())
    return found(
        name, ItemStatus.BLOCKS_CAPACITY if short else ItemStatus.WARN,
        [f"{side}: after {seconds:g} s" for side, seconds in limits.items() if seconds > 0],
        "slots that are parked during a cutover may be invalidated", "set idle_replication_slot_timeout = 0",
        "no slot is dropped for being idle",
    )  # fmt: skip


def timeouts(sides: Sides) -> Item:
    """Look at how long the two ends of replication wait for each other."""
    name = "settings-timeouts"
    asked = (("source", "wal_sender_timeout"), ("target", "wal_receiver_timeout"))
    odd = []
    for side, setting in asked:
        seconds = sides[side].scaled(setting, SECONDS)
        if seconds is None:
            return _not_shown(name, setting)
        if seconds < _TIMEOUT_SECONDS:
            odd.append(f"{side}: {setting} {f'{seconds:g} s' if seconds > 0 else 'off'}")
    return found(
        name, ItemStatus.WARN, odd, "replication would notice a dead peer never, or take a busy one for dead",
        "set them to 30 s or more, and not to 0", "both ends wait for a sensible time",
    )  # fmt: skip


def decoding_memory(sides: Sides) -> Item:
    """Look at how large a transaction may be before it is decoded by way of the disk."""
    memory = sides["source"].scaled("logical_decoding_work_mem", BYTES)
    if memory is None:
        return _not_shown("settings-decoding-memory", "logical_decoding_work_mem")
    return found(
        "settings-decoding-memory", ItemStatus.WARN,
        [f"source: {memory / (1 << 20):g} MiB"] if memory < _DECODING_BYTES else [],
        "larger transactions go by way of the disk, once for each slot", "raise logical_decoding_work_mem",
        "decoding has memory enough",
    )  # fmt: skip


def apply_workers(target: SideSettings) -> Item:
    """Compare the workers that subscriptions need with those that may run."""
    name = "settings-apply-workers"
    names = ("max_logical_replication_workers", "max_sync_workers_per_subscription", "max_worker_processes")
    wanted, (allowed, syncs, processes) = target.subscriptions, (target.number(one) for one in names)
    if allowed is None or syncs is None or processes is None:
        return _not_shown(name, ", ".join(names))
    short = [
        text for wrong, text in (
            (allowed < wanted, f"target: {names[0]} {allowed:g} for {wanted} subscriptions"),
            (syncs < 1, f"target: {names[1]} {syncs:g}"),
            (processes < allowed + 1, f"target: {names[2]} {processes:g} for {allowed:g} workers and their launcher"),
        ) if wrong
    ]  # fmt: skip
    graver = allowed < wanted or syncs < 1 or processes < wanted + 1
    return found(
        name, ItemStatus.BLOCKS_CAPACITY if graver else ItemStatus.WARN, short,
        "not all workers of the subscriptions may run", "raise these settings and restart the target",
        "all workers of the subscriptions may run",
    )  # fmt: skip


def origins_free(target: SideSettings) -> Item:
    """Count the replication origins that are left; before PostgreSQL 18 the slots' setting limits them."""
    setting = "max_active_replication_origins" if target.version >= 180000 else "max_replication_slots"
    return _left(
        "settings-origins-free", {"target": (target.number(setting), target.origins)},
        "replication origins run out", f"raise {setting} and restart", setting,
    )  # fmt: skip


def prepared_transactions(source: SideSettings, target: SideSettings) -> Item:
    """Say whether an application that prepares transactions could do so on the target."""
    name, setting = "settings-prepared-transactions", "max_prepared_transactions"
    before, after = source.number(setting), target.number(setting)
    if before is None or after is None:
        return _not_shown(name, setting)
    return found(
        name, ItemStatus.WARN, [f"source {before:g}, target {after:g}"] if after < before else [],
        "the target takes fewer prepared transactions than the source", f"raise {setting} and restart the target",
        "the target takes as many as the source",
    )  # fmt: skip


def _left(
    name: str, used: Mapping[str, tuple[float | None, int]], sentence: str, remedy: str, setting: str
) -> Item:  # fmt: skip
    """Judge what is left of something a setting limits: none blocks, one alone warns."""
    left = {side: allowed - count for side, (allowed, count) in used.items() if allowed is not None}
    if len(left) < len(used):
        return _not_shown(name, setting)
    status = ItemStatus.BLOCKS_CAPACITY if min(left.values()) < 1 else ItemStatus.WARN
    return found(
        name, status, [f"{side}: {max(count, 0):g} left" for side, count in left.items() if count < 2],
        sentence, remedy,
        ", ".join(f"{count:g} left on the {side}" for side, count in left.items()),
    )  # fmt: skip


def _not_shown(name: str, settings: str) -> Item:
    return unknown(name, f"{settings} was not seen", "GRANT pg_monitor to the auditor's role on both sides")
