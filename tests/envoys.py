"""A fleet of Envoys before two PostgreSQL, clients that live through a cutover, and nodes that only pretend."""

import contextlib
import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import grpc
import psycopg
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from psycopg.conninfo import make_conninfo

from auditor.servers.envoy import EnvoyServer
from auditor.servers.ports import free_pair
from comparators.positions import Side
from orchestrator.adapters.destinations import Destinations
from orchestrator.adapters.envoy.fleet import Address, Fleet
from orchestrator.adapters.envoy.proxy import EnvoyProxy
from orchestrator.adapters.envoy.resources import CLUSTERS, ENDPOINTS, LISTENERS
from orchestrator.adapters.envoy.serving import Serving
from orchestrator.deadlines import Deadline
from tests.helpers import Pair, unique_name, wait_for

LOOPBACK = "127.0.0.1"
WRITES, READS = "app", "app-reads"
PASSWORD = "only-for-tests"
SECONDS = 30.0


def here(port: int) -> Address:
    return Address(LOOPBACK, port)


def soon(doing: str = "a test") -> Deadline:
    return Deadline.within(SECONDS, doing)


class EnvoyWorld:
    """Two databases, and two Envoys that lead to them."""

    def __init__(self, pair: Pair, nodes: int = 2, **fleet: Any) -> None:
        self.pair, self.user = pair, unique_name("app")
        self.sides = {Side.SOURCE: pair.source, Side.TARGET: pair.target}
        names = tuple(unique_name("edge") for _ in range(nodes))  # their sockets are shared with other tests' Envoys
        self.fleet = replace(
            Fleet(
                name="edge",
                listen=here(free_pair()),
                nodes=names,
                cluster=WRITES,
                places={side: here(database.server.port) for side, database in self.sides.items()},
                reads_cluster=READS,
                standby=here(free_pair()),
            ),
            **fleet,
        )
        ask = [self.fleet.listen, self.fleet.standby] if self.fleet.standby else [self.fleet.listen]
        before = self.fleet.places[Side.SOURCE]
        self.envoys = [EnvoyServer(name, ask, self.fleet.clusters, before) for name in names]
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        for database in self.sides.values():
            database.execute(f"CREATE ROLE {self.user} LOGIN PASSWORD '{PASSWORD}'")
            self._closing.callback(self._drop_role, database)
        for envoy in self.envoys:
            self._closing.enter_context(envoy)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def _drop_role(self, database: Any) -> None:
        database.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", self.user)
        database.execute(f"DROP ROLE {self.user}")

    def dsn(self, number: int = 0, cluster: str = WRITES) -> str:
        """Give the way in through an Envoy."""
        return make_conninfo(
            self.pair.source.dsn, port=self.envoys[number].ports[cluster], user=self.user, password=PASSWORD
        )

    @property
    def destinations(self) -> Destinations:
        return Destinations({side: database.dsn for side, database in self.sides.items()})

    @property
    def probes(self) -> list[str]:
        return [self.dsn(number) for number in range(len(self.envoys))]

    def proxy(self, serving: Serving | None = None, fleet: Fleet | None = None) -> EnvoyProxy:
        """Open the control plane, and close it with this world at the latest."""
        proxy = EnvoyProxy(
            fleet or self.fleet, self.probes, lambda: serving or Serving.all_on(Side.SOURCE),
            destinations=self.destinations,
        )  # fmt: skip
        return self._closing.enter_context(proxy)

    def taken_over(self, proxy: EnvoyProxy) -> EnvoyProxy:
        """Wait until the control plane leads all that comes from now on."""
        assert [] == proxy.check()
        self.await_entries()
        return proxy

    def await_entries(self) -> None:
        """Wait until each Envoy sends its clients to what the control plane leads, not to the fixed address."""
        for envoy in self.envoys:
            for cluster in envoy.ports:
                wait_for(lambda e=envoy, c=cluster: _entry_is_ready(e, c), SECONDS, "the Envoy's inner socket")

    def connect(self, number: int = 0, cluster: str = WRITES) -> psycopg.Connection[Any]:
        """Open a session through an Envoy; it is closed with this world."""
        connection = psycopg.connect(self.dsn(number, cluster), autocommit=True)
        self._closing.callback(connection.close)
        return connection

    def side_of(self, connection: psycopg.Connection[Any]) -> Side:
        row = connection.execute("SHOW port").fetchone()
        assert row is not None
        return next(side for side, place in self.fleet.places.items() if place.port == int(row[0]))

    def side_now(self, number: int = 0, cluster: str = WRITES) -> Side:
        """Ask by a new session where an Envoy leads."""
        with psycopg.connect(self.dsn(number, cluster), autocommit=True) as connection:
            return self.side_of(connection)

    def sessions(self, side: Side) -> int:
        """Count the application's sessions on a side."""
        count = self.sides[side].value("SELECT count(*) FROM pg_stat_activity WHERE usename = %s", self.user)
        return int(count)

    @contextlib.contextmanager
    def clients(self, each: int = 4) -> Iterator[list["Client"]]:
        """Let clients live on every Envoy."""
        made = [Client(self, number) for number in range(len(self.envoys)) for _ in range(each)]
        try:
            for client in made:
                client.start()
            wait_for(lambda: all(client.seen for client in made), SECONDS, "a first answer to every client")
            yield made
        finally:
            for client in made:
                client.over.set()
            for client in made:
                client.join()


class Client(threading.Thread):
    """Asks all the time which side answers, and connects again after an error."""

    def __init__(self, world: EnvoyWorld, number: int) -> None:
        super().__init__()
        self._world, self._number = world, number
        self.over = threading.Event()
        self.seen: list[tuple[float, Side]] = []
        self.errors: list[psycopg.Error] = []

    def run(self) -> None:
        while not self.over.is_set():
            try:
                with psycopg.connect(self._world.dsn(self._number), autocommit=True) as connection:
                    self._ask(connection)
            except psycopg.Error as error:
                self.errors.append(error)

    def _ask(self, connection: psycopg.Connection[Any]) -> None:
        while not self.over.is_set():
            asked = time.monotonic()
            self.seen.append((asked, self._world.side_of(connection)))
            self.over.wait(0.005)

    def answers_since(self, moment: float) -> list[Side]:
        """Give the sides that answered what was asked after a moment."""
        return [side for asked, side in list(self.seen) if asked > moment]


class ControlPlaneProcess:
    """A control plane in a process of its own, which may be killed or stopped."""

    def __init__(self, world: EnvoyWorld, serving: Serving) -> None:
        fleet = world.fleet
        told = {
            "listen": str(fleet.listen),
            "nodes": fleet.nodes,
            "places": {side.value: str(place) for side, place in fleet.places.items()},
            "serving": [serving.writes.value, serving.reads.value, serving.held],
        }
        command = [sys.executable, "-m", "tests.envoy_control_plane", json.dumps(told)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent
        )

    def __enter__(self) -> Self:
        self.says()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def says(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, word: str) -> str:
        """Give it a word (`hold`), and wait until it has done that."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        return self.says()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class PretendedNode:
    """Converses as an Envoy does, and accepts, refuses or ignores what it is told."""

    def __init__(self, node: str, listen: Address, *, answers: bool = True) -> None:
        self.node, self.answers = node, answers
        self.refuses: str | None = None
        self.told: list[DiscoveryResponse] = []
        self.failed: grpc.RpcError | None = None
        self._requests: queue.SimpleQueue[DiscoveryRequest | None] = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(str(listen))
        self._thread = threading.Thread(target=self._converse, daemon=True)

    def __enter__(self) -> Self:
        for kind in (CLUSTERS, LISTENERS, ENDPOINTS):
            self.say(type_url=kind)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._requests.put(None)
        self._channel.close()
        self._thread.join()

    def say(self, **request: Any) -> None:
        made = DiscoveryRequest(**request)
        made.node.id = self.node
        self._requests.put(made)

    def _converse(self) -> None:
        stub = ads_pb2_grpc.AggregatedDiscoveryServiceStub(self._channel)
        try:
            for told in stub.StreamAggregatedResources(iter(self._requests.get, None)):
                self.told.append(told)
                if self.answers:
                    self._answer(told)
        except grpc.RpcError as error:
            self.failed = error

    def _answer(self, told: DiscoveryResponse) -> None:
        request = DiscoveryRequest(type_url=told.type_url, response_nonce=told.nonce)
        request.node.id = self.node
        if self.refuses is None:
            request.version_info = told.version_info
        else:
            request.error_detail.message = self.refuses
        self._requests.put(request)


def _entry_is_ready(envoy: EnvoyServer, cluster: str) -> bool:
    return f"{cluster}-entry::@auditor/{envoy.node}/{cluster}::health_flags::healthy" in envoy.admin("/clusters")
