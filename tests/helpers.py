"""What several tests share: deadlines, unique names, databases that clean up behind themselves."""

import asyncio
import contextlib
import itertools
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from auditor.servers import PostgresServer

Answer = TypeVar("Answer")
POLL_SECONDS = 0.02
PATIENCE = 4.0
"""Deadlines are given for an ordinary machine; a crowded one takes so many times longer, and only failures wait so."""

_numbers = itertools.count(1)


def unique_name(prefix: str = "t") -> str:
    """Make a name that no other test of this run or of another run at the same time has."""
    return f"{prefix}_{os.getpid()}_{next(_numbers)}"


def wait_for(condition: Callable[[], Answer], seconds: float, what: str) -> Answer:
    """Ask until the answer is true, and return it; fail with the last answer at the deadline."""
    deadline = time.monotonic() + PATIENCE * seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE * seconds} s for {what}; last seen: {answer!r}")
        time.sleep(POLL_SECONDS)
    return answer


async def wait_for_async(condition: Callable[[], Awaitable[Answer] | Answer], seconds: float, what: str) -> Answer:
    """Do as `wait_for` does, without holding up the event loop."""
    deadline = time.monotonic() + PATIENCE * seconds
    while True:
        answer = condition()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE * seconds} s for {what}; last seen: {answer!r}")
        await asyncio.sleep(POLL_SECONDS)


class Database:
    """One database on one server; closes the connections it gave out when it is dropped."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self.server, self.name = server, name
        self._connections = contextlib.ExitStack()
        self._own: psycopg.Connection[Any] | None = None
        self._own_server: int | None = None

    @property
    def dsn(self) -> str:
        return self.server.dsn(self.name)

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """Open a connection (autocommit unless told otherwise) that is closed with the database at the latest."""
        connection = psycopg.connect(self.dsn, **{"autocommit": True, **options})
        self._connections.callback(connection.close)
        return connection

    def execute(self, statement: str, *parameters: Any) -> psycopg.Cursor[Any]:
        """Run one statement, or without parameters several, in autocommit."""
        if self._own is None or self._own.closed or self._own_server != self.server.pid:  # it was restarted since
            self._own, self._own_server = self.connect(), self.server.pid
        return self._own.execute(statement, parameters or None)  # type: ignore[call-overload]

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return self.execute(query, *parameters).fetchall()

    def value(self, query: str, *parameters: Any) -> Any:
        """Return the first column of the first row, or None where there is no row."""
        row = self.execute(query, *parameters).fetchone()
        return row[0] if row else None

    def close(self) -> None:
        """Close every connection that was given out."""
        self._connections.close()

    def create(self) -> None:
        with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(self.name)))

    def drop(self) -> None:
        """Drop it with its subscriptions and slots, whatever state they are in."""
        self.close()
        self.server.start()
        if self._exists():
            with psycopg.connect(self.dsn, autocommit=True) as connection:
                _drop_subscriptions(connection)
            with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
                _drop_slots(admin, self.name)
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))

    def _exists(self) -> bool:
        with psycopg.connect(self.server.dsn(), autocommit=True) as admin:
            return admin.execute("SELECT FROM pg_database WHERE datname = %s", [self.name]).fetchone() is not None


@contextlib.contextmanager
def commits_wait(database: Database) -> Iterator[None]:
    """Let every commit wait for a standby that never comes: it is in the log, and nobody sees it."""
    quiet = database.connect(options="-c synchronous_commit=local")
    quiet.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
    quiet.execute("SELECT pg_reload_conf()")
    try:
        # sessions read the setting each when they get to it, and commits wait only once the checkpointer has read it
        wait_for(lambda: _waits(database, quiet), 10, "commits to wait")
        yield
    finally:
        quiet.execute("ALTER SYSTEM RESET synchronous_standby_names")
        quiet.execute("SELECT pg_reload_conf()")


def _waits(database: Database, quiet: psycopg.Connection[Any]) -> bool:
    """Say whether a commit of now waits; it is let go."""
    with database.connect() as connection:
        pid = connection.info.backend_pid
        commit = threading.Thread(target=connection.execute, args=("SELECT pg_logical_emit_message(true, 'test', '')",))
        commit.start()
        seen = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event = 'SyncRep')"
        wait_for(lambda: not commit.is_alive() or quiet.execute(seen, [pid]).fetchone() == (True,), 10, "an end")
        waits = commit.is_alive()
        quiet.execute("SELECT pg_cancel_backend(%s)", [pid])
        commit.join()
        return waits


class Pair:
    """A source and a target database of one name, and the native replication between them."""

    def __init__(self, source: PostgresServer, target: PostgresServer) -> None:
        self.name = unique_name()
        self.source, self.target = Database(source, self.name), Database(target, self.name)
        self.publication, self.subscription = f"{self.name}_pub", f"{self.name}_sub"

    def __enter__(self) -> "Pair":
        self.source.create()
        self.target.create()
        return self

    def close(self) -> None:
        """Close the connections only, for servers that are about to be removed whole."""
        self.source.close()
        self.target.close()

    def __exit__(self, *_: object) -> None:
        with contextlib.ExitStack() as both:
            both.callback(self.source.drop)
            both.callback(self.target.drop)  # called first: the subscription's slot is then free

    def execute(self, statement: str) -> None:
        """Run the same statement on both sides, as for a schema."""
        self.source.execute(statement)
        self.target.execute(statement)

    def replicate(
        self,
        tables: str = "ALL TABLES",
        *,
        copy_data: bool = True,
        publish: str | None = None,
        publication: str | None = None,
        subscription: str | None = None,
        **options: str | bool,
    ) -> None:
        """Publish and subscribe, and wait until every table is ready and the apply worker runs.

        Args:
            tables: what follows FOR, as in "TABLE a, b" or "TABLES IN SCHEMA s".
            publish: the publication's operations, and other options of it, as in "publish = 'insert'".
            publication, subscription: names other than the pair's own, for a second one.
            options: more of the subscription, as in streaming="parallel".
        """
        publication, subscription = publication or self.publication, subscription or self.subscription
        with_ = f" WITH ({publish})" if publish else ""
        self.source.execute(f'CREATE PUBLICATION "{publication}" FOR {tables}{with_}')
        settings = {"copy_data": copy_data, "slot_name": subscription, **options}
        self.target.execute(
            f"CREATE SUBSCRIPTION \"{subscription}\" CONNECTION '{self.source.dsn}' PUBLICATION \"{publication}\""
            f" WITH ({', '.join(f'{name} = {_literal(value)}' for name, value in settings.items())})"
        )
        wait_for(lambda: self.ready(subscription), 60, f"the initial copy of {subscription}")

    def ready(self, subscription: str | None = None) -> bool:
        """Say whether all tables of a subscription are copied and its apply worker runs."""
        return bool(
            self.target.value(
                "SELECT EXISTS (SELECT FROM pg_stat_subscription w WHERE w.subid = s.oid AND w.pid IS NOT NULL)"
                " AND NOT EXISTS (SELECT FROM pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srsubstate <> 'r')"
                " FROM pg_subscription s WHERE s.subname = %s"
                " AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
                subscription or self.subscription,
            )
        )

    def catch_up(self, subscription: str | None = None, seconds: float = 60) -> None:
        """Wait until the target has applied everything that the source has committed by now."""
        position = self.source.value("SELECT pg_current_wal_insert_lsn()")
        wait_for(
            lambda: self.source.value(
                "SELECT replay_lsn >= %s::pg_lsn FROM pg_stat_replication WHERE application_name = %s",
                position,
                subscription or self.subscription,
            ),
            seconds,
            f"the target to apply {position}",
        )
        # A target that was killed may have forgotten a finished copy: it copies again, and apply waits for that.
        wait_for(lambda: self.ready(subscription), seconds, f"the tables of {subscription or self.subscription}")


def _literal(value: str | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else f"'{value}'"


def _drop_subscriptions(connection: psycopg.Connection[Any]) -> None:
    names = connection.execute(
        "SELECT subname FROM pg_subscription"
        " WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ).fetchall()
    for (name,) in names:
        for statement in ("ALTER SUBSCRIPTION {} DISABLE", "ALTER SUBSCRIPTION {} SET (slot_name = NONE)"):
            connection.execute(sql.SQL(statement).format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP SUBSCRIPTION {}").format(sql.Identifier(name)))


def _drop_slots(admin: psycopg.Connection[Any], database: str) -> None:
    """Drop a database's slots; whoever reads one is ended first, again and again as a reader may reconnect."""

    def dropped() -> bool:
        slots = admin.execute(
            "SELECT slot_name, active_pid FROM pg_replication_slots WHERE database = %s", [database]
        ).fetchall()
        for name, reader in slots:
            with contextlib.suppress(psycopg.errors.ObjectInUse, psycopg.errors.UndefinedObject):
                if reader is not None:
                    admin.execute("SELECT pg_terminate_backend(%s)", [reader])
                else:
                    admin.execute("SELECT pg_drop_replication_slot(%s)", [name])
        return not slots

    wait_for(dropped, 30, f"the slots of {database} to be free")
