"""What is under way: each thing that stands in the way closes the gate from either side, and nothing unseen is fine."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.activity import (
    CHECKS,
    LIMITS,
    Prepared,
    SideActivity,
    figures,
    judge_activity,
)
from comparators.checks.sessions import Session, SideSessions, shortened
from comparators.preflight import Item, ItemStatus, completed

SIDES = ("source", "target")
QUIET = SideActivity(SideSessions())


def busy(*sessions: Session, **values: object) -> SideActivity:
    return SideActivity(SideSessions(sessions, **values))  # type: ignore[arg-type]


def judged(side: str, activity: SideActivity) -> dict[str, Item]:
    sides = {name: activity if name == side else QUIET for name in SIDES}
    return {item.name.removeprefix("activity-"): item for item in completed(judge_activity(sides, LIMITS), CHECKS)}


OFFENDERS = [
    ("old-transactions", Session(7, "app", transaction_seconds=61), ItemStatus.BLOCKS_CAPACITY),
    ("idle-in-transaction", Session(7, state="idle in transaction", state_seconds=61), ItemStatus.BLOCKS_CAPACITY),
    ("idle-in-transaction", Session(7, state="idle in transaction (aborted)", state_seconds=11), ItemStatus.WARN),
    ("ddl", Session(7, changes_schema=True), ItemStatus.BLOCKS_CAPACITY),
    ("ddl", Session(7, locks_table=True), ItemStatus.BLOCKS_CAPACITY),
    ("index-builds", Session(7, builds_index=True), ItemStatus.BLOCKS_CAPACITY),
    ("session-state", Session(7, locks_advisory=True), ItemStatus.WARN),
    ("session-state", Session(7, listens=True), ItemStatus.WARN),
    ("session-state", Session(7, holds_cursor=True), ItemStatus.WARN),
]


def test_two_quiet_sides_are_fine() -> None:
    assert {ItemStatus.OK} == {item.status for item in judged("source", QUIET).values()}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("name", "session", "status"), OFFENDERS)
def test_an_offender_is_named_with_its_side_and_a_remedy(
    side: str, name: str, session: Session, status: ItemStatus
) -> None:
    item = judged(side, busy(session))[name]
    assert (status, 1) == (item.status, item.count)
    assert item.subjects[0].startswith(f"{side}: process 7 ")
    assert item.remedy


@pytest.mark.parametrize(("name", "session", "status"), OFFENDERS)
def test_our_own_sessions_and_the_servers_never_count(name: str, session: Session, status: ItemStatus) -> None:
    assert ItemStatus.OK is judged("source", busy(replace(session, ours=True)))[name].status
    if name != "index-builds":
        for kind in ("walsender", "logical replication apply worker", "autovacuum worker"):
            assert ItemStatus.OK is judged("source", busy(replace(session, kind=kind)))[name].status


@pytest.mark.parametrize(
    "session",
    [
        Session(7, transaction_seconds=60),
        Session(7, transaction_seconds=3600, vacuums=True),
        Session(7, state="idle in transaction", state_seconds=10),
        Session(7, state="idle", state_seconds=3600),
    ],
)
def test_what_is_within_its_limits_is_fine(session: Session) -> None:
    assert {ItemStatus.OK} == {item.status for item in judged("source", busy(session)).values()}


@pytest.mark.parametrize("side", SIDES)
def test_a_prepared_transaction_blocks_and_its_name_cannot_garble_the_words(side: str) -> None:
    item = judged(side, replace(QUIET, prepared=(Prepared("a\nb" + "x" * 300, "app", 90),)))["prepared"]
    assert (ItemStatus.BLOCKS_CORRECTNESS, 1) == (item.status, item.count)
    assert item.subjects[0].startswith(f"{side}: a?bxxx")
    assert item.subjects[0].endswith("... (role app, for more than a minute)")


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("field", "ids", "status"),
    [
        ("transactions_behind", 999_999_999, ItemStatus.OK),
        ("transactions_behind", 1_000_000_000, ItemStatus.WARN),
        ("multixacts_behind", 1_600_000_000, ItemStatus.BLOCKS_CAPACITY),
        ("multixacts_behind", None, ItemStatus.UNKNOWN),
    ],
)
def test_ids_near_their_end_warn_and_then_block(side: str, field: str, ids: int | None, status: ItemStatus) -> None:
    assert status is judged(side, replace(QUIET, **{field: ids}))["transaction-ids"].status


@pytest.mark.parametrize("side", SIDES)
def test_a_vacuum_against_wraparound_is_warned_of(side: str) -> None:
    item = judged(side, busy(Session(9, kind="autovacuum worker", prevents_wraparound=True)))["wraparound-vacuum"]
    assert (ItemStatus.WARN, (f"{side}: process 9",)) == (item.status, item.subjects)


@pytest.mark.parametrize("side", SIDES)
def test_without_the_right_to_see_sessions_nothing_about_them_is_fine(side: str) -> None:
    found = judged(side, busy(Session(7, kind=None), all_seen=False, role="reader"))
    for name in ("old-transactions", "idle-in-transaction", "ddl", "wraparound-vacuum", "session-state"):
        assert ItemStatus.UNKNOWN is found[name].status
        assert f'on the {side}: GRANT pg_monitor TO "reader"' == found[name].remedy
    numbers = figures({"source": QUIET, "target": QUIET, side: busy(all_seen=False)})
    assert (None, None) == (numbers["oldest_transaction_seconds"], numbers["idle_in_transaction"])


def test_an_offender_that_is_seen_counts_even_where_others_are_hidden() -> None:
    item = judged("source", busy(Session(7, locks_table=True, kind=None), all_seen=False))["ddl"]
    assert ItemStatus.BLOCKS_CAPACITY is item.status


def test_the_figures_count_both_sides() -> None:
    sides = {
        "source": busy(Session(1, transaction_seconds=5, state="idle in transaction", state_seconds=4)),
        "target": replace(busy(Session(2, transaction_seconds=9)), prepared=(Prepared("g", "app", 1),)),
    }
    numbers = figures(sides)
    assert (9, 2, 1, 1) == tuple(
        numbers[name]
        for name in ("oldest_transaction_seconds", "open_transactions", "idle_in_transaction", "prepared_transactions")
    )


SESSIONS = st.builds(
    Session, pid=st.integers(1, 9), kind=st.sampled_from(["client backend", "walsender", "pg_cron", None]),
    state=st.sampled_from(["", "active", "idle", "idle in transaction"]),
    transaction_seconds=st.none() | st.floats(0, 1e6), state_seconds=st.none() | st.floats(0, 1e6),
    changes_schema=st.booleans(), locks_table=st.booleans(), builds_index=st.booleans(), ours=st.booleans(),
)  # fmt: skip
ACTIVITIES = st.builds(
    SideActivity, st.builds(SideSessions, st.lists(SESSIONS, max_size=4).map(tuple), st.booleans()),
)  # fmt: skip


@given(ACTIVITIES, ACTIVITIES)
def test_swapping_the_sides_changes_no_status_and_hiding_never_helps(first: SideActivity, other: SideActivity) -> None:
    there = judge_activity({"source": first, "target": other}, LIMITS)
    back = judge_activity({"source": other, "target": first}, LIMITS)
    assert [item.status for item in there] == [item.status for item in back]
    hidden = replace(first, sessions=replace(first.sessions, all_seen=False))
    blind = judge_activity({"source": hidden, "target": other}, LIMITS)
    for seen, unseen in zip(there, blind, strict=True):
        assert unseen.status.blocks or not seen.status.blocks


@given(st.text())
def test_what_a_client_calls_itself_is_short_and_printable(name: str) -> None:
    assert shortened(name).isprintable()
    assert len(shortened(name)) <= 67
