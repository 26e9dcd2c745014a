"""Settings by class, and whether each server is fit for its part; what is not seen is never taken to be the same."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.setting_classes import CLASSES, SettingClass, class_of, meaning
from comparators.checks.setting_facts import ScopedSetting, Setting, SideSettings
from comparators.checks.settings import CHECKS, figures, judge_settings
from comparators.preflight import Item, ItemStatus, completed

BUDGET = 1 << 30
FIT = {
    "wal_level": Setting("logical"),
    "max_wal_senders": Setting("10"),
    "max_replication_slots": Setting("10"),
    "max_prepared_transactions": Setting("0"),
    "max_slot_wal_keep_size": Setting("1024", "MB"),
    "wal_sender_timeout": Setting("60000", "ms"),
    "wal_receiver_timeout": Setting("60000", "ms"),
    "logical_decoding_work_mem": Setting("65536", "kB"),
    "max_logical_replication_workers": Setting("4"),
    "max_sync_workers_per_subscription": Setting("2"),
    "max_worker_processes": Setting("8"),
    "max_active_replication_origins": Setting("10"),
    "idle_replication_slot_timeout": Setting("0", "s"),
}
PLAIN = SideSettings(
    {**{name: Setting("1") for name in CLASSES}, "default_transaction_read_only": Setting("off"), **FIT},
    roles=frozenset({"app"}), version=180000, subscriptions=1,
)  # fmt: skip


def changed(name: str, value: str, side: SideSettings = PLAIN, unit: str | None = None) -> SideSettings:
    setting = replace(side.values[name], value=value)
    return replace(side, values={**side.values, name: replace(setting, unit=setting.unit if unit is None else unit)})


def without(name: str, side: SideSettings = PLAIN) -> SideSettings:
    return replace(side, values={other: value for other, value in side.values.items() if other != name})


def judged(source: SideSettings = PLAIN, target: SideSettings = PLAIN) -> Mapping[str, Item]:
    items = completed(judge_settings(source, target, BUDGET), CHECKS)
    return {item.name.removeprefix("settings-"): item for item in items}


ITEM_OF = {SettingClass.MUST: "must-match", SettingClass.FORM: "text-form", SettingClass.SHOULD: "should-match"}
BLOCKING = [(name, kind) for name, kind in CLASSES.items() if kind in (SettingClass.MUST, SettingClass.FORM)]


def test_two_equal_and_fit_sides_are_fine() -> None:
    assert {ItemStatus.OK} == {item.status for item in judged().values()}


@pytest.mark.parametrize(("name", "kind"), BLOCKING)
def test_what_must_match_blocks_in_either_direction_and_unseen_it_is_unknown(name: str, kind: SettingClass) -> None:
    other = changed(name, "on")
    for item in (judged(other, PLAIN)[ITEM_OF[kind]], judged(PLAIN, other)[ITEM_OF[kind]]):
        assert (ItemStatus.BLOCKS_CORRECTNESS, 1) == (item.status, item.count)
        assert item.subjects[0].startswith(f"{name}: source ")
    masked = replace(PLAIN, values={**PLAIN.values, name: replace(PLAIN.values[name], masked=True)})
    for unseen in (without(name), masked):
        assert ItemStatus.UNKNOWN is judged(unseen, PLAIN)[ITEM_OF[kind]].status
        assert ItemStatus.UNKNOWN is judged(PLAIN, unseen)[ITEM_OF[kind]].status
        assert ItemStatus.UNKNOWN is judged(unseen, unseen)[ITEM_OF[kind]].status


@pytest.mark.parametrize("name", [name for name, kind in CLASSES.items() if kind is SettingClass.SHOULD])
def test_what_should_match_warns_in_either_direction(name: str) -> None:
    other = changed(name, "2")
    assert ItemStatus.WARN is judged(other, PLAIN)["should-match"].status
    assert ItemStatus.WARN is judged(PLAIN, other)["should-match"].status
    assert ItemStatus.OK is judged(without(name), PLAIN)["should-match"].status  # a version that has none


def test_less_room_on_the_target_warns_and_more_does_not() -> None:
    assert ItemStatus.WARN is judged(changed("max_connections", "2"), PLAIN)["should-match"].status
    assert ItemStatus.OK is judged(PLAIN, changed("max_connections", "2"))["should-match"].status


@pytest.mark.parametrize("side", ["source", "target"])
def test_settings_for_administrators_that_were_not_seen_warn(side: str) -> None:
    blind = replace(PLAIN, all_seen=False, role="reader")
    item = judged(**{side: blind})["should-match"]
    assert ItemStatus.WARN is item.status
    assert f'on the {side}: GRANT pg_monitor TO "reader"' in item.remedy


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("timezone", "Etc/UTC", "utc"),
        ("timezone", "GMT", "UTC"),
        ("datestyle", "ISO, MDY", "iso,mdy"),
        ("lc_time", "en_US.UTF-8", "en_US.utf8"),
        ("lc_time", "POSIX", "C"),
        ("search_path", '"$user", public', '"$user",public'),
    ],
)
def test_two_spellings_of_one_value_are_no_difference(name: str, one: str, other: str) -> None:
    assert meaning(name, one) == meaning(name, other)
    assert ItemStatus.OK is judged(changed(name, one), changed(name, other))["text-form"].status


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        ("timezone", "UTC", "Europe/London"),
        ("datestyle", "ISO, MDY", "ISO, DMY"),
        ("lc_time", "en_US.UTF-8", "en_US"),
        ("search_path", "a, public", "A, public"),
    ],
)
def test_two_values_are_not_taken_for_one(name: str, one: str, other: str) -> None:
    assert meaning(name, one) != meaning(name, other)


@given(st.sampled_from(sorted(CLASSES)), st.text(max_size=20))
def test_a_value_is_the_same_as_itself_under_any_case_of_the_name(name: str, value: str) -> None:
    assert meaning(name, value) == meaning(name.upper(), value) == meaning(name, meaning(name, value))
    assert class_of(name.upper()) is class_of(name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("TimeZone", SettingClass.FORM),
        ("app.tenant", SettingClass.MUST),
        ("auto_explain.log_min_duration", SettingClass.SHOULD),
        ("log_statement", SettingClass.MAY),
    ],
)
def test_a_setting_has_one_class(name: str, kind: SettingClass) -> None:
    assert kind is class_of(name)


@pytest.mark.parametrize(
    ("role", "name", "item", "status"),
    [
        ("app", "search_path", "roles", ItemStatus.BLOCKS_CORRECTNESS),
        ("app", "app.tenant", "roles", ItemStatus.BLOCKS_CORRECTNESS),
        ("", "app.tenant", "roles", ItemStatus.BLOCKS_CORRECTNESS),
        ("app", "work_mem", "roles", ItemStatus.WARN),
        ("gone", "search_path", "roles", ItemStatus.WARN),
        ("app", "timezone", "text-form", ItemStatus.BLOCKS_CORRECTNESS),
        ("app", "log_statement", "roles", ItemStatus.OK),
    ],
)
@pytest.mark.parametrize("here", [True, False])
def test_what_a_role_gets_differently_counts_in_either_direction(
    role: str, name: str, item: str, status: ItemStatus, here: bool
) -> None:
    scoped = replace(PLAIN, scoped=(ScopedSetting(role, here, name, "special"),), roles=frozenset({"app", role}))
    assert status is judged(scoped, PLAIN)[item].status
    assert status is judged(PLAIN, scoped)[item].status
    same_roles = replace(scoped, roles=PLAIN.roles | {"gone"})
    assert ItemStatus.OK is judged(same_roles, same_roles)["roles"].status


def test_a_role_s_setting_in_the_database_goes_before_its_setting_everywhere() -> None:
    everywhere, here = ScopedSetting("app", False, "xmloption", "y"), ScopedSetting("app", True, "xmloption", "x")
    both = replace(PLAIN, scoped=(everywhere, here))
    assert "x" == both.effective("app", "xmloption")
    one = replace(PLAIN, scoped=(ScopedSetting("app", False, "xmloption", "x"),))
    assert ItemStatus.OK is judged(both, one)["roles"].status


def test_a_role_s_setting_that_says_what_everybody_gets_there_is_no_difference() -> None:
    scoped = replace(PLAIN, scoped=(ScopedSetting("app", False, "search_path", "1"),))
    assert ItemStatus.OK is judged(scoped, PLAIN)["roles"].status


def test_values_of_the_users_own_settings_are_not_told() -> None:
    scoped = replace(PLAIN, scoped=(ScopedSetting("app", False, "app.token", "hunter2"),))
    assert ("role app: app.token differs",) == judged(scoped, PLAIN)["roles"].subjects


UNFIT = [
    ("source", "wal_level", "replica", "wal-level", ItemStatus.BLOCKS_CORRECTNESS),
    ("target", "wal_level", "replica", "wal-level", ItemStatus.BLOCKS_CORRECTNESS),
    ("target", "default_transaction_read_only", "on", "writable", ItemStatus.BLOCKS_CORRECTNESS),
    ("source", "max_wal_senders", "0", "walsenders-free", ItemStatus.BLOCKS_CAPACITY),
    ("source", "max_wal_senders", "1", "walsenders-free", ItemStatus.WARN),
    ("source", "max_slot_wal_keep_size", "1023", "slot-wal-keep", ItemStatus.BLOCKS_CAPACITY),
    ("target", "max_slot_wal_keep_size", "0", "slot-wal-keep", ItemStatus.BLOCKS_CAPACITY),
    ("source", "max_slot_wal_keep_size", "-1", "slot-wal-keep", ItemStatus.WARN),
    ("source", "idle_replication_slot_timeout", "3599", "idle-slots", ItemStatus.BLOCKS_CAPACITY),
    ("target", "idle_replication_slot_timeout", "3600", "idle-slots", ItemStatus.WARN),
    ("source", "wal_sender_timeout", "0", "timeouts", ItemStatus.WARN),
    ("target", "wal_receiver_timeout", "9999", "timeouts", ItemStatus.WARN),
    ("source", "logical_decoding_work_mem", "64", "decoding-memory", ItemStatus.WARN),
    ("target", "max_logical_replication_workers", "0", "apply-workers", ItemStatus.BLOCKS_CAPACITY),
    ("target", "max_sync_workers_per_subscription", "0", "apply-workers", ItemStatus.BLOCKS_CAPACITY),
    ("target", "max_worker_processes", "4", "apply-workers", ItemStatus.WARN),
    ("target", "max_worker_processes", "1", "apply-workers", ItemStatus.BLOCKS_CAPACITY),
    ("target", "max_active_replication_origins", "0", "origins-free", ItemStatus.BLOCKS_CAPACITY),
    ("source", "max_prepared_transactions", "5", "prepared-transactions", ItemStatus.WARN),
]


@pytest.mark.parametrize(("side", "name", "value", "item", "status"), UNFIT)
def test_a_server_that_is_not_fit_for_its_part_is_named(
    side: str, name: str, value: str, item: str, status: ItemStatus
) -> None:
    found = judged(**{side: changed(name, value)})[item]
    assert status is found.status
    assert found.remedy


@pytest.mark.parametrize(("side", "name", "value", "item", "status"), UNFIT)
def test_a_setting_that_is_not_seen_is_unknown(
    side: str, name: str, value: str, item: str, status: ItemStatus
) -> None:
    assert ItemStatus.UNKNOWN is judged(**{side: without(name)})[item].status
    assert ItemStatus.UNKNOWN is judged(**{side: changed(name, "?")})[item].status or name in (
        "wal_level", "default_transaction_read_only"
    )  # fmt: skip


def test_before_version_18_no_slot_is_dropped_for_being_idle_and_the_slots_limit_the_origins() -> None:
    old = replace(without("max_active_replication_origins", without("idle_replication_slot_timeout")), version=170000)
    assert {ItemStatus.OK} == {item.status for item in judged(old, old).values()}
    assert ItemStatus.BLOCKS_CAPACITY is judged(old, replace(old, origins=10))["origins-free"].status


def test_a_target_in_recovery_takes_no_writes() -> None:
    assert ItemStatus.BLOCKS_CORRECTNESS is judged(target=replace(PLAIN, in_recovery=True))["writable"].status


@pytest.mark.parametrize(
    ("name", "status"), [("wal_level", ItemStatus.BLOCKS_CAPACITY), ("work_mem", ItemStatus.WARN)]
)
@pytest.mark.parametrize("side", ["source", "target"])
def test_a_setting_that_waits_for_a_restart_is_named(side: str, name: str, status: ItemStatus) -> None:
    waiting = replace(PLAIN, values={**PLAIN.values, name: replace(PLAIN.values[name], pending_restart=True)})
    item = judged(**{side: waiting})["pending-restart"]
    assert (status, (f"{side}: {name}",)) == (item.status, item.subjects)


def test_the_figures_count_what_differs_and_what_is_left() -> None:
    target = changed("search_path", "x", changed("timezone", "x", changed("jit", "2")))
    numbers = figures(replace(PLAIN, walsenders=3), target)
    assert (2, 1, 7, BUDGET) == (
        numbers["settings_must_differ"], numbers["settings_should_differ"], numbers["walsenders_free"],
        numbers["max_slot_wal_keep_bytes"],
    )  # fmt: skip
    assert figures(changed("max_slot_wal_keep_size", "-1"), PLAIN)["max_slot_wal_keep_bytes"] is None


@given(st.sampled_from(BLOCKING), st.text(max_size=8), st.text(max_size=8))
def test_whatever_two_values_mean_they_pass_only_if_it_is_the_same(
    entry: tuple[str, SettingClass], one: str, other: str
) -> None:
    name, kind = entry
    found = judged(changed(name, one), changed(name, other))[ITEM_OF[kind]]
    assert (meaning(name, one) != meaning(name, other)) is found.status.blocks
