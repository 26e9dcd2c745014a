"""What the last ten minutes looked like, and the last verdicts: bounded rings in memory."""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from auditor import fields
from auditor.verdicts import Entry, Kind
from orchestrator.conditions import Status
from orchestrator.policy import Verdict

KEEP_SECONDS = 600.0
EVERY_SECONDS = 2.0
CHANGES = 50
STALE_SECONDS = 5.0
"""What the target's sampler said longer ago is not the lag of now."""


@dataclass(frozen=True, slots=True)
class Point:
    """Delays in milliseconds at a time; `None` where nothing was measured."""

    at: float
    lag_p50: float | None = None
    lag_p95: float | None = None
    delay_p95: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A verdict that was another than the one before."""

    at: float
    status: Status
    reasons: tuple[str, ...] = ()


class Pulse:
    """Keeps points and changes; whatever does not fit any more is forgotten, oldest first."""

    def __init__(self) -> None:
        self.points: deque[Point] = deque(maxlen=int(KEEP_SECONDS / EVERY_SECONDS) + 1)
        self.changes: deque[Change] = deque(maxlen=CHANGES)

    def note(self, verdict: Verdict, records: Mapping[str, Any]) -> None:
        """Take in one evaluation; called more often than `EVERY_SECONDS` it takes no more points."""
        now = verdict.evaluated_at
        if not self.points or not 0 <= now - self.points[-1].at < EVERY_SECONDS:
            self.points.append(point_of(records, now))
        if not self.changes or self.changes[-1].status is not verdict.status:
            self.changes.append(Change(now, verdict.status, verdict.reasons))

    def recall(self, entries: Iterable[Entry]) -> None:
        """Put what the log of verdicts holds, oldest first, before what was seen since."""
        seen, self.changes = tuple(self.changes), deque(maxlen=CHANGES)
        recorded = (change for entry in entries if (change := change_of(entry)))
        for change in (*(one for one in recorded if not seen or one.at < seen[0].at), *seen):
            if not self.changes or self.changes[-1].status is not change.status:
                self.changes.append(change)


def change_of(entry: Entry) -> Change | None:
    """Read a verdict of the log; `None` for an entry that records something else."""
    status, reasons = entry.body.get("verdict"), entry.body.get("reasons")
    if entry.kind is not Kind.VERDICT or status not in list(Status) or not isinstance(reasons, list | tuple):
        return None
    return Change(entry.at, Status(status), tuple(str(reason) for reason in reasons))


def point_of(records: Mapping[str, Any], now: float) -> Point:
    """Read the delays that the target's sampler measured last."""
    target = fields.record_of(records, "sampler/target") or {}
    at = fields.number(target, "at")
    if at is None or not abs(now - at) <= STALE_SECONDS:
        return Point(now)
    lag, delay = fields.inner(target, "lag_ms"), fields.inner(target, "delay_ms")
    return Point(now, fields.number(lag, "p50"), fields.number(lag, "p95"), fields.number(delay, "p95"))
