"""Read from the catalogs what each side has: server, publications, tables, subscriptions. Queries are in `sql/`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import psycopg
from psycopg.rows import dict_row

from samplers.connections import failure


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Which server this is, what its settings allow, and what the session's role may do."""

    version: int
    """As in `server_version_num`."""
    system_identifier: str
    timeline: int
    in_recovery: bool
    wal_level: str
    max_slot_wal_keep_megabytes: int
    """-1: a slot may hold back WAL without limit."""
    slots_allowed: int
    slots_used: int
    started_at: float
    """Unix seconds at which the postmaster started."""
    database: str
    database_oid: int
    role: str
    superuser: bool
    may_replicate: bool
    may_create: bool
    """Schemas and publications in this database."""
    may_read_progress: bool
    """The replication origins' positions, which no predefined role includes."""


@dataclass(frozen=True, slots=True)
class Publication:
    """One publication of this database."""

    name: str
    owner: str
    owned: bool
    """By a role that the session may act as."""
    all_tables: bool
    via_root: bool
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishedTable:
    """One table as publications show it."""

    publication: str
    schema: str
    name: str
    relid: int
    columns: tuple[str, ...] | None
    """In their order; `None`: all of them but generated ones."""
    row_filter: str | None
    operations: frozenset[str]
    """Of insert, update, delete, truncate."""
    via_root: bool

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Column:
    """One column that is not dropped."""

    name: str
    type: str
    """With its modifiers; user's types with their schema."""
    attnum: int
    generated: str
    """Empty, `s` stored or `v` virtual."""
    not_null: bool


@dataclass(frozen=True, slots=True)
class TableShape:
    """One table as its own database defines it."""

    schema: str
    name: str
    relid: int
    kind: str
    """`r` table, `p` partitioned."""
    unlogged: bool
    ancestors: tuple[str, ...]
    """Partitioned tables that this one is part of, nearest first, as `schema.table`."""
    identity: str
    """Replica identity: `d` primary key, `i` index, `f` full, `n` nothing."""
    owner: str
    owned: bool
    """By a role that the session may act as."""
    readable: bool
    row_security: bool
    """Policies hide rows from the session's role."""
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...]
    identity_index: tuple[str, ...]
    """Columns of the index chosen as replica identity."""
    unique_keys: tuple[tuple[str, ...], ...]
    """Columns of the other unique indexes without NULLs, conditions or expressions."""
    leaves_identified: bool | None
    """Every leaf partition has a replica identity; `None` where there are no leaves."""
    leaves_full: bool | None
    """Some leaf partition has its whole row as replica identity."""

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def identity_columns(self) -> tuple[str, ...]:
        """List the columns that an old row in the log shows."""
        if self.identity == "f":
            return tuple(column.name for column in self.columns if not column.generated)
        return {"d": self.primary_key, "i": self.identity_index}.get(self.identity, ())


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription of this database."""

    oid: int
    name: str
    enabled: bool
    owner: str
    owned: bool
    publications: tuple[str, ...]
    slot_name: str | None
    runs_as_owner: bool
    """Apply writes as the subscription's owner, not as each table's."""
    owner_superuser: bool
    owner_may_become_us: bool
    worker_pid: int | None
    """Its main apply worker; `None` where none runs."""
    apply_errors: int
    sync_errors: int
    tables: tuple[tuple[str, str, str, int], ...]
    """(schema, name, state, source position at which the initial copy ended)"""
    origin: str = "any"
    """`none`: what the source itself received by replication is left out, from PostgreSQL 16 on both sides."""

    @property
    def origin_name(self) -> str:
        """Name of the replication origin whose transactions this subscription brings."""
        return f"pg_{self.oid}"

    @property
    def worker(self) -> bool:
        return self.worker_pid is not None

    @property
    def table_names(self) -> frozenset[str]:
        return frozenset(f"{schema}.{name}" for schema, name, _, _ in self.tables)


@cache
def query(name: str) -> str:
    """Read a named query."""
    return (files("samplers") / "sql" / f"{name}.sql").read_text(encoding="utf-8")


def select(
    connection: psycopg.Connection, name: str, parameters: Mapping[str, Any] | None = None
) -> list[dict[str, Any]]:
    """Run a named query and give its rows by column.

    Raises:
        SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
    """
    try:
        with connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query(name).encode(), parameters).fetchall()
    except psycopg.Error as error:
        raise failure(error, name.replace("_", " ")) from error


def server_facts(connection: psycopg.Connection) -> ServerFacts:
    """Say which server this is and what the session may do there."""
    return ServerFacts(**select(connection, "server_facts")[0])


def publications(connection: psycopg.Connection) -> dict[str, Publication]:
    """List the publications of this database by name."""
    return {row["name"]: Publication(**_frozen(row)) for row in select(connection, "publications")}


def published_tables(connection: psycopg.Connection, names: Sequence[str]) -> list[PublishedTable]:
    """List what some publications show, each table once, with everything that any of them shows of it."""
    version = "_15" if connection.info.server_version >= 150000 else ""
    rows = select(connection, f"published_tables{version}", {"publications": list(names)})
    found: dict[str, PublishedTable] = {}
    for row in rows:
        table = PublishedTable(**{**_frozen(row), "operations": frozenset(row["operations"])})
        other = found.get(table.full_name)
        found[table.full_name] = _merged(other, table) if other else table
    return list(found.values())


def _merged(first: PublishedTable, second: PublishedTable) -> PublishedTable:
    """Show what both show: one without a filter lets every row through."""
    filters = [text for text in (first.row_filter, second.row_filter) if text]
    return replace(
        first, operations=first.operations | second.operations, via_root=first.via_root or second.via_root,
        row_filter=" OR ".join(filters) if len(filters) == 2 else None,
    )  # fmt: skip


def publication_members(connection: psycopg.Connection, names: Sequence[str]) -> dict[str, frozenset[str]]:
    """List the tables that each publication names itself, as `schema.table`."""
    rows = select(connection, "publication_members", {"publications": list(names)})
    return {
        name: frozenset(f"{row['schema']}.{row['name']}" for row in rows if row["publication"] == name)
        for name in names
    }


def tables(connection: psycopg.Connection, names: Iterable[str] | None = None) -> dict[str, TableShape]:
    """Describe tables by `schema.table`; what does not exist is left out.

    Args:
        names: only these; `None` describes every table that is no system table, partitions included.
    """
    rows = select(connection, "tables", {"names": None if names is None else list(names)})
    return {shape.full_name: shape for shape in map(_shape, rows)}


def _shape(row: dict[str, Any]) -> TableShape:
    values = _frozen(row)
    values["columns"] = tuple(Column(**column) for column in row["columns"])
    values["unique_keys"] = tuple(tuple(key) for key in row["unique_keys"])
    for name in ("primary_key", "identity_index"):
        values[name] = values[name] or ()
    return TableShape(**values)


def subscriptions(connection: psycopg.Connection) -> dict[str, Subscription]:
    """List all subscriptions of this database by name, with their tables, workers and error counts."""
    version = connection.info.server_version
    rows = select(connection, "subscriptions_16" if version >= 160000 else "subscriptions")
    workers = {row["oid"]: row["pid"] for row in select(connection, "subscription_workers")}
    errors = {row["oid"]: row for row in select(connection, "subscription_errors")} if version >= 150000 else {}
    tables_of = select(connection, "subscription_tables")
    return {row["name"]: _subscription(row, workers, errors, tables_of) for row in rows}


def _subscription(
    row: dict[str, Any], workers: Mapping[int, int], errors: Mapping[int, Any], tables_of: Sequence[dict[str, Any]]
) -> Subscription:
    oid = row["oid"]
    counts = errors.get(oid) or {}
    return Subscription(
        **_frozen(row), worker_pid=workers.get(oid),
        apply_errors=counts.get("apply_errors") or 0, sync_errors=counts.get("sync_errors") or 0,
        tables=tuple((t["schema"], t["name"], t["state"], t["since"]) for t in tables_of if t["oid"] == oid),
    )  # fmt: skip


def own_tables(connection: psycopg.Connection, schema: str) -> tuple[bool, bool, frozenset[str]]:
    """Look into the audit's own schema.

    Returns:
        Whether it exists, whether the session's role may change it, and the relations in it.
    """
    rows = select(connection, "own_tables", {"schema": schema})
    return (True, rows[0]["owned"], frozenset(rows[0]["tables"])) if rows else (False, True, frozenset())


def _frozen(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
