"""Open connections whose sessions print every value the same way, and sort what goes wrong into our errors."""

import os
from typing import Any

import psycopg
from psycopg import conninfo as libpq
from psycopg import generators, waiting
from psycopg.pq.abc import PGconn

from comparators.errors import AuditorError, SettingInvalid
from comparators.server_errors import without_secrets, wrapped
from comparators.session_settings import DEFAULTS, options

STATEMENT_SECONDS = 10
LOCK_SECONDS = 2
_WAIT_SECONDS = 0.1
"""Between two looks at whether Ctrl-C was pressed while connecting."""


def connect(
    conninfo: str, *, application_name: str = "auditor", statement_seconds: float = STATEMENT_SECONDS,
    lock_seconds: float = LOCK_SECONDS,
) -> psycopg.Connection:  # fmt: skip
    """Open an autocommit session with everything pinned.

    Args:
        conninfo: libpq connection string; its own `options` stay, but for what is pinned.
        statement_seconds, lock_seconds: 0 is no limit.
    Raises:
        SideUnavailable: try again later.
        NotPermitted: the role may not connect.
        SettingInvalid: the connection string is wrong.
    """
    limits = {
        "statement_timeout": f"{int(statement_seconds * 1000)}",
        "lock_timeout": f"{int(lock_seconds * 1000)}",
        "idle_in_transaction_session_timeout": "60000",
    }
    pinned = pinned_conninfo(conninfo, application_name, limits)
    try:
        return psycopg.Connection.connect(pinned, autocommit=True)
    except psycopg.Error as error:
        raise wrapped(_without_secrets(str(error), pinned), error.sqlstate, "connect") from None


def connect_unpinned(like: psycopg.Connection, application_name: str) -> psycopg.Connection:
    """Open a session beside another of ours, on its server and as its role, in which no setting is pinned.

    What such a session gets is what the server gives applications; names in it mean what the user's `search_path` says.

    Raises:
        SideUnavailable, NotPermitted: as `connect`.
    """
    given = {option.keyword.decode(): option.val.decode() for option in like.pgconn.info if option.val is not None}
    here = {"host": like.info.host, "hostaddr": like.info.hostaddr, "port": str(like.info.port)}
    given.update({name: value for name, value in here.items() if value})
    given.update(application_name=application_name, options="")  # empty: PGOPTIONS does not count either
    plain = libpq.make_conninfo(**given)
    try:
        return psycopg.Connection.connect(plain, autocommit=True)
    except psycopg.Error as error:
        raise wrapped(_without_secrets(str(error), plain), error.sqlstate, "connect") from None


def connect_plain(conninfo: str, application_name: str) -> psycopg.Connection:
    """Open a session as an application would that goes through a pooler: nothing pinned, nothing prepared, autocommit.

    Raises:
        SideUnavailable, NotPermitted, SettingInvalid: as `connect`.
    """
    try:
        plain = libpq.make_conninfo(conninfo, application_name=application_name)
        opened = psycopg.Connection.connect(plain, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise wrapped(_without_secrets(str(error), conninfo), error.sqlstate, "connect") from None
    return opened


def connect_replication(conninfo: str, *, application_name: str = "auditor") -> PGconn:
    """Open a connection that speaks the replication protocol, with the same settings pinned.

    Raises:
        SideUnavailable, NotPermitted, SettingInvalid: as `connect`.
    """
    pinned = pinned_conninfo(conninfo, application_name, {}, replication="database")
    seconds = float(libpq.conninfo_to_dict(pinned)["connect_timeout"] or 0)
    try:
        # not PGconn.connect: that one would hold up every thread of the process for as long as a dead host takes
        connection: PGconn = waiting.wait_conn(generators.connect(pinned), _WAIT_SECONDS, timeout=seconds or None)
    except psycopg.Error as error:
        raise wrapped(_without_secrets(str(error), pinned), error.sqlstate, "connect for replication") from None
    connection.nonblocking = 0
    return connection


def pinned_conninfo(conninfo: str, application_name: str, extra: dict[str, str], **more: str) -> str:
    """Add the pinned settings to a connection string.

    Args:
        extra: server settings to pin besides.
        more: connection parameters to set besides.
    Raises:
        SettingInvalid: it cannot be read; its text is not repeated, as it may hold the password.
    """
    try:
        params: dict[str, Any] = libpq.conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        raise SettingInvalid(
            "the connection string cannot be read", hint="write it as in host=10.0.0.1 dbname=app user=auditor"
        ) from None
    given = params.get("options") or os.environ.get("PGOPTIONS") or ""
    params["options"] = options(given, extra)
    ours = {"client_encoding": "UTF8", "application_name": application_name, **more}
    settings: dict[str, Any] = {**DEFAULTS, **params, **ours}
    return libpq.make_conninfo(**settings)


def _without_secrets(message: str, conninfo: str) -> str:
    return without_secrets(message, libpq.conninfo_to_dict(conninfo))


def failure(error: psycopg.Error, doing: str) -> AuditorError:
    """Sort an error of psycopg's by what to do next; raise the result `from` it."""
    message = error.diag.message_primary or str(error)
    return wrapped(message, error.sqlstate, doing)
