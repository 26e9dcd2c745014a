"""The control plane before nodes that pretend: who has not acknowledged, refuses, or goes by another's name."""

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any, Self

import grpc
import pytest

from auditor.servers.ports import free_pair
from comparators.errors import NotReady
from comparators.positions import Side
from orchestrator.adapters.destinations import Destinations
from orchestrator.adapters.envoy.fleet import Fleet
from orchestrator.adapters.envoy.nodes import EnvoyRefused
from orchestrator.adapters.envoy.proxy import EnvoyProxy
from orchestrator.adapters.envoy.resources import CLUSTERS, ENDPOINTS
from orchestrator.adapters.envoy.serving import Serving
from orchestrator.deadlines import Deadline, DeadlinePassed
from tests.envoys import SECONDS, PretendedNode, here, soon
from tests.helpers import wait_for

PLACES = {Side.SOURCE: here(1), Side.TARGET: here(2)}


class Led:
    """A control plane, and what pretends to be its fleet."""

    def __init__(self, *nodes: str, **fleet: Any) -> None:
        self.fleet = Fleet("edge", here(free_pair()), nodes, "app", PLACES, **fleet)
        self.acts = True
        self.proxy = EnvoyProxy(
            self.fleet, [], lambda: Serving.all_on(Side.SOURCE), destinations=Destinations({}),
            may_act=lambda: self.acts,
        )  # fmt: skip

    def node(self, name: str, **how: Any) -> PretendedNode:
        return PretendedNode(name, self.fleet.listen, **how)

    def check(self, name: str, side: Side = Side.SOURCE) -> http.client.HTTPConnection:
        """Connect as a node's health check does; `asked` asks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.fleet.listen.port + 1, timeout=SECONDS)
        connection.connect()
        connection._path, connection._side = f"/nodes/{name}/clusters/app", side  # type: ignore[attr-defined]
        return connection


def asked(connection: Any) -> int:
    connection.putrequest("GET", connection._path, skip_host=True)
    connection.putheader("host", connection._side.value)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    return int(response.status)


class Checking:
    """Asks again and again, as a node's health check does."""

    def __init__(self, connection: Any, most: int = 1000) -> None:
        self._connection, self._most = connection, most
        self.answers: list[int] = []
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()

    def _ask(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            while len(self.answers) < self._most:
                self.answers.append(asked(self._connection))


def briefly() -> Deadline:
    return Deadline.within(0.3, "holding")


@pytest.fixture
def one() -> Iterator[Led]:
    led = Led("edge-1")
    with led.proxy:
        yield led


@pytest.fixture
def two() -> Iterator[Led]:
    led = Led("edge-1", "edge-2")
    with led.proxy:
        yield led


def test_a_node_that_never_acknowledges_is_named(two: Led):
    with two.node("edge-1"), two.node("edge-2", answers=False) as silent:
        wait_for(lambda: len(silent.told) == 3, SECONDS, "all to be told")
        with pytest.raises(DeadlinePassed, match="edge-2 has not acknowledged") as failed:
            two.proxy.route(Side.TARGET, briefly())
    assert "edge-1" not in str(failed.value)


def test_a_node_that_is_not_there_is_named(two: Led):
    with two.node("edge-1"), pytest.raises(DeadlinePassed, match="edge-2 is not connected"):
        two.proxy.release(briefly())
    assert None is two.proxy.observe().held


def test_a_node_that_refuses_fails_at_once_in_its_own_words(one: Led):
    with one.node("edge-1") as node:
        one.proxy.release(soon())
        node.refuses = "no such filter"
        with pytest.raises(EnvoyRefused, match="edge-1 refuses what it was told: no such filter"):
            one.proxy.route(Side.TARGET, soon())
        assert Side.SOURCE is one.proxy.observe().route
        node.refuses = None
        one.proxy.route(Side.SOURCE, soon())  # told anew, it accepts


def test_an_acknowledgement_of_something_older_does_not_count(one: Led):
    with one.node("edge-1") as node:
        one.proxy.release(soon())
        node.answers = False
        node.say(type_url=ENDPOINTS, version_info="writes=target reads=target held=no #", response_nonce="before")
        with pytest.raises(DeadlinePassed):
            one.proxy.route(Side.TARGET, briefly())
        assert Side.SOURCE is one.proxy.observe().route


def test_two_envoys_of_one_name_must_both_acknowledge_and_are_a_blocker(one: Led):
    with one.node("edge-1"), one.node("edge-1", answers=False) as twin:
        wait_for(lambda: len(twin.told) == 3, SECONDS, "the twin to be told")
        with pytest.raises(DeadlinePassed, match="edge-1 has not acknowledged"):
            one.proxy.route(Side.TARGET, briefly())
        assert "node-ids" in {blocker.name for blocker in one.proxy.check()}


def test_a_stranger_is_told_nothing_and_is_a_blocker(one: Led):
    with one.node("edge-9") as stranger, one.node("edge-1"):
        failed = wait_for(lambda: stranger.failed, SECONDS, "the stranger to be sent away")
        assert [] == stranger.told
        assert "strangers" in {blocker.name for blocker in one.proxy.check()}
    assert isinstance(failed, grpc.Call)
    assert grpc.StatusCode.PERMISSION_DENIED is failed.code()


def test_nodes_known_by_a_pattern_count_while_they_are_connected():
    led = Led("edge-1", "sidecar-*")
    with led.proxy, led.node("edge-1"):
        assert {"edge-1"} == set(led.proxy.release(soon())["nodes"])
        with led.node("sidecar-a", answers=False) as silent:
            wait_for(lambda: silent.told, SECONDS, "the sidecar to be told")
            with pytest.raises(DeadlinePassed, match="sidecar-a"):
                led.proxy.route(Side.TARGET, briefly())
        wait_for(lambda: set(led.proxy.observe().nodes) == {"edge-1"}, SECONDS, "the sidecar to be gone")
        led.proxy.route(Side.TARGET, soon())


def test_a_process_that_may_not_act_tells_nothing(one: Led):
    """Its lease is over: another leads the fleet, and it must not say what it knows from before."""
    one.acts = False
    with one.node("edge-1") as node:
        failed = wait_for(lambda: node.failed, SECONDS, "the node to be sent away")
        assert [] == node.told
    assert isinstance(failed, grpc.Call)
    assert grpc.StatusCode.UNAVAILABLE is failed.code()
    with pytest.raises(http.client.RemoteDisconnected):
        asked(one.check("edge-1"))


def test_a_process_that_wakes_after_its_lease_lets_its_nodes_go(one: Led):
    with one.node("edge-1") as node:
        one.proxy.release(soon())
        told = len(node.told)
        one.acts = False
        wait_for(lambda: None is one.proxy.observe().held, SECONDS, "the conversation to end")
        with pytest.raises(DeadlinePassed):
            one.proxy.route(Side.TARGET, briefly())
        assert told == len(node.told)


def test_clusters_are_not_told_again_when_only_the_route_changes(one: Led):
    with one.node("edge-1") as node:
        one.proxy.release(soon())
        one.proxy.route(Side.TARGET, soon())
        assert 1 == [told.type_url for told in node.told].count(CLUSTERS)


def test_nobody_is_held_where_a_health_check_does_not_come(one: Led):
    """Its sessions could not be ended; nothing was told."""
    with one.node("edge-1") as node:
        one.proxy.release(soon())
        told = len(node.told)
        with pytest.raises(DeadlinePassed, match="edge-1 sends no health check"):
            one.proxy.hold(briefly())
        assert told == len(node.told)


def test_a_waiting_health_check_hears_of_the_hold_at_once(one: Led):
    """And the hold is over only when each node's has."""
    with one.node("edge-1"), Checking(one.check("edge-1")) as check:
        assert ["edge-1"] == one.proxy.hold(soon())["sessions_ended_by"]
        assert [200, 503] == check.answers
        assert 503 == asked(one.check("edge-1", Side.TARGET))
        one.proxy.route(Side.TARGET, soon())
        one.proxy.release(soon())
        assert 503 == asked(one.check("edge-1"))
        assert 200 == asked(one.check("edge-1", Side.TARGET))


def test_an_answer_that_may_not_have_been_taken_ends_nothing(one: Led):
    """A node that leaves its health check without asking again may have sessions open."""
    with one.node("edge-1"):
        left = Checking(one.check("edge-1"), most=2)
        with left, pytest.raises(DeadlinePassed, match="edge-1 has not ended its sessions"):
            one.proxy.hold(briefly())
        with Checking(one.check("edge-1")):
            one.proxy.hold(soon())


def test_what_was_well_before_the_last_change_arms_nothing(one: Led):
    """An Envoy acts on the change alone: held again before it heard that all was well, it would end nothing."""
    with one.node("edge-1"):
        with Checking(one.check("edge-1")):
            one.proxy.hold(soon())
        one.proxy.release(soon())
        with pytest.raises(DeadlinePassed, match="edge-1 sends no health check"):
            one.proxy.hold(briefly())
        with Checking(one.check("edge-1")):
            one.proxy.hold(soon())


def test_what_is_no_health_check_is_hung_up_on(one: Led):
    connection = http.client.HTTPConnection("127.0.0.1", one.fleet.listen.port + 1, timeout=SECONDS)
    connection.request("GET", "/")
    with pytest.raises(http.client.RemoteDisconnected):
        connection.getresponse()


def test_an_address_that_is_taken_is_named_and_leaves_nothing_open(one: Led):
    other = EnvoyProxy(one.fleet, [], lambda: Serving.all_on(Side.TARGET), destinations=Destinations({}))
    for _ in range(2):
        with pytest.raises(NotReady, match=str(one.fleet.listen.port + 1)):
            other.open()


def test_without_a_cluster_of_their_own_reads_cannot_be_led(one: Led):
    assert {"possible": False} == one.proxy.lead_reads(Side.TARGET, soon())
