"""How hard the row audit may lean on a source: decided from what the source shows of its load, backing off first."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

LIMITS: Mapping[str, float] = MappingProxyType(
    {"active-sessions": 50, "replica-lag-ms": 10_000, "lock-waits": 10, "statement-seconds": 2}
)
"""Every signal with its default limit."""

EASE = 0.8
"""Share of its limit that a signal must be back to: a load that hovers about a limit must not switch us on and off."""
FIRST_SECONDS, LONGEST_SECONDS = 1.0, 60.0
"""A pause doubles from the first to the longest while the load stays."""
LEAST_SHARE, SHARE_STEP = 1 / 16, 1 / 16
LONGEST_REST_SECONDS = 10.0
UNKNOWN = "the load of the source is not known"

Load = Mapping[str, float | None]
"""Signal to its value; `None` where the role may not see it, which holds nothing back."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """What was decided last."""

    reasons: tuple[str, ...] = ()
    """Why nothing may be read now; none: go on."""
    share: float = 1.0
    """Of the time that a worker may read; it halves at each overload and grows back slowly."""
    pause: float = 0.0
    """Seconds of the last pause; the next one is twice as long."""
    until: float = 0.0
    """Moment before which nothing is read, whatever the load."""

    @property
    def paused(self) -> bool:
        return bool(self.reasons)

    def rest(self, worked: float) -> float:
        """Give the seconds to rest after so many of work."""
        return min(worked * (1 / self.share - 1), LONGEST_REST_SECONDS)


def decide(load: Load | None, limits: Mapping[str, float], before: Throttle, now: float) -> Throttle:
    """Say whether the sweeper may read, and how much of the time.

    Args:
        load: `None` where the source cannot be asked.
        limits: of each signal; one without a limit holds nothing back.
        now: seconds of any clock, the same at each call.
    """
    eased = before.paused and before.reasons != (UNKNOWN,)
    reasons = (UNKNOWN,) if load is None else _over(load, limits, EASE if eased else 1.0)
    if reasons and not before.paused:
        return _backed_off(reasons, before, now, max(before.share / 2, LEAST_SHARE))
    if reasons:
        return replace(before, reasons=reasons) if now < before.until else _backed_off(reasons, before, now)
    if before.paused and now < before.until:
        return before
    calm = before.pause / 2 if before.pause > FIRST_SECONDS else 0.0
    return Throttle(share=min(1.0, before.share + SHARE_STEP), pause=calm)


def _over(load: Load, limits: Mapping[str, float], ease: float) -> tuple[str, ...]:
    return tuple(
        _reason(name, value, limits[name], limits[name] * ease)
        for name, value in sorted(load.items())
        if value is not None and name in limits and value > limits[name] * ease
    )


def _reason(name: str, value: float, limit: float, low: float) -> str:
    if value > limit:
        return f"{name} is {value:g}, the limit is {limit:g}"
    return f"{name} is {value:g} and is to fall to {low:g}, as it was over its limit of {limit:g}"


def _backed_off(reasons: tuple[str, ...], before: Throttle, now: float, share: float | None = None) -> Throttle:
    pause = min(max(FIRST_SECONDS, before.pause * 2), LONGEST_SECONDS)
    return Throttle(reasons, before.share if share is None else share, pause, now + pause)
