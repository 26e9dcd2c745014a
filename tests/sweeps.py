"""Sweeps of a test's tables by sessions that are kept from one to the next."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from comparators.mapping import NO_MAPPING, Mapping
from comparators.tables import TablePair
from samplers.anchors import Anchors
from samplers.connections import connect
from samplers.pairing import Wanted, pair_tables
from samplers.passage import NoPassage, Passage, Passing
from samplers.rows import Session
from samplers.table_sweep import Step, SweepOptions, TableSweep, make_plan
from tests.helpers import Pair

QUICK = SweepOptions(seed=7, chunk_seconds=0.05, segment_rows=100, settle_seconds=0.0)
"""For tables that nobody writes to."""
SUMMED = ("rows", "verified", "different", "hot", "unverified", "differences")


@dataclass(frozen=True, slots=True)
class Sessions:
    """What a sweep needs of both sides."""

    pair: Pair
    source: Session
    target: Session
    source_asks: Session
    target_asks: Session

    def paired(self, table: str = "public.t", mapping: Mapping = NO_MAPPING, **wanted: Any) -> TablePair:
        name = table if "." in table else f"public.{table}"
        found = pair_tables(self.source, self.target, [Wanted(name, name, name, **wanted)], mapping)[name]
        assert isinstance(found, TablePair), found
        return found

    def passage(self) -> Passage:
        """Follow the pair's own subscription."""
        oid = self.pair.target.value("SELECT oid FROM pg_subscription WHERE subname = %s", self.pair.subscription)
        return Passage(self.source_asks, self.target_asks, f"pg_{oid}", self.pair.subscription)

    def sweep(
        self, table: TablePair | str = "public.t", passage: Passing | None = None, options: SweepOptions = QUICK,
        anchors: Anchors | None = None,
    ) -> TableSweep:  # fmt: skip
        paired = self.paired(table) if isinstance(table, str) else table
        plan = make_plan(self.source, paired, options)
        return TableSweep(self.source, self.target, paired, plan, passage or NoPassage(), options, anchors=anchors)

    def swept(
        self, table: TablePair | str = "public.t", passage: Passing | None = None, options: SweepOptions = QUICK,
        anchors: Anchors | None = None, between: Callable[[], object] | None = None,
    ) -> Step:  # fmt: skip
        """Sweep a table to its end and add everything up.

        Args:
            between: is called once, after the first segments were told.
        """
        sweep, steps = self.sweep(table, passage, options, anchors), list[Step]()
        while (step := sweep.step()) is not None:
            steps.append(step)
            if between is not None and step.past_last:
                between()
                between = None
        return total(steps)


def total(steps: list[Step]) -> Step:
    """Add up steps, which must tell each segment once and in order."""
    assert 0 == steps[0].first
    assert all(before.past_last == after.first for before, after in pairwise(steps))
    sums: dict[str, Any] = {
        name: sum((getattr(s, name) for s in steps[1:]), getattr(steps[0], name)) for name in SUMMED
    }
    through = min((s.through or 0) for s in steps if s.past_last > s.first)
    reason = next((s.reason for s in steps if s.reason and s.unverified + s.hot), None)
    return replace(steps[0], past_last=steps[-1].past_last, through=through, reason=reason, **sums)


@contextmanager
def sessions(pair: Pair) -> Iterator[Sessions]:
    """Open them."""
    with (
        connect(pair.source.dsn) as source, connect(pair.target.dsn) as target,
        connect(pair.source.dsn) as source_asks, connect(pair.target.dsn) as target_asks,
    ):  # fmt: skip
        yield Sessions(pair, source, target, source_asks, target_asks)


def kinds(step: Step) -> list[tuple[str, tuple[bytes | None, ...], tuple[str, ...]]]:
    """Give kind, key and columns of each difference, in order."""
    return sorted((one.kind, one.key, one.columns) for one in step.differences)
