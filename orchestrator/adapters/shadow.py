"""Shadow reads: those who only read are led to the new side for a while, and both sides are asked the same questions.

Rules of this file:
1. Nobody is led to a side that has answered differently.
2. Reads are led back before the step is over, however it ends: the fence is about to close the new side.
3. Rows change while they are read. An answer of the new side is right if the old side gave it just before or just
   after; it is wrong only if the old side did not change in between and still differs when the settling time is over.
"""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from comparators.errors import AuditorError
from comparators.positions import Side
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline
from orchestrator.ports import Facts

SETTLE_SECONDS = 5.0
"""How long the new side may take to answer as the old one does; replication is behind by far less."""
PAUSE_SECONDS = 0.1
LED_ROUNDS = 5
"""How often each read is compared while clients are led to the new side."""
BACK_SECONDS = 10.0


class ReadsLeader(Protocol):
    """A proxy that may lead those who only read apart from those who write."""

    name: str

    def lead_reads(self, to: Side, deadline: Deadline) -> Facts:
        """Lead them to a side; with `possible`: false where it cannot, and nothing was done."""
        ...


@dataclass(frozen=True, slots=True)
class Read:
    """One question to both sides."""

    name: str
    sql: str


@dataclass(slots=True)
class _Tally:
    compared: int = 0
    different: set[str] = field(default_factory=set)
    undecided: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    took_ms: Mapping[str, list[float]] = field(default_factory=lambda: {"old": [], "new": []})

    @property
    def well(self) -> bool:
        return not self.different and not self.failed

    def facts(self) -> Facts:
        return {
            "compared": self.compared,
            "different": len(self.different),
            "errors": len(self.failed),
            "undecided": len(self.undecided),
            "reads_different": sorted(self.different),
            "reads_failed": sorted(self.failed),
            "reads_undecided": sorted(self.undecided),
            **{f"{side}_worst_ms": round(max(took, default=0.0), 1) for side, took in self.took_ms.items()},
        }


class ShadowReads:
    """Leads reads to the new side on trial."""

    def __init__(
        self,
        leaders: Sequence[ReadsLeader],
        sides: Mapping[Side, str],
        reads: Sequence[Read],
        old: Side,
        *,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Know what to ask, and of whom.

        Args:
            sides: a connection string for each, of a role that may read.
            old: the side that serves.
        """
        self._leaders, self._sides, self._reads, self._old = tuple(leaders), sides, tuple(reads), old
        self._settle_seconds = settle_seconds

    def lead(self, deadline: Deadline) -> Facts:
        """Compare, lead reads to the new side, compare while clients read there, and lead them back.

        Returns:
            With the counts `compared`, `different` and `errors`; `possible`: false where no proxy can lead reads apart,
            or no read is configured.
        Raises:
            DeadlinePassed, NeedsOperator: a proxy could not be led, there or back.
            SideUnavailable, NotPermitted: a side cannot be asked at all.
        """
        if not self._reads or not self._led(self._old, deadline):
            return {"possible": False}
        tally = _Tally()
        with self._sessions(deadline) as (old, new):
            self._compare(old, new, tally, deadline)
            if tally.well:
                self._on_trial(old, new, tally, deadline)
        return {"possible": True, **tally.facts()}

    def back(self, deadline: Deadline) -> Facts:
        """Lead reads to the old side.

        Raises:
            DeadlinePassed, NeedsOperator: a proxy could not be led.
        """
        return {"reads": self._old.value, "proxies": self._led(self._old, deadline)}

    def _led(self, to: Side, deadline: Deadline) -> list[str]:
        """Lead all that can be led, and name them."""
        return [one.name for one in self._leaders if one.lead_reads(to, deadline).get("possible") is not False]

    def _on_trial(self, old: Session, new: Session, tally: _Tally, deadline: Deadline) -> None:
        try:
            self._led(self._old.other, deadline)
            for _ in range(LED_ROUNDS):
                self._compare(old, new, tally, deadline)
        finally:
            self.back(deadline.anew(BACK_SECONDS, "leading reads back to the old side"))

    @contextmanager
    def _sessions(self, deadline: Deadline) -> Iterator[tuple[Session, Session]]:
        with (
            Session(self._sides[self._old], "shadow reads") as old,
            Session(self._sides[self._old.other], "shadow reads") as new,
        ):
            old.warm(deadline)
            new.warm(deadline)
            yield old, new

    def _compare(self, old: Session, new: Session, tally: _Tally, deadline: Deadline) -> None:
        for read in self._reads:
            try:
                alike = self._alike(old, new, read, tally, deadline)
            except AuditorError:
                deadline.left()  # nobody failed to answer: there was no time left to
                tally.failed.add(read.name)
                continue
            tally.compared += alike is not None
            if alike is not True:
                (tally.undecided if alike is None else tally.different).add(read.name)

    def _alike(self, old: Session, new: Session, read: Read, tally: _Tally, deadline: Deadline) -> bool | None:
        """Say whether both sides answer alike; `None` where the old one never held still."""
        until = time.monotonic() + self._settle_seconds
        alike: bool | None = None
        while True:
            before = _answer(old, read, tally.took_ms["old"], deadline)
            found = _answer(new, read, tally.took_ms["new"], deadline)
            after = _answer(old, read, tally.took_ms["old"], deadline)
            if found in (before, after):
                return True
            alike = False if before == after else None
            if time.monotonic() > until:
                return alike
            time.sleep(min(PAUSE_SECONDS, deadline.left()))


def _answer(session: Session, read: Read, took_ms: list[float], deadline: Deadline) -> bytes:
    """Digest a side's rows whatever their order; the rows themselves stay here."""
    statement = f"SELECT answer::text FROM ({read.sql.rstrip().rstrip(';')}) AS answer".encode()
    began = time.monotonic()
    with session.transaction(deadline):
        session.execute("SET TRANSACTION READ ONLY", deadline=deadline)
        rows = session.execute(statement, deadline=deadline)
    took_ms.append((time.monotonic() - began) * 1000)
    digest = hashlib.sha256()
    for text in sorted(row[0] or "" for row in rows):
        digest.update(len(text).to_bytes(8) + text.encode())
    return digest.digest()
