"""What both transports correct in faust's consumer: which offset is committed, and how frames reach the stream.

Faust commits what its streams acknowledge, and they acknowledge too much: whatever they skip while partitions are
revoked or the app stops, and whatever comes after a hole (faust-streaming issue 606). So acknowledgements are ignored
here; an offset is committed once the core has said that all frames up to it are resolved.
"""

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from faust.types import TP

if TYPE_CHECKING:
    from faust.transport.consumer import Consumer as Base
else:
    Base = object

RESUME_SECONDS = 1.0
"""How long the fetcher sleeps at most when every partition is full; faust's own sleep cannot be cut short."""


POLL_SECONDS = 0.01
"""How long a fetch for the others may wait while some partition is full: it may have room again at any moment."""


class ResolvingConsumer(Base):
    """A mixin for faust consumers: commits resolved offsets, hands frames over without a task for each."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._resolved: dict[TP, int] = {}
        self._fetchable = asyncio.Event()
        self._seeks = 0
        super().__init__(*args, **kwargs)

    def resolve(self, tp: TP, offset: int) -> None:
        """Allow everything up to and including `offset` to be committed."""
        self._resolved[tp] = offset + 1

    def ack(self, message: Any) -> bool:
        """Ignore faust's own acknowledgements; see above."""
        return False

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (tp for tp in list(self._resolved) if topics is None or tp in topics or tp.topic in topics)

    def _new_offset(self, tp: TP) -> int | None:
        return self._resolved.get(tp)

    async def _commit_offsets(self, offsets: Any, start_new_transaction: bool = True) -> bool:
        """Commit, and keep in mind what failed: faust takes it for committed (issue 316)."""
        before = {tp: self._committed_offset[tp] for tp in offsets}
        if did_commit := await super()._commit_offsets(offsets, start_new_transaction):
            return bool(did_commit)
        self._committed_offset.update(before)
        return False

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.app.feed.revoke({tp.partition for tp in revoked})
        for tp in revoked:
            self._resolved.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        # First: faust lets frames flow from another task, before it tells its own listeners.
        await self.app.feed.assign({tp.partition for tp in assigned})
        await super().on_partitions_assigned(assigned, generation_id)

    async def perform_seek(self) -> None:
        self._seeks += 1
        await super().perform_seek()

    def on_buffer_drop(self, tp: TP) -> None:
        super().on_buffer_drop(tp)
        self._fetchable.set()

    def resume_partitions(self, tps: Any) -> None:
        super().resume_partitions(tps)
        self._fetchable.set()

    async def _wait_next_records(self, timeout: float) -> Any:
        """Fetch for partitions that have room, and soon for those that get it; faust makes full ones wait a second."""
        if self.flow_active and not self._get_active_partitions():
            self._fetchable.clear()
            try:
                await asyncio.wait_for(self._fetchable.wait(), RESUME_SECONDS)
            except TimeoutError:
                return {}, set()
        return await super()._wait_next_records(POLL_SECONDS if self._buffered_partitions else timeout)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand over what is fetched, until either service stops."""
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                await self.sleep(0)  # getmany need not wait, and others must run
                async for tp, message in self.getmany(timeout=1.0):
                    await self._hand_over(tp, message)
        except (asyncio.CancelledError, *self.consumer_stopped_errors):
            if not self.transport.app.should_stop:
                raise

    async def _hand_over(self, tp: TP, message: Any) -> None:
        """Pass one message to its streams: faust starts four tasks for each, which doubles its cost."""
        read = self._read_offset[tp]
        if read is not None and message.offset < read:
            return
        seeks = self._seeks
        await self.callback(message)
        if seeks == self._seeks:  # else the place to read on from was set anew while this waited for room
            self._read_offset[tp] = message.offset
