"""One side of a table that is to be paired: what its catalog says, and which of its columns stands for a source's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from psycopg import Error
from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from comparators.encoding import ColumnType
from comparators.errors import SettingInvalid
from comparators.mapping import ColumnRules
from comparators.positions import Side
from samplers import catalog
from samplers.catalog import TableShape
from samplers.column_types import TableFacts, table_facts, types_of
from samplers.connections import failure
from samplers.rows import Session, fetch


@dataclass(frozen=True, slots=True)
class Half:
    """One side of a table."""

    side: Side
    session: Session
    shape: TableShape
    facts: TableFacts
    rules: ColumnRules

    def own(self, column: str) -> str:
        """Name this side's column for a column of the source."""
        return column if self.side is Side.SOURCE else self.rules.target_name(column)

    def mapped(self, column: str) -> str | None:
        """Give the mapping's expression that stands in the place of a column of the source."""
        return self.rules.expression(self.side, column)

    def filter_problem(self, condition: str) -> str | None:
        """Say why a condition that the server wrote cannot be used as we write it, or `None`.

        Whether both mean the same is the server's to say: it plans them alike.
        """
        try:
            ours = parse_one(condition, dialect="postgres").sql(dialect="postgres")
        except SqlglotError:
            return f"its row filter is not understood: {condition}"
        table = self.table.sql(dialect="postgres")
        plans = [
            fetch(self.session, f"EXPLAIN (COSTS OFF) SELECT FROM {table} WHERE {text}")
            for text in (condition, ours)
        ]
        return None if plans[0] == plans[1] else f"its row filter is not understood: {condition}"

    @property
    def table(self) -> exp.Table:
        return exp.table_(
            exp.to_identifier(self.shape.name, quoted=True), db=exp.to_identifier(self.shape.schema, quoted=True)
        )

    def types_of(self, columns: Iterable[str]) -> dict[str, ColumnType]:
        """Tell the types of this side for columns of the source, as the mapping's expressions leave them.

        Raises:
            SettingInvalid: the server refuses one of the expressions.
        """
        columns = list(columns)
        mapped = {column: text for column in columns if (text := self.mapped(column)) is not None}
        plain = {column: self.facts.types[self.own(column)] for column in columns if column not in mapped}
        return plain | (self._described(mapped) if mapped else {})

    def _described(self, texts: Mapping[str, str]) -> dict[str, ColumnType]:
        """Let the server say what expressions give."""
        oids = self._understood(exp.select(*(parse_one(text, dialect="postgres") for text in texts.values())))
        known = types_of(self.session, set(oids))
        return {column: known[oid] for column, oid in zip(texts, oids, strict=True)}

    def check_filter(self) -> None:
        """Let the server read the mapping's filter of this side.

        Raises:
            SettingInvalid: it refuses it.
        """
        if condition := self.rules.where(self.side):
            self._understood(exp.select("1").where(parse_one(condition, dialect="postgres")))

    def _understood(self, query: exp.Select) -> list[int]:
        """Ask for no row of the table, and give the types of what was asked for."""
        try:
            cursor = self.session.execute(query.from_(self.table).limit(0).sql(dialect="postgres").encode())
        except Error as error:
            state = error.sqlstate or ""
            if state[:2] not in ("22", "42") or state == "42501":
                raise failure(error, f"{self.side}: {self.shape.full_name}") from error
            raise SettingInvalid(
                f"{self.rules.path}: the {self.side} refuses it: {error.diag.message_primary}",
                hint="correct the mapping",
            ) from error
        return [column.type_code for column in cursor.description or []]


def own_rows(half: Half, other: Half) -> str | None:
    """Give the condition that leaves out the rows of tables that inherit from this one; `None`: none needed.

    Where the other side is partitioned, its root is read with all its parts, and so is ours.
    """
    if not half.facts.parent or other.shape.kind == "p":
        return None
    name = exp.cast(exp.Literal.string(half.table.sql(dialect="postgres")), "regclass", dialect="postgres")
    return exp.EQ(this=exp.column("tableoid"), expression=name).sql(dialect="postgres")


def look(session: Session, names: Iterable[str]) -> dict[str, tuple[TableShape, TableFacts]]:
    """Read what one side's catalog says of some tables, by `schema.table`; what does not exist is left out."""
    shapes = catalog.tables(session, names)
    facts = table_facts(session, [shape.relid for shape in shapes.values()])
    return {name: (shape, facts[shape.relid]) for name, shape in shapes.items() if shape.relid in facts}
