"""The gRPC server that Envoys ask for their configuration, over one aggregated stream each."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from comparators.errors import NotReady
from orchestrator.adapters.envoy.fleet import Address
from orchestrator.adapters.envoy.nodes import Heard, Nodes, Stream, Told

MOST_NODES = 1000
TAKEN = "the port is taken, or the address is not this machine's"
STOP_SECONDS = 5.0
_OPTIONS = [
    ("grpc.so_reuseport", 0),  # a second control plane must fail to start, not take half of the Envoys
    ("grpc.keepalive_time_ms", 1000),  # a node that vanished without a word is noticed, and named
    ("grpc.keepalive_timeout_ms", 1000),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),  # the Envoys ping too, to notice that we are stopped
    ("grpc.http2.max_ping_strikes", 0),
]


class ControlPlane:
    """Serves a fleet on one address."""

    def __init__(self, nodes: Nodes, listen: Address) -> None:
        """Start serving.

        Raises:
            NotReady: it cannot listen there.
        """
        self._pool = ThreadPoolExecutor(MOST_NODES, thread_name_prefix="envoys")
        self._server = grpc.server(self._pool, options=_OPTIONS)
        self._service = _Service(nodes)
        ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server(self._service, self._server)
        try:
            self._server.add_insecure_port(str(listen))
        except RuntimeError:
            self._pool.shutdown()
            raise NotReady(f"the Envoys' control plane cannot listen on {listen}: {TAKEN}") from None
        self._server.start()

    def close(self) -> None:
        """Stop; the Envoys keep what they have."""
        self._server.stop(None).wait(STOP_SECONDS)
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Service(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):  # type: ignore[misc]  # generated without types
    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def StreamAggregatedResources(
        self, requests: Iterator[DiscoveryRequest], context: grpc.ServicerContext
    ) -> Iterator[DiscoveryResponse]:
        """Converse with one Envoy until either end goes."""
        first = next(requests)
        if not self._nodes.may_act():
            context.abort(grpc.StatusCode.UNAVAILABLE, "another process leads this fleet")
        stream = self._nodes.join(first.node.id)
        if stream is None:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "this node is not of the fleet")
        else:
            context.add_callback(lambda: self._nodes.leave(stream))
            yield from self._converse(stream, first, requests)

    def _converse(
        self, stream: Stream, first: DiscoveryRequest, requests: Iterator[DiscoveryRequest]
    ) -> Iterator[DiscoveryResponse]:
        self._nodes.hear(stream, _heard(first))
        threading.Thread(target=self._listen, args=(stream, requests), name=f"envoy {stream.node}", daemon=True).start()
        try:
            while (told := self._nodes.next_answer(stream)) is not None:
                yield _response(told)
        finally:
            self._nodes.leave(stream)

    def _listen(self, stream: Stream, requests: Iterator[DiscoveryRequest]) -> None:
        try:
            for request in requests:
                self._nodes.hear(stream, _heard(request))
        except grpc.RpcError:
            pass  # the other end went; what it has not acknowledged it has not
        finally:
            self._nodes.leave(stream)


def _heard(request: DiscoveryRequest) -> Heard:
    error = request.error_detail.message or "no reason given"
    return Heard(
        request.type_url,
        request.version_info,
        request.response_nonce,
        tuple(request.resource_names),
        error if request.HasField("error_detail") else None,
    )


def _response(told: Told) -> DiscoveryResponse:
    return DiscoveryResponse(
        type_url=told.type_url,
        version_info=told.resources.version,
        nonce=told.nonce,
        resources=told.resources.named(told.names),
    )
