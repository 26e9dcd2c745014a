"""How fast the gate answers 1,000 requests a second, with tokens, while the auditor beside it has work.

A real pair under load, every transaction audited, and the whole of `auditor run`; who asks is a process of its own.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from auditor.servers.ports import free_port
from benchmarks.latency import Load, replicated
from benchmarks.report import Report, arguments
from samplers.progress import percentiles

TOKEN = "benchmark-0123456789abcdef0123456789"
READY_SECONDS = 120


def configured(folder: Path, source: str, target: str) -> tuple[Path, str]:
    """Write the configuration of a gate with tokens; give its file and URL."""
    port = free_port()
    (folder / "token").write_text(TOKEN)
    tokens = [{"name": f"client-{number}", "token": f"file:other-{number}", "scopes": "read"} for number in range(9)]
    for number in range(9):
        (folder / f"other-{number}").write_text(f"{TOKEN}-{number}")
    tokens.append({"name": "benchmark", "token": "file:token", "scopes": "read"})
    document = {
        "migration": "gate", "source": {"dsn": source}, "target": {"dsn": target},
        "replication": {"mode": "native", "publication": "p", "subscription": "s"}, "sampling": {"rate": 1.0},
        "gate": {"listen": f"127.0.0.1:{port}", "tokens": tokens},
    }  # fmt: skip
    file = folder / "auditor.yaml"
    file.write_text(yaml.safe_dump(document))
    return file, f"http://127.0.0.1:{port}"


@contextmanager
def audited(file: Path, url: str) -> Iterator[None]:
    """Prepare both sides and run the auditor."""
    auditor = [sys.executable, "-m", "auditor"]
    subprocess.run([*auditor, "prepare", "-c", str(file)], check=True, stdout=subprocess.DEVNULL)
    with (
        (file.parent / "log").open("wb") as log,
        subprocess.Popen([*auditor, "run", "-c", str(file)], stdout=log, stderr=log) as running,
    ):
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not _ready(url):
                if running.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"the auditor is not ready: {(file.parent / 'log').read_text()[-2000:]}")
                time.sleep(0.2)
            yield
        finally:
            running.terminate()


def _ready(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
        return bool(answer.status == 200)
    return False


def asked(url: str, rate: int, seconds: int) -> Any:
    """Let another process ask."""
    command = [sys.executable, "-m", "benchmarks.gate_load", f"{url}/v1/migrations/gate/gate"]
    ran = subprocess.run(
        [*command, "--rate", str(rate), "--seconds", str(seconds)],
        env={**os.environ, "GATE_TOKEN": TOKEN}, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    return json.loads(ran.stdout)


def _audited_transactions(url: str) -> int:
    request = urllib.request.Request(f"{url}/v1/migrations/gate/gate", headers={"Authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(json.loads(answer.read())["sample"]["transactions"] or 0)


def main() -> None:
    args = arguments(__doc__ or "", seconds=60, rate=1000, load=200)
    report = Report("gate")
    with tempfile.TemporaryDirectory() as folder, replicated() as (source, target):
        file, url = configured(Path(folder), source.dsn(), target.dsn())
        load = Load(source.dsn(), args.load)
        with audited(file, url):
            thread = threading.Thread(target=load.run, daemon=True)
            thread.start()
            try:
                before = _audited_transactions(url)
                seen = asked(url, args.rate, args.seconds)
                report.figures["audited_transactions"] = _audited_transactions(url) - before
            finally:
                load.stop.set()
                thread.join()
    _report(report, seen, args.rate)
    report.show(args.json)


def _report(report: Report, seen: Any, rate: int) -> None:
    p50, p99 = percentiles(seen["waited"], 0.5, 0.99)
    (sent_late,) = percentiles(seen["late"], 0.99)
    achieved = len(seen["waited"]) / seen["seconds"]
    report.figures |= {
        "requests": len(seen["waited"]), "failed": seen["failed"], "requests_per_second": achieved,
        "answer_p50_ms": p50 or 0, "answer_p99_ms": p99 or 0, "answer_max_ms": max(seen["waited"]),
        "sent_late_p99_ms": sent_late or 0,
    }  # fmt: skip
    report.ratio("achieved_rate", achieved / rate, 0.99)
    report.ratio("answered_200", 1 - seen["failed"] / len(seen["waited"]), 1.0)
    report.ratio("gate_answer_p99_ms", p99, 10, "lower")


if __name__ == "__main__":
    main()
