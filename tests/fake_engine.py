"""Tables that are swept without servers: an engine whose steps a test writes down."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from auditor.sweep_engine import Tables
from comparators.segments import Plan
from comparators.tables import DigestColumn, Form, KeyColumn, Mode, SideTable, Skipped, TablePair


def pair_of(name: str, *, key: bool = True, columns: Sequence[str] = ("id", "total")) -> TablePair:
    """Describe a table as both sides can read it."""
    schema, _, table = name.partition(".")
    digest = tuple(DigestColumn(column, f'"{column}"', Form.NATIVE) for column in columns)
    side = SideTable(schema, table, digest, (KeyColumn("id", '"id"', "bigint"),) if key else ())
    return TablePair(name, side, side, Mode.RANGES if key else Mode.BUCKETS)


@dataclass(frozen=True, slots=True)
class FakeDifference:
    """A row that differs."""

    kind: str = "row-different"
    key: tuple[bytes | None, ...] = (b"1",)
    columns: tuple[str, ...] = ("total",)
    source_hash: int | None = 1
    target_hash: int | None = 2
    source_position: int = 500
    target_position: int | None = 900
    xmin: str | None = "7"
    count: int = 1


@dataclass(frozen=True, slots=True)
class FakeStep:
    """What an engine tells of some segments."""

    first: int = 0
    past_last: int = 1
    rows: int = 10
    verified: int = 10
    different: int = 0
    hot: int = 0
    unverified: int = 0
    through: int | None = 1000
    started_at: float = 1_900_000_000.0
    reason: str | None = None
    differences: tuple[FakeDifference, ...] = ()


@dataclass(slots=True)
class FakeEngine:
    """Gives the tables and steps that a test put in; a step may also be an error, which is raised."""

    pairs: dict[str, TablePair | Skipped] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    steps: dict[str, list[Any]] = field(default_factory=dict)
    """Steps or errors of each table, one per segment; a table without any is equal."""
    segments: int = 3
    open: int = 0
    """Tables whose sessions are open."""
    started: list[tuple[str, int]] = field(default_factory=list)
    """Table and first segment of each sweep that was begun."""
    reading: Callable[[str, int], None] = lambda table, segment: None
    """Called before each step."""

    def tables(self) -> Tables:
        return Tables(dict(self.pairs), dict(self.waiting))

    @contextmanager
    def opened(self, pair: TablePair, baseline: Mapping[str, Any]) -> Iterator["FakeTable"]:
        self.open += 1
        yield FakeTable(self, pair.name)
        self.open -= 1


@dataclass(slots=True)
class FakeTable:
    engine: FakeEngine
    name: str

    def plan(self) -> Plan:
        return Plan(tuple((str(number).encode(),) for number in range(self.engine.segments - 1)))

    def sweep(self, plan: Plan, start: int) -> "FakeSweep":
        self.engine.started.append((self.name, start))
        return FakeSweep(self.engine, self.name, plan.segments, start)


@dataclass(slots=True)
class FakeSweep:
    engine: FakeEngine
    name: str
    segments: int
    position: int

    def step(self) -> FakeStep | None:
        if self.position >= self.segments:
            return None
        self.engine.reading(self.name, self.position)
        written = self.engine.steps.get(self.name, [])
        found = written[self.position] if self.position < len(written) else FakeStep()
        if isinstance(found, BaseException):
            raise found
        self.position += 1
        return FakeStep(**{**_fields(found), "first": self.position - 1, "past_last": self.position})


def _fields(step: FakeStep) -> dict[str, Any]:
    return {name: getattr(step, name) for name in FakeStep.__slots__}


def calm() -> dict[str, float | None]:
    """Give the load of a source on which nobody works."""
    return {"active-sessions": 0.0, "replica-lag-ms": 0.0, "lock-waits": 0.0, "statement-seconds": 0.0}


class Gate:
    """Lets a test hold a sweep at one place."""

    def __init__(self, table: str, segment: int) -> None:
        self._place = (table, segment)
        self.reached, self.open = threading.Event(), threading.Event()

    def __call__(self, table: str, segment: int) -> None:
        if (table, segment) == self._place:
            self.reached.set()
            assert self.open.wait(20)
