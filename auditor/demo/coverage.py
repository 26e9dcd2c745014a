"""How much of the tables the row audit has read, as a spectator of the demo sees it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from comparators.findings import position_text


@dataclass(frozen=True, slots=True)
class Coverage:
    """The last complete sweep of each table, summed up."""

    tables: int = 0
    swept: int = 0
    """Tables that were read whole at least once."""
    verified: int = 0
    unverified: int = 0
    hot: int = 0
    through: int | None = None
    """Source position through which every table is verified; `None` while one of them never was."""
    at: float | None = None
    """When the oldest part of it was read, unix seconds."""

    def age(self, now: float) -> float | None:
        """Give the age of the oldest part in seconds."""
        return None if self.at is None else max(0.0, now - self.at)

    def document(self, now: float) -> dict[str, Any]:
        """Build the part of the demo's JSON line."""
        age = self.age(now)
        return {
            "tables": self.tables,
            "tables_swept": self.swept,
            "rows_verified": self.verified,
            "rows_unverified": self.unverified,
            "rows_hot": self.hot,
            "oldest_through": position_text(self.through),
            "age_seconds": None if age is None else round(age, 1),
        }

    def line(self, now: float) -> str:
        """Say it in one line."""
        if not self.tables:
            return "no table was read yet"
        age = self.age(now)
        old = "" if age is None else f", the oldest {age:.0f} s ago"
        doubt = f", {self.unverified} not, {self.hot} keep changing" if self.unverified or self.hot else ""
        return f"{self.swept} of {self.tables} tables read whole, {self.verified} rows verified{doubt}{old}"


def coverage(records: Mapping[str, Any]) -> Coverage:
    """Sum up what the sweeper has recorded."""
    tables = [value for key, value in records.items() if key.startswith("coverage/") and value]
    swept = [table for table in tables if table.get("sweep")]
    whole = bool(tables) and len(swept) == len(tables)
    return Coverage(
        tables=len(tables),
        swept=len(swept),
        verified=_sum(swept, "verified"),
        unverified=_sum(swept, "unverified"),
        hot=_sum(swept, "hot"),
        through=_oldest(swept, "through") if whole else None,
        at=_oldest(swept, "at") if whole else None,
    )


def _sum(tables: Iterable[Mapping[str, Any]], field: str) -> int:
    return sum(table.get(field) or 0 for table in tables)


def _oldest(tables: Iterable[Mapping[str, Any]], field: str) -> Any:
    """Give the lowest value; `None` where one table has none."""
    values = [table.get(field) for table in tables]
    return None if None in values else min(value for value in values if value is not None)
