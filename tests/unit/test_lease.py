"""Whoever holds the lease stops before another can begin, hangs without keeping it, and is told when it is lost."""

import threading

import pytest

from comparators.errors import StoreUnavailable
from orchestrator.deadlines import DeadlinePassed
from orchestrator.lease import MARGIN_SECONDS, Keeper, LeasedDeadline
from orchestrator.records import Lease, LeaseHeld, LeaseLost
from orchestrator.rehearsal import MemoryJournal
from tests.helpers import wait_for


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Counted(MemoryJournal):
    """Counts renewals; fails them while it is away."""

    renewals = 0
    away = False

    def renew(self, epoch: int, seconds: float) -> Lease:
        if self.away:
            raise StoreUnavailable("away")
        self.renewals += 1
        return super().renew(epoch, seconds)


def test_the_holder_stops_before_another_can_begin():
    clock = Clock()
    journal = MemoryJournal("orders", clock)
    keeper = Keeper(journal, "ana", clock=clock)
    keeper.take()
    deadline = LeasedDeadline(clock.now + 60, "a step", keeper)
    assert 60 == deadline.left()
    clock.now += 10 - MARGIN_SECONDS
    with pytest.raises(LeaseLost):
        keeper.check()
    with pytest.raises(LeaseLost):
        deadline.left()
    with pytest.raises(LeaseHeld):
        journal.acquire("zoe", 10)
    clock.now += MARGIN_SECONDS
    assert 2 == journal.acquire("zoe", 10).epoch


def test_a_deadline_of_the_step_passes_before_the_lease():
    clock = Clock()
    keeper = Keeper(MemoryJournal("orders", clock), "ana", clock=clock)
    keeper.take()
    deadline = LeasedDeadline(clock.now + 1, "a step", keeper)
    clock.now += 1
    with pytest.raises(DeadlinePassed):
        deadline.left()
    assert deadline.anew(2, "undoing").keeper is keeper


def test_enough_is_left_before_a_step_or_it_is_renewed():
    clock = Clock()
    journal = Counted("orders", clock)
    keeper = Keeper(journal, "ana", clock=clock)
    keeper.take()
    keeper.ensure(7)
    assert 0 == journal.renewals
    clock.now += 5
    keeper.ensure(7)
    assert 1 == journal.renewals
    assert keeper.left() > 7


def test_the_lease_is_kept_while_the_holder_makes_progress():
    journal = Counted("orders")
    keeper = Keeper(journal, "ana", seconds=30, every=0.005)
    with keeper:
        wait_for(lambda: journal.renewals >= 3, 20, "renewals")
        with pytest.raises(LeaseHeld):
            journal.acquire("zoe", 10)
    assert journal.lease().over
    assert "lease" not in [thread.name for thread in threading.enumerate()]


def test_a_holder_that_hangs_loses_its_lease():
    """The thread that renews would go on for ever, and the dead man would never open the old side."""
    journal = Counted("orders")
    keeper = Keeper(journal, "ana", seconds=0.5, every=0.005)
    with keeper:
        wait_for(lambda: journal.renewals >= 1, 20, "renewals")
        keeper.trust(0)
        wait_for(lambda: journal.lease().over, 20, "the lease to be over")
        with pytest.raises(LeaseLost):
            keeper.check()
        journal.acquire("dead man", 10)


def test_a_journal_that_comes_back_in_time_costs_nothing():
    journal = Counted("orders")
    keeper = Keeper(journal, "ana", seconds=30, every=0.005)
    with keeper:
        journal.away = True
        wait_for(lambda: keeper.left() < 29.7, 20, "renewals to fail")
        journal.away = False
        before = journal.renewals
        wait_for(lambda: journal.renewals > before, 20, "renewals")
        keeper.check()


def test_who_was_followed_by_another_knows_at_the_next_renewal():
    clock = Clock()
    journal = MemoryJournal("orders", clock)
    keeper = Keeper(journal, "ana", clock=clock)
    keeper.take()
    journal.release(1)
    journal.acquire("zoe", 10)
    keeper.check()
    with pytest.raises(LeaseLost):
        keeper.renew()
    with pytest.raises(LeaseLost):
        keeper.check()
