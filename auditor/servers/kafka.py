"""A Kafka broker of our own: one KRaft node on loopback, formatted fresh."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from auditor.servers.jars import find_program, kafka_jars
from auditor.servers.ports import free_port, is_free
from auditor.servers.processes import Account, ServerFailed, ServerProcess

START_SECONDS = 120.0
STOP_SECONDS = 30.0
ASK_SECONDS = 5
LOGGING = Path(__file__).with_name("log4j2.xml")
JAVA_OPTIONS = ("-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
SINGLE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "broker.session.timeout.ms": "3000",  # a killed broker may register anew only after this
    "broker.heartbeat.interval.ms": "500",
}


class KafkaServer:
    """One broker, which keeps its ports and topics over `stop`, `kill` and `restart` until `remove`."""

    def __init__(
        self,
        settings: Mapping[str, str] | None = None,
        name: str = "kafka",
        *,
        base: Path | None = None,
        die_with_parent: bool = True,
    ) -> None:
        """Find Java and the jars (fetched the first time); nothing runs yet.

        Args:
            settings: broker settings over those of a single node.
            name: for folder names and messages.
            base: the folder to make the broker's folder in; the temporary one by default.
            die_with_parent: end the broker and remove its files when this process dies.
        Raises:
            NotInstalled: Java or Maven is missing.
            ServerFailed: the jars could not be fetched.
        """
        self.name, self.settings = name, dict(settings or {})
        self._java, self._jars = find_program("java"), kafka_jars()
        self.port, self.controller_port = free_port(), free_port()
        self._base, self._die_with_parent = base, die_with_parent
        self._home: Path | None = None
        self._process: ServerProcess | None = None

    @property
    def bootstrap(self) -> str:
        """The address that clients begin with, as in 127.0.0.1:9092."""
        return f"127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        """The folder of everything that belongs to this broker; made when first asked for."""
        if self._home is None:
            self._home = Path(tempfile.mkdtemp(prefix=f"auditor-{self.name}-", dir=self._base))
        return self._home

    @property
    def log_path(self) -> Path:
        return self.home / "server.log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    def start(self) -> Self:
        """Start and wait until it answers; format the storage first where there is none.

        Raises:
            ServerFailed: it did not start; nothing is left running.
        """
        if self.running:
            return self
        if not self._properties.exists():
            self._format()
        process = ServerProcess(
            self._command("kafka.Kafka", str(self._properties)), self.log_path, _environment(), Account(None, None)
        )
        try:
            if self._die_with_parent:
                process.tie([self.home])
            self._await(process)
        except BaseException:
            process.kill()
            raise
        self._process = process
        return self

    def stop(self) -> None:
        """Stop it by pid, cleanly; one that hangs is killed."""
        process, self._process = self._process, None
        if process is not None and not process.stop(signal.SIGTERM, STOP_SECONDS):
            raise ServerFailed(f"{self.name} had to be killed after {STOP_SECONDS:.0f} s\n{process.log_tail()}")

    def kill(self) -> None:
        """Kill it at once, as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def restart(self) -> None:
        """Stop if it runs, then start on the same ports and topics."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Kill it if it runs, and delete its files."""
        self.kill()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    @property
    def _properties(self) -> Path:
        return self.home / "server.properties"

    def _format(self) -> None:
        part = self._properties.with_suffix(".part")
        part.write_text("".join(f"{name}={value}\n" for name, value in self._all_settings().items()))
        command = self._command("kafka.tools.StorageTool", "format", "-t", uuid.uuid4().hex[:22], "-c", str(part))
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stdout + done.stderr)[-2000:]
            raise ServerFailed(f"the storage of {self.name} could not be formatted\n{said}")
        part.rename(self._properties)

    def _all_settings(self) -> dict[str, str]:
        listeners = f"PLAINTEXT://127.0.0.1:{self.port}"
        return {
            **SINGLE_NODE,
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": listeners,
            "log.dirs": str(self.home / "data"),
            **self.settings,
        }

    def _command(self, main: str, *arguments: str) -> list[str]:
        options = [*JAVA_OPTIONS, f"-Dlog4j2.configurationFile={LOGGING}", "-cp", f"{self._jars}/*"]
        return [self._java, *options, main, *arguments]

    def _await(self, process: ServerProcess) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not answers(self.bootstrap):
            if not process.alive:
                raise ServerFailed(f"{self.name} ended while starting\n{process.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} was not ready after {START_SECONDS:.0f} s\n{process.log_tail()}")
            time.sleep(0.1)


def answers(bootstrap: str) -> bool:
    """Say whether the broker answers, and is in service: a fenced one leads no partition yet."""
    from kafka import KafkaAdminClient  # costs a third of a second, and who needs no broker may be in a hurry
    from kafka.errors import KafkaError

    if is_free(int(bootstrap.rpartition(":")[2])):
        return False  # the client would try for long
    try:
        admin = KafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=ASK_SECONDS * 1000)
    except (KafkaError, OSError):
        return False
    try:
        return any(not broker.get("is_fenced") for broker in admin.describe_cluster()["brokers"])
    except (KafkaError, OSError):
        return False
    finally:
        admin.close()


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(Path.home()), "LANG": "C.UTF-8"}
