"""The answers to Envoys' health checks: the switch that ends sessions.

A check is answered when there is something new to say, or after a while: so a node hears within a millisecond that it
is to end its sessions, and asks only now and then. A node's first check on a connection is answered at once. An answer
is known to have been taken when the next check comes on the same connection, not before: the node may have left it.
"""

import contextlib
import re
import socket
import socketserver
import threading
from typing import cast

from comparators.errors import NotReady
from comparators.positions import Side
from orchestrator.adapters.envoy.control_plane import TAKEN
from orchestrator.adapters.envoy.fleet import Address, Fleet
from orchestrator.adapters.envoy.nodes import Nodes
from orchestrator.adapters.envoy.serving import Serving

WAIT_SECONDS = 10.0
"""Before a check is answered although nothing is new; well below the time that an Envoy gives it."""
_MOST_BYTES = 16384
_REQUEST = re.compile(rb"GET /nodes/([^/ ]+)/clusters/([^/ ]+) HTTP/1\.1\r\n")
_HOST = re.compile(rb"\r\nhost: *(source|target)\r\n", re.IGNORECASE)
_ANSWERS = {
    True: b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    False: b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
}


class HealthEndpoint:
    """Answers the fleet's health checks on one address."""

    def __init__(self, nodes: Nodes, fleet: Fleet, listen: Address) -> None:
        """Start answering.

        Raises:
            NotReady: it cannot listen there.
        """
        try:
            self._server = _Server(nodes, fleet, listen)
        except OSError:
            raise NotReady(f"the Envoys' health checks cannot come to {listen}: {TAKEN}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop; a check that gets no answer changes nothing."""
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False  # a check waits for its answer; it is hung up instead
    request_queue_size = 1024

    def __init__(self, nodes: Nodes, fleet: Fleet, listen: Address) -> None:
        self.nodes, self.fleet = nodes, fleet
        self.address_family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((listen.host, listen.port), _Checks)

    def note(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)

    def forget(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.discard(connection)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: whoever sends what is no health check is hung up on."""


class _Checks(socketserver.BaseRequestHandler):
    """One connection of an Envoy's, which asks about one cluster on one side."""

    request: socket.socket

    def setup(self) -> None:
        self._server = cast(_Server, self.server)
        self._server.note(self.request)

    def finish(self) -> None:
        self._server.forget(self.request)

    def handle(self) -> None:
        nodes, told, answered = self._server.nodes, 0, None
        while (asked := self._asked()) is not None:
            if answered is not None:
                nodes.checked(*answered)  # who asks again has taken the answer before
            node, cluster, side = asked
            news = nodes.news(node, told, WAIT_SECONDS)
            if news is None or not nodes.may_act():
                return
            told, serving = news
            well = _is_well(serving, side, cluster == self._server.fleet.reads_cluster)
            self.request.sendall(_ANSWERS[well])
            answered = (node, cluster, side, told, well)

    def _asked(self) -> tuple[str, str, Side] | None:
        request = b""
        while b"\r\n\r\n" not in request:
            more = self.request.recv(4096)
            if not more or len(request) > _MOST_BYTES:
                return None
            request += more
        line, host = _REQUEST.match(request), _HOST.search(request)
        if line is None or host is None:
            return None
        return line[1].decode(), line[2].decode(), Side(host[1].decode())


def _is_well(serving: Serving, side: Side, reads: bool) -> bool:
    """Say whether sessions of a cluster may be open on a side."""
    if reads:
        return side is serving.reads and not serving.reads_held
    return side is serving.writes and not serving.held
