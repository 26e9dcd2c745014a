"""A proxy of the user's own, led by programs: here a PgBouncer, by a script that an operator could have written."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from comparators.errors import NotReady, Retryable
from comparators.positions import Side
from orchestrator.adapters.commands import CommandedProxy, exec_proxy
from orchestrator.adapters.destinations import Destinations
from orchestrator.ports import ProxySeen
from orchestrator.proxies import ProxyGroup
from tests.helpers import Pair, wait_for
from tests.pools import Pool, Writers, commanded, destinations, one_pool, rows_written, soon

NOWHERE = Destinations({})
ON_SOURCE = ["echo", '{"held": false, "route": "source"}']


@pytest.fixture
def pool(pair: Pair) -> Iterator[Pool]:
    with one_pool(pair) as started:
        yield started


@pytest.fixture
def proxy(pool: Pool, tmp_path: Path) -> CommandedProxy:
    return commanded(pool, tmp_path)


def test_it_is_held_led_and_let_go_without_an_error(pair: Pair, pool: Pool, proxy: CommandedProxy) -> None:
    group = ProxyGroup([proxy])
    assert [] == group.check()
    with Writers(pool.dsn, count=4) as writers:
        wait_for(lambda: len(writers.acknowledged) > 20, 60, "clients to be busy")
        assert group.hold(soon())["held"] is True
        at_source = rows_written(pair.source)
        assert "target" == group.route(Side.TARGET, soon())["route"]
        assert group.release(soon())["held"] is False
        count = len(writers.acknowledged)
        wait_for(lambda: len(writers.acknowledged) > count + 20, 60, "clients to go on")
    assert [] == writers.errors
    assert sorted(writers.acknowledged) == sorted(at_source + rows_written(pair.target))
    assert ProxySeen(False, Side.TARGET, {"only": "target"}) == proxy.observe()
    assert f"127.0.0.1:{pair.target.server.port}" == proxy.probe(soon()).address


def test_every_effect_done_again_says_the_same(proxy: CommandedProxy) -> None:
    for effect in (proxy.hold, proxy.hold, proxy.release, proxy.release):
        effect(soon())
    assert (False, Side.SOURCE) == (proxy.observe().held, proxy.observe().route)


def test_an_order_that_is_not_obeyed_is_a_failure(pool: Pool) -> None:
    told = {"hold": ["true"], "release": ["true"], "route": ["true"]}
    proxy = exec_proxy("ours", **told, observe=ON_SOURCE, probe=pool.dsn, destinations=NOWHERE)
    assert [] == proxy.check()
    with pytest.raises(NotReady, match="was told to hold, and shows held: False"):
        proxy.hold(soon(3))
    with pytest.raises(NotReady, match="was told to route"):
        proxy.route(Side.TARGET, soon(3))
    assert proxy.release(soon())["held"] is False


@pytest.mark.parametrize("shown", ["{}", "nothing", '{"held": "yes", "route": "both"}', '{"held": 1, "route": 1}'])
def test_what_is_not_told_is_not_known(pool: Pool, shown: str) -> None:
    told = {"hold": ["true"], "release": ["true"], "route": ["true"]}
    proxy = exec_proxy("ours", **told, observe=["echo", shown], probe=pool.dsn, destinations=NOWHERE)
    assert ProxySeen(None, None) == proxy.observe()
    assert ["held", "route"] == [one.name for one in proxy.check()]
    with pytest.raises(Retryable):
        proxy.hold(soon(1))


def test_a_program_that_fails_is_told_before_it_is_needed(pool: Pool) -> None:
    told = {"hold": ["true"], "release": ["true"], "route": ["true"]}
    proxy = exec_proxy("ours", **told, observe=["false"], probe=pool.dsn, destinations=NOWHERE)
    assert ["observe"] == [one.name for one in proxy.check()]


def test_a_probe_that_leads_nowhere_is_told_before_it_is_needed(pool: Pool) -> None:
    told = {"hold": ["true"], "release": ["true"], "route": ["true"]}
    dsn = pool.dsn.replace(f"port={pool.server.port}", "port=1")
    (found,) = exec_proxy("ours", **told, observe=ON_SOURCE, probe=dsn, destinations=NOWHERE).check()
    assert "probe" == found.name
    assert "pooled" not in found.reason


def test_places_that_are_told_are_asked_who_they_are(pair: Pair, pool: Pool) -> None:
    told = {"hold": ["true"], "release": ["true"], "route": ["true"], "observe": ON_SOURCE, "probe": pool.dsn}
    source, target = ({"host": "127.0.0.1", "port": str(side.server.port)} for side in (pair.source, pair.target))

    def reasons(**places: dict[str, str]) -> list[str]:
        given = {Side(side): {**place, "dbname": pair.name} for side, place in places.items()}
        return [one.reason for one in exec_proxy("ours", **told, places=given, destinations=destinations(pair)).check()]

    assert [] == reasons(source=source, target=target)
    (wrong,) = reasons(source=source, target=source)
    assert "is not the target" in wrong
