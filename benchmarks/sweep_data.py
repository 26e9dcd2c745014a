"""Tables of the sweep's benchmark: the same rows on both sides, made by the servers, and planted differences."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from auditor.servers import PostgresServer

SETTINGS = {
    "fsync": "off", "max_wal_size": "16GB", "checkpoint_timeout": "1h", "shared_buffers": "1GB",
    "maintenance_work_mem": "512MB",
}  # fmt: skip
GAPS = 8
"""Ids that are left out of `items`, evenly spread; rows that only the target has are put there."""
WIDE = ("int", "text", "bigint", "timestamptz", "numeric(12,2)")
HASHED = "(SELECT i, hashint8extended(i, 42) & 9223372036854775807 FROM generate_series(1::bigint, {rows}) i) _ (i, h)"
"""Every value is drawn from the row's number by a hash that is the same in every version."""
VALUES = {
    "int": "(h >> {shift}) % 1000000",
    "bigint": "h + {shift}",
    "text": "to_hex(h >> {shift})",
    "timestamptz": "timestamptz '2020-01-01Z' + (h >> {shift}) % 157680000000000 * interval '1 microsecond'",
    "numeric(12,2)": "((h >> {shift}) % 10000000000) / 100.0",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """One table: how it is made, and its share of `--rows`."""

    name: str
    columns: str
    key: str
    values: str
    share: float = 1.0
    where: str = "true"

    def rows(self, whole: int) -> int:
        return max(int(whole * self.share), 1000)


def _items(name: str, share: float = 1.0) -> Shape:
    columns = (
        "id bigint, customer uuid NOT NULL, n int NOT NULL, total numeric(12,2) NOT NULL, at timestamptz NOT NULL,"
        " ok boolean NOT NULL, code text NOT NULL, note text"
    )
    values = (
        "i, md5('42.' || i)::uuid, h % 1000000, (h % 10000000000) / 100.0,"
        " timestamptz '2020-01-01Z' + h % 157680000000000 * interval '1 microsecond', h % 3 = 0, 'C-' || to_hex(h),"
        " CASE WHEN i % 16 > 0 THEN repeat(to_hex(h), 3 + (h % 8)::int) END"
    )
    return Shape(name, columns, "id", values, share, f"i % ({{rows}} / {GAPS}) > 0")


def _wide(columns: int) -> Shape:
    types = [WIDE[number % len(WIDE)] for number in range(columns - 1)]
    values = [VALUES[type_].format(shift=number % 24) for number, type_ in enumerate(types)]
    declared = [f"c{number} {type_}" for number, type_ in enumerate(types, 1)]
    return Shape("wide", ", ".join(["id bigint", *declared]), "id", ", ".join(["i", *values]), 0.01)


ITEMS = _items("items")
BUSY = _items("busy", 0.2)
SHAPES = (
    _wide(250),
    Shape("narrow", "id bigint, n int", "id", "i, h % 1000000", 0.2),
    Shape("text_key", "id text, n int, note text", "id", "'K-' || to_hex(h), h % 1000000, md5(i::text)", 0.1),
    Shape(
        "composite_key", "region int, name text, at timestamptz, note text", "region, name, at",
        f"i % 50, to_hex(h % 100000), {VALUES['timestamptz'].format(shift=0)}, md5(i::text)", 0.1,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Servers:
    """The two sides."""

    source: PostgresServer
    target: PostgresServer

    @property
    def both(self) -> tuple[PostgresServer, PostgresServer]:
        return self.source, self.target

    def at_once(self, work: Any) -> list[Any]:
        """Do the same on both at the same time; the answers, the source's first."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(work, self.both))


@contextmanager
def servers(source: int, target: int) -> Iterator[Servers]:
    """Start two servers of these major versions."""
    with ExitStack() as stack:
        yield Servers(
            stack.enter_context(PostgresServer(source, SETTINGS, "source")),
            stack.enter_context(PostgresServer(target, SETTINGS, "target")),
        )


def execute(server: PostgresServer, *statements: str) -> list[tuple[Any, ...]]:
    """Run statements in a session of their own; the rows of the last one, if it has any."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        rows: list[tuple[Any, ...]] = []
        for statement in statements:
            cursor = connection.execute(statement.encode())
            rows = cursor.fetchall() if cursor.description else []
        return rows


def load(sides: Servers, shape: Shape, whole: int) -> None:
    """Fill a table on both sides, with a visibility map and statistics."""
    rows = shape.rows(whole)
    statements = (
        f"CREATE TABLE {shape.name} ({shape.columns})",
        f"INSERT INTO {shape.name} SELECT {shape.values} FROM {HASHED} WHERE {shape.where}".format(rows=rows),
        f"ALTER TABLE {shape.name} ADD PRIMARY KEY ({shape.key})",
        f"VACUUM (FREEZE, ANALYZE) {shape.name}",
        "CHECKPOINT",
    )
    sides.at_once(lambda server: execute(server, *statements))


def replicate(sides: Servers, shape: Shape) -> None:
    """Have changes of this table alone applied from now on, without a copy: its rows are there."""
    execute(sides.target, "DROP SUBSCRIPTION IF EXISTS s")
    execute(sides.source, "DROP PUBLICATION IF EXISTS p", f"CREATE PUBLICATION p FOR TABLE {shape.name}")
    execute(
        sides.target,
        f"CREATE SUBSCRIPTION s CONNECTION '{sides.source.dsn()}' PUBLICATION p WITH (copy_data = false)",
    )


CHANGES = (
    "customer = md5(customer::text)::uuid", "n = n + 1", "total = total + 0.01", "at = at + interval '1 microsecond'",
    "ok = NOT ok", "code = code || ' '", "note = 'x' || note",
)  # fmt: skip


def plant_scattered(sides: Servers, rows: int, count: int = 100) -> set[str]:
    """Make differences on the target, evenly spread: 5 % missing rows, 5 % extra ones, each column in turn.

    Args:
        rows: what `items` was loaded with.
    Returns:
        Keys of the rows that differ now; none holds a NULL, which one of the peers cannot sort.
    """
    missing, extra = count // 20, min(count // 20, GAPS - 1)
    changed = count - missing - extra
    step = rows // (changed + missing)
    ids = [_untouched(1 + number * step, rows) for number in range(changed + missing)]
    gaps = [number * (rows // GAPS) for number in range(1, extra + 1)]
    updates = [f"UPDATE items SET {CHANGES[n % len(CHANGES)]} WHERE id = {id_}" for n, id_ in enumerate(ids[missing:])]
    execute(
        sides.target,
        f"DELETE FROM items WHERE id IN ({', '.join(map(str, ids[:missing]))})",
        "INSERT INTO items SELECT g, customer, n, total, at, ok, code, 'extra' FROM items,"
        f" unnest(ARRAY[{', '.join(map(str, gaps))}]) g WHERE id = {ids[-1]}",
        *updates,
        "VACUUM (ANALYZE) items",
    )
    return {str(id_) for id_ in (*ids, *gaps)}


def _untouched(id_: int, rows: int) -> int:
    """Take the next row that is there and has a note."""
    while id_ % 16 == 0 or id_ % (rows // GAPS) == 0:
        id_ += 1
    return id_


def plant_percent(sides: Servers) -> set[str]:
    """Change one row in a hundred on the target, evenly spread."""
    changed = execute(
        sides.target, "UPDATE items SET n = n + 7 WHERE id % 100 = 51 AND note IS NOT NULL RETURNING id::text"
    )
    execute(sides.target, "VACUUM (ANALYZE) items")
    return {key for (key,) in changed}
