"""PgBouncer as a proxy: PAUSE, a rewritten file and RELOAD, RESUME, each read back from its console.

Rules of this file:
1. PAUSE answers when the last transaction has ended. It has a session of its own, which is given up at the deadline:
   a PAUSE that somebody else's RESUME has undone never answers.
2. Paused is not held: `SHOW DATABASES` says `paused` at once. Held is paused and no connection left to the servers.
3. A hold that fails may have paused it all the same: whoever asked for it lets go (`orchestrator.proxies`).
4. No disk delays a switch: the file is written out while PgBouncer is being paused, put in place when it is led, and
   that is brought to the disk once clients have been let go.
5. While PgBouncer is paused RELOAD leads everything over at once. Unpaused it does so connection by connection, and
   `route` returns when the last connection of before is closed.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from comparators.errors import AuditorError, NeedsOperator, Retryable
from comparators.positions import Side
from orchestrator.adapters.destinations import Destinations
from orchestrator.adapters.pgbouncer_checks import Checks
from orchestrator.adapters.pgbouncer_console import Console, DatabaseSeen, NotPaused, WholePaused, quoted
from orchestrator.adapters.pgbouncer_file import lead, parse_place, replace_file, settle_file, stage_file
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline
from orchestrator.parallel import in_parallel
from orchestrator.ports import Blocker, Facts, Identity, ProxySeen

LOOK_SECONDS = 2.0
CHECK_SECONDS = 20.0
POLL_SECONDS = 0.005


class NotTaken(NeedsOperator):
    """PgBouncer goes on with the configuration that it had."""


class PgBouncer:
    """One PgBouncer; several are several proxies, held all or none by `orchestrator.proxies`."""

    def __init__(
        self,
        name: str,
        *,
        admin: str,
        config: Path,
        databases: Sequence[str],
        places: Mapping[Side, str],
        probe: str,
        destinations: Destinations | None,
    ) -> None:
        """Remember how it is reached; nothing is opened yet.

        Args:
            name: what the journal and the reports call it.
            admin: connection string of its console, as one of its `admin_users`.
            config: its file, which this account may replace.
            databases: those of its databases that belong to the migration, as its file names them.
            places: what of their connection strings differs, as in `host=10.0.0.1 port=5432`.
            probe: connection string through it, to a role that may log in on both sides at all times.
            destinations: what the places must be; none: they are not asked.
        Raises:
            SettingInvalid: a place cannot be read.
        """
        self.name = name
        self._config, self._databases, self._probe = config, tuple(databases), probe
        self._destinations = destinations
        self.places_asked = destinations is not None
        self._places = {side: parse_place(words) for side, words in places.items()}
        self._console = Console(admin, f"console of {name}")
        self._waiting = {database: Console(admin, f"pause of {name}") for database in self._databases}
        self._writing: threading.Thread | None = None

    def check(self) -> Sequence[Blocker]:
        """Say what speaks against a cutover through it; opens the sessions that will be needed."""
        checks = Checks(
            self._console, self._config, self._databases, self._places, self._probe, self._destinations
        )  # fmt: skip
        deadline = Deadline.within(CHECK_SECONDS, f"checking {self.name}")
        try:
            for console in self._waiting.values():
                console.warm(deadline)
            return checks.blockers(deadline)
        except NeedsOperator as error:
            return [Blocker(self.name, str(error), error.hint)]
        except Retryable as error:
            return [Blocker(self.name, str(error), "see that PgBouncer runs, and that `admin` and `probe` reach it")]

    def hold(self, deadline: Deadline) -> Facts:
        """Pause the databases; return when no transaction is under way through them."""
        began = time.monotonic()
        self._stage(deadline)
        self._pause(deadline)
        self._await_no_links(deadline)
        return {"held": True, "databases": list(self._databases), "took_ms": _milliseconds(began)}

    def release(self, deadline: Deadline) -> Facts:
        """Resume the databases."""
        began = time.monotonic()
        self._resume(deadline)
        if self._console.whole_paused(deadline):
            raise WholePaused(f"{self.name} is paused as a whole, by somebody else", hint="say RESUME on its console")
        self._beside("settling", lambda: settle_file(self._config))
        return {"held": False, "databases": list(self._databases), "took_ms": _milliseconds(began)}

    def route(self, to: Side, deadline: Deadline) -> Facts:
        """Lead the databases to a side, in the file and in what runs; return when nothing leads elsewhere."""
        began = time.monotonic()
        changed = self._rewrite(to, deadline)
        seen = self._seen(deadline)
        if changed or self._route(seen) is not to:
            self._console.say("RELOAD", deadline)
            seen = self._seen(deadline)
        if self._route(seen) is not to:
            raise NotTaken(
                f"{self.name} did not take its file: {', '.join(map(_shown, seen.values()))} instead of the {to}",
                hint=f"PgBouncer's log says what it cannot read in {self._config.name}",
            )
        self._await_old_links_closed(deadline)
        return {"route": to.value, "place": _words(self._places[to]), "took_ms": _milliseconds(began)}

    def observe(self) -> ProxySeen:
        """See whether all of its databases are paused, and where they lead."""
        deadline = Deadline.within(LOOK_SECONDS, f"looking at {self.name}")
        try:
            seen = self._seen(deadline)
            held = all(one.paused for one in seen.values()) or self._console.whole_paused(deadline)
        except AuditorError:
            return ProxySeen(None, None)
        return ProxySeen(held, self._route(seen), {name: _shown(one) for name, one in seen.items()})

    def probe(self, deadline: Deadline) -> Identity:
        """Ask the server behind it who it is, by a new session through it."""
        with Session(self._probe, f"probe through {self.name}", pinned=False) as session:
            return session.identity(deadline)

    def close(self) -> None:
        """End the sessions with the console, once the file is on the disk."""
        if self._writing is not None:
            self._writing.join()
        for console in (self._console, *self._waiting.values()):
            console.close()

    def _seen(self, deadline: Deadline) -> dict[str, DatabaseSeen]:
        seen = self._console.databases(self._databases, deadline)
        if missing := [name for name in self._databases if name not in seen]:
            raise NeedsOperator(
                f"{self.name} has no database {', '.join(missing)}",
                hint="name databases as PgBouncer's file has them below [databases]",
            )
        return seen

    def _route(self, seen: Mapping[str, DatabaseSeen]) -> Side | None:
        for side, place in self._places.items():
            if all(place.items() <= one.place.items() for one in seen.values()):
                return side
        return None

    def _pause(self, deadline: Deadline) -> None:
        in_parallel(
            {
                name: lambda name=name: self._waiting[name].say(f"PAUSE {quoted(name)}", deadline)  # type: ignore[misc]
                for name in self._databases
            }
        ).raise_first()

    def _await_no_links(self, deadline: Deadline) -> None:
        """Read back that all is paused and nothing is under way; idle connections take a moment to close."""
        while links := self._console.links(self._databases, deadline):
            if time.monotonic() + POLL_SECONDS > deadline.at:
                raise Retryable(f"{self.name} is paused, and {len(links)} of its connections to the servers are open")
            time.sleep(POLL_SECONDS)
        if running := [name for name, one in self._seen(deadline).items() if not one.paused]:
            raise Retryable(f"{self.name}: somebody let {', '.join(running)} go again")

    def _resume(self, deadline: Deadline) -> None:
        for name in self._databases:
            try:
                self._console.say(f"RESUME {quoted(name)}", deadline)
            except NotPaused:
                continue
        if paused := [name for name, one in self._seen(deadline).items() if one.paused]:
            raise Retryable(f"{self.name}: {', '.join(paused)} is paused again")

    def _led(self, to: Side) -> tuple[str, str]:
        """Give the file's text as it is, and as it is to be."""
        try:
            text = self._config.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise NeedsOperator(
                f"{self._config.name} of {self.name} cannot be read", hint="let the orchestrator's account read it"
            ) from error
        return text, lead(text, self._databases, self._places[to], list(self._places.values()))

    def _rewrite(self, to: Side, deadline: Deadline) -> bool:
        if self._writing is not None:
            self._writing.join(deadline.left())
        text, led = self._led(to)
        deadline.left()
        if led != text:
            replace_file(self._config, led)
        return led != text

    def _stage(self, deadline: Deadline) -> None:
        """Write the file that leads to the other side beside the one in use while transactions end: disks are slow."""

        def stage() -> None:
            deadline.left()
            for side in self._places:
                text, led = self._led(side)
                if led != text:
                    stage_file(self._config, led)

        self._beside("staging", stage)

    def _beside(self, doing: str, write: Callable[[], None]) -> None:
        """Write while others wait for something else; what fails is tried again, and told, where it is needed."""
        before = self._writing

        def run() -> None:
            if before is not None:
                before.join()
            with contextlib.suppress(AuditorError):
                write()

        self._writing = threading.Thread(target=run, name=f"{doing} for {self.name}", daemon=True)
        self._writing.start()

    def _await_old_links_closed(self, deadline: Deadline) -> None:
        while old := [link for link in self._console.links(self._databases, deadline) if link["close_needed"]]:
            if time.monotonic() + POLL_SECONDS > deadline.at:
                raise Retryable(f"{self.name}: {len(old)} connections to where it led before have not ended yet")
            time.sleep(POLL_SECONDS)


def _milliseconds(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 1)


def _words(place: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in place.items())


def _shown(seen: DatabaseSeen) -> str:
    state = "paused" if seen.paused else "running"
    return f"{state}, {seen.place.get('host', 'local')}:{seen.place['port']}"
