"""Look at the sequences of both sides."""

from dataclasses import dataclass
from typing import ClassVar

import psycopg

from comparators.checks.sequences import CHECKS, BothSequences, Sequence, Sequences, judge_sequences, least_left
from comparators.preflight import completed
from samplers.probes.base import Asked, Reading, Sides
from samplers.probes.schema import Reader


@dataclass(frozen=True, slots=True)
class SequenceProbe:
    """Compares sequences, and how many numbers they have left."""

    asked: Asked
    group: ClassVar[str] = "sequences"
    every_seconds: ClassVar[float] = 30.0
    looks: ClassVar[int] = 1

    def look(self, sides: Sides, now: float) -> Reading:
        """Look once, as `samplers.probes.base.Probe.look` says."""
        both = BothSequences(
            read_sequences(sides.source, "source", self.asked.own_schema),
            read_sequences(sides.target, "target", self.asked.own_schema),
            self.asked.selects,
            sides.source.info.user,
        )
        figures = {"sequences": len(both.pairs), "least_share_left": least_left(both)}
        return Reading(completed(judge_sequences(both), CHECKS), figures)


def read_sequences(connection: psycopg.Connection, side: str, own_schema: str) -> Sequences:
    """Read one side's sequences.

    Raises:
        Retryable: ask again later.
    """
    reader = Reader(connection, side, own_schema)
    return Sequences(reader.rows("schema", "sequences", Sequence), reader.denied)


PROBE = SequenceProbe
