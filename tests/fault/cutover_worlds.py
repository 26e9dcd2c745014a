"""One world for many stories of a cutover: each leaves it as it found it, and one that went wrong makes it anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from auditor.demo.cutover.story import Order, Story
from auditor.demo.cutover.told import Told
from auditor.demo.cutover.world import Plan, World
from orchestrator.cutover import ALL_STEPS
from tests.unaudited import Forked

UNAUDITED = Plan(audited=False, launcher=Forked)
PATIENT = {step.name: max(10.0, step.seconds) for step in ALL_STEPS.values() if step.holds_writes}
HASTY = replace(UNAUDITED, config={"cutover": {"lease_seconds": 4, "hold_budget_ms": 30_000, "steps": PATIENT}})
"""Whoever is killed is followed soon; who is only slow, on a machine that others use, has time."""


@dataclass(frozen=True, slots=True)
class Shared:
    """The world, and what its last story said."""

    plan: Plan
    said: list[str] = field(default_factory=list)
    worlds: list[World] = field(default_factory=list)

    def tell(self, order: Order) -> Told:
        """Let a story happen in it."""
        self.said.clear()
        if not self.worlds:
            self.worlds.append(World(self.plan, self.said.append).__enter__())
        try:
            told = Story(self.worlds[0], order, self.said.append).tell()
        except BaseException:
            self.close()
            raise
        if told.dangers():
            self.close()
        return told

    def close(self) -> None:
        while self.worlds:
            self.worlds.pop().__exit__(None, None, None)


@contextmanager
def shared_world(plan: Plan = UNAUDITED) -> Iterator[Shared]:
    """Give a world that is made when it is first needed."""
    shared = Shared(plan)
    try:
        yield shared
    finally:
        shared.close()
