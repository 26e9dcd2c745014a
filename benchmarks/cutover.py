"""How long a cutover holds writes and lets a client wait, with the whole chain of proof, beside a pooler's bare switch.

Real servers that write to their disks, the whole auditor at work on both ways, eight clients that write all the time.
Rounds that abort at the last moment before the commit; then rounds that go there and back: two cutovers each.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from auditor.cutover.story import Attempt
from auditor.demo.cutover.faults import End
from auditor.demo.cutover.story import LATE_ABORT, Order, Story
from auditor.demo.cutover.told import Told
from auditor.demo.cutover.world import Plan, World
from benchmarks.cutover_peer import Switched, bare_switches
from benchmarks.report import Report, arguments
from orchestrator.records import Direction, Kind
from samplers.progress import percentiles

CLIENTS = 8
PAUSE_SECONDS = 0.005


@dataclass(slots=True)
class Measured:
    """Milliseconds of every cutover."""

    held: dict[Direction, list[float]] = field(default_factory=lambda: {direction: [] for direction in Direction})
    stalls: dict[Direction, list[float]] = field(default_factory=lambda: {direction: [] for direction in Direction})
    aborts: list[float] = field(default_factory=list)
    failed: int = 0
    lost: int = 0
    unproved: int = 0

    def there_and_back(self, told: Told) -> None:
        """Count a round that went there and back."""
        self._count(told, End.ROLLED_BACK)
        for direction in Direction:
            way = told.way(direction)
            assert way is not None
            self.unproved += not way.proved
            self.held[direction].append(way.held_ms or float("inf"))
            self.stalls[direction].append(told.stalls[direction])

    def aborted(self, told: Told) -> None:
        """Count a round that was aborted while writes were held."""
        self._count(told, End.ABORTED)
        way = told.way(Direction.FORWARD)
        assert way is not None
        self.aborts.append(abort_ms(way))

    def _count(self, told: Told, end: End) -> None:
        if told.end is not end or told.dangers():
            raise RuntimeError(f"a round ended {told.end}: {told.dangers()}\n{told.log_tail}")
        self.failed += len(told.failures)
        self.lost += len(told.checked.lost)


def abort_ms(way: Attempt) -> float:
    """Give how long it took from the decision to abort until the source could be written to again."""
    decided = next(one.at for one in way.entries if one.step == "win-abort" and one.kind is Kind.INTENT)
    released = next(one.at for one in way.entries if one.step == "release-after-abort" and one.kind is Kind.DONE)
    return (released - decided).total_seconds() * 1000


def main() -> None:
    args = arguments(__doc__ or "", rounds=15, aborts=10, bare=30)
    report, measured = Report("cutover"), Measured()
    with World(Plan(durable=True), _quiet) as world:
        bare = bare_switches(world, args.bare, CLIENTS)
        for _ in range(args.aborts):
            measured.aborted(Story(world, Order(fault=LATE_ABORT, pause=PAUSE_SECONDS), _quiet).tell())
    for _ in range(args.rounds):  # a world each: after a rollback the migration's own audit begins anew
        with World(Plan(durable=True), _quiet) as world:
            measured.there_and_back(Story(world, Order(returns=True, pause=PAUSE_SECONDS), _quiet).tell())
        _say(f"held {measured.held[Direction.FORWARD][-1]:.0f} ms, back {measured.held[Direction.BACK][-1]:.0f} ms")
    _report(report, measured, bare)
    report.show(args.json)


def _report(report: Report, measured: Measured, bare: Sequence[Switched]) -> None:
    ways = {"forward": Direction.FORWARD, "rollback": Direction.BACK}
    figures = {
        **{f"{name}_held_ms": measured.held[way] for name, way in ways.items()},
        **{f"{name}_worst_stall_ms": measured.stalls[way] for name, way in ways.items()},
        "abort_ms": measured.aborts,
        "bare_held_ms": [one.held_ms for one in bare],
        "bare_worst_stall_ms": [one.stall_ms for one in bare],
    }
    for name, values in figures.items():
        p50, p99 = percentiles(values, 0.5, 0.99)
        report.figures |= {f"{name}_p50": p50 or 0, f"{name}_p99": p99 or 0, f"{name}_count": len(values)}
    report.figures["failed_transactions"] = measured.failed
    for name in ways:
        report.ratio(f"{name}_held_p50_ms", report.figures[f"{name}_held_ms_p50"], 120, "lower")
        report.ratio(f"{name}_held_p99_ms", report.figures[f"{name}_held_ms_p99"], 500, "lower")
        report.ratio(f"{name}_worst_stall_p99_ms", report.figures[f"{name}_worst_stall_ms_p99"], 750, "lower")
    report.ratio("abort_to_writable_p99_ms", report.figures["abort_ms_p99"], 250, "lower")
    report.ratio("lost_writes", measured.lost, 0, "lower")
    report.ratio("unproved_cutovers", measured.unproved, 0, "lower")
    held, peer = report.figures["forward_held_ms_p50"], report.figures["bare_held_ms_p50"]
    report.figures["held_beside_bare_pooler"] = held / peer if peer else 0


def _say(text: str) -> None:
    print(f"cutover: {text}", file=sys.stderr, flush=True)


def _quiet(text: str) -> None:
    """Keep the journal's lines out of the measurements."""


if __name__ == "__main__":
    main()
