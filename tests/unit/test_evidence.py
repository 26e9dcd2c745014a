"""Records become evidence, and what the records do not say stays unknown."""

from typing import Any

import pytest

from auditor import fields
from auditor.evidence import Expected, FindingsReader, expected_of, fold, fold_findings, source_mark
from orchestrator.watermarks import PAGE_HEADER
from tests.helpers_records import FINDING, NOW, good_records, settings_of, suspect

EXPECTED = Expected("orders", partitions=2, configuration="c0ffee")
OTHER = "f_00000000000000bb"


@pytest.mark.parametrize("number", [10**400, -(10**400), 2**64, float("inf")])
def test_a_number_beyond_all_measure_is_not_known(number: float) -> None:
    assert (None, None) == (fields.number({"at": number}, "at"), fields.whole({"at": number}, "at"))


def changed(key: str, **change: Any) -> dict[str, Any]:
    records = good_records()
    return records | {key: records[key] | change}


@pytest.mark.parametrize(
    ("source", "target", "position"),
    [
        ({}, {}, 50_000),
        ({"wal_insert": 80_000}, {}, 80_000 - PAGE_HEADER),
        ({"wal_insert": 0}, {"applied": 50_000, "lag_bytes": 9_000}, 59_000 - PAGE_HEADER),
        ({"wal_insert": 0}, {"lag_bytes": None}, None),
        ({"wal_insert": 0}, {"applied": 0}, None),
        ({"wal_insert": None, "position": None}, {}, None),
    ],
)
def test_the_audit_is_measured_against_the_end_of_the_source_s_log(
    source: dict[str, Any], target: dict[str, Any], position: int | None
) -> None:
    records = good_records()
    records["sampler/source"] |= source
    records["sampler/target"] |= target
    mark = source_mark(fold(records, NOW, EXPECTED))
    assert (mark and mark[1]) == position


def test_totals_are_summed_over_the_partitions() -> None:
    tally = fold(good_records(), NOW, EXPECTED).tally
    assert tally is not None
    assert (tally.transactions, tally.changes, tally.matched) == (400, 1000, 1000)
    assert tally.tables == {"public.lines": 80, "public.orders": 400}


@pytest.mark.parametrize("tables", [{"public.orders": 400}, {"public.orders": [400]}, {"public.orders": [400, None]}])
def test_a_table_whose_transactions_are_not_known_leaves_no_bound(tables: dict[str, Any]) -> None:
    records = changed("progress/1", tallies={"transactions": 1, "changes": 1, "matched": 1, "tables": tables})
    tally = fold(records, NOW, EXPECTED).tally
    assert tally is not None
    assert tally.tables == {}


def test_more_partitions_than_reported_leave_the_totals_unknown() -> None:
    assert fold(good_records(), NOW, Expected("orders", 3, "c0ffee")).tally is None
    assert fold(good_records(), NOW, Expected("orders", 3, "c0ffee")).resolved() is None


def test_the_slowest_partition_counts() -> None:
    assert fold(changed("core/1", resolved=1234), NOW, EXPECTED).resolved() == 1234


def test_records_of_another_shape_are_not_known() -> None:
    records: dict[str, Any] = {key: "text" for key in good_records()}
    seen = fold(records, NOW, EXPECTED)
    assert (seen.baseline, seen.source, seen.apply, seen.tally) == (None, None, None, None)


def test_what_is_remembered_of_findings_is_what_would_be_read() -> None:
    reader = FindingsReader()
    records: dict[str, Any] = {f"suspect/{FINDING}": suspect(), f"suspect/{OTHER}": suspect(OTHER, state="confirmed")}
    steps: list[dict[str, Any]] = [
        {},
        {f"settled/{FINDING}": {"state": "confirmed"}},
        {f"accepted/{FINDING}": {"owner": "ana", "reason": "known", "until": NOW + 1, "at": NOW}},
        {f"settled/{OTHER}": {"state": "healed"}},
        {f"suspect/{OTHER}": {"id": OTHER}},
    ]
    for step in steps:
        records = records | step
        for now in (NOW, NOW + 2):
            assert fold_findings(records, now, reader) == fold_findings(records, now)


def test_the_configuration_is_told_apart_without_showing_it() -> None:
    one, other = expected_of(settings_of()), expected_of(settings_of(window_ms=7))
    assert one == expected_of(settings_of())
    assert one.configuration != other.configuration
    assert "host" not in one.configuration
