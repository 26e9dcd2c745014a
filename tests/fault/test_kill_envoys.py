"""An orchestrator that leads Envoys is killed or stopped: they keep what they were told until they are led again."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from auditor.demo.cutover.breakpoints import Moment
from auditor.demo.cutover.story import How, Kill, Order
from tests.fault.cutover_worlds import UNAUDITED, Shared, shared_world

pytestmark = pytest.mark.alone
STEPS = ["see-marker", "commit"]
"""While all Envoys hold: what follows is an abort by the dead man, and a switch by the next orchestrator."""


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    with shared_world(replace(UNAUDITED, pools=0, envoys=2)) as world:
        yield world


@pytest.mark.parametrize("how", [How.KILL, How.STOP])
@pytest.mark.parametrize("step", STEPS)
def test_an_orchestrator_that_leads_envoys_is_disturbed(shared: Shared, step: str, how: How):
    told = shared.tell(Order(kill=Kill(step, Moment.AFTER, how), returns=True))
    assert [] == told.dangers(), "\n".join([*shared.said[-60:], told.log_tail])
    assert all(failure.retryable for failure in told.failures), told.failures
