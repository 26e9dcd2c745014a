"""The demo's world in the hands of a test: wait for the gate, inject, wait for what the fault promises."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from auditor.demo.faults import find
from auditor.demo.stage import insert_lsn
from auditor.demo.summary import Injected, Judged, judge
from auditor.demo.watch import Watch
from auditor.demo.world import Plan, World, merged
from comparators.positions import parse_lsn
from tests.helpers import wait_for


class Stand:
    """A spectator who may inject faults one after the other."""

    def __init__(self, world: World, watch: Watch) -> None:
        self.world, self.watch = world, watch
        self._before: list[Mapping[str, Any]] = []

    def wait_verdict(self, verdict: str, seconds: float = 150) -> None:
        """Wait until the gate says it; the message of a failure has the gate's reasons."""
        wait_for(lambda: Said(self.watch, verdict), seconds, f"the verdict {verdict}")

    def inject(self, name: str) -> Injected:
        """Inject a fault, and let what passes last for its time."""
        fault, variant = find(name)
        self._before = list(self.watch.look().findings)
        harm = fault.inject(self.world.stage, variant)
        if harm.heal is not None:
            time.sleep(fault.hold_seconds)
            harm.heal()
        return Injected(fault, variant, harm)

    def found(self, detector: str) -> list[Mapping[str, Any]]:
        """List the findings of an audit that the last harm has caused; one transaction may have several."""
        known = {finding["id"] for finding in self._before}
        places = {finding["source_position"] for finding in self._before} - {None}
        return [
            finding for finding in self.watch.picture.findings
            if finding["detector"] == detector and finding["id"] not in known
            and finding["source_position"] not in places
        ]  # fmt: skip

    def since(self, injected: Injected) -> Judged:
        """Judge as the demo does, but by what came after the fault: earlier ones may have left their mark."""
        picture = self.watch.picture
        found = tuple(self.found(injected.fault.detector))
        return judge(injected, replace(picture, findings=found), self.watch.turns)

    def expect(self, injected: Injected, seconds: float = 150) -> Judged:
        """Wait until the fault was found as it promises; the message of a failure has what was said and found."""
        told = wait_for(lambda: Told(self, injected), seconds, injected.fault.name)
        return told.judged

    def expect_in_rows(self, injected: Injected, seconds: float = 60) -> float:
        """Wait until the row audit says what the fault has left in the table; give the milliseconds that it took."""
        wait_for(lambda: TellsRows(self.watch, self._before, injected), seconds, f"{injected.fault.name} in the rows")
        return (time.time() - injected.harm.at) * 1000

    def wait_swept(self, since: float, seconds: float = 90) -> None:
        """Wait until every row of every table was read after a moment."""
        wait_for(lambda: (self.watch.picture.figures.coverage.at or 0) > since, seconds, "every table to be read")

    def drained(self) -> tuple[int, int]:
        """Wait until everything that the load wrote is resolved; return transactions (sampled, matched)."""
        with self.world.stage.on_source() as source:
            written = parse_lsn(insert_lsn(source))
        wait_for(lambda: self._resolved() >= written, 120, "the audit to resolve everything")
        figures = self.watch.look().figures
        return figures.sampled or 0, figures.matched or 0

    def _resolved(self) -> int:
        """Give the source position through which every partition is resolved."""
        records = self.world.records()
        return min((core["resolved"] for key, core in records.items() if key.startswith("core/")), default=0)


class Said:
    """Whether the gate says a verdict, with its reasons for a failing test's message."""

    def __init__(self, watch: Watch, verdict: str) -> None:
        self._said = watch.picture.verdict
        self._true = bool(self._said["verdict"] == verdict)

    def __bool__(self) -> bool:
        return self._true

    def __repr__(self) -> str:
        return f"{self._said['verdict']} because {self._said['reasons']}"


class Told:
    """Whether a fault was found as it promises, with all that was found for a failing test's message."""

    def __init__(self, spectator: Stand, injected: Injected) -> None:
        self.judged = spectator.since(injected)
        self._found = spectator.found(injected.fault.detector)
        self._said = spectator.watch.picture.verdict["reasons"]

    def __bool__(self) -> bool:
        return self.judged.as_expected

    def __repr__(self) -> str:
        return f"{self.judged.said}; found {self._found}; the gate says {self._said}"


class TellsRows:
    """Whether the row audit has said of a fault what it owes, with all that it said for a failing test's message."""

    def __init__(self, watch: Watch, before: list[Mapping[str, Any]], injected: Injected) -> None:
        self._before = {finding["id"]: finding for finding in before}
        self._said = [one for one in watch.picture.findings if one["detector"] == "row"]
        fault, harm = injected.fault, injected.harm
        told = {
            one["kind"] for one in self._said
            if one["table"] == harm.table and harm.columns <= set(one["columns"]) and self._grown(one)
        }  # fmt: skip
        self._true = told >= set(fault.in_rows)

    def _grown(self, finding: Mapping[str, Any]) -> bool:
        """Say whether more is wrong than before: a table has one finding of a kind, which is never repaired here."""
        before = self._before.get(finding["id"])
        return finding["state"] == "confirmed" and (before is None or finding["count"] > before["count"])

    def __bool__(self) -> bool:
        return self._true

    def __repr__(self) -> str:
        return f"the row audit says {self._said}; before {list(self._before.values())}"


@contextmanager
def stand(plan: Plan | None = None, *, load: bool = True) -> Iterator[Stand]:
    """Start everything, and a spectator with it; how fast a crowded machine applies is no matter of these tests."""
    plan = plan or Plan()
    patient = merged(plan.config, {"gate": {"limits": {"in-window-share": 0.0, "lag-ms": 60_000.0}}})
    with World(replace(plan, config=patient), lambda text: None) as world:
        url = f"{world.url}/v1/migrations/{world.settings.migration}"
        watch = Watch(url, world.records, lambda: world.workload.committed)
        watch.start()
        try:
            if load:
                world.workload.start()
            yield Stand(world, watch)
        finally:
            watch.stop()
