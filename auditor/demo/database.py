"""Sessions of the demo itself, as the application or as the person who does the damage."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg

Session = psycopg.Connection[tuple[Any, ...]]
LostConnection = psycopg.OperationalError
DatabaseError = psycopg.Error


def connect(conninfo: str) -> Session:
    """Open a session in autocommit that waits at most ten seconds for a lock."""
    session = psycopg.connect(conninfo, autocommit=True, application_name="auditor-demo", connect_timeout=5)
    session.execute("SET lock_timeout = '10s'")
    return session


@contextmanager
def session(conninfo: str) -> Iterator[Session]:
    """Open a session and close it at the end of the block."""
    with connect(conninfo) as opened:
        yield opened


def one(opened: Session, query: str, *values: object) -> Any:
    """Return the first column of the first row, or None."""
    row = opened.execute(cast("Any", query), values or None).fetchone()
    return row[0] if row else None


def run(opened: Session, *statements: str) -> None:
    """Run statements without parameters, one after the other."""
    for statement in statements:
        opened.execute(cast("Any", statement))


def literal(opened: Session, value: str) -> str:
    """Write a text as an SQL literal, for statements that take no parameters."""
    return psycopg.sql.Literal(value).as_string(opened)


def wait_until(true: Callable[[], bool], what: str, seconds: float = 20.0, pause: float = 0.02) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: it did not come true in time; the text says what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(pause)
