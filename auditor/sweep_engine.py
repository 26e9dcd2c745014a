"""What the sweeper reads tables with: which there are to sweep, and one opened for a sweep."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from comparators.segments import Plan
from comparators.tables import Mode, Skipped, TablePair
from samplers.table_sweep import Step


@dataclass(frozen=True, slots=True)
class Tables:
    """Every table of the scope, by the name under which the source publishes it."""

    pairs: Mapping[str, TablePair | Skipped] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)
    """Tables that cannot be judged yet, with the reason."""

    @property
    def names(self) -> frozenset[str]:
        return frozenset((*self.pairs, *self.waiting))


class Sweep(Protocol):
    """A sweep of one table under way."""

    def step(self) -> Step | None:
        """Compare the next piece; `None`: the table is done.

        Raises:
            Retryable: begin again, with the first segment that no step has reported.
        """


class Opened(Protocol):
    """One table with its sessions."""

    def plan(self) -> Plan:
        """Cut the table into segments."""

    def sweep(self, plan: Plan, start: int) -> Sweep:
        """Begin at a segment of the plan."""


class Engine(Protocol):
    """What the sweeper reads tables with."""

    def tables(self) -> Tables:
        """Read both catalogs.

        Raises:
            Retryable, NeedsOperator: they cannot be read now.
        """

    def opened(self, pair: TablePair, baseline: Mapping[str, Any]) -> AbstractContextManager[Opened]:
        """Open the sessions of one sweep on the servers of a baseline; they are closed with the block.

        Raises:
            Retryable, NeedsOperator: a server cannot be reached, or is another one.
        """


def session_name(migration: str, mode: Mode = Mode.RANGES) -> str:
    """Name the sessions of a sweep; those whose statements take long by their nature have a name of their own."""
    return f"auditor sweep {migration}" if mode is Mode.RANGES else f"auditor sweep whole {migration}"
