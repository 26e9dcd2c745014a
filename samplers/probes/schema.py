"""Read one side's schema for the checks: one query for each kind of object, however many tables there are."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import psycopg

from comparators.checks.judges import Denial
from comparators.checks.schema import Column, Function, Part, Published, Relation, Schema, TypeMade
from comparators.errors import NotPermitted
from samplers.catalog import published_tables, select

_PARTS = ("constraints", "indexes", "triggers", "rules", "policies", "grants")
_REFUSED = re.compile(r"permission denied for (table|view|relation|function|sequence|schema) (\S+)")

Made = TypeVar("Made")


class Reader:
    """Reads named queries of one side, and remembers what its role may not read."""

    def __init__(self, connection: psycopg.Connection, side: str, own_schema: str) -> None:
        self._connection, self._side, self._own = connection, side, own_schema
        self.denied: dict[str, Denial] = {}

    def rows(
        self, group: str, name: str, make: Callable[..., Made], needed_as: str | None = None
    ) -> tuple[Made, ...]:
        """Read a query and make a value of each row; nothing where the role may not, which `denied` then says.

        Args:
            needed_as: what checks call it, where that is not the query's own name.
        Raises:
            Retryable: it was cancelled, or the side is gone.
        """
        try:
            rows = select(self._connection, f"{group}_{name}", {"own": self._own})
        except NotPermitted as error:
            self.denied[needed_as or name] = denial(error, self._side, self._connection.info.user)
            return ()
        return tuple(make(**_frozen(row)) for row in rows)


def denial(error: NotPermitted, side: str, role: str) -> Denial:
    """Say what a role may not read, and what lets it."""
    match = _REFUSED.search(str(error))
    what = f"EXECUTE ON FUNCTION {match[2]}" if match and match[1] == "function" else (
        f"SELECT ON {match[2]}" if match else "pg_monitor")  # fmt: skip
    return Denial(f"the role {role} may not read it on the {side}", f'on the {side}: GRANT {what} TO "{role}"')


def read_schema(connection: psycopg.Connection, side: str, own_schema: str) -> Schema:
    """Read all that is compared between the sides, without what is in our own schema.

    Raises:
        Retryable: ask again later.
    """
    reader = Reader(connection, side, own_schema)
    relations = reader.rows("schema", "relations", Relation)
    parts = {name: reader.rows("schema", name, Part) for name in _PARTS}
    return Schema(
        relations={relation.name: relation for relation in relations},
        columns=reader.rows("schema", "columns", Column),
        event_triggers=reader.rows("schema", "event_triggers", _of_database),
        types=reader.rows("schema", "types", TypeMade),
        functions=reader.rows("schema", "functions", Function),
        large_objects=sum(reader.rows("schema", "large_objects", _counted)),
        denied=reader.denied,
        **parts,
    )


def read_published(connection: psycopg.Connection, publications: tuple[str, ...], own: str) -> dict[str, Published]:
    """Say how the migration's publications show each table, without our own."""
    return {
        table.full_name: Published(table.operations, table.via_root, table.columns, table.row_filter)
        for table in published_tables(connection, publications) if table.schema != own
    }  # fmt: skip


def _of_database(name: str, kind: str, enabled: str) -> Part:
    return Part("", name, kind, enabled=enabled)


def _counted(large_objects: int) -> int:
    return large_objects


def _frozen(row: dict[str, Any]) -> dict[str, Any]:
    """Make lists of a row that nobody else has into tuples, in place: there are many rows."""
    for name, value in row.items():
        if type(value) is list:
            row[name] = tuple(value)
    return row
