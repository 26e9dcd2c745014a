"""Everything the demo starts: servers, schema, replication, the auditor itself; all of it gone at the end."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

import auditor
from auditor.demo import observability, schema
from auditor.demo.database import wait_until
from auditor.demo.stage import Harm, Stage
from auditor.demo.workload import Workload
from auditor.records import Records, open_records
from auditor.servers import PostgresServer, ServerFailed, free_port
from auditor.servers.processes import Account, ServerProcess
from auditor.settings import Settings, load

MIGRATION = "demo"
COMMON = {
    "max_prepared_transactions": "20",
    "wal_retrieve_retry_interval": "200ms",  # a failed apply worker is back soon
    "shared_buffers": "64MB",
    "fsync": "off",  # the servers do not outlive the demo
}
SOURCE = {**COMMON, "track_commit_timestamp": "on"}  # tells an injected fault whether it was sampled
RELAXED: Mapping[str, float] = {
    "in-window-share": 0.02, "lag-ms": 1000.0, "lag-bytes": 64 << 20, "marker-ms": 2000.0, "apply-headroom": 0.0,
}  # fmt: skip
"""Two servers, load, auditor and view share a small machine, perhaps with others; production limits are stricter."""
SWEEP: Mapping[str, float] = {"pause_seconds": 0.05, "every_seconds": 20.0}
"""A show is short: every table is to be read whole within its first seconds, and once more before its end."""
PROBES: Mapping[str, float] = {"interval_seconds": 0.3}
"""A hundred markers are to have come through within the first seconds."""
DWELL_SECONDS = 3.0
TRANSACTIONS_PER_SECOND = 200.0
READY_SECONDS = 180.0
PREPARE_SECONDS = 180.0
STOP_SECONDS = 12.0
SHOWN_LINES = 15


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be shown."""

    rate: float = 1.0
    kafka: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the auditor's configuration."""
    observability: bool = False
    """Prometheus and Alertmanager watch the gate."""
    early: Callable[[Stage], Harm] | None = None
    """Does its damage before the auditor is there."""

    @property
    def sample_size(self) -> float:
        """A sample that a short demo can reach: a second's worth of transactions, at most the default."""
        return min(300.0, max(10.0, self.rate * TRANSACTIONS_PER_SECOND * 5))

    @property
    def limits(self) -> dict[str, float]:
        """The limits that differ from the defaults."""
        sample = {} if self.sample_size == 300 else {"sample-size": self.sample_size}
        return {**RELAXED, **sample, **self.config.get("gate", {}).get("limits", {})}


class World:
    """The demo's servers and processes, as a context manager; `workload` waits to be started."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self._plan, self._say = plan, say
        self._closing = ExitStack()
        self._records: Records | None = None
        self._seen: dict[str, Any] = {}
        self._auditor: ServerProcess | None = None
        self.harm: Harm | None = None
        """What was done before the auditor was there."""
        self.watchers: observability.Watchers | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    @property
    def url(self) -> str:
        """Where the gate answers."""
        return self.settings.gate.url

    def records(self) -> Mapping[str, Any]:
        """Read what the auditor's processes have recorded so far."""
        if self._records is None:
            self._records = open_records(self.settings)
            self._closing.callback(self._records.close)
        for key, value in self._records.changes().items():
            if value is None:
                self._seen.pop(key, None)
            else:
                self._seen[key] = value
        return self._seen

    def pid_of(self, name: str) -> int | None:
        """Find the pid of one of the auditor's processes."""
        record = self.records().get(f"process/{name}")
        return int(record["pid"]) if record else None

    def auditor_ended(self) -> str | None:
        """Give the last lines of the auditor's log if it has ended by itself."""
        if self._auditor is None or self._auditor.alive:
            return None
        return self._auditor.log_tail()

    def _start(self) -> None:
        self._say("starting PostgreSQL 16 (source) and 18 (target)")
        self.source = self._server(16, SOURCE, "source")
        self.target = self._server(18, COMMON, "target")
        self.folder = self._folder()
        brokers = self._brokers() if self._plan.kafka else None
        for server in (self.source, self.target):
            server.run_program("createdb", "shop")
        self._say("creating the shop on both, and copying it by logical replication")
        source, target = (server.dsn("shop") for server in (self.source, self.target))
        schema.create(source, target)
        self.stage = Stage(
            source,
            target,
            MIGRATION,
            f"auditor_{MIGRATION}_source",
            self._plan.rate,
            self.source,
            self.target,
            self.pid_of,
        )
        if self._plan.early:
            self._say("doing the damage, before the auditor is there")
            self.harm = self._plan.early(self.stage)
        self.settings = self._configure(source, target, brokers)
        self._prepare()
        self._run()
        if self._plan.observability:
            self._be_watched()
        self.workload = Workload(source, rate=TRANSACTIONS_PER_SECOND)
        self._closing.callback(self.workload.stop)

    def _server(self, major: int, settings: Mapping[str, str], name: str) -> PostgresServer:
        return self._closing.enter_context(PostgresServer(major, settings, name))

    def _folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="auditor-demo-"))
        self._closing.callback(shutil.rmtree, folder, ignore_errors=True)
        return folder

    def _brokers(self) -> str:
        from auditor.servers.kafka import KafkaServer

        self._say("starting a Kafka broker")
        return self._closing.enter_context(KafkaServer()).bootstrap

    def _configure(self, source: str, target: str, brokers: str | None) -> Settings:
        document = merged(
            {
                "migration": MIGRATION,
                "source": {"dsn": source},
                "target": {"dsn": target},
                "replication": {
                    "mode": "native", "publication": schema.PUBLICATION, "subscription": schema.SUBSCRIPTION,
                },
                "sampling": {"rate": self._plan.rate},
                "transport": {"kafka": {"bootstrap": brokers}} if brokers else "memory",
                "state_dir": str(self.folder / "state"),
                "sweep": dict(SWEEP),
                "probes": dict(PROBES),
                "gate": {"listen": f"127.0.0.1:{free_port()}", "dwell_seconds": DWELL_SECONDS},
            },
            self._plan.config,
            {"gate": {"limits": self._plan.limits}},
        )  # fmt: skip
        self._file = self.folder / "auditor.yaml"
        self._file.touch(mode=0o600)
        self._file.write_text(yaml.safe_dump(document, sort_keys=False))
        return load(self._file)

    def _prepare(self) -> None:
        self._say("auditor prepare")
        done = subprocess.run(
            self._command("prepare"), env=environment(), capture_output=True, text=True, timeout=PREPARE_SECONDS,
            check=False, start_new_session=True,
        )  # fmt: skip
        if done.returncode:
            raise ServerFailed(f"auditor prepare ended with exit code {done.returncode}\n{tail(done.stderr)}")

    def _run(self) -> None:
        self._say("auditor run")
        log = self.folder / "auditor.log"
        process = self._auditor = ServerProcess(self._command("run"), log, environment(), Account(None, None))
        self._closing.callback(self._stop_auditor)
        process.tie([self.folder])
        try:
            wait_until(lambda: not process.alive or answers(self.url), "the auditor to be ready", READY_SECONDS, 0.05)
        except TimeoutError as error:
            raise ServerFailed(f"{error}\n{process.log_tail()}") from None
        if not process.alive:
            raise ServerFailed(f"auditor run ended while starting\n{process.log_tail()}")
        self._say(f"ask it yourself: {Path(sys.executable).with_name('auditor')} preflight -c {self._file}")

    def _be_watched(self) -> None:
        self._say("starting Prometheus and Alertmanager")
        gate = self.settings.gate
        self.watchers = observability.start(f"{gate.host}:{gate.port}", self._closing)
        addresses = {"console": f"{self.url}/", "metrics": f"{self.url}/metrics", **self.watchers.addresses}
        for name, address in addresses.items():
            self._say(f"{name:<13}{address}")

    def _stop_auditor(self) -> None:
        if self._auditor is not None:
            self._auditor.stop(signal.SIGTERM, STOP_SECONDS)

    def _command(self, name: str) -> list[str]:
        return [sys.executable, "-m", "auditor", name, "--config", str(self._file)]


def environment() -> dict[str, str]:
    """Let the auditor's processes find the code that runs now, and keep out what libpq would take from ours."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PG", "AUDITOR_"))}
    here = str(Path(auditor.__file__).resolve().parent.parent)
    paths = [here, *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def answers(url: str) -> bool:
    """Say whether the gate says that all parts have reported."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def merged(first: Mapping[str, Any], *others: Mapping[str, Any]) -> dict[str, Any]:
    """Lay mappings over each other, level by level."""
    result = dict(first)
    for other in others:
        for key, value in other.items():
            below = result.get(key)
            if isinstance(value, Mapping):
                value = merged(below if isinstance(below, Mapping) else {}, value)
            result[key] = value
    return result


def tail(text: str) -> str:
    """Keep the last lines."""
    return "\n".join(text.splitlines()[-SHOWN_LINES:])
