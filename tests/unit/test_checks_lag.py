"""What markers and positions say of replication: stalls only end by progress, and nothing unknown is fine."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.lag import (
    CHECKS,
    STALL_SECONDS,
    Markers,
    Pace,
    judge_lag,
    lag_bytes,
    pace,
    stalled_seconds,
)
from comparators.flows import Flow, Flows, Log
from comparators.preflight import ItemStatus, completed

FLOW = Flow("sub", "slot", True, True, 77, "sub", sent=100, confirmed=100, progress=90)
FINE = Markers((1.0, 2.0))


def flows(*some: Flow, flushed: int = 100) -> Flows:
    return Flows(Log(flushed, flushed, flushed), some)


def walked(looks: list[tuple[int, int]], spacing: float = 1.0) -> Pace | None:
    """Look at (applied, flushed) again and again."""
    seen = None
    for number, (applied, flushed) in enumerate(looks):
        seen = pace(seen, replace(FLOW, confirmed=applied, progress=None), flushed, number * spacing)
    return seen


def status(name: str, *arguments) -> ItemStatus:
    return next(one.status for one in judge_lag(*arguments) if one.name == name)


def test_a_first_look_knows_of_no_stall():
    first = walked([(5, 5)])
    assert first is not None
    assert first.stalled_seconds is None
    assert ItemStatus.UNKNOWN == status("apply-moving", flows(FLOW), {"sub": first}, FINE, None)


@pytest.mark.parametrize(
    ("looks", "seconds"),
    [
        ([(5, 5), (5, 5)], 0.0),  # idle
        ([(5, 5), (5, 9)], 0.0),  # what came since the look before may be on its way
        ([(5, 5), (5, 9), (5, 9)], 1.0),
        ([(5, 9), (5, 9), (5, 20), (5, 30)], 3.0),
        ([(5, 9), (5, 9), (6, 20)], 0.0),  # slow is not stalled
        ([(5, 9), (5, 9), (6, 20), (6, 20)], 1.0),
        ([(5, 9), (5, 9), (9, 9), (9, 9)], 0.0),
    ],
)
def test_a_stall_lasts_while_nothing_is_applied_of_what_was_owed(looks, seconds):
    seen = walked(looks)
    assert seen is not None
    assert seconds == seen.stalled_seconds


@pytest.mark.parametrize("back", [(3, 20), (5, 4)])
def test_positions_that_go_back_begin_anew(back):
    seen = walked([(5, 9), (5, 9), (5, 9), back])
    assert seen is not None
    assert seen.stalled_seconds is None


def test_a_clock_that_goes_back_ends_no_stall():
    seen = None
    for now in (100.0, 110.0, 120.0, 50.0, 51.0):
        seen = pace(seen, replace(FLOW, confirmed=5, progress=None), 9, now)
    assert seen is not None
    assert 21.0 == seen.stalled_seconds


@given(st.lists(st.integers(0, 3), min_size=2, max_size=30), st.lists(st.integers(0, 3), min_size=30, max_size=30))
def test_a_stall_is_never_longer_than_since_the_last_progress(steps, writes):
    flushed = applied = 0
    seen, moved_at = None, 0.0
    for number, step in enumerate(steps):
        flushed += writes[number]
        reached = min(applied + step, flushed)
        moved_at = float(number) if reached > applied else moved_at
        applied = reached
        seen = pace(seen, replace(FLOW, confirmed=applied, progress=None), flushed, float(number))
        assert seen is not None
        if number:
            assert seen.stalled_seconds is not None
            assert 0 <= seen.stalled_seconds <= number - moved_at


@given(st.integers(1, 40))
def test_whatever_is_owed_and_stands_is_a_stall_in_the_end(looks):
    seen = walked([(5, 9)] * (looks + 1))
    assert seen is not None
    assert looks == seen.stalled_seconds


def test_a_stall_names_slot_process_and_where_it_hangs():
    seen = Pace(100, 50.0, 100, 50.0 - STALL_SECONDS, True)
    for flow, words in (
        (FLOW, "apply does not finish"),
        (replace(FLOW, sent=50), "the walsender does not send"),
        (replace(FLOW, sent=None), "pg_stat_replication is not readable"),
        (replace(FLOW, pid=None, active=False), "read by nobody"),
    ):
        (item,) = [i for i in judge_lag(flows(flow), {"sub": seen}, FINE, None) if i.name == "apply-moving"]
        assert ItemStatus.BLOCKS_CAPACITY == item.status
        assert words in item.subjects[0]
        assert "slot slot" in item.subjects[0]
        assert item.remedy


def test_what_cannot_be_read_is_not_known():
    dark = Flow("sub", None)
    assert pace(None, dark, 100, 0.0) is None
    assert ItemStatus.UNKNOWN == status("apply-moving", flows(dark), {"sub": None}, FINE, None)
    assert stalled_seconds({"sub": None}) is None
    assert stalled_seconds({"a": Pace(1, 1.0, 1, None, True), "b": None}) is None
    assert stalled_seconds({}) is None
    assert lag_bytes(flows(FLOW, dark)) is None
    assert lag_bytes(flows()) is None


def test_lag_is_that_of_the_slowest():
    behind = replace(FLOW, confirmed=30, progress=40)
    assert 60 == lag_bytes(flows(FLOW, behind))
    assert 0 == lag_bytes(flows(replace(FLOW, confirmed=200)))


@pytest.mark.parametrize(
    ("trips", "expected"),
    [((), ItemStatus.UNKNOWN), ((1.0, None), ItemStatus.BLOCKS_CAPACITY), ((1.0,), ItemStatus.OK)],
)
def test_markers(trips, expected):
    seen = Pace(1, 1.0, 1, None, True)
    assert expected == status("marker-round-trip", flows(FLOW), {"sub": seen}, Markers(trips), None)


def test_percentiles_leave_out_what_was_never_seen():
    markers = Markers((*(float(n) for n in range(1, 101)), None))
    assert (51.0, 96.0, 100.0, 1) == (*(markers.percentile(s) for s in (0.5, 0.95, 0.99)), markers.missing)
    assert Markers((None,)).percentile(0.5) is None


def test_every_check_is_made():
    items = judge_lag(flows(FLOW), {"sub": Pace(1, 1.0, 1, None, True)}, FINE, None)
    assert items == completed(items, CHECKS)
