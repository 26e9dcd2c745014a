"""Read from one side's catalog what the row audit must know of its tables' columns, types and keys."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import psycopg

from comparators.encoding import ColumnType
from samplers.catalog import select

Row = dict[str, Any]

_BYTEWISE = frozenset({("c", "C"), ("c", "POSIX")})
_UNVERSIONED = "unversioned"


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
        if self.provider == "b" or (self.provider, self.locale) in _BYTEWISE:
            return ("bytes",)
        locale, version = self.locale or "", self.version
        if self.provider == "c":
            language, _, encoding = locale.partition(".")
            locale = f"{language}.{encoding.lower().replace('-', '')}"
            version = version or (_UNVERSIONED if language == "C" else None)  # by code points, PostgreSQL says
        return (self.provider, locale, version) if self.deterministic and version else None

    def __str__(self) -> str:
        """Describe the order for people."""
        if self.collation is None:
            return "its type"
        library = {"c": "libc", "i": "ICU", "b": "PostgreSQL"}.get(self.provider or "", self.provider)
        blur = "" if self.deterministic else ", not deterministic"
        return f"{self.locale} of {library}{f' {self.version}' if self.version else ''}{blur}"


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
        SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
    """
    parameters = {"relids": list(relids)}
    columns = _by_table(select(connection, "table_columns", parameters))
    types = types_of(connection, {column["type"] for own in columns.values() for column in own})
    keys = _by_table(select(connection, "table_keys", parameters))
    return {
        row["relid"]: TableFacts(
            types={c["name"]: _column_type(types[c["type"]], c) for c in columns[row["relid"]]},
            generated=frozenset(c["name"] for c in columns[row["relid"]] if c["generated"]),
            keys=tuple(_key(key) for key in keys[row["relid"]]), rows=row["rows"], parent=row["parent"],
        )
        for row in select(connection, "row_estimates", parameters)
    }  # fmt: skip


def _by_table(rows: Iterable[Row]) -> defaultdict[int, list[Row]]:
    found: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        found[row["relid"]].append(row)
    return found


def _column_type(kind: ColumnType, column: Row) -> ColumnType:
    return kind if column["domain"] else replace(kind, declared=column["declared"])


def types_of(connection: psycopg.Connection, oids: Iterable[int]) -> dict[int, ColumnType]:
    """Describe types by their OIDs, seen through domains."""
    rows = select(connection, "column_types", {"types": list(oids)})
    return {row.pop("type"): ColumnType(**row) for row in rows}


def _key(row: Row) -> UniqueKey:
    return UniqueKey(tuple(Order(**column) for column in row["columns"]), row["is_primary"])
