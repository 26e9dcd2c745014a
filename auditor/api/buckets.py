"""How much each client may ask: a bucket that fills at a steady rate and from which each request takes one."""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_CLIENTS = 1000
"""Whoever was not heard from for longest is forgotten first, which gives back a full bucket and bounds the memory."""


class Buckets:
    """One bucket for each client."""

    def __init__(
        self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic, most: int = MOST_CLIENTS
    ) -> None:
        self._per_second, self._burst, self._clock, self._most = per_second, max(burst, 1.0), clock, most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one request from a client's bucket.

        Returns:
            0 when there was one, else the seconds until there is.
        """
        now = self._clock()
        level, at = self._levels.get(client, (self._burst, now))
        level = min(self._burst, level + max(0.0, now - at) * self._per_second)
        allowed = level >= 1.0
        self._levels[client] = (level - allowed, now)
        self._levels.move_to_end(client)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)
        return 0.0 if allowed else (1.0 - level) / self._per_second

    def __len__(self) -> int:
        return len(self._levels)
