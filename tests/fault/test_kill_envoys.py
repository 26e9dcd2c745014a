"""An orchestrator that leads Envoys is killed or stopped: they keep what they were told until they are led again."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from auditor.demo.cutover.breakpoints import Moment
from auditor.demo.cutover.story import How, Kill, Order
from tests.fault.cutover_worlds import HASTY, Shared, shared_world

pytestmark = pytest.mark.alone
CASES = [
    ("hold-proxies", How.KILL),
    ("see-marker", How.KILL),
    ("see-marker", How.STOP),
    ("commit", How.KILL),
    ("route-proxies", How.KILL),
    ("route-proxies", How.STOP),
    ("release-proxies", How.KILL),
    ("watch", How.KILL),
]
"""While all Envoys hold, where an abort by the dead man follows; while they are switched, and after that."""
SOON = 0.5


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    with shared_world(replace(HASTY, pools=0, envoys=2)) as world:
        yield world


@pytest.mark.parametrize(("step", "how"), CASES)
def test_an_orchestrator_that_leads_envoys_is_disturbed(shared: Shared, step: str, how: How):
    moment = Moment.BEFORE if step == "watch" else Moment.AFTER  # it is done once an operator ends it
    told = shared.tell(Order(kill=Kill(step, moment, how), returns=True, busy=SOON, guard=SOON))
    assert [] == told.dangers(), "\n".join([*shared.said[-60:], told.log_tail])
    assert all(failure.retryable for failure in told.failures), told.failures
