"""A rehearsal lists every action of the whole way and does none of them."""

from dataclasses import replace

from orchestrator.cutover import STEPS, Event, Phase
from orchestrator.ports import Blocker
from orchestrator.records import Direction
from orchestrator.rehearsal import rehearse
from tests.cutovers import PLAN, RULES, World

ASKED = {"source.rehearse", "source.observe", "target.observe"}


def test_every_step_is_gone_through_and_nothing_is_done():
    world = World()
    world.traffic_on = False
    found = rehearse("orders", world.ports(Direction.FORWARD), PLAN, RULES)
    assert found.ending is not None
    assert (Phase.FINALIZED, None) == (found.ending.phase, found.ending.ended), found.ending
    assert set(world.calls) <= ASKED
    assert all(side.open for side in world.sides.values())
    assert [] == world.journal.entries()
    listed = {action.step for action in found.actions}
    silent = {"check-all", "check-gate", "check-approval", "check-budget", "count-old-sessions", "commit", "watch"}
    assert {step.name for step in STEPS} - listed <= silent | {"confirm-verdict"}
    parts = [action.part for action in found.actions if action.step == "hold-proxies"]
    assert ["proxy pool-1", "proxy pool-2"] == sorted(set(parts) - {"hooks"})


def test_it_ends_where_the_real_one_would_be_refused():
    world = World()
    world.blockers = [Blocker("role app", "it is a superuser", "take that from it")]
    found = rehearse("orders", world.ports(Direction.FORWARD), PLAN, RULES)
    assert found.ending is not None
    assert (Event.REFUSED, Phase.HELD) == (found.ending.ended, found.ending.phase)
    assert "superuser" in str(found.ending.reason)


def test_it_refuses_a_budget_that_would_be_missed():
    world = World()
    world.predicted = RULES.hold_budget_ms + 1
    found = rehearse("orders", world.ports(Direction.FORWARD), PLAN, replace(RULES, approvals_needed=2))
    assert found.ending is not None
    assert Event.ABORTED is found.ending.ended
    assert set(world.calls) <= ASKED
