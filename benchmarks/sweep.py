"""The row audit's sweep against the bare digest, full copies and its best peers, on the same servers in one run.

The limit is both servers running `count(*), sum(hash_record_extended(ROW(...), 0))` over the whole table at once, in
the form in which the sweep digests it, with `max_parallel_workers_per_gather = 0`. Tools take turns; the best counts.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.overhead import source_cpu_seconds
from benchmarks.report import Report
from benchmarks.sweep_data import (
    BUSY,
    ITEMS,
    SHAPES,
    Servers,
    load,
    plant_percent,
    plant_scattered,
    replicate,
    servers,
)
from benchmarks.sweep_ours import bare_digest, sweep
from benchmarks.sweep_peers import NotMeasured, Peer, copy, log, pg_comparator, reladiff, share
from benchmarks.sweep_traffic import Writer, measure_behind, measure_load, plant

PARTS = ("limit", "sweep", "copy", "reladiff", "pg_comparator", "shapes", "behind", "load")
SOURCE, TARGET = 16, 18
COMPARATOR = 15
"""The newest server that Debian 12 has pg_comparator's extension for."""
MEGABYTES = 200


@dataclass(frozen=True, slots=True)
class Took:
    """One turn of one tool."""

    seconds: float
    """Of the whole process, as a user waits for it."""
    keys: frozenset[str] = frozenset()
    """Of the rows that it reported."""
    counted: int = 0
    """Rows that it only counted besides."""
    inside: float = 0.0
    """Of a sweep without the start of its interpreter."""
    peak_megabytes: float = 0.0
    rows: int = 0
    unverified: int = 0
    server_cpu_seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.seconds:8.2f} s {self.inside:8.2f} s inside {self.peak_megabytes:5.0f} MB"


Tool = Callable[[], Took]


class Contest:
    """Tools that take turns at one table, in the states that it is put into one after the other."""

    def __init__(self, report: Report, sides: Servers, prefix: str = "") -> None:
        self._report, self._sides, self._prefix = report, sides, prefix
        self.best: dict[tuple[str, str], Took] = {}
        """By state of the table and name of the tool."""

    def turns(self, state: str, tools: Mapping[str, Tool], count: int, planted: Iterable[str] = ()) -> None:
        """Let each tool take its turns, and keep its best one."""
        left = dict(tools)
        for _ in range(count):
            for name in list(left):
                try:
                    took = self._turn(left[name])
                except NotMeasured as reason:
                    self._report.not_measured[f"{self._prefix}{state}_{name}"] = str(reason)
                    self.best.pop((state, name), None)
                    del left[name]
                    continue
                log(f"{self._prefix + state:24} {name:15} {took}")
                known = self.best.get((state, name), took)
                self.best[state, name] = min(took, known, key=lambda one: one.inside or one.seconds)
        for name in left:
            self._write(state, name, set(planted))

    def _turn(self, tool: Tool) -> Took:
        before = self._server_cpu()
        took = tool()
        return replace(took, server_cpu_seconds=self._server_cpu() - before)

    def _server_cpu(self) -> float:
        return sum(map(source_cpu_seconds, self._sides.both))

    def _write(self, state: str, name: str, planted: set[str]) -> None:
        took, figures = self.best[state, name], self._report.figures
        figures[f"{self._prefix}{state}_{name}_s"] = took.seconds
        figures[f"{self._prefix}{state}_{name}_server_cpu_s"] = took.server_cpu_seconds
        if took.peak_megabytes:
            figures[f"{self._prefix}{state}_{name}_peak_mb"] = took.peak_megabytes
        if planted:
            figures[f"{self._prefix}{state}_{name}_found_share"] = share(took.keys, planted, took.counted)
        elif took.keys:
            figures[f"{self._prefix}{state}_{name}_false"] = len(took.keys)

    def seconds(self, state: str, *names: str) -> float | None:
        """Give the best of some tools, as a whole process."""
        return min((self.best[state, name].seconds for name in names if (state, name) in self.best), default=None)


def ours(sides: Servers, table: str) -> Tool:
    def turn() -> Took:
        swept = sweep(sides, table)
        counted = swept.different - len(swept.keys)
        ran, unverified = swept.ran, swept.unverified + swept.hot
        return Took(ran.seconds, swept.keys, counted, swept.seconds, ran.peak_megabytes, swept.rows, unverified)

    return turn


def limit(sides: Servers, table: str) -> Tool:
    digest = bare_digest(sides, table)

    def turn() -> Took:
        seconds, rows = digest.run(sides)
        return Took(seconds, inside=seconds, rows=rows)

    return turn


def asked(sides: Servers, peers: Mapping[str, Peer]) -> dict[str, Tool]:
    """Let peers take part in a contest."""

    def tool(peer: Peer) -> Tool:
        def turn() -> Took:
            answer = peer(sides, ITEMS.name)
            return Took(answer.ran.seconds, answer.keys, peak_megabytes=answer.ran.peak_megabytes)

        return turn

    return {name: tool(peer) for name, peer in peers.items()}


def measure_items(sides: Servers, peers: Mapping[str, Peer], args: argparse.Namespace, report: Report) -> None:
    """Compare the large table when it is the same on both sides, with 100 differences, and with 1 % differing."""
    contest = Contest(report, sides)
    compare = ({"sweep": ours(sides, ITEMS.name)} if "sweep" in args.only else {}) | asked(sides, peers)
    only_clean: dict[str, Tool] = {"limit": limit(sides, ITEMS.name)} if "limit" in args.only else {}
    if "copy" in args.only:
        only_clean["copy"] = lambda: Took(copy(sides, ITEMS.name))
    contest.turns("clean", only_clean | compare, args.repeats)
    planted = plant_scattered(sides, args.rows)
    contest.turns("scattered", compare, args.repeats, planted)
    planted |= plant_percent(sides)
    contest.turns("percent", compare, 1, planted)
    judge_items(contest, args, report)


def judge_items(contest: Contest, args: argparse.Namespace, report: Report) -> None:
    """Hold the sweep against everything that was asked for."""
    if "sweep" not in args.only:
        return
    judge_sweep(contest, report)
    clean = contest.seconds("clean", "sweep")
    if "limit" in args.only:
        judge_limit(contest, report)
    if "reladiff" in args.only:
        for state in ("clean", "scattered"):
            peer = contest.seconds(state, "reladiff", "reladiff_tuned")
            report.ratio(f"{state}_vs_reladiff", over(peer, contest.seconds(state, "sweep")), 4.0)
    if "copy" in args.only:
        report.ratio("clean_vs_copy", over(contest.seconds("clean", "copy"), clean), 1.0)


def judge_limit(contest: Contest, report: Report) -> None:
    """Hold the clean sweep against the bare digest: its time, and what it asks of the servers' processors."""
    bare, swept = contest.best["clean", "limit"], contest.best["clean", "sweep"]
    report.figures["limit_rows_per_second"] = bare.rows / bare.seconds
    report.figures["clean_server_cpu_vs_limit"] = bare.server_cpu_seconds / swept.server_cpu_seconds
    report.ratio("clean_vs_limit", bare.seconds / swept.inside, 0.85)


def judge_sweep(contest: Contest, report: Report) -> None:
    """Hold the sweep against itself and against what was planted."""
    clean, scattered = contest.best["clean", "sweep"], contest.best["scattered", "sweep"]
    report.figures["clean_sweep_inside_s"] = clean.inside
    report.figures["clean_sweep_rows_per_second"] = clean.rows / clean.inside
    report.ratio("clean_false_differences", len(clean.keys), 0, "lower")
    report.ratio("scattered_vs_clean", scattered.inside / clean.inside, 1.3, "lower")
    for state in ("scattered", "percent"):
        report.ratio(f"{state}_found_share", report.figures[f"{state}_sweep_found_share"], 1.0)
    sweeps = [took for (_, name), took in contest.best.items() if name == "sweep"]
    report.ratio("sweep_unverified_rows", max(took.unverified for took in sweeps), 0, "lower")
    report.ratio("sweep_peak_megabytes", max(took.peak_megabytes for took in sweeps), MEGABYTES, "lower")


def over(left: float | None, right: float | None) -> float | None:
    """Divide what was measured."""
    return left / right if left is not None and right else None


def measure_comparator(args: argparse.Namespace, report: Report) -> None:
    """Hold the sweep against pg_comparator, on servers that have its extension."""
    states = ("clean", "scattered")
    for state in states:
        report.ratio(f"{state}_vs_pg_comparator", None, 2.0)
    with servers(COMPARATOR, COMPARATOR) as sides:
        peers = pg_comparator(sides)
        log(f"loading {args.rows} rows on two servers of PostgreSQL {COMPARATOR}")
        load(sides, ITEMS, args.rows)
        replicate(sides, ITEMS)
        contest = Contest(report, sides, f"pg{COMPARATOR}_")
        tools = asked(sides, peers) | {"sweep": ours(sides, ITEMS.name)}
        contest.turns("clean", tools, args.repeats)
        planted = plant_scattered(sides, args.rows)
        contest.turns("scattered", tools, args.repeats, planted)
        contest.turns("percent", tools, 1, planted | plant_percent(sides))
    for state in states:
        ratio = over(contest.seconds(state, "pg_comparator"), contest.seconds(state, "sweep"))
        report.ratio(f"{state}_vs_pg_comparator", ratio, 2.0)


def measure_shapes(sides: Servers, args: argparse.Namespace, report: Report) -> None:
    """Sweep tables of other shapes, each beside its own limit."""
    for shape in SHAPES:
        load(sides, shape, args.rows)
        replicate(sides, shape)
        contest = Contest(report, sides, f"{shape.name}_")
        contest.turns("clean", {"limit": limit(sides, shape.name), "sweep": ours(sides, shape.name)}, args.repeats)
        bare, swept = contest.best["clean", "limit"], contest.best["clean", "sweep"]
        report.figures |= {
            f"{shape.name}_rows": swept.rows,
            f"{shape.name}_rows_per_second": swept.rows / swept.inside,
            f"{shape.name}_vs_limit": bare.seconds / swept.inside,
        }


def measure_traffic(
    sides: Servers, peers: Mapping[str, Peer], folder: Path, args: argparse.Namespace, report: Report
) -> None:
    """Sweep a table that is written to."""
    rows = BUSY.rows(args.rows)
    load(sides, BUSY, args.rows)
    replicate(sides, BUSY)
    writer, planted = Writer(sides, folder, rows), plant(sides, rows)
    if "behind" in args.only:
        measure_behind(sides, writer, planted, peers, args.seconds, report)
    if "load" in args.only:
        measure_load(sides, writer, planted, args.seconds, report)


def measure(args: argparse.Namespace, report: Report, folder: Path) -> None:
    """Measure the parts that are asked for."""
    peers: dict[str, Peer] = {}
    if "reladiff" in args.only:
        try:
            peers = reladiff(folder)
        except NotMeasured as reason:
            report.not_measured["reladiff"] = str(reason)
    with servers(SOURCE, TARGET) as sides:
        if not {"limit", "sweep", "copy", "reladiff"}.isdisjoint(args.only):
            log(f"loading {args.rows} rows on both sides")
            load(sides, ITEMS, args.rows)
            replicate(sides, ITEMS)
            measure_items(sides, peers, args, report)
        if "shapes" in args.only:
            measure_shapes(sides, args, report)
        if not {"behind", "load"}.isdisjoint(args.only):
            measure_traffic(sides, peers, folder, args, report)
    if "pg_comparator" in args.only:
        try:
            measure_comparator(args, report)
        except NotMeasured as reason:
            report.not_measured["pg_comparator"] = str(reason)


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="benchmarks.sweep", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print only the JSON line")
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the large table; the others take their share")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each tool")
    parser.add_argument("--seconds", type=int, default=40, help="of writes, where there are any")
    parser.add_argument("--only", type=parts, default=PARTS, metavar="NAME,...", help=f"of {', '.join(PARTS)}")
    return parser.parse_args(words)


def parts(text: str) -> tuple[str, ...]:
    """Read what to measure."""
    names = tuple(text.split(","))
    if unknown := sorted(set(names) - set(PARTS)):
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not among {', '.join(PARTS)}")
    return names


def main(words: list[str] | None = None) -> None:
    args = arguments(words)
    report = Report("sweep", {"rows": float(args.rows)})
    with tempfile.TemporaryDirectory() as folder:
        measure(args, report, Path(folder))
    report.show(args.json)


if __name__ == "__main__":
    main()
