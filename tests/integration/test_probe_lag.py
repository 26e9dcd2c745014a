"""Markers, walsenders and stalls on real servers: a stalled one is named, and only progress clears it."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from comparators.checks.lag import CHECKS, MISSING_SECONDS, STALL_SECONDS
from comparators.preflight import ItemStatus
from samplers.probes.lag import KEPT, MARKERS_A_LOOK, Lag
from tests.audits import Audit
from tests.flow_probes import TABLE, asked_for, blocking, item, prepared, settled, sides_of
from tests.helpers import Pair, unique_name, wait_for

LATER = STALL_SECONDS + 5


@pytest.fixture
def flowing(pair: Pair) -> Pair:
    return prepared(pair)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stop a process for a while, as a hung disk or a frozen machine does."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def walsender(pair: Pair) -> int:
    pid = pair.source.value("SELECT active_pid FROM pg_replication_slots WHERE slot_name = %s", pair.subscription)
    assert pid is not None
    return int(pid)


def test_a_healthy_pair_has_no_blocking_item_and_every_figure(flowing: Pair):
    probe = Lag(asked_for(flowing))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        reading = settled(probe, sides, 2)
    assert [check.name for check in CHECKS] == [one.name for one in reading.items]
    assert {ItemStatus.OK} == {one.status for one in reading.items}
    figures = reading.figures
    assert (0, 0.0) == (figures["marker_missing"], figures["stalled_seconds"])
    assert figures["marker_probes"] >= MARKERS_A_LOOK
    assert 0 < figures["marker_p50_ms"] <= figures["marker_p95_ms"] <= figures["marker_p99_ms"]
    assert figures["lag_bytes"] is not None


def test_only_the_newest_markers_are_kept(flowing: Pair):
    probe = Lag(asked_for(flowing))
    with sides_of(flowing) as sides:
        counts = [probe.look(sides, now).figures["marker_probes"] for now in range(KEPT // MARKERS_A_LOOK * 2)]
    assert sorted(counts) == counts
    assert counts[-1] <= KEPT


def test_a_stopped_walsender_is_named_and_only_progress_clears_it(flowing: Pair):
    probe = Lag(asked_for(flowing))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        settled(probe, sides, 2)
        pid = walsender(flowing)
        with frozen(pid):
            flowing.source.execute("INSERT INTO goods SELECT n, 'x' FROM generate_series(1, 100) n")
            for now in (3, 4, 4 + LATER):
                stalled = probe.look(sides, now)
        named = item(stalled, "apply-moving")
        assert ItemStatus.BLOCKS_CAPACITY == named.status
        (subject,) = named.subjects
        for part in (flowing.subscription, str(pid), "the walsender does not send"):
            assert part in subject
        assert stalled.figures["stalled_seconds"] >= STALL_SECONDS
        assert stalled.figures["lag_bytes"] > 0
        flowing.catch_up()
        after = probe.look(sides, 5 + LATER)
        assert 0.0 == after.figures["stalled_seconds"]
        assert ItemStatus.OK == item(after, "apply-moving").status


def test_a_stopped_apply_worker_is_told_from_a_stopped_walsender(flowing: Pair):
    probe = Lag(asked_for(flowing))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        settled(probe, sides, 2)
        worker = flowing.target.value(
            "SELECT pid FROM pg_stat_subscription WHERE subname = %s AND relid IS NULL", flowing.subscription
        )
        with frozen(worker):
            for now in (3, 4, 4 + LATER):
                stalled = probe.look(sides, now)
        (subject,) = item(stalled, "apply-moving").subjects
        assert "apply does not finish what it was sent" in subject
        flowing.catch_up()
        assert 0.0 == probe.look(sides, 5 + LATER).figures["stalled_seconds"]


def test_markers_that_do_not_come_are_missing_until_newer_ones_have_come(flowing: Pair):
    ahead = [0.0]
    probe = Lag(asked_for(flowing), clock=lambda: time.monotonic() + ahead[0])
    with sides_of(flowing) as sides:
        with frozen(walsender(flowing)):
            assert 0 == probe.look(sides, 0).figures["marker_missing"], "it is under way"
            ahead[0] += MISSING_SECONDS
            missed = probe.look(sides, 6)
        assert 1 == missed.figures["marker_missing"]
        assert ItemStatus.BLOCKS_CAPACITY == item(missed, "marker-round-trip").status
        flowing.catch_up()
        assert 1 == probe.look(sides, 7).figures["marker_missing"], "one that was lost is not forgotten at once"
        wait_for(lambda: probe.look(sides, 8).figures["marker_missing"] == 0, 60, "newer markers to outnumber it")


def test_a_disabled_subscription_leaves_its_slot_to_nobody(flowing: Pair):
    probe = Lag(asked_for(flowing))
    flowing.target.execute(f'ALTER SUBSCRIPTION "{flowing.subscription}" DISABLE')
    with sides_of(flowing) as sides:
        wait_for(
            lambda: item(probe.look(sides, 0), "walsender-attached").status is ItemStatus.BLOCKS_CAPACITY,
            30, "the slot to be left",
        )  # fmt: skip
        (subject,) = item(probe.look(sides, 1), "walsender-attached").subjects
    assert flowing.subscription in subject


def test_a_slot_that_is_gone_is_not_known_and_blocks(flowing: Pair):
    asked = asked_for(flowing, subscriptions=(flowing.subscription, "no_such_subscription"))
    with sides_of(flowing) as sides:
        reading = Lag(asked).look(sides, 0)
    assert ItemStatus.UNKNOWN == item(reading, "apply-moving").status
    assert (None, None) == (reading.figures["stalled_seconds"], reading.figures["lag_bytes"])


def test_the_markers_are_audited_like_any_row_and_are_no_finding(pair: Pair, tmp_path):
    pair.execute(TABLE)
    pair.replicate()
    with Audit(pair, tmp_path, sampling={"rate": 0.01}) as audit:
        wait_for(lambda: audit.records().get("baseline"), 60, "the baseline")
        audit.wait_resolved()
        before = audit.records()["sampler/target"]["changes"]
        probe = Lag(asked_for(pair, own_schema="auditor_lawful"))
        with sides_of(pair) as sides:
            probe.look(sides, 0)
            sent = settled(probe, sides, 2).figures["marker_probes"]
        audit.wait_resolved()
        wait_for(
            lambda: audit.records()["sampler/target"]["changes"] >= before + sent, 60, "markers, never sampled away"
        )
        assert [] == audit.findings()


def test_without_a_marker_table_markers_travel_by_position(pair: Pair):
    pair.execute(TABLE)
    pair.replicate()
    probe = Lag(asked_for(pair))
    with sides_of(pair) as sides:
        probe.look(sides, 0)
        reading = settled(probe, sides, 2)
    assert ItemStatus.WARN == item(reading, "marker-path").status
    assert reading.figures["marker_probes"] > 0
    assert 0 == reading.figures["marker_missing"]


def test_a_marker_table_that_nobody_brings_is_not_known_and_writes_nothing(flowing: Pair):
    schema = asked_for(flowing).own_schema
    other = f"{flowing.publication}_none"
    flowing.source.execute(f'CREATE PUBLICATION "{other}" FOR TABLE goods')
    subscription = f'ALTER SUBSCRIPTION "{flowing.subscription}"'
    flowing.target.execute(f'{subscription} SET PUBLICATION "{other}" WITH (copy_data = false)')
    with sides_of(flowing) as sides:
        reading = Lag(asked_for(flowing)).look(sides, 0)
    assert ItemStatus.UNKNOWN == item(reading, "marker-path").status
    assert 0 == flowing.source.value(f"SELECT count(*) FROM {schema}.marker")


def test_a_row_on_the_target_that_did_not_come_from_the_source_proves_nothing(flowing: Pair):
    schema = asked_for(flowing).own_schema
    flowing.target.execute(f"INSERT INTO {schema}.marker VALUES (2, 9223372036854775806, now())")
    with sides_of(flowing) as sides:
        reading = Lag(asked_for(flowing)).look(sides, 0)
    assert ItemStatus.UNKNOWN == item(reading, "marker-path").status
    assert 0 == reading.figures["marker_probes"]
    assert "marker-round-trip" in blocking(reading)


def test_a_source_that_takes_no_writes_leaves_the_markers_unknown_and_the_rest_known(flowing: Pair):
    probe = Lag(asked_for(flowing))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        settled(probe, sides, 2)
        sides.source.execute("SET default_transaction_read_only = on")
        reading = probe.look(sides, 4)
    assert ["marker-path"] == list(blocking(reading))
    assert 0.0 == reading.figures["stalled_seconds"]


def test_a_role_without_rights_is_told_the_grant(flowing: Pair):
    role = unique_name("stranger")
    for database in (flowing.source, flowing.target):
        database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        source, target = (f"{d.dsn} user={role} password=x" for d in (flowing.source, flowing.target))
        probe = Lag(asked_for(flowing))
        with sides_of(flowing, source, target) as sides:
            probe.look(sides, 0)
            reading = probe.look(sides, 2)
        path = item(reading, "marker-path")
        assert ItemStatus.UNKNOWN == path.status
        assert "GRANT" in path.remedy
        assert ItemStatus.OK == item(reading, "apply-moving").status, "the slots say enough"
    finally:
        for database in (flowing.source, flowing.target):
            database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
