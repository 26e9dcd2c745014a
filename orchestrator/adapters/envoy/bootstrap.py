"""The file that an Envoy of the fleet starts from, and the listeners that it is told: pure, without anything of gRPC.

Rules of this file:
1. Applications come to a listener of the file's. It leads to a socket on the same machine, behind which the control
   plane's own listener is: there clients are held, routed and let go.
2. As long as no control plane has said anything, that socket is not there, and the listener leads to a fixed address:
   an Envoy that starts outside of a cutover serves. Once the database has moved, the fence of its old place keeps such
   an Envoy out, until its file says the new place.
3. A control plane that has stopped without a word is left within seconds, and every address of one is tried in turn.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.adapters.envoy.fleet import Address

_PREFIX = "type.googleapis.com/envoy.extensions"
_TCP_PROXY = f"{_PREFIX}.filters.network.tcp_proxy.v3.TcpProxy"
_DIRECT_RESPONSE = f"{_PREFIX}.filters.network.direct_response.v3.Config"
_HTTP = f"{_PREFIX}.upstreams.http.v3.HttpProtocolOptions"
_CONTROL_PLANE = "auditor-control-plane"

READY = "auditor-ready"
"""The listener that is there as soon as the control plane's others are."""
BACKOFF_SECONDS = (0.01, 0.05)
"""Between two attempts at the closed port: at first, and at most; a client goes on this long after its release."""

MOST = 2**32 - 1
NO_LIMIT = {"thresholds": [{"max_connections": MOST, "max_pending_requests": MOST}]}
"""Envoy's own limit of 1024 sessions would refuse clients; the database has one."""


def bootstrap(
    node: str, ask: Sequence[Address], listeners: Mapping[str, Address], before: Address, admin: Address
) -> dict[str, Any]:
    """Give the configuration that an Envoy of the fleet starts with.

    Args:
        ask: where control planes answer.
        listeners: where applications come, by the cluster they are led to.
        before: where they are led until a control plane has said something.
    """
    entries = [_entry(node, name, before) for name in listeners]
    return {
        "node": {"id": node, "cluster": "auditor"},
        "admin": {"address": socket(admin)},
        "static_resources": {
            "listeners": [_listener(f"{name}-entry", socket(place)) for name, place in listeners.items()],
            "clusters": [_control_plane(ask), *entries],
        },
        "dynamic_resources": _dynamic(),
    }


def inner_listeners(node: str, clusters: Sequence[str], hold_seconds: float) -> dict[str, dict[str, Any]]:
    """Give the listeners that a node is told: one for each cluster, and one that says that they are there.

    Args:
        hold_seconds: how long a client waits at most.
    """
    first, most = BACKOFF_SECONDS
    retries = {
        "max_connect_attempts": math.ceil(hold_seconds / (most / 2)),  # a pause is drawn between nothing and the most
        "backoff_options": {"base_interval": f"{first}s", "max_interval": f"{most}s"},
    }
    told = {name: _listener(name, pipe(node, name), **retries) for name in clusters}
    says = {"@type": _DIRECT_RESPONSE, "response": {"inline_string": "ready"}}
    return told | {READY: _listening(READY, pipe(node, READY), "envoy.filters.network.direct_response", says)}


def socket(address: Address) -> dict[str, Any]:
    """Give an address as Envoy writes it."""
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def pipe(node: str, name: str) -> dict[str, Any]:
    """Give a socket on the Envoy's own machine that has no file; two Envoys of one machine do not share it."""
    return {"pipe": {"path": f"@auditor/{node}/{name}"}}


def _listener(name: str, place: dict[str, Any], **more: Any) -> dict[str, Any]:
    proxy = {"@type": _TCP_PROXY, "stat_prefix": name, "cluster": name, "idle_timeout": "0s", **more}
    return _listening(name, place, "envoy.filters.network.tcp_proxy", proxy)


def _listening(name: str, place: dict[str, Any], kind: str, settings: dict[str, Any]) -> dict[str, Any]:
    chain = {"filters": [{"name": kind, "typed_config": settings}]}
    return {"name": name, "address": place, "filter_chains": [chain]}


def _entry(node: str, name: str, before: Address) -> dict[str, Any]:
    """Lead to the control plane's listener while it is there."""
    check = {
        "timeout": "1s",
        "interval": "0.2s",
        "no_traffic_interval": "0.2s",
        "unhealthy_threshold": 5,
        "healthy_threshold": 1,
        "tcp_health_check": {},
    }
    inner = {"address": pipe(node, name), "health_check_config": {"address": pipe(node, READY)}}
    fixed = {"address": socket(before), "health_check_config": {"disable_active_health_check": True}}
    places = [
        {"priority": priority, "lb_endpoints": [{"endpoint": endpoint}]}
        for priority, endpoint in enumerate((inner, fixed))
    ]
    return {
        "name": f"{name}-entry",
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": NO_LIMIT,
        "common_lb_config": {"update_merge_window": "0s"},
        "health_checks": [check],
        "load_assignment": {"cluster_name": f"{name}-entry", "endpoints": places},
    }


def _dynamic() -> dict[str, Any]:
    asked = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "1s"}  # then it starts without
    retry = {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"}}
    service = {"envoy_grpc": {"cluster_name": _CONTROL_PLANE, "retry_policy": retry}}
    ads = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
    return {"ads_config": ads, "cds_config": asked, "lds_config": asked}


def _control_plane(ask: Sequence[Address]) -> dict[str, Any]:
    alive = {"interval": "1s", "timeout": "1s"}
    options = {"@type": _HTTP, "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": alive}}}
    endpoints = [{"endpoint": {"address": socket(place)}} for place in ask]
    return {
        "name": _CONTROL_PLANE,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "load_assignment": {"cluster_name": _CONTROL_PLANE, "endpoints": [{"lb_endpoints": endpoints}]},
    }
