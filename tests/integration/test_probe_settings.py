"""Settings of real servers as applications get them, whatever our own sessions pin."""

from collections.abc import Iterator

import pytest

from comparators.preflight import Item, ItemStatus
from comparators.session_settings import PINNED
from samplers.connections import connect, connect_unpinned
from samplers.probes.settings import Settings
from tests.helpers import Database, Pair, unique_name, wait_for
from tests.server_probes import as_role, asked, blocking, create_role, items, look, status_of

SIDES = ("source", "target")


def seen(pair: Pair, name: str, **changes: object) -> Item:
    return items(look(Settings(asked(pair, **changes)), pair))[name]


def side_of(pair: Pair, side: str) -> Database:
    return pair.source if side == "source" else pair.target


@pytest.fixture
def role(pair: Pair) -> Iterator[str]:
    """A role of the application's, on both sides."""
    name = unique_name("app")
    for database in (pair.source, pair.target):
        create_role(database, name)
    yield name
    for database in (pair.source, pair.target):
        database.execute(f"DROP ROLE {name}")


def test_a_healthy_pair_differs_in_nothing_that_blocks(pair: Pair) -> None:
    reading = look(Settings(asked(pair)), pair)
    assert ([], 0) == (blocking(reading), reading.figures["settings_must_differ"])
    assert ItemStatus.WARN is status_of(reading, "settings-slot-wal-keep")  # the server's default has no limit


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(
    ("setting", "item"),
    [
        ("search_path = other, public", "settings-must-match"),
        ("default_transaction_isolation = 'serializable'", "settings-must-match"),
        ("transform_null_equals = on", "settings-must-match"),
        ("timezone = 'Asia/Kathmandu'", "settings-text-form"),
        ("datestyle = 'SQL, DMY'", "settings-text-form"),
        ("intervalstyle = 'iso_8601'", "settings-text-form"),
        ("bytea_output = 'escape'", "settings-text-form"),
        ("extra_float_digits = 0", "settings-text-form"),
    ],
)
def test_what_alter_database_sets_differently_is_seen_though_we_pin_it(
    pair: Pair, side: str, setting: str, item: str
) -> None:
    side_of(pair, side).execute(f'ALTER DATABASE "{pair.name}" SET {setting}')
    found = seen(pair, item)
    assert (ItemStatus.BLOCKS_CORRECTNESS, 1) == (found.status, found.count)
    assert found.subjects[0].startswith(f"{setting.partition(' ')[0]}: source ")
    pair.execute(f'ALTER DATABASE "{pair.name}" SET {setting}')
    assert ItemStatus.OK is seen(pair, item).status


def test_two_names_of_one_time_zone_are_no_difference(pair: Pair) -> None:
    pair.source.execute(f"ALTER DATABASE \"{pair.name}\" SET timezone = 'Etc/UTC'")
    pair.target.execute(f"ALTER DATABASE \"{pair.name}\" SET timezone = 'UTC'")
    assert ItemStatus.OK is seen(pair, "settings-text-form").status


def test_what_alter_role_sets_on_one_side_only_blocks_or_warns_by_what_it_is(pair: Pair, role: str) -> None:
    pair.source.execute(f"ALTER ROLE {role} SET search_path = app, public")
    pair.source.execute(f"ALTER ROLE {role} SET work_mem = '8MB'")
    item = seen(pair, "settings-roles")
    assert ItemStatus.BLOCKS_CORRECTNESS is item.status
    assert (f'role {role}: search_path: source app, public, target "$user", public',) == item.subjects
    pair.target.execute(f"ALTER ROLE {role} SET search_path = app, public")
    item = seen(pair, "settings-roles")
    assert (ItemStatus.WARN, (f"role {role}: work_mem: source 8MB, target not set",)) == (item.status, item.subjects)
    pair.target.execute(f"ALTER ROLE {role} SET work_mem = '8MB'")
    pair.target.execute(f"ALTER ROLE {role} IN DATABASE \"{pair.name}\" SET timezone = 'Asia/Kathmandu'")
    assert ItemStatus.OK is seen(pair, "settings-roles").status
    item = seen(pair, "settings-text-form")
    assert ItemStatus.BLOCKS_CORRECTNESS is item.status
    assert item.subjects[0].startswith(f"role {role}: timezone: source ")
    pair.source.execute(f"ALTER DATABASE \"{pair.name}\" SET timezone = 'Asia/Kathmandu'")
    item = seen(pair, "settings-text-form")  # now that role gets the same on both sides, and the others do not
    assert (ItemStatus.BLOCKS_CORRECTNESS, 1) == (item.status, item.count)
    assert item.subjects[0].startswith("timezone: source Asia/Kathmandu, target ")


def test_a_setting_of_the_users_own_is_compared_and_its_value_kept_secret(pair: Pair) -> None:
    pair.source.execute(f"ALTER DATABASE \"{pair.name}\" SET app.token = 'hunter2'")
    item = seen(pair, "settings-roles")
    assert (ItemStatus.BLOCKS_CORRECTNESS, ("every role: app.token differs",)) == (
        item.status, item.subjects
    )  # fmt: skip


def test_settings_that_decide_speed_are_warned_of(pair: Pair) -> None:
    pair.target.execute(f"ALTER DATABASE \"{pair.name}\" SET work_mem = '64kB'")
    item = seen(pair, "settings-should-match")
    assert (ItemStatus.WARN, ("work_mem: source 4096kB, target 64kB",)) == (item.status, item.subjects)


def test_a_target_that_takes_no_writes_blocks(pair: Pair) -> None:
    pair.execute(f'ALTER DATABASE "{pair.name}" SET default_transaction_read_only = on')
    item = seen(pair, "settings-writable")
    assert ItemStatus.BLOCKS_CORRECTNESS is item.status
    for server in (pair.source.server, pair.target.server):
        with connect(server.dsn()) as admin:
            admin.execute(f'ALTER DATABASE "{pair.name}" RESET default_transaction_read_only'.encode())
    assert ItemStatus.OK is seen(pair, "settings-writable").status


def test_what_our_own_role_has_set_hides_what_applications_get(pair: Pair, role: str) -> None:
    for database in (pair.source, pair.target):
        database.execute(f"ALTER ROLE {role} SET timezone = 'UTC'")
    dsns = {side: as_role(side_of(pair, side), role) for side in SIDES}
    item = items(look(Settings(asked(pair)), pair, **dsns))["settings-text-form"]
    assert ItemStatus.UNKNOWN is item.status
    assert "source: timezone" in item.sentence


def test_a_role_that_may_not_see_all_settings_is_told_so(pair: Pair, role: str) -> None:
    dsns = {side: as_role(side_of(pair, side), role) for side in SIDES}
    reading = look(Settings(asked(pair)), pair, **dsns)
    item = items(reading)["settings-should-match"]
    assert ([], ItemStatus.WARN) == (blocking(reading), item.status)
    assert f'on the target: GRANT pg_monitor TO "{role}"' in item.remedy


def test_a_wal_budget_larger_than_what_slots_may_keep_blocks(private_pair: Pair) -> None:
    pair = private_pair
    pair.execute("ALTER SYSTEM SET max_slot_wal_keep_size = '64MB'")
    pair.source.execute("ALTER SYSTEM SET wal_sender_timeout = '3s'")
    pair.source.execute("ALTER SYSTEM SET logical_decoding_work_mem = '64kB'")
    pair.target.execute("ALTER SYSTEM SET wal_receiver_timeout = 0")
    pair.target.execute("ALTER SYSTEM SET idle_replication_slot_timeout = '2min'")
    pair.source.execute("ALTER SYSTEM SET max_locks_per_transaction = 300")
    pair.execute("SELECT pg_reload_conf()")

    def reloaded() -> dict[str, Item] | None:
        found = dict(items(look(Settings(asked(pair, wal_budget_bytes=65 << 20)), pair)))
        waiting = "source: max_locks_per_transaction" in found["settings-pending-restart"].subjects
        return found if waiting and found["settings-timeouts"].count == 2 else None

    found = wait_for(reloaded, 20, "the servers to read their settings")
    item = found["settings-slot-wal-keep"]
    assert (ItemStatus.BLOCKS_CAPACITY, 2) == (item.status, item.count)
    assert "source: 64 MiB, planned 65 MiB" in item.subjects
    assert ("source: wal_sender_timeout 3 s", "target: wal_receiver_timeout off") == found["settings-timeouts"].subjects
    assert (ItemStatus.BLOCKS_CAPACITY, ("target: after 120 s",)) == (
        found["settings-idle-slots"].status, found["settings-idle-slots"].subjects
    )  # fmt: skip
    assert ItemStatus.WARN is found["settings-decoding-memory"].status
    assert ItemStatus.WARN is found["settings-pending-restart"].status
    assert ItemStatus.OK is seen(pair, "settings-slot-wal-keep", wal_budget_bytes=64 << 20).status


def test_servers_that_are_not_fit_for_their_part_block(private_pair: Pair) -> None:
    pair = private_pair
    pair.source.server.settings.update(max_wal_senders="1", wal_level="replica", max_prepared_transactions="30")
    pair.target.server.settings.update(
        max_sync_workers_per_subscription="0", max_active_replication_origins="0", max_worker_processes="3"
    )
    for database in (pair.source, pair.target):
        database.close()
        database.server.restart()
    found = items(look(Settings(asked(pair)), pair))
    assert (ItemStatus.BLOCKS_CORRECTNESS, ("source: replica",)) == (
        found["settings-wal-level"].status, found["settings-wal-level"].subjects
    )  # fmt: skip
    assert ItemStatus.WARN is found["settings-walsenders-free"].status
    assert ItemStatus.BLOCKS_CAPACITY is found["settings-apply-workers"].status
    assert (ItemStatus.BLOCKS_CAPACITY, ("target: 0 left",)) == (
        found["settings-origins-free"].status, found["settings-origins-free"].subjects
    )  # fmt: skip
    assert ItemStatus.WARN is found["settings-prepared-transactions"].status


def test_a_session_beside_ours_has_nothing_pinned_and_no_options_of_the_environment(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=77kB")
    with connect(pair.source.dsn) as ours, connect_unpinned(ours, "auditor settings") as plain:
        rows = plain.execute(
            "SELECT name FROM pg_catalog.pg_settings WHERE source = 'client' AND name <> 'client_encoding'"
        ).fetchall()
        assert [("application_name",)] == rows
        assert ours.info.backend_pid != plain.info.backend_pid
        assert "search_path" in PINNED
