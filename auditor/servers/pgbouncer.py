"""A PgBouncer of our own: transaction pooling on a free loopback port, under an account other than root."""

import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from auditor.servers.installations import server_account
from auditor.servers.ports import free_port
from auditor.servers.postgres import open_temporary_folder
from auditor.servers.processes import ServerFailed, ServerProcess, wait_until
from comparators.errors import NotInstalled

PROGRAM = PACKAGE = "pgbouncer"
SYSTEM_FOLDER = "/usr/sbin"  # where Debian puts it, which is not on the PATH of ordinary accounts
ADMIN = "pgbouncer_admin"
CONSOLE = "pgbouncer"
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POOLING = {
    "pool_mode": "transaction",
    "auth_type": "scram-sha-256",
    "max_client_conn": "400",
    "default_pool_size": "20",
    "server_login_retry": "1",
    "ignore_startup_parameters": "extra_float_digits",
    "unix_socket_dir": "",
}


class PgBouncerServer:
    """One PgBouncer, which keeps its port and configuration over `stop`, `kill` and `restart` until `remove`."""

    def __init__(
        self,
        databases: Mapping[str, str],
        users: Mapping[str, str],
        settings: Mapping[str, str] | None = None,
        name: str = "pgbouncer",
        *,
        die_with_parent: bool = True,
    ) -> None:
        """Find the program; nothing runs yet.

        Args:
            databases: what follows each name below `[databases]`, as in "host=127.0.0.1 port=5432 dbname=app".
            users: passwords by name, as both PgBouncer and the servers behind it take them.
            settings: what goes below `[pgbouncer]`, over those of transaction pooling.
            name: for folder names and messages.
            die_with_parent: end it and remove its files when this process dies.
        Raises:
            NotInstalled: it is not there; the hint names Debian's package.
        """
        self._binary = find_pgbouncer()
        self.name, self.port, self.password = name, free_port(), secrets.token_hex(16)
        self.settings = {**POOLING, **(settings or {})}
        self._databases, self._users, self._die_with_parent = dict(databases), dict(users), die_with_parent
        self._account = server_account()
        self._home: Path | None = None
        self._process: ServerProcess | None = None

    @property
    def home(self) -> Path:
        """The folder of everything that belongs to it; made when first asked for."""
        if self._home is None:
            self._home = Path(tempfile.mkdtemp(prefix=f"auditor-{self.name}-", dir=open_temporary_folder()))
            self._account.give(self._home)
        return self._home

    @property
    def config(self) -> Path:
        """The file that it reads again at RELOAD."""
        return self.home / "pgbouncer.ini"

    @property
    def log_path(self) -> Path:
        return self.home / "server.log"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def admin_dsn(self) -> str:
        """Return a libpq connection string of its console; `SHOW`, `PAUSE` and the like are all that it takes."""
        return self._dsn(CONSOLE, ADMIN, self.password)

    def dsn(self, dbname: str, user: str) -> str:
        """Return a libpq connection string of one of the databases behind it, with the user's password."""
        return self._dsn(dbname, user, self._users[user])

    def _dsn(self, dbname: str, user: str, password: str) -> str:
        return f"host=127.0.0.1 port={self.port} dbname={dbname} user={user} password={password}"

    def start(self) -> Self:
        """Start and wait until it accepts connections; the configuration is written the first time only.

        Raises:
            ServerFailed: it did not start; nothing is left running.
        """
        if self.running:
            return self
        if not self.config.exists():
            self._write("users.txt", "".join(f"{_quoted(user)} {_quoted(word)}\n" for user, word in self._known()))
            self._write("pgbouncer.ini", self._configuration())
        process = ServerProcess([self._binary, str(self.config)], self.log_path, self._environment(), self._account)
        try:
            if self._die_with_parent:
                process.tie([self.home])
            self._await(process)
        except BaseException:
            process.kill()
            raise
        self._process = process
        return self

    def stop(self) -> None:
        """Stop it by pid, clients and all; one that hangs is killed."""
        process, self._process = self._process, None
        if process is not None:
            process.stop(signal.SIGTERM, STOP_SECONDS)

    def kill(self) -> None:
        """Kill it at once, as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()

    def restart(self) -> None:
        """Stop it if it runs, then start it on the same port, with the configuration as its file now has it."""
        self.stop()
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

    def _known(self) -> list[tuple[str, str]]:
        return [*self._users.items(), (ADMIN, self.password)]

    def _configuration(self) -> str:
        databases = [f"{name} = {words}" for name, words in self._databases.items()]
        fixed = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "auth_file": str(self.home / "users.txt"),
            "admin_users": ADMIN,
        }
        settings = [f"{name} = {value}" for name, value in {**self.settings, **fixed}.items()]
        return "\n".join(["[databases]", *databases, "", "[pgbouncer]", *settings, ""])

    def _write(self, name: str, text: str) -> None:
        path = self.home / name
        path.touch(mode=0o600)
        self._account.give(path)
        path.write_text(text)

    def _await(self, process: ServerProcess) -> None:
        wait_until(lambda: _accepts(self.port) or not process.alive, START_SECONDS)
        if not process.alive:
            raise ServerFailed(f"{self.name} ended while starting\n{process.log_tail()}")
        if not _accepts(self.port):
            raise ServerFailed(f"{self.name} was not ready after {START_SECONDS:.0f} s\n{process.log_tail()}")

    def _environment(self) -> dict[str, str]:
        return {"PATH": os.defpath, "HOME": str(self.home), "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}


def find_pgbouncer() -> str:
    """Find the program, also where it is not on the PATH.

    Raises:
        NotInstalled: it is not there; the hint names Debian's package.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), SYSTEM_FOLDER])
    found = shutil.which(PROGRAM, path=path)
    if found is None:
        raise NotInstalled("PgBouncer is not installed", hint=f"apt-get install {PACKAGE}")
    return found


def _quoted(word: str) -> str:
    if not re.fullmatch(r'[^"\n]+', word):
        raise ValueError("a name or password for PgBouncer's files may not hold quotes or line ends")
    return f'"{word}"'


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
