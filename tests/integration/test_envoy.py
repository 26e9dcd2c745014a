"""A fleet of two real Envoys before two PostgreSQL: held, led and let go, with clients that live through it."""

import contextlib
import signal
import time
from collections.abc import Iterator

import psycopg
import pytest

from comparators.errors import NotReady
from comparators.positions import Side
from orchestrator.adapters.envoy.proxy import EnvoyProxy
from orchestrator.adapters.envoy.serving import Serving
from tests.envoys import READS, SECONDS, Client, ControlPlaneProcess, EnvoyWorld, here, soon
from tests.helpers import Pair, wait_for

ON_SOURCE = Serving.all_on(Side.SOURCE)


@pytest.fixture
def world(pair: Pair) -> Iterator[EnvoyWorld]:
    with EnvoyWorld(pair) as made:
        yield made


@contextlib.contextmanager
def started(world: EnvoyWorld) -> Iterator[ControlPlaneProcess]:
    """Lead the fleet from another process."""
    with ControlPlaneProcess(world, ON_SOURCE) as control:
        world.await_entries()
        yield control


def settled(clients: list[Client], side: Side) -> None:
    """Wait until every client was answered by a side."""
    moment = time.monotonic()
    wait_for(lambda: all(side in client.answers_since(moment) for client in clients), SECONDS, f"answers of the {side}")


def test_clients_wait_and_go_on_at_the_other_side_with_one_error_each(world: EnvoyWorld):
    """Held, nobody is answered; released, the new side answers everybody."""
    proxy = world.taken_over(world.proxy())
    with world.clients() as clients:
        held = proxy.hold(soon())
        moment = time.monotonic()
        routed = proxy.route(Side.TARGET, soon())
        time.sleep(0.5)  # nothing must happen in this time

        assert [] == [side for client in clients for side in client.answers_since(moment)]

        released = proxy.release(soon())
        settled(clients, Side.TARGET)

        assert {Side.TARGET} == {side for client in clients for side in client.answers_since(moment)}
        assert {1} == {len(client.errors) for client in clients}
        assert all(isinstance(error, psycopg.OperationalError) for client in clients for error in client.errors)
    assert (True, "target", False) == (held["held"], routed["route"], released["held"])
    assert set(world.fleet.nodes) == set(held["nodes"]) == set(held["sessions_ended_by"])
    seen = proxy.observe()
    assert (False, Side.TARGET, set(world.fleet.nodes)) == (seen.held, seen.route, set(seen.nodes))
    assert proxy.probe(soon()).address.endswith(f":{world.fleet.places[Side.TARGET].port}")


def test_an_abort_lets_everybody_go_on_where_they_were(world: EnvoyWorld):
    proxy = world.taken_over(world.proxy())
    with world.clients() as clients:
        proxy.hold(soon())
        assert (True, Side.SOURCE) == (proxy.observe().held, proxy.observe().route)
        proxy.route(Side.SOURCE, soon())
        proxy.release(soon())
        settled(clients, Side.SOURCE)

        assert {1} == {len(client.errors) for client in clients}
        assert {Side.SOURCE} == {side for client in clients for _, side in client.seen}


def test_effects_may_be_repeated(world: EnvoyWorld):
    """A restart repeats what it does not know to be done; nobody is thrown out twice."""
    proxy = world.taken_over(world.proxy())
    with world.clients(each=1) as clients:
        proxy.hold(soon())
        assert proxy.hold(soon())["held"]
        for _ in range(2):
            proxy.route(Side.TARGET, soon())
        for _ in range(2):
            proxy.release(soon())
        settled(clients, Side.TARGET)

        assert {1} == {len(client.errors) for client in clients}


def test_holding_ends_sessions_without_help_from_the_database(world: EnvoyWorld):
    """Idle ones and those in a transaction, on each Envoy."""
    proxy = world.taken_over(world.proxy())
    idle, busy = world.connect(0), world.connect(1)
    busy.execute("BEGIN")
    wait_for(lambda: world.sessions(Side.SOURCE) == 2, SECONDS, "both sessions")

    proxy.hold(soon())

    wait_for(lambda: world.sessions(Side.SOURCE) == 0, SECONDS, "no session on the source")
    for session in (idle, busy):
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")


def test_a_second_hold_ends_the_sessions_of_the_time_between(world: EnvoyWorld):
    proxy = world.taken_over(world.proxy())
    proxy.hold(soon())
    proxy.release(soon())
    world.connect()
    proxy.hold(soon())
    wait_for(lambda: world.sessions(Side.SOURCE) == 0, SECONDS, "no session on the source")


def test_one_switch_after_the_other_leaves_nobody_behind(world: EnvoyWorld):
    """There and back at once: whoever was ended came back held, and was ended again by the next hold."""
    proxy = world.taken_over(world.proxy())
    with world.clients(each=2) as clients:
        for number in range(1, 13):
            side = Side.TARGET if number % 2 else Side.SOURCE
            proxy.hold(soon())
            moment = time.monotonic()
            proxy.route(side, soon())
            proxy.release(soon())
            settled(clients, side)

            assert {side} == {answer for client in clients for answer in client.answers_since(moment)}
            assert {number} == {len(client.errors) for client in clients}


def test_a_hold_that_nobody_ends_is_over_by_itself_for_its_clients(pair: Pair):
    """A client is refused after its time; it is not let through."""
    with EnvoyWorld(pair, nodes=1, hold_seconds=0.5) as world:
        proxy = world.taken_over(world.proxy())
        proxy.hold(soon())
        with pytest.raises(psycopg.OperationalError):
            world.connect()
        assert 0 == world.sessions(Side.SOURCE) + world.sessions(Side.TARGET)


def test_an_envoy_serves_without_a_control_plane(world: EnvoyWorld):
    assert Side.SOURCE is world.side_now(0)
    assert Side.SOURCE is world.side_now(1, READS)


def test_a_killed_control_plane_leaves_sessions_and_route_as_they_are(world: EnvoyWorld):
    """Who is connected stays, who comes is led as before; one that starts again with that state changes nothing."""
    serving = Serving.all_on(Side.TARGET)
    with ControlPlaneProcess(world, serving) as control:
        world.await_entries()
        session = world.connect()
        control.kill()

    assert Side.TARGET is world.side_of(session)
    assert Side.TARGET is world.side_now(1)
    proxy = world.taken_over(world.proxy(serving))
    assert (False, Side.TARGET) == (proxy.observe().held, proxy.observe().route)
    assert Side.TARGET is world.side_of(session)


def test_a_control_plane_killed_while_it_holds_is_followed_by_one_that_lets_go(world: EnvoyWorld):
    with started(world) as control, world.clients(each=1) as clients:
        control.tell("hold")
        control.kill()
        moment = time.monotonic()
        proxy = world.proxy(ON_SOURCE.holding())
        wait_for(lambda: proxy.observe().held, SECONDS, "both to be seen held")
        assert [] == [side for client in clients for side in client.answers_since(moment)]

        proxy.release(soon())
        settled(clients, Side.SOURCE)
        assert all(len(client.errors) <= 1 for client in clients)


def test_where_a_stopped_process_keeps_the_address_another_leads_from_the_second(world: EnvoyWorld):
    """Envoys notice that it does not answer; once it wakes, they stay where they are led."""
    with started(world) as control, world.clients(each=1) as clients:
        control.tell("hold")
        control.signal(signal.SIGSTOP)
        proxy = world.proxy(ON_SOURCE.holding())
        proxy.release(soon())
        settled(clients, Side.SOURCE)
        errors = [len(client.errors) for client in clients]
        control.signal(signal.SIGCONT)
        settled(clients, Side.SOURCE)

        assert errors == [len(client.errors) for client in clients]
        assert False is proxy.observe().held


def test_reads_are_led_apart_and_go_on_while_writes_wait(world: EnvoyWorld):
    proxy = world.taken_over(world.proxy())
    proxy.lead_reads(Side.TARGET, soon())
    assert (Side.TARGET, Side.SOURCE) == (world.side_now(0, READS), world.side_now(0))
    reader = world.connect(1, READS)

    proxy.hold(soon())

    assert Side.TARGET is world.side_of(reader)
    assert Side.TARGET is world.side_now(0, READS)
    assert (True, Side.SOURCE) == (proxy.observe().held, proxy.observe().route)
    proxy.lead_reads(Side.SOURCE, soon())
    proxy.release(soon())
    assert Side.SOURCE is world.side_now(0, READS)


def test_an_envoy_that_is_down_fails_the_hold_by_name_and_is_told_when_it_comes(world: EnvoyWorld):
    proxy = world.taken_over(world.proxy())
    first, second = world.fleet.nodes
    world.envoys[1].kill()
    wait_for(lambda: proxy.observe().held is None, SECONDS, "the Envoy to be missed")
    assert None is proxy.observe().route

    blockers = proxy.check()
    assert ["nodes", "probe"] == [blocker.name for blocker in blockers]
    assert f"{second} is not connected" in blockers[0].reason
    assert first not in blockers[0].reason

    world.envoys[1].start()
    assert set(world.fleet.nodes) == set(proxy.hold(soon())["nodes"])


def test_envoys_that_lead_to_different_servers_prove_no_routing(pair: Pair):
    with EnvoyWorld(pair, nodes=0) as world:
        probes = [pair.source.dsn, pair.target.dsn]
        proxy = EnvoyProxy(world.fleet, probes, lambda: ON_SOURCE, destinations=world.destinations)
        with pytest.raises(NotReady, match="different servers"):
            proxy.probe(soon())


def test_an_address_where_another_server_answers_is_found_before_anybody_is_led_there(pair: Pair):
    """Both Envoys acknowledge whatever they are told: only the server itself can say who it is."""
    source = here(pair.source.server.port)
    with EnvoyWorld(pair, nodes=1, places={Side.SOURCE: source, Side.TARGET: source}) as world:
        (found,) = world.proxy().check()
        assert "places" == found.name
        assert f"the target's place host=127.0.0.1 port={source.port} is not the target" in found.reason


def test_places_that_only_the_nodes_reach_may_be_left_unasked(pair: Pair):
    places = {Side.SOURCE: here(pair.source.server.port), Side.TARGET: here(1)}
    with EnvoyWorld(pair, nodes=1, places=places) as world:
        with EnvoyProxy(world.fleet, world.probes, lambda: ON_SOURCE, destinations=None) as proxy:
            assert ([], False) == (proxy.check(), proxy.places_asked)
        assert ["places"] == [one.name for one in world.proxy().check()]
