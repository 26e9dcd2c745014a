"""What `auditor diff` concludes: equal only for what was read whole, different with one in hand, else unknown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from auditor.diff_report import Missing, Report, TableResult, words
from comparators.tables import DigestColumn, Form, KeyColumn, Mode, SideTable, TablePair

SIDE = SideTable("public", "t", (DigestColumn("id", '"id"', Form.NATIVE),), (KeyColumn("id", '"id"', "bigint"),))
PAIR = TablePair("public.t", SIDE, SIDE, Mode.RANGES, rows=1000)


@dataclass(frozen=True, slots=True)
class Row:
    kind: str = "row-different"
    key: tuple[bytes | None, ...] = (b"42",)
    columns: tuple[str, ...] = ("placed_at",)
    source_position: int | None = 256
    target_position: int | None = None
    count: int = 1


@dataclass(frozen=True, slots=True)
class Part:
    past_last: int = 1
    rows: int = 10
    verified: int = 10
    different: int = 0
    hot: int = 0
    unverified: int = 0
    through: int | None = 512
    reason: str | None = None
    differences: tuple[Row, ...] = ()


def name_key(table: str, key: Sequence[bytes | None]) -> str:
    return f"{table}/{key!r}"


def table(*parts: Part, finished: bool = True, listed: int = 100) -> TableResult:
    result = TableResult("public.t", PAIR, listed=listed, finished=finished)
    for part in parts:
        result.add(part)
    return result


def test_a_table_read_to_its_end_without_a_difference_is_equal():
    report = Report([table(Part(), Part(through=300))])
    assert (report.verdict, report.code) == ("equal", 0)
    (one,) = report.document(name_key)["tables"]
    assert (one["rows"], one["verified"], one["through"], one["mode"]) == (20, 20, "0/12C", "ranges")


@pytest.mark.parametrize(
    "result",
    [
        table(Part(), finished=False),
        table(Part(verified=9)),
        table(Part(hot=1)),
        table(Part(unverified=1)),
        TableResult("public.t", skipped_reason="no right to read it"),
        TableResult("public.t", PAIR, finished=True, skipped_reason="why ever"),
        TableResult("public.t"),
    ],
    ids=["unfinished", "not accounted for", "hot", "unverified", "skipped", "skipped at the end", "never read"],
)
def test_whatever_was_not_verified_is_unknown_and_never_equal(result):
    report = Report([table(Part()), result])
    assert (report.verdict, report.code) == ("unknown", 3)


def test_nothing_to_compare_is_unknown_and_never_equal():
    assert Report([]).code == 3
    assert Report([], error="target: cannot be reached").code == 3
    assert "there is no table to compare" in words(Report([]).document(name_key))


def test_a_difference_in_hand_outweighs_what_is_not_known():
    stopped = table(Part(rows=10, verified=9, different=1, differences=(Row(),)), finished=False)
    stopped.stopped("the connection was lost")
    report = Report([stopped, TableResult("public.u", skipped_reason="no right to read it")])
    assert (report.verdict, report.code) == ("different", 1)
    assert stopped.unverified == 990


def test_an_extra_row_on_the_target_is_a_difference_although_every_row_of_the_source_is_there():
    assert table(Part(differences=(Row("row-extra"),))).verdict == "different"


def test_a_table_or_a_column_that_one_side_lacks_is_a_difference():
    missing = Report([table(Part())], Missing(("public.a",), ("public.b",)))
    assert missing.code == 1
    said = {one["table"]: one["skipped_reason"] for one in missing.document(name_key)["tables"]}
    assert said == {"public.t": None, "public.a": "only on the source", "public.b": "only on the target"}
    assert [one["kind"] for one in missing.document(name_key)["differences"]] == ["shape-different"] * 2
    lopsided = table(Part())
    lopsided.lopsided = ("fax",)
    assert Report([lopsided]).code == 1
    assert Report([lopsided]).document(name_key)["differences"][0]["columns"] == ["fax"]


def test_rows_are_listed_up_to_the_limit_and_counted_exactly():
    result = table(*(Part(different=7, differences=(Row(),) * 7) for _ in range(100)), listed=10)
    document = Report([result]).document(name_key)
    assert len(result.differences) == len(document["differences"]) == 10
    assert document["tables"][0]["kinds"] == {"row-different": 700}
    assert "and 690 more" in words(document)


def test_rows_are_named_by_hash_and_by_key_only_on_demand():
    report = Report([table(Part(verified=9, different=1, differences=(Row(),)))])
    (one,) = json.loads(json.dumps(report.document(name_key)))["differences"]
    assert one == {
        "kind": "row-different", "table": "public.t", "key_hash": "public.t/(b'42',)", "columns": ["placed_at"],
        "count": 1, "source_position": "0/100", "target_position": None,
    }  # fmt: skip
    (shown,) = report.document(name_key, show_keys=True)["differences"]
    assert shown["key"] == {"id": "42"}
    assert "#public.t/(b'42',) in placed_at" in words(report.document(name_key))
    assert "id=42 in placed_at" in words(report.document(name_key, show_keys=True))


def test_rows_alike_in_a_table_without_a_key_are_counted_each():
    result = table(Part(verified=7, different=3, differences=(Row("row-missing", (b"123",), (), count=3),)))
    document = Report([result]).document(name_key, show_keys=True)
    assert document["tables"][0]["kinds"] == {"row-missing": 3}
    assert "(3 times)" in words(document)


def test_a_position_that_is_not_known_of_a_part_is_not_known_of_the_whole():
    assert table(Part(through=None), Part()).through is None
    assert table(Part(), Part(through=None), Part(through=7)).through is None
