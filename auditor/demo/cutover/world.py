"""Everything the cutover's show starts: source, target, a third server for the journal, a pooler, the auditor."""

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import yaml

from auditor.demo.cutover import bank, strays
from auditor.demo.database import literal, one, run, session, wait_until
from auditor.demo.schema import copied
from auditor.demo.world import COMMON, RELAXED, answers, environment, merged, tail
from auditor.servers import PostgresServer, ServerFailed, free_port
from auditor.servers.pgbouncer import PgBouncerServer
from auditor.servers.ports import free_pair
from auditor.servers.processes import Account, ServerProcess
from auditor.settings import Settings, load
from comparators.positions import Side
from orchestrator.journal import PostgresJournal
from orchestrator.records import Wish

if TYPE_CHECKING:
    from auditor.servers.envoy import EnvoyServer

LOOPBACK = "127.0.0.1"
CLUSTER = "app"
MIGRATION = "bank"
DATABASE = "bank"
READY_SECONDS = 120.0
COMMAND_SECONDS = 120.0
PASS_SECONDS = 240.0
PATIENCE_SECONDS = 30.0
"""For an answer of the journal to the show itself."""
STOP_SECONDS = 12.0
GUARD_SECONDS = 2.0
"""How long a promoted side must be watched at least: a show is short."""
HOLD_BUDGET_MS = 10_000.0
"""Faults and kills take their time while writes are held; a small machine does, too."""
STEPS: Mapping[str, float] = {
    "check-all": 60, "start-reverse-audit": 300, "start-dead-man": 60, "close-old": 5, "confirm-verdict": 10,
    "check-way-back": 300,
}  # fmt: skip
"""Starting programs takes longer on a small machine that others use, too."""
LIMITS = {
    **RELAXED, "in-window-share": 0.0, "lag-ms": 60_000.0, "marker-ms": 60_000.0, "watermark-age": 120.0,
    "sample-size": 50.0, "samplers-alive": 20.0, "core-alive": 20.0, "prober-alive": 20.0, "apply-stall": 60.0,
}  # fmt: skip
"""What is shown is the cutover: that audits, servers and clients share a small machine must not end it."""
SUPERUSERS = ("control", "auditor")
"""The role that carries out a cutover, and the auditor's own; on managed servers both get by with less."""
REPLICATOR = "replicator"
OPERATOR = "the show's operator"


@dataclass(frozen=True, slots=True)
class Stage:
    """How everybody reaches a side."""

    server: PostgresServer
    app: str
    """As the application would past every proxy."""
    admin: str
    """As the person who does the damage; a superuser that the fence spares."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the servers and the configuration are to be."""

    pools: int = 1
    """PgBouncers that the clients share."""
    envoys: int = 0
    """Envoys that they share besides."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the auditor's configuration."""
    durable: bool = False
    """The servers write to disk as in production: for measurements."""
    audited: bool = True
    """`auditor run` watches the pair, and its gate is asked."""
    launcher: Callable[[Sequence[str], Path], "Running"] | None = None
    """Starts a command whose words are given and lets it write to a file; a process of its own by default."""


class Running(Protocol):
    """A command that was started."""

    @property
    def pid(self) -> int: ...
    @property
    def alive(self) -> bool: ...
    @property
    def exit_code(self) -> int | None: ...
    def log_tail(self) -> str: ...
    def kill(self) -> None: ...
    def stop(self, request: signal.Signals, seconds: float) -> bool: ...


class World:
    """The show's servers and processes, as a context manager."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self._plan, self._say = plan, say
        self._closing = ExitStack()
        self.password = secrets.token_hex(16)
        """Of every role that the show makes."""
        self._auditor: Running | None = None

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    @property
    def through(self) -> list[str]:
        """The application's ways to the database: one through each proxy."""
        return [
            *(pool.dsn(DATABASE, bank.APPLICATION) for pool in self.pools),
            *(self._by_envoy(envoy, bank.APPLICATION) for envoy in self.envoys),
        ]

    @property
    def sides(self) -> Mapping[Side, Stage]:
        return {Side.SOURCE: self.source, Side.TARGET: self.target}

    @property
    def journal_admin(self) -> str:
        """The journal's database, as its superuser."""
        return self.journal.dsn("journal")

    def command(self, *words: str, seconds: float = COMMAND_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run one of the auditor's commands to its end, whatever its exit code."""
        if self._plan.launcher:
            return self._launched_to_its_end(self._plan.launcher, *words)
        return subprocess.run(
            [sys.executable, "-m", "auditor", *self._words(*words)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            start_new_session=True,
        )

    def answer(self, *words: str) -> Any:
        """Run a command that prints JSON and ends well.

        Raises:
            ServerFailed: it did not.
        """
        done = self.command(*words, "--json")
        if done.returncode:
            raise ServerFailed(f"auditor {' '.join(words)} ended with exit code {done.returncode}\n{tail(done.stderr)}")
        return json.loads(done.stdout.splitlines()[-1])

    def launch(self, *words: str) -> Running:
        """Start a command that goes on for long; it is killed with the world."""
        log, program = self._log_of(words), [sys.executable, "-m", "auditor"]
        if self._plan.launcher:
            process = self._plan.launcher(self._words(*words), log)
        else:
            process = ServerProcess([*program, *self._words(*words)], log, environment(), Account(None, None))
        self._closing.callback(process.kill)
        return process

    def _launched_to_its_end(
        self, launcher: Callable[[Sequence[str], Path], Running], *words: str
    ) -> subprocess.CompletedProcess[str]:
        log = self._log_of(words)
        process = launcher(self._words(*words), log)
        wait_until(lambda: not process.alive, f"auditor {' '.join(words)}", COMMAND_SECONDS)
        return subprocess.CompletedProcess(words, process.exit_code or 0, log.read_text(), "")

    def _log_of(self, words: Sequence[str]) -> Path:
        self._launched += 1
        return self.folder / f"{'-'.join(words[:2])}-{self._launched}.log"

    def await_pass(self) -> None:
        """Wait until the gate opens, where there is one.

        Raises:
            ServerFailed: it did not.
        """
        if not self._plan.audited:
            return
        self._say("waiting for the gate's PASS")
        wait = ("gate", "check", "--wait", "--timeout", f"{PASS_SECONDS:.0f}")
        done = self.command(*wait, seconds=PASS_SECONDS + 60)
        if done.returncode:
            raise ServerFailed(f"the gate did not open\n{done.stdout[-1500:]}{done.stderr[-1500:]}")

    def open_journal(self) -> PostgresJournal:
        """Give the journal, to read along and to leave word for an orchestrator; who asks for it closes it."""
        dsn = self._dsn(self.journal, "journal", "journal")
        return PostgresJournal(dsn, MIGRATION, patience_seconds=PATIENCE_SECONDS)

    def wish(self, wish: Wish) -> None:
        """Leave word for an orchestrator as its operator; its answer is not waited for."""
        with self.open_journal() as journal:
            journal.request(wish, OPERATOR, "the show asks for it")

    def stop_auditor(self) -> None:
        """End `auditor run`."""
        process, self._auditor = self._auditor, None
        if process is not None:
            process.stop(signal.SIGTERM, STOP_SECONDS)

    def kill_auditor(self) -> None:
        """Kill `auditor run` and all its processes, the gate among them."""
        process, self._auditor = self._auditor, None
        if process is not None:
            process.kill()

    def run_auditor(self) -> None:
        """Start `auditor run` and wait until its gate answers.

        Raises:
            ServerFailed: it ended by itself.
        """
        process = self._auditor = self.launch("run")
        wait_until(lambda: not process.alive or answers(self.settings.gate.url), "the auditor", READY_SECONDS, 0.05)
        if not process.alive:
            raise ServerFailed(f"auditor run ended while starting\n{process.log_tail()}")

    def _start(self) -> None:
        self._launched = 0
        self.folder = Path(tempfile.mkdtemp(prefix="auditor-cutover-"))
        self._closing.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self._closing.callback(strays.end, self.folder)
        self._closing.callback(strays.Keeper(self.folder).release)
        self._say("starting PostgreSQL 16 (source), 18 (target) and 18 (the journal's), and PgBouncer")
        common = {key: value for key, value in COMMON.items() if not (self._plan.durable and key == "fsync")}
        self.source, self.target = self._side(16, common, "source"), self._side(18, common, "target")
        self.journal = self._journal(common)
        with self.open_journal() as journal:
            journal.install(())
        self._replicate()
        self.pools = [self._pool(number) for number in range(self._plan.pools)]
        self._control_plane, self._standby = (f"{LOOPBACK}:{free_pair()}" for _ in range(2))
        self.envoys = [self._envoy(number) for number in range(self._plan.envoys)]
        self.settings = self._configure()
        self._say("auditor prepare")
        self._prepare()
        if self._plan.audited:
            self._say("auditor run")
            self.run_auditor()
            self._closing.callback(self.stop_auditor)
        self._say(f"ask it yourself: {Path(sys.executable).with_name('auditor')} cutover plan -c {self.file}")

    def _side(self, major: int, settings: Mapping[str, str], name: str) -> Stage:
        server = self._closing.enter_context(PostgresServer(major, settings, name))
        server.run_program("createdb", DATABASE)
        with session(server.dsn(DATABASE)) as opened:
            word = literal(opened, self.password)
            run(opened, f"CREATE ROLE {bank.APPLICATION} LOGIN PASSWORD {word}")
            run(opened, *(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD {word}" for role in SUPERUSERS))
            run(opened, f"CREATE ROLE {REPLICATOR} REPLICATION LOGIN PASSWORD {word} IN ROLE pg_read_all_data")
            run(opened, f"GRANT CREATE ON SCHEMA public TO {bank.APPLICATION}")
            bank.create(opened, rows=name == "source")
        return Stage(server, self._dsn(server, bank.APPLICATION), self._dsn(server, "control"))

    def _journal(self, settings: Mapping[str, str]) -> PostgresServer:
        server = self._closing.enter_context(PostgresServer(18, settings, "journal"))
        with session(server.dsn()) as opened:
            run(opened, f"CREATE ROLE journal LOGIN PASSWORD {literal(opened, self.password)}")
            run(opened, "CREATE DATABASE journal OWNER journal")
        return server

    def _dsn(self, server: PostgresServer, user: str, database: str = DATABASE) -> str:
        return f"{server.dsn(database, user, with_password=False)} password={self.password}"

    def _replicate(self) -> None:
        with session(self.source.admin) as on_source, session(self.target.admin) as on_target:
            bank.publish(on_source)
            place = literal(on_target, self._dsn(self.source.server, REPLICATOR))
            run(on_target, f"CREATE SUBSCRIPTION {bank.SUBSCRIPTION} CONNECTION {place} PUBLICATION {bank.PUBLICATION}")
            wait_until(lambda: copied(on_target), "the initial copy", seconds=60)
            assert one(on_target, "SELECT count(*) FROM accounts") == bank.ACCOUNTS

    def _pool(self, number: int) -> PgBouncerServer:
        database = {DATABASE: f"{place(self.source.server)} dbname={DATABASE}"}
        users = dict.fromkeys((bank.APPLICATION, "control"), self.password)
        return self._closing.enter_context(PgBouncerServer(database, users, name=f"pool-{number + 1}"))

    def _envoy(self, number: int) -> "EnvoyServer":
        from auditor.servers.envoy import EnvoyServer
        from orchestrator.adapters.envoy.fleet import Address

        ask = [Address.parse(place, "control plane") for place in (self._control_plane, self._standby)]
        before = Address(LOOPBACK, self.source.server.port)
        envoy = EnvoyServer(f"edge-{number + 1}-{os.getpid()}", ask, [CLUSTER], before=before)
        return self._closing.enter_context(envoy)

    def _by_envoy(self, envoy: "EnvoyServer", user: str) -> str:
        where = f"host={LOOPBACK} port={envoy.ports[CLUSTER]} dbname={DATABASE}"
        return f"{where} user={user} password={self.password}"

    def _configure(self) -> Settings:
        document = merged(
            {
                "migration": MIGRATION,
                "source": {"dsn": self._dsn(self.source.server, "auditor")},
                "target": {"dsn": self._dsn(self.target.server, "auditor")},
                "replication": {
                    "mode": "native", "publication": bank.PUBLICATION, "subscription": bank.SUBSCRIPTION,
                },
                "sampling": {"rate": 1.0},
                "transport": "memory",
                "state_dir": str(self.folder / "state"),
                "sweep": {"pause_seconds": 0.05, "every_seconds": 20.0},
                "probes": {"interval_seconds": 0.3},
                "gate": {"listen": f"127.0.0.1:{free_port()}", "dwell_seconds": 1.0, "limits": LIMITS},
                "cutover": self._cutover(),
            },
            self._plan.config,
        )  # fmt: skip
        self.file = self.folder / "auditor.yaml"
        self.file.touch(mode=0o600)
        self.file.write_text(yaml.safe_dump(document, sort_keys=False))
        return load(self.file)

    def _cutover(self) -> dict[str, Any]:
        return {
            "journal": {"dsn": self._dsn(self.journal, "journal", "journal")},
            "control": {str(side): {"dsn": stage.admin} for side, stage in self.sides.items()},
            "reverse": {"publisher": {"dsn": self._dsn(self.target.server, REPLICATOR)}},
            "guard_seconds": GUARD_SECONDS,
            "hold_budget_ms": HOLD_BUDGET_MS,
            "steps": dict(STEPS),
            "proxies": [*map(self._pool_settings, self.pools), *self._envoy_settings()],
        }  # fmt: skip

    def _pool_settings(self, pool: PgBouncerServer) -> dict[str, Any]:
        places = {str(side): place(stage.server) for side, stage in self.sides.items()}
        return {
            "kind": "pgbouncer", "name": pool.name, "admin": {"dsn": pool.admin_dsn}, "config": str(pool.config),
            "databases": [DATABASE], "places": places, "probe": {"dsn": pool.dsn(DATABASE, "control")},
        }  # fmt: skip

    def _envoy_settings(self) -> list[dict[str, Any]]:
        """Describe all of them as one fleet, which one control plane leads."""
        if not self.envoys:
            return []
        places = {str(side): f"{LOOPBACK}:{stage.server.port}" for side, stage in self.sides.items()}
        probes = [{"dsn": self._by_envoy(envoy, "control")} for envoy in self.envoys]
        return [
            {
                "kind": "envoy", "name": "edge", "listen": self._control_plane, "standby": self._standby,
                "cluster": CLUSTER, "places": places, "nodes": [envoy.node for envoy in self.envoys], "probes": probes,
            }
        ]  # fmt: skip

    def _prepare(self) -> None:
        done = self.command("prepare")
        if done.returncode:
            raise ServerFailed(f"auditor prepare ended with exit code {done.returncode}\n{tail(done.stderr)}")

    def _words(self, *words: str) -> Sequence[str]:
        return [*words, "--config", str(self.file)]


def place(server: PostgresServer) -> str:
    """Write where a server is, as a pooler's configuration says it."""
    return f"host=127.0.0.1 port={server.port}"
