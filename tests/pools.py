"""PgBouncers before a pair of databases, and clients that write through them."""

import contextlib
import http.server
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from auditor.servers import PgBouncerServer
from comparators.positions import Side
from orchestrator.adapters.commands import CommandedProxy, exec_proxy, webhook_proxy
from orchestrator.adapters.destinations import Destinations
from orchestrator.adapters.pgbouncer import PgBouncer
from orchestrator.deadlines import Deadline
from tests.helpers import Database, Pair, unique_name

PASSWORD = "pooled"
TOKEN = "a-token-of-the-tests"
SCRIPT = """#!/bin/sh
set -e
ask() {{ "{psql}" -XAtq "{admin}" -c "$1"; }}
shown() {{ ask "SHOW DATABASES" | grep '^app|'; }}
case "$AUDITOR_ACTION" in
  hold) ask "PAUSE app" ;;
  release) ask "RESUME app" || true ;;
  route)
    if [ "$AUDITOR_TO" = target ]; then from={source}; to={target}; else from={target}; to={source}; fi
    sed -i "s/port=$from /port=$to /" "{config}"
    ask "RELOAD" ;;
  observe)
    case "$(shown | cut -d'|' -f3)" in {source}) route=source ;; {target}) route=target ;; esac
    case "$(shown | cut -d'|' -f12)" in 1) held=true ;; *) held=false ;; esac
    echo "{{\\"held\\": $held, \\"route\\": \\"$route\\", \\"nodes\\": {{\\"only\\": \\"$route\\"}}}}" ;;
esac
"""


def soon(seconds: float = 60) -> Deadline:
    return Deadline.within(seconds, "a test")


def destinations(pair: Pair) -> Destinations:
    return Destinations({Side.SOURCE: pair.source.dsn, Side.TARGET: pair.target.dsn})


def place(database: Database) -> str:
    return f"host=127.0.0.1 port={database.server.port}"


@dataclass
class Pool:
    """A PgBouncer before both sides, which leads to the source."""

    pair: Pair
    server: PgBouncerServer
    role: str
    name: str = "pool-1"
    drivers: list[PgBouncer] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        return self.server.dsn("app", self.role)

    @property
    def places(self) -> dict[Side, str]:
        return {Side.SOURCE: place(self.pair.source), Side.TARGET: place(self.pair.target)}

    def driver(self, **changes: object) -> PgBouncer:
        """Make a driver, as another process would; its sessions end with the pool."""
        given = {
            "admin": self.server.admin_dsn,
            "config": self.server.config,
            "databases": ["app"],
            "places": self.places,
            "probe": self.dsn,
            "destinations": destinations(self.pair),
        }
        self.drivers.append(PgBouncer(self.name, **{**given, **changes}))  # type: ignore[arg-type]
        return self.drivers[-1]

    def console(self, words: str) -> None:
        with psycopg.connect(self.server.admin_dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
            console.execute(words.encode())

    def connect(self, **options: object) -> psycopg.Connection:
        return psycopg.connect(self.dsn, **{"autocommit": True, "prepare_threshold": None, **options})  # type: ignore[arg-type]


def port_behind(client: psycopg.Connection) -> int:
    """Ask which server's port a transaction of this client comes to."""
    row = client.execute("SELECT inet_server_port()").fetchone()
    assert row is not None
    return int(row[0])


@contextlib.contextmanager
def role_on(pair: Pair) -> Iterator[str]:
    """Make a role of one password on both sides, that may do what it likes in the pair's databases."""
    role = unique_name("pooled")
    for side in (pair.source, pair.target):
        side.execute(f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD '{PASSWORD}'")
    try:
        yield role
    finally:
        for side in (pair.source, pair.target):
            side.execute(f"DROP ROLE {role}")


@contextlib.contextmanager
def pool_for(
    pair: Pair, role: str, settings: Mapping[str, str] | None = None, databases: tuple[str, ...] = ("app",)
) -> Iterator[Pool]:
    """Start a PgBouncer that leads to the pair's source."""
    behind = {name: f"{place(pair.source)} dbname={pair.name}" for name in databases}
    with PgBouncerServer(behind, {role: PASSWORD}, settings) as server:
        pool = Pool(pair, server, role)
        try:
            yield pool
        finally:
            for driver in pool.drivers:
                driver.close()


@contextlib.contextmanager
def one_pool(pair: Pair) -> Iterator[Pool]:
    """Start a PgBouncer before a pair, with a role of its own and a table to write to."""
    create_written(pair)
    with role_on(pair) as role, pool_for(pair, role) as pool:
        yield pool


def commanded(pool: Pool, folder: Path) -> CommandedProxy:
    """Lead a PgBouncer by a script, as a proxy of the user's own."""
    action = [str(_script(pool, folder))]
    return exec_proxy(
        pool.name, hold=action, release=action, route=action, observe=action, probe=pool.dsn,
        destinations=destinations(pool.pair),
    )  # fmt: skip


@contextlib.contextmanager
def hooked(pool: Pool, folder: Path) -> Iterator[CommandedProxy]:
    """Lead a PgBouncer by a web service that does what the script does, for whoever has the token."""
    script = _script(pool, folder)

    class Service(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, answer = (401, b"")
            if self.headers["Authorization"] == f"Bearer {TOKEN}":
                words = {"AUDITOR_ACTION": told["action"], "AUDITOR_TO": told.get("to", "")}
                done = subprocess.run([script], env=os.environ | words, capture_output=True, timeout=60, check=False)
                status, answer = (500 if done.returncode else 200, done.stdout)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of each request."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/lead"
        try:
            yield webhook_proxy(pool.name, url=url, token=TOKEN, probe=pool.dsn, destinations=destinations(pool.pair))
        finally:
            server.shutdown()
            thread.join()


def _script(pool: Pool, folder: Path) -> Path:
    script = folder / "lead"
    script.write_text(
        SCRIPT.format(
            psql=pool.pair.source.server.installation.program("psql"),
            admin=pool.server.admin_dsn,
            config=pool.server.config,
            source=pool.pair.source.server.port,
            target=pool.pair.target.server.port,
        )
    )
    script.chmod(0o700)
    return script


@dataclass
class Writers:
    """Clients that write one row after another, each in a transaction, and keep what was acknowledged."""

    dsn: str
    count: int = 8
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    stalls: list[float] = field(default_factory=list)
    """Seconds that each write took."""

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(who,), daemon=True) for who in range(self.count)]

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _write(self, who: int) -> None:
        number = 0
        with psycopg.connect(self.dsn, prepare_threshold=None) as connection:
            while not self._stop.is_set():
                began = time.monotonic()
                try:
                    connection.execute("INSERT INTO written VALUES (%s, %s)", [who, number])
                    connection.execute("SELECT count(*) FROM written WHERE who = %s AND number = %s", [who, number])
                    connection.commit()
                except psycopg.Error as error:
                    self.errors.append(str(error))
                    return
                self.stalls.append(time.monotonic() - began)
                self.acknowledged.append((who, number))
                number += 1


def create_written(pair: Pair) -> None:
    pair.execute("CREATE TABLE written (who int, number int, PRIMARY KEY (who, number))")


def rows_written(database: Database) -> list[tuple[int, int]]:
    return database.rows("SELECT who, number FROM written ORDER BY who, number")
