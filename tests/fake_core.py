"""A core without a join: resolves what a test does not hold back."""

import threading
from collections.abc import Callable

from comparators.errors import NotReady, PoisonFrame


class FakeCore:
    """Remembers what it was told. Payloads `poison...` cannot be decoded, `crash...` shows a defect."""

    def __init__(self) -> None:
        self.received: list[tuple[int, int, bytes]] = []
        self.since_assigned: dict[int, list[int]] = {}
        self.poison: list[tuple[int, int, str]] = []
        self.assignments: list[tuple[str, set[int]]] = []
        self.held: set[tuple[int, int]] = set()
        self.on_tick: Callable[[], None] = lambda: None
        self.not_ready = False
        self._seen: dict[int, int] = {}
        self._calls = threading.Lock()

    def assign(self, partitions: set[int]) -> None:
        with self._alone():
            self.assignments.append(("assign", set(partitions)))
            self.since_assigned |= {partition: [] for partition in partitions}

    def revoke(self, partitions: set[int]) -> None:
        with self._alone():
            self.assignments.append(("revoke", set(partitions)))
            for partition in partitions:
                self._seen.pop(partition, None)
                self.since_assigned.pop(partition, None)

    def receive(self, partition: int, offset: int, payload: bytes) -> None:
        with self._alone():
            if self.not_ready:
                raise NotReady("no baseline")
            if payload.startswith(b"poison"):
                raise PoisonFrame("the test says so")
            if payload.startswith(b"crash"):
                raise ValueError("a defect")
            self.received.append((partition, offset, payload))
            self._take(partition, offset)

    def poisoned(self, partition: int, offset: int, reason: str) -> None:
        with self._alone():
            self.poison.append((partition, offset, reason))
            self._take(partition, offset)

    def tick(self) -> dict[int, int]:
        with self._alone():
            self.on_tick()
            return {p: o for p in self._seen if (o := self._resolved(p)) >= 0}

    def _take(self, partition: int, offset: int) -> None:
        self.since_assigned[partition].append(offset)
        self._seen[partition] = offset

    def _resolved(self, partition: int) -> int:
        return min([self._seen[partition], *(o - 1 for p, o in self.held if p == partition)])

    def _alone(self) -> threading.Lock:
        assert not self._calls.locked(), "two calls at once"
        return self._calls
