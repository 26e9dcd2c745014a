"""A fleet of Envoys as a conductor's proxy: each effect is told to all nodes and acknowledged by each."""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

from comparators.errors import AuditorError, NotReady
from comparators.positions import Side
from orchestrator.adapters.destinations import Destinations
from orchestrator.adapters.envoy.control_plane import ControlPlane
from orchestrator.adapters.envoy.fleet import Address, Fleet
from orchestrator.adapters.envoy.health import HealthEndpoint
from orchestrator.adapters.envoy.nodes import Nodes
from orchestrator.adapters.envoy.serving import Serving
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker, Facts, Identity, ProxySeen

CONNECT_SECONDS = 10.0
"""Envoys that lost their control plane come back in this time."""
OBSERVE_SECONDS = 2.0
PROBE_SECONDS = 5.0

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class _Plane:
    """What listens."""

    nodes: Nodes
    control: ControlPlane
    health: HealthEndpoint
    opened_at: float

    def close(self) -> None:
        self.control.close()
        self.health.close()


class EnvoyProxy:
    """Leads a fleet for as long as it is open; the Envoys keep their last state when it goes."""

    def __init__(
        self,
        fleet: Fleet,
        probes: Sequence[str],
        serving: Callable[[], Serving],
        *,
        destinations: Destinations | None,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        """Know where to listen; nothing does before the first effect or look.

        Args:
            probes: a connection string through each Envoy.
            serving: gives what the journal says the fleet is to do, when this begins to listen. Every Envoy that asks
                is told this, so a control plane that starts again changes nothing.
            destinations: what the fleet's places must be; none: they are not asked.
            may_act: asked before every answer to an Envoy; false once the lease is over.
        """
        self.name = fleet.name
        self._fleet, self._probes, self._recorded, self._may_act = fleet, tuple(probes), serving, may_act
        self._destinations = destinations if self._probes else None
        self.places_asked = self._destinations is not None
        self._plane: _Plane | None = None
        self._opening = threading.Lock()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Listen for the fleet, on the stand-by's address where another process still holds the first.

        Raises:
            NotReady: no address is free.
            SettingInvalid: the Envoys cannot know where this machine is.
        """
        self._opened()

    def close(self) -> None:
        """Stop listening; the Envoys keep what they have."""
        with self._opening:
            if self._plane is not None:
                self._plane.close()
                self._plane = None

    def forget(self) -> None:
        """Stop listening under a lease that is over; the next effect or look listens anew, with what is recorded then.

        A process that was stopped meanwhile would else tell the Envoys, under a new lease, what it knew under the old.
        """
        self.close()

    def check(self) -> Sequence[Blocker]:
        """Say which nodes could not follow a cutover."""
        nodes = self._opened().nodes
        deadline = Deadline.within(CONNECT_SECONDS, f"{self.name}: waiting for its Envoys")
        found = []
        for name, wait in (("nodes", nodes.await_acknowledged), ("health-checks", nodes.await_armed)):
            try:
                wait(deadline)
            except AuditorError as error:
                found.append(Blocker(name, str(error), "is each Envoy up, and does it reach both ports?"))
        return [*found, *_check_names(nodes), *self._check_probes(), *self._check_places()]

    def _check_probes(self) -> list[Blocker]:
        try:
            self.probe(Deadline.within(PROBE_SECONDS, f"{self.name}: asking through each Envoy who answers"))
        except AuditorError as error:
            return [Blocker("probe", str(error), "correct the probes of this proxy")]
        return []

    def _check_places(self) -> list[Blocker]:
        """Ask each address that the fleet will be led to who answers there."""
        if self._destinations is None:
            return []
        places = {
            side: [{"host": place.host, "port": str(place.port)}] for side, place in self._fleet.places.items()
        }  # fmt: skip
        return self._destinations.blockers(self._probes[0], places)

    def hold(self, deadline: Deadline) -> Facts:
        """Let new sessions wait, and end the open ones: what a transaction has left undone, its client must repeat.

        Raises:
            DeadlinePassed: a node did not acknowledge, or was not reached; it is named.
            EnvoyRefused: a node cannot use what it was told.
        """
        nodes = self._opened().nodes
        nodes.await_armed(deadline)
        facts = self._serve(nodes.serving.holding(), deadline)
        ended = nodes.await_ended(deadline)
        return {**facts, "held": True, "sessions_ended_by": ended}

    def release(self, deadline: Deadline) -> Facts:
        """Let those who wait go to where the fleet leads.

        Raises:
            DeadlinePassed, EnvoyRefused: as `hold`.
        """
        return {**self._serve(self._opened().nodes.serving.released(), deadline), "held": False}

    def route(self, to: Side, deadline: Deadline) -> Facts:
        """Lead writes and reads to a side; those who wait go on waiting.

        Raises:
            DeadlinePassed, EnvoyRefused: as `hold`.
        """
        facts = self._serve(replace(self._opened().nodes.serving, writes=to, reads=to), deadline)
        return {**facts, "route": to.value}

    def lead_reads(self, to: Side, deadline: Deadline) -> Facts:
        """Lead those who only read to a side; sessions that are open stay where they are.

        Returns:
            With `possible`: false where they have no cluster of their own, and nothing was done.
        Raises:
            DeadlinePassed, EnvoyRefused: as `hold`.
        """
        if self._fleet.reads_cluster is None:
            return {"possible": False}
        serving = replace(self._opened().nodes.serving, reads=to)
        return {**self._serve(serving, deadline), "possible": True, "reads": to.value}

    def _serve(self, serving: Serving, deadline: Deadline) -> Facts:
        deadline.left()
        nodes = self._opened().nodes
        began = time.monotonic()
        nodes.serve(serving)
        versions = nodes.await_acknowledged(deadline)
        return {"nodes": versions, "acknowledged_ms": round((time.monotonic() - began) * 1000, 3)}

    def observe(self) -> ProxySeen:
        """Say what the nodes themselves acknowledged last; a node that is away makes it unknown."""
        plane = self._opened()
        if time.monotonic() - plane.opened_at < CONNECT_SECONDS:
            with contextlib.suppress(AuditorError):  # nodes that are just coming back
                plane.nodes.await_acknowledged(Deadline.within(OBSERVE_SECONDS, f"{self.name}: observing"))
        connected, versions = plane.nodes.connected(), plane.nodes.versions()
        seen = [Serving.parse(version) if node in connected else None for node, version in versions.items()]
        held = _same([one.held if one else None for one in seen])
        return ProxySeen(held, _same([one.writes if one else None for one in seen]), versions)

    def probe(self, deadline: Deadline) -> Identity:
        """Ask through each Envoy, by a new session, which server answers.

        Raises:
            NotReady: they lead to different servers.
            SideUnavailable, NotPermitted, DeadlinePassed: one cannot be asked.
        """
        found = {self._probed(number, dsn, deadline) for number, dsn in enumerate(self._probes, 1)}
        if len(found) != 1:
            places = ", ".join(sorted(f"{one.address} ({one.system})" for one in found)) or "none"
            raise NotReady(f"{self.name}: its Envoys lead to different servers: {places}")
        return found.pop()

    def _probed(self, number: int, dsn: str, deadline: Deadline) -> Identity:
        with Session(dsn, f"{self.name} probe {number}") as session:
            return session.identity(deadline)

    def _opened(self) -> _Plane:
        with self._opening:
            if self._plane is None:
                self._plane = self._listen()
            return self._plane

    def _listen(self) -> _Plane:
        if self._fleet.standby is None:
            return self._listen_on(self._fleet.listen)
        try:
            return self._listen_on(self._fleet.listen)
        except NotReady:
            return self._listen_on(self._fleet.standby)

    def _listen_on(self, address: Address) -> _Plane:
        nodes = Nodes(self._fleet, self._recorded(), self._fleet.health_seen_by_nodes(address), self._may_act)
        health = HealthEndpoint(nodes, self._fleet, address.next_port)
        try:
            return _Plane(nodes, ControlPlane(nodes, address), health, time.monotonic())
        except BaseException:
            health.close()
            raise


def _same(seen: Sequence[Value | None]) -> Value | None:
    """Give what all agree on; nothing where one differs, is unknown, or nobody is there."""
    first, *others = seen or [None]
    return first if all(one == first for one in others) else None


def _check_names(nodes: Nodes) -> list[Blocker]:
    found = []
    if strangers := nodes.strangers:
        reason = f"Envoys ask that are not configured: {', '.join(sorted(strangers))}"
        found.append(Blocker("strangers", reason, "add their node ids to nodes, or stop them"))
    if doubled := nodes.doubled():
        reason = f"more than one Envoy goes by the node id {', '.join(doubled)}"
        found.append(Blocker("node-ids", reason, "give each Envoy a node id of its own"))
    return found
