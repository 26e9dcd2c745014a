"""One sweep of one table by our engine, in a process of its own.

`python -m benchmarks.sweep_engine SOURCE TARGET TABLE` prints one JSON line: what the steps reported, and the seconds
from opening the sessions to the last step. Nothing but the engine is imported: where peers are compared, the start of
the process counts too.
"""

import argparse
import json
import time
from typing import Any

from comparators.tables import TablePair
from samplers.connections import connect
from samplers.pairing import Wanted, pair_tables
from samplers.passage import NoPassage, Passage
from samplers.rows import Session
from samplers.table_sweep import Step, SweepOptions, TableSweep, make_plan

STATEMENT_SECONDS = 600
COUNTS = ("rows", "verified", "different", "hot", "unverified")


def paired(source: Session, target: Session, table: str) -> TablePair:
    """Pair a table of the same name on both sides."""
    name = f"public.{table}"
    pair = pair_tables(source, target, [Wanted(name, name, name)])[name]
    if not isinstance(pair, TablePair):
        raise RuntimeError(f"{table} is skipped: {pair.reason}")
    return pair


def _passage(args: argparse.Namespace) -> Passage | NoPassage:
    """Follow the subscription on sessions that nothing else uses."""
    if args.subscription is None:
        return NoPassage()
    source, target = connect(args.source), connect(args.target)
    query = "SELECT 'pg_' || oid, subslotname FROM pg_subscription WHERE subname = %s"
    row = target.execute(query, [args.subscription]).fetchone()
    assert row is not None
    return Passage(source, target, *row)


def _read(source: Session, target: Session, args: argparse.Namespace) -> list[Step]:
    options = SweepOptions(seed=args.seed)
    pair = paired(source, target, args.table)
    plan = make_plan(source, pair, options)
    reading = TableSweep(source, target, pair, plan, _passage(args), options)
    return list(iter(reading.step, None))


def _summary(steps: list[Step], seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        **{name: sum(getattr(step, name) for step in steps) for name in COUNTS},
        "segments": sum(step.past_last - step.first for step in steps),
        "settled_segments": sum(step.past_last - step.first for step in steps if not step.hot and not step.unverified),
        "longest_step": max(step.seconds for step in steps),
        "reasons": sorted({step.reason for step in steps if step.reason}),
        "keys": sorted({_text(one.key) for step in steps for one in step.differences if one.key}),
    }


def _text(key: tuple[bytes | None, ...]) -> str:
    return "|".join("" if part is None else part.decode() for part in key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("table")
    parser.add_argument("--subscription", help="by whose progress to tell what the target has applied")
    parser.add_argument("--seed", type=int, default=0x5EED)
    args = parser.parse_args()
    started = time.perf_counter()
    source, target = (connect(dsn, statement_seconds=STATEMENT_SECONDS) for dsn in (args.source, args.target))
    steps = _read(source, target, args)
    print(json.dumps(_summary(steps, time.perf_counter() - started)))


if __name__ == "__main__":
    main()
