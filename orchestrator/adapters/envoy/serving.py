"""What a fleet of Envoys does now, as one value that is also the version of what it is told."""

import re
from dataclasses import dataclass, replace
from typing import Self

from comparators.positions import Side

_TEXT = re.compile(r"writes=(source|target) reads=(source|target) held=(yes|no)")


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a fleet leads those who write and those who read, and whether they wait."""

    writes: Side
    reads: Side
    held: bool = False

    @classmethod
    def all_on(cls, side: Side, *, held: bool = False) -> Self:
        """Lead writes and reads to the same side."""
        return cls(side, side, held)

    @classmethod
    def parse(cls, version: str) -> Self | None:
        """Read it from a version that a node names; `None` where no control plane of ours gave it."""
        found = _TEXT.match(version)
        return cls(Side(found[1]), Side(found[2]), found[3] == "yes") if found else None

    def __str__(self) -> str:
        return f"writes={self.writes} reads={self.reads} held={'yes' if self.held else 'no'}"

    def holding(self) -> "Serving":
        return replace(self, held=True)

    def released(self) -> "Serving":
        return replace(self, held=False)

    @property
    def reads_held(self) -> bool:
        """Reads that already have the other side go on while writes wait."""
        return self.held and self.reads is self.writes
