"""Read rows again by their key, on either side, as the text that the server prints under pinned settings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from psycopg import Connection, pq
from psycopg.pq.abc import PGresult
from sqlglot import exp

from comparators.errors import SideUnavailable
from comparators.server_errors import wrapped

_NO_EQUALITY = frozenset({"json", "xml", "point", "polygon", "path", "line", "lseg", "box", "circle", "txid_snapshot"})
"""Types that `=` does not compare as texts are compared, or not at all."""

Text = bytes | None
Session = Connection
"""A database session, for those who only carry one from opening to reading."""


@dataclass(frozen=True, slots=True)
class RowSource:
    """A table as both sides can read it."""

    schema: str
    name: str
    columns: tuple[str, ...]
    """Columns that both sides have, by name."""
    types: tuple[str, ...]
    """Their types on this side."""


class RowVersion(NamedTuple):
    """One row as it stands: which version it is, and its texts."""

    ctid: Text
    xmin: Text
    texts: tuple[Text, ...]


def fetch(connection: Connection, statement: str, parameters: Sequence[Text] = ()) -> list[tuple[Text, ...]]:
    """Run one statement and give its rows as the server's own texts.

    Raises:
        SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
    """
    try:
        result = connection.pgconn.exec_params(statement.encode(), list(parameters))
    except Exception as error:
        raise SideUnavailable(f"the connection was lost: {error}") from error
    return texts_of(result, connection.info.host or "server")


def texts_of(result: PGresult, doing: str) -> list[tuple[Text, ...]]:
    """Give the rows of a result as the server's own texts.

    Raises:
        SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
    """
    if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
        sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE)
        # the lines after the first may repeat values
        message = result.error_message.decode(errors="replace").strip().partition("\n")[0]
        raise wrapped(message, sqlstate.decode() if sqlstate else None, doing)
    return [tuple(result.get_value(row, column) for column in range(result.nfields)) for row in range(result.ntuples)]


def _identifier(name: str) -> exp.Column:
    return exp.column(exp.to_identifier(name, quoted=True))


def _table(source: RowSource) -> exp.Table:
    return exp.table_(exp.to_identifier(source.name, quoted=True), db=exp.to_identifier(source.schema, quoted=True))


def _condition(source: RowSource, column: str, number: int, value: Text) -> exp.Expression:
    """Compare one key column with its parameter; typed where the type has a real equality, so that an index serves."""
    name = _identifier(column)
    if value is None:
        return exp.Is(this=name, expression=exp.Null())
    parameter = exp.Parameter(this=exp.Literal.number(number))
    kind = source.types[source.columns.index(column)] if column in source.columns else ""
    if kind.split("(")[0].removesuffix("[]") in _NO_EQUALITY:
        return exp.EQ(this=exp.cast(name, "text", dialect="postgres"), expression=parameter)
    return exp.EQ(this=name, expression=parameter)


def select_by_key(source: RowSource, key_columns: Sequence[str], key: Sequence[Text]) -> tuple[str, list[Text]]:
    """Write the query that reads the rows of one key, and its parameters."""
    given: list[Text] = [value for value in key if value is not None]
    conditions, number = [], 0
    for column, value in zip(key_columns, key, strict=True):
        number += value is not None
        conditions.append(_condition(source, column, number, value))
    columns = [exp.column("ctid"), exp.column("xmin"), *(_identifier(name) for name in source.columns)]
    query = exp.select(*columns).from_(_table(source)).where(*conditions).limit(1000)
    return query.sql(dialect="postgres"), given


def read_rows(
    connection: Connection, source: RowSource, key_columns: Sequence[str], key: Sequence[Text]
) -> tuple[RowVersion, ...]:
    """Read every row that has a key, in an order that does not depend on the side."""
    statement, parameters = select_by_key(source, key_columns, key)
    found = [RowVersion(row[0], row[1], row[2:]) for row in fetch(connection, statement, parameters)]
    return tuple(sorted(found, key=lambda row: [(text is not None, text or b"") for text in row.texts]))


def digest_table(connection: Connection, source: RowSource) -> tuple[Text, ...]:
    """Read the row count and an order-free digest of a whole table; the session's statement timeout bounds it."""
    row = exp.Anonymous(this="row", expressions=[_identifier(name) for name in source.columns])
    digest = exp.Anonymous(
        this="hashtextextended", expressions=[exp.cast(row, "text", dialect="postgres"), exp.Literal.number(0)]
    )
    total = exp.Sum(this=exp.cast(digest, "numeric", dialect="postgres"))
    query = exp.select(exp.Count(this=exp.Star()), total).from_(_table(source))
    return fetch(connection, query.sql(dialect="postgres"))[0]


def insert_position(connection: Connection) -> int:
    """Read where the server writes its log now."""
    value = fetch(connection, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")[0][0]
    return int(value or 0)
