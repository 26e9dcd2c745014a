"""Progress of reading tables: a bar for each on a terminal, with rows, rate and time left; else a line now and then."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

LINE_SECONDS = 5.0
_LEAST_SHARE = 0.01
"""Below this much done, the catalog's estimate of the rows says more than what was read."""


class Bars(Protocol):
    """Shows how far each table is; tables are named `schema.table`."""

    def begin(self, table: str, rows: int) -> None:
        """Start a table of about so many rows; 0 is not known."""

    def advance(self, table: str, rows: int, share: float) -> None:
        """Show that so many of its rows are read, and which share of the whole table that is."""

    def end(self, table: str, said: str) -> None:
        """Finish a table, with a line that says how it ended."""


@contextmanager
def bars(*, live: bool, colours: bool, who: str) -> Iterator[Bars]:
    """Open the bars on stderr, or print lines there.

    Args:
        who: stands before each line where there is no terminal, as in `diff`.
    """
    if not live:
        yield Lines(who)
        return
    console = Console(stderr=True, no_color=not colours)
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), RateColumn(),
        TimeRemainingColumn(compact=True),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, speed_estimate_period=10) as progress:
        yield Drawn(progress)


class Drawn:
    """Bars drawn by rich."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._estimates: dict[str, int] = {}
        self._tasks: dict[str, TaskID] = {}

    def begin(self, table: str, rows: int) -> None:
        """Add a bar."""
        self._estimates[table] = rows
        self._tasks[table] = self._progress.add_task(escape(table), total=rows or None)

    def advance(self, table: str, rows: int, share: float) -> None:
        """Move a bar."""
        total = expected(rows, share, self._estimates[table])
        self._progress.update(self._tasks[table], completed=rows, total=total or None)

    def end(self, table: str, said: str) -> None:
        """Replace a bar by a line above the others."""
        self._progress.remove_task(self._tasks.pop(table))
        self._progress.console.print(Text(said))


class RateColumn(ProgressColumn):
    """Rows in a second."""

    def render(self, task: Task) -> Text:
        """Draw the rate of the last seconds."""
        return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s", style="dim")


class Lines:
    """Lines on stderr for tables that take long."""

    def __init__(self, who: str, now: Callable[[], float] = time.monotonic) -> None:
        self._who, self._now = who, now
        self._begun: dict[str, tuple[float, int]] = {}
        self._said = now()

    def begin(self, table: str, rows: int) -> None:
        """Note when the table was begun."""
        self._begun[table] = (self._now(), rows)

    def advance(self, table: str, rows: int, share: float) -> None:
        """Say how far it is, if nothing was said for a while."""
        if self._now() - self._said < LINE_SECONDS:
            return
        self._said = self._now()
        began, estimate = self._begun[table]
        rate = rows / max(self._said - began, 0.001)
        left = f"{max(expected(rows, share, estimate) - rows, 0) / rate:.0f} s left" if rows else "not known how long"
        said = f"{rows:,} rows, {share:.0%}, {rate:,.0f} rows/s, {left}"
        print(f"{self._who}: {table}: {said}", file=sys.stderr, flush=True)

    def end(self, table: str, said: str) -> None:
        """Forget the table: its result is printed with the others'."""
        self._begun.pop(table)


def expected(rows: int, share: float, estimate: int) -> int:
    """Guess how many rows a table has, by those read and which share of it they are."""
    return max(rows, int(rows / share) if share > _LEAST_SHARE else estimate)
