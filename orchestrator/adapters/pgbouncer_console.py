"""PgBouncer's admin console: its answers by the names of their columns, its refusals sorted."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import psycopg

from comparators.errors import AuditorError, NeedsOperator, NotPermitted, NotReady, SettingInvalid, SideUnavailable
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline

Record = Mapping[str, Any]

_ITSELF = "pgbouncer"
"""The console's own database, which can never be paused."""


class Refused(NotReady):
    """The console refuses an order for now."""


class NotPaused(Refused):
    """There is nothing to resume."""


class WholePaused(NeedsOperator):
    """Somebody paused or suspended PgBouncer as a whole."""


@dataclass(frozen=True, slots=True)
class DatabaseSeen:
    """A database of PgBouncer's as the console shows it, its place in the words of the file."""

    paused: bool
    disabled: bool
    place: Mapping[str, str]
    pool_mode: str | None
    """None: as PgBouncer's setting says."""


class Console(Session):
    """One session with the console, opened again where it was lost: every order to it may be repeated."""

    def __init__(self, dsn: str, doing: str) -> None:
        super().__init__(dsn, doing, pinned=False)

    def warm(self, deadline: Deadline) -> None:
        """Open the session, and see that PgBouncer answers on it; raises as `say`."""
        self.say("SHOW VERSION", deadline)

    def say(self, words: str, deadline: Deadline) -> list[Record]:
        """Say something to the console.

        Raises:
            NeedsOperator: it refuses, and will again until a person has acted.
            Refused: it refuses, and may not do so later.
            SideUnavailable: it cannot be reached.
            DeadlinePassed: it did not answer in time; the session is given up, as its answer might still come.
        """
        before = self._connection
        try:
            return self._said(words, deadline)
        except SideUnavailable as error:
            if isinstance(error.__cause__, psycopg.errors.ProtocolViolation):  # how it says no
                raise _refusal(str(error.__cause__).strip(), words) from error
            if before is None or not before.closed:
                raise
            return self._said(words, deadline)

    def _said(self, words: str, deadline: Deadline) -> list[Record]:
        connection = self._opened(deadline)
        with self._sorted(deadline):
            cursor = connection.execute(words.encode())
            names = [column.name for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()] if names else []

    def databases(self, names: Collection[str], deadline: Deadline) -> dict[str, DatabaseSeen]:
        """Give those of the databases that PgBouncer has; raises as `say`."""
        return {
            record["name"]: DatabaseSeen(
                bool(record["paused"]), bool(record["disabled"]), _place(record), record["pool_mode"]
            )
            for record in self.say("SHOW DATABASES", deadline)
            if record["name"] in names
        }

    def links(self, names: Collection[str], deadline: Deadline) -> list[Record]:
        """Give PgBouncer's own connections to the servers behind the databases; raises as `say`."""
        return [record for record in self.say("SHOW SERVERS", deadline) if record["database"] in names]

    def pools(self, names: Collection[str], deadline: Deadline) -> list[Record]:
        """Give the databases' pools, one for each user; raises as `say`."""
        return [record for record in self.say("SHOW POOLS", deadline) if record["database"] in names]

    def pairs(self, what: str, deadline: Deadline) -> dict[str, str]:
        """Give what it shows as names and values (`CONFIG`, `LISTS`); raises as `say`."""
        return {
            str(name): str(value) for name, value, *_ in (one.values() for one in self.say(f"SHOW {what}", deadline))
        }

    def whole_paused(self, deadline: Deadline) -> bool:
        """Say whether somebody paused PgBouncer as a whole, which `SHOW DATABASES` does not tell.

        Raises:
            NotPermitted: this user may look, but not order.
            SideUnavailable, DeadlinePassed: as `say`.
        """
        try:
            # never obeyed: it says first whether it takes orders from this user, then whether it is paused already
            self.say(f"PAUSE {_ITSELF}", deadline)
        except WholePaused:
            return True
        except Refused:
            pass
        return False


def quoted(database: str) -> str:
    """Write a database's name for the console."""
    return '"' + database.replace('"', '""') + '"'


def _place(record: Record) -> dict[str, str]:
    shown = {"host": "host", "port": "port", "dbname": "database", "user": "force_user"}
    return {key: str(record[column]) for key, column in shown.items() if record[column] is not None}


def _refusal(answer: str, words: str) -> AuditorError:
    said = f"PgBouncer's console refuses {words.split()[0]}: {answer}"
    if "is not paused" in answer:
        return NotPaused(said)
    if "already suspended/paused" in answer:
        return WholePaused(said, hint="somebody paused PgBouncer as a whole: say RESUME on its console")
    if "admin access needed" in answer:
        return NotPermitted(said, hint="add the user of `admin` to admin_users in PgBouncer's file")
    if "no such database" in answer:
        return SettingInvalid(said, hint="name databases as PgBouncer's file has them below [databases]")
    return Refused(said)
