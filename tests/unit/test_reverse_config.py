"""The reverse audit's configuration: the migration's own with its sides swapped."""

from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest

from auditor.cutover.reverse_config import back_of, back_settings, config_file, write_config
from auditor.secret_ref import SecretRef
from auditor.settings import EvidenceSettings, GateSettings, ProbeSettings, Settings, SlotOwner, SweepSettings
from auditor.side_settings import SideSettings
from comparators.errors import SettingInvalid
from orchestrator.seen import OverrideSeen
from tests.migrations import memory_settings


def _settings(folder: Path) -> Settings:
    gate = GateSettings(
        limits=MappingProxyType({"lag-ms": 50}), dwell_seconds=2,
        overrides=(OverrideSeen("config-0", "preflight-settings", "settings-origins-free", "ann", "known", 0.0, 4e9),),
    )  # fmt: skip
    probes = ProbeSettings(
        known_slots=MappingProxyType({"other": SlotOwner("bob", 1 << 20)}), known_writers=("app",),
        disk=MappingProxyType({"source": 1 << 30}),
    )  # fmt: skip
    return replace(
        memory_settings(folder / "state"),
        source=SideSettings("host=a dbname=x user=u", SecretRef(f"file:{folder}/secret", "source.password")),
        target=SideSettings("host=b dbname=x user=u"), gate=gate, probes=probes, wal_budget_bytes=1 << 25,
        sampling_rate=0.25, sweep=SweepSettings(every_seconds=5, max_load=MappingProxyType({"active-sessions": 3})),
        evidence=EvidenceSettings(keys="clear"),
    )  # fmt: skip


def test_sides_are_swapped_and_everything_is_sampled(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    back = write_config(settings)
    assert (back.migration, back.reverse_of) == ("shop-back", "shop")
    assert (back.source, back.target) == (settings.target, settings.source)
    assert back.replication.publications == back.replication.subscriptions == ("auditor_shop_back",)
    assert back.sampling_rate == 1.0
    assert back.state_dir == settings.state_dir / "back"
    assert (back.gate.limits, back.gate.dwell_seconds) == (settings.gate.limits, 2)
    assert [(one.item, one.owner, one.until) for one in back.gate.overrides] == [("settings-origins-free", "ann", 4e9)]
    assert back.probes.known_slots == settings.probes.known_slots
    assert back.probes.disk == {"target": 1 << 30}
    assert (back.sweep, back.evidence.keys, back.wal_budget_bytes) == (settings.sweep, "clear", 1 << 25)
    assert back.cutover is None


def test_a_secret_stays_a_reference_and_the_file_is_its_owners(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    write_config(settings)
    file = config_file(settings)
    assert f"password: file:{tmp_path}/secret" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600


def test_an_address_that_was_chosen_is_kept(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    first = write_config(settings)
    assert write_config(replace(settings, window_ms=7)).gate.listen == first.gate.listen


def test_a_mapping_that_cannot_be_turned_around_leaves_out_the_sweeps(tmp_path: Path) -> None:
    assert write_config(replace(_settings(tmp_path), mapping=tmp_path / "mapping.yaml")).sweep.enabled is False


def test_its_records_are_found_without_its_file(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    back, written = back_settings(settings), write_config(settings)
    assert (back.names, back.state_dir, back.transport) == (written.names, written.state_dir, written.transport)


def test_a_name_without_room_is_refused() -> None:
    assert back_of("a" * 35) == "a" * 35 + "-back"
    with pytest.raises(SettingInvalid, match="more than 35 letters"):
        back_of("a" * 36)
