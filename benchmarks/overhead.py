"""What the audit at 1 % costs the source: pgbench with our slots idle and with the auditor running, in turns.

The source and pgbench have a processor of their own, the target and the auditor the others: what our slot's walsender
takes from the source shows, what the auditor takes from its own machine does not. With one processor both show.
"""

import contextlib
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import yaml

from auditor.records import SqliteRecords
from auditor.servers import PostgresServer
from auditor.servers.ports import free_port
from benchmarks.report import Report, arguments

SETTINGS = {"wal_level": "logical", "shared_buffers": "128MB", "max_replication_slots": "20", "max_wal_size": "4GB"}
SCALE = "5"
WAIT_SECONDS = 120.0
WARM_SECONDS = 3
WORKER_MEGABYTES, GATE_MEGABYTES = 250, 150
ALL = os.sched_getaffinity(0)
SOURCE_CPUS = {min(ALL)}
OTHER_CPUS = ALL - SOURCE_CPUS or ALL


@contextmanager
def on(cpus: set[int]) -> Iterator[None]:
    """Have what is started in the block run on these processors."""
    os.sched_setaffinity(0, cpus)
    try:
        yield
    finally:
        os.sched_setaffinity(0, ALL)


@contextmanager
def replicated() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """Start two servers and replicate pgbench's tables."""
    source, target = PostgresServer(16, SETTINGS, "source"), PostgresServer(18, SETTINGS, "target")
    try:
        with on(SOURCE_CPUS):
            source.start()
        with on(OTHER_CPUS):
            target.start()
        source.run_program("pgbench", "-i", "-q", "-s", SCALE)
        target.run_program("pgbench", "-i", "-q", "-I", "dtp", "-s", SCALE)
        with psycopg.connect(source.dsn(), autocommit=True) as connection:
            connection.execute("CREATE PUBLICATION p FOR ALL TABLES")
        with psycopg.connect(target.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE SUBSCRIPTION s CONNECTION '{source.dsn()}' PUBLICATION p".encode())
            ready = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
            until(lambda: _value(connection, ready), "the initial copy")
        yield source, target
    finally:
        target.remove()
        source.remove()


def until(condition: Any, what: str) -> None:
    """Wait for a condition."""
    give_up = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > give_up:
            raise RuntimeError(f"waited in vain for {what}")
        time.sleep(0.1)


def _value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


class Auditor:
    """`auditor run` with the default configuration, 1 % included; started and stopped in turns."""

    def __init__(self, folder: Path, source: PostgresServer, target: PostgresServer) -> None:
        self._source, self._file, self._state = source, folder / "auditor.yaml", folder / "state"
        self._listen = f"127.0.0.1:{free_port()}"
        document = {
            "migration": "overhead", "source": {"dsn": source.dsn()}, "target": {"dsn": target.dsn()},
            "replication": {"mode": "native", "publication": "p", "subscription": "s"},
            "state_dir": str(self._state), "gate": {"listen": self._listen},
        }  # fmt: skip
        self._file.write_text(yaml.safe_dump(document))
        subprocess.run(self._command("prepare"), check=True, stdout=subprocess.DEVNULL)

    def _command(self, name: str) -> list[str]:
        return [sys.executable, "-m", "auditor", name, "-c", str(self._file)]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run it, ready and caught up, for the length of a block."""
        with on(OTHER_CPUS), tempfile.TemporaryFile() as log:
            process = subprocess.Popen(self._command("run"), stdout=log, stderr=log)
        try:
            until(self._ready, "the auditor to be ready")
            self.wait_resolved()
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._listen}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def records(self) -> dict[str, Any]:
        store = SqliteRecords(self._state / "records.sqlite")
        try:
            return store.changes()
        finally:
            store.close()

    def wait_resolved(self) -> None:
        """Wait until all that the source has committed is judged."""
        with psycopg.connect(self._source.dsn(), autocommit=True) as connection:
            position = int(_value(connection, "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"))

        def resolved() -> bool:
            records = self.records()
            return all((records.get(f"progress/{n}") or {}).get("resolved", 0) >= position for n in range(2))

        until(resolved, "the audit to catch up")

    def peaks(self) -> dict[str, float]:
        """Give the largest resident memory so far of the worker (both samplers and the core) and of the gate, in MB."""
        records = self.records()
        return {
            name: _peak_megabytes(int((records[f"process/{process}"] or {})["pid"]))
            for name, process in (("worker", "core"), ("gate", "gate"))
        }

    def figures(self) -> tuple[int, int]:
        """Give the sampled and the open findings."""
        records = self.records()
        tallies = [(records[f"progress/{number}"] or {})["tallies"] for number in range(2)]
        return sum(tally["transactions"] for tally in tallies), sum(key.startswith("suspect/") for key in records)


def _peak_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


class Turns:
    """pgbench's turns under one condition: transactions a second, and processor time of the source for each."""

    def __init__(self) -> None:
        self.per_second: list[float] = []
        self.cpu_microseconds: list[float] = []

    def take(self, source: PostgresServer, seconds: int, clients: int) -> None:
        """Run pgbench's own load once."""
        before = source_cpu_seconds(source)
        with on(SOURCE_CPUS):
            done = source.run_program("pgbench", "-n", "-c", str(clients), "-T", str(seconds)).stdout
        self.per_second.append(_number(r"^tps = ([0-9.]+)", done))
        transactions = _number(r"transactions actually processed: (\d+)", done)
        self.cpu_microseconds.append((source_cpu_seconds(source) - before) / transactions * 1e6)


def source_cpu_seconds(source: PostgresServer) -> float:
    """Give the processor time of all the source's processes so far, walsenders and ended backends included."""
    postmaster = str(source.pid)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    ticks = 0
    for pid in (postmaster, *children):
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # ended meanwhile: the postmaster has its time
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(value) for value in fields[11 : 15 if pid == postmaster else 13])
    return ticks / os.sysconf("SC_CLK_TCK")


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"pgbench gave no figure: {text}")
    return float(found[1])


def main() -> None:
    args = arguments(__doc__ or "", seconds=10, rounds=3, clients=4)
    idle, audited, peaks = Turns(), Turns(), {"worker": 0.0, "gate": 0.0}
    with tempfile.TemporaryDirectory() as folder, replicated() as (source, target):
        auditor = Auditor(Path(folder), source, target)
        for _ in range(args.rounds):
            with auditor.running():
                Turns().take(source, WARM_SECONDS, args.clients)  # starting up is not what is measured
                audited.take(source, args.seconds, args.clients)
                peaks = {name: max(value, peaks[name]) for name, value in auditor.peaks().items()}
                auditor.wait_resolved()
            Turns().take(source, WARM_SECONDS, args.clients)
            idle.take(source, args.seconds, args.clients)
        with auditor.running():
            sampled, suspects = auditor.figures()
    report = _report(idle, audited, peaks)
    report.figures |= {"sampled_transactions": sampled, "suspects": suspects, "processors": len(ALL)}
    report.show(args.json)


def _report(idle: Turns, audited: Turns, peaks: dict[str, float]) -> Report:
    """Compare medians. The processor time is what says the same on a machine where others work too."""
    report, median = Report("overhead"), statistics.median
    report.figures = {
        "idle_slots_tps": median(idle.per_second),
        "audited_tps": median(audited.per_second),
        "idle_slots_source_cpu_us": median(idle.cpu_microseconds),
        "audited_source_cpu_us": median(audited.cpu_microseconds),
    }
    report.ratio("tps_audited_vs_idle_slots", median(audited.per_second) / median(idle.per_second), 0.95)
    cpu = median(idle.cpu_microseconds) / median(audited.cpu_microseconds)
    report.ratio("source_cpu_idle_slots_vs_audited", cpu, 0.95)
    report.ratio("worker_peak_megabytes", peaks["worker"], WORKER_MEGABYTES, "lower")
    report.ratio("gate_peak_megabytes", peaks["gate"], GATE_MEGABYTES, "lower")
    return report


if __name__ == "__main__":
    main()
