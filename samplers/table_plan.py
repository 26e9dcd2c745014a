"""Where a table is cut into segments: at keys from a sample of its pages, so that planning costs next to nothing."""

from dataclasses import dataclass

from comparators.digest_sql import count_rows, sample_keys
from comparators.segments import Plan
from comparators.tables import Mode, TablePair
from samplers.question import ask
from samplers.rows import Session

MOST_SEGMENTS = 50_000
SAMPLED = 25
"""Keys sampled for each bound: pages hold neighbours, so fewer would leave the segments too uneven."""
SMALL_ROWS = 200_000
"""A table up to this size is cut exactly."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How a table is swept."""

    seed: int
    """Of the hashes; another one for each sweep, so that no accident repeats itself."""
    chunk_seconds: float = 0.3
    segment_rows: int = 2000
    depth: int = 8
    """Chunks that may wait for the target."""
    wait_seconds: float = 600.0
    """How long the target may be behind before rows are left unverified."""
    settle_seconds: float = 10.0
    """How long rows that keep changing are looked at."""


def make_plan(source: Session, pair: TablePair, options: SweepOptions) -> Plan:
    """Choose the bounds of a table's segments.

    Raises:
        SideUnavailable, StatementCancelled: ask again.
    """
    if pair.mode is Mode.BUCKETS:
        return Plan()
    rows = _rows(source, pair)
    if rows <= options.segment_rows * 2:
        return Plan()
    segment_rows = max(options.segment_rows, rows // MOST_SEGMENTS)
    percent, every = 100.0, segment_rows
    if rows > SMALL_ROWS:
        percent = min(100.0 * SAMPLED / segment_rows, 100.0)
        every = max(round(segment_rows * percent / 100), 1)
    bounds = ask(source, sample_keys(pair.source, percent, every))
    return Plan(tuple(bounds))


def _rows(source: Session, pair: TablePair) -> int:
    """Estimate the rows; a table that was never analysed is counted as far as it matters."""
    counted = int(ask(source, count_rows(pair.source, SMALL_ROWS + 1))[0][0] or 0)
    return counted if counted <= SMALL_ROWS else max(pair.rows, counted)
