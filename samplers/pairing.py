"""Pair each table with its copy for the row audit: shared columns and their forms, a shared key, ranges or buckets."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from comparators.mapping import NO_MAPPING
from comparators.mapping import Mapping as Rules
from comparators.positions import Side
from comparators.tables import KeyColumn, SideTable, Skipped, TablePair
from samplers.catalog import TableShape
from samplers.halves import Half, look, own_rows
from samplers.handshake import Agreement, shake_hands
from samplers.paired_columns import (
    SharedColumn,
    digest_columns,
    left_out,
    published_columns,
    shape_notes,
    shared_columns,
)
from samplers.paired_keys import shared_key
from samplers.rows import Session
from samplers.scope import AuditedTable, Catalogs, Scope


@dataclass(frozen=True, slots=True)
class Wanted:
    """One table that is to be paired."""

    name: str
    """As the source publishes it, `schema.table`."""
    source: str
    """`schema.table` on the source."""
    target: str
    """`schema.table` on the target."""
    subscription: int = 0
    columns: tuple[str, ...] | None = None
    """Those that the source publishes; `None`: all but generated ones."""
    where: str | None = None
    """Rows that the source publishes; `None`: all."""
    generated: bool = False
    """Columns that the target generates are compared too; the source's are where `columns` names them."""


def wanted_of(scope: Scope, catalogs: Catalogs, mapping: Rules = NO_MAPPING) -> list[Wanted]:
    """List what a scope asks to be paired: its tables but for the audit's own, copied already or not."""
    return [wanted_table(table, catalogs, mapping) for table in scope.tables.values() if not table.control]


def wanted_table(table: AuditedTable, catalogs: Catalogs, mapping: Rules = NO_MAPPING) -> Wanted:
    """Say how one table of a scope is to be paired."""
    published = next(p for p in catalogs.published if p.full_name == table.name)
    return Wanted(
        table.name, table.name, mapping.target_of(table.name), table.subscription, published.columns,
        published.row_filter,
    )  # fmt: skip


def pair_tables(
    source: Session, target: Session, wanted: Sequence[Wanted], mapping: Rules = NO_MAPPING
) -> dict[str, TablePair | Skipped]:
    """Pair tables as both catalogs show them now.

    Args:
        source, target: sessions of `samplers.connections.connect`.
    Returns:
        By the table's name, in the order asked for; a table that cannot be read or compared is `Skipped`.
    Raises:
        SettingInvalid: the mapping does not fit the tables.
        SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
    """
    there = look(source, [one.source for one in wanted]), look(target, [one.target for one in wanted])
    found: dict[str, TablePair | Skipped | _Table] = {}
    for one in wanted:
        left, right = there[0].get(one.source), there[1].get(one.target)
        reason = _unreadable(one, left and left[0], right and right[0])
        if reason or left is None or right is None:
            found[one.name] = Skipped(one.name, reason or "it does not exist")
            continue
        rules = mapping.columns(one.name)
        halves = Half(Side.SOURCE, source, *left, rules), Half(Side.TARGET, target, *right, rules)
        found[one.name] = _shared(one, *halves)
    tables = [table for table in found.values() if isinstance(table, _Table)]
    agreement = shake_hands(source, target, _types(tables)) if tables else Agreement()
    return {n: _pair(table, agreement) if isinstance(table, _Table) else table for n, table in found.items()}


@dataclass(frozen=True, slots=True)
class _Table:
    """A table that both sides have, before the servers have shaken hands."""

    wanted: Wanted
    source: Half
    target: Half
    published: frozenset[str]
    columns: Mapping[str, SharedColumn]


def _shared(wanted: Wanted, source: Half, target: Half) -> "_Table | Skipped":
    source.rules.check(source.facts.types, target.facts.types)
    for half in (source, target):
        half.check_filter()
    published = published_columns(source, wanted.columns)
    columns = {column.name: column for column in shared_columns(source, target, published, wanted.generated)}
    if not columns:
        return Skipped(wanted.name, "the two sides have no column in common")
    if wanted.where and (problem := source.filter_problem(wanted.where)):
        return Skipped(wanted.name, f"source: {problem}")
    return _Table(wanted, source, target, published, columns)


def _types(tables: Iterable[_Table]) -> set[str]:
    kinds = [kind for table in tables for c in table.columns.values() for kind in (c.source, c.target)]
    return {kind.name for kind in kinds if kind.builtin}


def _pair(table: _Table, agreement: Agreement) -> TablePair:
    wanted, source, target = table.wanted, table.source, table.target
    columns = table.columns.values()
    key = shared_key(source, target, table.columns, agreement.one_encoding)
    notes = [f"in buckets: {key.obstacle}"] if key.obstacle else []
    notes += left_out(source, target, table.published, frozenset(table.columns))
    notes += [f"rows not published are not compared, only those with {wanted.where}"] if wanted.where else []
    notes += shape_notes(columns, agreement)
    return TablePair(
        name=wanted.name,
        source=_side(source, columns, key.source, agreement, [wanted.where, own_rows(source, target)]),
        target=_side(target, columns, key.target, agreement, [own_rows(target, source)]),
        mode=key.mode, sha=agreement.sha is not None, rows=source.facts.rows, subscription=wanted.subscription,
        notes=tuple(notes),
    )  # fmt: skip


def _side(
    half: Half, columns: Collection[SharedColumn], key: tuple[KeyColumn, ...], agreement: Agreement,
    conditions: Iterable[str | None],
) -> SideTable:  # fmt: skip
    conditions = [text for text in (*conditions, half.rules.where(half.side)) if text]
    return SideTable(
        schema=half.shape.schema, name=half.shape.name, columns=digest_columns(half, columns, agreement), key=key,
        where=" AND ".join(f"({text})" for text in conditions) or None,
    )  # fmt: skip


def _unreadable(wanted: Wanted, source: TableShape | None, target: TableShape | None) -> str | None:
    """Say why a table cannot be read on both sides, or `None`."""
    for side, name, shape in ((Side.SOURCE, wanted.source, source), (Side.TARGET, wanted.target, target)):
        if name.count(".") != 1:
            return f"{side}: a schema or table whose name has a dot cannot be audited yet: exclude it"
        if shape is None:
            return f"{side}: table {name} does not exist"
        if not shape.readable:
            return f"{side}: the role may not read {name}: grant SELECT on it and USAGE on its schema"
        if shape.row_security:
            return f"{side}: row security hides rows of {name} from the role: ALTER ROLE ... BYPASSRLS"
    if target is not None and target.unlogged:
        return f"target: {wanted.target} is unlogged: it is empty after a crash, whatever was verified before"
    return None
