"""Settings of both sides: what applications would notice, and whether each server is fit for its part."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from comparators.checks.setting_classes import CLASSES, SettingClass, class_of, meaning
from comparators.preflight import Check, Item, ItemStatus, found, unknown

CHECKS = (
    Check("settings-must-match", "settings", "settings that decide what is stored and read are the same"),
    Check("settings-text-form", "settings", "values are written and read as text the same way", overridable=True),
    Check("settings-roles", "settings", "databases and roles have the same settings of their own"),
    Check("settings-should-match", "settings", "settings that decide how fast it goes are the same"),
    Check("settings-wal-level", "settings", "both sides log what decoding needs"),
    Check("settings-writable", "settings", "the target takes writes"),
    Check("settings-pending-restart", "settings", "no setting waits for a restart", overridable=True),
    Check("settings-walsenders-free", "settings", "another subscriber could connect", overridable=True),
    Check("settings-slot-wal-keep", "settings", "slots may keep as much WAL as was planned", overridable=True),
    Check("settings-idle-slots", "settings", "no slot is dropped for being idle", overridable=True),
    Check("settings-timeouts", "settings", "replication notices a dead peer, and only a dead one"),
    Check("settings-decoding-memory", "settings", "decoding has memory enough"),
    Check("settings-apply-workers", "settings", "the target may run its subscriptions' workers", overridable=True),
    Check("settings-origins-free", "settings", "another replication origin can be used", overridable=True),
    Check("settings-prepared-transactions", "settings", "the target takes prepared transactions if the source does"),
)

FITNESS = frozenset({
    "wal_level", "max_replication_slots", "max_wal_senders", "max_worker_processes", "max_logical_replication_workers",
    "max_sync_workers_per_subscription", "max_active_replication_origins", "max_prepared_transactions",
})  # fmt: skip
"""Settings on which replication depends, and which change by a restart only."""

_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
_TIMEOUT_SECONDS = 10.0
"""Below it a busy peer is taken for a dead one."""
_PARKED_SECONDS = 3600.0
"""A slot may well be idle for so long during a cutover."""
_DECODING_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as a new session of an application gets it, before its role's own settings."""

    value: str
    unit: str = ""
    masked: bool = False
    """Something of our own session's hides it: its role's settings or its environment."""
    pending_restart: bool = False

    def __str__(self) -> str:
        return f"{self.value}{self.unit}" if self.value.lstrip("-").isdigit() else self.value or "(empty)"

    @property
    def number(self) -> float | None:
        try:
            return float(self.value)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ScopedSetting:
    """What ALTER DATABASE or ALTER ROLE sets."""

    role: str
    """Empty: for every role."""
    here: bool
    """For the audited database only."""
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SideSettings:
    """One side's settings, and how much of what they allow is in use."""

    values: Mapping[str, Setting]
    """By name, lower case."""
    scoped: tuple[ScopedSetting, ...] = ()
    roles: frozenset[str] = frozenset()
    all_seen: bool = True
    """Whether our role sees settings that are for administrators."""
    role: str = "auditor"
    version: int = 160000
    in_recovery: bool = False
    walsenders: int = 0
    origins: int = 0
    subscriptions: int = 0
    """Enabled ones, of all databases."""

    def effective(self, role: str, name: str) -> str | None:
        """Give what a new session of a role gets; `None` where nothing of its own is set and the rest is a quantity.

        Args:
            role: empty: of any role without settings of its own.
            name: lower case.
        """
        own = {one.here: one.value for one in self.scoped if (one.role, one.name.lower()) == (role, name)}
        if own:
            return own[max(own)]
        everybody = self.values.get(name)
        return everybody.value if everybody is not None and not everybody.unit and not everybody.masked else None

    def number(self, name: str) -> float | None:
        """Give a setting's number in its own unit; `None` where it is not seen."""
        setting = self.values.get(name)
        return setting.number if setting is not None else None

    def scaled(self, name: str, units: Mapping[str, float]) -> float | None:
        """Give a setting as a number of seconds or bytes; what is not positive stays as it is."""
        setting, number = self.values.get(name), self.number(name)
        if setting is None or number is None or setting.unit not in units:
            return None
        return number * units[setting.unit] if number > 0 else number


Sides = Mapping[str, SideSettings]


def judge_settings(source: SideSettings, target: SideSettings, budget_bytes: int) -> tuple[Item, ...]:
    """Judge the settings of both sides.

    Args:
        budget_bytes: WAL that a slot of ours may hold back.
    """
    sides = {"source": source, "target": target}
    return (
        must_match(sides), text_form(sides), roles_match(sides), should_match(sides), wal_level(sides),
        writable(target), pending_restart(sides), walsenders_free(sides), slot_wal_keep(sides, budget_bytes),
        idle_slots(sides), timeouts(sides), decoding_memory(sides), apply_workers(target), origins_free(target),
        prepared_transactions(source, target),
    )  # fmt: skip


def differences(sides: Sides, kind: SettingClass) -> list[str]:
    """List the settings of one class that both sides show and that differ."""
    source, target = sides["source"].values, sides["target"].values
    return [
        f"{name}: source {source[name]}, target {target[name]}"
        for name in _common(sides, kind)
        if not source[name].masked and not target[name].masked and _differ(kind, name, source[name], target[name])
    ]  # fmt: skip


def _differ(kind: SettingClass, name: str, source: Setting, target: Setting) -> bool:
    if kind is SettingClass.AT_LEAST and source.number is not None and target.number is not None:
        return target.number < source.number
    return (meaning(name, source.value), source.unit) != (meaning(name, target.value), target.unit)


def _common(sides: Sides, kind: SettingClass) -> list[str]:
    shown = sides["source"].values.keys() & sides["target"].values.keys()
    return sorted(name for name in shown if CLASSES.get(name) is kind)


def unseen(sides: Sides, kind: SettingClass) -> list[str]:
    """List the settings of one class that our role or our session does not see as an application would."""
    return [
        f"{side}: {name}" for side, seen in sides.items() for name, of in CLASSES.items()
        if of is kind and (name not in seen.values or seen.values[name].masked)
    ]  # fmt: skip


def must_match(sides: Sides) -> Item:
    """Compare what decides about data and the meaning of statements."""
    return _same_everywhere(
        sides, "settings-must-match", SettingClass.MUST, [], "settings differ that decide what is stored or allowed",
        "set them to the same value, with ALTER DATABASE ... SET or in postgresql.conf",
    )  # fmt: skip


def text_form(sides: Sides) -> Item:
    """Compare how values look as text: 01/02/03 must not become another day, nor noon another hour."""
    return _same_everywhere(
        sides, "settings-text-form", SettingClass.FORM, scoped_differences(sides, {SettingClass.FORM}, shared=True),
        "settings differ that decide how text is read and written",
        "set them to the same value, or make sure that every client sets them itself and override this item",
    )  # fmt: skip


def _same_everywhere(
    sides: Sides, name: str, kind: SettingClass, scoped: list[str], sentence: str, remedy: str
) -> Item:  # fmt: skip
    if differing := differences(sides, kind) + scoped:
        return found(name, ItemStatus.BLOCKS_CORRECTNESS, differing, sentence, remedy)
    if hidden := unseen(sides, kind):
        return unknown(
            name, f"our own session hides what applications get: {', '.join(hidden[:5])}",
            "ALTER ROLE (the auditor's) RESET these, or take PGTZ and PGDATESTYLE out of its environment",
        )  # fmt: skip
    return Item(name, ItemStatus.OK, "they are the same on both sides")


def should_match(sides: Sides) -> Item:
    """Compare what decides about speed and patience; what cannot be seen could at worst be a warning."""
    differing = differences(sides, SettingClass.SHOULD) + differences(sides, SettingClass.AT_LEAST)
    blind = [f"{side}: some settings are for administrators only" for side, seen in sides.items() if not seen.all_seen]
    grants = [f'on the {side}: GRANT pg_monitor TO "{seen.role}"' for side, seen in sides.items() if not seen.all_seen]
    return found(
        "settings-should-match", ItemStatus.WARN, [*differing, *blind], "settings differ, or were not seen",
        "; ".join(["see that each difference is meant", *grants]), "all that matter are the same",
    )  # fmt: skip


def roles_match(sides: Sides) -> Item:
    """Compare what ALTER DATABASE and ALTER ROLE set; how text looks is left to the check of that."""
    graver = scoped_differences(sides, {SettingClass.MUST}, shared=True)
    lesser = [
        *scoped_differences(sides, {SettingClass.SHOULD, SettingClass.AT_LEAST}, shared=True),
        *scoped_differences(sides, set(SettingClass) - {SettingClass.MAY}, shared=False),
    ]  # fmt: skip
    return found(
        "settings-roles", ItemStatus.BLOCKS_CORRECTNESS if graver else ItemStatus.WARN, graver or lesser,
        "settings of databases or roles differ",
        "repeat ALTER DATABASE ... SET and ALTER ROLE ... SET on the other side",
        "databases and roles have the same settings",
    )  # fmt: skip


def scoped_differences(sides: Sides, kinds: Collection[SettingClass], *, shared: bool) -> list[str]:
    """List what sessions of a role get differently; what every role gets is compared where it comes from, by value.

    Args:
        shared: for every role and for those of both sides; else for roles of one side only.
    """
    roles = {"", *(sides["source"].roles & sides["target"].roles)}
    scoped = {(one.role, one.name.lower()) for side in sides.values() for one in side.scoped}
    return [
        _scoped_difference(role, name, sides["source"].effective(role, name), sides["target"].effective(role, name))
        for role, name in sorted(scoped)
        if class_of(name) in kinds and (role in roles) is shared and (role or name not in CLASSES)
        and not _same(name, sides["source"].effective(role, name), sides["target"].effective(role, name))
    ]  # fmt: skip


def _same(name: str, source: str | None, target: str | None) -> bool:
    if source is None or target is None:
        return source is target
    return meaning(name, source) == meaning(name, target)


def _scoped_difference(role: str, name: str, source: str | None, target: str | None) -> str:
    """Say what differs; a name with a dot is the user's own, and its value may be a secret."""
    whom = f"role {role}" if role else "every role"
    if "." in name:
        return f"{whom}: {name} differs"
    return f"{whom}: {name}: source {_or_not_set(source)}, target {_or_not_set(target)}"


def _or_not_set(value: str | None) -> str:
    return "not set" if value is None else value or "(empty)"


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
    kept = {side: seen.scaled("max_slot_wal_keep_size", _BYTES) for side, seen in sides.items()}
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
    new = {side: seen.scaled(setting, _SECONDS) for side, seen in sides.items() if seen.version >= 180000}
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
        seconds = sides[side].scaled(setting, _SECONDS)
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
    memory = sides["source"].scaled("logical_decoding_work_mem", _BYTES)
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


def figures(source: SideSettings, target: SideSettings) -> dict[str, float | None]:
    """Give what charts need; `None` where it is not seen or has no limit."""
    sides = {"source": source, "target": target}
    senders, kept = source.number("max_wal_senders"), source.scaled("max_slot_wal_keep_size", _BYTES)
    kinds = (SettingClass.SHOULD, SettingClass.AT_LEAST)
    return {
        "settings_must_differ": sum(len(differences(sides, kind)) for kind in (SettingClass.MUST, SettingClass.FORM)),
        "settings_should_differ": sum(len(differences(sides, kind)) for kind in kinds),
        "walsenders_free": None if senders is None else senders - source.walsenders,
        "max_slot_wal_keep_bytes": kept if kept is not None and kept >= 0 else None,
    }


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
