"""Warm sessions with the servers of a cutover: pinned, bounded by deadlines on both ends, their errors sorted.

Rules of this file:
1. A statement is sent once. A session that was lost is opened again only before the next statement.
2. The server gives a statement up before its deadline, so that nothing takes effect once nobody waits for it;
   this end gives it up at the deadline even where the server has stopped answering.
3. One thread uses a session at a time.
"""

import math
import os
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, LiteralString, Self

import psycopg
from psycopg import conninfo as libpq
from psycopg import sql
from psycopg.abc import PQGen

from comparators.errors import AuditorError, SettingInvalid
from comparators.server_errors import without_secrets, wrapped
from comparators.session_settings import DEFAULTS, options
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.ports import Identity

Row = tuple[Any, ...]
Statement = LiteralString | bytes | sql.SQL | sql.Composed

_PINNED = {
    "synchronous_commit": "on",  # what was done must outlive the server
    "default_transaction_read_only": "off",
    "default_transaction_isolation": r"read\ committed",
    "idle_session_timeout": "0",  # a warm session waits for its hour
    "idle_in_transaction_session_timeout": "60000",
    "lock_timeout": "0",  # the deadline says how long
}
_SHARE = 0.9
"""Of the time that is left, what a statement gets; set again only where it has become too long or too short."""
_ONLY_ASKED = 1 << 30
"""How often a statement is performed before its plan is kept, where that was not asked for."""
_LOOK_SECONDS = 0.05
"""Between two looks at the clock while a server does not answer."""
_IDENTITY = """SELECT system_identifier, current_database(), host(inet_server_addr()), inet_server_port()
FROM pg_control_system()"""


class Session:
    """One session with one server, opened when it is needed and opened again when it was lost."""

    def __init__(self, dsn: str, doing: str, *, pinned: bool = True) -> None:
        """Remember where to connect to; nothing is opened yet.

        Args:
            doing: the session's purpose; it is shown behind `auditor` as its application name, and in errors.
            pinned: false where a proxy answers that takes no settings; deadlines then hold on this end alone.
        """
        self._dsn = dsn
        self._doing = doing
        self._pinned = pinned
        self._connection: _Timed | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self, deadline: Deadline) -> None:
        """Open the session, and see that the server answers on it.

        Raises:
            SideUnavailable, NotPermitted, SettingInvalid: as `comparators.server_errors.wrapped` sorts them.
            DeadlinePassed: it took too long.
        """
        self.execute("SELECT 1", deadline=deadline)

    def close(self) -> None:
        """End the session, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def execute(self, statement: Statement, params: Sequence[Any] = (), *, deadline: Deadline) -> list[Row]:
        """Perform one statement.

        Returns:
            Its rows, none where it gives none.
        Raises:
            SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
            DeadlinePassed: it took too long; it may or may not have taken effect only where the server was lost.
        """
        connection = self._opened(deadline)
        with self._sorted(deadline):
            if self._pinned:
                connection.limit(deadline.left())
            cursor = connection.execute(statement, params or None)
            return cursor.fetchall() if cursor.description else []

    def ask(self, statement: str, params: Sequence[Any] = (), *, deadline: Deadline) -> list[Row]:
        """Perform one statement that names its parameters $1, $2 ..., and keep its plan for the next time.

        Raises:
            As `execute`.
        """
        return self.ask_all([(statement, params)], deadline=deadline)[0]

    def ask_all(self, questions: Sequence[tuple[str, Sequence[Any]]], *, deadline: Deadline) -> list[list[Row]]:
        """Perform several statements as `ask` does, without waiting for one's answer before the next is sent.

        Returns:
            The rows of each.
        Raises:
            As `execute`; what was sent before the one that failed may have taken effect.
        """
        connection = self._opened(deadline)
        with self._sorted(deadline):
            connection.limit(deadline.left())
            with connection.pipeline() if len(questions) > 1 else nullcontext():
                cursors = [
                    psycopg.RawCursor(connection).execute(statement.encode(), params or None, prepare=True)
                    for statement, params in questions
                ]
            return [cursor.fetchall() if cursor.description else [] for cursor in cursors]

    def value(self, statement: Statement, params: Sequence[Any] = (), *, deadline: Deadline) -> Any:
        """Give the first column of the only row a statement returns; `None` where it returns none.

        Raises:
            As `execute`.
        """
        rows = self.execute(statement, params, deadline=deadline)
        return rows[0][0] if rows else None

    @contextmanager
    def transaction(self, deadline: Deadline) -> Iterator[None]:
        """Perform what is executed inside as one transaction.

        Raises:
            As `execute`.
        """
        connection = self._opened(deadline)
        try:
            with self._sorted(deadline), connection.transaction():
                yield
        finally:
            connection.limited = 0.0  # a rollback takes the limit back too

    def identity(self, deadline: Deadline) -> Identity:
        """Ask the server at the other end who it is.

        Raises:
            As `execute`.
        """
        ((system, database, address, port),) = self.execute(_IDENTITY, deadline=deadline)
        here = self._opened(deadline).info
        return Identity(str(system), database, f"{address or here.host}:{port or here.port}")

    def version(self, deadline: Deadline) -> int:
        """Give the server's version, as 180004.

        Raises:
            As `execute`.
        """
        return self._opened(deadline).info.server_version

    def take_warnings(self) -> list[str]:
        """Give what the server warned of since this was asked last: a commit that no standby confirmed, for one."""
        if self._connection is None:
            return []
        found, self._connection.warned = self._connection.warned, []
        return found

    def pid(self, deadline: Deadline) -> int:
        """Give the session's process on the server.

        Raises:
            As `execute`.
        """
        return self._opened(deadline).info.backend_pid

    def _opened(self, deadline: Deadline) -> "_Timed":
        if self._connection is None or self._connection.closed:
            self._connection = self._open(deadline)
        self._connection.until = deadline
        deadline.left()
        return self._connection

    def _open(self, deadline: Deadline) -> "_Timed":
        params = self._params(deadline)
        try:
            connection = _Timed.connect(libpq.make_conninfo(**params), autocommit=True, prepare_threshold=_ONLY_ASKED)
        except psycopg.Error as error:
            message = without_secrets(str(error), params)
            raise wrapped(message, error.sqlstate, f"{self._doing}: connect") from None
        connection.warned, connection.prepared_max = [], None
        connection.add_notice_handler(connection.heed)
        return connection

    def _params(self, deadline: Deadline) -> dict[str, Any]:
        params = {**DEFAULTS, **parsed(self._dsn)}
        seconds = min(math.ceil(deadline.left()), int(params["connect_timeout"]) or math.inf)
        params |= {"application_name": f"auditor {self._doing}", "connect_timeout": str(seconds)}
        if self._pinned:
            given = params.get("options") or os.environ.get("PGOPTIONS") or ""
            params |= {"client_encoding": "UTF8", "options": options(given, _PINNED)}
        return params

    @contextmanager
    def _sorted(self, deadline: Deadline) -> Iterator[None]:
        """Raise what psycopg raises as what to do next."""
        try:
            yield
        except psycopg.errors.QueryCanceled as error:
            raise DeadlinePassed(f"{deadline.doing}: the server gave a statement of the {self._doing} up") from error
        except psycopg.Error as error:
            raise failure(error, self._doing) from error


def parsed(dsn: str) -> dict[str, Any]:
    """Take a connection string apart.

    Raises:
        SettingInvalid: it cannot be read; its text is not repeated, as it may hold the password.
    """
    try:
        return libpq.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise SettingInvalid(
            "the connection string cannot be read", hint="write it as in host=10.0.0.1 dbname=app user=auditor"
        ) from None


def failure(error: psycopg.Error, doing: str) -> AuditorError:
    """Sort an error of psycopg's by what to do next; raise the result `from` it."""
    return wrapped(error.diag.message_primary or str(error), error.sqlstate, doing)


class _Timed(psycopg.Connection[Row]):
    """A connection that stops waiting for its server at the deadline."""

    until: Deadline | None = None
    limited: float = 0.0
    """The `statement_timeout` that the session has, in seconds; 0 is not known."""

    warned: list[str]

    def heed(self, notice: psycopg.errors.Diagnostic) -> None:
        """Keep a warning."""
        if notice.severity_nonlocalized == "WARNING":
            self.warned.append(notice.message_primary or "")

    def limit(self, left: float) -> None:
        """Let the server give the next statement up before the time is over."""
        if not left / 2 <= self.limited <= left:
            self.limited = left * _SHARE
            self.execute(f"SET statement_timeout = {max(1, int(self.limited * 1000))}".encode())

    def wait(self, gen: PQGen[Any], interval: float = _LOOK_SECONDS, *args: Any, **kwargs: Any) -> Any:
        return super().wait(self._until(gen), min(interval, _LOOK_SECONDS), *args, **kwargs)

    def _until(self, gen: PQGen[Any]) -> Generator[Any, Any, Any]:
        """Drive psycopg's generator until it is done or the deadline has passed; then the session is given up."""
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if not ready and self.until is not None and time.monotonic() > self.until.at:
                    self.pgconn.finish()
                    raise DeadlinePassed(f"{self.until.doing}: the server does not answer")
                wanted = gen.send(ready)
        except StopIteration as done:
            return done.value
