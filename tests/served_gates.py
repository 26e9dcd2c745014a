"""A real gate process on records that a test plants, kept as fresh as a healthy migration's processes would."""

import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from auditor.records import open_records
from auditor.settings import load
from tests.helpers import wait_for
from tests.helpers_records import good_records

CONFIGURATION = """
migration: orders
source: {{dsn: "host=127.0.0.1 port=1 dbname=app"}}
target: {{dsn: "host=127.0.0.1 port=1 dbname=app"}}
replication: {{mode: native, publication: app_pub, subscription: app_sub}}
state_dir: state
gate: {{listen: "127.0.0.1:{port}", dwell_seconds: 0, valid_seconds: 6{more}}}
"""
FEED_SECONDS = 0.4


class ServedGate:
    """`auditor gate serve` on a free port, and a thread that feeds its records."""

    def __init__(self, folder: Path, more: str = "") -> None:
        """Args: more: further settings of the gate."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.file = folder / "auditor.yaml"
        self.file.write_text(CONFIGURATION.format(port=port, more=more), encoding="utf-8")
        self.url = f"http://127.0.0.1:{port}"
        self.planted: dict[str, dict[str, Any] | None] = {}
        """Laid over the records of a healthy migration; `None` takes one out."""
        self._records = open_records(load(self.file))
        self._began, self._stop = time.time(), threading.Event()
        self._feeder = threading.Thread(target=self._feed)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "ServedGate":
        self._feeder.start()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGKILL)
        self._stop.set()
        self._feeder.join()
        self._records.close()

    def start(self) -> None:
        """Start the process and wait for its first answer."""
        self._process = subprocess.Popen([sys.executable, "-m", "auditor", "gate", "serve", "-c", str(self.file)])
        wait_for(lambda: self.asked("/livez") == 200, 30, "the gate to answer")

    def signal(self, number: int) -> None:
        """Send a signal; one that ends the process is waited for."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._process.wait(timeout=60)

    def asked(self, path: str) -> int:
        """Give the status of an answer; 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def _feed(self) -> None:
        while not self._stop.wait(FEED_SECONDS):
            records = good_records(time.time())
            records["baseline"]["at"] = self._began - 100
            self._records.put({**records, **self.planted})
