"""A core in a process of its own, for tests that kill it: `python -m tests.core_process BOOTSTRAP MIGRATION FOLDER`.

It writes each frame received as a line `partition offset payload` to FOLDER/received, and never resolves frames whose
payload is in FOLDER/held.
"""

import asyncio
import sys
from pathlib import Path

from auditor.stream import _run_until_signal, run_core
from tests.fake_core import FakeCore
from tests.migrations import kafka_settings


class WritingCore(FakeCore):
    """Tells the test what it receives."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._held_payloads = (folder / "held").read_bytes().splitlines()
        self._file = (folder / "received").open("ab", buffering=0)

    def receive(self, partition: int, offset: int, payload: bytes) -> None:
        super().receive(partition, offset, payload)
        self._file.write(b"%d %d %s\n" % (partition, offset, payload))
        if payload in self._held_payloads:
            self.held.add((partition, offset))


class Broker:
    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap


def main(bootstrap: str, migration: str, folder: Path) -> int:
    settings = kafka_settings(Broker(bootstrap), folder, migration)

    async def run(stop: asyncio.Event) -> int:
        return await run_core(settings, WritingCore(folder), None, stop)

    return _run_until_signal(run)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
