"""Our engine as a contestant: a sweep in a process of its own, and the bare digest that is its limit."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from sqlglot import exp

from benchmarks.processes import Ran, run
from benchmarks.sweep_data import Servers, execute
from benchmarks.sweep_engine import paired
from benchmarks.sweep_peers import Digest, log
from comparators.digest_sql import row_hash
from comparators.tables import SideTable
from samplers.connections import connect

SUBSCRIPTION = "s"
ENGINE = "benchmarks.sweep_engine"
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
    different: int
    keys: frozenset[str]
    """Of the rows that it says differ; of very many in one step only some are told."""


def sweep(sides: Servers, table: str) -> Swept:
    """Sweep a table once."""
    options = ["--subscription", SUBSCRIPTION] if _subscribed(sides) else []
    command = [sys.executable, "-m", ENGINE, sides.source.dsn(), sides.target.dsn(), table, *options]
    ran = run(command, {"PYTHONPATH": str(ROOT)})
    if ran.code:
        raise RuntimeError(f"our sweep of {table} ended with {ran.code}: {ran.errors[-2000:]}")
    answer = json.loads(ran.output.splitlines()[-1])
    swept = Swept(ran, **answer | {"keys": frozenset(answer["keys"]), "reasons": tuple(answer["reasons"])})
    if swept.unverified:
        log(f"our sweep left {swept.unverified} rows of {table} unverified: {', '.join(swept.reasons)}")
    return swept


def _subscribed(sides: Servers) -> bool:
    return bool(execute(sides.target, f"SELECT 1 FROM pg_subscription WHERE subname = '{SUBSCRIPTION}'"))


def bare_digest(sides: Servers, table: str) -> Digest:
    """Write the limit's statements with the columns and forms that our engine would use."""
    with connect(sides.source.dsn()) as source, connect(sides.target.dsn()) as target:
        pair = paired(source, target, table)
    if pair.sha:
        raise RuntimeError(f"these servers hash rows of {table} differently: the bare digest would be another one")
    return Digest(_bare(pair.source), _bare(pair.target))


def _bare(side: SideTable) -> str:
    """Leave out what the sweep does to the hash afterwards."""
    calls = row_hash(side, 0, sha=False).find_all(exp.Anonymous)
    bare = next(call for call in calls if call.name == "hash_record_extended").sql("postgres")
    return f"SELECT count(*), sum({bare}) FROM {side.schema}.{side.name}"
