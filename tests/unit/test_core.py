"""The core stores what it found before it gives a frame back, and a replay adds nothing."""

from typing import Any

import pytest

from auditor.core import Core
from auditor.sealing import Sealer
from comparators.builder import LaneBuilder
from comparators.canonical import TableKey, plan_rows
from comparators.errors import NotReady, PoisonFrame, Retryable
from comparators.findings import finding_id, merged_findings, open_findings, read_findings
from comparators.frames import FOREIGN
from comparators.positions import Side
from tests.helpers_records import MemoryRecords
from tests.migrations import memory_settings

FLOOR = 1000
PLAN = plan_rows("public.t", ["id", "v"], ["id", "v"], TableKey(("id",), frozenset(b"IUDT")))
KEY = b"424242424242"
SEALER = Sealer(b"k" * 32)
SCOPE = [{"table": "public.t", "state": "audited", "subscription": 0, "since": 0, "reason": None}]


def lane(side: Side, digest: int, generation: int = 1, seal: Any = SEALER.seal) -> bytes:
    """Make a frame with one transaction of one row."""
    builder = LaneBuilder(side, 0, 0, generation=generation, epoch=1, rate=1.0, start=FLOOR)
    builder.add(builder.table_number(PLAN), ord("U"), 42, digest, b"t\0\0\0\x0c" + KEY)
    builder.end(FLOOR + 50, FLOOR + 60, 1)
    return builder.cut(FLOOR + 60, FLOOR + 60, 0, seal)


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords({
        "baseline": {"floor": FLOOR, "target_start": FLOOR, "generation": 1, "at": 0.0},
        "sampler/target": {"scope": SCOPE, "at": 0.0},
    })  # fmt: skip


class Clock:
    now = 1e9

    def __call__(self) -> float:
        Clock.now += 1
        return Clock.now


def core_on(records: Any, tmp_path: Any, **settings: Any) -> Core:
    core = Core(memory_settings(tmp_path, **settings), records, SEALER, incarnation="i", clock=Clock())
    core.assign({0})
    return core


def test_a_difference_is_stored_and_the_frames_are_given_back(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    core.receive(0, 0, lane(Side.SOURCE, 1))
    core.receive(0, 1, lane(Side.TARGET, 2))
    assert {0: 1} == core.tick()
    (finding,) = merged_findings(records.values)
    assert ("row-different", "suspect", 1) == (finding.kind, finding.state, finding.count)
    tallies = records.values["progress/0"]["tallies"]
    assert (1, 1, 0) == (tallies["transactions"], tallies["changes"], tallies["matched"])


def test_the_key_of_a_finding_is_sealed_and_named_by_a_hash(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    core.receive(0, 0, lane(Side.SOURCE, 1))
    core.receive(0, 1, lane(Side.TARGET, 2))
    core.tick()
    (suspect,) = [value for key, value in records.values.items() if key.startswith("suspect/")]
    assert [{"hash": SEALER.name("public.t", [KEY])}] == suspect["keys"]
    assert [[KEY]] == SEALER.unseal_keys(suspect["key_cipher"])
    assert KEY not in suspect["key_cipher"].encode()


def test_keys_sealed_with_another_key_lose_the_keys_not_the_finding(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    core.receive(0, 0, lane(Side.SOURCE, 1, seal=Sealer(b"x" * 32).seal))
    core.receive(0, 1, lane(Side.TARGET, 2))
    core.tick()
    assert 1 == len(merged_findings(records.values))


def test_nothing_is_given_back_while_the_store_is_away(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    core.receive(0, 0, lane(Side.SOURCE, 1))
    core.receive(0, 1, lane(Side.TARGET, 2))
    records.away = True
    with pytest.raises(Retryable):
        core.tick()
    records.away = False
    assert {0: 1} == core.tick()
    assert 1 == len(merged_findings(records.values))


def test_a_replay_after_a_crash_counts_nothing_twice(records: MemoryRecords, tmp_path: Any) -> None:
    frames = [lane(Side.SOURCE, 1), lane(Side.TARGET, 2)]
    for _ in range(2):
        records = MemoryRecords(records.values)  # as a new process opens them
        core = core_on(records, tmp_path)
        for offset, frame in enumerate(frames):
            core.receive(0, offset, frame)
        core.tick()
    first = merged_findings(records.values)
    assert 1 == len(first)
    assert 1 == records.values["progress/0"]["tallies"]["transactions"]


def test_a_poison_frame_is_given_back_and_counted(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    with pytest.raises(PoisonFrame):
        core.receive(0, 0, b"nonsense")
    core.poisoned(0, 0, "nonsense")
    assert {0: 0} == core.tick()
    assert 1 == records.values["core/0"]["dead_letters"]


def test_frames_of_an_older_baseline_say_nothing(records: MemoryRecords, tmp_path: Any) -> None:
    records.put({"baseline": {"floor": FLOOR, "target_start": FLOOR, "generation": 2, "at": 0.0}})
    core = core_on(records, tmp_path)
    core.receive(0, 0, lane(Side.SOURCE, 1))
    core.receive(0, 1, lane(Side.TARGET, 2))
    assert {0: 1} == core.tick()
    assert [] == merged_findings(records.values)


def test_a_newer_baseline_begins_anew(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    core.receive(0, 0, lane(Side.SOURCE, 1))
    with pytest.raises(NotReady):
        core.receive(0, 1, lane(Side.SOURCE, 1, generation=2))
    records.put({"baseline": {"floor": FLOOR, "target_start": FLOOR, "generation": 2, "at": 0.0}})
    core.receive(0, 1, lane(Side.SOURCE, 1, generation=2))
    core.receive(0, 2, lane(Side.TARGET, 1, generation=2))
    assert {0: 2} == core.tick()
    assert 1 == records.values["progress/0"]["tallies"]["matched"]


def test_beyond_the_limit_findings_are_one_gap(records: MemoryRecords, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("auditor.core.MAX_FINDINGS", 0)
    core = core_on(records, tmp_path)
    core.receive(0, 0, lane(Side.SOURCE, 1))
    core.receive(0, 1, lane(Side.TARGET, 2))
    core.tick()
    assert records.values["gap/findings-overflow"]["open"]


CANARY = plan_rows("auditor_shop.canary", ["id", "body"], ["id", "body"], TableKey(("id",), frozenset(b"IUDT")))


def planted(number: int, plan: Any = CANARY) -> bytes:
    """Make a frame with a write on the target that no replication brought."""
    builder = LaneBuilder(Side.TARGET, 0, 0, generation=1, epoch=1, rate=1.0, start=FLOOR + 100 * number)
    builder.add(builder.table_number(plan), ord("U"), 1, number, b"t\0\0\0\x011")
    end = FLOOR + 100 * (number + 1)
    builder.end(end - 50, 0, 1, FOREIGN)
    return builder.cut(end, FLOOR, 0, SEALER.seal)


def test_what_the_canary_plants_is_one_finding_that_accuses_nobody(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    for number in range(3):
        core.receive(0, number, planted(number))
        core.tick()
    (suspect,) = [value for key, value in records.values.items() if key.startswith("suspect/")]
    assert ("canary", "foreign-write", FLOOR + 250) == (
        suspect["detector"], suspect["kind"], suspect["target_position"],
    )  # fmt: skip
    assert suspect["id"] == finding_id("shop", "foreign-write", "auditor_shop.canary", "s", None, None)
    findings, unreadable = read_findings(records.values)
    assert ([], ()) == (open_findings(findings), unreadable)
    assert [] == merged_findings(records.values)


def test_a_foreign_write_to_any_other_table_is_no_canary(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    core.receive(0, 0, planted(0, PLAN))
    core.tick()
    (finding,) = merged_findings(records.values)
    assert ("transaction", "foreign-write", "confirmed") == (finding.detector, finding.kind, finding.state)


def test_nobody_is_accused_of_what_comes_after_a_commit_line(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    core.receive(0, 0, lane(Side.SOURCE, 1))
    core.receive(0, 1, lane(Side.TARGET, 2))
    line = {"source": FLOOR + 59, "target": FLOOR + 59}
    records.put({"baseline": records.values["baseline"] | {"ended": 1.0, "committed": line}})  # not heard of yet
    assert {0: 1} == core.tick()
    assert merged_findings(records.values) == []


def test_a_commit_line_drawn_while_a_finding_is_stored_settles_it(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    core.receive(0, 0, lane(Side.SOURCE, 1))
    core.receive(0, 1, lane(Side.TARGET, 2))
    line = {"source": FLOOR + 59, "target": FLOOR + 59}
    ended = {"baseline": records.values["baseline"] | {"ended": 1.0, "committed": line}}
    put = records.put

    def drawn_before(items: Any) -> None:
        records.put = put  # type: ignore[method-assign]
        put(ended)
        put(items)

    records.put = drawn_before  # type: ignore[method-assign]
    core.tick()
    assert [str(one.state) for one in merged_findings(records.values)] == ["healed"]


def test_what_was_different_before_a_commit_line_is_still_told(records: MemoryRecords, tmp_path: Any) -> None:
    core = core_on(records, tmp_path)
    core.receive(0, 0, lane(Side.SOURCE, 1))
    core.receive(0, 1, lane(Side.TARGET, 2))
    line = {"source": FLOOR + 60, "target": FLOOR}
    records.put({"baseline": records.values["baseline"] | {"ended": 1.0, "committed": line}})
    core.tick()
    assert [one.kind for one in merged_findings(records.values)] == ["row-different"]
