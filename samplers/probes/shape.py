"""Look at the shape of both sides."""

from dataclasses import dataclass
from typing import ClassVar

from comparators.checks.schema import Both
from comparators.checks.shape import CHECKS, judge_shape
from comparators.preflight import completed
from samplers.probes.base import Asked, Reading, Sides
from samplers.probes.schema import read_published, read_schema


@dataclass(frozen=True, slots=True)
class Shape:
    """Compares tables, and what belongs to them."""

    asked: Asked
    group: ClassVar[str] = "shape"
    every_seconds: ClassVar[float] = 30.0
    looks: ClassVar[int] = 1

    def look(self, sides: Sides, now: float) -> Reading:
        """Look once, as `samplers.probes.base.Probe.look` says."""
        both = read_both(self.asked, sides)
        return Reading(completed(judge_shape(both), CHECKS), {"tables": len(both.tables)})


def read_both(asked: Asked, sides: Sides) -> Both:
    """Read both sides' schemas and what the migration's publications show.

    Raises:
        Retryable, NeedsOperator: nothing is known until it works.
    """
    return Both(
        source=read_schema(sides.source, "source", asked.own_schema),
        target=read_schema(sides.target, "target", asked.own_schema),
        published=read_published(sides.source, asked.publications, asked.own_schema),
        selects=asked.selects,
    )


PROBE = Shape
