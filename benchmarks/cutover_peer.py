"""The bare switch of a pooler: PAUSE, another server in its file, RELOAD, RESUME; nothing is proved."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from auditor.demo.cutover import bank
from auditor.demo.cutover.clients import LiveClients
from auditor.demo.cutover.world import World, place
from auditor.demo.database import session
from auditor.servers.pgbouncer import PgBouncerServer

DATABASE = "bare"
BETWEEN_SECONDS = 1.0
"""For the clients to be busy again before the next switch."""


@dataclass(frozen=True, slots=True)
class Switched:
    """One switch as the clients felt it."""

    held_ms: float
    """From the order to hold until the order to let go was obeyed."""
    stall_ms: float
    """The longest that a client waited for a transaction."""


@contextmanager
def bare_pool(world: World) -> Iterator[PgBouncerServer]:
    """Make a database of its own on both servers, which no replication joins, and a pooler before it."""
    for stage in (world.source, world.target):
        stage.server.run_program("createdb", DATABASE)
        with session(stage.server.dsn(DATABASE)) as opened:
            opened.execute(f"GRANT CREATE ON SCHEMA public TO {bank.APPLICATION}")
            bank.create(opened, rows=True)
    database = {DATABASE: f"{place(world.source.server)} dbname={DATABASE}"}
    with PgBouncerServer(database, {bank.APPLICATION: world.password}, name="bare-pool") as pool:
        yield pool


def bare_switches(world: World, count: int, clients: int) -> list[Switched]:
    """Switch to and fro under load."""
    switched = []
    with ExitStack() as closing:
        pool = closing.enter_context(bare_pool(world))
        console = closing.enter_context(psycopg.connect(pool.admin_dsn, autocommit=True, prepare_threshold=None))
        live = LiveClients([pool.dsn(DATABASE, bank.APPLICATION)], world.folder / "bare", clients=clients)
        live.start()
        closing.callback(live.stop)
        places = [place(stage.server) for stage in (world.source, world.target)]
        for number in range(count):
            time.sleep(BETWEEN_SECONDS)
            began = time.monotonic()
            ended = _switch(console, pool.config, places[number % 2], places[1 - number % 2])
            _settle(live, ended)
            switched.append(Switched((ended - began) * 1000, live.worst(began, ended) * 1000))
    if live.failures:
        raise RuntimeError(f"the bare switch has failed clients: {live.failures[0].text}")
    return switched


def _switch(console: psycopg.Connection[Any], config: Path, old: str, new: str) -> float:
    console.execute("PAUSE")
    config.write_text(config.read_text().replace(old, new))
    console.execute("RELOAD")
    console.execute("RESUME")
    return time.monotonic()


def _settle(live: LiveClients, since: float) -> None:
    """Wait until each client has had a transaction since: the one that waited is then counted."""
    while not live.all_wrote_since(since):
        time.sleep(0.01)
