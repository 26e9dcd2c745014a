"""A PostgreSQL server of our own: fresh data, a free port on loopback, a password, an account other than root."""

import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from auditor.servers.installations import Installation, find_postgres, server_account
from auditor.servers.ports import free_port
from auditor.servers.processes import ServerFailed, ServerProcess, wait_until

START_SECONDS = 60.0
STOP_SECONDS = 60.0
PORT_ATTEMPTS = 5
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
SUPERUSER = "postgres"
LOGICAL = {
    "wal_level": "logical",
    "max_replication_slots": "20",
    "max_wal_senders": "20",
    "max_logical_replication_workers": "12",
    "max_worker_processes": "24",
}
FIXED = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "logging_collector": "off"}


class PostgresServer:
    """One server, which keeps its port and data over `stop`, `kill` and `restart` until `remove`."""

    def __init__(
        self,
        major: int,
        settings: Mapping[str, str] | None = None,
        name: str = "postgres",
        *,
        base: Path | None = None,
        installation: Installation | None = None,
        die_with_parent: bool = True,
    ) -> None:
        """Choose programs, account and folder; nothing runs yet.

        Args:
            major: the version, as in 16.
            settings: server settings, over those that logical replication needs; `fsync` stays on unless given.
            name: for folder names and messages.
            base: the folder to make the server's folder in; a temporary one by default.
            installation: its programs; found by the version by default.
            die_with_parent: end the server and remove its files when this process dies.
        Raises:
            NotInstalled: that version is not there.
        """
        self.major, self.name = major, name
        self.settings = {**LOGICAL, **(settings or {})}
        self.installation = installation or find_postgres(major)
        self.port = free_port()
        self.password = secrets.token_hex(16)
        self._base, self._die_with_parent = base, die_with_parent
        self._account = server_account()
        self._home: Path | None = None
        self._process: ServerProcess | None = None

    @property
    def home(self) -> Path:
        """The folder of everything that belongs to this server; made when first asked for."""
        if self._home is None:
            base = self._base or open_temporary_folder()
            self._home = Path(tempfile.mkdtemp(prefix=f"auditor-{self.name}-", dir=base))
            self._account.give(self._home)
        return self._home

    @property
    def data_dir(self) -> Path:
        return self.home / "data"

    @property
    def log_path(self) -> Path:
        return self.home / "server.log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    def dsn(self, dbname: str = "postgres", user: str = SUPERUSER, *, with_password: bool = True) -> str:
        """Return a libpq connection string; the password is the superuser's, give it to other roles that you create."""
        dsn = f"host=127.0.0.1 port={self.port} dbname={dbname} user={user}"
        return f"{dsn} password={self.password}" if with_password else dsn

    def start(self) -> Self:
        """Start and wait until it accepts connections; create the data first where there are none.

        Raises:
            ServerFailed: it did not start; nothing is left running.
        """
        if self.running:
            return self
        fresh = not self.data_dir.exists()
        if fresh:
            self._initialise()
        for attempt in range(1, PORT_ATTEMPTS + 1):
            try:
                self._launch()
                return self
            except ServerFailed as failure:
                if not fresh or attempt == PORT_ATTEMPTS or "could not bind" not in str(failure):
                    raise
                self.port = free_port()  # somebody was faster
        raise AssertionError("unreachable")

    def stop(self, mode: str = "fast") -> None:
        """Stop it by pid, as `pg_ctl stop -m MODE` would; a server that hangs is killed."""
        process, self._process = self._process, None
        if process is not None and not process.stop(STOP_SIGNALS[mode], STOP_SECONDS):
            raise ServerFailed(f"{self.name} had to be killed after {STOP_SECONDS:.0f} s\n{process.log_tail()}")

    def kill(self) -> None:
        """Kill every process of the server at once, as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def restart(self, mode: str = "fast") -> None:
        """Stop if it runs, then start on the same port and data."""
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Kill it if it runs, and delete its files."""
        self.kill()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.remove()

    def run_program(self, program: str, *arguments: str, dbname: str = "postgres") -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's client programs (psql, pgbench, pg_dump) against this server, as the superuser.

        Raises:
            subprocess.CalledProcessError: it failed.
        """
        environment = self._environment() | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": SUPERUSER,
            "PGPASSWORD": self.password,
            "PGDATABASE": dbname,
        }
        command = [str(self.installation.program(program)), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    def _initialise(self) -> None:
        secret = self.home / "password"
        secret.touch(mode=0o600)
        self._account.give(secret)
        secret.write_text(self.password)
        command = [
            str(self.installation.program("initdb")), "--pgdata", str(self.data_dir), "--username", SUPERUSER,
            "--pwfile", str(secret), "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        ]  # fmt: skip
        done = subprocess.run(
            command, env=self._environment(), cwd=self.home, capture_output=True, text=True, check=False,
            user=self._account.user, group=self._account.group,
            extra_groups=None if self._account.user is None else [],
        )  # fmt: skip
        secret.unlink()
        if done.returncode:
            shutil.rmtree(self.data_dir, ignore_errors=True)
            raise ServerFailed(f"initdb of {self.name} failed\n{done.stdout[-1000:]}{done.stderr[-2000:]}")

    def _launch(self) -> None:
        settings = {**self.settings, **FIXED, "port": str(self.port)}
        command = [str(self.installation.program("postgres")), "-D", str(self.data_dir)]
        command += [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        process = ServerProcess(command, self.log_path, self._environment(), self._account)
        try:
            if self._die_with_parent:
                process.tie([self.home])
            self._await(process, lambda: postmaster_ready(self.data_dir, process.pid))
        except BaseException:
            process.kill()
            raise
        self._process = process

    def _await(self, process: ServerProcess, ready: Callable[[], bool]) -> None:
        wait_until(lambda: ready() or not process.alive, START_SECONDS)
        if not process.alive:
            raise ServerFailed(f"{self.name} (PostgreSQL {self.major}) ended while starting\n{process.log_tail()}")
        if not ready():
            raise ServerFailed(f"{self.name} was not ready after {START_SECONDS:.0f} s\n{process.log_tail()}")

    def _environment(self) -> dict[str, str]:
        """Keep out everything that libpq or the server would take from our own environment."""
        return {"PATH": os.defpath, "HOME": str(self.home), "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}


def postmaster_ready(data_dir: Path, pid: int) -> bool:
    """Say whether the server has written that it accepts connections; as pg_ctl does, no connection is made."""
    try:
        lines = (data_dir / "postmaster.pid").read_text().splitlines()
    except (FileNotFoundError, UnicodeDecodeError):
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def open_temporary_folder() -> Path:
    """Return the temporary folder, or /tmp where an unprivileged account could not pass through the configured one."""
    chosen = Path(tempfile.gettempdir())
    parents = (chosen, *chosen.resolve().parents)
    closed = os.getuid() == 0 and not all(parent.stat().st_mode & stat.S_IXOTH for parent in parents)
    return Path("/tmp") if closed else chosen
