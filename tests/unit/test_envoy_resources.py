"""What a node is told, the version that names it, and how the journal gives it back."""

from dataclasses import replace

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from comparators.errors import SettingInvalid
from comparators.positions import Side
from orchestrator.adapters.envoy.bootstrap import BACKOFF_SECONDS, bootstrap, inner_listeners
from orchestrator.adapters.envoy.fleet import Address, Fleet
from orchestrator.adapters.envoy.recorded import serving_recorded
from orchestrator.adapters.envoy.resources import CLUSTERS, ENDPOINTS, LISTENERS, resources_for
from orchestrator.adapters.envoy.serving import Serving
from orchestrator.records import Direction, Kind
from tests.journals import Written

HEALTH = Address("10.0.0.9", 18001)
FLEET = Fleet(
    "edge",
    Address("10.0.0.9", 18000),
    ("edge-1",),
    "app",
    {Side.SOURCE: Address("10.0.0.1", 5432), Side.TARGET: Address("10.0.0.2", 5432)},
    reads_cluster="app-reads",
)
SERVINGS = st.builds(Serving, st.sampled_from(Side), st.sampled_from(Side), st.booleans())


def endpoints(serving: Serving, cluster: str = "app") -> list[list[str]]:
    """Give what a cluster leads to, as `health address:port`, by priority."""
    packed = resources_for("edge-1", FLEET, serving, HEALTH)[ENDPOINTS].items[cluster]
    message = MessageToDict(ClusterLoadAssignment.FromString(packed.value))
    return [[_place(one) for one in group["lbEndpoints"]] for group in message["endpoints"]]


def _place(endpoint) -> str:
    where = endpoint["endpoint"]["address"]["socketAddress"]
    return f"{endpoint['healthStatus']} {where['address']}:{where['portValue']}"


def test_what_is_served_leads_to_one_database():
    assert [["HEALTHY 10.0.0.2:5432"]] == endpoints(Serving.all_on(Side.TARGET))


def test_held_a_closed_port_stands_in_for_the_database():
    """It stays there, unhealthy, so that its health check ends what is open."""
    held = Serving.all_on(Side.SOURCE, held=True)
    assert [["UNHEALTHY 10.0.0.1:5432"], ["HEALTHY 127.0.0.1:1"]] == endpoints(held)
    assert endpoints(held) == endpoints(held, "app-reads")


def test_reads_that_are_already_led_away_are_not_held():
    assert [["HEALTHY 10.0.0.2:5432"]] == endpoints(Serving(Side.SOURCE, Side.TARGET, held=True), "app-reads")


@given(SERVINGS, SERVINGS)
def test_a_version_names_its_content_and_tells_what_is_served(one: Serving, other: Serving):
    """The same from every process; clusters and listeners never change, as a changed cluster ends no session."""
    first, second = (resources_for("edge-1", FLEET, serving, HEALTH) for serving in (one, other))
    assert one == Serving.parse(first[ENDPOINTS].version)
    assert (one == other) == (first[ENDPOINTS].version == second[ENDPOINTS].version)
    for kind in (CLUSTERS, LISTENERS):
        assert first[kind] == second[kind]


def test_a_health_check_without_an_answer_changes_nothing():
    packed = resources_for("edge-1", FLEET, Serving.all_on(Side.SOURCE), HEALTH)[CLUSTERS].items["app"]
    cluster = Cluster.FromString(packed.value)
    assert 2**32 - 1 == cluster.health_checks[0].unhealthy_threshold.value
    assert cluster.close_connections_on_host_health_failure
    assert "/nodes/edge-1/clusters/app" == cluster.health_checks[0].http_health_check.path


def test_a_held_client_is_tried_again_until_its_time_is_over():
    proxy = inner_listeners("edge-1", ["app"], 15)["app"]["filter_chains"][0]["filters"][0]["typed_config"]
    assert 15 == proxy["max_connect_attempts"] * BACKOFF_SECONDS[1] / 2
    assert "0s" == proxy["idle_timeout"]


def test_an_envoy_leads_to_the_fixed_address_only_while_it_has_no_listener_of_the_control_plane():
    made = bootstrap("edge-1", [FLEET.listen], {"app": HEALTH}, FLEET.places[Side.SOURCE], HEALTH)
    entry_cluster = made["static_resources"]["clusters"][1]
    first, second = entry_cluster["load_assignment"]["endpoints"]
    assert {"pipe": {"path": "@auditor/edge-1/app"}} == first["lb_endpoints"][0]["endpoint"]["address"]
    assert (0, 1) == (first["priority"], second["priority"])


@pytest.mark.parametrize("text", ["db.example:5432", "10.0.0.1", "10.0.0.1:0", "10.0.0.1:x", ":5432", ""])
def test_an_address_that_envoy_could_not_use_is_refused_by_name(text: str):
    with pytest.raises(SettingInvalid, match=r"edge: places\.source"):
        Fleet.read("edge", "10.0.0.9:18000", {Side.SOURCE: text}, nodes=(), cluster="app")


def test_addresses_print_as_they_are_read():
    for text in ("10.0.0.1:5432", "[::1]:5432"):
        assert text == str(Address.parse(text, "x"))


def test_envoys_are_not_told_to_reach_every_address():
    everywhere = replace(FLEET, listen=Address("0.0.0.0", 18000))
    with pytest.raises(SettingInvalid, match="reach this machine"):
        everywhere.health_seen_by_nodes(everywhere.listen)
    named = replace(everywhere, reached_at="10.0.0.9")
    assert HEALTH == named.health_seen_by_nodes(named.listen)


def test_patterns_know_nodes_that_need_not_be_there():
    fleet = replace(FLEET, nodes=("edge-1", "sidecar-*"))
    assert {"edge-1"} == fleet.named_nodes
    assert (True, True, False) == tuple(map(fleet.knows, ("edge-1", "sidecar-7", "other")))


FORWARD = ("hold-proxies", "route-proxies", "release-proxies")
STATES = [
    ((), Serving.all_on(Side.SOURCE)),
    (FORWARD[:1], Serving.all_on(Side.SOURCE, held=True)),
    (FORWARD[:2], Serving.all_on(Side.TARGET, held=True)),
    (FORWARD, Serving.all_on(Side.TARGET)),
    (("hold-proxies", "route-back"), Serving.all_on(Side.SOURCE, held=True)),
    (("hold-proxies", "route-back", "release-after-abort"), Serving.all_on(Side.SOURCE)),
    (("shadow-reads", "reads-back"), Serving.all_on(Side.SOURCE)),
]


@pytest.mark.parametrize(("steps", "expected"), STATES)
def test_a_control_plane_that_starts_again_serves_what_the_journal_says(steps: tuple[str, ...], expected: Serving):
    journal = Written()
    for step in steps:
        journal.step(step)
    assert expected == serving_recorded(journal.entries)


@pytest.mark.parametrize(("steps", "expected"), STATES)
def test_the_same_holds_backwards(steps: tuple[str, ...], expected: Serving):
    swapped = Serving(expected.writes.other, expected.reads.other, expected.held)
    journal = Written()
    for step in FORWARD:
        journal.step(step)
    journal.again(Direction.BACK)
    for step in steps:
        journal.step(step)
    assert swapped == serving_recorded(journal.entries)


def test_only_intents_count():
    """Some nodes may have heard of what was not done; what is done had its intent."""
    journal = Written().write("hold-proxies", Kind.FAILED).write("hold-proxies", Kind.DONE)
    assert Serving.all_on(Side.SOURCE) == serving_recorded(journal.entries)
    assert serving_recorded(journal.write("hold-proxies", Kind.INTENT).entries).held
