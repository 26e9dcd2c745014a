"""A side with applications on it, for tests of the fence: its roles, their sessions, writers that go on and on."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
from psycopg import conninfo

from auditor.servers import PostgresServer
from comparators.positions import Side
from orchestrator.adapters.fence import DatabaseFence
from orchestrator.adapters.fence_roles import Choice
from orchestrator.deadlines import Deadline
from tests.helpers import Database, unique_name


def soon(seconds: float = 30) -> Deadline:
    return Deadline.within(seconds, "the test")


class Notes:
    """Remembers a fence's roles, as the journal would, and in which order it was asked to."""

    def __init__(self) -> None:
        self.roles: dict[Side, list[str]] = {}

    def remember(self, side: Side, roles: Sequence[str]) -> None:
        self.roles[side] = sorted({*self.remembered(side), *roles})

    def remembered(self, side: Side) -> list[str]:
        return self.roles.get(side, [])

    def forget(self, side: Side) -> None:
        self.roles.pop(side, None)


class Fenced:
    """One database with a control role and an application's role, both removed with it."""

    def __init__(self, server: PostgresServer) -> None:
        self.server = server
        self.database = Database(server, unique_name())
        self.notes = Notes()
        self.roles: list[str] = []
        self._closing = contextlib.ExitStack()
        self.database.create()
        self.control = self.role("control", "CREATEROLE LOGIN")
        self.app = self.role("app", "LOGIN")
        self.admin(f"GRANT pg_signal_backend, pg_read_all_stats TO {self.control}")
        if server.major >= 16:
            self.admin(f"GRANT {self.app} TO {self.control} WITH ADMIN OPTION")
        self.database.execute("CREATE TABLE written (id bigserial PRIMARY KEY, by text)")
        self.database.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC")
        self.database.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO PUBLIC")
        self.database.close()

    def admin(self, statement: str) -> list[tuple[Any, ...]]:
        """Perform a statement as superuser, from another database, so that the fence does not mind."""
        with psycopg.connect(self.server.dsn(), autocommit=True) as session:
            cursor = session.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def role(self, prefix: str, options: str) -> str:
        """Make a role that lives as long as the database."""
        name = unique_name(prefix)
        self.admin(f"CREATE ROLE {name} {options} PASSWORD 'hush'")
        self.roles.append(name)
        return name

    def dsn(self, role: str | None = None, application: str = "") -> str:
        """Give the connection string of a role; of the superuser without one."""
        more = {} if role is None else {"user": role, "password": "hush"}
        return conninfo.make_conninfo(self.database.dsn, application_name=application, **more)

    def connect(self, role: str | None = None, **options: Any) -> psycopg.Connection[Any]:
        """Open a session that is closed with the database at the latest."""
        connection = psycopg.connect(self.dsn(role), **{"autocommit": True, **options})
        self._closing.callback(connection.close)
        return connection

    def fence(self, role: str | None = "control", **choice: Any) -> DatabaseFence:
        """Make a fence, by the control role unless told otherwise (`None`: the superuser)."""
        dsn = self.dsn(self.control if role == "control" else role)
        fence = DatabaseFence(Side.SOURCE, dsn, self.notes, Choice(**choice))
        self._closing.callback(fence.close_sessions)
        return fence

    def logs_in(self, role: str) -> bool:
        ((answer,),) = self.admin(f"SELECT rolcanlogin FROM pg_roles WHERE rolname = '{role}'")
        return bool(answer)

    def count(self) -> int:
        """Count the rows written, by a look that is over at once."""
        with psycopg.connect(self.dsn(), autocommit=True) as session:
            row = session.execute("SELECT count(*) FROM written").fetchone()
        assert row is not None
        return int(row[0])

    @contextlib.contextmanager
    def writing(self, clients: int) -> Iterator["Writers"]:
        """Let clients write without a pause until the block is over, and connect again when they are thrown out."""
        writers = Writers(self.dsn(self.app))
        threads = [threading.Thread(target=writers.run, daemon=True) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield writers
        finally:
            writers.stop.set()
            for thread in threads:
                thread.join()

    def remove(self) -> None:
        self._closing.close()
        self.database.drop()
        for role in self.roles:
            self.admin(f"DROP OWNED BY {role}")
            self.admin(f"DROP ROLE {role}")


class Writers:
    """What busy clients did: acknowledged writes, and refusals."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.stop = threading.Event()
        self._lock = threading.Lock()
        self.acknowledged = 0
        self.refused = 0

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with psycopg.connect(self._dsn, autocommit=True) as session:
                    self._write(session)
            except psycopg.Error:
                with self._lock:
                    self.refused += 1
                time.sleep(0.002)

    def _write(self, session: psycopg.Connection[Any]) -> None:
        while not self.stop.is_set():
            session.execute("INSERT INTO written (by) VALUES ('client')")
            with self._lock:
                self.acknowledged += 1
