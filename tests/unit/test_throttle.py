"""The sweeper backs off at the first sign of load, waits longer each time, and comes back slowly."""

import pytest

from comparators.throttle import (
    FIRST_SECONDS,
    LEAST_SHARE,
    LIMITS,
    LONGEST_REST_SECONDS,
    LONGEST_SECONDS,
    UNKNOWN,
    Load,
    Throttle,
    decide,
)

CALM: Load = dict.fromkeys(LIMITS, 0.0)


def over(name: str, times: float = 1.1) -> Load:
    return {**CALM, name: LIMITS[name] * times}


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_any_signal_over_its_limit_stops_the_sweep_and_is_named(name):
    said = decide(over(name), LIMITS, Throttle(), 0.0)
    assert said.paused
    assert [f"{name} is {LIMITS[name] * 1.1:g}, the limit is {LIMITS[name]:g}"] == list(said.reasons)


def test_every_signal_that_is_over_is_named():
    load = {name: limit * 2 for name, limit in LIMITS.items()}
    assert len(LIMITS) == len(decide(load, LIMITS, Throttle(), 0.0).reasons)


def test_a_source_that_cannot_be_asked_stops_the_sweep():
    assert (UNKNOWN,) == decide(None, LIMITS, Throttle(), 0.0).reasons


def test_a_signal_at_its_limit_and_one_that_is_not_seen_stop_nothing():
    load = {**LIMITS, "active-sessions": None}
    assert not decide(load, LIMITS, Throttle(), 0.0).paused


def test_a_pause_is_kept_to_its_end_and_doubles_while_the_load_stays():
    throttle, now, pauses = Throttle(), 0.0, []
    for _ in range(9):
        throttle = decide(over("lock-waits"), LIMITS, throttle, now)
        pauses.append(throttle.pause)
        assert decide(CALM, LIMITS, throttle, throttle.until - 0.1).paused
        now = throttle.until
    assert [FIRST_SECONDS * 2**n for n in range(6)] == pauses[:6]
    assert LONGEST_SECONDS == pauses[-1]
    assert not decide(CALM, LIMITS, throttle, now).paused


def test_a_load_that_hovers_about_its_limit_does_not_switch_the_sweep_on_and_off():
    paused = decide(over("active-sessions"), LIMITS, Throttle(), 0.0)
    still = decide(over("active-sessions", 0.9), LIMITS, paused, paused.until)
    assert ["active-sessions is 45 and is to fall to 40, as it was over its limit of 50"] == list(still.reasons)
    assert not decide(over("active-sessions", 0.7), LIMITS, still, still.until).paused


def test_each_overload_halves_the_share_and_calm_brings_it_back_slowly():
    throttle, shares, now = Throttle(), [], 0.0
    for _ in range(6):
        throttle = decide(over("lock-waits"), LIMITS, throttle, now)
        shares.append(throttle.share)
        throttle = decide(CALM, LIMITS, throttle, now + LONGEST_SECONDS)
        now += LONGEST_SECONDS
    assert sorted(shares, reverse=True) == shares
    assert shares[-1] < 0.2
    assert min(shares) >= LEAST_SHARE
    looks = 0
    while throttle.share < 1.0:
        throttle = decide(CALM, LIMITS, throttle, now)
        looks += 1
    assert looks > 10


def test_the_rest_after_work_follows_from_the_share():
    assert 0.0 == Throttle().rest(0.3)
    assert pytest.approx(0.9) == Throttle(share=0.25).rest(0.3)
    assert LONGEST_REST_SECONDS == Throttle(share=LEAST_SHARE).rest(600)


def test_a_signal_without_a_limit_stops_nothing():
    assert not decide(over("lock-waits"), {}, Throttle(), 0.0).paused
