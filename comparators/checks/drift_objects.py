"""The objects whose definitions are remembered, and one digest for each.

Names, order, statistics, owners, rights, values of sequences and replica identities are no part of it: the same
definition under another name is the same, and the rest changes no row.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from comparators.checks.schema import TABLES, Both, Part, Schema, of_tables
from comparators.checks.sequences import BothSequences

Digests = Mapping[str, str]
"""From an object, as in `columns public.orders`, to 16 hexadecimal digits."""
_OF_TABLES = ("table", "columns", "constraints", "unique_indexes", "indexes", "triggers", "rules", "policies")


@dataclass(frozen=True, slots=True)
class Observation:
    """Both sides' objects at one look."""

    source: Digests
    target: Digests
    outside: frozenset[str] = frozenset()
    """Objects known from before that are not the migration's any more, and still exist; nothing is said of them."""


def observe(both: Both, sequences: BothSequences, known: Iterable[str]) -> Observation:
    """Digest every object of the migration's tables.

    Args:
        known: objects of the baseline, which are looked for also where the publications no longer show them.
    """
    tables = _tables(both, [name.partition(" ")[2] for name in known if name.partition(" ")[0] == "table"])
    types = frozenset(made.name for made in both.source.types if both.tables.intersection(made.tables))
    source = {**_side(both.source, tables, types), **_published(both), **_sequences(sequences, source=True)}
    target = {**_side(both.target, tables, types), **_sequences(sequences, source=False)}
    outside = (name for name in known if name not in source and _outside(name, both, sequences, tables))
    return Observation(source, target, frozenset(outside))


def _tables(both: Both, known: Iterable[str]) -> frozenset[str]:
    still = {name for name in known if both.selects(_root(both, name))}
    lawful = {name for name in both.inner if both.travels_as(name) in both.divided_otherwise}
    return frozenset((both.tables | still) - lawful)


def _root(both: Both, name: str) -> str:
    """Name the root of a partition, as the target has it where the source has the partition no more."""
    if name in both.source.relations:
        return both.root(name)
    there = both.target.relations.get(name)
    return there.parent if there is not None and there.parent is not None else name


def _outside(name: str, both: Both, sequences: BothSequences, tables: frozenset[str]) -> bool:
    kind, _, object_name = name.partition(" ")
    if kind == "publication":
        return object_name not in both.source.relations or not both.selects(both.root(object_name))
    if kind == "sequence":
        return any(one.name == object_name for one in sequences.source.sequences)
    if kind == "type":
        return any(made.name == object_name for made in both.source.types)
    return object_name not in tables


def _side(schema: Schema, tables: frozenset[str], types: frozenset[str]) -> dict[str, str]:
    tables = frozenset(
        name for name in tables if name in schema.relations and schema.relations[name].kind in TABLES
    )
    members = dict(_members(schema, tables))
    made = {f"type {one.name}": _digest([(one.kind, *one.members)]) for one in schema.types if one.name in types}
    return {**{name: _digest(values) for name, values in members.items()}, **made}


def _members(schema: Schema, tables: frozenset[str]) -> Iterator[tuple[str, list[tuple[object, ...]]]]:
    for name in tables:
        it = schema.relations[name]
        yield f"table {name}", [(it.unlogged, it.row_security, it.forced, it.parent, it.bound, it.partitioned_by)]
    columns: dict[str, list[tuple[object, ...]]] = {}
    for column in schema.columns:
        if column.table in tables:
            columns.setdefault(f"columns {column.table}", []).append(
                (column.name, column.type, column.not_null, column.default, column.generated, column.identity,
                 column.collation)
            )  # fmt: skip
    yield from columns.items()
    for kind, parts in _parts(schema).items():
        for name, listed in of_tables(parts, tables).items():
            yield f"{kind} {name}", [(part.kind, part.definition, part.enabled) for part in listed]


def _parts(schema: Schema) -> dict[str, list[Part]]:
    """Sort what tables have; an index that is being built or is implied by something else does not count."""
    ready = [part for part in schema.indexes if part.sound and not part.implied]
    return {
        "constraints": list(schema.constraints),
        "unique_indexes": [part for part in ready if part.kind == "unique index"],
        "indexes": [part for part in ready if part.kind == "index"],
        "triggers": list(schema.triggers),
        "rules": list(schema.rules),
        "policies": list(schema.policies),
    }


def _published(both: Both) -> dict[str, str]:
    return {
        f"publication {name}": _digest(
            [(sorted(shown.operations), shown.via_root, sorted(shown.columns or ()), shown.columns is None,
              shown.row_filter)]
        )
        for name, shown in both.published.items() if name in both.tables
    }  # fmt: skip


def _sequences(sequences: BothSequences, source: bool) -> dict[str, str]:
    pairs = [(one.name, one if source else other) for one, other in sequences.pairs]
    return {f"sequence {name}": _digest([one.definition]) for name, one in pairs if one is not None}


def _digest(members: Iterable[tuple[object, ...]]) -> str:
    total = sum(
        int.from_bytes(hashlib.blake2b(json.dumps(member).encode(), digest_size=8).digest()) for member in members
    )
    return f"{total % (1 << 64):016x}"
