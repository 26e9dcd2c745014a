"""Read one table after the other on both sides; what cannot be read to its end is never equal."""

import time
from dataclasses import replace

from auditor.bars import Bars
from auditor.diff_report import TableResult
from auditor.diff_sides import Followed, Sides
from comparators.errors import AuditorError, Retryable
from comparators.segments import Plan
from comparators.tables import Mode, TablePair
from samplers.connections import STATEMENT_SECONDS
from samplers.table_sweep import Step, SweepOptions, TableSweep, make_plan

ATTEMPTS = 5
"""Times that the same rows are tried before they are left unverified."""
RETRY_SECONDS = 1.0
WHOLE_SECONDS = 600.0
"""What a statement may take that reads a whole table, as there is no key to cut it by."""


class Reading:
    """Reads tables by the sessions of both sides."""

    def __init__(self, sides: Sides, follow: Followed, options: SweepOptions, show: Bars) -> None:
        self._sides, self._follow, self._options, self._show = sides, follow, options, show
        self._gone: str | None = None
        """Why no more table can be read."""

    def read(self, pair: TablePair, result: TableResult) -> None:
        """Read a table to its end, or note why that was not possible."""
        if self._gone is not None:
            result.stopped(self._gone)
            return
        self._show.begin(pair.name, pair.rows)
        try:
            self._read(pair, result)
        except AuditorError as error:
            result.stopped(str(error))
            self._gone = self._sides.gone
        self._show.end(pair.name, result.sentence)

    def _read(self, pair: TablePair, result: TableResult) -> None:
        """Read a table; what fails is tried again from the first rows that were not told yet.

        Raises:
            AuditorError: the rest of the table cannot be read.
        """
        plan, attempts = None, 0
        while not result.finished:
            known = result.position
            try:
                self._sides.reopen()
                self._sides.limit(WHOLE_SECONDS if pair.mode is Mode.BUCKETS else STATEMENT_SECONDS)
                plan = plan or make_plan(self._sides.source, pair, self._options)
                self._follow_steps(pair, plan, result)
            except Retryable:
                attempts = 0 if result.position > known else attempts + 1
                self._sides.close()  # whatever was in flight counts for nothing
                if attempts >= ATTEMPTS:
                    raise
                time.sleep(RETRY_SECONDS)

    def _follow_steps(self, pair: TablePair, plan: Plan, result: TableResult) -> None:
        sides = self._sides
        passage = self._follow.passage(sides, f"{pair.target.schema}.{pair.target.name}")
        if passage.anchored:
            sides.anchor(self._options.settle_seconds)
        sweep = TableSweep(
            sides.source, sides.target, pair, plan, passage, self._options, start=result.position,
            anchors=sides.anchors,
        )  # fmt: skip
        while (step := sweep.step()) is not None:
            if step.past_last > step.first:
                result.add(step)
            self._show.advance(pair.name, result.rows, result.position / plan.segments)
            if self._too_late(step):
                sides.close()  # with what is still being asked
                return
        result.finished = True

    def _too_late(self, step: Step) -> bool:
        """Wait for a target that stands still once, and not again for each part of each table."""
        if not step.unverified or not 0 < self._options.wait_seconds <= step.seconds:
            return False
        self._options = replace(self._options, wait_seconds=0.0)
        return True
