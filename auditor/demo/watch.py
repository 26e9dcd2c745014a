"""Watch the auditor from outside: its gate over HTTP, its figures in the records."""

import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from auditor.demo.coverage import Coverage, coverage
from comparators.errors import Retryable
from comparators.findings import finding_json, merged_findings

POLL_SECONDS = 0.1
FIGURES_SECONDS = 0.25
UNREACHABLE: Mapping[str, Any] = {
    "verdict": "INCONCLUSIVE",
    "conditions": [{"name": "gate", "status": "INCONCLUSIVE", "reason": "The gate does not answer"}],
    "reasons": ["The gate does not answer"],
    "sample": {},
    "needs_person": False,
}


@dataclass(frozen=True, slots=True)
class Turn:
    """From a moment on the gate said this."""

    at: float
    verdict: str
    troubles: tuple[str, ...]
    """Conditions that are not PASS."""


@dataclass(frozen=True, slots=True)
class Figures:
    """Numbers of the auditor at one time; `None` is not known."""

    committed: int = 0
    sampled: int | None = None
    matched: int | None = None
    changes: int | None = None
    lag_ms: Mapping[str, float | None] = field(default_factory=dict)
    lag_bytes: int | None = None
    delay_ms: Mapping[str, float | None] = field(default_factory=dict)
    sampled_per_second: float = 0.0
    matched_per_second: float = 0.0
    coverage: Coverage = field(default_factory=Coverage)
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Picture:
    """What a spectator sees."""

    verdict: Mapping[str, Any]
    figures: Figures
    findings: tuple[Mapping[str, Any], ...]
    confirmed_at: Mapping[str, float] = field(default_factory=dict)
    """When each finding was confirmed for the first time: they are read again later, which moves `settled_at`."""

    @property
    def share(self) -> float | None:
        value = self.verdict.get("sample", {}).get("in_window_share")
        return None if value is None else float(value)


class Watch:
    """Keeps the newest picture and every turn of the verdict, from a thread of its own."""

    def __init__(self, url: str, records: Callable[[], Mapping[str, Any]], committed: Callable[[], int]) -> None:
        """Args: url: the migration's own on the gate; records, committed: give the present state."""
        self._url, self._records, self._committed = url, records, committed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._figures = Figures()
        self._findings: tuple[Mapping[str, Any], ...] = ()
        self._verdict: Mapping[str, Any] = UNREACHABLE
        self._turns: list[Turn] = []
        self._confirmed_at: dict[str, float] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout=5)

    @property
    def picture(self) -> Picture:
        return Picture(self._verdict, self._figures, self._findings, dict(self._confirmed_at))

    @property
    def turns(self) -> tuple[Turn, ...]:
        return tuple(self._turns)

    def look(self) -> Picture:
        """Look at everything now."""
        self._ask()
        self._read()
        return self.picture

    def _watch(self) -> None:
        due = 0.0
        while not self._stop.wait(POLL_SECONDS):
            self._ask()
            if time.monotonic() >= due:
                self._read()
                due = time.monotonic() + FIGURES_SECONDS

    def _ask(self) -> None:
        self._verdict = fetched(f"{self._url}/gate") or UNREACHABLE
        troubles = tuple(part["name"] for part in self._verdict["conditions"] if part["status"] != "PASS")
        turn = Turn(time.time(), self._verdict["verdict"], troubles)
        last = self._turns[-1] if self._turns else None
        if last is None or (last.verdict, last.troubles) != (turn.verdict, turn.troubles):
            self._turns.append(turn)

    def _read(self) -> None:
        try:
            records = self._records()
        except Retryable:
            return
        self._figures = figures(records, self._committed(), self._figures, time.time())
        found = merged_findings(records, time.time())
        for finding in found:
            if finding.state == "confirmed":
                self._confirmed_at.setdefault(finding.id, finding.settled_at or finding.first_seen)
        self._findings = tuple(map(finding_json, found))


def fetched(url: str) -> Mapping[str, Any] | None:
    """Get a JSON document, or None."""
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            document: Mapping[str, Any] = json.load(response)
            return document
    except (urllib.error.URLError, OSError, ValueError):
        return None


def figures(records: Mapping[str, Any], committed: int, before: Figures, now: float) -> Figures:
    """Take the numbers out of the records; rates are since the figures before."""
    tallies = [value["tallies"] for key, value in records.items() if key.startswith("progress/")]
    sampled = sum(tally["transactions"] for tally in tallies) if tallies else None
    matched = None if sampled is None else sampled - differing(records)
    target = records.get("sampler/target") or {}
    seconds = now - before.at if before.at else 0.0
    return Figures(
        committed=committed,
        sampled=sampled,
        matched=matched,
        changes=sum(tally["changes"] for tally in tallies) if tallies else None,
        lag_ms=target.get("lag_ms") or {},
        lag_bytes=target.get("lag_bytes"),
        delay_ms=target.get("delay_ms") or {},
        sampled_per_second=rate(before.sampled, sampled, seconds),
        matched_per_second=rate(before.matched, matched, seconds),
        coverage=coverage(records),
        at=now,
    )


def differing(records: Mapping[str, Any]) -> int:
    """Count the source's transactions in which a difference was found that did not heal."""
    return len(
        {
            finding.source_position
            for finding in merged_findings(records)
            if finding.detector == "transaction" and finding.source_position is not None and finding.state != "healed"
        }
    )


def rate(before: int | None, now: int | None, seconds: float) -> float:
    """Give the growth in a second, never negative."""
    return max(0.0, (now - before) / seconds) if before is not None and now is not None and seconds > 0 else 0.0
