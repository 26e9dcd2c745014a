"""Look for definitions that changed since the audit's baseline."""

from collections.abc import Mapping
from typing import Any, ClassVar

from comparators.checks.drift import (
    CHECKS,
    Drifted,
    DriftState,
    advance,
    begin,
    changes,
    figures,
    judge_denied,
    judge_drift,
    state_json,
    state_of,
)
from comparators.checks.drift_objects import observe
from comparators.checks.sequences import BothSequences
from comparators.preflight import completed
from samplers.probes.base import Asked, Reading, Sides
from samplers.probes.sequences import read_sequences
from samplers.probes.shape import read_both


class Drift:
    """Compares each side with itself at the baseline, and both changes with each other.

    Its memory outlives it: `take` gives it what an earlier one's `record` gave; without, the first look that finds
    tables is the baseline.
    """

    group: ClassVar[str] = "drift"
    every_seconds: ClassVar[float] = 30.0
    looks: ClassVar[int] = 1

    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._generation = 0
        self._state: DriftState | None = None
        self._lost = False

    def take(self, record: Mapping[str, Any] | None, generation: int) -> None:
        """Go on from a stored baseline; one of another generation is forgotten.

        Args:
            record: what `record` gave, or `None` where nothing is stored.
        """
        state = state_of(record)
        self._lost = record is not None and state is None  # what changed meanwhile is not known: all is swept again
        self._generation = generation
        self._state = state if state is not None and state.generation == generation else None

    def record(self) -> dict[str, Any] | None:
        """Give what is to be stored after a look; `None` before the first."""
        return None if self._state is None else state_json(self._state)

    def look(self, sides: Sides, now: float) -> Reading:
        """Look once, as `samplers.probes.base.Probe.look` says."""
        both = read_both(self._asked, sides)
        sequences = BothSequences(
            read_sequences(sides.source, "source", self._asked.own_schema),
            read_sequences(sides.target, "target", self._asked.own_schema),
            self._asked.selects,
        )
        denied = {
            **both.source.denied, **both.target.denied, **sequences.source.denied, **sequences.target.denied
        }  # fmt: skip
        if denied:
            return Reading(completed(judge_denied(denied), CHECKS))
        state = self._state
        observation = observe(both, sequences, () if state is None else {*state.source, *state.seen_source})
        if state is None:
            state = begin(observation, self._generation, now, changed_at=now if self._lost else None)
        state, seen = advance(state, observation, now), changes(state, observation)
        self._state = state if state.source else None
        return Reading(completed(judge_drift(Drifted(state, seen)), CHECKS), figures(state, seen))


PROBE = Drift
