"""The configuration of the reverse audit: the migration's own with its sides swapped, in a folder of its own."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from auditor.servers.ports import free_port
from auditor.settings import EvidenceSettings, GateSettings, KafkaSettings, ProbeSettings, Settings, SweepSettings, load
from auditor.side_settings import SideSettings
from comparators.errors import SettingInvalid
from comparators.positions import Side

LONGEST_NAME = 35
"""Letters of a migration that leave room for `-back` in the names of its objects."""
FOLDER = "back"
FAR = "9999-12-31T00:00:00Z"


def back_of(migration: str) -> str:
    """Name the way back of a migration.

    Raises:
        SettingInvalid: its name leaves no room.
    """
    if len(migration) > LONGEST_NAME:
        raise SettingInvalid(
            f"migration: {migration} has more than {LONGEST_NAME} letters, which a cutover's own names need",
            hint="prepare the migration under a shorter name",
        )
    return f"{migration}-back"


def write_config(settings: Settings, parked: Sequence[str] = ()) -> Settings:
    """Write the reverse audit's file unless it is there as it should be, and read it.

    Args:
        parked: slots of the migration's subscriptions, which nobody reads after the commit.
    Raises:
        SettingInvalid: it cannot be written, or the migration's name is too long.
    """
    folder = settings.open_state_dir() / FOLDER
    file = folder / "auditor.yaml"
    listen = _listening(file) or f"127.0.0.1:{free_port()}"
    text = yaml.safe_dump(document_of(settings, folder, listen, parked), sort_keys=False)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            _write(file, text)
    except OSError as error:
        raise SettingInvalid(f"{file}: {error.strerror}", hint="let this user write to state_dir") from None
    return load(file)


def back_settings(settings: Settings) -> Settings:
    """Give as much of the reverse audit's settings as its records need, without reading its file."""
    folder = settings.state_dir / FOLDER
    return replace(settings, migration=back_of(settings.migration), state_dir=folder, cutover=None)


def config_file(settings: Settings) -> Path:
    """Name the reverse audit's file."""
    return settings.state_dir / FOLDER / "auditor.yaml"


def _listening(file: Path) -> str | None:
    """Give the address that an earlier attempt chose; its processes may still listen there."""
    with suppress(SettingInvalid):
        return load(file).gate.listen
    return None


def _write(file: Path, text: str) -> None:
    """Replace the file at once; connection strings in it may hold a password, so only this user reads it."""
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(fresh, "x", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as opened:
        opened.write(text)
    fresh.replace(file)


def document_of(settings: Settings, state_dir: Path, listen: str, parked: Sequence[str] = ()) -> dict[str, Any]:
    """Write the configuration of a migration's reverse audit; every transaction is sampled."""
    name = back_of(settings.migration)
    carrier = settings.names.way_back
    document: dict[str, Any] = {
        "migration": name,
        "reverse_of": settings.migration,
        "source": _side(settings.target),
        "target": _side(settings.source),
        "replication": {"mode": "native", "publication": carrier, "subscription": carrier},
        "tables": {"include": list(settings.tables.include), "exclude": _excluded(settings)},
        "sampling": {"rate": 1.0},
        "window_ms": settings.window_ms,
        "transport": _transport(settings.transport),
        "state_dir": str(state_dir),
        "gate": _gate(settings.gate, listen),
        "evidence": _evidence(settings.evidence),
        "nudge": asdict(settings.nudge),
        "sweep": _sweep(settings.sweep),
        "probes": _probes(settings),
        "wal_budget_bytes": settings.wal_budget_bytes,
    }
    consumed = [one.slot for one in settings.cutover.consumers] if settings.cutover else []
    if left := sorted({*parked, *consumed}):
        document["parked_slots"] = left
    if settings.mapping is not None:  # how tables are paired that differ by design cannot be turned around
        document["sweep"]["enabled"] = False
    if settings.accepted_differences is not None:
        document["accepted_differences"] = str(settings.accepted_differences)
    return document


def _excluded(settings: Settings) -> list[str]:
    """Leave out what the forward audit has of its own; the tables of this one are its own."""
    own = {f"{settings.names.way_back}.*", f"{settings.names.schema}.*"}
    return [*(pattern for pattern in settings.tables.exclude if pattern not in own), f"{settings.names.schema}.*"]


def _side(side: SideSettings) -> dict[str, Any]:
    return {"dsn": side.dsn} | ({"password": side.password.reference} if side.password else {})


def _transport(kafka: KafkaSettings | None) -> Any:
    if kafka is None:
        return "memory"
    options: dict[str, Any] = dict(kafka.options)
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"] == "true"
    numbers = {"partitions": kafka.partitions, "replication_factor": kafka.replication_factor}
    return {"kafka": {"bootstrap": list(kafka.bootstrap), **numbers, **({"options": options} if options else {})}}


def _gate(gate: GateSettings, listen: str) -> dict[str, Any]:
    """Keep the limits, and what somebody takes responsibility for; it answers on this host alone, to the cutover."""
    overrides = [
        {name: value for name in ("condition", "item", "owner", "reason") if (value := getattr(one, name)) is not None}
        | {"until": _day(one.until)}
        for one in gate.overrides
    ]  # fmt: skip
    return {
        "listen": listen, "limits": dict(gate.limits), "dwell_seconds": gate.dwell_seconds,
        "valid_seconds": gate.valid_seconds, "hysteresis": gate.hysteresis,
        **({"overrides": overrides} if overrides else {}),
    }  # fmt: skip


def _day(until: float | None) -> str:
    return FAR if until is None else datetime.fromtimestamp(until, UTC).isoformat()


def _evidence(evidence: EvidenceSettings) -> dict[str, Any]:
    key = {"key": evidence.key.reference} if evidence.key else {}
    return {"values": evidence.values, "keys": evidence.keys, **key}


def _sweep(sweep: SweepSettings) -> dict[str, Any]:
    given = {one.name: getattr(sweep, one.name) for one in fields(sweep)}
    return given | {"max_load": dict(sweep.max_load)}


def _probes(settings: Settings) -> dict[str, Any]:
    """Swap what is said of a side, and answer for the slots that the cutover itself brings to the target."""
    probes: ProbeSettings = settings.probes
    given: dict[str, Any] = {"enabled": probes.enabled}
    if probes.interval_seconds is not None:
        given["interval_seconds"] = probes.interval_seconds
    if probes.known_writers:
        given["known_writers"] = list(probes.known_writers)
    if probes.disk:
        given["disk"] = {str(Side(side).other): size for side, size in probes.disk.items()}
    known: Mapping[str, Any] = {
        name: {"owner": one.owner, **({"retained": one.retained_bytes} if one.retained_bytes is not None else {})}
        for name, one in probes.known_slots.items()
    }
    ours = {one.slot: {"owner": one.role} for one in (settings.cutover.consumers if settings.cutover else ())}
    if slots := {**ours, **known}:
        given["known_slots"] = slots
    return given
