"""One statement each: what `prepare` and `teardown` run, in the words in which a person could run it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from psycopg import sql

from comparators.positions import Side


class Action(Enum):
    """How a step is carried out."""

    RUN = auto()
    CREATE_SLOT = auto()
    DROP_SLOT = auto()
    REFRESH = auto()
    WAIT_APPLIED = auto()
    """Wait until every subscription of the step has applied what the source holds now."""


@dataclass(frozen=True, slots=True)
class Step:
    """One statement on one side."""

    side: Side
    what: str
    """The object and what becomes of it, for people."""
    sql: str
    action: Action = Action.RUN
    names: tuple[str, ...] = ()
    """The slot, or the subscriptions that are refreshed or waited for."""
    refused: str | None = None
    """Why the session's role cannot do it, or must not; a person can."""


def quoted(name: str) -> str:
    """Write a name, or `schema.table`, as an SQL identifier."""
    return sql.Identifier(*name.split(".", 1)).as_string(None)


def plain(name: str) -> str:
    """Write a name without a schema as an SQL identifier."""
    return sql.Identifier(name).as_string(None)


def listed(tables: Iterable[str]) -> str:
    """Write tables for a statement, in one order."""
    return ", ".join(quoted(table) for table in sorted(tables))


def literal(text: str) -> str:
    """Write a text as an SQL literal."""
    return sql.Literal(text).as_string(None)


COLUMNS = {
    "marker": "id int PRIMARY KEY, nonce bigint, written_at timestamptz",
    "canary": "id int PRIMARY KEY, body text, n bigint, at timestamptz",
}
"""Our tables; their replica identity is the primary key."""


def create_schema(side: Side, schema: str, refused: str | None) -> Step:
    return Step(side, f"schema {schema}", f"CREATE SCHEMA IF NOT EXISTS {plain(schema)}", refused=refused)


def create_table(side: Side, schema: str, name: str, refused: str | None) -> Step:
    table = f"{schema}.{name}"
    statement = f"CREATE TABLE IF NOT EXISTS {quoted(table)} ({COLUMNS[name]})"
    return Step(side, f"table {table}", statement, refused=refused)


def grant_tables(side: Side, schema: str, tables: Iterable[str], role: str) -> list[Step]:
    """Let a role write to our tables: apply does, as the subscription's owner."""
    return [
        Step(side, f"rights of {role} in {schema}", f"GRANT USAGE ON SCHEMA {plain(schema)} TO {plain(role)}"),
        Step(
            side,
            f"rights of {role} on our tables",
            f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {listed(tables)} TO {plain(role)}",
        ),
    ]


def grant_progress(role: str) -> str:
    """Write the grant that no predefined role includes."""
    functions = "pg_show_replication_origin_status(), pg_replication_origin_progress(text, boolean)"
    return f"GRANT EXECUTE ON FUNCTION {functions} TO {plain(role)}"


def refresh(subscription: str, refused: str | None) -> Step:
    statement = f"ALTER SUBSCRIPTION {plain(subscription)} REFRESH PUBLICATION WITH (copy_data = false)"
    what = f"subscription {subscription} refreshed"
    return Step(Side.TARGET, what, statement, Action.REFRESH, (subscription,), refused)


def add_tables(side: Side, publication: str, tables: Iterable[str], refused: str | None) -> Step:
    statement = f"ALTER PUBLICATION {plain(publication)} ADD TABLE {listed(tables)}"
    return Step(side, f"publication {publication} with more tables", statement, refused=refused)


def remove_tables(side: Side, publication: str, tables: Iterable[str], refused: str | None) -> Step:
    statement = f"ALTER PUBLICATION {plain(publication)} DROP TABLE {listed(tables)}"
    return Step(side, f"publication {publication} with fewer tables", statement, refused=refused)


def create_publication(publication: str, tables: Iterable[str], operations: str, refused: str | None) -> Step:
    """Write our publication on the target: changes carry the names under which the source publishes them."""
    names = listed(tables)
    for_tables = f" FOR TABLE {names}" if names else ""
    options = f"publish = {literal(operations)}, publish_via_partition_root = true"
    statement = f"CREATE PUBLICATION {plain(publication)}{for_tables} WITH ({options})"
    return Step(Side.TARGET, f"publication {publication}", statement, refused=refused)


def reset_publication(publication: str, operations: str, refused: str | None) -> Step:
    options = f"publish = {literal(operations)}, publish_via_partition_root = true"
    statement = f"ALTER PUBLICATION {plain(publication)} SET ({options})"
    return Step(Side.TARGET, f"publication {publication} as it should be", statement, refused=refused)


def create_slot(side: Side, slot: str) -> Step:
    statement = f"SELECT pg_create_logical_replication_slot({literal(slot)}, 'pgoutput')"
    return Step(side, f"slot {slot}", statement, Action.CREATE_SLOT, (slot,))


def drop_slot(side: Side, slot: str) -> Step:
    statement = f"SELECT pg_drop_replication_slot({literal(slot)})"
    return Step(side, f"slot {slot} dropped", statement, Action.DROP_SLOT, (slot,))


def drop_object(side: Side, kind: str, name: str, refused: str | None) -> Step:
    statement = f"DROP {kind.upper()} IF EXISTS {quoted(name) if kind == 'table' else plain(name)}"
    return Step(side, f"{kind} {name} dropped", statement, refused=refused)


def wait_applied(subscriptions: tuple[str, ...], refused: str | None) -> Step:
    comment = "-- wait until the target has applied everything the source has written"
    return Step(Side.SOURCE, "the target has passed our tables", comment, Action.WAIT_APPLIED, subscriptions, refused)
