"""Settings of both sides: what applications would notice, and the whole list of checks about settings."""

from collections.abc import Collection

from comparators.checks.fitness import (
    apply_workers,
    decoding_memory,
    idle_slots,
    origins_free,
    pending_restart,
    prepared_transactions,
    slot_wal_keep,
    timeouts,
    wal_level,
    walsenders_free,
    writable,
)
from comparators.checks.setting_classes import CLASSES, SettingClass, class_of, meaning
from comparators.checks.setting_facts import BYTES, Setting, Sides, SideSettings
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


def figures(source: SideSettings, target: SideSettings) -> dict[str, float | None]:
    """Give what charts need; `None` where it is not seen or has no limit."""
    sides = {"source": source, "target": target}
    senders, kept = source.number("max_wal_senders"), source.scaled("max_slot_wal_keep_size", BYTES)
    kinds = (SettingClass.SHOULD, SettingClass.AT_LEAST)
    return {
        "settings_must_differ": sum(len(differences(sides, kind)) for kind in (SettingClass.MUST, SettingClass.FORM)),
        "settings_should_differ": sum(len(differences(sides, kind)) for kind in kinds),
        "walsenders_free": None if senders is None else senders - source.walsenders,
        "max_slot_wal_keep_bytes": kept if kept is not None and kept >= 0 else None,
    }
