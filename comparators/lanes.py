"""One lane: what one side of a subscription has shown in a partition so far, and arithmetic over its frames."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from comparators.batches import Batch
from comparators.frames import FOREIGN, Array, Cut, Frame
from comparators.suspects import Piece


class Open(NamedTuple):
    """A transaction whose end has not come yet."""

    own: int
    seen: int
    """Rows received, counted or not."""
    judged: int
    total: int
    pieces: tuple[Piece, ...]


@dataclass(slots=True)
class Lane:
    """What one side has shown."""

    covered: Cut | None = None
    watermark: int = 0
    open: Open | None = None
    held: dict[Cut, tuple[Frame, int]] = field(default_factory=dict)
    pending: dict[int, tuple[Batch, int]] = field(default_factory=dict)
    """Source position to the transaction that waits there."""
    rates: list[tuple[int, float]] = field(default_factory=list)
    """(source position from which, rate)"""
    last: int = 0
    """Last source position seen in a transaction of this lane."""
    acked: Cut | None = None


def first_origin(frame: Frame, less: int = 0) -> int | None:
    """Give the first source position that a target frame names, or `None`."""
    origins = frame.source[(frame.flags & FOREIGN) == 0]
    return int(origins[0]) - less if len(origins) else None


def new_from(frame: Frame, lane: Lane) -> tuple[int, int]:
    """Find the first transaction of a frame, and the first row, that this lane has not seen."""
    covered = lane.covered
    if covered is None or frame.start == covered:
        return 0, 0
    first = int(np.searchsorted(frame.own, covered.position))
    row = int(frame.rows[:first].sum())
    if first < len(frame.own) and lane.open is not None and int(frame.own[first]) == lane.open.own:
        row += min(max(lane.open.seen - int(frame.skipped[first]), 0), int(frame.rows[first]))
    return first, row


def places_of(counts: Array, first: int, before: int) -> Array:
    """Number the rows of each transaction; the first one goes on after the rows that came `before`."""
    total = int(counts.sum())
    starts = np.cumsum(counts) - counts
    places = np.arange(total) - np.repeat(starts, counts)
    places[: int(counts[first])] += before
    unsigned: Array = places.astype("u8")
    return unsigned


def sums(hashes: Array, counts: Array) -> Array:
    """Add up the hashes of each transaction, modulo 2**64; one without rows sums to nothing."""
    ends = np.concatenate((np.zeros(1, "u8"), np.cumsum(hashes, dtype="u8")))
    stops = np.cumsum(counts)
    sums: Array = ends[stops] - ends[stops - counts]
    return sums


def holds(rates: list[tuple[int, float]], number: int, position: int) -> bool:
    """Say whether a rate may have held at a position; at a change both do."""
    after = number == 0 or rates[number][0] <= position
    return after and (number + 1 == len(rates) or position <= rates[number + 1][0])
