"""What speaks against a cutover through a PgBouncer, seen long before anything is held."""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from comparators.errors import NeedsOperator
from comparators.positions import Side
from orchestrator.adapters.destinations import Destinations
from orchestrator.adapters.pgbouncer_console import Console, DatabaseSeen, Record
from orchestrator.adapters.pgbouncer_file import Place, lead, read_place
from orchestrator.adapters.sessions import Session, parsed
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker

LONGEST_WAIT_SECONDS = 60.0
"""Clients must outwait the slowest end that a cutover can take: its steps' deadlines, then a dead man's patience."""
ROOM_SHARE = 0.9
"""Of `max_client_conn`; while transactions wait, clients open more connections than usual."""
SILENT_SECONDS = 3.0
"""A transaction that says nothing for so long is waited for by PAUSE; the console shows whole seconds."""
LOOKS_SECONDS = 0.1
LINKS_ASKED = 10
CARRIES_PREPARED = "max_prepared_statements"
"""From 1.21; above 0 prepared statements follow their client from server to server."""


class Checks:
    """One look at everything; nothing is changed."""

    def __init__(
        self, console: Console, config: Path, databases: Sequence[str], places: Mapping[Side, Place], probe: str,
        destinations: Destinations | None,
    ) -> None:  # fmt: skip
        self._console, self._config, self._databases = console, config, databases
        self._places, self._probe, self._destinations = places, probe, destinations

    def blockers(self, deadline: Deadline) -> list[Blocker]:
        """Give what speaks against it.

        Raises:
            NeedsOperator, Retryable: it could not be seen.
        """
        seen = self._console.databases(self._databases, deadline)
        config = self._console.pairs("CONFIG", deadline)
        if self._console.whole_paused(deadline) or any(one.paused for one in seen.values()):
            return [
                Blocker("paused", "PgBouncer is paused already", "say RESUME on its console, or learn who holds it")
            ]
        unled = [
            *missing(self._databases, seen), *unknown_places(seen, self._places), *file_problems(self._config, seen)
        ]  # fmt: skip
        strange = strange_probe(self._probe, self._databases)
        return [
            *unled,
            *strange,
            *([] if unled or strange else self._elsewhere()),
            *pooling(config, seen, self._console.pools(self._databases, deadline)),
            *patience(config),
            *room(config, self._console.pairs("LISTS", deadline)),
            *self._silent(deadline),
            *([] if strange else self._prepared(config, deadline)),
        ]

    def _elsewhere(self) -> list[Blocker]:
        """Ask each place that the file will name who answers there."""
        if self._destinations is None:
            return []
        text = self._config.read_text()
        told = {side: destined(text, self._databases, self._places, side) for side in self._places}
        return self._destinations.blockers(self._probe, told)

    def _silent(self, deadline: Deadline) -> list[Blocker]:
        """Find transactions that say nothing, by looking until each has said something or ended."""
        first = _saying(self._console.links(self._databases, deadline))
        silent, until = first, time.monotonic() + SILENT_SECONDS
        while silent and time.monotonic() < until:
            time.sleep(LOOKS_SECONDS)
            silent &= _saying(self._console.links(self._databases, deadline))
        if not silent:
            return []
        reason = f"{len(silent)} transactions through it have said nothing for {SILENT_SECONDS:g} s"
        return [Blocker("silent-transactions", reason, "end them, or let idle_transaction_timeout do so: PAUSE waits")]

    def _prepared(self, config: Mapping[str, str], deadline: Deadline) -> list[Blocker]:
        """Ask the idle servers behind the probe's pool for statements that clients prepared there by name."""
        params = parsed(self._probe)
        carries = int(config.get(CARRIES_PREPARED, "0")) > 0
        pools = self._console.pools([params["dbname"]], deadline)
        idle = sum(int(pool["sv_idle"]) for pool in pools if pool["user"] == params.get("user"))
        found = 0
        with ExitStack() as opened:
            for number in range(min(max(idle, 1), LINKS_ASKED)):  # each transaction keeps its server from the next one
                session = opened.enter_context(Session(self._probe, f"look {number + 1}", pinned=False))
                opened.enter_context(session.transaction(deadline))
                found += session.value("SELECT count(*) FROM pg_prepared_statements", deadline=deadline)
        if carries or not found:
            return []
        reason = (
            f"clients prepare statements by name ({found} seen), which this PgBouncer does not carry to new servers"
        )
        remedy = (
            "let drivers not prepare by themselves (psycopg: prepare_threshold=None; JDBC: prepareThreshold=0) and say "
            f"RECONNECT, or take PgBouncer 1.21 with {CARRIES_PREPARED}"
        )
        return [Blocker("prepared-statements", reason, remedy)]


def destined(text: str, databases: Sequence[str], places: Mapping[Side, Place], side: Side) -> list[Place]:
    """Give where a file's databases will lead once they lead to a side, each host of a list by itself."""
    led = lead(text, databases, places[side], list(places.values()))
    lines = {name: read_place(led, name) for name in databases}
    return [
        {"host": host, "port": line.get("port", "5432"), "dbname": line.get("dbname", name)}
        for name, line in lines.items()
        for host in line["host"].split(",")
    ]


def strange_probe(probe: str, databases: Sequence[str]) -> list[Blocker]:
    """Find a probe that leads to something else of PgBouncer's, as its console: no place can be asked by its role."""
    if parsed(probe).get("dbname") in databases:
        return []
    return [Blocker("probe", "the probe asks none of its databases", "name one of `databases` as its dbname")]


def missing(databases: Sequence[str], seen: Mapping[str, DatabaseSeen]) -> list[Blocker]:
    """Find databases that PgBouncer lacks or keeps closed."""
    gone = [name for name in databases if name not in seen]
    closed = [name for name, one in seen.items() if one.disabled]
    return [
        *(Blocker("database", f"PgBouncer has no {name}", "name it as below [databases] in its file") for name in gone),
        *(
            Blocker("database", f"PgBouncer keeps {name} disabled", f"say ENABLE {name} on its console")
            for name in closed
        ),
    ]


def unknown_places(seen: Mapping[str, DatabaseSeen], places: Mapping[Side, Place]) -> list[Blocker]:
    """Find databases that lead to neither side, or not all to one; and places that cannot be told apart."""
    first, second = places.values()
    if first.items() <= second.items() or second.items() <= first.items():
        return [Blocker("places", "source and target are the same place", "name in `places` what differs between them")]
    sides = {
        name: [side for side, place in places.items() if place.items() <= one.place.items()]
        for name, one in seen.items()
    }
    lost = [name for name, found in sides.items() if not found]
    if lost:
        words = [
            f"{name} leads to {seen[name].place.get('host', 'a socket')}:{seen[name].place['port']}" for name in lost
        ]
        return [Blocker("places", ", ".join(words), "write in `places` what PgBouncer's console shows")]
    if len({found[0] for found in sides.values()}) > 1:
        return [Blocker("places", "its databases lead to different sides", "lead all of them to one before")]
    return []


def file_problems(config: Path, seen: Mapping[str, DatabaseSeen]) -> list[Blocker]:
    """Find why the file cannot be rewritten, or does not say what runs."""
    try:
        text, owner = config.read_text(), config.stat().st_uid
    except (OSError, UnicodeDecodeError):
        return [Blocker("config", f"{config.name} cannot be read", "let the orchestrator's account read it")]
    if not os.access(config.resolve().parent, os.W_OK) or os.geteuid() not in (0, owner):
        return [
            Blocker(
                "config",
                f"{config.name} cannot be replaced by this account",
                "run the orchestrator as its owner, who may write its folder, or lead this PgBouncer by kind: exec",
            )
        ]
    for name, one in seen.items():
        try:
            place = read_place(text, name)
        except NeedsOperator as error:
            return [Blocker("config", f"{config.name}: {error}", error.hint)]
        if any(one.place.get(key, place[key]) != place[key] for key in ("host", "port") if key in place):
            return [Blocker("config", f"{config.name} and what runs lead {name} apart", "say RELOAD, or mend the file")]
    return []


def pooling(config: Mapping[str, str], seen: Mapping[str, DatabaseSeen], pools: Sequence[Record]) -> list[Blocker]:
    """Find pools by session: PAUSE would wait until their clients leave."""
    modes = {name: one.pool_mode or config.get("pool_mode", "") for name, one in seen.items()}
    session = {name for name, mode in modes.items() if mode == "session"}
    session |= {str(pool["database"]) for pool in pools if pool["pool_mode"] == "session"}
    return [
        Blocker("pool-mode", f"{name} is pooled by session: PAUSE waits until clients leave", "pool it by transaction")
        for name in sorted(session)
    ]


def patience(config: Mapping[str, str]) -> list[Blocker]:
    """Find limits at which PgBouncer would send waiting clients away."""
    limits = {name: float(config.get(name, "0")) for name in ("query_wait_timeout", "query_timeout")}
    return [
        Blocker(
            name.replace("_", "-"),
            f"after {seconds:g} s PgBouncer sends clients away; a cutover may take {LONGEST_WAIT_SECONDS:g} s to end",
            f"set {name} to 0, or to more than {LONGEST_WAIT_SECONDS:g}",
        )
        for name, seconds in limits.items()
        if 0 < seconds < LONGEST_WAIT_SECONDS
    ]


def room(config: Mapping[str, str], lists: Mapping[str, str]) -> list[Blocker]:
    """Find a PgBouncer that has no room for the clients that will wait."""
    used, most = int(lists["used_clients"]), int(config["max_client_conn"])
    if used <= most * ROOM_SHARE:
        return []
    return [Blocker("room", f"{used} of {most} client connections are in use", "raise max_client_conn and its ulimit")]


def _saying(links: Sequence[Record]) -> set[tuple[str, str, str]]:
    """Tell apart what each busy connection is at: which client, and its last words."""
    busy = [link for link in links if link["state"] == "active"]
    return {(str(link["ptr"]), str(link["link"]), str(link["request_time"])) for link in busy}
