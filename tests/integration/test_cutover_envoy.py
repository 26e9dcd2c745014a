"""A whole cutover through two Envoys, with live clients: each sees at most one error, which it may repeat."""

from collections import Counter

import pytest

from auditor.demo.cutover.faults import End
from auditor.demo.cutover.story import Order, Story
from auditor.demo.cutover.world import Plan, World
from comparators.positions import Side
from tests.unaudited import Forked

pytestmark = pytest.mark.alone


def test_a_cutover_through_envoy_costs_each_session_at_most_one_retryable_error():
    with World(Plan(pools=0, envoys=2, audited=False, launcher=Forked), print) as world:
        told = Story(world, Order(), print).tell()
    assert (End.PROMOTED, []) == (told.end, told.dangers()), told.log_tail
    assert "complete" == told.proof
    assert [Side.SOURCE, Side.TARGET] == list(told.turns)
    assert all(failure.retryable for failure in told.failures), told.failures
    by_client = Counter(failure.client for failure in told.failures)
    assert set(by_client.values()) <= {1}, told.failures
