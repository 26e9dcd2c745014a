"""The gate as a process of its own, asked over HTTP and on the command line."""

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditor.records import open_records
from auditor.settings import load
from tests.helpers import wait_for

CONFIGURATION = """
migration: orders
source: {{dsn: "host=127.0.0.1 port=1 dbname=app"}}
target: {{dsn: "host=127.0.0.1 port=1 dbname=app"}}
replication: {{mode: native, publication: app_pub, subscription: app_sub}}
state_dir: state
gate: {{listen: "127.0.0.1:{port}"}}
"""


class GateProcess:
    """`auditor gate serve` on a free port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.file = folder / "auditor.yaml"
        self.file.write_text(CONFIGURATION.format(port=port), encoding="utf-8")
        self.url = f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "auditor", "gate", "serve", "-c", str(self.file)])
        wait_for(lambda: self.answer("/livez")[0] == 200, 30, "the gate to answer")

    def end(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout=60)

    def answer(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as response:
                return response.status, json.loads(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read())
        except OSError:
            return 0, None

    def check(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "auditor", "gate", "check", "-c", str(self.file), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[GateProcess]:
    process = GateProcess(tmp_path)
    yield process
    if process.process and process.process.poll() is None:
        process.process.kill()
        process.process.wait()


def test_it_answers_before_anything_else_runs_and_ends_at_once_when_told(gate: GateProcess) -> None:
    gate.start()
    verdict = wait_for(lambda: gate.answer("/v1/migrations/orders/gate")[1], 5, "a verdict")
    assert verdict["verdict"] == "INCONCLUSIVE"
    wait_for(lambda: "auditor prepare" in gate.answer("/readyz")[1]["detail"], 5, "the reason why it is not ready")
    with urllib.request.urlopen(f"{gate.url}/v1/migrations/orders/events", timeout=5) as events:
        assert events.readline().startswith(b"id: ")  # an open stream must not hold the end up
        assert gate.end(signal.SIGTERM) == 0


def test_check_says_that_a_person_must_prepare_and_that_nothing_answers(gate: GateProcess) -> None:
    gate.start()
    wait_for(lambda: gate.answer("/v1/migrations/orders/gate")[1]["needs_person"], 5, "the need of a person")
    asked = gate.check("--json")
    assert asked.returncode == 4
    assert json.loads(asked.stdout)["next_steps"][0] == "auditor prepare"
    assert gate.end(signal.SIGINT) == 0
    silent = gate.check("--json", "--timeout", "2")
    assert silent.returncode == 3
    assert "cannot be reached" in json.loads(silent.stdout)["reasons"][0]


def test_after_a_kill_another_gate_starts_careful_and_takes_over_the_records(gate: GateProcess) -> None:
    gate.start()
    records = open_records(load(gate.file))
    first: Any = wait_for(lambda: records.changes().get("process/gate"), 10, "its heartbeat")
    assert gate.end(signal.SIGKILL) == -signal.SIGKILL
    gate.start()
    assert gate.answer("/v1/migrations/orders/gate")[1]["verdict"] == "INCONCLUSIVE"

    def successor() -> bool:
        seen = records.changes().get("process/gate")
        return bool(seen and seen["incarnation"] != first["incarnation"])

    wait_for(successor, 10, "the successor's heartbeat")
    records.close()
    assert gate.end(signal.SIGTERM) == 0
