"""Dropping a slot leaves an interval that nobody audits, and the records say so."""

import pytest

from auditor.evidence import Expected, fold
from auditor.settings import Side
from auditor.wal_budget import gap
from samplers.slots import SlotState
from tests.helpers_records import NOW, good_records

LOST = SlotState("auditor_orders_source", exists=True, retained_bytes=3 << 30)


@pytest.mark.parametrize("side", Side)
def test_the_gap_starts_where_the_audit_had_come_and_closes_the_gate(side: Side) -> None:
    records = good_records()
    noted = gap(LOST, side, 1 << 30, fold(records, NOW, Expected("orders", 2, "x")), NOW)
    ((key, record),) = noted.items()
    assert key == f"gap/budget-{side}-1"
    assert (record["from"], record["to"], record["open"], record["side"]) == (50_000, None, True, side.value)
    assert "3072 MiB" in record["reason"]
    gaps = fold(records | noted, NOW, Expected("orders", 2, "x")).gaps
    assert gaps is not None
    assert [seen.side for seen in gaps] == [side.value]


def test_without_progress_the_gap_starts_at_the_floor_and_without_a_baseline_at_nothing() -> None:
    records = good_records()
    del records["core/0"]
    (record,) = gap(LOST, Side.SOURCE, 1, fold(records, NOW, Expected("orders", 2, "x")), NOW).values()
    assert record["from"] == 10_000
    (record,) = gap(LOST, Side.SOURCE, 1, fold({}, NOW, Expected("orders", 2, "x")), NOW).values()
    assert record["from"] == 0
