"""Shadow reads on two real databases: what differs, what moves, and that reads are always led back."""

import itertools
from collections.abc import Sequence

import pytest

from comparators.errors import NotReady
from comparators.positions import Side
from orchestrator.adapters import shadow
from orchestrator.adapters.shadow import Read, ReadsLeader, ShadowReads
from orchestrator.deadlines import Deadline
from orchestrator.ports import Facts
from tests.envoys import EnvoyWorld, soon
from tests.helpers import Pair

READS = [
    Read("all", "SELECT * FROM public.things ORDER BY id DESC;"),
    Read("count", "SELECT count(*) FROM public.things"),
]


class Leader:
    """Leads reads, or cannot."""

    name = "edge"

    def __init__(self, *, possible: bool = True, fails_on: Side | None = None) -> None:
        self.possible, self.fails_on = possible, fails_on
        self.led: list[Side] = []

    def lead_reads(self, to: Side, deadline: Deadline) -> Facts:
        deadline.left()
        if not self.possible:
            return {"possible": False}
        self.led.append(to)
        if to is self.fails_on:
            raise NotReady("a node is away")
        return {"possible": True}


@pytest.fixture
def things(pair: Pair) -> Pair:
    """The same rows on both sides, in another order."""
    for database, order in ((pair.source, "ASC"), (pair.target, "DESC")):
        database.execute("CREATE TABLE public.things (id int PRIMARY KEY, what text)")
        database.execute(
            f"INSERT INTO public.things SELECT i, 'é' || i FROM generate_series(1, 100) i ORDER BY i {order}"
        )
    return pair


def shadowing(pair: Pair, leaders: Sequence[ReadsLeader], reads: Sequence[Read] = READS, **more: float) -> ShadowReads:
    sides = {Side.SOURCE: pair.source.dsn, Side.TARGET: pair.target.dsn}
    return ShadowReads(leaders, sides, reads, Side.SOURCE, **{"settle_seconds": 0.3, **more})


def test_reads_are_led_there_compared_and_led_back(things: Pair):
    leader = Leader()
    facts = shadowing(things, [leader]).lead(soon())
    assert (0, 0, 0) == (facts["different"], facts["errors"], facts["undecided"])
    assert len(READS) * (1 + shadow.LED_ROUNDS) == facts["compared"]
    assert [Side.SOURCE, Side.TARGET, Side.SOURCE] == leader.led


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize(
    "damage", ["UPDATE public.things SET what = 'x' WHERE id = 7", "DELETE FROM public.things WHERE id = 7"]
)
def test_nobody_is_led_to_a_side_that_answers_differently(things: Pair, side: Side, damage: str):
    (things.source if side is Side.SOURCE else things.target).execute(damage)
    leader = Leader()
    facts = shadowing(things, [leader]).lead(soon())
    assert "all" in facts["reads_different"]
    assert facts["different"] == len(facts["reads_different"])
    assert Side.TARGET not in leader.led


def test_a_read_that_fails_on_one_side_is_an_error(things: Pair):
    things.target.execute("DROP TABLE public.things")
    facts = shadowing(things, [Leader()]).lead(soon())
    assert (0, 2, ["all", "count"]) == (facts["compared"], facts["errors"], facts["reads_failed"])


def test_a_read_that_never_holds_still_is_undecided(things: Pair):
    moving = Read("moving", "SELECT clock_timestamp()")
    facts = shadowing(things, [Leader()], [moving]).lead(soon())
    assert (0, 0, 1) == (facts["compared"], facts["different"], facts["undecided"])


def test_a_read_may_not_write(things: Pair):
    writing = Read("writing", "SELECT nextval('public.counter')")
    for database in (things.source, things.target):
        database.execute("CREATE SEQUENCE public.counter")
    facts = shadowing(things, [Leader()], [writing]).lead(soon())
    assert 1 == facts["errors"]


def test_reads_are_led_back_where_leading_them_fails(things: Pair):
    leader = Leader(fails_on=Side.TARGET)
    with pytest.raises(NotReady):
        shadowing(things, [leader]).lead(soon())
    assert Side.SOURCE is leader.led[-1]


def test_where_no_proxy_can_nothing_is_claimed(things: Pair):
    for leaders, reads in itertools.product(([], [Leader(possible=False)]), (READS, [])):
        assert {"possible": False} == shadowing(things, leaders, reads).lead(soon())
    assert {"possible": False} == shadowing(things, [Leader()], []).lead(soon())


def test_readers_through_envoy_come_to_the_new_side_meanwhile(things: Pair):
    """Who connects during the trial reads on the target; afterwards on the source again."""
    with EnvoyWorld(things, nodes=1) as world:
        proxy = world.taken_over(world.proxy())
        seen = []

        class Watched:
            name = proxy.name

            def lead_reads(self, to: Side, deadline: Deadline) -> Facts:
                facts = proxy.lead_reads(to, deadline)
                seen.append(world.side_now(0, "app-reads"))
                return facts

        facts = shadowing(things, [Watched()]).lead(soon())
        assert (0, 0) == (facts["different"], facts["errors"])
        assert [Side.SOURCE, Side.TARGET, Side.SOURCE] == seen
        assert Side.SOURCE is world.side_now(0)
