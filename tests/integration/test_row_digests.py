"""A value digests alike wherever it is stored, and any other value of its type differently, for every type."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.servers import PostgresServer
from comparators.digest_sql import list_rows, whole_digest
from comparators.tables import SideTable, Skipped, TablePair
from samplers.connections import connect
from samplers.pairing import Wanted, pair_tables
from samplers.rows import fetch
from tests.helpers import Pair
from tests.literals import LITERALS, NEAR, TYPES_SQL, array_literal

SEED = 11
Row = tuple[str | None, ...]
quickly = settings(
    max_examples=25, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class Side:
    """A table of one row on one side, or of many."""

    def __init__(self, session: psycopg.Connection[Any], table: SideTable, kinds: tuple[str, ...]) -> None:
        items = ", ".join(f"CAST(${number + 1} AS text[])" for number in range(len(kinds)))
        casts = ", ".join(f"CAST(c{number} AS {kind})" for number, kind in enumerate(kinds))
        sets = ", ".join(f"c{number} = CAST(${number + 1} AS {kind})" for number, kind in enumerate(kinds))
        columns = ", ".join(f"c{number}" for number in range(len(kinds)))
        self._session = session
        self._update = f'UPDATE public."{table.name}" SET {sets} RETURNING {columns}'
        self._name = f'public."{table.name}"'
        self._insert = (
            f"INSERT INTO {self._name} SELECT {casts} FROM unnest({items}) AS r ({columns}) RETURNING {columns}"
        )
        self._totals = whole_digest(table, SEED, False)
        self._digests = [list_rows(table, (False, False), SEED, sha) for sha in (False, True)]

    def put(self, *literals: str | None) -> tuple[str | None, ...]:
        """Store values and give them as replication would send them."""
        (row,) = fetch(self._session, self._update, [None if text is None else text.encode() for text in literals])
        return tuple(None if text is None else text.decode() for text in row)

    def fill(self, rows: list[Row]) -> list[Row]:
        """Store rows in place of all others, and give them as replication would send them."""
        fetch(self._session, f"DELETE FROM {self._name}")
        columns = [array_literal(column).encode() for column in zip(*rows, strict=True)]
        found = fetch(self._session, self._insert, columns)
        return [tuple(None if text is None else text.decode() for text in row) for row in found]

    def total(self) -> tuple[bytes | None, ...]:
        """Count the rows and sum their hashes."""
        return fetch(self._session, self._totals)[0]

    def digests(self) -> list[bytes | None]:
        """Digest the row by the servers' own hash and by SHA-256."""
        return [fetch(self._session, statement)[0][0] for statement in self._digests]


ROWS = {
    "texts": ("text", "text", "varchar(40)"),
    "strict": ("numeric", "jsonb", "mood", "text"),
    "numbers": ("int4", "int8", "int2"),
    "moments": ("timestamptz", "date", "time"),
}


@pytest.fixture(scope="module")
def sides(postgres_source: PostgresServer, postgres_target: PostgresServer) -> Iterator[dict[str, tuple[Side, Side]]]:
    """A table of one row for each type, and for some sequences of types; the types' OIDs differ between the sides."""
    with Pair(postgres_source, postgres_target) as pair:
        pair.source.execute("CREATE TYPE earlier AS ENUM ('bad', 'good')")
        pair.execute(TYPES_SQL)
        kinds = {kind: (kind,) for kind in LITERALS} | ROWS | {"many": ROWS["strict"]}
        names = {kind: f"public.t{number}" for number, kind in enumerate(kinds)}
        for kind, name in names.items():
            columns = ", ".join(f"c{number} {one}" for number, one in enumerate(kinds[kind]))
            pair.execute(f"CREATE TABLE {name} ({columns}); INSERT INTO {name} VALUES (NULL)")
        assert pair.source.value("SELECT 'mood'::regtype::oid") != pair.target.value("SELECT 'mood'::regtype::oid")
        with connect(pair.source.dsn) as source, connect(pair.target.dsn) as target:
            found = pair_tables(source, target, [Wanted(name, name, name) for name in names.values()])
            for session in (source, target):
                session.execute("SET search_path = public")
            yield {kind: _both(source, target, found[name], kinds[kind]) for kind, name in names.items()}


def _both(source: Any, target: Any, pair: TablePair | Skipped, kinds: tuple[str, ...]) -> tuple[Side, Side]:
    assert isinstance(pair, TablePair)
    return Side(source, pair.source, kinds), Side(target, pair.target, kinds)


def hold(sides: tuple[Side, Side], kinds: tuple[str, ...], one: Row, other: Row) -> None:
    """Hold both sides to it: one row digests alike on both, and like another only if both read the same."""
    source, target = sides
    first = source.put(*one)
    digests = source.digests()
    assert first == target.put(*first)
    assert digests == target.digests()
    second = target.put(*other)
    same = seen(kinds, first) == seen(kinds, second)
    assert [same, same] == [a == b for a, b in zip(digests, target.digests(), strict=True)], (first, second)


def seen(kinds: tuple[str, ...], row: Row) -> Row:
    """Give the texts that are to be told apart: blanks at the end of a `bpchar` are none of its value."""
    padded = ("bpchar", "char(30)")
    return tuple(t.rstrip(" ") if t and kind in padded else t for kind, t in zip(kinds, row, strict=True))


@pytest.mark.parametrize("kind", LITERALS)
def test_equal_values_digest_alike_and_others_differently(sides: dict[str, tuple[Side, Side]], kind: str):
    values = st.none() | LITERALS[kind]

    @quickly
    @given(values, values)
    def holds(one: str | None, other: str | None) -> None:
        hold(sides[kind], (kind,), (one,), (other,))

    holds()


@pytest.mark.parametrize(("kind", "one", "other"), [(kind, *pair) for kind, pairs in NEAR.items() for pair in pairs])
def test_values_that_others_call_equal_are_told_apart(
    sides: dict[str, tuple[Side, Side]], kind: str, one: str, other: str
):
    source, target = sides[kind]
    assert source.put(one) != target.put(other)
    hold(sides[kind], (kind,), (one,), (other,))


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_told_apart_by_where_each_value_stands(sides: dict[str, tuple[Side, Side]], name: str):
    row = st.tuples(*(st.none() | LITERALS[kind] for kind in ROWS[name]))

    @quickly
    @given(row, row)
    def holds(one: Row, other: Row) -> None:
        hold(sides[name], ROWS[name], one, other)

    holds()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("", None, ""), (None, "", "")),
        (("p|q", "r", ""), ("p", "q|r", "")),
        (("ab", "c", ""), ("a", "bc", "")),
        (("a", "b", ""), ("b", "a", "")),
        (("<null>", "", ""), (None, "", "")),
        (("1:a", "", ""), ("a", "", "")),
        (("N", "", ""), (None, "", "")),
    ],
)
def test_rows_that_other_encodings_blur_are_told_apart(sides: dict[str, tuple[Side, Side]], one: Row, other: Row):
    hold(sides["texts"], ROWS["texts"], one, other)


@quickly
@given(st.data())
def test_tables_digest_alike_only_with_the_same_rows(sides: dict[str, tuple[Side, Side]], data: st.DataObject):
    source, target = sides["many"]
    row = st.tuples(*(st.none() | LITERALS[kind] for kind in ROWS["strict"]))
    rows = data.draw(st.lists(row, min_size=1, max_size=6))
    first = source.fill(rows)
    total = source.total()
    target.fill(data.draw(st.permutations(first)))
    assert total == target.total()
    second = target.fill(data.draw(st.lists(st.sampled_from(first) | row, min_size=1, max_size=6)))
    assert (Counter(first) == Counter(second)) == (total == target.total()), (first, second)


@pytest.mark.parametrize(
    "others",
    [
        [("1", "{}", "good", "b"), ("2", "{}", "good", "a")],  # values exchanged between rows
        [("1", "{}", "good", "a"), ("1", "{}", "good", "a")],  # one row for another
        [("2", "{}", "good", "a"), ("3", "{}", "good", "b")],  # the same shift in every row
        [("1", "{}", "good", "a")],
        [("1", "{}", "good", "a"), ("2", "{}", "good", "b"), ("2", "{}", "good", "b")],
        [("1", "{}", "good", "a"), ("2", "{}", "good", "b"), (None, None, None, None)],
    ],
)
def test_rows_do_not_cancel_each_other(sides: dict[str, tuple[Side, Side]], others: list[Row]):
    source, target = sides["many"]
    source.fill([("1", "{}", "good", "a"), ("2", "{}", "good", "b")])
    target.fill(others)
    assert source.total() != target.total()


def test_an_equal_shift_of_an_even_number_of_rows_is_seen(sides: dict[str, tuple[Side, Side]]):
    source, target = sides["moments"]
    days = [f"2026-03-{day} 10:00:00+00" for day in (1, 2, 3, 4)]
    source.fill([(day, None, None) for day in days])
    target.fill([(day.replace("10:00", "11:00"), None, None) for day in days])
    assert source.total() != target.total()
