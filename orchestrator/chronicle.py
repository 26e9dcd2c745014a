"""The attempts as the journal tells them, and what is written next: kept by the one who acts, under one lease."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from orchestrator.cutover import Event, Run, follow, opened, told
from orchestrator.records import Direction, Draft, Entry, Journal, Kind


class Chronicle:
    """Follows each attempt, also through entries that are owed: they are written with the next one that must be."""

    def __init__(
        self,
        journal: Journal,
        epoch: int,
        actor: str,
        tell: Callable[[Entry], None],
        runs: Mapping[int, Run] | None = None,
    ) -> None:
        """Read the journal.

        Args:
            epoch: of the lease under which it is written.
            tell: gets each entry once it is durable.
            runs: the attempts as they are now, of one who has read the journal under this lease already.
        Raises:
            JournalUnavailable: it cannot be read.
        """
        self._journal, self._epoch, self._actor, self._tell = journal, epoch, actor, tell
        self._owed: list[Draft] = []
        self.runs: dict[int, Run] = dict(runs or {run.attempt: run for run in told(journal.entries())})

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

    def owe(self, *drafts: Draft) -> None:
        """Go on as if they were written; they are, with the next entry that must be.

        Raises:
            IllegalTransition: an attempt does not allow one of them; none is owed.
        """
        runs = dict(self.runs)
        for draft in drafts:
            runs[draft.attempt] = follow(runs.get(draft.attempt) or opened(draft), draft)
        self.runs = runs
        self._owed += drafts

    def write(self, *drafts: Draft) -> None:
        """Write what is owed and these, in one statement.

        Raises:
            IllegalTransition: an attempt does not allow one of them; nothing was written, as nobody could read it.
            LeaseLost: another one acts by now; nothing was written.
            JournalUnavailable: whether it was written is not known: read it again.
        """
        self.owe(*drafts)
        owed, self._owed = self._owed, []
        if owed:
            for entry in self._journal.append(self._epoch, self._actor, owed):
                with suppress(Exception):  # who watches, and fails, stops no cutover
                    self._tell(entry)
