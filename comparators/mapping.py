"""What a source row must look like on the target where the two differ by design: renamed, cast, left out, filtered."""

from collections.abc import Iterable
from collections.abc import Mapping as Items
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from comparators.errors import SettingInvalid
from comparators.positions import Side


def _nothing() -> Items[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SideRules:
    """What one side's rows are read by; expressions are PostgreSQL's SQL over that side's own columns."""

    expressions: Items[str, str] = field(default_factory=_nothing, hash=False)
    """By the source's name of the column; it stands in the place of the bare column."""
    where: str | None = None
    """Rows that take part; `None`: all."""
    reads: Items[str, frozenset[str]] = field(default_factory=_nothing, hash=False)
    """This side's columns that a rule names, by the rule's place in the mapping file."""


@dataclass(frozen=True, slots=True)
class ColumnRules:
    """How the columns and rows of one table are paired."""

    path: str = ""
    """Place of these rules, for errors: `FILE: tables.public.orders`."""
    target: str | None = None
    """`schema.table` on the target; `None`: as on the source."""
    renamed: Items[str, str] = field(default_factory=_nothing, hash=False)
    """Source column to target column."""
    excluded: frozenset[str] = frozenset()
    """Columns that are not compared: by the source's name, or the target's where only the target has them."""
    on_source: SideRules = SideRules()
    on_target: SideRules = SideRules()

    def target_name(self, column: str) -> str:
        """Name the target's column for a column of the source."""
        return self.renamed.get(column, column)

    def expression(self, side: Side | str, column: str) -> str | None:
        """Give the SQL that stands in the place of a column on one side; `None`: the column as it is.

        Args:
            column: as the source names it, for either side.
        """
        return self._side(side).expressions.get(column)

    def where(self, side: Side | str) -> str | None:
        """Give the rows of one side that take part; `None`: all."""
        return self._side(side).where

    def check(self, source: Iterable[str], target: Iterable[str]) -> None:
        """Hold the rules against the columns that the table has on either side, before anything is read.

        Raises:
            SettingInvalid: a rule names a column that is not there, or two columns meet in one.
        """
        there = {Side.SOURCE: frozenset(source), Side.TARGET: frozenset(target)}
        for side, existing in there.items():
            for path, names in self._side(side).reads.items():
                _check_names(path, names, existing, f"the {side}")
        either = there[Side.SOURCE] | there[Side.TARGET]
        _check_names(f"{self.path}.exclude", self.excluded, either, "either side")
        self._check_meetings(there[Side.SOURCE] - self.excluded)

    def _check_meetings(self, columns: frozenset[str]) -> None:
        for column, name in self.renamed.items():
            if name in columns and self.target_name(name) == name and name != column:
                raise SettingInvalid(
                    f"{self.path}.rename.{column}: {name!r} is also the name of a column that stays",
                    hint=f"rename {name} too, or exclude it",
                )

    def _side(self, side: Side | str) -> SideRules:
        return self.on_source if Side(side) is Side.SOURCE else self.on_target


_AS_IS = ColumnRules()


@dataclass(frozen=True, slots=True)
class Mapping:
    """The rules of every table that has some, by the source's `schema.table`."""

    tables: Items[str, ColumnRules] = field(default_factory=_nothing, hash=False)

    def target_of(self, name: str) -> str:
        """Name the table on the target, `schema.table`, for a table of the source."""
        return self.columns(name).target or name

    def columns(self, name: str) -> ColumnRules:
        """Give the rules of a table; one without any is compared as it is."""
        return self.tables.get(name, _AS_IS)


NO_MAPPING = Mapping()
"""Both sides look alike."""


def _check_names(path: str, names: Iterable[str], existing: frozenset[str], where: str) -> None:
    for name in sorted(frozenset(names) - existing):
        raise SettingInvalid(
            f"{path}: {name!r} is not a column of the table on {where}",
            hint=f"columns there: {', '.join(sorted(existing))}",
        )
