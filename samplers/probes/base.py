"""What every probe of both sides has in common: what it is asked, where it looks, what it gives back.

A probe reads and judges; it changes nothing on either side, and each of its statements is short.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg

from comparators.preflight import Item


@dataclass(frozen=True, slots=True)
class KnownSlot:
    """A slot on the source that somebody takes responsibility for."""

    owner: str
    retained_bytes: int | None = None
    """WAL that it may hold back; `None`: as much as a slot of ours."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the configuration says about the pair that probes look at."""

    migration: str
    publications: tuple[str, ...]
    subscriptions: tuple[str, ...]
    own_schema: str
    """The schema of our own objects; neither drift nor difference."""
    own_slots: Mapping[str, str]
    """Our slots by side, `source` and `target`."""
    own_publications: tuple[str, ...] = ()
    """On the target."""
    selects: Callable[[str], bool] = lambda table: True
    """Whether `schema.table` is in the scope of tables.include and tables.exclude."""
    known_slots: Mapping[str, KnownSlot] = field(default_factory=dict)
    idle_slots: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Slots by side that a cutover of the migration may have there; nobody has to read them."""
    known_writers: tuple[str, ...] = ()
    """Roles that write to the source and go through the access layer."""
    wal_budget_bytes: int = 1 << 30
    disk_bytes: Mapping[str, int] = field(default_factory=dict)
    """Bytes that databases and WAL may take on each side, where the configuration says."""


@dataclass(frozen=True, slots=True)
class Sides:
    """An open, pinned, autocommit session on each side."""

    source: psycopg.Connection
    target: psycopg.Connection


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look of a probe gave."""

    items: tuple[Item, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Numbers with the unit in their name, for conditions, metrics and charts; `None`: not known."""


class Probe(Protocol):
    """One probe. It may keep what it saw before (rates, counters); a new one begins without memory."""

    @property
    def group(self) -> str:
        """Name of its record and of its checks."""

    @property
    def every_seconds(self) -> float:
        """How often it is worth looking."""

    @property
    def looks(self) -> int:
        """How many looks, a second apart, it takes before the answer means something."""

    def look(self, sides: Sides, now: float) -> Reading:
        """Look once.

        Args:
            now: unix seconds of the auditor's clock.
        Raises:
            Retryable, NeedsOperator: nothing is known until it works; the caller records the reason.
        """
