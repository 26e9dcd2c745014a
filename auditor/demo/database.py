"""Sessions of the demo itself, as the application or as the person who does the damage."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol, cast

from samplers import connections


class Session(Protocol):
    """As much of psycopg's connection as the demo uses; psycopg itself belongs to the samplers."""

    @property
    def Error(self) -> type[Exception]:
        """Every error that the server or the connection can raise."""

    def execute(self, query: Any, values: Any = None) -> Any: ...
    def pipeline(self) -> AbstractContextManager[Any]: ...
    def close(self) -> None: ...


def connect(conninfo: str) -> Session:
    """Open a session in autocommit that waits at most ten seconds for a lock.

    Raises:
        AuditorError: the server cannot be reached, or refuses.
    """
    opened = connections.connect(conninfo, application_name="auditor-demo", statement_seconds=60, lock_seconds=10)
    opened.execute("SET search_path = public")
    return cast("Session", opened)


@contextmanager
def session(conninfo: str) -> Iterator[Session]:
    """Open a session and close it at the end of the block."""
    opened = connect(conninfo)
    try:
        yield opened
    finally:
        opened.close()


def one(opened: Session, query: str, *values: object) -> Any:
    """Return the first column of the first row, or None."""
    row = opened.execute(query, values or None).fetchone()
    return row[0] if row else None


def run(opened: Session, *statements: str) -> None:
    """Run statements without parameters, one after the other."""
    for statement in statements:
        opened.execute(statement)


def literal(opened: Session, value: str) -> str:
    """Write a text as an SQL literal, for statements that take no parameters."""
    return str(one(opened, "SELECT quote_literal(%s::text)", value))


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
