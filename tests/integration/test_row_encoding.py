"""Rows that other verifiers' encodings call equal are found by a sweep, with their columns.

Every row of the comparison with other verifiers (3.2) and every blurred or ambiguous value that was seen when they
were measured is one parameter; each is swept in ranges of a key, without a key, and by the SHA-256 that stands in for
servers whose own hashes disagree. What each type tells apart is held to in `test_row_digests`, the command's answer to
some of them in `test_diff`.
"""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from auditor.servers import PostgresServer
from tests.helpers import Pair
from tests.sweeps import Sessions, kinds, sessions

Case = tuple[str, str, str, tuple[str, ...]]
"""Types of two columns, values on the source, values on the target, columns that differ."""

CASES: dict[str, Case] = {
    "NULL and the empty text": ("text, text", "NULL, 'x'", "'', 'x'", ("a",)),
    "NULL and the token <null>": ("text, text", "NULL, 'x'", "'<null>', 'x'", ("a",)),
    "NULL and the token NULL": ("text, text", "NULL, 'x'", "'NULL', 'x'", ("a",)),
    "NULL and the token of COPY": ("text, text", "NULL, 'x'", r"'\N', 'x'", ("a",)),
    "NULL in the other column": ("text, text", "NULL, ''", "'', NULL", ("a", "b")),
    "a separator in the value": ("text, text", "'p|q', 'r'", "'p', 'q|r'", ("a", "b")),
    "a separator at the value's end": ("text, text", "'x|y', 'z'", "'x', 'y|z'", ("a", "b")),
    "a comma in the value": ("text, text", "'x,y', 'z'", "'x', 'y,z'", ("a", "b")),
    "no separator": ("text, text", "'ab', 'c'", "'a', 'bc'", ("a", "b")),
    "no separator, one longer": ("text, text", "'xy', 'z'", "'x', 'yz'", ("a", "b")),
    "a value that looks framed": ("text, text", "'1:a', ''", "'a', ''", ("a",)),
    "columns exchanged": ("text, text", "'a', 'b'", "'b', 'a'", ("a", "b")),
    "a blank at the end": ("text, text", "'a', ''", "'a ', ''", ("a",)),
    "a blank and nothing": ("text, text", "'', 'x'", "' ', 'x'", ("a",)),
    "a line end": ("text, text", r"E'a\r\n', ''", r"E'a\n', ''", ("a",)),
    "case": ("text, text", "'a', ''", "'A', ''", ("a",)),
    "a composed character": ("text, text", r"E'\u00e9', ''", r"E'e\u0301', ''", ("a",)),
    "a microsecond": (
        "timestamptz, timestamp", "'2026-03-01 12:00Z', '2026-03-01'",
        "'2026-03-01 12:00:00.000001Z', '2026-03-01 00:00:00.000001'", ("a", "b"),
    ),
    "an hour twice": ("timestamptz, text", "'2026-10-25 02:30+02', ''", "'2026-10-25 02:30+01', ''", ("a",)),
    "scale alone": ("numeric, numeric(6,2)", "1.10, 1.1", "1.1, 1.1", ("a",)),
    "scale of a fixed column is none": ("numeric(6,2), int", "1.10, 1", "1.1, 2", ("b",)),
    "numerics 1e-20 apart": ("numeric, numeric", "1, 1e-10", "1.00000000000000000001, 2e-10", ("a", "b")),
    "the last of two decimals": ("numeric, numeric", "99999999999.99, 1", "99999999999.98, 1", ("a",)),
    "the 15th digit": ("bigint, bigint", "123456789012345, 1", "123456789012344, 1", ("a",)),
    "the last digit of a bigint": ("bigint, bigint", "9223372036854775807, 1", "9223372036854775806, 1", ("a",)),
    "sums of floats": ("float8, float4", "0.1::float8 + 0.2, 16777216", "0.3, 16777215", ("a", "b")),
    "the sign of zero": ("float8, float4", "'-0', '-0'", "'0', '0'", ("a", "b")),
    "a day and 24 hours": ("interval, text", "'1 day', ''", "'24 hours', ''", ("a",)),
    "scale inside a document": ("jsonb, text", "'[1.0]', ''", "'[1.00]', ''", ("a",)),
    "order of keys in json": ("json, text", """'{"a":1,"b":2}', ''""", """'{"b":2,"a":1}', ''""", ("a",)),
    "a zero byte": ("bytea, text", r"'\x61', ''", r"'\x6100', ''", ("a",)),
}  # fmt: skip


@pytest.fixture(scope="module")
def sides(postgres_source: PostgresServer, postgres_target: PostgresServer) -> Iterator[Sessions]:
    with Pair(postgres_source, postgres_target) as pair, sessions(pair) as opened:
        yield opened


@pytest.mark.parametrize("how", ["by key", "without a key", "by SHA-256"])
@pytest.mark.parametrize("case", CASES)
def test_rows_that_others_blur_are_different(sides: Sessions, case: str, how: str) -> None:
    declared, here, there, columns = CASES[case]
    a, b = declared.split(", ")
    key = "" if how == "without a key" else " PRIMARY KEY"
    sides.pair.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (id int{key}, a {a}, b {b})")
    sides.pair.execute(f"INSERT INTO t VALUES (1, {here}), (2, {there})")
    sides.pair.source.execute(f"INSERT INTO t VALUES (3, {here})")
    sides.pair.target.execute(f"INSERT INTO t VALUES (3, {there})")
    found = sides.swept(replace(sides.paired(), sha=how == "by SHA-256"))
    assert (3, 2, 0, 0) == (found.rows, found.verified, found.hot, found.unverified)
    if key:
        assert [("row-different", (b"3",), columns)] == kinds(found)
    else:
        assert ["row-extra", "row-missing"] == sorted(one.kind for one in found.differences)


NEIGHBOURS = {
    "bigint": ("123456789012345", "123456789012344"),
    "numeric": ("99999999999.99", "99999999999.98"),
    "numeric(30,20)": ("1", "1.00000000000000000001"),
    "timestamptz": ("'2026-03-01 12:00Z'", "'2026-03-01 12:00:00.000001Z'"),
    "text": ("'a'", "'a '"),
    'text COLLATE "C"': ("'a'", "'A'"),
    "float8": ("0.1::float8 + 0.2", "0.3"),
    "uuid": ("'00000000-0000-0000-0000-000000000000'", "'00000000-0000-0000-0000-000000000001'"),
}


@pytest.mark.parametrize("kind", NEIGHBOURS)
def test_keys_that_others_blur_name_different_rows(sides: Sessions, kind: str) -> None:
    here, there = NEIGHBOURS[kind]
    sides.pair.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (id {kind} PRIMARY KEY, v int)")
    sides.pair.source.execute(f"INSERT INTO t VALUES ({here}, 1)")
    sides.pair.target.execute(f"INSERT INTO t VALUES ({there}, 1)")
    found = sides.swept()
    assert ["row-extra", "row-missing"] == sorted(one.kind for one in found.differences)
    assert (1, 0, 2) == (found.rows, found.verified, found.different)


@pytest.mark.parametrize(
    ("kind", "here", "there"), [("numeric", "1.0", "1.00"), ("float8", "'0'", "'-0'")], ids=["scale", "sign of zero"]
)
def test_keys_that_are_equal_but_not_the_same_text_are_one_row_that_differs(
    sides: Sessions, kind: str, here: str, there: str
) -> None:
    sides.pair.execute(f"DROP TABLE IF EXISTS t; CREATE TABLE t (id {kind} PRIMARY KEY, v int)")
    sides.pair.execute("INSERT INTO t SELECT i, i FROM generate_series(7, 9) i")
    sides.pair.source.execute(f"INSERT INTO t VALUES ({here}, 1)")
    sides.pair.target.execute(f"INSERT INTO t VALUES ({there}, 1)")
    found = sides.swept()
    assert (4, 3, 1) == (found.rows, found.verified, found.different)
    assert [("row-different", ("id",))] == [(one.kind, one.columns) for one in found.differences]
