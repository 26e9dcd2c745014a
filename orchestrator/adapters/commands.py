"""A proxy of the user's own, led by programs or by a web service: each order is read back by asking what it shows.

It is told `action` (`hold`, `release`, `route`, `observe`), `proxy`, `seconds` and, to be led, `to`. To `observe` it
answers `{"held": true, "route": "source", "nodes": {"a": "v7"}}`; what it leaves out is not known.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from comparators.errors import AuditorError, NotReady
from comparators.positions import Side
from orchestrator.adapters.callers import Caller, Document, Program, Service
from orchestrator.adapters.destinations import Destinations
from orchestrator.adapters.pgbouncer_file import Place
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.ports import Blocker, Facts, Identity, ProxySeen

LOOK_SECONDS = 2.0
CHECK_SECONDS = 10.0
POLL_SECONDS = 0.02
NODES_SHOWN = 100
NOT_TOLD: Mapping[Side, Place] = {}
"""Nobody says where the proxy will lead."""


class CommandedProxy:
    """One such proxy."""

    def __init__(
        self, name: str, callers: Mapping[str, Caller], probe: str, places: Mapping[Side, Place],
        destinations: Destinations,
    ) -> None:  # fmt: skip
        """Take who is told what.

        Args:
            callers: by action.
            probe: connection string through the proxy, to a role that may log in on both sides at all times.
            places: what it leads to on each side, where that is known; none otherwise.
            destinations: what the places must be.
        """
        self.name = name
        self._callers, self._probe = callers, probe
        self._places, self._destinations = places, destinations
        self.places_asked = bool(places)

    def check(self) -> Sequence[Blocker]:
        """Say what speaks against a cutover through it."""
        seen = self._look(Deadline.within(CHECK_SECONDS, f"looking at {self.name}"))
        if isinstance(seen, AuditorError):
            return [Blocker("observe", str(seen), "see why it does not tell what it shows")]
        found = []
        if seen.held is not False:
            found.append(Blocker("held", f"`held` is {seen.held}, not false", "let it go, or let `observe` tell it"))
        if seen.route is None:
            found.append(Blocker("route", "it does not tell where it leads", "let `observe` name source or target"))
        try:
            self.probe(Deadline.within(CHECK_SECONDS, f"asking through {self.name}"))
        except AuditorError as error:
            found.append(Blocker("probe", str(error), "see that `probe` leads through it to the database"))
        told = {side: [place] for side, place in self._places.items()}
        return [*found, *self._destinations.blockers(self._probe, told)]

    def hold(self, deadline: Deadline) -> Facts:
        """Let it hold new transactions, and read back that it does."""
        return self._order("hold", deadline, lambda seen: seen.held is True)

    def release(self, deadline: Deadline) -> Facts:
        """Let it go, and read back that it did."""
        return self._order("release", deadline, lambda seen: seen.held is False)

    def route(self, to: Side, deadline: Deadline) -> Facts:
        """Let it lead to a side, and read back that it does."""
        return self._order("route", deadline, lambda seen: seen.route is to, to=to.value)

    def observe(self) -> ProxySeen:
        """Ask what it shows."""
        seen = self._look(Deadline.within(LOOK_SECONDS, f"looking at {self.name}"))
        return ProxySeen(None, None) if isinstance(seen, AuditorError) else seen

    def probe(self, deadline: Deadline) -> Identity:
        """Ask the server behind it who it is, by a new session through it."""
        with Session(self._probe, f"probe through {self.name}", pinned=False) as session:
            return session.identity(deadline)

    def _order(self, action: str, deadline: Deadline, obeyed: Callable[[ProxySeen], bool], **more: str) -> Facts:
        began = time.monotonic()
        self._tell(action, deadline, **more)
        seen = self._observed(deadline)
        while not obeyed(seen):
            time.sleep(POLL_SECONDS)
            try:
                seen = self._observed(deadline)
            except DeadlinePassed:
                shown = f"held: {seen.held}, route: {seen.route}"
                raise NotReady(f"{self.name} was told to {action}, and shows {shown}") from None
        facts = {"held": seen.held, "route": seen.route and seen.route.value, "nodes": dict(seen.nodes)}
        return {**facts, "took_ms": round((time.monotonic() - began) * 1000, 1)}

    def _look(self, deadline: Deadline) -> ProxySeen | AuditorError:
        try:
            return self._observed(deadline)
        except AuditorError as error:
            return error

    def _observed(self, deadline: Deadline) -> ProxySeen:
        answer = self._tell("observe", deadline)
        held, route, nodes = answer.get("held"), answer.get("route"), answer.get("nodes")
        return ProxySeen(
            held if isinstance(held, bool) else None,
            Side(route) if route in list(Side) else None,
            dict(list(_texts(nodes).items())[:NODES_SHOWN]) if isinstance(nodes, dict) else {},
        )

    def _tell(self, action: str, deadline: Deadline, **more: str) -> Document:
        seconds = round(deadline.left(), 3)
        document = {"action": action, "proxy": self.name, "seconds": seconds, **more}
        return self._callers[action].call(document, deadline)


def exec_proxy(
    name: str,
    *,
    hold: Sequence[str],
    release: Sequence[str],
    route: Sequence[str],
    observe: Sequence[str],
    probe: str,
    destinations: Destinations,
    places: Mapping[Side, Place] = NOT_TOLD,
) -> CommandedProxy:
    """Make a proxy that programs lead, one for each action."""
    commands = {"hold": hold, "release": release, "route": route, "observe": observe}
    callers = {action: Program(command) for action, command in commands.items()}
    return CommandedProxy(name, callers, probe, places, destinations)


def webhook_proxy(
    name: str,
    *,
    url: str,
    token: str | None = None,
    probe: str,
    destinations: Destinations,
    places: Mapping[Side, Place] = NOT_TOLD,
) -> CommandedProxy:
    """Make a proxy that one address leads."""
    service = Service(url, token)
    callers = dict.fromkeys(("hold", "release", "route", "observe"), service)
    return CommandedProxy(name, callers, probe, places, destinations)


def _texts(nodes: Mapping[object, object]) -> dict[str, str]:
    return {str(name): str(told)[:NODES_SHOWN] for name, told in nodes.items()}
