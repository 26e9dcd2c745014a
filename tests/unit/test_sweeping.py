"""What the sweeper records of made-up tables: every row once, no error as equal, nothing lost by a restart."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from auditor.coverage import Coverage
from auditor.settings import Settings, SweepSettings
from auditor.sweeping import Sweeper, Wanted
from auditor.threads import Threads
from comparators.errors import Defect, NeedsOperator, SettingInvalid, SideUnavailable
from comparators.findings import merged_findings
from comparators.tables import Skipped
from tests.fake_engine import FakeDifference, FakeEngine, FakeStep, Gate, calm, pair_of
from tests.helpers_records import MemoryRecords, settings_of

BASELINE = {"floor": 10, "at": 1.0, "generation": 1}
ORDERS, LINES = "shop.orders", "shop.lines"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(state_dir=tmp_path, sweep=SweepSettings(pause_seconds=0, every_seconds=0))


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords({"baseline": BASELINE})


def engine_of(*tables: str, **more: Any) -> FakeEngine:
    return FakeEngine({name: pair_of(name) for name in tables}, **more)


def sweep(
    settings: Settings, records: MemoryRecords, engine: FakeEngine, wanted: Wanted | None = None, *,
    until: Callable[[], Any] | None = None, load: Callable[[], Any] = calm,
) -> Sweeper:  # fmt: skip
    """Sweep every table once, or until something is so."""
    records._unread = dict(records.values)  # a process that starts reads everything
    sweeper = Sweeper(settings, records, engine, load, wanted or Wanted(once=until is None))
    threads = Threads(Event())

    def look(_lines: Any) -> None:
        if until is not None and until():
            threads.stop.set()

    try:
        sweeper.run(threads, look)
    finally:
        threads.join()
    assert threads.failure is None
    return sweeper


def line(records: MemoryRecords, table: str) -> dict[str, Any]:
    return records.values[f"coverage/{table}"]


def test_every_segment_is_counted_once_and_the_least_position_and_the_oldest_time_hold(settings, records):
    steps = [FakeStep(through=900, started_at=5.0), FakeStep(rows=3, verified=3, through=700, started_at=9.0)]
    steps.append(FakeStep(rows=4, verified=1, hot=2, unverified=1, reason="they keep changing", started_at=11.0))
    sweep(settings, records, engine_of(ORDERS, steps={ORDERS: steps}))
    found = line(records, ORDERS)
    assert (17, 14, 2, 1, 0) == tuple(found[name] for name in ("rows", "verified", "hot", "unverified", "different"))
    assert (700, 5.0, 1, 1) == tuple(found[name] for name in ("through", "at", "sweep", "generation"))
    assert ("swept", "they keep changing", None) == (found["state"], found["reason"], found["now"])
    assert [{"name": "id", "form": "native", "why": None}, {"name": "total", "form": "native", "why": None}] == found[
        "columns"
    ]


def test_one_piece_without_a_position_leaves_the_table_without_one(settings, records):
    sweep(settings, records, engine_of(ORDERS, steps={ORDERS: [FakeStep(), FakeStep(through=None), FakeStep()]}))
    assert line(records, ORDERS)["through"] is None
    assert 1 == line(records, ORDERS)["sweep"]


def test_a_table_that_cannot_be_read_is_skipped_with_its_reason_and_one_that_is_being_copied_waits(settings, records):
    engine = engine_of(ORDERS, waiting={LINES: "the initial copy is not finished"})
    engine.pairs["shop.secret"] = Skipped("shop.secret", "no right to SELECT")
    sweep(settings, records, engine)
    states = {name: (line(records, name)["state"], line(records, name)["reason"]) for name in (LINES, "shop.secret")}
    assert {
        LINES: ("waiting", "the initial copy is not finished"), "shop.secret": ("skipped", "no right to SELECT"),
    } == states  # fmt: skip
    assert [(ORDERS, 0)] == engine.started


def test_a_table_that_becomes_unreadable_loses_what_was_proved_of_it(settings, records):
    engine = engine_of(ORDERS)
    sweep(settings, records, engine)
    engine.pairs[ORDERS] = Skipped(ORDERS, "dropped on the target")
    sweep(settings, records, engine)
    assert ("skipped", 0, 0, None) == tuple(line(records, ORDERS)[name] for name in ("state", "sweep", "rows", "at"))


def test_a_table_that_is_copied_anew_loses_what_was_proved_of_it(settings, records):
    engine = engine_of(ORDERS)
    sweep(settings, records, engine)
    del engine.pairs[ORDERS]
    engine.waiting[ORDERS] = "the initial copy is not finished"
    sweep(settings, records, engine)
    assert ("waiting", 0, None) == tuple(line(records, ORDERS)[name] for name in ("state", "sweep", "at"))
    engine = engine_of(ORDERS)
    sweep(settings, records, engine)
    assert ("swept", 1, None) == tuple(line(records, ORDERS)[name] for name in ("state", "sweep", "reason"))


@pytest.mark.parametrize("error", [SideUnavailable("gone"), Defect("odd"), ValueError("odd"), OSError("disk full")])
def test_an_error_is_recorded_and_is_never_equal_and_the_other_tables_go_on(settings, records, error):
    engine = engine_of(ORDERS, LINES, steps={ORDERS: [FakeStep(), error]})
    sweep(settings, records, engine, until=lambda: broken(records, ORDERS) and swept(records, LINES))
    found = line(records, ORDERS)
    assert ("error", 0, 0) == (found["state"], found["sweep"], found["verified"])
    assert str(error) in found["reason"] or type(error).__name__ in found["reason"]
    assert 1 == found["now"]["segment"]


def broken(records: MemoryRecords, table: str) -> bool:
    return bool(records.values.get(f"coverage/{table}", {}).get("state") == "error")


def swept(records: MemoryRecords, table: str) -> bool:
    return bool(records.values.get(f"coverage/{table}", {}).get("sweep"))


def test_a_stop_in_the_middle_of_a_statement_is_no_failure_of_its_table(settings, records):
    engine, threads = engine_of(ORDERS, steps={ORDERS: [SideUnavailable("cancelled")]}), Threads(Event())
    engine.reading = lambda table, segment: threads.stop.set()
    Sweeper(settings, records, engine, calm).run(threads)
    threads.join()
    assert ("sweeping", None) == (line(records, ORDERS)["state"], line(records, ORDERS)["reason"])


def test_a_table_that_failed_goes_on_where_it_was_and_is_whole_in_the_end(settings, records):
    engine = engine_of(ORDERS, steps={ORDERS: [FakeStep(), SideUnavailable("gone"), FakeStep()]})
    sweep(settings, records, engine, until=lambda: broken(records, ORDERS))
    engine.steps = {}
    sweep(settings, records, engine)
    assert [(ORDERS, 0), (ORDERS, 1)] == engine.started
    assert (30, 30, 1) == tuple(line(records, ORDERS)[name] for name in ("rows", "verified", "sweep"))


class Frozen(MemoryRecords):
    """Records that take nothing more after a moment, as when their writer dies."""

    frozen = False

    def put(self, items: Any) -> None:
        if not self.frozen:
            super().put(items)


def died_at(settings: Settings, values: dict[str, Any], engine: FakeEngine, segment: int) -> MemoryRecords:
    """Give the records that a process leaves behind that died before one segment of the orders."""
    records, gate = Frozen(values), Gate(ORDERS, segment)
    engine.reading = gate

    def dies() -> bool:
        if gate.reached.is_set():
            records.frozen = True
            gate.open.set()
        return gate.open.is_set()

    sweep(settings, records, engine, until=dies)
    engine.reading = lambda table, segment: None
    return MemoryRecords(records.values)


def test_after_a_death_the_sweep_goes_on_at_the_segment_after_the_last_recorded_step(settings):
    some = FakeStep(verified=8, different=2, differences=(FakeDifference(key=(b"1",)), FakeDifference(key=(b"2",))))
    engine = engine_of(
        ORDERS, steps={ORDERS: [some, replace(some, differences=(FakeDifference(key=(b"3",), count=2),))]}
    )
    records = died_at(settings, {"baseline": BASELINE}, engine, 2)
    assert ("sweeping", 2) == (line(records, ORDERS)["state"], line(records, ORDERS)["now"]["segment"])
    engine.started.clear()
    sweep(settings, records, engine)
    assert [(ORDERS, 2)] == engine.started
    assert (30, 26, 4) == tuple(line(records, ORDERS)[name] for name in ("rows", "verified", "different"))
    (finding,) = merged_findings(records.values)
    assert (4, 3) == (finding.count, len(finding.keys))


def test_after_a_death_in_a_later_sweep_an_open_finding_counts_what_that_sweep_saw(settings):
    one, two = (FakeStep(verified=9, different=1, differences=(FakeDifference(key=(key,)),)) for key in (b"1", b"2"))
    engine = engine_of(ORDERS, steps={ORDERS: [one, two, FakeStep()]})
    first = MemoryRecords({"baseline": BASELINE})
    sweep(settings, first, engine)
    engine.steps = {ORDERS: [FakeStep(), two, FakeStep()]}
    records = died_at(settings, first.values, engine, 2)
    assert 2 == merged_findings(records.values)[0].count
    sweep(settings, records, engine)
    (finding,) = merged_findings(records.values)
    assert (1, 1, "confirmed") == (finding.count, len(finding.keys), finding.state)


def test_without_its_plan_a_sweep_starts_anew_and_counts_nothing_twice(settings):
    some = FakeStep(verified=9, different=1, differences=(FakeDifference(),))
    engine = engine_of(ORDERS, steps={ORDERS: [some, some]})
    records = died_at(settings, {"baseline": BASELINE}, engine, 2)
    for file in (settings.state_dir / "sweeps").iterdir():
        file.write_bytes(b"damaged")
    engine.started.clear()
    sweep(settings, records, engine)
    assert [(ORDERS, 0)] == engine.started
    assert (30, 28, 2) == tuple(line(records, ORDERS)[name] for name in ("rows", "verified", "different"))
    assert 2 == merged_findings(records.values)[0].count


def test_a_table_whose_columns_changed_is_swept_anew(settings):
    engine = engine_of(ORDERS)
    records = died_at(settings, {"baseline": BASELINE}, engine, 2)
    engine.pairs[ORDERS] = pair_of(ORDERS, columns=("id", "total", "note"))
    engine.started.clear()
    sweep(settings, records, engine)
    assert [(ORDERS, 0)] == engine.started


def test_the_plan_on_disk_shows_no_key(settings):
    died_at(settings, {"baseline": BASELINE}, engine_of(ORDERS, segments=5000), 2)
    (file,) = (settings.state_dir / "sweeps").iterdir()
    assert b"4321" not in file.read_bytes()
    assert b"orders" not in file.read_bytes()


def test_a_new_baseline_starts_every_table_anew(settings, records):
    engine = engine_of(ORDERS)
    sweep(settings, records, engine)
    sweep(settings, records, engine)
    assert 2 == line(records, ORDERS)["sweep"]
    records.values["baseline"] = BASELINE | {"generation": 2}
    sweep(settings, records, engine)
    assert (1, 2) == (line(records, ORDERS)["sweep"], line(records, ORDERS)["generation"])


def test_who_asks_for_one_sweep_gets_it_at_once_however_young_the_last_one_is(settings, records):
    slow = replace(settings, sweep=SweepSettings(every_seconds=3600))
    for _ in range(2):
        sweep(slow, records, engine_of(ORDERS))
    assert 2 == line(records, ORDERS)["sweep"]


def test_without_a_baseline_nothing_is_swept(settings):
    with pytest.raises(NeedsOperator, match="no baseline"):
        Sweeper(settings, MemoryRecords(), engine_of(ORDERS), calm)


def test_a_table_that_left_the_scope_leaves_the_ledger_but_not_when_only_some_were_asked_for(settings, records):
    engine = engine_of(ORDERS, LINES)
    sweep(settings, records, engine)
    sweep(settings, records, engine, Wanted(("shop.l*",), once=True))
    assert (1, 2) == (line(records, ORDERS)["sweep"], line(records, LINES)["sweep"])
    del engine.pairs[LINES]
    sweep(settings, records, engine)
    assert f"coverage/{LINES}" not in records.values


def test_a_pattern_that_names_nothing_is_refused(settings, records):
    sweeper = sweep(settings, records, engine_of(ORDERS), Wanted(("shop.order",), once=True))
    assert isinstance(sweeper.failure, SettingInvalid)
    assert [] == [key for key in records.values if key.startswith("coverage/")]


def test_a_finding_opens_once_and_heals_only_by_a_whole_sweep_without_its_kind(settings, records):
    bad = FakeStep(verified=9, different=1, differences=(FakeDifference(),))
    engine = engine_of(ORDERS, steps={ORDERS: [bad]})
    for steps, state in (
        ([bad], "confirmed"),
        ([bad], "confirmed"),
        ([FakeStep(verified=9, hot=1, reason="they keep changing")], "confirmed"),
        ([], "healed"),
    ):
        engine.steps = {ORDERS: steps}
        sweep(settings, records, engine)
        (finding,) = merged_findings(records.values)
        assert (state, "row", ORDERS, 1) == (finding.state, finding.detector, finding.table, finding.count)
    engine.steps = {ORDERS: [bad]}
    sweep(settings, records, engine)
    assert ["healed", "confirmed"] == [one.state for one in merged_findings(records.values)]


def test_a_finding_lists_a_hundred_keys_and_counts_them_all(settings, records):
    many = tuple(FakeDifference(key=(str(number).encode(),)) for number in range(300))
    rest = FakeDifference(key=(), count=700)
    bad = FakeStep(rows=1000, verified=0, different=1000, differences=(*many, rest))
    sweep(settings, records, engine_of(ORDERS, steps={ORDERS: [bad, bad]}))
    (finding,) = merged_findings(records.values)
    assert (2000, 100) == (finding.count, len(finding.keys))
    assert ("total",) == finding.columns


def test_each_kind_of_difference_is_a_finding_of_its_own_and_no_key_is_shown(settings, records):
    kinds = ("row-different", "row-missing", "row-extra")
    bad = FakeStep(different=3, differences=tuple(FakeDifference(kind, (b"secret-key",)) for kind in kinds))
    sweep(settings, records, engine_of(ORDERS, steps={ORDERS: [bad]}))
    assert set(kinds) == {one.kind for one in merged_findings(records.values)}
    assert "secret-key" not in json.dumps(records.values)


def test_a_row_that_a_foreign_write_touched_is_counted_once(settings, records):
    bad = FakeStep(verified=9, different=1, differences=(FakeDifference(),))
    engine = engine_of(ORDERS, steps={ORDERS: [bad]})
    sweep(settings, records, engine)
    (row,) = merged_findings(records.values)
    foreign = "f_00000000000000ff"
    records.values[f"suspect/{foreign}"] = {
        **records.values[f"suspect/{row.id}"], "id": foreign, "kind": "foreign-write", "detector": "transaction",
        "keys": records.values[f"settled/{row.id}"]["keys"],
    }  # fmt: skip
    sweep(settings, records, engine)
    found = {one.id: one.explained_by for one in merged_findings(records.values)}
    assert {row.id: foreign, foreign: None} == found


def test_records_that_cannot_be_written_hold_the_sweep_and_lose_nothing(settings, records):
    engine = engine_of(ORDERS)
    gate = Gate(ORDERS, 1)
    engine.reading = gate

    def returned() -> bool:
        if gate.reached.is_set() and not gate.open.is_set():
            records.away = True
            gate.open.set()
        elif gate.open.is_set() and records.away:
            records.away = False
        return swept(records, ORDERS)

    sweep(settings, records, engine, until=returned)
    assert (30, 30) == (line(records, ORDERS)["rows"], line(records, ORDERS)["verified"])


def test_a_busy_source_is_not_read_and_the_sweeper_says_why(settings, records):
    engine = engine_of(ORDERS)
    busy = calm() | {"active-sessions": 51.0}
    sweep(settings, records, engine, until=lambda: "sweeper" in records.values, load=lambda: busy)
    said = records.values["sweeper"]
    assert ("paused", "active-sessions is 51, the limit is 50") == (said["state"], said["paused_because"])
    assert [] == engine.started


def test_a_source_that_cannot_be_asked_is_not_read(settings, records):
    engine = engine_of(ORDERS)
    sweep(settings, records, engine, until=lambda: "sweeper" in records.values, load=lambda: None)
    assert "the load of the source is not known" == records.values["sweeper"]["paused_because"]
    assert [] == engine.started


def test_a_limit_of_the_command_line_wins_over_the_configuration(settings, records):
    records.values["sweep/limits"] = {"limits": {"active-sessions": 60.0}, "at": 1.0}
    sweep(settings, records, engine_of(ORDERS), load=lambda: calm() | {"active-sessions": 51.0})
    assert swept(records, ORDERS)


def test_a_busy_source_in_mid_table_closes_the_sessions_and_the_sweep_goes_on_later(settings, records):
    engine = engine_of(ORDERS)
    gate, load = Gate(ORDERS, 1), calm()
    engine.reading = gate

    def slowly() -> bool:
        if gate.reached.is_set() and not gate.open.is_set():
            load["lock-waits"] = 11.0
            if records.values.get("sweeper", {}).get("state") == "paused":
                gate.open.set()
        elif gate.open.is_set() and not engine.open:
            load["lock-waits"] = 0.0
        return swept(records, ORDERS)

    sweep(settings, records, engine, until=slowly, load=lambda: load)
    assert [(ORDERS, 0), (ORDERS, 2)] == engine.started[:2]
    assert 30 == line(records, ORDERS)["rows"]


def test_who_asks_for_a_finding_to_be_read_again_has_its_table_swept_next(settings, records):
    bad = FakeStep(verified=9, different=1, differences=(FakeDifference(),))
    engine = engine_of(ORDERS, LINES, steps={ORDERS: [bad]})
    sweep(settings, records, engine)
    slow = replace(settings, sweep=SweepSettings(pause_seconds=0, every_seconds=3600))
    (finding,) = merged_findings(records.values)
    engine.started.clear()
    asked: list[bool] = []

    def once() -> bool:
        if not asked:
            asked.append(True)
            records.put({f"recheck/{finding.id}": {"at": 1.0}})
        return bool(line(records, ORDERS)["sweep"] == 2)

    sweep(slow, records, engine, until=once)
    assert [(ORDERS, 0)] == engine.started


def test_a_table_with_rows_that_were_not_verified_is_swept_again_soon(settings, records, monkeypatch):
    monkeypatch.setattr("auditor.sweep_ledger.AGAIN_SECONDS", 0.0)
    slow = replace(settings, sweep=SweepSettings(pause_seconds=0, every_seconds=3600))
    moving = FakeStep(verified=9, hot=1)
    engine = engine_of(ORDERS, LINES, steps={ORDERS: [moving]})
    sweep(slow, records, engine, until=lambda: records.values.get(f"coverage/{ORDERS}", {}).get("sweep", 0) >= 3)
    assert line(records, LINES)["sweep"] == 1


def test_a_table_whose_changes_are_compared_from_behind_its_last_sweep_is_swept_again_soon(
    settings, records, monkeypatch
):
    monkeypatch.setattr("auditor.sweep_ledger.AGAIN_SECONDS", 0.0)
    slow = replace(settings, sweep=SweepSettings(pause_seconds=0, every_seconds=3600))
    sweep(settings, records, engine_of(ORDERS, LINES))
    behind = line(records, ORDERS)["through"] + 1
    records.values["sampler/target"] = {
        "scope": [{"table": name, "state": "audited", "since": at} for name, at in ((ORDERS, behind), (LINES, 1))]
    }
    again = engine_of(ORDERS, LINES, steps={ORDERS: [FakeStep(through=behind)]}, segments=1)
    sweep(slow, records, again, until=lambda: line(records, ORDERS)["sweep"] >= 2)
    assert [ORDERS] == [name for name, _ in again.started]


def test_the_oldest_table_is_swept_first_and_two_workers_share_them(settings, records):
    engine = engine_of(ORDERS, LINES, "shop.a")
    sweep(replace(settings, sweep=SweepSettings(workers=2, pause_seconds=0, every_seconds=0)), records, engine)
    assert {(name, 0) for name in (ORDERS, LINES, "shop.a")} == set(engine.started)
    for name, at in ((ORDERS, 3.0), (LINES, 1.0), ("shop.a", 2.0)):
        line(records, name)["finished_at"] = at
    engine.started.clear()
    sweep(settings, records, engine)
    assert [LINES, "shop.a", ORDERS] == [name for name, _ in engine.started]


def test_a_step_without_segments_only_says_what_is_waited_for():
    begun = Coverage(ORDERS, 1).begun(3, 1.0).stepped(FakeStep(), {}, 0.5)
    waits = FakeStep(first=1, past_last=1, rows=0, verified=0, through=None, reason="waits for the target")
    told = begun.stepped(waits, {}, 1.0)
    assert (begun.now, "waits for the target") == (told.now, told.reason)
    assert told.stepped(FakeStep(first=1, past_last=2), {}, 0.5).reason is None
