"""From a planted difference to the gate's FAIL, and from a clean commit to its match.

Two servers under load and the whole auditor on the memory transport with the nudge on; the gate is its own process.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import yaml

from auditor.core import build_core
from auditor.ingest import start_samplers
from auditor.records import open_records
from auditor.servers import PostgresServer
from auditor.servers.ports import free_port
from auditor.settings import Settings, load
from auditor.sinks import MemorySink
from auditor.stream import run_core
from auditor.threads import Threads
from auditor.transports.memory import MemoryLog
from benchmarks.report import Report, arguments
from comparators.frames import decode
from comparators.positions import Side
from samplers.progress import percentiles

SETTINGS = {"wal_level": "logical", "shared_buffers": "128MB", "max_replication_slots": "20"}
PG_EPOCH = 946_684_800.0
MATCHES_SECONDS = 4
SCHEMA = "CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL, t text)"
DAMAGE = """
CREATE FUNCTION damage() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN IF NEW.id > 1000000 THEN NEW.t := 'damaged'; END IF; RETURN NEW; END $$;
CREATE TRIGGER damage BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION damage();
ALTER TABLE t ENABLE ALWAYS TRIGGER damage;
"""


@contextmanager
def replicated() -> Iterator[tuple[PostgresServer, PostgresServer]]:
    """Start two servers and replicate one table."""
    with PostgresServer(16, SETTINGS, "source") as source, PostgresServer(18, SETTINGS, "target") as target:
        for server in (source, target):
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                connection.execute(SCHEMA)
        with psycopg.connect(source.dsn(), autocommit=True) as connection:
            connection.execute("INSERT INTO t SELECT i, 0, 'x' FROM generate_series(1, 5000) i")
            connection.execute("CREATE PUBLICATION p FOR TABLE t")
        with psycopg.connect(target.dsn(), autocommit=True) as connection:
            connection.execute(f"CREATE SUBSCRIPTION s CONNECTION '{source.dsn()}' PUBLICATION p")
            ready = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"
            while not _value(connection, ready):
                time.sleep(0.05)
            connection.execute(DAMAGE)
        yield source, target


def _value(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query.encode()).fetchone()
    return row[0] if row else None


def configured(folder: Path, source: PostgresServer, target: PostgresServer) -> tuple[Path, Settings]:
    """Write the configuration and prepare both sides."""
    file = folder / "auditor.yaml"
    document = {
        "migration": "latency", "source": {"dsn": source.dsn()}, "target": {"dsn": target.dsn()},
        "replication": {"mode": "native", "publication": "p", "subscription": "s"}, "sampling": {"rate": 1.0},
        "nudge": "on", "gate": {"listen": f"127.0.0.1:{free_port()}"},
    }  # fmt: skip
    file.write_text(yaml.safe_dump(document))
    subprocess.run([sys.executable, "-m", "auditor", "prepare", "-c", str(file)], check=True, stdout=subprocess.DEVNULL)
    return file, load(file)


class Load:
    """Some hundred small transactions a second."""

    def __init__(self, dsn: str, per_second: int) -> None:
        self._dsn, self._pause = dsn, 1 / per_second
        self.stop = threading.Event()

    def run(self) -> None:
        with psycopg.connect(self._dsn) as connection:
            number = 0
            while not self.stop.wait(self._pause):
                for _ in range(3):
                    number += 1
                    connection.execute("UPDATE t SET n = n + 1 WHERE id = %s", [1 + number * 7919 % 5000])
                connection.commit()


def plant(settings: Settings, source: str, count: int) -> list[float]:
    """Plant differences one by one; milliseconds from each commit to a FAIL that counts it."""
    times = []
    with psycopg.connect(source, autocommit=True) as connection:
        for number in range(count):
            connection.execute("INSERT INTO t VALUES (%s, 0, 'as it should be')", [1_000_001 + number])
            committed = time.perf_counter()
            while _open_findings(settings) <= number:
                if time.perf_counter() - committed > 20:
                    raise RuntimeError(f"difference {number} was not found")
                time.sleep(0.002)
            times.append((time.perf_counter() - committed) * 1000)
            time.sleep(0.05)
    return times


def _open_findings(settings: Settings) -> int:
    verdict = json.loads(_ask(settings))
    condition = next(one for one in verdict["conditions"] if one["name"] == "open-findings")
    return int(condition["value"] or 0) if verdict["verdict"] == "FAIL" else 0


def _ask(settings: Settings) -> bytes:
    url = f"{settings.gate.url}/v1/migrations/{settings.migration}/gate"
    with urllib.request.urlopen(url, timeout=5) as answer:
        body: bytes = answer.read()
        return body


class Matches:
    """Times each transaction from its commit to the moment in which its second side is joined."""

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self.times: list[float] = []

    def __call__(self, partition: int, offset: int, payload: bytes) -> None:
        self._receive(partition, offset, payload)
        frame = decode(payload)
        if frame.side is Side.TARGET:
            now = time.time() - PG_EPOCH
            self.times += [(now - committed / 1_000_000) * 1000 for committed in frame.committed.tolist()]


def main() -> None:
    args = arguments(__doc__ or "", plants=40, load=200)
    report = Report("latency")
    with tempfile.TemporaryDirectory() as folder, replicated() as (source, target):
        file, settings = configured(Path(folder), source, target)
        gate = subprocess.Popen([sys.executable, "-m", "auditor", "gate", "serve", "-c", str(file)])
        frames, threads = MemoryLog(2), Threads(threading.Event())
        core = build_core(settings, open_records(settings))
        matches = Matches(core.receive)
        patch.object(core, "receive", matches).start()
        load_ = Load(source.dsn(), args.load)
        figures: dict[str, list[float]] = {}

        def scenario() -> None:
            try:
                time.sleep(4)
                threading.Thread(target=load_.run, daemon=True).start()
                time.sleep(3)
                matches.times.clear()
                time.sleep(MATCHES_SECONDS)
                figures["matched"] = list(matches.times)
                figures["found"] = plant(settings, source.dsn(), args.plants)
            finally:
                load_.stop.set()
                threads.stop.set()

        try:
            start_samplers(settings, list(Side), lambda side: MemorySink(frames, side), threads)
            threading.Thread(target=scenario).start()
            asyncio.run(run_core(settings, core, frames, threads.stop))
        finally:
            threads.join()
            gate.terminate()
            gate.wait(10)
    _report(report, figures)
    report.show(args.json)


def _report(report: Report, figures: dict[str, list[float]]) -> None:
    for name, values in figures.items():
        p50, p99 = percentiles(values, 0.5, 0.99)
        report.figures |= {f"{name}_p50_ms": p50 or 0, f"{name}_p99_ms": p99 or 0, f"{name}_count": len(values)}
    report.ratio("difference_to_fail_p50_ms", report.figures["found_p50_ms"], 150, "lower")
    report.ratio("difference_to_fail_p99_ms", report.figures["found_p99_ms"], 500, "lower")
    report.ratio("clean_transaction_resolved_p50_ms", report.figures["matched_p50_ms"], 25, "lower")


if __name__ == "__main__":
    main()
