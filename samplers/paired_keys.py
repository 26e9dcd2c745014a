"""Choose the key by which both sides of a table are cut and their rows are named."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlglot import exp, maybe_parse

from comparators.encoding import ColumnType, bound_type
from comparators.tables import KeyColumn, Mode
from samplers.column_types import Order, UniqueKey
from samplers.halves import Half
from samplers.paired_columns import SharedColumn

_TEXTS = frozenset({"bpchar", "name", "text"})


@dataclass(frozen=True, slots=True)
class SharedKey:
    """A key of both sides, and how the table is cut by it."""

    source: tuple[KeyColumn, ...] = ()
    target: tuple[KeyColumn, ...] = ()
    obstacle: str | None = "no primary key, nor a unique index without NULLs, that both sides have"
    """Why no range of it means the same on both sides; `None`: it does."""

    @property
    def mode(self) -> Mode:
        return Mode.BUCKETS if self.obstacle else Mode.RANGES


def shared_key(source: Half, target: Half, columns: Mapping[str, SharedColumn], one_encoding: bool) -> SharedKey:
    """Choose the first key whose ranges both sides share, else the first that both have, else none.

    Args:
        columns: that are compared, by name.
        one_encoding: both databases encode text alike.
    """
    found = [
        _joined(source, target, left, right, columns, one_encoding)
        for left in source.facts.keys if _plain(source, target, left, columns)
        for right in target.facts.keys if set(right.names) == {target.own(name) for name in left.names}
    ]  # fmt: skip
    return min(found, key=lambda key: key.obstacle is not None, default=SharedKey())


def _plain(source: Half, target: Half, key: UniqueKey, columns: Mapping[str, SharedColumn]) -> bool:
    """Say whether a key's columns are compared as they are: unique on each side, their texts are then unique too.

    Arrays are left out, as there are no arrays of arrays in which many keys could be asked for at once.
    """
    return all(
        name in columns and source.mapped(name) is None and target.mapped(name) is None
        and all(k.printer is None and k.element is None for k in (columns[name].source, columns[name].target))
        for name in key.names
    )  # fmt: skip


def _joined(
    source: Half, target: Half, left: UniqueKey, right: UniqueKey, columns: Mapping[str, SharedColumn],
    one_encoding: bool,
) -> SharedKey:  # fmt: skip
    other = {order.name: order for order in right.columns}
    pairs = [(one, other[target.own(one.name)], columns[one.name]) for one in left.columns]
    obstacles = (_obstacle(one, two, column, one_encoding) for one, two, column in pairs)
    obstacle = next((found for found in obstacles if found), None)
    if [two.name for _, two, _ in pairs] != list(right.names):
        obstacle = "the key's columns are indexed in another order on the target"
    bounds = [bound_type(column.source, column.target) for _, _, column in pairs]
    texts = [_by_text(column.source) or _by_text(column.target) for _, _, column in pairs]
    how = list(zip(pairs, bounds, texts, strict=True))
    return SharedKey(
        tuple(_column(c.name, one, b or c.source.sql, text) for (one, _, c), b, text in how),
        tuple(_column(c.name, two, b or c.target.sql, text) for (_, two, c), b, text in how),
        obstacle,
    )


def _obstacle(left: Order, right: Order, column: SharedColumn, one_encoding: bool) -> str | None:
    """Say why one column of a key is not ordered alike, or `None`."""
    order = bound_type(column.source, column.target)
    if order is None:
        kinds = sorted({column.source.full_name, column.target.full_name})
        return f"key column {column.name}: no range of {' and '.join(kinds)} is sure to mean the same on both sides"
    if order in _TEXTS and not one_encoding:
        return f"key column {column.name}: the databases encode text differently"
    if left.rule is None or left.rule != right.rule:
        return f"key column {column.name} is ordered by {left} on the source, by {right} on the target"
    return None


def _by_text(kind: ColumnType) -> bool:
    """Say whether values are found by their text: `unnest` takes composite ones apart, others' `=` is out of sight."""
    return kind.kind == "c" or (kind.kind == "b" and not kind.builtin)


def _column(name: str, order: Order, kind: str, as_text: bool) -> KeyColumn:
    expression: exp.Expr = exp.column(exp.to_identifier(order.name, quoted=True))
    if not order.own and order.collation is not None:
        expression = exp.Collate(this=expression, expression=maybe_parse(order.collation, dialect="postgres"))
    if as_text:
        expression, kind = exp.cast(expression, "text", dialect="postgres"), "text"
    return KeyColumn(name, expression.sql(dialect="postgres"), kind)
