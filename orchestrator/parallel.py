"""Do several things at once, each in a thread of its own, and learn how each of them ended."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from orchestrator.deadlines import Deadline, DeadlinePassed

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Ended(Generic[Answer]):
    """What came of each task, by its name."""

    answers: Mapping[str, Answer]
    failures: Mapping[str, Exception]

    def raise_first(self) -> None:
        """Raise the first failure, if there is one; others are noted on it."""
        first, *others = self.failures.values() or [None]
        if first is None:
            return
        for other in others:
            first.add_note(str(other))
        raise first


def in_parallel(tasks: Mapping[str, Callable[[], Answer]]) -> Ended[Answer]:
    """Perform tasks that each end by themselves at their deadline; return when all have ended."""
    answers: dict[str, Answer] = {}
    failures: dict[str, Exception] = {}

    def perform(name: str) -> None:
        try:
            answers[name] = tasks[name]()
        except Exception as error:
            failures[name] = error

    if len(tasks) == 1:
        perform(next(iter(tasks)))
    else:
        threads = [threading.Thread(target=perform, args=(name,), daemon=True) for name in tasks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    in_order = {name: failures[name] for name in tasks if name in failures}
    return Ended({name: answers[name] for name in tasks if name in answers}, in_order)


def within(deadline: Deadline, task: Callable[[], Answer]) -> Answer:
    """Perform a task that might not end by itself; leave it alone at the deadline.

    Raises:
        DeadlinePassed: it has not ended; what it does may still take effect.
    """
    left = deadline.left()
    done: list[Ended[Answer]] = []
    thread = threading.Thread(target=lambda: done.append(in_parallel({"": task})), daemon=True)
    thread.start()
    thread.join(left)
    if not done:
        raise DeadlinePassed(f"{deadline.doing}: no answer came in time")
    done[0].raise_first()
    return done[0].answers[""]
