"""An audit whose frames and records go through a broker, by one command or process by process."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from auditor.kafka_records import KafkaRecords
from auditor.records import Records
from auditor.servers import KafkaServer
from auditor.settings import KafkaSettings, load
from tests.audits import ROOT, Audit
from tests.helpers import Pair

SAMPLERS = tuple(("sampler", "--side", side) for side in ("source", "target"))
PROCESSES = (*SAMPLERS, ("core",), ("sweeper",), ("prober",), ("gate", "serve"))
STOP_SECONDS = 20


class KafkaAudit(Audit):
    """Does as `Audit` does, on a broker."""

    def __init__(self, pair: Pair, folder: Path, broker: KafkaServer, **config: Any) -> None:
        kafka = {"bootstrap": broker.bootstrap}
        super().__init__(pair, folder, pair.name.replace("_", "-"), transport={"kafka": kafka}, **config)
        self._kafka = KafkaSettings(bootstrap=(broker.bootstrap,))
        self._records: Records | None = None
        self._seen: dict[str, Any] = {}

    def __exit__(self, *_: object) -> None:
        super().__exit__()
        self.close()

    def close(self) -> None:
        """Let go of the broker."""
        if self._records is not None:
            self._records.close()
            self._records = None

    def records(self) -> dict[str, Any]:
        if self._records is None:
            self._records = KafkaRecords(self._kafka, load(self.file).names.topics.records)
            self._seen.clear()
        for key, value in self._records.changes().items():
            if value is None:
                self._seen.pop(key, None)
            else:
                self._seen[key] = value
        return self._seen

    @contextmanager
    def processes(self) -> Iterator[None]:
        """Run each process by its own command, without a supervisor, for the length of a block."""
        self.command("prepare")
        started: list[subprocess.Popen[bytes]] = []
        try:
            with self.log.open("ab") as log:
                for words in PROCESSES:
                    command = [sys.executable, "-m", "auditor", *words, "-c", str(self.file)]
                    started.append(subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT))
            yield
            for process in started:
                assert process.poll() is None, self.log_tail()
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(STOP_SECONDS)
            self.close()
