"""Columns: there, of a type that holds the values, filled alike."""

from collections.abc import Iterator

from comparators.checks.column_types import holds
from comparators.checks.judges import Grade, graded, in_shape
from comparators.checks.schema import Both, Column
from comparators.preflight import Item, ItemStatus, found

BLOCKS, WARN = ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.WARN


def _columns(both: Both) -> tuple[dict[tuple[str, str], Column], dict[tuple[str, str], Column]]:
    """Give both sides' columns of the tables that both have, by table and name."""
    source, target = (
        {(column.table, column.name): column for column in side.columns if column.table in both.common}
        for side in (both.source, both.target)
    )
    return source, target


def _pairs(both: Both) -> Iterator[tuple[Column, Column]]:
    source, target = _columns(both)
    return ((column, target[key]) for key, column in source.items() if key in target)


def _present(name: str, both: Both) -> Item:
    source, target = _columns(both)
    missing = [column for key, column in source.items() if key not in target]
    carried = {column.full_name for column in missing if _carried(both, column)}
    extra = [column for key, column in target.items() if key not in source]
    return graded(
        name,
        "both sides have the same",
        Grade(BLOCKS, carried, "the target has no such column, and the source sends it",
              "on the target: ALTER TABLE SCHEMA.TABLE ADD COLUMN ..., then let the rows be copied again"),
        Grade(BLOCKS, {column.full_name for column in extra if column.not_null and not column.filled},
              "only the target has these columns, and they refuse rows that do not fill them",
              "on the target: ALTER TABLE SCHEMA.TABLE ALTER COLUMN NAME DROP NOT NULL, or drop the column"),
        Grade(WARN, {column.full_name for column in missing} - carried,
              "columns that are not sent are missing on the target", "add them on the target before the cutover"),
        Grade(WARN, {column.full_name for column in extra if column.filled or not column.not_null},
              "only the target has these columns", "drop them on the target, or add them on the source"),
    )  # fmt: skip


def _carried(both: Both, column: Column) -> bool:
    """Say whether publications send a column; a generated one is computed on each side."""
    shown = both.published.get(both.travels_as(column.table))
    listed = shown.columns if shown is not None else None
    return column.name in listed if listed is not None else column.generated is None


def _types(name: str, both: Both) -> Item:
    differing = [(one, other) for one, other in _pairs(both) if one.type != other.type]
    narrower = {_both(one, other) for one, other in differing if not holds(one.type, other.type)}
    return graded(
        name,
        "the same on both sides",
        Grade(BLOCKS, narrower, "the type on the target may not hold every value, or prints it otherwise",
              "on the target: ALTER TABLE SCHEMA.TABLE ALTER COLUMN NAME TYPE ..., as on the source"),
        Grade(WARN, {_both(one, other) for one, other in differing} - narrower,
              "the type on the target is wider", "make sure that the application reads the wider type"),
    )  # fmt: skip


def _both(one: Column, other: Column) -> str:
    return f"{one.full_name} ({one.type}, on the target {other.type})"


def _nullability(name: str, both: Both) -> Item:
    pairs = list(_pairs(both))
    return graded(
        name,
        "the same on both sides",
        Grade(BLOCKS, {one.full_name for one, other in pairs if other.not_null and not one.not_null},
              "the target refuses NULL where the source allows it",
              "on the target: ALTER TABLE SCHEMA.TABLE ALTER COLUMN NAME DROP NOT NULL"),
        Grade(WARN, {one.full_name for one, other in pairs if one.not_null and not other.not_null},
              "the target allows NULL where the source refuses it",
              "on the target: ALTER TABLE SCHEMA.TABLE ALTER COLUMN NAME SET NOT NULL"),
    )  # fmt: skip


def _defaults(name: str, both: Both) -> Item:
    pairs = [(one, other) for one, other in _pairs(both) if not one.generated and not other.generated]
    missing = {one.full_name for one, other in pairs if one.filled and not other.filled}
    extra = {one.full_name for one, other in pairs if other.filled and not one.filled}
    both_filled = [(one, other) for one, other in pairs if one.filled and other.filled]
    other_text = {one.full_name for one, other in both_filled if one.default and other.default != one.default
                  and not (_numbers(one) and _numbers(other))}  # fmt: skip
    return graded(
        name,
        "the same on both sides",
        Grade(BLOCKS, missing, "the target has no default or identity: after the cutover rows get NULL or are refused",
              "on the target: ALTER TABLE SCHEMA.TABLE ALTER COLUMN NAME SET DEFAULT ..., "
              "or ADD GENERATED BY DEFAULT AS IDENTITY"),
        Grade(BLOCKS, other_text, "the target has another default: after the cutover rows get other values",
              "on the target: ALTER TABLE SCHEMA.TABLE ALTER COLUMN NAME SET DEFAULT ..., as on the source"),
        Grade(WARN, extra, "only the target has a default or identity",
              "on the target: ALTER TABLE SCHEMA.TABLE ALTER COLUMN NAME DROP DEFAULT"),
        Grade(WARN, {one.full_name for one, other in both_filled if _fed(one) != _fed(other)
                     and _numbers(one) and _numbers(other)},
              "both sides number these columns, each in another way",
              "make sure that the application does not name these sequences"),
    )  # fmt: skip


def _numbers(column: Column) -> bool:
    """Say whether a sequence fills a column, as an identity or by its default."""
    return bool(column.identity) or (column.default or "").startswith("nextval(")


def _fed(column: Column) -> tuple[str, str | None]:
    return column.identity, column.default


def _generated(name: str, both: Both) -> Item:
    differing = {one.full_name for one, other in _pairs(both) if one.generated != other.generated}
    return found(
        name, BLOCKS, differing, "generated on one side only, or by another expression",
        "on the target: drop the column and add it GENERATED ALWAYS AS (...), as on the source",
        "the same on both sides",
    )  # fmt: skip


def _collations(name: str, both: Both) -> Item:
    differing = {one.full_name for one, other in _pairs(both) if one.collation != other.collation}
    return found(
        name, WARN, differing, "the two sides order these columns by other collations",
        "on the target: ALTER TABLE SCHEMA.TABLE ALTER COLUMN NAME TYPE ... COLLATE ..., as on the source",
        "the same on both sides",
    )  # fmt: skip


def _order(name: str, both: Both) -> Item:
    source, target = _columns(both)
    shared = source.keys() & target.keys()
    there = _ordered(target, shared)
    differing = sorted(table for table, names in _ordered(source, shared).items() if names != there[table])
    if not differing:
        return Item(name, ItemStatus.OK, "the same on both sides")
    return Item(
        name, ItemStatus.OK, "a note: these tables have their columns in another order", "",
        tuple(differing[:20]), len(differing),
    )  # fmt: skip


def _ordered(columns: dict[tuple[str, str], Column], shared: set[tuple[str, str]]) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for key in sorted(shared, key=lambda key: (columns[key].table, columns[key].position)):
        names.setdefault(key[0], []).append(key[1])
    return names


_NEEDS = ("relations", "columns")
JUDGES = (
    in_shape("columns-present", "both sides have the same columns", _present, _NEEDS),
    in_shape("columns-types", "columns have the same type, or a wider one on the target", _types, _NEEDS),
    in_shape("columns-nullable", "columns allow NULL on the target wherever the source does", _nullability, _NEEDS),
    in_shape("columns-defaults", "columns have the same default or identity", _defaults, _NEEDS, overridable=True),
    in_shape("columns-generated", "the same columns are generated, by the same expression", _generated, _NEEDS),
    in_shape("columns-collation", "columns have the same collation", _collations, _NEEDS),
    in_shape("columns-order", "the order of columns, as a note: it need not be the same", _order, _NEEDS),
)
