"""A fenced side, a journal on another server and a proxy of files: what a dead man's process needs around it."""

import os
import signal
import stat
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg
import yaml

from auditor.cutover.dead_man import DeadManProcess
from auditor.servers import PostgresServer
from auditor.settings import load
from comparators.positions import Side
from orchestrator.adapters.fence import DatabaseFence
from orchestrator.journal import PostgresJournal
from orchestrator.records import Direction, Draft, Kind
from tests import orchestrator_process
from tests.fences import Fenced, soon
from tests.helpers import unique_name, wait_for

SCRIPT = """#!/bin/sh
case "$AUDITOR_ACTION" in
  hold) touch "{held}" ;;
  release) rm -f "{held}" ;;
esac
if [ -e "{held}" ]; then held=true; else held=false; fi
echo "{{\\"held\\": $held, \\"route\\": \\"source\\"}}"
"""


class Stage:
    """One migration's attempt on a fenced source, with a journal that tells of it."""

    def __init__(self, side: Fenced, journal: PostgresServer, folder: Path, seconds: float = 2) -> None:
        self.side, self.server, self.seconds = side, journal, seconds
        self._closing = ExitStack()
        self._database = unique_name("journal")
        with psycopg.connect(journal.dsn(), autocommit=True) as admin:
            admin.execute(f'CREATE DATABASE "{self._database}"'.encode())
        self.held = folder / "held"
        self.config = self._configured(folder)
        self.settings = load(self.config)
        self.journal = self.open_journal()
        self.journal.install([])

    def __enter__(self) -> "Stage":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def open_journal(self) -> PostgresJournal:
        """Open the journal as another process would."""
        journal = PostgresJournal(self.server.dsn(self._database), self.settings.migration)
        return self._closing.enter_context(journal)

    def fence(self) -> DatabaseFence:
        """Give the source's fence as the journal remembers it."""
        fence = DatabaseFence(Side.SOURCE, self.side.dsn(self.side.control), self.journal)
        self._closing.callback(fence.close_sessions)
        return fence

    def begin(self) -> int:
        """Begin an attempt that is about to hold and to fence; give its epoch, whose lease outlasts the test."""
        epoch = self.journal.acquire("orchestrator", 600).epoch
        self.journal.append(epoch, "orchestrator", orchestrator_process.begun(1))
        return epoch

    def stand(self) -> tuple[DeadManProcess, int]:
        """Start the dead man; give it with its process id. It is killed with the stage."""
        man = DeadManProcess(self.settings, Direction.FORWARD)
        pid = man.start(1, soon(60))["pid"]
        self._closing.callback(self._reap, man, pid)
        return man, pid

    def orchestrate(self) -> "subprocess.Popen[str]":
        """Start an orchestrator in a process of its own, and wait until it has fenced."""
        program = [sys.executable, orchestrator_process.__file__, str(self.config), "1", str(self.seconds)]
        process = subprocess.Popen(
            program, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        self._closing.callback(self._end, process)
        assert process.stdout is not None
        assert "fenced\n" == process.stdout.readline()
        return process

    def dead_men(self) -> list[int]:
        """Find the processes that stand by this stage's attempt."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().split(b"\0")
                if b"dead-man" in words and str(self.config).encode() in words:
                    found.append(int(folder.name))
        return found

    def opened(self) -> bool:
        """Say whether applications can log in to the source and the proxy has let go."""
        return self.side.logs_in(self.side.app) and not self.held.exists()

    def wait_for_open(self) -> None:
        wait_for(self.opened, 60, "the source to be open and the proxy to have let go")

    def wait_for_rest(self) -> None:
        wait_for(lambda: not self.dead_men(), 60, "the dead man to end by itself")

    def said(self) -> list[tuple[str, Kind]]:
        """List what the dead man wrote into the journal."""
        return [(entry.step, entry.kind) for entry in self.journal.entries() if entry.facts.get("dead_man")]

    def log(self) -> str:
        return (self.settings.state_dir / "dead-man-1.log").read_text()

    def write(self, epoch: int, step: str, kind: Kind) -> None:
        self.journal.append(epoch, "orchestrator", [Draft(1, Direction.FORWARD, step, kind)])

    def _end(self, process: "subprocess.Popen[str]") -> None:
        for pid in self.dead_men():
            self._kill(pid)
        process.kill()
        process.communicate()

    def _reap(self, man: DeadManProcess, pid: int) -> None:
        self._kill(pid)
        wait_for(lambda: man.alive() is False, 60, "the dead man's end")

    def _kill(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def _configured(self, folder: Path) -> Path:
        script = folder / "lead"
        script.write_text(SCRIPT.format(held=self.held))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        control = {"dsn": self.side.dsn(self.side.control)}
        nowhere = {"dsn": "host=127.0.0.1 port=1 dbname=nowhere user=nobody"}  # no test needs a target
        document: dict[str, Any] = {
            "migration": unique_name("m").replace("_", "-"),
            "source": control,
            "target": nowhere,
            "replication": {"mode": "native", "publication": "p", "subscription": "s"},
            "state_dir": str(folder / "state"),
            "cutover": {
                "journal": {"dsn": self.server.dsn(self._database)},
                "control": {"source": control, "target": nowhere},
                "reverse": {"publisher": nowhere},
                "proxies": [
                    {
                        "kind": "exec", "name": "ours", "probe": control,
                        **{action: [str(script)] for action in ("hold", "release", "route", "observe")},
                    }
                ],
            },
        }  # fmt: skip
        config = folder / "auditor.yaml"
        config.touch(mode=0o600)
        config.write_text(yaml.safe_dump(document))
        return config
