"""A real gate process whose records a test holds in hand: it says PASS, FAIL or INCONCLUSIVE as the test wants."""

import contextlib
import http.client
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import yaml

from auditor.records import open_records
from auditor.servers.ports import free_port
from auditor.settings import load
from comparators.errors import StoreUnavailable
from tests.helpers import wait_for
from tests.helpers_records import FINDING, good_records, suspect

ONE = "/v1/migrations/orders"


@dataclass(frozen=True)
class Reply:
    """What a gate answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class GateServer:
    """`auditor gate serve` on a free port, with the records of a healthy migration kept fresh."""

    def __init__(self, folder: Path, *, cutover: Mapping[str, Any] | None = None, **gate: Any) -> None:
        self.port = free_port()
        self.file, self.log = folder / "auditor.yaml", folder / "gate.log"
        side = {"dsn": "host=127.0.0.1 port=1 dbname=app"}
        document = {
            "migration": "orders", "source": side, "target": side, "state_dir": "state",
            "replication": {"mode": "native", "publication": "app_pub", "subscription": ["app_sub", "more_sub"]},
            "gate": {"listen": f"127.0.0.1:{self.port}", "dwell_seconds": 0, **gate},
        }  # fmt: skip
        if cutover is not None:
            document["cutover"] = dict(cutover)
        self.file.write_text(yaml.safe_dump(document), encoding="utf-8")
        self.tls = "tls" in gate
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"
        self.records = open_records(load(self.file))
        self.process: subprocess.Popen[bytes] | None = None
        self._changed: dict[str, Any] = {}
        self._stop = threading.Event()
        self._feeder = threading.Thread(target=self._feed)
        self._began = time.time() - 100

    def __enter__(self) -> Self:
        self._feeder.start()
        with self.log.open("wb") as log:
            watched, self._lifeline = os.pipe()  # it ends with us, however we end
            command = [sys.executable, "-m", "auditor", "gate", "serve", "-c", str(self.file), "--log-format", "json"]
            self.process = subprocess.Popen([*command, "--lifeline", str(watched)], stderr=log, pass_fds=[watched])
            os.close(watched)
        try:
            wait_for(self._answers, 60, "the gate to answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._feeder.join()
        self.records.close()
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=60)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._lifeline)

    def say(self, verdict: str, ask: Mapping[str, Any] | None = None) -> None:
        """Bring the gate to a verdict.

        Args:
            ask: what `request` needs beside the path.
        """
        self._changed.clear()
        found = suspect(now=time.time(), state="confirmed") if verdict == "FAIL" else None
        self.records.put({f"suspect/{FINDING}": found})
        if verdict == "INCONCLUSIVE":
            self._changed["sampler/target"] = {"lag_bytes": 1 << 40}
        wait_for(lambda: self._verdict(ask or {}) == verdict, 20, f"the verdict {verdict}")

    def request(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Ask once, on a connection of its own."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        kind = http.client.HTTPSConnection if self.tls else http.client.HTTPConnection
        more: dict[str, Any] = {"context": tls} if self.tls else {}
        with contextlib.closing(kind("127.0.0.1", self.port, timeout=20, **more)) as connection:
            connection.request(method, path, data, sent)
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())

    def _verdict(self, ask: Mapping[str, Any]) -> str:
        return str(self.request("GET", f"{ONE}/gate", **ask).json().get("verdict"))

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError):
            if self.tls:
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                return self.request("GET", "/livez", tls=context).status == 200
            return self.request("GET", "/livez").status == 200
        return False

    def _feed(self) -> None:
        while not self._stop.is_set():
            fresh = good_records(time.time())
            fresh["baseline"]["at"] = self._began
            for key, change in list(self._changed.items()):
                fresh[key] = {**fresh[key], **change}
            with contextlib.suppress(StoreUnavailable):
                self.records.put(fresh)
            self._stop.wait(0.2)
