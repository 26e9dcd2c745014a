"""Subscriptions on real servers: what is wrong is named, and an apply that failed is fine only once it has passed."""

import pytest

from comparators.checks.replication import CHECKS, QUIET_SECONDS
from comparators.preflight import ItemStatus
from samplers.connections import connect
from samplers.probes.base import Reading, Sides
from samplers.probes.replication import Replication
from tests.flow_probes import asked_for, blocking, item, prepared, settled, sides_of
from tests.helpers import Pair, unique_name, wait_for


@pytest.fixture
def flowing(pair: Pair) -> Pair:
    return prepared(pair)


def altered(pair: Pair, what: str) -> None:
    pair.target.execute(f'ALTER SUBSCRIPTION "{pair.subscription}" {what}')


def seen_until(probe: Replication, sides: Sides, name: str, status: ItemStatus, now: float) -> Reading:
    """Look until an item says so."""
    last: list[Reading] = []

    def says() -> bool:
        last[:] = [probe.look(sides, now)]
        return item(last[0], name).status is status

    wait_for(says, 30, f"{name} to be {status}")
    return last[0]


def test_a_healthy_pair_has_no_blocking_item(flowing: Pair):
    probe = Replication(asked_for(flowing))
    with sides_of(flowing) as sides:
        assert ["apply-errors"] == list(blocking(probe.look(sides, 0))), "a first look proves nothing"
        reading = settled(probe, sides, 1)
    assert [check.name for check in CHECKS] == [one.name for one in reading.items]
    assert {
        "apply_errors": 0, "sync_errors": 0, "conflicts": 0, "worker_restarts": 0, "tables_not_ready": 0,
        "altered_at": None, f"version/{flowing.subscription}": version_of(flowing),
    } == reading.figures  # fmt: skip


def version_of(pair: Pair) -> int:
    query = "SELECT xmin::text::bigint FROM pg_subscription WHERE subname = %s"
    return int(pair.target.value(query, pair.subscription))


def test_an_apply_error_loop_stays_closed_all_the_time_and_opens_only_after_success(flowing: Pair):
    flowing.target.execute("INSERT INTO goods VALUES (1, 'in the way')")
    probe = Replication(asked_for(flowing))
    now = 0.0
    with sides_of(flowing) as sides:
        probe.look(sides, now)
        settled(probe, sides, 1)
        flowing.source.execute("INSERT INTO goods VALUES (1, 'from the source')")
        seen_until(probe, sides, "apply-errors", ItemStatus.BLOCKS_CORRECTNESS, 2)
        errors = 0.0

        def looping() -> bool:
            nonlocal now, errors
            now += 0.5
            reading = probe.look(sides, 2 + now)
            assert ItemStatus.BLOCKS_CORRECTNESS == item(reading, "apply-errors").status
            errors = reading.figures["apply_errors"]
            return errors >= 3 and reading.figures["worker_restarts"] >= 1

        wait_for(looping, 60, "three attempts")
        late = 2 + now + QUIET_SECONDS * 3
        assert item(probe.look(sides, late), "apply-errors").status.blocks, "quiet without success proves nothing"
        flowing.target.execute("DELETE FROM goods")
        flowing.catch_up()
        later = late + QUIET_SECONDS
        seen_until(probe, sides, "apply-errors", ItemStatus.BLOCKS_CORRECTNESS, late)
        probe.look(sides, later)
        settled(probe, sides, later + QUIET_SECONDS)
    assert [(1, "from the source")] == flowing.target.rows("SELECT * FROM goods")


def test_a_probe_that_begins_within_the_loop_never_finds_it_fine(flowing: Pair):
    flowing.target.execute("INSERT INTO goods VALUES (1, 'in the way')")
    flowing.source.execute("INSERT INTO goods VALUES (1, 'from the source')")
    counts = "SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = %s"
    wait_for(lambda: (flowing.target.value(counts, flowing.subscription) or 0) >= 1, 30, "a first failure")
    probe, now = Replication(asked_for(flowing)), 0.0
    with sides_of(flowing) as sides:

        def looping() -> bool:
            nonlocal now
            now += QUIET_SECONDS / 2
            reading = probe.look(sides, now)
            assert item(reading, "apply-errors").status.blocks
            return reading.figures["apply_errors"] >= 2

        wait_for(looping, 60, "two more attempts")


def test_a_disabled_subscription_blocks_until_it_is_enabled_and_has_applied(flowing: Pair):
    probe = Replication(asked_for(flowing))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        settled(probe, sides, 1)
        altered(flowing, "DISABLE")
        reading = probe.look(sides, 2)
        assert ItemStatus.BLOCKS_CAPACITY == item(reading, "subscriptions-enabled").status
        altered(flowing, "ENABLE")
        wait_for(flowing.ready, 30, "the worker")
        restarted = seen_until(probe, sides, "apply-restarts", ItemStatus.BLOCKS_CAPACITY, 3)
        assert "apply-errors" in blocking(restarted)
        settled(probe, sides, 4 + QUIET_SECONDS)


def test_a_skipped_transaction_blocks_and_is_not_forgotten(flowing: Pair):
    probe = Replication(asked_for(flowing))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        altered(flowing, "SKIP (lsn = 'FFFFFFFF/FFFFFF00')")
        assert ItemStatus.BLOCKS_CORRECTNESS == item(probe.look(sides, 1), "skipped-transactions").status
        altered(flowing, "SKIP (lsn = NONE)")
        assert ItemStatus.BLOCKS_CORRECTNESS == item(probe.look(sides, 99), "skipped-transactions").status


def test_a_skip_that_is_used_up_between_two_looks_is_noticed_and_survives_a_restart(flowing: Pair):
    probe = Replication(asked_for(flowing))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        altered(flowing, "SKIP (lsn = 'FFFFFFFF/FFFFFF00')")
        altered(flowing, "SKIP (lsn = NONE)")
        reading = probe.look(sides, 7)
        assert "skipped-transactions" not in blocking(reading)
        assert 7 == reading.figures["altered_at"]
        after = Replication(asked_for(flowing))
        after.resume(reading.figures, 9)
        assert 7 == after.look(sides, 10).figures["altered_at"]


def test_an_alteration_while_no_prober_runs_is_noticed_by_the_next(flowing: Pair):
    with sides_of(flowing) as sides:
        before = Replication(asked_for(flowing)).look(sides, 0)
        altered(flowing, "SKIP (lsn = 'FFFFFFFF/FFFFFF00')")
        altered(flowing, "SKIP (lsn = NONE)")
        after = Replication(asked_for(flowing))
        after.resume(before.figures, 9)
        assert 10 == after.look(sides, 10).figures["altered_at"]


def test_a_row_that_apply_did_not_find_is_a_conflict_that_closes(flowing: Pair):
    flowing.source.execute("INSERT INTO goods VALUES (1, 'x')")
    flowing.catch_up()
    flowing.target.execute("DELETE FROM goods")
    probe = Replication(asked_for(flowing))
    with sides_of(flowing) as sides:
        probe.look(sides, 0)
        settled(probe, sides, 1)
        flowing.source.execute("UPDATE goods SET v = 'y'")
        flowing.catch_up()
        # the server's statistics of a worker are shown late, or once something else happens
        reading = seen_until(probe, sides, "apply-conflicts", ItemStatus.BLOCKS_CORRECTNESS, 2)
        assert "update_missing 1" in item(reading, "apply-conflicts").subjects[0]
        assert 1 == reading.figures["conflicts"]
        assert ItemStatus.WARN == item(probe.look(sides, 3 + QUIET_SECONDS), "apply-conflicts").status


def test_a_table_that_is_not_ready_or_not_subscribed_is_named(flowing: Pair):
    flowing.execute("CREATE TABLE late (id int PRIMARY KEY)")
    flowing.source.execute("INSERT INTO late VALUES (1)")
    flowing.target.execute("INSERT INTO late VALUES (1)")
    probe = Replication(asked_for(flowing))
    with sides_of(flowing) as sides:
        assert ("public.late",) == item(probe.look(sides, 0), "tables-subscribed").subjects
        altered(flowing, "REFRESH PUBLICATION")
        reading = seen_until(probe, sides, "sync-errors", ItemStatus.BLOCKS_CORRECTNESS, 1)
        assert ItemStatus.BLOCKS_CORRECTNESS == item(reading, "tables-ready").status
        assert "public.late" in item(reading, "tables-ready").subjects[0]
        flowing.target.execute("DELETE FROM late")
        seen_until(probe, sides, "tables-ready", ItemStatus.OK, 2)


def test_a_table_out_of_scope_is_not_asked_for(flowing: Pair):
    flowing.execute("CREATE TABLE late (id int PRIMARY KEY)")
    with sides_of(flowing) as sides:
        reading = Replication(asked_for(flowing, selects=lambda table: "late" not in table)).look(sides, 0)
    assert ItemStatus.OK == item(reading, "tables-subscribed").status


def test_what_publications_leave_out_is_named(pair: Pair):
    pair.execute("CREATE TABLE goods (id int PRIMARY KEY, v text, w text)")
    pair.replicate("TABLE goods (id, v) WHERE (id > 0)", publish="publish = 'insert, update'")
    with sides_of(pair) as sides:
        reading = Replication(asked_for(pair)).look(sides, 0)
    operations, parts = item(reading, "published-operations"), item(reading, "published-filters")
    assert (ItemStatus.BLOCKS_CORRECTNESS, ("public.goods (delete, truncate)",)) == (
        operations.status, operations.subjects,
    )  # fmt: skip
    assert (ItemStatus.WARN, ("public.goods (row filter and column list)",)) == (parts.status, parts.subjects)


def test_subscriptions_that_are_missing_or_not_configured_are_named(flowing: Pair):
    flowing.replicate("TABLE goods", publication="second", subscription=f"{flowing.name}_second", copy_data=False,
                      disable_on_error=True)  # fmt: skip
    with sides_of(flowing) as sides:
        reading = Replication(asked_for(flowing)).look(sides, 0)
        assert (f"{flowing.name}_second (public.goods)",) == item(reading, "other-subscriptions").subjects
        assert ItemStatus.BLOCKS_CORRECTNESS == item(reading, "other-subscriptions").status
        both = (f"{flowing.name}_second", "none")
        reading = Replication(asked_for(flowing, subscriptions=both)).look(sides, 0)
        assert ("none",) == item(reading, "subscriptions-present").subjects
        assert (f"{flowing.name}_second (disable_on_error)",) == item(reading, "subscription-options").subjects


def test_a_role_without_special_rights_sees_enough(flowing: Pair):
    role = unique_name("stranger")
    for database in (flowing.source, flowing.target):
        database.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
    try:
        source, target = (f"{d.dsn} user={role} password=x" for d in (flowing.source, flowing.target))
        probe = Replication(asked_for(flowing))
        with sides_of(flowing, source, target) as sides:
            probe.look(sides, 0)
            settled(probe, sides, 1)
    finally:
        for database in (flowing.source, flowing.target):
            database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_target_of_an_older_version_can_be_looked_at(pair: Pair):
    """The source's server, 16, is looked at as a target would be."""
    with connect(pair.source.dsn) as one, connect(pair.source.dsn) as other:
        reading = Replication(asked_for(pair)).look(Sides(one, other), 0)
    assert ItemStatus.WARN == item(reading, "apply-conflicts").status
