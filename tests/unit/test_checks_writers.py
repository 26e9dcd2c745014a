"""Who writes: everybody is remembered, strangers close the gate, and what cannot be seen is not known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.sessions import Session, SideSessions
from comparators.checks.writers import (
    CHECKS,
    REMEMBERED,
    REMEMBERED_SECONDS,
    Inventory,
    Writer,
    WritersSeen,
    figures,
    judge_writers,
    remembered,
)
from comparators.preflight import Item, ItemStatus, completed

NOBODY = SideSessions()
HIDDEN = SideSessions(all_seen=False, role="reader")
APP, BATCH = Writer("app", "web", "10.0.0.1"), Writer("batch", "", "local")


def judged(
    source: SideSessions = NOBODY, target: SideSessions = NOBODY, inventory: Inventory | None = None,
    known: tuple[str, ...] = (), jobs: tuple[str, ...] = (),
) -> dict[str, Item]:  # fmt: skip
    seen = WritersSeen(source, target, jobs)
    return {item.name: item for item in completed(judge_writers(seen, inventory or {}, known), CHECKS)}


def test_two_sides_on_which_nobody_writes_are_fine() -> None:
    assert {ItemStatus.OK} == {item.status for item in judged().values()}


def test_a_stranger_blocks_once_somebody_has_declared_who_writes() -> None:
    item = judged(inventory={APP: 1.0, BATCH: 1.0}, known=("app",))["writers-known"]
    assert ItemStatus.BLOCKS_CORRECTNESS is item.status
    assert ("batch (no application name, from local)",) == item.subjects
    item = judged(inventory={APP: 1.0, BATCH: 1.0}, known=("app", "batch"))["writers-known"]
    assert (ItemStatus.OK, "everybody seen writing is declared: app, batch") == (item.status, item.sentence)


def test_without_a_declaration_writers_are_a_warning() -> None:
    item = judged(inventory={APP: 1.0})["writers-known"]
    assert (ItemStatus.WARN, ("app (web, from 10.0.0.1)",)) == (item.status, item.subjects)


def test_a_superuser_that_writes_is_a_warning() -> None:
    item = judged(inventory={Writer("root", "psql", "local", superuser=True): 1.0})["writers-superuser"]
    assert (ItemStatus.WARN, ("root (psql, from local)",)) == (item.status, item.subjects)


@pytest.mark.parametrize("kind", ["client backend", "pg_cron"])
def test_whoever_writes_on_the_target_blocks(kind: str) -> None:
    item = judged(target=SideSessions((Session(5, "app", has_xid=True, kind=kind),)))["target-writers"]
    assert (ItemStatus.BLOCKS_CORRECTNESS, 1) == (item.status, item.count)


@pytest.mark.parametrize("kind", ["logical replication apply worker", "logical replication worker", "parallel worker"])
def test_apply_and_our_own_sessions_write_on_the_target(kind: str) -> None:
    sessions = (Session(5, kind=kind, has_xid=True), Session(6, has_xid=True, writes=True, ours=True))
    assert {ItemStatus.OK} == {item.status for item in judged(target=SideSessions(sessions)).values()}


def test_a_writer_on_the_source_is_none_on_the_target_and_the_other_way_round() -> None:
    session = SideSessions((Session(5, "app", has_xid=True),))
    assert ItemStatus.OK is judged(source=session)["target-writers"].status
    assert {} == remembered({}, NOBODY, 1.0)
    assert [Writer("app", "", "")] == list(remembered({}, session, 1.0))


@pytest.mark.parametrize("side", ["source", "target"])
def test_jobs_and_workers_of_extensions_are_a_warning(side: str) -> None:
    worker = SideSessions((Session(5, kind="pg_cron launcher"),))
    item = judged(**{side: worker}, jobs=(f"{side}: extension pg_cron",))["writers-jobs"]  # type: ignore[arg-type]
    assert (ItemStatus.WARN, 2) == (item.status, item.count)


def test_without_the_right_to_see_sessions_nobody_knows_who_writes() -> None:
    found = judged(HIDDEN, HIDDEN, known=("app",))
    assert {ItemStatus.UNKNOWN} == {item.status for item in found.values()}
    assert 'on the target: GRANT pg_monitor TO "reader"' == found["target-writers"].remedy
    assert ItemStatus.BLOCKS_CORRECTNESS is judged(HIDDEN, inventory={APP: 1.0}, known=("b",))["writers-known"].status
    assert {"writers": None, "target_writers": None} == figures(WritersSeen(HIDDEN, HIDDEN), {})


def test_a_writer_is_remembered_for_an_hour_after_it_was_last_seen() -> None:
    session = SideSessions((Session(1, "app", application="web", host="10.0.0.1", writes=True),))
    inventory = remembered({}, session, 100.0)
    assert {APP: 100.0} == inventory
    assert inventory == remembered(inventory, NOBODY, 100.0 + REMEMBERED_SECONDS)
    assert {} == remembered(inventory, NOBODY, 101.0 + REMEMBERED_SECONDS)


@given(st.lists(st.tuples(st.sampled_from(["app", "stranger"]), st.integers(0, 500)), max_size=500))
def test_however_many_writers_there_are_a_stranger_is_not_forgotten_for_them(writers: list[tuple[str, int]]) -> None:
    sessions = tuple(Session(pid, role, application=str(pid), has_xid=True) for role, pid in writers)
    inventory = remembered({}, SideSessions(sessions), 1.0, known=("app",))
    assert len(inventory) <= REMEMBERED
    assert any(role == "stranger" for role, _ in writers) == any(writer.role == "stranger" for writer in inventory)
