"""On the memory transport: dying, stopping, a huge transaction and a target that stands still change no result."""

import http.client
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.audits import Audit
from tests.helpers import Pair, wait_for
from tests.traffic import Traffic, assert_all_counted, patients

STOP_SECONDS = 10
"""What interface.md promises for SIGTERM."""
LARGE_ROWS = 1_000_000
MAX_WORKER_MEGABYTES = 250
"""What both samplers and the core may take together, so that a transaction's size does not show in them."""


@pytest.fixture
def audit(pair: Pair, tmp_path: Path) -> Iterator[Audit]:
    """A running audit of the clinic."""
    patients(pair)
    pair.replicate()
    with Audit(pair, tmp_path, "clinic") as running:
        yield running


def family(parent: int) -> list[int]:
    """List a process and all below it."""
    found = [parent]
    for thread in Path(f"/proc/{parent}/task").iterdir():
        found += [pid for child in (thread / "children").read_text().split() for pid in family(int(child))]
    return found


def kill_everything(audit: Audit) -> None:
    """Kill -9 every process of the audit at once."""
    assert audit._process is not None
    for pid in family(audit._process.pid):
        os.kill(pid, signal.SIGKILL)
    audit._process.wait(STOP_SECONDS)


def peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


def first_answer(audit: Audit) -> dict[str, Any]:
    """Wait for the first answer of a gate that has just been started."""
    listen = yaml.safe_load(audit.file.read_text())["gate"]["listen"]

    def answer() -> dict[str, Any] | None:
        connection = http.client.HTTPConnection(listen, timeout=5)
        try:
            connection.request("GET", f"/v1/migrations/{audit.migration}/gate")
            return dict(json.load(connection.getresponse()))
        except ConnectionError:
            return None
        finally:
            connection.close()

    said = wait_for(answer, 60, "an answer of the gate")
    assert said is not None
    return said


def test_after_the_death_of_everything_the_audit_goes_on_where_it_was(audit: Audit) -> None:
    with Traffic(audit.pair) as traffic:
        audit.wait_verdict("PASS")
        for _ in range(2):
            kill_everything(audit)
            traffic.more(100)
            audit.start()
            assert "INCONCLUSIVE" == first_answer(audit)["verdict"]
            audit.wait_verdict("PASS")
    assert_all_counted(audit, traffic.committed)


def test_one_runs_at_a_time_and_a_stop_in_order_loses_nothing(audit: Audit) -> None:
    with Traffic(audit.pair) as traffic:
        audit.wait_verdict("PASS")
        refused = audit.command("run", expect=2)
        assert "is running already" in refused.stderr
        stopping = audit._process
        assert stopping is not None
        pids = family(stopping.pid)
        stopping.send_signal(signal.SIGTERM)
        assert 0 == stopping.wait(STOP_SECONDS)
        assert [] == [pid for pid in pids if Path(f"/proc/{pid}").exists()]
        traffic.more(100)
        audit.start()
        audit.wait_verdict("PASS")
    assert_all_counted(audit, traffic.committed)


def test_a_transaction_of_a_million_rows_is_matched_in_bounded_memory(
    audit: Audit, record_property: Callable[[str, object], None]
) -> None:
    audit.wait_verdict("INCONCLUSIVE")
    audit.pair.source.execute(
        "INSERT INTO clinic.visit (patient, at, cost)"
        f" SELECT 'p' || i % 50, '2026-01-01', i / 1000.0 FROM generate_series(1, {LARGE_ROWS}) i"
    )
    tallies = audit.wait_resolved(200)
    peak = peak_megabytes(audit.pid_of("core"))
    record_property("worker_peak_megabytes", peak)
    assert (1, LARGE_ROWS, LARGE_ROWS) == (tallies["transactions"], tallies["changes"], tallies["matched"])
    assert [] == audit.findings()
    assert peak <= MAX_WORKER_MEGABYTES


def test_a_target_that_stands_still_lags_and_misses_nothing(audit: Audit) -> None:
    with Traffic(audit.pair, per_second=40) as traffic:
        audit.wait_verdict("PASS")
        with audit.pair.target.connect(autocommit=False) as blocker:
            blocker.execute("LOCK TABLE clinic.patient IN ACCESS EXCLUSIVE MODE")
            traffic.more(800)  # twenty seconds' worth
            said = audit.verdict()
            assert "INCONCLUSIVE" == said["verdict"]
            late = {part["name"] for part in said["conditions"] if part["status"] != "PASS"}
            assert late & {"lag-ms", "lag-bytes", "watermark-age"}
            assert "open-findings" not in late
            assert [] == audit.findings()
        audit.wait_verdict("PASS")
    assert_all_counted(audit, traffic.committed)
