"""Envoy's configuration for one node: pure, and the same bytes for the same state, whichever process makes it.

Rules of this file:
1. A cluster never changes with the state: a changed cluster is a new one to Envoy, and the health checks of the new one
   end no session of the old one.
2. Held means: the database stays in the cluster, unhealthy, so that its health check can end what is open; a closed
   port stands in for it, where connection attempts fail and are made again until they are released.
3. A health check that gets no answer changes nothing. An answer other than 200 counts at once, whatever the threshold;
   so the sessions outlive the control plane, but not its word.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.direct_response.v3 import config_pb2 as _direct_response  # noqa: F401 - a listener's filter
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2 as _tcp_proxy  # noqa: F401 - the others'
from google.protobuf.any_pb2 import Any as Packed
from google.protobuf.json_format import ParseDict

from comparators.positions import Side
from orchestrator.adapters.envoy.bootstrap import MOST, NO_LIMIT, inner_listeners, socket
from orchestrator.adapters.envoy.fleet import Address, Fleet
from orchestrator.adapters.envoy.serving import Serving

_PREFIX = "type.googleapis.com/"
CLUSTERS = f"{_PREFIX}envoy.config.cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENERS = f"{_PREFIX}envoy.config.listener.v3.Listener"

CLOSED_PORT = Address("127.0.0.1", 1)
"""On the Envoy's own machine; nothing serves tcpmux."""
HEALTH_CHECK_SECONDS = 0.1
"""From one health check's answer to the next check."""
AGAIN_SECONDS = 0.005
"""The same where the answer was news to it: the next check says that it was taken."""


@dataclass(frozen=True, slots=True)
class Resources:
    """What a node is told of one type."""

    version: str
    items: Mapping[str, Packed]

    def named(self, names: Sequence[str]) -> list[Packed]:
        """Give those that were asked for by name; all where no name was given."""
        return [item for name, item in self.items.items() if not names or "*" in names or name in names]


def resources_for(node: str, fleet: Fleet, serving: Serving, health: Address) -> dict[str, Resources]:
    """Give what a node is to be told, by type.

    Args:
        health: where the node's health checks go.
    """
    clusters = {name: ParseDict(_cluster(name, node), Cluster()) for name in fleet.clusters}
    endpoints = {
        name: ParseDict(_endpoints(name, fleet, serving, health), ClusterLoadAssignment()) for name in fleet.clusters
    }
    inner = inner_listeners(node, fleet.clusters, fleet.hold_seconds)
    listeners = {name: ParseDict(listener, Listener()) for name, listener in inner.items()}
    return {
        CLUSTERS: _versioned(clusters),
        ENDPOINTS: _versioned(endpoints, f"{serving} "),
        LISTENERS: _versioned(listeners),
    }


def _versioned(messages: Mapping[str, Any], state: str = "") -> Resources:
    """Name the version by its content: a control plane that starts again tells nothing new by saying the same."""
    items = {}
    for name, message in messages.items():
        items[name] = Packed(type_url=_PREFIX + message.DESCRIPTOR.full_name)
        items[name].value = message.SerializeToString(deterministic=True)
    digest = hashlib.sha256(b"".join(item.value for item in items.values())).hexdigest()
    return Resources(f"{state}#{digest[:12]}", items)


def _cluster(name: str, node: str) -> dict[str, Any]:
    check = {
        "timeout": "20s",  # the answer waits until there is something to say
        "interval": f"{HEALTH_CHECK_SECONDS}s",
        "no_traffic_interval": f"{HEALTH_CHECK_SECONDS}s",
        "healthy_edge_interval": f"{AGAIN_SECONDS}s",
        "unhealthy_edge_interval": f"{AGAIN_SECONDS}s",
        "unhealthy_interval": f"{AGAIN_SECONDS}s",
        "unhealthy_threshold": MOST,
        "healthy_threshold": 1,
        "http_health_check": {"path": health_path(node, name)},
    }
    return {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "eds_cluster_config": {"eds_config": {"ads": {}, "resource_api_version": "V3"}},
        "circuit_breakers": NO_LIMIT,
        "common_lb_config": {"update_merge_window": "0s"},  # else what a health check says waits for a second
        "health_checks": [check],
        "close_connections_on_host_health_failure": True,
        "ignore_health_on_host_removal": True,
        "upstream_connection_options": {
            "tcp_keepalive": {"keepalive_time": 10, "keepalive_interval": 5, "keepalive_probes": 3}
        },
    }


def health_path(node: str, cluster: str) -> str:
    """Give the path of a node's health check, which says who asks."""
    return f"/nodes/{node}/clusters/{cluster}"


def _endpoints(name: str, fleet: Fleet, serving: Serving, health: Address) -> dict[str, Any]:
    reads = name == fleet.reads_cluster
    side, held = (serving.reads, serving.reads_held) if reads else (serving.writes, serving.held)
    places = [{"priority": 0, "lb_endpoints": [_database(fleet.places[side], side, held, health)]}]
    if held:
        places.append({"priority": 1, "lb_endpoints": [_CLOSED]})
    return {"cluster_name": name, "endpoints": places}


def _database(place: Address, side: Side, held: bool, health: Address) -> dict[str, Any]:
    check = {"address": socket(health), "hostname": side.value}
    return {
        "health_status": "UNHEALTHY" if held else "HEALTHY",
        "endpoint": {"address": socket(place), "health_check_config": check},
    }


_CLOSED = {
    "health_status": "HEALTHY",
    "endpoint": {
        "address": socket(CLOSED_PORT),
        "health_check_config": {"disable_active_health_check": True},
    },
}
