"""What the plan finds to speak against a cutover, asked of parts without servers."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from auditor.cutover import planning
from auditor.cutover.wiring import Assembly
from comparators.positions import Side
from orchestrator.parallel import Ended, in_parallel
from orchestrator.ports import Blocker, ProxySeen
from orchestrator.records import Direction
from tests.cutovers import FakeProxy, World


def assembly_of(world: World) -> Assembly:
    return Assembly(world.journal, {Direction.FORWARD: world.ports(Direction.FORWARD)}, None, None)  # type: ignore[arg-type]


def test_nothing_speaks_against_a_sound_world() -> None:
    assert [] == planning.blockers(assembly_of(World()))


def test_a_proxy_that_leads_to_the_target_already_speaks_against_it() -> None:
    world = World()
    world.proxies[1].leads_to = Side.TARGET
    (found,) = planning.blockers(assembly_of(world))
    assert ("routing", "route", "pool-2 leads to the target") == (found["part"], found["name"], found["reason"])


class Returning(FakeProxy):
    """Knows where it leads once its check has waited for its nodes."""

    back = False

    def check(self) -> Sequence[Blocker]:
        self.back = True
        return ()

    def observe(self) -> ProxySeen:
        return super().observe() if self.back else ProxySeen(None, None)


def test_where_proxies_lead_is_asked_once_each_has_been_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    def last_first(tasks: Mapping[str, Callable[[], object]]) -> Ended[object]:
        ended = [in_parallel({name: tasks[name]}) for name in reversed(tasks)]
        return Ended({name: answer for one in ended for name, answer in one.answers.items()}, {})

    world = World(proxies=0)
    world.proxies.append(Returning(world, "edge"))
    monkeypatch.setattr(planning, "in_parallel", last_first)
    assert [] == planning.blockers(assembly_of(world))
