"""Read from one side's catalog what the row audit must know of its tables' columns, types and keys."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

import psycopg

from comparators.encoding import ColumnType
from samplers.catalog import select

_BYTEWISE = frozenset({("c", "C"), ("c", "POSIX"), ("b", "C")})


@dataclass(frozen=True, slots=True)
class Order:
    """How an index orders one of its columns."""

    name: str
    collation: str | None = None
    """As SQL; `None`: no collation applies."""
    own: bool = True
    """The column's own collation, not one of the index."""
    deterministic: bool = True
    provider: str | None = None
    locale: str | None = None
    version: str | None = None
    """Of the library that orders it, as it is now; `None`: nobody knows."""

    @property
    def rule(self) -> tuple[str | None, ...] | None:
        """Name the order of texts; `None`: it is not known to be the same elsewhere."""
        if self.collation is None:
            return ()
        if (self.provider, self.locale) in _BYTEWISE:
            return ("bytes",)
        return (self.provider, self.locale, self.version) if self.deterministic and self.version else None


@dataclass(frozen=True, slots=True)
class UniqueKey:
    """One unique index over columns that are never NULL."""

    columns: tuple[Order, ...]
    primary: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True, slots=True)
class TableFacts:
    """What the row audit knows of one table of one side besides its shape."""

    types: Mapping[str, ColumnType]
    """By column."""
    generated: frozenset[str]
    keys: tuple[UniqueKey, ...]
    """The primary key first."""
    rows: int
    """Estimate."""
    parent: bool
    """Other tables inherit from it, whose rows a plain read would bring too."""


def table_facts(connection: psycopg.Connection, relids: Collection[int]) -> dict[int, TableFacts]:
    """Read the facts of some tables by their OIDs.

    Raises:
        SideUnavailable, NotPermitted, ...: as `samplers.connections.wrapped` sorts them.
    """
    parameters = {"relids": list(relids)}
    columns = select(connection, "table_columns", parameters)
    types = types_of(connection, {column["type"] for column in columns})
    keys = select(connection, "table_keys", parameters)
    found = {}
    for row in select(connection, "row_estimates", parameters):
        own = [column for column in columns if column["relid"] == row["relid"]]
        found[row["relid"]] = TableFacts(
            types={c["name"]: replace(types[c["type"]], declared=c["declared"]) for c in own},
            generated=frozenset(c["name"] for c in own if c["generated"]),
            keys=tuple(_key(key) for key in keys if key["relid"] == row["relid"]),
            rows=row["rows"], parent=row["parent"],
        )  # fmt: skip
    return found


def types_of(connection: psycopg.Connection, oids: Iterable[int]) -> dict[int, ColumnType]:
    """Describe types by their OIDs, seen through domains."""
    rows = select(connection, "column_types", {"types": list(oids)})
    return {row.pop("type"): ColumnType(**row) for row in rows}


def _key(row: Mapping[str, object]) -> UniqueKey:
    columns = row["columns"]
    assert isinstance(columns, list)
    return UniqueKey(tuple(Order(**column) for column in columns), bool(row["is_primary"]))
