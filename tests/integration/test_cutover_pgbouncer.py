"""A whole cutover through two PgBouncers, with live clients: nobody fails, nothing is lost, and the way back works."""

from collections.abc import Iterator

import pytest

from auditor.demo.cutover.faults import End
from auditor.demo.cutover.story import Order, Story
from auditor.demo.cutover.told import Told, document
from auditor.demo.cutover.world import Plan, World
from comparators.positions import Side
from tests.unaudited import Forked

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(Plan(pools=2, audited=False, launcher=Forked), print) as world:
        yield world


def undisturbed(told: Told, end: End) -> None:
    assert (end, [], []) == (told.end, told.dangers(), list(told.failures)), told.log_tail
    assert ([], "complete") == (list(told.checked.lost), told.proof), told.log_tail
    assert 100 < told.checked.acknowledged


def test_there_and_back_loses_nothing_and_fails_nobody(world: World):
    told = Story(world, Order(returns=True), print).tell()
    undisturbed(told, End.ROLLED_BACK)
    assert [Side.SOURCE, Side.TARGET, Side.SOURCE] == list(told.turns)
    said = document(told, None, None)["cutover"]
    assert None not in (said["held_write_ms"], said["rollback_held_write_ms"])


def test_a_promotion_after_a_rollback_is_as_good_as_any(world: World):
    told = Story(world, Order(), print).tell()
    undisturbed(told, End.PROMOTED)
    assert [Side.SOURCE, Side.TARGET] == list(told.turns)
    assert [Side.TARGET] == list(told.writable)
    assert 0 == world.command("cutover", "verify-journal").returncode
