"""The attempts as the journal tells them, and what is written next: kept by the one who acts, under one lease."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from orchestrator.cutover import Event, Run, follow, opened, told
from orchestrator.records import Direction, Draft, Entry, Journal, Kind


class Chronicle:
    """Follows each attempt, also through entries that are owed: they are written with the next one that must be."""

    def __init__(self, journal: Journal, epoch: int, actor: str, tell: Callable[[Entry], None]) -> None:
        """Read the journal.

        Args:
            epoch: of the lease under which it is written.
            tell: gets each entry once it is durable.
        Raises:
            JournalUnavailable: it cannot be read.
        """
        self._journal, self._epoch, self._actor, self._tell = journal, epoch, actor, tell
        self._owed: list[Draft] = []
        self.runs: dict[int, Run] = {run.attempt: run for run in told(journal.entries())}

    def current(self) -> Run | None:
        """Give the attempt that is at work: the last one that is not over."""
        return next((run for _, run in sorted(self.runs.items(), reverse=True) if not run.over), None)

    def last(self) -> Run | None:
        """Give the newest attempt, over or not."""
        return self.runs[max(self.runs)] if self.runs else None

    def of(self, run: Run) -> Run:
        """Give an attempt as it is now."""
        return self.runs[run.attempt]

    def repeat(self, run: Run, names: frozenset[str]) -> None:
        """Take steps for not done, which were not seen to be so."""
        now = self.of(run)
        self.runs[run.attempt] = replace(now, done=tuple(name for name in now.done if name not in names))

    def rolled_back(self, run: Run) -> bool:
        """Say whether a way back of an attempt was begun."""
        return any(other.opening.get("of") == run.attempt for other in self.runs.values())

    def move(self, run: Run, event: Event, reason: str | None, of: Run | None = None) -> None:
        """Record what moves an attempt; and the attempt `of` which it was the way back, too."""
        facts = {"reason": reason} if reason else {}
        drafts = [Draft(one.attempt, one.direction, event, Kind.EVENT, facts) for one in (run, of) if one is not None]
        self.write(*drafts)

    def roll_back(self, run: Run, reason: str, *, unproven: bool = False) -> None:
        """Begin the way back of an attempt."""
        facts = {"of": run.attempt, "reason": reason, "by": self._actor, "unproven": unproven}
        self.write(Draft(max(self.runs) + 1, Direction.BACK, Event.ROLLBACK, Kind.EVENT, facts))

    def owe(self, draft: Draft) -> None:
        """Go on as if it were written; it is, with the next entry that must be.

        Raises:
            IllegalTransition: the attempt does not allow it; nothing is owed.
        """
        run = self.runs.get(draft.attempt) or opened(draft)
        self.runs[draft.attempt] = follow(run, draft)
        self._owed.append(draft)

    def write(self, *drafts: Draft) -> None:
        """Write what is owed and these, in one statement.

        Raises:
            LeaseLost: another one acts by now; nothing was written.
            JournalUnavailable: whether it was written is not known: read it again.
        """
        for draft in drafts:  # an unlawful move raises before it is written
            self.owe(draft)
        owed, self._owed = self._owed, []
        if owed:
            for entry in self._journal.append(self._epoch, self._actor, owed):
                with suppress(Exception):  # who watches, and fails, stops no cutover
                    self._tell(entry)
