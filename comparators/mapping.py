"""What a source row must look like on the target where the two differ by design: renamed, cast, left out, filtered."""

from collections.abc import Iterable, Mapping as Items
from dataclasses import dataclass, field
from types import MappingProxyType

from comparators.errors import SettingInvalid
from comparators.positions import Side

_NOTHING: Items[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class SideRules:
    """What one side's rows are read by; expressions are PostgreSQL's SQL over that side's own columns."""

    expressions: Items[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    """By the source's name of the column; it stands in the place of the bare column."""
    where: str | None = None
    """Rows that take part; `None`: all."""
    reads: Items[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """By path in the mapping file: this side's columns that its expressions and filter name."""


@dataclass(frozen=True, slots=True)
class ColumnRules:
    """How the columns and rows of one table are paired."""

    target: str | None = None
    """`schema.table` on the target; `None`: as on the source."""
    renamed: Items[str, str] = field(default_factory=lambda: _NOTHING, hash=False)
    """Source column to target column."""
    excluded: frozenset[str] = frozenset()
    """Columns that are not compared, by the source's name, or by the target's where only the target has them."""
    source: SideRules = SideRules()
    target_side: SideRules = SideRules()

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

    @property
    def named(self) -> frozenset[str]:
        """Columns of the source that a rule names."""
        casts = frozenset(self.source.expressions) | frozenset(self.target_side.expressions)
        return casts | frozenset(self.renamed)

    def check_columns(self, side: Side | str, columns: Iterable[str]) -> None:
        """Hold what the rules name against the columns that the table has; call it once for each side.

        Raises:
            SettingInvalid: a rule names a column that this side's table does not have.
        """
        existing = frozenset(columns)
        for path, names in self._side(side).reads.items():
            for name in sorted(names - existing):
                raise SettingInvalid(
                    f"mapping: {path}: {name!r} is not a column of the table on the {side}",
                    hint=f"columns there: {', '.join(sorted(existing))}",
                )

    def _side(self, side: Side | str) -> SideRules:
        return self.source if Side(side) is Side.SOURCE else self.target_side


_AS_IS = ColumnRules()


@dataclass(frozen=True, slots=True)
class Mapping:
    """The rules of every table that has some, by the source's `schema.table`."""

    tables: Items[str, ColumnRules] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def target_of(self, name: str) -> str:
        """Name the table on the target, `schema.table`, for a table of the source."""
        return self.columns(name).target or name

    def columns(self, name: str) -> ColumnRules:
        """Give the rules of a table; one without any is compared as it is."""
        return self.tables.get(name, _AS_IS)


NO_MAPPING = Mapping()
"""Both sides look alike."""
