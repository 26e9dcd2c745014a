"""Which tables `auditor diff` compares: all that either side has, each row by exactly one pair of tables."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from comparators.errors import SettingInvalid
from comparators.mapping import Mapping as Rules
from comparators.positions import Side
from comparators.tables import Skipped
from samplers.catalog import TableShape
from samplers.survey import CONTROL_TABLES

OURS = "auditor_"
Shapes = Mapping[str, TableShape]


@dataclass(frozen=True, slots=True)
class Pairing:
    """Names of tables by how they meet, each as its own side calls it."""

    both: Mapping[str, str]
    """Source's name to target's name."""
    only_source: tuple[str, ...] = ()
    only_target: tuple[str, ...] = ()
    ours: tuple[str, ...] = ()
    """Tables of an audit's own, which differ by design."""

    @property
    def names(self) -> frozenset[str]:
        """Every name that a pattern may mean."""
        return frozenset({*self.both, *self.both.values(), *self.only_source, *self.only_target, *self.ours})


def pair_names(source: Shapes, target: Shapes, rules: Rules) -> Pairing:
    """Pair the tables of both sides by name; partitions go by their root where both sides have that.

    Args:
        rules: say what a table is called on the target.
    """
    ours = tuple(sorted(name for name in {**source, **target} if is_ours(name)))
    both, only_source = _met(source, {name: rules.target_of(name) for name in source}, target)
    back = {there: here for here, there in both.items()}
    covered = {name for name in target if not back.keys().isdisjoint(target[name].ancestors)}
    rest = {name: shape for name, shape in target.items() if name not in covered}
    _, only_target = _met(rest, {name: back.get(name, "") for name in rest}, source)
    return Pairing(
        {here: there for here, there in both.items() if here not in ours},
        tuple(name for name in only_source if name not in ours),
        tuple(name for name in only_target if name not in ours),
        ours,
    )


def is_ours(name: str) -> bool:
    """Say whether a table is an audit's marker or canary."""
    schema, _, table = name.partition(".")
    return schema.startswith(OURS) and table in CONTROL_TABLES


def _met(side: Shapes, others: Mapping[str, str], other_side: Shapes) -> tuple[dict[str, str], list[str]]:
    """Walk one side's tables, roots first.

    Returns:
        Those that the other side has, with their name there, and those that it lacks.
    """
    met: dict[str, str] = {}
    lacking: list[str] = []
    children: dict[str, list[str]] = {}
    for name, shape in side.items():
        parent = next((one for one in shape.ancestors if one in side), "")
        children.setdefault(parent, []).append(name)
    waiting = sorted(children.get("", ()), reverse=True)
    while waiting:
        name = waiting.pop()
        if others[name] in other_side:
            met[name] = others[name]
        elif any(others[below] in other_side for below in _below(name, children)):
            waiting += sorted(children[name], reverse=True)
        else:
            lacking.append(name)
    return met, lacking


def _below(name: str, children: Mapping[str, Sequence[str]]) -> Iterable[str]:
    for child in children.get(name, ()):
        yield child
        yield from _below(child, children)


def selected(pairing: Pairing, patterns: Sequence[str]) -> Pairing:
    """Keep what patterns name: `schema.table`, or a table in any schema; without patterns all but ours.

    Raises:
        SettingInvalid: a pattern names nothing; else a wrong name would look like proof.
    """
    if not patterns:
        return pairing
    for pattern in patterns:
        if not any(_names(pattern, name) for name in pairing.names):
            raise SettingInvalid(
                f"--table: {pattern!r} names no table of either side",
                hint="write schema.table as it is spelt in the database, * is a wildcard; name a partition's root",
            )

    def wanted(*names: str) -> bool:
        return any(_names(pattern, name) for pattern in patterns for name in names)

    ours = {name: name for name in pairing.ours if any(pattern == name for pattern in patterns)}
    return Pairing(
        {here: there for here, there in {**pairing.both, **ours}.items() if wanted(here, there)},
        tuple(name for name in pairing.only_source if wanted(name)),
        tuple(name for name in pairing.only_target if wanted(name)),
        tuple(name for name in pairing.ours if name not in ours),
    )


def _names(pattern: str, name: str) -> bool:
    """Only * is a wildcard: what else is one to fnmatch may stand in a name, which then would mean another table."""
    plain = pattern.replace("[", "[[]").replace("?", "[?]")
    return fnmatchcase(name, plain if "." in pattern else f"*.{plain}")


def unreadable(pairing: Pairing) -> dict[str, Skipped]:
    """Give the tables whose name does not say which of two tables is meant."""
    found = {name for pair in pairing.both.items() for name in pair if name.count(".") != 1}
    return {
        here: Skipped(here, "a schema or table whose name has a dot cannot be compared yet")
        for here, there in pairing.both.items()
        if here in found or there in found
    }


def several_in_one(pairing: Pairing, rules: Rules) -> dict[str, Skipped]:
    """Give the tables that meet another's in one table of the target, where no filter parts the rows of it."""
    meet: dict[str, list[str]] = {}
    for here, there in pairing.both.items():
        meet.setdefault(there, []).append(here)
    return {
        one: Skipped(one, f"{' and '.join(some)} meet in the target's {there}: filter it for each of them")
        for there, some in meet.items()
        for one in some
        if len(some) > 1 and any(rules.columns(each).where(Side.TARGET) is None for each in some)
    }


def told_by_parts(pairing: Pairing, source: Shapes, target: Shapes) -> dict[str, Skipped]:
    """Give the tables all of whose partitions are paired by themselves, as with tables that inherit on the other side.

    Args:
        pairing: before any pattern chose of it.
    """
    here, there = frozenset(pairing.both), frozenset(pairing.both.values())
    return {
        one: Skipped(one, "its partitions are compared one by one, as the other side does not have them below it")
        for one, other in pairing.both.items()
        if _all_of(one, source, here) or _all_of(other, target, there)
    }


def _all_of(name: str, side: Shapes, paired: frozenset[str]) -> bool:
    leaves = [part for part, shape in side.items() if name in shape.ancestors and shape.kind != "p"]
    return bool(leaves) and paired.issuperset(leaves)


def lopsided_columns(
    name: str, source: TableShape, target: TableShape, rules: Rules, published: Sequence[str] | None
) -> tuple[str, ...]:
    """List the columns that one side lacks although no rule and no publication leaves them out.

    Args:
        name: of the table on the source.
        published: the columns that its publication shows; `None`: all.
    """
    own = rules.columns(name)
    here = {column.name for column in source.columns if published is None or column.name in published}
    there = {column.name for column in target.columns}
    lacking = {column for column in here if own.target_name(column) not in there}
    extra = there - {own.target_name(column.name) for column in source.columns}
    return tuple(sorted((lacking | extra) - own.excluded))
