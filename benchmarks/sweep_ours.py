"""One sweep of one table by our engine, in a process of its own: `python -m benchmarks.sweep_ours SOURCE TARGET TABLE`.

Prints one JSON line: what the steps reported, and the seconds from opening the sessions to the last step.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplers.table_sweep import Step, SweepOptions, TableSweep, make_plan

from benchmarks.processes import Ran, run
from benchmarks.sweep_data import Servers, execute
from benchmarks.sweep_peers import Digest, log
from comparators.digest_sql import row_hash
from comparators.tables import SideTable, TablePair
from samplers.connections import connect
from samplers.pairing import Wanted, pair_tables
from samplers.passage import NoPassage, Passage
from samplers.rows import Session

SUBSCRIPTION = "s"
STATEMENT_SECONDS = 600
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Swept:
    """One sweep's process, and what its steps added up to."""

    ran: Ran
    seconds: float
    rows: int
    verified: int
    hot: int
    unverified: int
    segments: int
    settled_segments: int
    longest_step: float
    reasons: tuple[str, ...]
    keys: frozenset[str]
    """Of the rows that it says differ."""


def sweep(sides: Servers, table: str) -> Swept:
    """Sweep a table once."""
    options = ["--subscription", SUBSCRIPTION] if _subscribed(sides) else []
    command = [sys.executable, "-m", __name__, sides.source.dsn(), sides.target.dsn(), table, *options]
    ran = run(command, {"PYTHONPATH": str(ROOT)})
    if ran.code:
        raise RuntimeError(f"our sweep of {table} ended with {ran.code}: {ran.errors[-2000:]}")
    answer = json.loads(ran.output.splitlines()[-1])
    swept = Swept(ran, **answer | {"keys": frozenset(answer["keys"]), "reasons": tuple(answer["reasons"])})
    if swept.unverified:
        log(f"our sweep left {swept.unverified} rows of {table} unverified: {', '.join(swept.reasons)}")
    return swept


def _subscribed(sides: Servers) -> bool:
    return bool(execute(sides.target, f"SELECT FROM pg_subscription WHERE subname = '{SUBSCRIPTION}'"))


def bare_digest(sides: Servers, table: str) -> Digest:
    """Write the limit's statements with the columns and forms that our engine would use."""
    with connect(sides.source.dsn()) as source, connect(sides.target.dsn()) as target:
        pair = _paired(source, target, table)
    if pair.sha:
        raise RuntimeError(f"these servers hash rows of {table} differently: the bare digest would be another one")
    return Digest(_bare(pair.source), _bare(pair.target))


def _bare(side: SideTable) -> str:
    row = row_hash(side, 0, sha=False).sql("postgres")
    return f"SELECT count(*), sum({row}) FROM {side.schema}.{side.name}"


def _paired(source: Session, target: Session, table: str) -> TablePair:
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
    pair = _paired(source, target, args.table)
    plan = make_plan(source, pair, options)
    reading = TableSweep(source, target, pair, plan, _passage(args), options)
    return list(iter(reading.step, None))


def _summary(steps: list[Step], seconds: float) -> dict[str, Any]:
    return {
        "seconds": seconds,
        **{name: sum(getattr(step, name) for step in steps) for name in ("rows", "verified", "hot", "unverified")},
        "segments": sum(step.past_last - step.first for step in steps),
        "settled_segments": sum(step.past_last - step.first for step in steps if not step.hot and not step.unverified),
        "longest_step": max(step.seconds for step in steps),
        "reasons": sorted({step.reason for step in steps if step.reason}),
        "keys": sorted({_text(one.key) for step in steps for one in step.differences}),
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
