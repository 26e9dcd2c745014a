"""Where a table is cut into segments: at keys from a sample of its pages, so that planning costs next to nothing."""

from dataclasses import dataclass

from comparators.digest_sql import PAGE_ROWS, count_rows, sample_keys
from comparators.segments import Plan
from comparators.tables import Mode, TablePair
from samplers.rows import Session, fetch

MOST_SEGMENTS = 50_000
SAMPLED = 25
"""Keys sampled for each bound: pages hold neighbours, so fewer would leave the segments too uneven."""
SMALL_ROWS = 200_000
"""A table up to this size is cut exactly."""
MOST_COUNTED = 5_000_000
"""Counting ends here where the catalog does not know; segments of such a table are merely larger."""
_PAGES = """SELECT c.relkind, (pg_relation_size(c.oid) / current_setting('block_size')::bigint)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2"""


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
    statement = _sample(source, pair, rows, segment_rows) if rows > SMALL_ROWS else None
    return Plan(tuple(fetch(source, statement or sample_keys(pair.source, segment_rows))))


def _sample(source: Session, pair: TablePair, rows: int, segment_rows: int) -> str:
    """Choose how to sample: the first rows of evenly spaced pages, or random pages where a table has several files."""
    kind, size = fetch(source, _PAGES, [pair.source.schema.encode(), pair.source.name.encode()])[0]
    pages = int(size or 0)
    if kind == b"p" or pages == 0:
        percent = min(100.0 * SAMPLED / segment_rows, 100.0)
        return sample_keys(pair.source, max(round(segment_rows * percent / 100), 1), percent=percent)
    apart = max(segment_rows * pages // rows, 1)
    sampled = (pages // apart) * min(PAGE_ROWS, max(rows // pages, 1))
    return sample_keys(pair.source, max(sampled * segment_rows // rows, 1), pages=(pages, apart))


def _rows(source: Session, pair: TablePair) -> int:
    """Estimate the rows; a table that was never analysed is counted as far as it matters."""
    if pair.rows > SMALL_ROWS:
        return pair.rows
    return int(fetch(source, count_rows(pair.source, MOST_COUNTED))[0][0] or 0)
