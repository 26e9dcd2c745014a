"""Rates, headroom, disks and slots: memory is bounded, nothing unknown is fine, an idle source limits nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.capacity import (
    DISK_SOURCE,
    IDLE_BYTES_PER_SECOND,
    SMALL_BYTES,
    Disk,
    Meter,
    SlotRoom,
    headroom,
    judge_apply,
    judge_disk,
    judge_slots,
    lowest_room,
    metered,
    predicted_drain,
)
from comparators.preflight import ItemStatus

MB = 1 << 20


def metered_all(looks: list[tuple[float, int]]) -> Meter:
    meter = Meter()
    for at, position in looks:
        meter = metered(meter, at, position)
    return meter


def test_one_look_gives_no_rate_and_two_a_second_apart_do():
    assert metered_all([(0, 0)]).rate(10) is None
    assert metered_all([(0, 0), (0.6, 100)]).rate(10) is None
    assert 100 == metered_all([(0, 0), (2, 200)]).rate(10)


def test_the_peak_of_a_minute_outlives_the_minute_and_a_burst_is_spread_over_it():
    burst = [(float(t), 0) for t in range(60)] + [(60.0, 60 * MB)]
    calm = [(60.0 + t, 60 * MB) for t in range(1, 200)]
    meter = metered_all(burst + calm)
    assert MB == meter.peak_long == meter.peak
    assert 6 * MB == meter.peak_short
    assert 60 * MB == meter.best
    assert 0 == meter.rate(10)


def test_a_young_meter_takes_what_it_has_for_the_peak():
    meter = metered_all([(0, 0), (5, 50 * MB)])
    assert (None, None, 10 * MB) == (meter.peak_long, meter.peak_short, meter.peak)


def test_a_position_that_goes_back_begins_anew():
    assert Meter(((10.0, 5),)) == metered_all([(0, 0), (5, 100), (10.0, 5)])


def test_a_clock_that_goes_back_forgets_no_peak():
    before = metered_all([(float(t), t * MB) for t in range(70)])
    after = metered(before, 3.0, 70 * MB)
    assert (before.peak_long, before.peak_short, before.best) == (after.peak_long, after.peak_short, after.best)
    assert (0.0, MB) == (after.seconds, after.peak)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(0, 10 * MB)), min_size=1, max_size=300))
def test_a_meter_is_bounded_and_its_peaks_are_ordered(steps):
    at, position, looks = 0.0, 0, []
    for seconds, grown in steps:
        at, position = at + seconds, position + grown
        looks.append((at, position))
    meter = metered_all(looks)
    assert len(meter.looks) <= 124
    assert [*meter.looks] == sorted(meter.looks)
    if meter.peak_long is not None:
        assert meter.best is not None
        assert meter.peak_long <= meter.best * (1 + 1e-9)


@given(st.integers(1, 1 << 30), st.integers(2, 60))
def test_apply_that_keeps_up_has_headroom(rate, looks):
    meter = metered_all([(float(at), at * rate) for at in range(looks)])
    found = headroom(meter.best, meter.peak)
    assert found.idle is (rate < IDLE_BYTES_PER_SECOND)
    assert found.enough is True


@pytest.mark.parametrize(
    ("drain", "peak", "ratio", "idle", "enough"),
    [
        (None, None, None, None, None),
        (5.0, None, None, None, None),
        (None, 100.0, None, True, True),
        (None, 2.0 * MB, None, False, None),
        (1.0 * MB, 2.0 * MB, 0.5, False, False),
        (2.0 * MB, 2.0 * MB, 1.0, False, True),
    ],
)
def test_headroom(drain, peak, ratio, idle, enough):
    found = headroom(drain, peak)
    assert (ratio, idle, enough) == (found.ratio, found.idle, found.enough)


@pytest.mark.parametrize(
    ("backlog", "drain", "seconds"),
    [(None, 5.0, None), (SMALL_BYTES, None, 0.0), (10 * MB, None, None), (10 * MB, 0.0, None), (10 * MB, MB, 10.0)],
)
def test_the_predicted_drain_time(backlog, drain, seconds):
    assert seconds == predicted_drain(backlog, drain)


@pytest.mark.parametrize(
    ("drain", "peak", "known", "status"),
    [
        (None, 1.0, False, ItemStatus.UNKNOWN),
        (None, None, True, ItemStatus.UNKNOWN),
        (None, 5.0 * MB, True, ItemStatus.UNKNOWN),
        (None, 5.0, True, ItemStatus.OK),
        (9.0 * MB, 5.0 * MB, True, ItemStatus.OK),
        (4.0 * MB, 5.0 * MB, True, ItemStatus.WARN),
    ],
)
def test_the_item_of_headroom(drain, peak, known, status):
    assert status == judge_apply(headroom(drain, peak), known, drain, peak).status


@pytest.mark.parametrize(
    ("disk", "status"),
    [
        (Disk(None, None, None), ItemStatus.OK),
        (Disk(None, 5, 5), ItemStatus.OK),
        (Disk(100, None, 5), ItemStatus.UNKNOWN),
        (Disk(100, 5, None), ItemStatus.UNKNOWN),
        (Disk(100, 40, 39), ItemStatus.OK),
        (Disk(100, 40, 40), ItemStatus.WARN),
        (Disk(100, 60, 40), ItemStatus.BLOCKS_CAPACITY),
        (Disk(100, 600, 40), ItemStatus.BLOCKS_CAPACITY),
    ],
)
def test_disks(disk, status):
    item = judge_disk(DISK_SOURCE, disk)
    assert status == item.status
    assert (status is ItemStatus.OK) or item.remedy


@pytest.mark.parametrize(
    ("slot", "keep", "budget", "status"),
    [
        (SlotRoom("s", "reserved", None), None, False, ItemStatus.WARN),
        (SlotRoom("s", "reserved", None), None, True, ItemStatus.OK),
        (SlotRoom("s", "reserved", 50 * MB), 100 * MB, False, ItemStatus.OK),
        (SlotRoom("s", "extended", 19 * MB), 100 * MB, False, ItemStatus.BLOCKS_CAPACITY),
        (SlotRoom("s", "unreserved", None), None, True, ItemStatus.BLOCKS_CAPACITY),
        (SlotRoom("s", "lost", None), 100 * MB, True, ItemStatus.BLOCKS_CAPACITY),
    ],
)
def test_room_of_slots(slot, keep, budget, status):
    item = judge_slots([slot], keep, budget)
    assert status == item.status
    assert not item.status.blocks or slot.name in item.subjects[0]


def test_the_least_room_is_that_of_the_slot_with_the_least():
    assert 3 == lowest_room([SlotRoom("a", None, 5), SlotRoom("b", None, 3), SlotRoom("c", None, None)])
    assert lowest_room([]) is None
