"""Prometheus and Alertmanager of our own: one node each on loopback, with data that go when they are removed."""

import os
import shutil
import signal
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml

from auditor.servers.ports import free_port
from auditor.servers.processes import Account, ServerFailed, ServerProcess
from comparators.errors import NotInstalled

START_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.1


class _WebServer(ABC):
    """A program that serves HTTP on a port of its own and says at `/-/ready` that it does."""

    program: str
    package: str

    def __init__(self, name: str) -> None:
        """Find the program; nothing runs yet.

        Raises:
            NotInstalled: it is not on the PATH; the hint names Debian's package.
        """
        found = shutil.which(self.program)
        if found is None:
            raise NotInstalled(f"{self.program} is not installed", hint=f"apt-get install {self.package}")
        self._binary, self.name, self.port = found, name, free_port()
        self._home: Path | None = None
        self._process: ServerProcess | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        """The folder of everything that belongs to this server; made when first asked for."""
        if self._home is None:
            self._home = Path(tempfile.mkdtemp(prefix=f"auditor-{self.name}-"))
        return self._home

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    def start(self) -> Self:
        """Start and wait until it answers.

        Raises:
            ServerFailed: it did not start; nothing is left running.
        """
        if self.running:
            return self
        self._configure()
        process = ServerProcess(self._command(), self.home / "server.log", _environment(), Account(None, None))
        try:
            process.tie([self.home])
            self._await(process)
        except BaseException:
            process.kill()
            raise
        self._process = process
        return self

    def stop(self) -> None:
        """Stop it by pid; one that hangs is killed."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(signal.SIGTERM, STOP_SECONDS)

    def remove(self) -> None:
        """Kill it if it runs, and delete its files."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
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

    @abstractmethod
    def _configure(self) -> None:
        """Write what it reads when it starts."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Give the program and its arguments."""

    def _await(self, process: ServerProcess) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not answers(f"{self.url}/-/ready"):
            if not process.alive:
                raise ServerFailed(f"{self.name} ended while starting\n{process.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"{self.name} was not ready after {START_SECONDS:.0f} s\n{process.log_tail()}")
            time.sleep(POLL_SECONDS)


class AlertmanagerServer(_WebServer):
    """One Alertmanager; without receivers it only shows what fires."""

    program = package = "prometheus-alertmanager"

    def __init__(self, configuration: Mapping[str, Any] | None = None) -> None:
        """Take the configuration as Alertmanager's file has it; by default nobody is told.

        Raises:
            NotInstalled: Alertmanager is not there.
        """
        super().__init__("alertmanager")
        self._configuration = configuration or {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}

    def _configure(self) -> None:
        (self.home / "alertmanager.yaml").write_text(yaml.safe_dump(dict(self._configuration)))

    def _command(self) -> list[str]:
        return [
            self._binary,
            f"--config.file={self.home / 'alertmanager.yaml'}",
            f"--storage.path={self.home / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=",  # alone: no port for others of its kind
        ]


class PrometheusServer(_WebServer):
    """One Prometheus that scrapes gates as job `auditor`."""

    program = package = "prometheus"

    def __init__(
        self,
        targets: Sequence[str],
        rules: Path | None = None,
        *,
        alertmanager: AlertmanagerServer | None = None,
        assets: Path | None = None,
        interval: str = "1s",
    ) -> None:
        """Say what it scrapes and evaluates; nothing runs yet.

        Args:
            targets: gates as host:port.
            rules: a file of rules, used as it is.
            alertmanager: who is told what fires.
            assets: a folder that is served below `/user`, as the runbook is.
            interval: between scrapes and between evaluations.
        Raises:
            NotInstalled: Prometheus is not there.
        """
        super().__init__("prometheus")
        self._targets, self._rules, self._alertmanager = list(targets), rules, alertmanager
        self._assets, self._interval = assets, interval

    def _configure(self) -> None:
        told = [f"127.0.0.1:{self._alertmanager.port}"] if self._alertmanager else []
        document = {
            "global": {"scrape_interval": self._interval, "evaluation_interval": self._interval},
            "rule_files": [str(self._rules)] if self._rules else [],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": told}]}]},
            "scrape_configs": [{"job_name": "auditor", "static_configs": [{"targets": self._targets}]}],
        }
        (self.home / "prometheus.yaml").write_text(yaml.safe_dump(document))

    def _command(self) -> list[str]:
        assets = [f"--web.user-assets={self._assets}"] if self._assets else []
        return [
            self._binary,
            f"--config.file={self.home / 'prometheus.yaml'}",
            f"--storage.tsdb.path={self.home / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--web.external-url={self.url}",
            *assets,
        ]


def answers(url: str) -> bool:
    """Say whether something answers well there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "HOME": str(Path.home()), "LANG": "C.UTF-8"}
