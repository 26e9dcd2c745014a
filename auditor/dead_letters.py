"""Frames that cannot be decoded: set aside with the reason, so that a person can look and the audit goes on."""

import asyncio
import time
from typing import Any

from auditor.records import Records, open_records
from auditor.settings import Settings


class DeadLetters:
    """Writes a record of each such frame and, on Kafka, the frame itself to a topic of its own."""

    def __init__(self, settings: Settings, app: Any) -> None:
        """Prepare; nothing is opened before the first frame.

        Args:
            app: the Faust app, whose producer sends.
        """
        self._settings = settings
        self._app = app
        self._records: Records | None = None

    async def put(self, partition: int, offset: int, payload: bytes, reason: str) -> None:
        """Set a frame aside; once this returns its offset may be committed.

        Raises:
            StoreUnavailable: it was not stored; the frame comes again after a restart.
        """
        if self._settings.transport is not None:
            await self._app.producer.send_and_wait(
                self._settings.names.topics.dead_letter,
                key=f"{partition}/{offset}".encode(),
                value=payload,
                partition=0,
                timestamp=None,
                headers={"reason": reason.encode(), "partition": b"%d" % partition, "offset": b"%d" % offset},
            )
        record = {"reason": reason, "size": len(payload), "at": time.time()}
        await asyncio.to_thread(self._record, f"dead-letter/{partition}/{offset}", record)

    def close(self) -> None:
        if self._records is not None:
            self._records.close()

    def _record(self, key: str, record: dict[str, Any]) -> None:
        if self._records is None:
            self._records = open_records(self._settings)
        self._records.put({key: record})
