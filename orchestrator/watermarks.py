"""How long ago the audit was level with the source: a short history of source positions against what is resolved.

An idle source keeps its position, and an equal position counts as reached, so idleness does not age.
"""

from dataclasses import dataclass

PAGE_HEADER = 40
"""On an idle server the insert position can stand this far past the last record, behind a page's header."""


@dataclass(frozen=True, slots=True)
class History:
    """Source positions with the times at which each was current, oldest first."""

    marks: tuple[tuple[float, int], ...] = ()


def follow(history: History, at: float | None, position: int | None, now: float, keep_seconds: float) -> History:
    """Add the source position that was current at a time, and forget what is older than `keep_seconds`."""
    marks = tuple(mark for mark in history.marks if mark[0] >= now - keep_seconds)
    newest = marks[-1][0] if marks else float("-inf")
    if at is not None and position is not None and newest < at <= now:
        marks += ((at, position),)
    return History(marks)


def caught_up_age(history: History, resolved: int | None, now: float) -> float | None:
    """Give the seconds since the newest position that is resolved was the source's current one.

    Returns:
        `None` while that is not known: nothing resolved, or the history starts after it. A position that went back
        (a crashed source) is not taken for progress: every mark before the one counted must be resolved as well.
    """
    if resolved is None:
        return None
    reached = None
    for at, position in history.marks:
        if position > resolved:
            break
        reached = at
    return None if reached is None else now - reached
