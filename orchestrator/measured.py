"""A number that a condition rests on, and every way of not knowing it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.seen import ApplySeen, BaselineSeen, Evidence, OverrideSeen, ProcessSeen

LARGEST = 1e300
"""Beyond it, arithmetic itself fails."""
FUTURE_SECONDS = 3.0
"""Clocks of one installation may differ by this much; anything dated further ahead is not believed."""


class Unknown(Exception):
    """The condition cannot be evaluated; the text says why. `person`: waiting alone will not help."""

    def __init__(self, reason: str, *, person: bool = False, steps: tuple[str, ...] = ()) -> None:
        super().__init__(reason)
        self.person = person
        self.steps = steps


@dataclass(frozen=True, slots=True)
class Measured:
    """A condition's number, the age of what it was taken from, and words for it; `trouble` forbids a PASS anyway."""

    value: float
    age_seconds: float
    words: str = ""
    trouble: str | None = None
    person: bool = False
    steps: tuple[str, ...] = ()
    overrides: tuple[OverrideSeen, ...] = ()
    """Overrides that the number already takes into account."""


Limits = Mapping[str, float]
Evaluate = Callable[[Evidence, Limits, float], Measured]


def number_of(value: Any, what: str) -> float:
    """Take a number from 0 upwards.

    Raises:
        Unknown: it is missing or makes no sense.
    """
    if value is None:
        raise Unknown(f"{what} is missing")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
        raise Unknown(f"{what} is {value!r}, which makes no sense")
    return value


def age_of(at: float | None, now: float, what: str) -> float:
    """Give the seconds since a time.

    Raises:
        Unknown: it is missing, makes no sense, or lies ahead.
    """
    if at is None:
        raise Unknown(f"nothing was heard from {what} yet")
    age = number_of(now, "the time") - number_of(at, f"the time of {what}")
    if age < -FUTURE_SECONDS:
        raise Unknown(f"{what} is dated {-age:.0f} s in the future; check the clocks")
    return max(0.0, age)


def fresh_age(at: float | None, now: float, limit: float, what: str) -> float:
    """Give the seconds since a time that must not be long ago.

    Raises:
        Unknown: it is, or nothing was heard at all.
    """
    age = age_of(at, now, what)
    if not age <= limit:
        raise Unknown(f"{what} was last heard from {age:.0f} s ago")
    return age


def process_age(evidence: Evidence, name: str, now: float) -> float:
    """Give the seconds since a process said that it is alive.

    Raises:
        Unknown: it never did.
    """
    process = evidence.processes.get(name, ProcessSeen())
    if not process.incarnation:
        raise Unknown(f"{name} has not started yet{last_exit(process)}")
    return age_of(process.heartbeat, now, name)


def last_exit(process: ProcessSeen) -> str:
    """Say what ended a process last, as an addition to a sentence."""
    return f" (it last ended with: {process.last_exit})" if process.last_exit else ""


def baseline_of(evidence: Evidence) -> BaselineSeen:
    """Give the baseline, every field of it known.

    Raises:
        Unknown: there is none.
    """
    baseline = evidence.baseline
    if baseline is None or baseline.floor is None or baseline.generation is None or baseline.at is None:
        raise Unknown("the audit has no baseline", person=True, steps=("auditor prepare",))
    number_of(baseline.at, "the time of the baseline")
    return baseline


def apply_of(evidence: Evidence, limits: Limits, now: float) -> tuple[ApplySeen, float]:
    """Give what the target's sampler says of apply, and how long ago it did.

    Raises:
        Unknown: it is silent.
    """
    if evidence.apply is None:
        raise Unknown("the target's sampler has not reported yet")
    return evidence.apply, fresh_age(evidence.apply.at, now, limits["samplers-alive"], "the target's sampler")
