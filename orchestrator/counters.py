"""Where a sequence must stand on the side that takes over, so that it gives out nothing that was given out before.

Pure: a sequence's definition and counts come in, the count to set goes out.
"""

from dataclasses import dataclass

ROOM_SHARE = 10
"""At most one in so many of the numbers that are left is skipped."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What a sequence counts by."""

    increment: int
    least: int
    most: int
    cycles: bool
    cache: int
    """Numbers that a session takes at once."""

    @property
    def up(self) -> bool:
        return self.increment > 0


@dataclass(frozen=True, slots=True)
class Count:
    """Where a sequence stands."""

    last: int
    called: bool
    """The last number was given out; otherwise it is the next one."""

    def upcoming(self, definition: Definition) -> int:
        """Give the number that comes next, were there no bounds."""
        return self.last + definition.increment if self.called else self.last


def count_to_set(
    old: tuple[Definition, Count], new: tuple[Definition, Count], headroom: int
) -> Count:  # fmt: skip
    """Choose where the new side's sequence must stand.

    A sequence that starts over at its bound stands as the old one does, or a little further. Any other one is never set
    back: the new side may have given numbers out, too.

    Args:
        headroom: numbers that are skipped besides what a session takes at once, where there is room.
    """
    (definition, there), (own, here) = old, new
    wanted = Count(there.last + own.increment * _skipped(definition, there, own, headroom), there.called)
    if not own.cycles and is_past(own, here, definition, wanted):
        return here
    return wanted


def is_past(own: Definition, here: Count, definition: Definition, there: Count) -> bool:
    """Say whether what a sequence gives out next lies at or behind what another one would give out next."""
    ahead = here.upcoming(own) - there.upcoming(definition)
    return ahead >= 0 if own.up else ahead <= 0


def numbers_left(definition: Definition, count: Count, other: Definition) -> int:
    """Say how many numbers are left within the bounds of both sides."""
    if definition.up:
        room = min(definition.most, other.most) - count.last
    else:
        room = count.last - max(definition.least, other.least)
    return max(room // abs(other.increment), 0)


def obstacle(old: Definition, new: Definition) -> str | None:
    """Say why the new side's sequence cannot go on where the old one's stands, or `None`."""
    if old.increment != new.increment:
        return f"it counts by {old.increment} on the old side, by {new.increment} on the new one"
    if old.cycles != new.cycles:
        return "it starts over at its bound on one side only"
    return None


def _skipped(definition: Definition, count: Count, own: Definition, headroom: int) -> int:
    if not count.called:
        return 0  # nothing was given out yet
    cache = max(definition.cache, own.cache)
    return min(cache + headroom, numbers_left(definition, count, own) // ROOM_SHARE)
