"""The script that copies rows anew says what it does, and no name or key in it can do anything else."""

import re
from typing import Any

import pytest

from comparators.repair_sql import Copied, Row, Table, script
from comparators.tables import DigestColumn, Form, KeyColumn, Mode, SideTable, TablePair

PINNED = {"search_path": "pg_catalog,pg_temp", "timezone": "UTC"}
EVIL = ["'); DROP TABLE t; --", "\n\\! rm -rf .\n", ":target", ":'target'", "\\q", '"', "$$", "*/", "\u2028;", "a\r\nb"]


def table(name: str = "orders", key: bytes | None = b"1", column: str = "total", kind: str = "row-different") -> Table:
    def side() -> SideTable:
        quoted = '"' + column.replace('"', '""') + '"'
        columns = (DigestColumn("id", '"id"', Form.TEXT), DigestColumn(column, quoted, Form.TEXT))
        return SideTable("public", name, columns, (KeyColumn("id", '"id"', "text"),))

    pair = TablePair(f"public.{name}", side(), side(), Mode.RANGES)
    quoted = '"' + column.replace('"', '""') + '"'
    columns = (Copied('"id"', "id", "text"), Copied(quoted, column, "numeric"))
    hashes: dict[str, Any] = {
        "row-different": ("77", 12, 34), "row-missing": ("77", 12, None), "row-extra": (None, None, 34),
    }  # fmt: skip
    return Table(pair, 5, columns, (Row(kind, (key,), *hashes[kind]),))


def outside_quotes(text: str) -> str:
    """Leave out what psql and the server take for a text, a name or a comment."""
    return re.sub(r"'([^']|'')*'|\"([^\"]|\"\")*\"|--[^\n]*", " ", text)


PLAIN = outside_quotes(script([table()], PINNED, ["remark"]))


@pytest.mark.parametrize("evil", EVIL)
def test_no_key_name_or_remark_can_leave_its_place(evil: str) -> None:
    for given in (
        script([table(key=evil.encode())], PINNED, ["remark"]),
        script([table(name=evil)], PINNED, ["remark"]),
        script([table(column=evil)], PINNED, ["remark"]),
        script([table()], PINNED, [evil]),
    ):
        assert outside_quotes(given).split() == PLAIN.split()


def test_a_row_is_written_only_under_the_digests_of_both_sides() -> None:
    (reading, writing) = script([table()], PINNED, []).split(r"\connect")
    assert "CAST(xmin AS text) = auditor_w.auditor_x AND " in reading
    assert "= CAST(auditor_w.auditor_s AS bigint)" in reading
    assert "('77', '34', '12', '1')" in reading
    assert not re.search(r"\b(INSERT|UPDATE|DELETE|CREATE|DROP)\b", outside_quotes(reading))
    assert "= given.auditor_t" in writing
    assert "<> given.auditor_s AS wrong" in writing
    assert writing.index("BEGIN;") < writing.index("UPDATE") < writing.index("ROLLBACK;") < writing.index("COMMIT;")


@pytest.mark.parametrize(
    ("kind", "guard"),
    [("row-different", "= given.auditor_t"), ("row-missing", "WHERE NOT EXISTS"), ("row-extra", "= given.auditor_t")],
)
def test_each_kind_has_its_guard_in_a_transaction_of_its_own(kind: str, guard: str) -> None:
    text = script([table(kind=kind), table("other", kind=kind)], PINNED, [])
    assert (text.count("BEGIN;"), text.count("ROLLBACK;")) == (2, 2)
    for block in text.split("BEGIN;")[1:]:
        assert guard in block.split("COMMIT;")[0]


def test_rows_go_before_rows_come_and_at_most_a_hundred_at_once() -> None:
    def many(kind: str) -> tuple[Row, ...]:
        return tuple(Row(kind, (str(number).encode(),), "1", 1, 2) for number in range(150))

    one = table()
    rows = (*many("row-missing"), *many("row-extra"))
    text = script([Table(one.pair, one.seed, one.columns, rows)], PINNED, [])
    said = re.findall(r"^-- \d\. public.orders: ([a-z-]+), (\d+) rows$", text, re.MULTILINE)
    assert said == [("row-extra", "100"), ("row-extra", "50"), ("row-missing", "100"), ("row-missing", "50")]
