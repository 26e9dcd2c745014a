"""Slots by name: whose each is, and what it means that nobody reads it, or that it holds back too much."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.slots import (
    CHECKS,
    Belongs,
    Declared,
    SideSlots,
    Slot,
    copy_slots,
    figures,
    judge_slots,
)
from comparators.preflight import NAMED, Item, ItemStatus, completed

SIDES = ("source", "target")
SUB, OURS = Slot("app_sub", consumer="app_sub"), Slot("auditor_m_source")
PHYSICAL = Slot("standby", type="physical", plugin=None, database=None, here=None)
CDC = Slot("cdc", plugin="wal2json", database="app")
ELSEWHERE = Slot("other_sub", database="other", here=False)
QUIET = SideSlots((), 10)


def side(*slots: Slot, **values: object) -> SideSlots:
    given: dict[str, object] = {
        "own": "auditor_m_source", "subscriptions": {"app_sub": "app_sub"}, "copies": (copy_slots(16400, "777"),),
        "budget_bytes": 1000,
    }  # fmt: skip
    return SideSlots((SUB, *slots), 10, **{**given, **values})  # type: ignore[arg-type]


def judged(seen: SideSlots, at: str = "source") -> Mapping[str, Item]:
    sides = {name: seen if name == at else QUIET for name in SIDES}
    return {item.name.removeprefix("slots-"): item for item in completed(judge_slots(sides), CHECKS)}


@pytest.mark.parametrize("at", SIDES)
def test_slots_of_ours_of_subscriptions_and_of_other_databases_are_fine(at: str) -> None:
    copying, following = Slot("pg_16400_sync_16500_777", active=False), Slot("auditor_follow_1f", temporary=True)
    found = judged(side(OURS, ELSEWHERE, replace(ELSEWHERE, name="idle", active=False), copying, following), at)
    assert {ItemStatus.OK} == {item.status for item in found.values()}
    assert 6 == found["inventory"].count


@pytest.mark.parametrize("at", SIDES)
@pytest.mark.parametrize(
    "slot",
    [
        CDC,
        PHYSICAL,
        replace(CDC, active=False),
        replace(CDC, temporary=True),
        Slot("pg_16400_sync_16500_778"),  # of another subscriber
        Slot("pg_1640_sync_16500_777"),
        Slot("auditor_m_source", plugin="wal2json"),
        Slot("auditor_other_source"),
        Slot("auditor_follow_1f"),
    ],
)
def test_a_slot_that_nobody_declared_blocks_by_name(at: str, slot: Slot) -> None:
    item = judged(side(slot), at)["known"]
    assert (ItemStatus.BLOCKS_CORRECTNESS, 1) == (item.status, item.count)
    assert item.subjects[0].startswith(f"{at}: {slot.name} (")


def test_a_base_backup_that_runs_is_nobody_s_consumer() -> None:
    assert ItemStatus.OK is judged(side(replace(PHYSICAL, temporary=True)))["known"].status


@pytest.mark.parametrize("slot", [CDC, PHYSICAL])
def test_a_declared_slot_has_to_be_read_and_to_stay_within_what_its_owner_said(slot: Slot) -> None:
    declared = {slot.name: Declared("cdc team", 50)}
    assert ItemStatus.OK is judged(side(slot, declared=declared))["known"].status
    assert ItemStatus.OK is judged(side(slot, declared=declared))["consumers"].status
    item = judged(side(replace(slot, active=False), declared=declared))["consumers"]
    assert (ItemStatus.BLOCKS_CAPACITY, True) == (item.status, "owner cdc team" in item.subjects[0])
    assert ItemStatus.OK is judged(side(replace(slot, retained_bytes=50), declared=declared))["within-budget"].status
    item = judged(side(replace(slot, retained_bytes=51), declared=declared))["within-budget"]
    assert (ItemStatus.BLOCKS_CAPACITY, True) == (item.status, item.subjects[0].endswith("51 bytes, allowed 50 bytes"))


@pytest.mark.parametrize("slot", [OURS, CDC, PHYSICAL, ELSEWHERE])
def test_whatever_nobody_declared_may_hold_back_what_a_slot_of_ours_may(slot: Slot) -> None:
    assert ItemStatus.OK is judged(side(replace(slot, retained_bytes=1000)))["within-budget"].status
    assert ItemStatus.BLOCKS_CAPACITY is judged(side(replace(slot, retained_bytes=1001)))["within-budget"].status


@pytest.mark.parametrize("slot", [SUB, OURS, CDC, PHYSICAL])
@pytest.mark.parametrize(
    ("field", "value"), [("wal_status", "lost"), ("wal_status", "unreserved"), ("invalidated", "wal_removed")]
)
def test_a_slot_that_lost_its_wal_or_soon_will_blocks(slot: Slot, field: str, value: str) -> None:
    seen = replace(side(), slots=(replace(slot, **{field: value}),))
    assert ItemStatus.BLOCKS_CORRECTNESS is judged(seen)["not-lost"].status


def test_a_lost_slot_of_another_database_is_its_own_business() -> None:
    assert ItemStatus.OK is judged(side(replace(ELSEWHERE, wal_status="lost", retained_bytes=None)))["not-lost"].status


def test_a_subscription_s_slot_that_nobody_reads_blocks_and_ours_warns() -> None:
    idle = replace(side(), slots=(replace(SUB, active=False),))
    assert ItemStatus.BLOCKS_CAPACITY is judged(idle)["active"].status
    assert ItemStatus.WARN is judged(side(replace(OURS, active=False)))["active"].status


@pytest.mark.parametrize("slots", [(), (replace(SUB, here=False),), (replace(SUB, plugin="wal2json"),)])
def test_a_subscription_s_slot_that_is_not_there_or_not_one_of_its_kind_blocks(slots: tuple[Slot, ...]) -> None:
    item = judged(replace(side(), slots=slots))["present"]
    assert (ItemStatus.BLOCKS_CORRECTNESS, ("source: slot app_sub of subscription app_sub",)) == (
        item.status, item.subjects
    )  # fmt: skip


@pytest.mark.parametrize(("allowed", "status"), [(1, "blocks-capacity"), (2, "warn"), (3, "ok")])
def test_the_last_free_slots_are_counted(allowed: int, status: str) -> None:
    assert status == judged(replace(side(), allowed=allowed))["free"].status


def test_a_standby_that_would_not_have_the_subscription_s_slot_is_warned_of() -> None:
    declared = {"standby": Declared("infra", 1000)}
    seen = replace(side(declared=declared), slots=(replace(SUB, failover=False), PHYSICAL))
    assert ItemStatus.WARN is judged(seen)["failover"].status
    seen = replace(seen, slots=(replace(SUB, failover=True), PHYSICAL))
    assert ItemStatus.OK is judged(seen)["failover"].status


def test_the_list_says_everything_about_a_slot_and_shows_the_nearest_first() -> None:
    many = [replace(ELSEWHERE, name=f"other{number}", retained_bytes=900) for number in range(NAMED + 5)]
    idle = replace(
        CDC, active=False, retained_bytes=5 << 20, inactive_seconds=42.0, failover=True, wal_status="extended"
    )  # fmt: skip
    item = judged(side(*many, idle))["inventory"]
    assert (ItemStatus.OK, NAMED, NAMED + 7) == (item.status, len(item.subjects), item.count)
    assert (
        "source: cdc: logical wal2json, database app, read by nobody, inactive for 42 s, 5 MiB retained, WAL extended,"
        " failover: unknown"
    ) == item.subjects[0]
    assert item.subjects[1].startswith("source: app_sub: ")


def test_the_figures_tell_foreign_slots_from_the_migration_s() -> None:
    seen = side(
        replace(OURS, retained_bytes=1), replace(CDC, retained_bytes=2), replace(ELSEWHERE, retained_bytes=3),
        replace(PHYSICAL, retained_bytes=None),
    )  # fmt: skip
    numbers = figures({"source": seen, "target": QUIET})
    assert {slot.name: slot.retained_bytes for slot in seen.slots} == {
        name.removeprefix("retained_bytes/"): held for name, held in numbers.items() if "/" in name
    }
    assert (5, 5) == (numbers["slots"], numbers["slots_free"])
    assert (3, 1, 0) == tuple(numbers[f"{whose}_retained_bytes"] for whose in ("foreign", "own", "subscription"))


SLOTS = st.builds(
    Slot, name=st.sampled_from(["app_sub", "auditor_m_source", "cdc", "x", "pg_16400_sync_1_777"]),
    type=st.sampled_from(["logical", "physical"]), plugin=st.sampled_from(["pgoutput", "wal2json", None]),
    here=st.sampled_from([True, False, None]), active=st.booleans(),
    wal_status=st.sampled_from(["reserved", "lost", None]), retained_bytes=st.none() | st.integers(0, 2000),
)  # fmt: skip


@given(SLOTS, st.booleans())
def test_every_slot_is_judged_and_one_here_that_is_not_known_never_passes(slot: Slot, declared: bool) -> None:
    owners = {"cdc": Declared("cdc team", 100)} if declared else {}
    seen = replace(side(declared=owners), slots=(slot,))
    found = judged(seen)
    assert 1 == found["inventory"].count
    if slot.here is not False and seen.belongs(slot) is Belongs.NOBODY:
        assert found["known"].status.blocks
    if (slot.retained_bytes or 0) > 1000:
        assert found["within-budget"].status.blocks
