"""Feeding the core: one call at a time, frames in offset order, and nothing committed that it has not resolved."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from comparators.errors import PoisonFrame, Retryable

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
"""How long a frame waits until it is tried again."""


class Core(Protocol):
    """What joins the frames of both sides; `auditor.core` has the real one. Called by one thread at a time."""

    def assign(self, partitions: set[int]) -> None:
        """Start empty for these partitions: frames since the last one resolved come again."""

    def revoke(self, partitions: set[int]) -> None:
        """Forget these partitions; another process has them, or they are assigned anew."""

    def receive(self, partition: int, offset: int, payload: bytes) -> None:
        """Take one frame; offsets of a partition rise, and may skip.

        Raises:
            PoisonFrame: it cannot be decoded; `poisoned` follows once it has been set aside.
            Retryable: nothing was taken in; called again soon with the same frame.
        """

    def poisoned(self, partition: int, offset: int, reason: str) -> None:
        """Count a frame that was set aside as resolved."""

    def tick(self) -> dict[int, int]:
        """Store results first, then say how far each partition is resolved: its highest such offset.

        Raises:
            Retryable: the store is away; called again at the next tick.
        """


SetAside = Callable[[int, int, bytes, str], Awaitable[None]]


class Feed:
    """Calls a core on behalf of the app."""

    def __init__(self, core: Core, set_aside: SetAside, resolve: Callable[[int, int], None]) -> None:
        """Prepare.

        Args:
            set_aside: stores a poison frame: partition, offset, payload, reason.
            resolve: told the partition and the offset through which all is resolved.
        """
        self._core = core
        self._set_aside = set_aside
        self._resolve = resolve
        self._turn = asyncio.Lock()  # a tick runs in a thread of its own, and the core knows no threads
        self._ticker = ThreadPoolExecutor(1, "core-tick")
        self._received: dict[int, int | None] = {}
        self._resolved: dict[int, int] = {}
        self._waiting: set[str] = set()  # what was told once to wait
        self.moves = 0
        """Frames received and resolutions made so far: stands still if nothing moves."""
        self.failure: Exception | None = None
        """The first error that must stop the process."""

    def received(self, partition: int) -> int | None:
        """Give the last offset received since the partition was assigned."""
        return self._received.get(partition)

    async def assign(self, partitions: set[int]) -> None:
        """Take these partitions and no others, each from its committed offset."""
        async with self._turn:
            self._forget(set(self._received))
            self._core.assign(partitions)
            self._received = dict.fromkeys(partitions)

    async def revoke(self, partitions: set[int]) -> None:
        """Give these partitions up."""
        async with self._turn:
            self._forget(partitions & set(self._received))

    async def receive(self, partition: int, offset: int, payload: bytes) -> None:
        """Pass one frame on, as often as it takes; on a defect, remember it as the failure and raise it."""
        while not await self._try(lambda: self._receive(partition, offset, payload), "Frames"):
            await asyncio.sleep(RETRY_SECONDS)  # not in turn: ticks go on, and the partition may be revoked

    async def tick(self) -> None:
        """Let the core store its results, and pass on what is resolved; if the store is away, later."""
        await self._try(self._tick, "Results")

    def close(self) -> None:
        """Let go of the thread; a tick that hangs does not hold up the process."""
        self._ticker.shutdown(wait=False, cancel_futures=True)

    async def _try(self, step: Callable[[], Awaitable[None]], what: str) -> bool:
        """Make one step in turn, and say whether it was made or must be tried again."""
        async with self._turn:
            try:
                await step()
            except Retryable as error:
                if what not in self._waiting:
                    logger.warning("%s have to wait: %s", what, error, extra={"action": "wait"})
                self._waiting.add(what)
                return False
            except Exception as error:
                self.failure = self.failure or error
                raise
            self._waiting.discard(what)
            return True

    async def _tick(self) -> None:
        self._pass_on(await asyncio.get_running_loop().run_in_executor(self._ticker, self._core.tick))

    async def _receive(self, partition: int, offset: int, payload: bytes) -> None:
        if partition not in self._received:
            return  # fetched before it was revoked
        last = self._received[partition]
        if last is not None and offset <= last:
            # The consumer was set back to the committed offset unannounced: everything unresolved comes again.
            self._forget({partition})
            self._core.assign({partition})
        try:
            self._core.receive(partition, offset, payload)
        except PoisonFrame as error:
            await self._set_poison_aside(partition, offset, payload, str(error))
        self._received[partition] = offset
        self.moves += 1

    async def _set_poison_aside(self, partition: int, offset: int, payload: bytes, reason: str) -> None:
        logger.error(
            "Frame %d/%d cannot be read and is set aside: %s",
            partition,
            offset,
            reason,
            extra={"action": "dead_letter", "partition": partition, "offset": offset},
        )
        await self._set_aside(partition, offset, payload, reason)
        self._core.poisoned(partition, offset, reason)

    def _forget(self, partitions: set[int]) -> None:
        if partitions:
            self._core.revoke(partitions)
        for partition in partitions:
            self._received.pop(partition, None)
            self._resolved.pop(partition, None)

    def _pass_on(self, resolved: dict[int, int]) -> None:
        for partition, offset in resolved.items():
            last = self._received.get(partition)
            if last is not None and self._resolved.get(partition, -1) < offset <= last:
                self._resolved[partition] = offset
                self._resolve(partition, offset)
                self.moves += 1
