"""What every proxy promises, whoever leads it: the model's fake, PgBouncer, one led by programs or by a web service."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from comparators.errors import Retryable
from comparators.positions import Side
from orchestrator.deadlines import Deadline
from orchestrator.ports import Proxy
from tests.cutovers import World
from tests.helpers import Pair
from tests.pools import commanded, hooked, one_pool, soon


@dataclass
class Subject:
    """A proxy that leads to the source, and the servers' identities by side."""

    proxy: Proxy
    systems: dict[Side, str]


@pytest.fixture(params=["fake", "pgbouncer", "programs", "webhook"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        yield Subject(World(proxies=1).proxies[0], {side: f"system of {side}" for side in Side})
        return
    pair: Pair = request.getfixturevalue("pair")
    with one_pool(pair) as pool:
        asked = "SELECT system_identifier::text FROM pg_control_system()"
        systems = {Side.SOURCE: pair.source.value(asked), Side.TARGET: pair.target.value(asked)}
        if request.param == "webhook":
            with hooked(pool, tmp_path) as proxy:
                yield Subject(proxy, systems)
        else:
            yield Subject(pool.driver() if request.param == "pgbouncer" else commanded(pool, tmp_path), systems)


def test_one_that_is_ready_has_nothing_against_it(subject: Subject) -> None:
    assert [] == list(subject.proxy.check())
    assert (False, Side.SOURCE) == (subject.proxy.observe().held, subject.proxy.observe().route)


def test_held_led_and_let_go_each_twice(subject: Subject) -> None:
    proxy = subject.proxy
    for _ in range(2):
        assert proxy.hold(soon())["held"] is True
        assert (True, Side.SOURCE) == (proxy.observe().held, proxy.observe().route)
    for to in (Side.TARGET, Side.TARGET, Side.SOURCE, Side.TARGET):
        assert to.value == proxy.route(to, soon())["route"]
        assert (True, to) == (proxy.observe().held, proxy.observe().route)
    for _ in range(2):
        assert proxy.release(soon())["held"] is False
        assert (False, Side.TARGET) == (proxy.observe().held, proxy.observe().route)


def test_whoever_answers_is_the_side_that_it_leads_to(subject: Subject) -> None:
    proxy = subject.proxy
    for to in (Side.TARGET, Side.SOURCE):
        proxy.hold(soon())
        proxy.route(to, soon())
        proxy.release(soon())
        assert subject.systems[to] == proxy.probe(soon()).system


@pytest.mark.parametrize("effect", ["hold", "route"])
def test_nothing_is_done_after_the_deadline(subject: Subject, effect: str) -> None:
    over = Deadline.within(-1, "a test")
    with pytest.raises(Retryable):
        subject.proxy.hold(over) if effect == "hold" else subject.proxy.route(Side.TARGET, over)
    assert (False, Side.SOURCE) == (subject.proxy.observe().held, subject.proxy.observe().route)
