"""Rates, disks and slots on real servers."""

import pytest

from comparators.checks.capacity import CHECKS, IDLE_BYTES_PER_SECOND
from comparators.preflight import ItemStatus
from samplers.probes.capacity import Capacity
from tests.flow_probes import asked_for, blocking, item, prepared, sides_of
from tests.helpers import Pair, unique_name

FIGURES = {
    "headroom_ratio", "idle", "drain_bytes_per_second", "wal_bytes_per_second", "wal_peak_bytes_per_second",
    "observed_seconds",
    "wal_peak_short_bytes_per_second", "backlog_bytes", "predicted_drain_seconds", "slots_retained_bytes",
    "slot_room_bytes", "source_database_bytes", "source_wal_bytes", "target_database_bytes", "target_wal_bytes",
}  # fmt: skip


@pytest.fixture
def flowing(pair: Pair) -> Pair:
    return prepared(pair)


def written(pair: Pair, rows: int) -> None:
    pair.source.execute("INSERT INTO goods SELECT g + (SELECT count(*) FROM goods), repeat('x', 1000)"
                        f" FROM generate_series(1, {rows}) g")  # fmt: skip


def test_a_healthy_pair_has_no_blocking_item_after_two_looks(flowing: Pair):
    probe = Capacity(asked_for(flowing))
    with sides_of(flowing) as sides:
        assert ["apply-capacity"] == list(blocking(probe.look(sides, 0)))
        reading = probe.look(sides, 1000)
    assert ({}, [c.name for c in CHECKS]) == (blocking(reading), [i.name for i in reading.items])
    assert set(reading.figures) == FIGURES
    assert (1, None) == (reading.figures["idle"], reading.figures["headroom_ratio"])
    assert reading.figures["source_wal_bytes"] > 0
    assert reading.figures["target_database_bytes"] > 0


def test_headroom_is_measured_while_the_source_writes(flowing: Pair):
    probe = Capacity(asked_for(flowing))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        written(flowing, 2000)
        flowing.catch_up()
        reading = probe.look(sides, 2)
    figures = reading.figures
    assert figures["wal_peak_bytes_per_second"] > IDLE_BYTES_PER_SECOND
    assert 0 == figures["idle"]
    assert pytest.approx(1, abs=0.1) == figures["headroom_ratio"]
    assert 0 == figures["predicted_drain_seconds"]


def test_apply_that_stands_leaves_a_backlog_and_no_headroom(flowing: Pair):
    probe = Capacity(asked_for(flowing))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        flowing.target.execute(f'ALTER SUBSCRIPTION "{flowing.subscription}" DISABLE')
        written(flowing, 2000)
        reading = probe.look(sides, 2)
    assert ItemStatus.WARN == item(reading, "apply-capacity").status
    assert reading.figures["backlog_bytes"] > 2_000_000
    assert reading.figures["headroom_ratio"] < 0.5


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_full_disk_budget_blocks_on_its_side(flowing: Pair, side: str):
    probe = Capacity(asked_for(flowing, disk_bytes={"source": 1 << 40, "target": 1 << 40, side: 1 << 20}))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        reading = probe.look(sides, 1000)
    assert [f"disk-{side}"] == list(blocking(reading))
    assert ItemStatus.BLOCKS_CAPACITY == item(reading, f"disk-{side}").status


def test_a_slot_with_little_room_left_blocks(private_pair: Pair):
    prepared(private_pair)
    source = private_pair.source
    source.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '32MB'")
    source.execute("SELECT pg_reload_conf()")
    probe = Capacity(asked_for(private_pair))
    with sides_of(private_pair) as sides:
        probe.look(sides, 0)
        assert {} == blocking(probe.look(sides, 1000))
        private_pair.target.execute(f'ALTER SUBSCRIPTION "{private_pair.subscription}" DISABLE')
        for _ in range(3):
            written(private_pair, 2000)
            source.execute("SELECT pg_switch_wal()")
        reading = probe.look(sides, 2000)
    room = item(reading, "slot-room")
    assert ItemStatus.BLOCKS_CAPACITY == room.status
    assert any(private_pair.subscription in subject for subject in room.subjects)


def test_a_role_that_may_not_see_sizes_is_told_the_grant_where_there_is_a_budget(flowing: Pair):
    role = unique_name("stranger")
    for database in (flowing.source, flowing.target):
        database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        source, target = (f"{d.dsn} user={role} password=x" for d in (flowing.source, flowing.target))
        probe = Capacity(asked_for(flowing, disk_bytes={"source": 1 << 40}))
        with sides_of(flowing, source, target) as sides:
            probe.look(sides, 0)
            reading = probe.look(sides, 1000)
        assert ["disk-source"] == list(blocking(reading))
        assert "GRANT pg_monitor" in item(reading, "disk-source").remedy
    finally:
        for database in (flowing.source, flowing.target):
            database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
