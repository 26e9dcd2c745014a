"""What every Envoy has been told, and what it answered; one lock guards it all.

Rules of this file:
1. An acknowledgement is a stream's, not a node id's: two Envoys that go by one id must both acknowledge.
2. Who is not connected has not acknowledged.
3. A health check is answered by what its node has acknowledged: a session that was ended must find its successor held,
   and before a node has taken the closed port, its clients would be back at once.
4. Nothing is told any more once the caller may not act: a process that was stopped and wakes says nothing.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from comparators.errors import NeedsOperator
from comparators.positions import Side
from orchestrator.adapters.envoy.fleet import Address, Fleet
from orchestrator.adapters.envoy.resources import ENDPOINTS, Resources, resources_for
from orchestrator.adapters.envoy.serving import Serving
from orchestrator.deadlines import Deadline, DeadlinePassed

Result = TypeVar("Result")

_LOOK_SECONDS = 1.0
"""Between two looks at whether this process may still act, and at a deadline that something else may end."""


class EnvoyRefused(NeedsOperator):
    """An Envoy said that it cannot use what it was told."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One request of an Envoy's."""

    type_url: str
    version: str
    """What it has accepted last."""
    nonce: str
    """The answer that it speaks of; empty in the first request of a type."""
    names: tuple[str, ...]
    error: str | None
    """Why it refuses that answer."""


@dataclass(frozen=True, slots=True)
class Told:
    """One answer to an Envoy."""

    type_url: str
    nonce: str
    resources: Resources
    names: tuple[str, ...]


@dataclass(slots=True)
class _Subscription:
    names: tuple[str, ...]
    accepted: str
    sent: str | None = None
    nonce: str = ""
    refused: str | None = None


@dataclass(slots=True, eq=False)
class Stream:
    """One Envoy's conversation."""

    node: str
    open: bool = True
    subscriptions: dict[str, _Subscription] = field(default_factory=dict)
    answers: int = 0


class Nodes:
    """The fleet as its conversations show it."""

    def __init__(self, fleet: Fleet, serving: Serving, health: Address, may_act: Callable[[], bool]) -> None:
        """Know what is to be served from the first request on.

        Args:
            health: where the nodes' health checks go.
            may_act: asked before each answer.
        """
        self.changed = threading.Condition()
        self.may_act = may_act
        self._fleet, self._serving, self._health = fleet, serving, health
        self._streams: list[Stream] = []
        self._wanted: dict[str, dict[str, Resources]] = {}
        self._generation = 1
        self._taken: dict[str, tuple[int, Serving]] = {}
        self._checks: dict[tuple[str, str, Side], tuple[int, bool]] = {}
        self._strangers: set[str] = set()

    @property
    def serving(self) -> Serving:
        return self._serving

    @property
    def strangers(self) -> frozenset[str]:
        """Those who asked and are not of the fleet."""
        with self.changed:
            return frozenset(self._strangers)

    def serve(self, serving: Serving) -> None:
        """Tell every node something new; returns at once."""
        with self.changed:
            if serving != self._serving:
                self._generation += 1
                self._serving = serving
                self._wanted.clear()
                self.changed.notify_all()

    def join(self, node: str) -> Stream | None:
        """Begin a conversation; `None` for one that is not of the fleet."""
        with self.changed:
            if not self._fleet.knows(node):
                self._strangers.add(node)
                return None
            stream = Stream(node)
            self._streams.append(stream)
            return stream

    def leave(self, stream: Stream) -> None:
        """End a conversation."""
        with self.changed:
            stream.open = False
            if stream in self._streams:
                self._streams.remove(stream)
            self.changed.notify_all()

    def hear(self, stream: Stream, heard: Heard) -> None:
        """Take a request: a first one, an acknowledgement, a refusal, or other names."""
        with self.changed:
            if not stream.open:
                return  # what it said last speaks of a conversation that is over
            known = stream.subscriptions.get(heard.type_url)
            if known is None:
                stream.subscriptions[heard.type_url] = _Subscription(heard.names, heard.version)
            elif heard.nonce == known.nonce:
                _answered(known, heard)
            if self._has_taken(stream.node):
                self._taken[stream.node] = self._generation, self._serving
            self.changed.notify_all()

    def next_answer(self, stream: Stream) -> Told | None:
        """Wait until there is something to tell; `None` when the conversation is over."""
        with self.changed:
            while stream.open and self.may_act():
                if (told := self._due(stream)) is not None:
                    return told
                self.changed.wait(_LOOK_SECONDS)
            return None

    def _due(self, stream: Stream) -> Told | None:
        for type_url, resources in self._resources(stream.node).items():
            known = stream.subscriptions.get(type_url)
            if known is not None and known.sent != resources.version:
                stream.answers += 1
                known.sent, known.nonce, known.refused = resources.version, str(stream.answers), None
                return Told(type_url, known.nonce, resources, known.names)
        return None

    def _resources(self, node: str) -> dict[str, Resources]:
        if node not in self._wanted:
            self._wanted[node] = resources_for(node, self._fleet, self._serving, self._health)
        return self._wanted[node]

    def news(self, node: str, told: int, seconds: float) -> tuple[int, Serving] | None:
        """Wait until a node has acknowledged something new, or the time is over.

        Args:
            told: the generation that a health check's connection was told last; 0 where it has just come.
        Returns:
            The generation that the node acknowledged last, and what is served in it; `None` where there is none.
        """
        with self.changed:
            self.changed.wait_for(lambda: node in self._taken and self._taken[node][0] != told, seconds)
            return self._taken.get(node)

    def checked(self, node: str, cluster: str, side: Side, generation: int, well: bool) -> None:
        """Note what a node's health check of a side has taken; otherwise than well, its sessions there have ended."""
        with self.changed:
            self._checks[node, cluster, side] = generation, well
            self.changed.notify_all()

    def await_acknowledged(self, deadline: Deadline) -> dict[str, str]:
        """Wait until every node has accepted what is served, and give the version that each has.

        Raises:
            EnvoyRefused: a node cannot use it.
            DeadlinePassed: a node has not said anything; it is named.
        """
        return self._await(self._not_acknowledged, deadline, self._versions)

    def await_ended(self, deadline: Deadline) -> list[str]:
        """Wait until every node has ended the sessions of those who write, and name the nodes.

        Raises:
            DeadlinePassed: a node has not asked; it is named.
        """
        return self._await(self._not_ended, deadline, lambda: sorted(self._required()))

    def await_armed(self, deadline: Deadline) -> None:
        """Wait until every node has heard that all is well where it leads: it acts on the change alone.

        Raises:
            DeadlinePassed: a node has not asked; it is named.
        """
        self._await(self._not_armed, deadline, lambda: None)

    def _await(
        self, missing: Callable[[], Mapping[str, str]], deadline: Deadline, result: Callable[[], Result]
    ) -> Result:
        with self.changed:
            while absent := missing():
                try:
                    left = deadline.left()
                except DeadlinePassed as passed:
                    raise DeadlinePassed(f"{passed}: {sentence(absent)}") from None
                self.changed.wait(min(left, _LOOK_SECONDS))
            return result()

    def doubled(self) -> list[str]:
        """Name the nodes that hold more than one conversation: two Envoys go by one id."""
        with self.changed:
            names = [stream.node for stream in self._streams]
            return sorted({name for name in names if names.count(name) > 1})

    def versions(self) -> dict[str, str]:
        """Give what each node last accepted about the endpoints; empty where it is not known."""
        with self.changed:
            return self._versions()

    def connected(self) -> set[str]:
        """Name the nodes that converse now."""
        with self.changed:
            return {stream.node for stream in self._streams}

    def _required(self) -> frozenset[str]:
        return self._fleet.named_nodes | {stream.node for stream in self._streams}

    def _versions(self) -> dict[str, str]:
        found = dict.fromkeys(sorted(self._required()), "")
        for stream in self._streams:
            known = stream.subscriptions.get(ENDPOINTS)
            found[stream.node] = known.accepted if known else ""
        return found

    def _not_acknowledged(self) -> dict[str, str]:
        found = {}
        for node in self._required():
            streams = [stream for stream in self._streams if stream.node == node]
            reasons = [reason for stream in streams if (reason := self._lacks(stream))]
            if not streams or reasons:
                found[node] = reasons[0] if reasons else "is not connected"
        return found

    def _lacks(self, stream: Stream) -> str | None:
        for type_url, resources in self._resources(stream.node).items():
            known = stream.subscriptions.get(type_url)
            if known is not None and known.refused and known.sent == resources.version:
                raise EnvoyRefused(
                    f"{stream.node} refuses what it was told: {known.refused}",
                    hint="is this Envoy of another version? compare its log with docs/cutover-envoy.md",
                )
            if known is None or known.accepted != resources.version:
                return f"has not acknowledged its {type_url.rpartition('.')[2]}"
        return None

    def _has_taken(self, node: str) -> bool:
        """Say whether a node leads as it is told; its other resources never change."""
        version = self._resources(node)[ENDPOINTS].version
        subscriptions = [one.subscriptions.get(ENDPOINTS) for one in self._streams if one.node == node]
        return all(known is not None and known.accepted == version for known in subscriptions)

    def _not_ended(self) -> dict[str, str]:
        return self._have_not_taken(False, "has not ended its sessions: its health check does not come")

    def _not_armed(self) -> dict[str, str]:
        return {} if self._serving.held else self._have_not_taken(True, "sends no health check")

    def _have_not_taken(self, well: bool, reason: str) -> dict[str, str]:
        """Give the nodes whose health check of what writes has not taken an answer about what is served."""
        cluster, side = self._fleet.cluster, self._serving.writes
        waiting = (
            one for one in self._required() if self._checks.get((one, cluster, side)) != (self._generation, well)
        )
        return dict.fromkeys(waiting, reason)


def _answered(known: _Subscription, heard: Heard) -> None:
    if heard.error is None:
        known.accepted, known.refused = heard.version, None
    else:
        known.refused = heard.error
    if set(heard.names) != set(known.names):
        known.names, known.sent = heard.names, None  # it is told again, about the other names


def sentence(absent: Mapping[str, str]) -> str:
    """Say who is missing and why, in words."""
    return "; ".join(f"{node} {reason}" for node, reason in sorted(absent.items()))
