"""What the sweep is held against: the bare digest, a full COPY, reladiff and pg_comparator with their best settings."""

import re
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psycopg
import xxhash
from psycopg import conninfo

from auditor.servers import PostgresServer
from benchmarks.processes import Ran, TookTooLong, run
from benchmarks.sweep_data import Servers, execute

RELADIFF = "reladiff[postgresql]==0.6.0"
COMPARED = ("customer", "n", "total", "at", "ok", "code", "note")
TUNED = ("--bisection-factor", "400", "-j", "2")
"""Faster with differences, slower without: the faster one counts."""
BLOCK = 1 << 20
PEER_SECONDS = 600


class NotMeasured(Exception):
    """A peer cannot run here; the text says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A run of a peer, and the keys that it reported."""

    ran: Ran
    keys: frozenset[str]


Peer = Callable[[Servers, str], Answer]


def reladiff(folder: Path) -> dict[str, Peer]:
    """Find reladiff, or install it into an environment of its own; as it comes, and tuned.

    Raises:
        NotMeasured: it can be neither found nor installed.
    """
    found = shutil.which("reladiff")
    program = Path(found) if found else _installed(folder / "reladiff")
    columns = [word for name in COMPARED for word in ("-c", name)]

    def compare(sides: Servers, table: str, options: Sequence[str] = ()) -> Answer:
        source, target = (_url(server) for server in sides.both)
        command = [str(program), source, table, target, table, "-k", "id", *columns, *options]
        ran = _run("reladiff", command, {"COLUMNS": "100000"})  # it breaks lines at the width of the terminal
        return Answer(ran, frozenset(re.findall(r"^[+-] (\d+),", ran.output, re.MULTILINE)))

    return {"reladiff": compare, "reladiff_tuned": partial(compare, options=TUNED)}


def _installed(folder: Path) -> Path:
    try:
        venv.create(folder, with_pip=True)
        command = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", RELADIFF]
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (subprocess.CalledProcessError, OSError) as error:
        raise NotMeasured(f"pip install {RELADIFF}: {getattr(error, 'stderr', None) or error}") from error
    return folder / "bin" / "reladiff"


def pg_comparator(sides: Servers) -> dict[str, Peer]:
    """Find pg_comparator and install its extension on both servers.

    Raises:
        NotMeasured: the program, or the extension for this version of the server, is missing.
    """
    program = shutil.which("pg_comparator")
    if program is None:
        raise NotMeasured("pg_comparator is not installed (apt-get install postgresql-comparator)")
    try:
        sides.at_once(lambda server: execute(server, "CREATE EXTENSION IF NOT EXISTS pgcmp"))
    except psycopg.Error as error:
        raise NotMeasured(f"its extension: {error}") from error

    def compare(sides: Servers, table: str) -> Answer:
        source, target = (_url(server).replace("postgresql:", "pgsql:") for server in sides.both)
        where = f"{table}?id:{','.join(COMPARED)}"
        ran = _run("pg_comparator", [program, "--use-key", f"{source}/{where}", f"{target}/{table}"])
        keys = frozenset(re.findall(r"^(?:UPDATE|INSERT|DELETE) (\d+)", ran.output, re.MULTILINE))
        return Answer(ran, keys)

    return {"pg_comparator": compare}


def _run(name: str, command: Sequence[str | Path], environment: dict[str, str] | None = None) -> Ran:
    """Refuse a run that failed: its time would be worth nothing."""
    try:
        ran = run(command, environment, limit_seconds=PEER_SECONDS)
    except TookTooLong as error:
        raise NotMeasured(str(error)) from None
    if ran.code != 0 or "Traceback" in ran.errors:
        raise NotMeasured(f"{name} ended with {ran.code}: {(ran.errors or ran.output)[-500:]}")
    return ran


def _url(server: PostgresServer) -> str:
    parts = conninfo.conninfo_to_dict(server.dsn())
    return "postgresql://{user}:{password}@{host}:{port}/{dbname}".format(**parts)


def copy(sides: Servers, table: str) -> float:
    """Copy both sides in binary at once and hash what arrives; the seconds until both hashes are there.

    The rows come as they lie, which is fastest and equal only where both sides were filled alike.
    """
    started = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        hashes = list(pool.map(lambda server: _hash_of_copy(server, table), sides.both))
    if hashes[0] != hashes[1]:
        raise RuntimeError(f"the copies of {table} differ, or lie in another order")
    return time.perf_counter() - started


def _hash_of_copy(server: PostgresServer, table: str) -> int:
    """Read in large blocks through psql: row by row, Python would be what is measured."""
    command = [str(server.installation.program("psql")), "-X", "-q", "-c", f"COPY {table} TO STDOUT (FORMAT binary)"]
    digest = xxhash.xxh3_64()
    with subprocess.Popen([*command, server.dsn()], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while block := process.stdout.read(BLOCK):
            digest.update(block)
    if process.returncode:
        raise RuntimeError(f"psql ended with {process.returncode}")
    return digest.intdigest()


@dataclass(frozen=True, slots=True)
class Digest:
    """The bare digest of a table, in the form in which the sweep digests it."""

    source: str
    target: str

    def run(self, sides: Servers) -> tuple[float, int]:
        """Run it on both at once; seconds, and rows of the source."""
        queries = {sides.source: self.source, sides.target: self.target}
        with ThreadPoolExecutor(2) as pool:
            started = time.perf_counter()
            answers = list(pool.map(lambda server: _asked(server, queries[server]), sides.both))
            return time.perf_counter() - started, answers[0]


def _asked(server: PostgresServer, query: str) -> int:
    answer = execute(server, "SET max_parallel_workers_per_gather = 0", query)
    return int(answer[0][0])


def log(*words: object) -> None:
    """Say to a person how far it is."""
    print(*words, file=sys.stderr, flush=True)


def share(found: Iterable[str], planted: set[str], counted: int = 0) -> float:
    """Give the part of the planted keys that was found, or counted besides, less what was found wrongly."""
    found = set(found)
    return (len(found & planted) + counted - len(found - planted)) / len(planted)
