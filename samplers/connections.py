"""Open connections whose sessions print every value the same way, and sort what goes wrong into our errors."""

import os
from typing import Any

import psycopg
from psycopg import conninfo as libpq
from psycopg import generators, waiting
from psycopg.pq.abc import PGconn

from comparators.errors import (
    AuditorError,
    NeedsOperator,
    NotPermitted,
    NotReady,
    PositionLost,
    Retryable,
    SettingInvalid,
    SideUnavailable,
)

PINNED = {
    "datestyle": "ISO,YMD",
    "intervalstyle": "postgres",
    "timezone": "UTC",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "C",
    "xmlbinary": "base64",
    "search_path": "pg_catalog,pg_temp",
    "row_security": "off",
}
"""Settings on which the text of a value depends, and those that decide what a name or a read means."""

_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""What the user's connection string may say otherwise; a host that vanishes is noticed within half a minute."""

STATEMENT_SECONDS = 10
LOCK_SECONDS = 2
_WAIT_SECONDS = 0.1
"""Between two looks at whether Ctrl-C was pressed while connecting."""


class StatementCancelled(Retryable):
    """A statement took longer than it may, or was cancelled; ask again, later or for less."""


class Locked(StatementCancelled):
    """Somebody holds a lock that every read of the table waits for; asking for less does not help."""


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
    params["options"] = _options(params, extra)
    ours = {"client_encoding": "UTF8", "application_name": application_name, **more}
    settings: dict[str, Any] = {**_DEFAULTS, **params, **ours}
    return libpq.make_conninfo(**settings)


def _options(params: dict[str, Any], extra: dict[str, str]) -> str:
    """Put the pinned settings behind the user's own `options`, so that they win."""
    given = params.get("options") or os.environ.get("PGOPTIONS") or ""
    pinned = " ".join(f"-c {name}={value}" for name, value in {**PINNED, **extra}.items())
    return f"{given} {pinned}".strip()


def _without_secrets(message: str, conninfo: str) -> str:
    """Blot out what must not be shown, should libpq ever repeat it."""
    params = libpq.conninfo_to_dict(conninfo)
    for key in ("password", "sslpassword", "oauth_client_secret"):
        if secret := params.get(key):
            message = message.replace(str(secret), "***")
    for key in ("host", "dbname"):  # an @ in a password that is not written as %40 leaves the rest of it there
        if "@" in (value := str(params.get(key) or "")):
            message = message.replace(value, "***")
    return message


def failure(error: psycopg.Error, doing: str) -> AuditorError:
    """Sort an error of psycopg's by what to do next; raise the result `from` it."""
    message = error.diag.message_primary or str(error)
    return wrapped(message, error.sqlstate, doing)


def wrapped(message: str, sqlstate: str | None, doing: str) -> AuditorError:
    """Sort a server's error by what to do next.

    Args:
        message: the server's or libpq's words; they hold no password.
        sqlstate: five letters, or `None` where libpq does not tell it, as while connecting.
        doing: what was tried, for people.
    """
    text = f"{doing}: {' '.join(message.split())}"
    state = sqlstate or _guessed(message)
    for sort in (_rights, _position, _patience, _settings):
        if (found := sort(state, message, text)) is not None:
            return found
    return SideUnavailable(text)


_WORDS = {
    "password authentication failed": "28P01",
    "authentication failed": "28000",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    "is not permitted to log in": "28000",
    "permission denied": "42501",
}
"""While connecting, libpq keeps the SQLSTATE to itself; a server that speaks another language is merely asked again."""


def _guessed(message: str) -> str:
    for words, state in _WORDS.items():
        if words in message:
            return state
    missing = "does not exist" in message
    return "3D000" if missing and 'database "' in message else "28000" if missing and 'role "' in message else ""


def _rights(state: str, message: str, text: str) -> AuditorError | None:
    if state == "42501":
        return NotPermitted(text, hint="grant the role what docs/security.md lists")
    if state[:2] == "28":
        return NotPermitted(text, hint="check user and password reference of this side, and pg_hba.conf")
    return None


def _position(state: str, message: str, text: str) -> AuditorError | None:
    if state == "42704" and "publication" in message:
        return NeedsOperator(text, hint="run `auditor prepare`; it says what is missing")
    if state in ("42704", "55000") and "replication slot" in message:
        return PositionLost(text, hint="run `auditor prepare --new-baseline`")
    if state == "58P01" or "can no longer get changes" in message:
        return PositionLost(text, hint="run `auditor prepare --new-baseline`")
    return None


def _patience(state: str, message: str, text: str) -> AuditorError | None:
    if state == "55P03":
        return Locked(text)
    if state in ("57014", "25P03", "57P05"):
        return StatementCancelled(text)
    if state == "55006" or state[:2] == "40":
        return NotReady(text)
    return None


def _settings(state: str, message: str, text: str) -> AuditorError | None:
    if state == "3D000":
        return SettingInvalid(text, hint="name an existing database in the dsn")
    if state == "25006":
        return SettingInvalid(text, hint="let the dsn name the primary server, and a role that may write")
    return None
