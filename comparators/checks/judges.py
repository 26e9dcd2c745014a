"""How a check is made of facts: what it needs to have been read, and what is said where that was refused."""

import functools
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from comparators.preflight import Check, Item, ItemStatus, found, unknown

Facts = TypeVar("Facts")


@dataclass(frozen=True, slots=True)
class Denial:
    """What a role may not read, and the statement that lets it."""

    reason: str
    remedy: str


Denials = Mapping[str, Denial]
"""By the name of what could not be read; what was read is not in it."""


@dataclass(frozen=True, slots=True)
class Judge(Generic[Facts]):
    """A check and the function that makes it."""

    check: Check
    needs: tuple[str, ...]
    """Names of what must have been read on both sides."""
    says: Callable[[str, Facts], Item]
    """Given the check's name and the facts."""


@dataclass(frozen=True, slots=True)
class Grade:
    """Objects that mean the same: how bad, what it means, what to do."""

    status: ItemStatus
    subjects: Collection[str]
    sentence: str
    remedy: str


def judged(judges: Iterable[Judge[Facts]], facts: Facts, denied: Iterable[Denials]) -> Iterator[Item]:
    """Make each check; one that needs what could not be read on some side is unknown."""
    refused = {name: denial for side in denied for name, denial in side.items()}
    for judge in judges:
        missing = next((refused[name] for name in judge.needs if name in refused), None)
        yield judge.says(judge.check.name, facts) if missing is None else unknown(
            judge.check.name, missing.reason, missing.remedy
        )


def graded(name: str, fine: str, *grades: Grade) -> Item:
    """Give the item of a check with several outcomes: the worst that occurs, and a word on each of the others.

    Args:
        grades: the worst first.
    """
    occurring = [grade for grade in grades if grade.subjects]
    if not occurring:
        return found(name, ItemStatus.OK, (), "", "", fine)
    worst, *others = occurring
    also = "".join(f"; besides, {other.sentence}: {named(other.subjects)}" for other in others)
    return found(name, worst.status, worst.subjects, worst.sentence + also, worst.remedy)


def named(subjects: Collection[str], most: int = 5) -> str:
    """List some names for a sentence."""
    first = sorted(set(subjects))[:most]
    more = len(set(subjects)) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")


def judge(
    group: str, name: str, what: str, says: Callable[[str, Facts], Item], needs: tuple[str, ...] = (),
    overridable: bool = False,
) -> Judge[Facts]:  # fmt: skip
    """Declare a check together with the function that makes it."""
    return Judge(Check(name, group, what, overridable), needs, says)


in_shape = functools.partial(judge, "shape")
