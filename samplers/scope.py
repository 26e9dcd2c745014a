"""What is audited, and how: chosen from the catalogs of both sides, the same way wherever it is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import xxhash

from comparators.canonical import TableKey, plan_rows
from comparators.errors import NotReady
from samplers.catalog import PublishedTable, Subscription, TableShape
from samplers.pgoutput import Relation
from samplers.rows import RowSource
from samplers.settle import Pair
from samplers.wal import Route

NEVER = 1 << 62
_ALL = frozenset(b"IUDT")
_INSERTS = frozenset(b"IT")
_CODES = {"insert": ord("I"), "update": ord("U"), "delete": ord("D"), "truncate": ord("T")}


@dataclass(frozen=True, slots=True)
class AuditedTable:
    """One table of the migration as both sides know it."""

    name: str
    subscription: int
    since: int
    """Source position after which replication itself brings its rows."""
    ready: bool
    control: bool
    whole: bool
    """Every operation that the source publishes can be followed."""
    key: TableKey
    source: TableShape
    target: TableShape
    source_columns: tuple[str, ...]
    """Columns that the source publishes, in their order."""
    target_columns: tuple[str, ...]
    only_on_source: tuple[str, ...]
    only_on_target: tuple[str, ...]

    @property
    def state(self) -> str:
        """Say how far the table is audited: `audited`, `partial` (inserts only) or `skipped` (not yet)."""
        if not self.ready:
            return "skipped"
        return "audited" if self.whole else "partial"

    @property
    def reason(self) -> str | None:
        """Say why the table is not audited, or not in full."""
        if not self.ready:
            return "the initial copy is not finished"
        return None if self.whole else "without a replica identity on both sides only inserts can be followed"

    def pair(self) -> Pair:
        """Describe the table for reading its rows again on both sides, by the columns both have."""
        shared = tuple(sorted(set(self.source_columns) & set(self.target_columns)))
        return Pair(_row_source(self.source, shared), _row_source(self.target, shared))


@dataclass(frozen=True, slots=True)
class Scope:
    """Every table of the migration: audited, or left out with the reason."""

    tables: Mapping[str, AuditedTable]
    left_out: Mapping[str, tuple[str, str]]
    """Table to (`excluded` or `skipped`, reason)."""

    def records(self, judged_from: Mapping[str, int]) -> list[dict[str, Any]]:
        """Describe the scope as the records hold it.

        Args:
            judged_from: source position after which each table is judged, unless its initial copy ended later; a table
                that is not in it waits for one.
        """
        audited = [_record(table, judged_from.get(table.name)) for table in self.tables.values()]
        rest = [
            {"table": name, "state": state, "reason": reason, "subscription": None, "since": None}
            for name, (state, reason) in self.left_out.items()
        ]
        return sorted(audited + rest, key=lambda entry: str(entry["table"]))


def _record(table: AuditedTable, start: int | None) -> dict[str, Any]:
    """Describe a table as the records hold it; without a start nothing is judged of it yet."""
    state, reason = table.state, table.reason
    if table.ready and start is None:
        state, reason = "skipped", "where its audit begins is not known yet"
    since = max(table.since, start or 0)
    return {"table": table.name, "state": state, "subscription": table.subscription, "since": since, "reason": reason}


@dataclass(frozen=True, slots=True)
class Catalogs:
    """What was read from both sides at one time."""

    published: Sequence[PublishedTable]
    source: Mapping[str, TableShape]
    target: Mapping[str, TableShape]
    subscriptions: Sequence[Subscription]
    ours: Sequence[PublishedTable]
    """What our own publications on the target name."""
    source_insert: int = 0
    """End of the source's log, read after all the rest: what is committed later is seen on both sides."""
    unknown_subscriptions: tuple[str, ...] = ()
    """On this target, and not configured."""
    unknown_origins: frozenset[str] = frozenset()


def choose_scope(catalogs: Catalogs, selects: Callable[[str], bool], control_schema: str) -> Scope:
    """Choose the tables to audit.

    Args:
        selects: the configuration's include and exclude, on `schema.table`.
        control_schema: holds our own tables, always audited.
    """
    tables: dict[str, AuditedTable] = {}
    left_out: dict[str, tuple[str, str]] = {}
    published = {f"{p.schema}.{p.name}": p for p in catalogs.published}
    ours = {f"{p.schema}.{p.name}": p for p in catalogs.ours}
    owners: dict[str, list[tuple[int, str, int]]] = {}
    for number, subscription in enumerate(catalogs.subscriptions):
        for schema, name, state, since in subscription.tables:
            owners.setdefault(f"{schema}.{name}", []).append((number, state, since))
    for name in sorted(set(catalogs.source) | set(published)):
        if name not in published and _shown_by_others(name, published, catalogs):
            continue
        control = name.startswith(control_schema + ".")
        if not control and not selects(name):
            left_out[name] = ("excluded", "excluded by the configuration")
            continue
        reason = _missing(name, published, ours, owners, catalogs)
        if reason:
            left_out[name] = ("skipped", reason)
            continue
        number, state, since = owners[name][0]
        tables[name] = _audited(name, published[name], ours[name], catalogs, number, state, since, control)
    return Scope(tables, left_out)


def _shown_by_others(name: str, published: Mapping[str, Any], catalogs: Catalogs) -> bool:
    """Say whether a table's rows are published under the name of its root, or under those of its partitions."""
    shape = catalogs.source[name]
    if any(ancestor in published for ancestor in shape.ancestors):
        return True
    return shape.kind == "p" and any(name in other.ancestors for other in catalogs.source.values())


def _missing(
    name: str, published: Mapping[str, Any], ours: Mapping[str, Any], owners: Mapping[str, Any], catalogs: Catalogs
) -> str | None:
    """Say why a table cannot be audited, or `None`."""
    if name.count(".") != 1:
        return "a schema or table whose name has a dot cannot be audited yet: exclude it"
    if name not in published:
        return "not published"
    if name not in catalogs.source:
        return "its definition on the source cannot be read"
    if name not in owners:
        return "not part of the subscription: run ALTER SUBSCRIPTION ... REFRESH PUBLICATION"
    if len(owners[name]) > 1:
        return "several subscriptions bring it, and which of them a row comes by cannot be told: exclude it"
    if name not in catalogs.target:
        return "it does not exist on the target"
    if name not in ours:
        return "not in our publication on the target: run `auditor prepare` again"
    if ours[name].row_filter is not None:
        return "somebody put a row filter into our publication on the target: run `auditor teardown`, then `prepare`"
    return None


def _audited(
    name: str, published: PublishedTable, ours: PublishedTable, catalogs: Catalogs, number: int, state: str, since: int,
    control: bool,
) -> AuditedTable:  # fmt: skip
    source, target = catalogs.source[name], catalogs.target[name]
    source_columns = tuple(published.columns) if published.columns is not None else _plain(source)
    target_columns = _plain(target)
    wanted = frozenset(_CODES[o] for o in published.operations)
    key = choose_key(source, target, wanted & frozenset(_CODES[o] for o in ours.operations))
    return AuditedTable(
        name=name, subscription=number, since=since or 0, ready=state == "r", control=control,
        whole=key.operations == wanted, key=key, source=source, target=target, source_columns=source_columns,
        target_columns=target_columns,
        only_on_source=tuple(sorted({c.name for c in source.columns} - {c.name for c in target.columns})),
        only_on_target=tuple(sorted({c.name for c in target.columns} - {c.name for c in source.columns})),
    )  # fmt: skip


def _plain(shape: TableShape) -> tuple[str, ...]:
    return tuple(c.name for c in sorted(shape.columns, key=lambda c: c.attnum) if not c.generated)


def choose_key(source: TableShape, target: TableShape, operations: frozenset[int]) -> TableKey:
    """Choose the key of a table: the primary key where both old images hold it, else a shared unique identity.

    Without either the whole row is the key, and updates and deletes are followed only where both old images are whole.
    """
    left, right = _old_image(source), _old_image(target)
    candidates = [source.primary_key, *source.unique_keys]
    for columns in candidates:
        if columns and set(columns) <= left and set(columns) <= right:
            return TableKey(tuple(columns), operations)
    whole = source.identity == "f" and target.identity == "f"
    return TableKey((), operations if whole else operations & _INSERTS)


def _old_image(shape: TableShape) -> set[str]:
    """List the columns that an old row in the log shows."""
    if shape.identity == "f":
        return {column.name for column in shape.columns if not column.generated}
    return set(shape.identity_columns)


def _row_source(shape: TableShape, shared: tuple[str, ...]) -> RowSource:
    types = {column.name: column.type for column in shape.columns}
    return RowSource(shape.schema, shape.name, shared, tuple(types[name] for name in shared))


class ScopeRouter:
    """Plans the relations of one side by the scope that holds now."""

    def __init__(
        self, is_source: bool, current: Callable[[], Scope], foreign_from: Callable[[str], int], strangers: set[str]
    ) -> None:
        """Prepare to route.

        Args:
            foreign_from: own position from which a write of a table without origin is foreign.
            strangers: relations in our publication that a fresh scope did not know; kept from session to session.
        """
        self._is_source, self._current, self._foreign_from = is_source, current, foreign_from
        self._strangers = strangers
        self.unexpected = False
        """A relation does not look as the scope says: the scope should be read again."""

    def route(self, relation: Relation) -> Route | None:
        """Plan one relation; `None` leaves its rows out."""
        name = f"{relation.schema}.{relation.name}"
        table = self._current().tables.get(name)
        if table is None:
            self.unexpected = True
            return None if self._is_source else self._stranger(name, relation)
        own = [column.name for column in relation.columns]
        mine, other = table.source_columns, table.target_columns
        if not self._is_source:
            mine, other = other, mine
        self.unexpected |= tuple(own) != mine
        plan = plan_rows(name, own, other, table.key)
        seed = xxhash.xxh3_64_intdigest(name.encode())
        foreign_from = 0 if self._is_source else self._foreign_from(name)
        return Route(plan, table.subscription, seed, table.control, foreign_from)

    def _stranger(self, name: str, relation: Relation) -> Route:
        """Plan a relation of our publication on the target that is no table of the audit, such as one renamed.

        Raises:
            NotReady: it is new: read the catalogs and start again before anything is said of it.
        """
        if name not in self._strangers:
            self._strangers.add(name)
            raise NotReady(f"{name} is new in our publication on the target")
        own = [column.name for column in relation.columns]
        left_out = name in self._current().left_out
        plan = plan_rows(name, own, own, TableKey((), _ALL))
        return Route(plan, 0, xxhash.xxh3_64_intdigest(name.encode()), foreign_from=NEVER if left_out else 0)
