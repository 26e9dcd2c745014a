"""What both sides' catalogs say of tables and what belongs to them, and which tables the move is about."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from comparators.checks.judges import Denials

TABLES = frozenset("rp")


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, view or the like, as its own database defines it."""

    name: str
    kind: str
    """`r` table, `p` partitioned, `f` foreign, `v` view, `m` materialized view."""
    unlogged: bool = False
    owner: str = ""
    row_security: bool = False
    forced: bool = False
    identity: str = "d"
    """Replica identity: `d` primary key, `i` index, `f` full, `n` nothing."""
    identified: bool = True
    """The replica identity can be used."""
    key_types: tuple[str, ...] = ()
    """Types of the primary key's columns; empty: there is none."""
    parent: str | None = None
    bound: str | None = None
    partitioned_by: str | None = None
    populated: bool = True
    of_extension: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column; its place among the others is compared nowhere but in a note."""

    table: str
    name: str
    type: str
    position: int = 0
    not_null: bool = False
    default: str | None = None
    generated: str | None = None
    identity: str = ""
    collation: str | None = None
    """Only where it is not the type's own."""

    @property
    def full_name(self) -> str:
        return f"{self.table}.{self.name}"

    @property
    def filled(self) -> bool:
        """Say whether a row that leaves the column out gets a value from the database."""
        return bool(self.default or self.generated or self.identity)


@dataclass(frozen=True, slots=True)
class Part:
    """A constraint, index, trigger, rule, policy or grant of a table."""

    table: str
    name: str
    kind: str = ""
    definition: str = ""
    sound: bool = True
    """A constraint is validated, an index valid and ready."""
    enabled: str = "O"
    """Of triggers and rules: `O` for the application, `R` while replication applies, `A` both, `D` disabled."""
    implied: bool = False
    """It exists because something else does: the index of a constraint, a partition's part of an index."""

    @property
    def full_name(self) -> str:
        return f"{self.table}.{self.name}"


@dataclass(frozen=True, slots=True)
class TypeMade:
    """A type that users made."""

    name: str
    kind: str
    members: tuple[str, ...]
    """Labels, attributes, or base type and checks."""
    tables: tuple[str, ...] = ()
    """Whose columns are of it, however deep."""


@dataclass(frozen=True, slots=True)
class Function:
    """A function that users made, named with its arguments' types."""

    name: str
    body: str
    """A digest of its text."""
    used: bool
    """By a default, a constraint, an index, a trigger or a policy."""


@dataclass(frozen=True, slots=True)
class Schema:
    """Everything read from one side."""

    relations: Mapping[str, Relation] = field(default_factory=dict)
    columns: tuple[Column, ...] = ()
    constraints: tuple[Part, ...] = ()
    indexes: tuple[Part, ...] = ()
    triggers: tuple[Part, ...] = ()
    rules: tuple[Part, ...] = ()
    policies: tuple[Part, ...] = ()
    grants: tuple[Part, ...] = ()
    event_triggers: tuple[Part, ...] = ()
    types: tuple[TypeMade, ...] = ()
    functions: tuple[Function, ...] = ()
    large_objects: int = 0
    denied: Denials = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Published:
    """How the migration's publications show a table."""

    operations: frozenset[str]
    via_root: bool = False
    columns: tuple[str, ...] | None = None
    """`None`: all of them."""
    row_filter: str | None = None


@dataclass(frozen=True)
class Both:
    """Both sides' schemas, and what the move is about."""

    source: Schema
    target: Schema
    published: Mapping[str, Published]
    selects: Callable[[str], bool] = lambda table: True

    @cached_property
    def tables(self) -> frozenset[str]:
        """Tables that the migration brings over, with the partitions and roots that they are one tree with."""
        chosen = {name for name in self.published if self.selects(name) and name in self.source.relations}
        roots = {self.root(name) for name in chosen}
        return frozenset(name for name in self.source.relations if name in chosen or self.root(name) in roots)

    @cached_property
    def inner(self) -> frozenset[str]:
        """Partitions whose rows travel under the name of their root: the target may divide it otherwise."""
        return frozenset(name for name in self.tables if self.travels_as(name) != name)

    @cached_property
    def rest(self) -> frozenset[str]:
        """Tables in the configuration's scope that the migration does not bring over."""
        return frozenset(
            name for name, relation in self.source.relations.items()
            if name not in self.tables and self.selects(self.root(name)) and not relation.of_extension
        )  # fmt: skip

    @cached_property
    def common(self) -> frozenset[str]:
        """Tables of the move that are tables on both sides."""
        return frozenset(
            name for name in self.tables if name in self.target.relations and self.target.relations[name].kind in TABLES
        )

    @cached_property
    def divided_otherwise(self) -> frozenset[str]:
        """Roots whose rows travel under their own name, and that the target partitions by something else or not."""
        roots = {self.travels_as(name) for name in self.inner}
        return frozenset(
            name for name in roots & self.common
            if self.source.relations[name].partitioned_by != self.target.relations[name].partitioned_by
        )  # fmt: skip

    def root(self, name: str) -> str:
        """Name the table at the top of a partition's tree."""
        return _up(self.source.relations, name, lambda _: True)

    def carried(self, name: str) -> bool:
        """Say whether publications show a table, under its own name or that of a root."""
        return self.travels_as(name) in self.published

    def travels_as(self, name: str) -> str:
        """Name the table that a partition's rows are published under; itself where they are not."""
        top = _up(self.source.relations, name, lambda at: at not in self.published)
        return top if top in self.published else name


def _up(relations: Mapping[str, Relation], name: str, further: Callable[[str], bool]) -> str:
    at = name
    while further(at) and at in relations and (parent := relations[at].parent) is not None:
        at = parent
    return at


def of_tables(parts: Iterable[Part], tables: frozenset[str]) -> dict[str, list[Part]]:
    """Sort the parts of some tables by table."""
    by_table: dict[str, list[Part]] = {}
    for part in parts:
        if part.table in tables:
            by_table.setdefault(part.table, []).append(part)
    return by_table


def matched(
    source: Iterable[Part], target: Iterable[Part], tables: frozenset[str]
) -> Iterator[tuple[Part | None, Part | None]]:
    """Pair what both sides have of some tables: by name, and what is left by kind and definition."""
    left, right = of_tables(source, tables), of_tables(target, tables)
    for table in sorted({*left, *right}):
        yield from _matched(left.get(table, []), right.get(table, []))


def _matched(source: list[Part], target: list[Part]) -> Iterator[tuple[Part | None, Part | None]]:
    by_name = {part.name: part for part in target}
    alone = []
    for part in source:
        other = by_name.pop(part.name, None)
        if other is None:
            alone.append(part)
        else:
            yield part, other
    spare = list(by_name.values())
    for part in alone:
        other = next((one for one in spare if (one.kind, one.definition) == (part.kind, part.definition)), None)
        if other is not None:
            spare.remove(other)
        yield part, other
    yield from ((None, other) for other in spare)
