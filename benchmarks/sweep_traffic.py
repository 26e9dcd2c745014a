"""The sweep beside writes: false differences with the target a second behind, and what the source feels of it."""

import math
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.relay import Relay
from benchmarks.report import Report
from benchmarks.sweep_data import BUSY, Servers, execute
from benchmarks.sweep_ours import Swept, sweep
from benchmarks.sweep_peers import NotMeasured, Peer, log

UPDATE = "\\set id 2 * random(1, {half})\nUPDATE busy SET n = n + 1, at = at + interval '1 second' WHERE id = :id;\n"
"""Even ids only: differences are planted in odd ones."""
EVENLY = "SELECT count(*), sum(hash_record_extended(ROW(id, n, at), 0)) FROM busy WHERE id % 2 = 0"
PLANTED = 100
WAIT_SECONDS = 120.0
SETTLING_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Writer:
    """pgbench on the source, with a log of every transaction."""

    sides: Servers
    folder: Path
    rows: int

    def run(self, per_second: int, seconds: int) -> list[float]:
        """Update single rows at a rate; milliseconds of each transaction, counted from when it was due."""
        script = self.folder / "update.sql"
        script.write_text(UPDATE.format(half=self.rows // 2))
        logs = self.folder / f"log-{time.monotonic_ns()}"
        self.sides.source.run_program(
            "pgbench", "-n", "-c", "4", "-T", str(seconds), "-R", str(per_second), "-f", str(script), "-l",
            "--log-prefix", str(logs),
        )  # fmt: skip
        lines = [line for file in self.folder.glob(f"{logs.name}*") for line in file.read_text().splitlines()]
        return [int(line.split()[2]) / 1000 for line in lines]

    @contextmanager
    def beside(self, per_second: int, seconds: int) -> Iterator[Future[list[float]]]:
        """Write during a block, and to the end of the time."""
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(self.run, per_second, seconds)


def p99(times: list[float]) -> float:
    """Give the 99th percentile."""
    return sorted(times)[math.ceil(len(times) * 0.99) - 1]


def plant(sides: Servers, rows: int) -> set[str]:
    """Change rows of the target that nobody writes to, evenly spread."""
    ids = [str(1 + 2 * (number * (rows // 2) // PLANTED)) for number in range(PLANTED)]
    change = f"UPDATE busy SET n = n + 1 WHERE id IN ({', '.join(ids)}) RETURNING id::text"
    return {key for (key,) in execute(sides.target, change)}


@contextmanager
def behind(sides: Servers, seconds: float) -> Iterator[None]:
    """Have the subscriber hear everything late by a constant time."""
    with Relay(sides.source.port, seconds) as relay:
        direct = sides.source.dsn()
        late = direct.replace(f"port={sides.source.port}", f"port={relay.port}")
        execute(sides.target, f"ALTER SUBSCRIPTION s CONNECTION '{late}'")
        try:
            yield
        finally:
            execute(sides.target, f"ALTER SUBSCRIPTION s CONNECTION '{direct}'")


def caught_up(sides: Servers) -> None:
    """Wait until the target has applied all that is committed, and that both sides hold the same even rows.

    Raises:
        RuntimeError: they differ, or it took too long: nothing that was measured would mean what it should.
    """
    position = execute(sides.source, "SELECT pg_current_wal_insert_lsn()")[0][0]
    query = f"SELECT bool_or(replay_lsn >= '{position}') FROM pg_stat_replication WHERE application_name = 's'"
    deadline = time.monotonic() + WAIT_SECONDS
    while not execute(sides.source, query)[0][0]:
        if time.monotonic() > deadline:
            raise RuntimeError("the target does not catch up")
        time.sleep(0.1)
    left, right = sides.at_once(lambda server: execute(server, EVENLY))
    if left != right:
        raise RuntimeError("the rows that were written differ after the target caught up")


def _lag_milliseconds(sides: Servers) -> float:
    """Give the age of the newest write that the target shows."""
    query = "SELECT extract(epoch FROM replay_lag) * 1000 FROM pg_stat_replication WHERE application_name = 's'"
    rows = execute(sides.source, query)
    return float(rows[0][0] or 0) if rows else math.nan


def measure_behind(
    sides: Servers, writer: Writer, planted: set[str], peers: Mapping[str, Peer], seconds: int, report: Report
) -> None:
    """Sweep, and let the peers compare, under 300 updates a second while the target is one second behind."""
    found: dict[str, frozenset[str]] = {}
    lag: list[float] = []

    def during(compare: Any) -> Any:
        with writer.beside(300, seconds) as done:
            time.sleep(SETTLING_SECONDS)
            answer = compare()
            lag.append(_lag_milliseconds(sides))
            done.result()
        caught_up(sides)
        return answer

    with behind(sides, 1.0):
        caught_up(sides)
        swept: Swept = during(lambda: sweep(sides, BUSY.name))
        for name, peer in peers.items():
            try:
                found[name] = during(lambda peer=peer: peer(sides, BUSY.name)).keys
            except NotMeasured as reason:
                log(f"{name} under writes: not measured: {reason}")
    caught_up(sides)
    report.figures |= {"behind_lag_ms": max(lag), "behind_seconds": swept.seconds, **_counts("behind", swept)}
    report.figures |= {f"behind_{name}_false": len(keys - planted) for name, keys in found.items()}
    report.ratio("behind_false_differences", len(swept.keys - planted), 0, "lower")
    report.ratio("behind_found_share", len(swept.keys & planted) / len(planted), 1.0)


def measure_load(sides: Servers, writer: Writer, planted: set[str], seconds: int, report: Report) -> None:
    """Sweep again and again under 1,000 transactions a second; latencies of the source with and without."""
    alone = writer.run(1000, seconds)
    sweeps: list[Swept] = []
    with writer.beside(1000, seconds) as done:
        time.sleep(SETTLING_SECONDS)
        while not done.done():
            sweeps.append(sweep(sides, BUSY.name))
        beside = done.result()
    caught_up(sides)
    report.figures |= {
        "load_tps": len(beside) / seconds, "load_sweeps": len(sweeps), "load_source_p99_ms": p99(alone),
        "load_source_p99_ms_with_sweep": p99(beside), "load_seconds": sum(s.seconds for s in sweeps) / len(sweeps),
        **_counts("load", *sweeps),
    }  # fmt: skip
    false = sum(len(one.keys - planted) for one in sweeps)
    report.ratio("load_false_differences", false, 0, "lower")
    report.ratio("load_found_share", min(len(one.keys & planted) for one in sweeps) / len(planted), 1.0)


def _counts(part: str, *sweeps: Swept) -> dict[str, float]:
    rows, segments = (sum(getattr(one, name) for one in sweeps) for name in ("rows", "segments"))
    return {
        f"{part}_verified_share": sum(one.verified for one in sweeps) / rows,
        f"{part}_settled_share": sum(one.settled_segments for one in sweeps) / segments,
        f"{part}_hot_rows": sum(one.hot for one in sweeps) / len(sweeps),
        f"{part}_unverified_rows": sum(one.unverified for one in sweeps) / len(sweeps),
        f"{part}_longest_step_s": max(one.longest_step for one in sweeps),
    }
