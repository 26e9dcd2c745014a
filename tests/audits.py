"""An audit of a pair of databases through the command line, as its user runs it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from auditor.records import SqliteRecords
from auditor.servers.ports import free_port
from comparators.findings import merged_findings
from tests.helpers import Pair, wait_for

ROOT = Path(__file__).parent.parent
LIMITS = {
    "lag-ms": 30_000, "in-window-share": 0.0, "sample-size": 1, "lag-bytes": 1 << 30, "marker-ms": 30_000,
    "apply-headroom": 0,
}  # fmt: skip
"""Limits for a machine on which tests run beside everything else; what they leave are the limits on differences."""
PROBES = {"interval_seconds": 0.5}
"""A hundred markers within some seconds, and a trouble that shows at once."""

FAR = "2099-01-01T00:00:00Z"


class Audit:
    """One migration's auditor in a folder of its own."""

    def __init__(
        self, pair: Pair, folder: Path, migration: str = "lawful", *, accepted: Mapping[str, str] | None = None,
        **config: Any,
    ) -> None:  # fmt: skip
        """Write the configuration; nothing runs yet.

        Args:
            accepted: items of the checklist that somebody takes responsibility for, with the condition of each.
        """
        self.pair, self.folder, self.migration = pair, folder, migration
        self.file = folder / "auditor.yaml"
        self.state = folder / "state"
        gate: dict[str, Any] = {"listen": f"127.0.0.1:{free_port()}", "limits": dict(LIMITS), "dwell_seconds": 1}
        if accepted:
            gate["overrides"] = [
                {"condition": condition, "item": item, "owner": "the test", "reason": "meant", "until": FAR}
                for item, condition in accepted.items()
            ]
        document = {
            "migration": migration,
            "source": {"dsn": pair.source.dsn},
            "target": {"dsn": pair.target.dsn},
            "replication": {"mode": "native", "publication": pair.publication, "subscription": pair.subscription},
            "sampling": {"rate": 1.0},
            "state_dir": str(self.state),
            "gate": gate,
            "probes": dict(PROBES),
        }
        document.update(config)
        self.file.write_text(yaml.safe_dump(document))
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "run.log"

    def command(self, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run one command of the auditor on this migration and check its exit status."""
        done = subprocess.run(
            [sys.executable, "-m", "auditor", *arguments, "-c", str(self.file)], capture_output=True, text=True,
            timeout=400, cwd=ROOT,
        )  # fmt: skip
        if expect is not None:
            assert expect == done.returncode, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def start(self) -> "Audit":
        """Start `auditor run`."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "auditor", "run", "-c", str(self.file)], stdout=log, stderr=log, cwd=ROOT
            )
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop `auditor run`."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    def __enter__(self) -> "Audit":
        self.command("prepare")
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def records(self) -> dict[str, Any]:
        """Read everything that the processes have recorded."""
        store = SqliteRecords(self.state / "records.sqlite")
        try:
            return {key: value for key, value in store.changes().items() if value is not None}
        finally:
            store.close()

    def findings(self) -> list[Any]:
        return merged_findings(self.records())

    def verdict(self) -> dict[str, Any]:
        """Ask the gate once, as a program would."""
        done = self.command("gate", "check", "--json", expect=None)
        return dict(json.loads(done.stdout)) if done.stdout.strip() else {"verdict": "UNREACHABLE", "why": done.stderr}

    def wait_verdict(self, verdict: str, seconds: float = 120) -> None:
        """Wait until the gate says it; a failure shows the gate's last answer."""
        said: list[dict[str, Any]] = []

        def says() -> bool:
            said[:] = [self.verdict()]
            return bool(said[0]["verdict"] == verdict)

        try:
            wait_for(says, seconds, f"the verdict {verdict}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {said[0].get('reasons') or said[0]}\n{self.log_tail()}") from None

    def log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def wait_resolved(self, seconds: float = 60) -> dict[str, Any]:
        """Wait until everything that the source has committed by now is resolved; give the tallies together."""
        position = self.pair.source.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")

        def resolved() -> bool:
            records = self.records()
            progress = [records.get(f"progress/{number}") for number in range(2)]
            return all(p and p["resolved"] >= position for p in progress)

        wait_for(resolved, seconds, f"everything up to {position} to be resolved")
        records = self.records()
        tallies = [records[f"progress/{number}"]["tallies"] for number in range(2)]
        return {name: sum(tally[name] for tally in tallies) for name in ("transactions", "changes", "matched")}

    def pid_of(self, name: str) -> int:
        return int(self.records()[f"process/{name}"]["pid"])

    def kill(self, name: str) -> None:
        """Kill -9 one process of the audit."""
        os.kill(self.pid_of(name), signal.SIGKILL)

