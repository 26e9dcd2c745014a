"""Turn what a mapping file says of its tables into rules, and refuse what has no one meaning."""

from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping as Items
from types import MappingProxyType
from typing import Any

from comparators.errors import SettingInvalid
from comparators.expressions import Expression, read_expression
from comparators.mapping import ColumnRules, Mapping, SideRules
from comparators.positions import Side

_HINT = (
    "one scalar expression over the columns of this table: operators, casts and the functions in docs/configuration.md"
)


def read_mapping(tables: Items[str, Items[str, Any]], file: str) -> Mapping:
    """Read the rules of all tables.

    Args:
        tables: by the source's `schema.table`, in the shape that the file's schema gives.
        file: for errors.
    Raises:
        SettingInvalid: names file, place, value and reason.
    """
    rules = {name: _table(f"{file}: tables.{name}", given) for name, given in tables.items()}
    return Mapping(MappingProxyType(rules))


def _table(path: str, given: Items[str, Any]) -> ColumnRules:
    renamed: dict[str, str] = given.get("rename", {})
    excluded = frozenset(given.get("exclude", ()))
    _check_renamed(path, renamed)
    _check_excluded(path, excluded, [*renamed, *given.get("cast", {})])
    return ColumnRules(
        path=path,
        target=given.get("target"),
        renamed=MappingProxyType(renamed),
        excluded=excluded,
        on_source=_side(path, given, Side.SOURCE, {name: name for name in given.get("cast", {})}),
        on_target=_side(path, given, Side.TARGET, {name: renamed.get(name, name) for name in given.get("cast", {})}),
    )


def _side(path: str, given: Items[str, Any], side: Side, own: Items[str, str]) -> SideRules:
    """Args: own: for each column that is cast, what this side calls it."""
    renamed = given.get("rename", {})
    names = renamed if side is Side.SOURCE else renamed.values()
    reads = {f"{path}.rename.{column}": frozenset({name}) for column, name in zip(renamed, names, strict=True)}
    expressions = dict(_casts(path, given.get("cast", {}), side, own))
    reads |= {f"{path}.cast.{column}.{side}": read.columns for column, read in expressions.items()}
    where = _filter(path, given.get("filter", {}), side)
    if where:
        reads[f"{path}.filter.{side}"] = where.columns
    sql = {column: read.sql for column, read in expressions.items()}
    return SideRules(MappingProxyType(sql), where.sql if where else None, MappingProxyType(reads))


def _casts(
    path: str, casts: Items[str, Items[str, str]], side: Side, own: Items[str, str]
) -> Iterator[tuple[str, Expression]]:
    for column, sides in casts.items():
        if side not in sides:
            continue
        where = f"{path}.cast.{column}.{side}"
        read = _expression(where, sides[side])
        if own[column] not in read.columns:
            raise SettingInvalid(
                f"{where}: {sides[side]!r} does not read the column {own[column]!r}, so it would prove nothing of it",
                hint=f'use the column in it, or leave it out by name: exclude: ["{column}"]',
            )
        yield column, read


def _filter(path: str, filters: Items[str, str], side: Side) -> Expression | None:
    return _expression(f"{path}.filter.{side}", filters[side]) if side in filters else None


def _expression(path: str, text: str) -> Expression:
    try:
        return read_expression(text)
    except ValueError as error:
        shown = text if len(text) <= 60 else text[:57] + "..."
        raise SettingInvalid(f"{path}: {shown!r} {error}", hint=_HINT) from None


def _check_renamed(path: str, renamed: Items[str, str]) -> None:
    for name, times in Counter(renamed.values()).items():
        if times > 1:
            both = ", ".join(sorted(column for column, target in renamed.items() if target == name))
            raise SettingInvalid(
                f"{path}.rename: {name!r} is the new name of {both}", hint="a column of the target has one source"
            )


def _check_excluded(path: str, excluded: frozenset[str], ruled: list[str]) -> None:
    for column in ruled:
        if column in excluded:
            raise SettingInvalid(
                f"{path}.exclude: {column!r} has another rule too", hint="a column is either compared or left out"
            )
