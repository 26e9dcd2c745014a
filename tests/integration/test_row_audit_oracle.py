"""A sweep finds what a comparison of all rows finds: on made-up tables, rows and damage, on two real servers."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from auditor.servers import PostgresServer
from comparators.tables import Mode, TablePair
from samplers.rows import fetch
from samplers.table_sweep import Step, SweepOptions
from tests.helpers import Pair
from tests.literals import LITERALS, TYPES_SQL
from tests.sweeps import Sessions, sessions

Row = tuple[str | None, ...]
OPTIONS = SweepOptions(seed=3, segment_rows=2, settle_seconds=0.0)
"""Segments so small that even a few rows need many."""
VALUES = [
    "text",
    "int4",
    "numeric",
    "jsonb",
    "float8",
    "timestamptz",
    "mood",
    "bytea",
    "interval",
    "text[]",
    "json",
    "bool",
]
KEYS = {
    "int4": st.integers(-9, 9).map(str),
    "int8": st.integers(-(2**63), 2**63 - 1).map(str),
    "text": st.sampled_from(["", "a", "A", "a ", "B", "b", "é", "z", "_", "10", "9", "~"]),
    "numeric": st.sampled_from(["-1", "0", "0.1", "0.2", "1e-20", "1e20", "NaN", "Infinity"]),
    "timestamptz": st.integers(0, 9).map(lambda n: f"2026-03-29 00:59:59.99999{n}+00"),
    "uuid": st.integers(0, 9).map(lambda n: f"{n}0000000-0000-0000-0000-00000000000{9 - n}"),
    "mood": st.sampled_from(["good", "bad", "Bad ", ""]),
}
"""Types of key columns with values that meet often; equal ones are the same text."""


@dataclass(frozen=True)
class World:
    """Two tables that should be alike."""

    keys: tuple[str, ...]
    values: tuple[str, ...]
    source: tuple[Row, ...]
    target: tuple[Row, ...]

    @property
    def declaration(self) -> str:
        columns = [f"c{number} {kind}" for number, kind in enumerate(self.keys + self.values)]
        key = ", ".join(f"c{number}" for number in range(len(self.keys)))
        return ", ".join([*columns, f"PRIMARY KEY ({key})"] if self.keys else columns)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Make up a table, its rows, and what became of them on the target."""
    keys = tuple(draw(st.lists(st.sampled_from(sorted(KEYS)), max_size=2)))
    values = tuple(draw(st.lists(st.sampled_from(VALUES), min_size=1, max_size=3)))
    rest = st.tuples(*(st.none() | LITERALS[kind] for kind in values))
    row = st.tuples(*(KEYS[kind] for kind in keys))
    rows = draw(st.lists(st.tuples(row, rest), max_size=12, unique_by=(lambda one: one[0]) if keys else None))
    rows += [] if keys else draw(st.lists(st.sampled_from(rows), max_size=4)) if rows else []
    there = [one for one in rows if not draw(st.sampled_from([0, 0, 0, 1]))]
    there = [(key, draw(rest)) if draw(st.sampled_from([0, 0, 0, 1])) else (key, value) for key, value in there]
    known = {key for key, _ in there}
    there += [one for one in draw(st.lists(st.tuples(row, rest), max_size=2, unique_by=lambda one: one[0]))
              if not keys or one[0] not in known]  # fmt: skip
    return World(keys, values, tuple(k + v for k, v in rows), tuple(k + v for k, v in there))


@pytest.fixture(scope="module")
def sides(postgres_source: PostgresServer, postgres_target: PostgresServer) -> Iterator[Sessions]:
    with Pair(postgres_source, postgres_target) as pair:
        pair.source.execute("CREATE TYPE earlier AS ENUM ('bad', 'good')")
        pair.execute(TYPES_SQL)
        with sessions(pair) as opened:
            yield opened


def build(sides: Sessions, world: World) -> TablePair:
    """Make a table in a schema of its own on both sides."""
    sides.pair.execute(
        f"DROP SCHEMA IF EXISTS made CASCADE; CREATE SCHEMA made; CREATE TABLE made.t ({world.declaration})"
    )
    for database, rows in ((sides.pair.source, world.source), (sides.pair.target, world.target)):
        casts = ", ".join(f"%s::{kind}" for kind in world.keys + world.values)
        for row in rows:
            database.execute(f"INSERT INTO made.t VALUES ({casts})", *row)
    return sides.paired("made.t")


def read(session: object, world: World) -> Counter[tuple[bytes | None, ...]]:
    """Read a whole table as texts."""
    columns = ", ".join(f"c{number}::text" for number in range(len(world.keys) + len(world.values)))
    return Counter(fetch(session, f"SELECT {columns} FROM made.t"))  # type: ignore[arg-type]


def told(world: World, step: Step) -> Counter[tuple[object, ...]]:
    """Give what the sweep told, rows without a key by their kind only."""
    found: Counter[tuple[object, ...]] = Counter()
    for one in step.differences:
        found[(one.kind, one.key, one.columns) if world.keys else (one.kind,)] += one.count
    return found


def expected(
    world: World, here: Counter[tuple[bytes | None, ...]], there: Counter[tuple[bytes | None, ...]]
) -> Counter[tuple[object, ...]]:
    """Compare all rows naively."""
    if not world.keys:
        missing, extra = (here - there).total(), (there - here).total()
        return Counter({("row-missing",): missing} if missing else {}) + Counter(
            {("row-extra",): extra} if extra else {}
        )
    width = len(world.keys)
    left, right = ({row[:width]: row for row in rows} for rows in (here, there))
    found: Counter[tuple[object, ...]] = Counter()
    for key in left.keys() | right.keys():
        if key in left and key in right:
            names = tuple(f"c{n}" for n, (a, b) in enumerate(zip(left[key], right[key], strict=True)) if a != b)
            if names:
                found["row-different", key, tuple(sorted(names))] += 1
        else:
            found["row-missing" if key in left else "row-extra", key, ()] += 1
    return found


def test_a_sweep_finds_what_a_comparison_of_all_rows_finds(sides: Sessions) -> None:
    seen: Counter[Mode] = Counter()

    @settings(
        max_examples=40, database=None, derandomize=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(worlds())
    def holds(world: World) -> None:
        paired = build(sides, world)
        here, there = read(sides.source, world), read(sides.target, world)
        found = sides.swept(paired, options=OPTIONS)
        assert expected(world, here, there) == told(world, found)
        lost = sum(one.count for one in found.differences if one.kind != "row-extra")
        assert (here.total(), here.total() - lost, 0, 0) == (found.rows, found.verified, found.hot, found.unverified)
        seen[paired.mode] += bool(found.different)

    holds()
    assert all(seen[mode] > 3 for mode in Mode)
