"""A statement that runs while we do something else: both servers digest at the same time, and nobody needs a thread."""

import select
import time
from collections.abc import Sequence

import psycopg

from comparators.errors import SideUnavailable
from samplers.rows import Session, Text, texts_of


class Question:
    """One statement on its way, on a session that does nothing else until its answer was taken."""

    def __init__(self, session: Session, statement: str, parameters: Sequence[Text] = ()) -> None:
        """Send the statement.

        Raises:
            SideUnavailable: the connection is lost.
        """
        self._session = session
        self._connection = session.pgconn
        self.asked_at = time.monotonic()
        try:
            self._connection.send_query_params(statement.encode(), list(parameters))
            self._connection.flush()
        except psycopg.Error as error:
            raise SideUnavailable(f"the connection was lost: {error}") from error

    @property
    def socket(self) -> int:
        return int(self._connection.socket)

    def ready(self) -> bool:
        """Say whether the answer is here, without waiting."""
        try:
            while self._connection.is_busy():
                if not select.select([self.socket], [], [], 0)[0]:
                    return False
                self._connection.consume_input()
        except (psycopg.Error, OSError, ValueError) as error:
            raise SideUnavailable(f"the connection was lost: {error}") from error
        return True

    def answer(self) -> list[tuple[Text, ...]]:
        """Wait for the answer and take it.

        Raises:
            SideUnavailable, StatementCancelled, ...: as `comparators.server_errors.wrapped` sorts them.
        """
        results = []
        try:
            while (result := self._connection.get_result()) is not None:
                results.append(result)
        except psycopg.Error as error:
            raise SideUnavailable(f"the connection was lost: {error}") from error
        if not results:
            raise SideUnavailable("the server gave no answer")
        return [texts_of(result, "read rows") for result in results][-1]

    def abandon(self) -> None:
        """Have the server stop, and leave the session fit for what comes next, or closed."""
        try:
            self._connection.get_cancel().cancel()
            while self._connection.get_result() is not None:
                continue
        except psycopg.Error:
            self._session.close()


def wait_any(questions: Sequence[Question], seconds: float) -> None:
    """Sleep until one of the servers says something, or for some time."""
    if not any(question.ready() for question in questions):
        select.select([question.socket for question in questions], [], [], seconds)
