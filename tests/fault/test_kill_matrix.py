"""Kill -9, stop or cut off whoever takes part, at every step of a cutover: what follows is always safe.

All cases share one world, which each leaves as it found it: the source serves.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from auditor.demo.cutover.breakpoints import Moment
from auditor.demo.cutover.faults import Fault, Heal
from auditor.demo.cutover.story import LATE_ABORT, How, Kill, Order
from auditor.demo.cutover.told import Told
from auditor.demo.cutover.world import World
from auditor.servers import PostgresServer
from auditor.servers.pgbouncer import PgBouncerServer
from orchestrator.cutover import ALL_STEPS, Phase
from tests.fault.cutover_worlds import HASTY, Shared, shared_world
from tests.fault.kills import keep

pytestmark = pytest.mark.alone
BUSY_SECONDS = 0.5
NAMES = list(ALL_STEPS)
EARLY = NAMES[: NAMES.index("hold-proxies")]
"""Before anything is held: what follows the kill is aborted at the last moment, as everything behind it has its own; in
FENCING whoever comes after the kill aborts by itself, as writes may be held."""
STEPS = sorted((name for name in NAMES if name != "finalize"), key=EARLY.__contains__)
STRUCK = ["prepare-reverse", "hold-proxies", "see-marker", "stop-forward", "commit", "open-new", "prove-routing"]
"""Steps at which servers are killed: before writes are held, while they are, around the commit, and after it."""
VICTIMS = ["source", "target", "journal", "proxy"]
WHOLE = {
    "disturbed": [(step, how) for step in STEPS for how in How],
    "struck": [(step, victim) for step in STRUCK for victim in VICTIMS],
}
AROUND = ["hold-proxies", "commit", "route-proxies"]
CHOSEN = {
    "disturbed": [
        *((step.name, How.KILL) for step in ALL_STEPS.values() if step.holds_writes),
        *((step, how) for step in AROUND for how in (How.STOP, How.CUT)),
        ("prepare-reverse", How.KILL),
        ("prove-routing", How.KILL),
    ],
    "struck": [(step, victim) for step in ("see-marker", "open-new") for victim in VICTIMS],
}
"""What every run of the suite tries: wherever writes are held, and a few of everything else."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the cases: all of them where that is asked for."""
    cases = WHOLE if metafunc.config.getoption("--whole-kill-matrix") else CHOSEN
    for kind, values in (("disturbed", "step, how"), ("struck", "step, victim")):
        if metafunc.definition.name.endswith(kind):
            metafunc.parametrize(values, cases[kind])


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    with shared_world(HASTY) as world:
        yield world


def safe(shared: Shared, order: Order, step: str, victim: str) -> Told:
    told = shared.tell(replace(order, returns=True, busy=BUSY_SECONDS, guard=BUSY_SECONDS))
    dangers = told.dangers()
    keep(step, victim, end=told.end, dangers=dangers, lost=len(told.checked.lost), seconds=told.seconds)
    assert [] == dangers, "\n".join([*shared.said[-60:], told.log_tail])
    return told


def test_an_orchestrator_is_disturbed(shared: Shared, step: str, how: How):
    late = LATE_ABORT if step in EARLY and ALL_STEPS[step].phase is not Phase.FENCING else None
    moment = Moment.BEFORE if step == "watch" else Moment.AFTER  # it is done once an operator ends it
    safe(shared, Order(late, Kill(step, moment, how)), step, how)


def test_a_server_is_struck(shared: Shared, step: str, victim: str):
    fault = Fault(f"{victim}-killed", f"the {victim} is killed", step, killing(victim), any_end=True, lasts=0.0)
    safe(shared, Order(fault=fault), step, victim)


def killing(victim: str) -> Callable[[World], Heal]:
    """Make what kills a server; healing starts it again."""

    def kill(world: World) -> Heal:
        servers: dict[str, PostgresServer | PgBouncerServer] = {
            "source": world.source.server, "target": world.target.server, "journal": world.journal,
            "proxy": world.pools[0],
        }  # fmt: skip
        server = servers[victim]
        server.kill()
        return lambda: void(server.start())

    return kill


def void(_: object) -> None:
    """Forget a result."""
