"""Failures close until apply has passed them; nothing unknown is fine; what is not published is said."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.replication import (
    ALL_OPERATIONS,
    CHECKS,
    QUIET_SECONDS,
    PublishedSeen,
    ReplicationSeen,
    SubscriptionSeen,
    Watched,
    figures_of,
    judge_replication,
    watched,
)
from comparators.preflight import Item, ItemStatus, completed

ZERO = {
    "apply_error_count": 0, "sync_error_count": 0, "confl_insert_exists": 0, "confl_update_origin_differs": 0,
    "confl_update_missing": 0, "confl_delete_missing": 0,
}  # fmt: skip
SUB = SubscriptionSeen("sub", 16400, True, 50, {"public.a": "r"}, ZERO, confirmed=100)
TABLE = PublishedSeen("public.a", frozenset(ALL_OPERATIONS), False, False)
SEEN = ReplicationSeen(("sub",), (SUB,), (TABLE,), {}, False, True)


def counting(one: SubscriptionSeen = SUB, **counts: int) -> SubscriptionSeen:
    return replace(one, counts={**(one.counts or {}), **counts})


def watched_all(looks: Iterable[tuple[float, SubscriptionSeen, int]]) -> Watched:
    """Look again and again: (when, what, flushed)."""
    memory = None
    for now, one, flushed in looks:
        memory = watched(memory, one, flushed, now)
    assert memory is not None
    return memory


PROVED = watched_all([(0, SUB, 100), (1, SUB, 100)])


def judged(name: str, seen: ReplicationSeen = SEEN, memory: Watched = PROVED, now: float = 1) -> Item:
    return next(one for one in judge_replication(seen, {"sub": memory}, now) if one.name == name)


def test_a_healthy_subscription_has_no_blocking_item_and_every_check_is_made():
    items = judge_replication(SEEN, {"sub": PROVED}, 1)
    assert items == completed(items, CHECKS)
    assert {ItemStatus.OK} == {one.status for one in items}
    assert {0} == set(figures_of(SEEN.subscriptions, {"sub": PROVED}).values())


def test_a_first_look_proves_nothing():
    memory = watched(None, counting(apply_error_count=7), 100, 0)
    assert ItemStatus.UNKNOWN == judged("apply-errors", memory=memory, now=0).status
    assert 0 == figures_of((), {"sub": memory})["apply_errors"]
    assert ItemStatus.UNKNOWN == next(
        one for one in judge_replication(SEEN, {}, 0) if one.name == "apply-errors"
    ).status  # fmt: skip


def test_apply_that_never_passes_the_first_position_is_never_fine():
    memory = watched_all([(t, SUB, 101) for t in range(1000)])
    assert ItemStatus.UNKNOWN == judged("apply-errors", memory=memory, now=1000).status


FAILURES = [
    counting(apply_error_count=1), counting(confl_insert_exists=1), replace(SUB, worker_pid=None),
    replace(SUB, worker_pid=51),
]  # fmt: skip


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_closes_for_the_quiet_time_and_then_until_apply_has_passed_it(failure: SubscriptionSeen):
    after = replace(failure, worker_pid=failure.worker_pid or 50)
    passed = replace(after, confirmed=200)
    early = [(0, SUB, 100), (1, SUB, 100), (2, failure, 200)]
    assert ItemStatus.BLOCKS_CORRECTNESS == judged("apply-errors", memory=watched_all(early), now=2).status
    quick = watched_all([*early, (3, passed, 200)])
    assert ItemStatus.BLOCKS_CORRECTNESS == judged("apply-errors", memory=quick, now=3).status
    assert ItemStatus.OK == judged("apply-errors", memory=quick, now=2 + QUIET_SECONDS).status
    stuck = watched_all([*early, (3, after, 300), (90, after, 300)])
    assert ItemStatus.BLOCKS_CORRECTNESS == judged("apply-errors", memory=stuck, now=90).status


@given(st.lists(st.sampled_from(["fine", "error", "no worker", "restart"]), min_size=1, max_size=40))
def test_it_is_fine_only_after_a_quiet_time_and_a_proof_since_the_last_failure(events):
    memory, one, flushed, last = None, SUB, 100, None
    memory = watched(memory, one, flushed, 0.0)
    for number, event in enumerate(events, 1):
        now, flushed = number * 10.0, flushed + 10
        if event == "error":
            one = counting(one, apply_error_count=(one.counts or {})["apply_error_count"] + 1)
        elif event == "no worker":
            one = replace(one, worker_pid=None)
        else:
            one = replace(one, confirmed=flushed - 10, worker_pid=50 + number if event == "restart" else 50)
        restarted = event == "restart" or (event == "fine" and memory.worker_pid != 50)
        failed = event in ("error", "no worker") or one.worker_pid is None or restarted
        last = now if failed else last
        memory = watched(memory, one, flushed, now)
        status = judged("apply-errors", memory=memory, now=now).status
        if last is not None and now - last < QUIET_SECONDS:
            assert status.blocks
        if not status.blocks:
            assert last is None or (one.confirmed or 0) >= 100 + last


def test_counters_that_went_back_count_from_nothing():
    high = counting(apply_error_count=9)
    reset = [(0, high, 100), (1, high, 100), (2, counting(), 100), (3, counting(apply_error_count=2), 100)]
    memory = watched_all(reset)
    assert 2 == figures_of((), {"sub": memory})["apply_errors"]
    at_once = watched_all([(0, high, 100), (1, counting(apply_error_count=2), 100)])
    assert 2 == figures_of((), {"sub": at_once})["apply_errors"]
    assert judged("apply-errors", memory=at_once, now=1).status.blocks


def test_another_subscription_of_the_same_name_begins_anew():
    memory = watched(PROVED, replace(SUB, oid=1), 100, 2)
    assert ItemStatus.UNKNOWN == judged("apply-errors", memory=memory, now=2).status


def test_rows_that_apply_missed_close_for_the_quiet_time_and_stay_a_warning():
    missed = counting(confl_update_missing=3)
    memory = watched_all([(0, SUB, 100), (1, missed, 100)])
    item = judged("apply-conflicts", memory=memory, now=1)
    assert ItemStatus.BLOCKS_CORRECTNESS == item.status
    assert ("sub (update_missing 3)",) == item.subjects
    assert ItemStatus.WARN == judged("apply-conflicts", memory=memory, now=1 + QUIET_SECONDS).status
    assert 3 == figures_of((), {"sub": memory})["conflicts"]


def test_a_row_changed_on_the_target_as_our_canary_does_is_no_missed_row():
    memory = watched_all([(0, SUB, 100), (1, counting(confl_update_origin_differs=5), 100)])
    assert ItemStatus.OK == judged("apply-conflicts", memory=memory, now=1).status


def test_a_target_that_counts_no_conflicts_is_said():
    assert ItemStatus.WARN == judged("apply-conflicts", replace(SEEN, counts_conflicts=False)).status


def test_errors_of_the_initial_copy_close_for_the_quiet_time():
    memory = watched_all([(0, SUB, 100), (1, counting(sync_error_count=1), 100)])
    assert ItemStatus.BLOCKS_CORRECTNESS == judged("sync-errors", memory=memory, now=1).status
    assert ItemStatus.OK == judged("sync-errors", memory=memory, now=1 + QUIET_SECONDS).status


def test_restarts_are_counted_and_close_for_the_quiet_time():
    memory = watched_all([(t, replace(SUB, worker_pid=50 + t), 100) for t in range(4)])
    assert 3 == figures_of((), {"sub": memory})["worker_restarts"]
    assert ItemStatus.BLOCKS_CAPACITY == judged("apply-restarts", memory=memory, now=3).status
    assert ItemStatus.OK == judged("apply-restarts", memory=memory, now=3 + QUIET_SECONDS).status


def test_a_skipped_transaction_is_not_forgotten_once_it_was_skipped():
    skipping = replace(SUB, skipping=True)
    memory = watched_all([(0, SUB, 100), (1, skipping, 100)])
    now = judged("skipped-transactions", replace(SEEN, subscriptions=(skipping,)), memory)
    assert (ItemStatus.BLOCKS_CORRECTNESS, ("sub (set now)",)) == (now.status, now.subjects)
    later = judged("skipped-transactions", SEEN, watched(memory, SUB, 100, 99), 99)
    assert (ItemStatus.BLOCKS_CORRECTNESS, ("sub (seen earlier)",)) == (later.status, later.subjects)


def without(**changes: Any) -> ReplicationSeen:
    return replace(SEEN, subscriptions=(replace(SUB, **changes),))


@pytest.mark.parametrize(
    ("name", "seen", "status", "subject"),
    [
        ("subscriptions-present", replace(SEEN, wanted=("sub", "gone")), ItemStatus.BLOCKS_CORRECTNESS, "gone"),
        ("subscriptions-enabled", without(enabled=False), ItemStatus.BLOCKS_CAPACITY, "sub"),
        ("apply-workers", without(worker_pid=None), ItemStatus.BLOCKS_CAPACITY, "sub"),
        ("tables-ready", without(tables={"public.a": "s"}), ItemStatus.BLOCKS_CORRECTNESS, "public.a (catching up)"),
        ("tables-ready", without(tables={"public.a": "?"}), ItemStatus.BLOCKS_CORRECTNESS, "public.a (?)"),
        ("tables-subscribed", without(tables={}), ItemStatus.BLOCKS_CORRECTNESS, "public.a"),
        ("subscription-options", without(disable_on_error=True), ItemStatus.WARN, "sub (disable_on_error)"),
        ("subscription-options", without(two_phase=True), ItemStatus.WARN, "sub (two_phase)"),
        ("subscription-options", without(origin="none"), ItemStatus.WARN, "sub (origin = none)"),
        (
            "subscription-options", replace(without(origin="none"), source_subscribes=True),
            ItemStatus.BLOCKS_CORRECTNESS, "sub",
        ),
        (
            "published-operations",
            replace(SEEN, published=(replace(TABLE, operations=frozenset({"insert", "update"})),)),
            ItemStatus.BLOCKS_CORRECTNESS, "public.a (delete, truncate)",
        ),
        (
            "published-filters", replace(SEEN, published=(replace(TABLE, row_filter=True, column_list=True),)),
            ItemStatus.WARN, "public.a (row filter and column list)",
        ),
        ("other-subscriptions", replace(SEEN, others={"x": frozenset({"public.b"})}), ItemStatus.WARN, "x"),
        (
            "other-subscriptions", replace(SEEN, others={"x": frozenset({"public.a"})}), ItemStatus.BLOCKS_CORRECTNESS,
            "x (public.a)",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_a_remedy(name, seen, status, subject):
    item = judged(name, seen)
    assert (status, (subject,)) == (item.status, item.subjects)
    assert item.remedy


def test_a_disabled_subscription_is_not_said_to_lack_its_worker():
    assert ItemStatus.OK == judged("apply-workers", without(enabled=False, worker_pid=None)).status
