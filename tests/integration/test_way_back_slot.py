"""The slot of a way back gives way to its budget, and after a day without a reader."""

from dataclasses import replace
from pathlib import Path

from auditor.settings import Settings, Side
from auditor.side_settings import SideSettings
from auditor.way_back_slot import UNREAD_SECONDS, WayBackSlot, way_back_slot
from tests.helpers import Pair
from tests.migrations import memory_settings


def _settings(pair: Pair, folder: Path, budget: int = 1 << 30) -> Settings:
    settings = memory_settings(folder, pair.name.replace("_", "-"), wal_budget_bytes=budget)
    return replace(settings, target=SideSettings(pair.target.dsn))


def _made(pair: Pair, settings: Settings) -> str:
    slot = way_back_slot(settings, Side.TARGET)
    assert slot == f"auditor_{pair.name}_back"
    pair.target.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", slot)
    return slot


def _there(pair: Pair, slot: str) -> bool:
    return bool(pair.target.value("SELECT count(*) FROM pg_replication_slots WHERE slot_name = %s", slot))


def test_it_stays_within_its_budget_and_goes_after_a_day_without_a_reader(pair: Pair, tmp_path: Path) -> None:
    settings, now = _settings(pair, tmp_path), [0.0]
    slot = _made(pair, settings)
    keeper = WayBackSlot(settings, Side.TARGET, lambda: now[0])
    keeper.look()
    now[0] = UNREAD_SECONDS
    keeper.look()
    assert _there(pair, slot)
    now[0] += 1
    keeper.look()
    assert not _there(pair, slot)
    keeper.look()


def test_it_goes_when_it_holds_back_more_than_it_may(pair: Pair, tmp_path: Path) -> None:
    settings = _settings(pair, tmp_path, 1 << 20)
    slot = _made(pair, settings)
    pair.target.execute("CREATE TABLE filler (body text)")
    pair.target.execute("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 4000)")
    keeper = WayBackSlot(settings, Side.TARGET)
    older = "SELECT count(*) FROM pg_replication_slots WHERE restart_lsn < (SELECT restart_lsn FROM"
    others = pair.target.value(f"{older} pg_replication_slots WHERE slot_name = %s)", slot)
    keeper.look()
    assert _there(pair, slot) is (others > 0)


def test_the_reverse_audit_looks_after_it_on_its_own_source(tmp_path: Path) -> None:
    settings = memory_settings(tmp_path, "shop-back", reverse_of="shop")
    assert way_back_slot(settings, Side.SOURCE) == "s"
    assert way_back_slot(settings, Side.TARGET) is None
    assert way_back_slot(memory_settings(tmp_path), Side.SOURCE) is None
