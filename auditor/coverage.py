"""The coverage ledger: which rows of a table are proved, through which source position, and how old that is.

Each table has one record, `coverage/<table>`, with the figures of its last complete sweep and those of the one under
way. They are folded from the engine's steps, so that a step which is told twice after a crash counts once.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from comparators.tables import TablePair
from samplers.table_sweep import Step

Value = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Counts:
    """What one sweep saw of one table."""

    rows: int = 0
    verified: int = 0
    unverified: int = 0
    hot: int = 0
    different: int = 0
    through: int | None = None
    """Source position that every piece of it is proved through."""
    at: float | None = None
    """When its oldest piece was read."""

    @property
    def whole(self) -> bool:
        """Every row was proved equal or different."""
        return not self.unverified and not self.hot

    def plus(self, step: Step, *, first: bool) -> "Counts":
        """Add a step; once a piece has no position, the whole has none."""
        known = step.through is not None and (first or self.through is not None)
        positions = [one for one in (self.through, step.through) if one is not None]
        return Counts(
            self.rows + step.rows, self.verified + step.verified, self.unverified + step.unverified,
            self.hot + step.hot, self.different + step.different, min(positions) if known else None,
            step.started_at if self.at is None else min(self.at, step.started_at),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Running:
    """A sweep that is under way, or was when its process ended."""

    sweep: int
    segments: int
    segment: int = 0
    """The next one to be read."""
    counts: Counts = Counts()
    started_at: float = 0.0
    seconds: float = 0.0
    """Spent reading, without pauses."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Kind of difference to the rows that show it."""
    reason: str | None = None
    """Why rows are unverified."""

    @property
    def share(self) -> float:
        return min(self.segment / self.segments, 1.0) if self.segments else 1.0

    @property
    def rows_per_second(self) -> float | None:
        return self.counts.rows / self.seconds if self.seconds > 0 else None

    @property
    def eta_seconds(self) -> float | None:
        return self.seconds / self.segment * (self.segments - self.segment) if self.segment else None

    def plus(self, step: Step, differences: Mapping[str, int], seconds: float) -> "Running":
        """Add a step, the rows that it found different, by kind, and how long it took."""
        kinds = {kind: self.kinds.get(kind, 0) + differences.get(kind, 0) for kind in {**self.kinds, **differences}}
        return replace(
            self, segment=step.past_last, counts=self.counts.plus(step, first=self.segment == 0),
            seconds=self.seconds + seconds, kinds=kinds, reason=step.reason or self.reason,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Coverage:
    """One table's line in the ledger."""

    table: str
    generation: int
    """Of the baseline under which it was swept; another one starts anew."""
    state: str = "waiting"
    """`swept`, `sweeping`, `waiting`, `skipped` or `error`."""
    reason: str | None = None
    mode: str | None = None
    key: tuple[str, ...] = ()
    columns: tuple[Mapping[str, str | None], ...] = ()
    notes: tuple[str, ...] = ()
    sweep: int = 0
    """Complete ones under this baseline."""
    last: Counts = Counts()
    finished_at: float | None = None
    seconds: float | None = None
    now: Running | None = None

    def described(self, pair: TablePair) -> "Coverage":
        """Say how the table is read."""
        return replace(
            self, mode=str(pair.mode), key=tuple(one.name for one in pair.source.key), columns=columns_of(pair),
            notes=pair.notes,
        )  # fmt: skip

    def readable(self) -> "Coverage":
        """Take back that the table cannot be read, or not yet."""
        return self if self.state not in ("skipped", "waiting") else replace(self, state="waiting", reason=None)

    def unreadable(self, state: str, reason: str) -> "Coverage":
        """Note that the table cannot be read, or not yet: nothing about it holds any more.

        Args:
            state: `skipped` or `waiting`.
        """
        return Coverage(self.table, self.generation, state, reason)

    def failed(self, reason: str) -> "Coverage":
        """Note that its sweep broke off; it goes on from the last step that was recorded."""
        return replace(self, state="error", reason=reason)

    def begun(self, segments: int, at: float) -> "Coverage":
        """Start a sweep from the first segment."""
        return replace(self, state="sweeping", reason=None, now=Running(self.sweep + 1, segments, started_at=at))

    def resumed(self) -> "Coverage":
        """Go on with the sweep under way."""
        return replace(self, state="sweeping", reason=None)

    def stepped(self, step: Step, differences: Mapping[str, int], seconds: float) -> "Coverage":
        """Add a step to the sweep under way; one without segments only says what is waited for."""
        assert self.now is not None
        if step.first == step.past_last:
            return replace(self, reason=step.reason)
        return replace(self, reason=None, now=self.now.plus(step, differences, seconds))

    def finished(self, at: float) -> "Coverage":
        """Turn the sweep under way into the last complete one."""
        assert self.now is not None
        done = self.now
        return replace(
            self, state="swept", reason=done.reason, sweep=done.sweep, last=done.counts, finished_at=at,
            seconds=round(at - done.started_at, 3), now=None,
        )  # fmt: skip

    def record(self) -> Value:
        """Write it as the records hold it."""
        return {
            "table": self.table, "state": self.state, "reason": self.reason, "mode": self.mode, "key": list(self.key),
            "sweep": self.sweep, **asdict(self.last), "finished_at": self.finished_at, "seconds": self.seconds,
            "now": None if self.now is None else _running_record(self.now), "columns": [dict(c) for c in self.columns],
            "notes": list(self.notes), "generation": self.generation,
        }  # fmt: skip


def read_coverage(record: Mapping[str, Any]) -> Coverage:
    """Read what `Coverage.record` wrote.

    Raises:
        KeyError, TypeError, ValueError: it is no such record.
    """
    now = record["now"]
    return Coverage(
        table=record["table"], generation=int(record["generation"]), state=record["state"], reason=record["reason"],
        mode=record["mode"], key=tuple(record["key"]), columns=tuple(record["columns"]), notes=tuple(record["notes"]),
        sweep=int(record["sweep"]), last=_counts(record), finished_at=record["finished_at"], seconds=record["seconds"],
        now=None if now is None else _running(now),
    )  # fmt: skip


def columns_of(pair: TablePair) -> tuple[Mapping[str, str | None], ...]:
    """Say of each column in which form it enters the digest, and why."""
    return tuple({"name": one.name, "form": str(one.form), "why": one.why or None} for one in pair.source.columns)


def _counts(record: Mapping[str, Any]) -> Counts:
    numbers = {name: int(record[name]) for name in ("rows", "verified", "unverified", "hot", "different")}
    return Counts(**numbers, through=record["through"], at=record["at"])


def _running_record(running: Running) -> Value:
    rate, eta = running.rows_per_second, running.eta_seconds
    return {
        "sweep": running.sweep, "segment": running.segment, "segments": running.segments, **asdict(running.counts),
        "rows_per_second": None if rate is None else round(rate, 1),
        "eta_seconds": None if eta is None else round(eta, 1),
        "started_at": running.started_at, "seconds": running.seconds, "kinds": dict(running.kinds),
        "reason": running.reason,
    }  # fmt: skip


def _running(record: Mapping[str, Any]) -> Running:
    return Running(
        int(record["sweep"]), int(record["segments"]), int(record["segment"]), _counts(record),
        float(record["started_at"]), float(record["seconds"]), dict(record["kinds"]), record["reason"],
    )  # fmt: skip
