"""A difference is unexplained only where the transaction audit saw all since the row was equal, and is silent."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from auditor.crosscheck import CrossCheck, explain
from auditor.peers import Peers
from samplers.table_sweep import RowDifference
from tests.helpers_records import FINDING, NOW, MemoryRecords, covered, good_records, suspect

TABLE = "public.orders"
BEFORE = covered(TABLE)
RATES = {"source": [[0, 1.0]], "target": [[0, 1.0]]}


def view(changes: Mapping[str, Any] | None = None, rates: Any = None) -> Peers:
    records = good_records()
    records["sampler/target"]["scope"] = [{"table": TABLE, "state": "audited", "since": 0, "subscription": 0}]
    for partition in (0, 1):
        records[f"progress/{partition}"] |= {"generation": 1, "joins": [{"rates": rates or RATES}]}
    peers = Peers(MemoryRecords(records | dict(changes or {})))
    peers.refresh()
    return peers


def test_a_row_that_was_equal_and_differs_without_any_change_seen_is_unexplained() -> None:
    assert not explain(TABLE, 0, BEFORE, view())


def test_without_a_sweep_before_nothing_is_claimed() -> None:
    assert explain(TABLE, 0, None, view())


@pytest.mark.parametrize(
    "change",
    [
        {"sweep": 0}, {"generation": 2}, {"unverified": 1}, {"hot": 1}, {"different": 1}, {"through": None},
        {"at": None}, {"unverified": None},
    ],
)  # fmt: skip
def test_a_row_that_was_not_proved_equal_before_may_have_been_wrong_all_along(change: dict[str, Any]) -> None:
    assert explain(TABLE, 0, BEFORE | change, view())


@pytest.mark.parametrize(
    "rates",
    [
        {"source": [[0, 0.5]], "target": [[0, 0.5]]},
        {"source": [[0, 1.0]], "target": [[0, 0.01]]},
        {"source": [[45_001, 1.0]], "target": [[0, 1.0]]},
        {"source": [[0, 0.5], [46_000, 1.0]], "target": [[0, 1.0]]},
        {"source": [[0, 1.0]], "target": []},
        {"source": [[0, 1.0]]},
    ],
)
def test_a_change_that_was_not_in_the_sample_explains_anything(rates: Any) -> None:
    assert explain(TABLE, 0, BEFORE, view(rates=rates))


@pytest.mark.parametrize(
    ("key", "record"),
    [
        ("gap/1", {"from": 46_000, "to": 47_000, "at": NOW - 5}),
        ("gap/1", {"from": 20_000, "to": 30_000, "at": NOW - 5}),
        ("gap/1", {"from": 20_000, "to": None, "at": NOW - 90}),
        ("dead-letter/0/1", {"reason": "crc", "size": 9, "at": NOW - 5}),
        (f"suspect/{FINDING}", suspect(first_seen=NOW - 5)),
        (f"suspect/{FINDING}", suspect(first_seen=NOW - 5, kind="foreign-write", state="confirmed")),
        ("progress/0", {"generation": 2, "joins": [{"rates": RATES}]}),
        ("progress/0", {"generation": 1, "joins": []}),
        ("sampler/target", {"scope": [{"table": TABLE, "state": "partial", "since": 0}]}),
        ("sampler/target", {"scope": [{"table": TABLE, "state": "audited", "since": 45_001}]}),
        ("sampler/target", {"scope": []}),
        ("baseline", {"floor": 0, "at": 0.0, "generation": 2}),
        ("baseline", {"floor": 0, "at": 0.0, "generation": 1, "ended": 1.0}),
    ],
)
def test_what_the_transaction_audit_reported_or_could_not_see_explains_it(key: str, record: dict[str, Any]) -> None:
    assert explain(TABLE, 0, BEFORE, view({key: record}))


@pytest.mark.parametrize(
    "record",
    [
        suspect(first_seen=NOW - 5, table="public.lines"),
        suspect(first_seen=NOW - 500),
        suspect(first_seen=NOW - 5, detector="row"),
    ],
)
def test_findings_of_other_tables_and_times_explain_nothing(record: dict[str, Any]) -> None:
    assert not explain(TABLE, 0, BEFORE, view({f"suspect/{FINDING}": record}))


def test_a_gap_from_before_the_sweep_explains_nothing() -> None:
    assert not explain(TABLE, 0, BEFORE, view({"gap/1": {"from": 20_000, "to": 30_000, "at": NOW - 90}}))


def test_what_was_found_unexplained_stays_so_until_it_heals() -> None:
    told = {f"suspect/{FINDING}": suspect(kind="unexplained", detector="row", state="confirmed")}
    differing = BEFORE | {"different": 1}
    assert not explain(TABLE, 0, differing, view(told))
    assert explain(TABLE, 0, differing, view(told | {f"settled/{FINDING}": {"state": "healed"}}))
    assert explain("public.lines", 0, None, view(told))


ONE = RowDifference("row-different", (b"1",), ("v",), source_position=50_000)


def told(peers: Peers, sweep: int = 3, before: Any = BEFORE, one: RowDifference = ONE) -> list[str]:
    check = CrossCheck(peers, pause=lambda seconds: None)
    return [each.kind for each in check.told(TABLE, 0, (1, sweep), before, [one])]


def test_unexplained_differences_are_told_once_more() -> None:
    assert told(view()) == ["row-different", "unexplained"]
    assert told(view(), before=BEFORE | {"hot": 1}) == ["row-different"]
    assert CrossCheck(view()).told(TABLE, 0, (1, 3), BEFORE, []) == ()


def test_nothing_is_called_unexplained_before_the_transaction_audit_has_judged_as_far() -> None:
    assert told(view(), one=replace(ONE, source_position=50_001)) == ["row-different"]


def test_one_sweep_tells_one_story() -> None:
    records = MemoryRecords()
    peers = view()
    check = CrossCheck(peers)
    assert len(check.told(TABLE, 0, (1, 3), BEFORE, [ONE])) == 2
    peers._records = records
    records.put({f"suspect/{FINDING}": suspect(first_seen=NOW - 5)})
    peers.refresh()
    assert len(check.told(TABLE, 0, (1, 3), BEFORE, [ONE])) == 2
    assert len(check.told(TABLE, 0, (1, 4), BEFORE, [ONE])) == 1
