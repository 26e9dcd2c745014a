"""What operators ask for while a cutover runs, and what becomes of it."""

from collections.abc import Callable, Mapping

from orchestrator.chronicle import Chronicle
from orchestrator.cutover import Event, Run
from orchestrator.records import Direction, Journal, Request, Wish


class Operators:
    """Reads the requests in the journal, moves the attempt accordingly, and answers each."""

    def __init__(self, journal: Journal, epoch: int, story: Chronicle) -> None:
        """Args: epoch: of the lease under which requests are answered."""
        self._journal, self._epoch, self._story = journal, epoch, story

    def open_requests(self) -> list[Request]:
        """Give the requests that nobody has answered, oldest first."""
        return [request for request in self._journal.requests() if request.answer is None]

    def answer(self, request: Request, words: str) -> None:
        """Tell who asked what became of it."""
        self._journal.answer(self._epoch, request.id, words)

    def dismiss(self, words: str = "no attempt was under way") -> None:
        """Answer what was asked for and nothing can come of, so that it does not come true much later."""
        for request in self.open_requests():
            if request.wish in (Wish.ABORT, Wish.PANIC, Wish.ROLLBACK, Wish.FINALIZE):
                self.answer(request, words)
            elif request.wish is Wish.ACKNOWLEDGE:
                self.answer(request, "noted")

    def acknowledged(self) -> set[int | None]:
        """Give the failed attempts that a person has acknowledged."""
        return {one.attempt for one in self._journal.requests() if one.wish is Wish.ACKNOWLEDGE}

    def heed(self, run: Run) -> bool:
        """Do what was asked for; say whether that changed where the attempt stands."""
        for request in self.open_requests():
            heed = _HEEDED.get(request.wish)
            if heed is not None and heed(self, run, request):
                return True
        return False

    def postponed(self) -> bool:
        """Say whether an operator has put the fence off, and nobody has taken that back."""
        said = [one.wish for one in self._journal.requests() if one.wish in (Wish.POSTPONE, Wish.UNPOSTPONE)]
        return bool(said) and said[-1] is Wish.POSTPONE

    def _note_postponing(self, run: Run, request: Request) -> bool:
        self.answer(request, "noted")
        return False

    def _abort(self, run: Run, request: Request) -> bool:
        reason = f"{request.wish} asked for by {request.actor}: {request.reason}"
        if run.aborting:
            self.answer(request, "it is being aborted already")
        elif not run.committed:
            self._story.move(run, Event.FAILED, reason)
            self.answer(request, "aborting")
            return True
        elif request.wish is Wish.PANIC:
            self._story.move(run, Event.UNCLEAR, reason)
            self.answer(request, "stopped where it is")
            return True
        else:
            self.answer(request, "too late, the commit was won: ask for a rollback")
        return False

    def _roll_back(self, run: Run, request: Request) -> bool:
        if run.direction is Direction.BACK:
            self.answer(request, "a rollback is under way already")
        elif not run.committed:
            self.answer(request, "nothing is committed: ask for an abort")
        elif run.may_roll_back():
            unproven = request.facts.get("unproven") is True
            self._story.roll_back(run, f"asked for by {request.actor}: {request.reason}", unproven=unproven)
            self.answer(request, "rolling back")
            return True
        return False


_HEEDED: Mapping[Wish, Callable[[Operators, Run, Request], bool]] = {
    Wish.ABORT: Operators._abort,
    Wish.PANIC: Operators._abort,
    Wish.ROLLBACK: Operators._roll_back,
    Wish.POSTPONE: Operators._note_postponing,
    Wish.UNPOSTPONE: Operators._note_postponing,
}
"""By wish; the others are looked up where they count."""
