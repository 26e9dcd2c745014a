"""A statement that runs while we do something else: both servers digest at the same time, and nobody needs a thread."""

import select
import time
from collections.abc import Sequence

import psycopg
from psycopg import pq

from comparators.errors import SideUnavailable
from samplers.connections import wrapped
from samplers.rows import Session, Text


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
            SideUnavailable, StatementCancelled, ...: as `samplers.connections.wrapped` sorts them.
        """
        results = []
        try:
            while (result := self._connection.get_result()) is not None:
                results.append(result)
        except psycopg.Error as error:
            raise SideUnavailable(f"the connection was lost: {error}") from error
        for result in results:
            if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
                state = result.error_field(pq.DiagnosticField.SQLSTATE)
                message = result.error_message.decode(errors="replace").strip()
                # the server's words may repeat a value: only its first line names what happened
                raise wrapped(message.splitlines()[0], state.decode() if state else None, "read rows")
        if not results:
            raise SideUnavailable("the server gave no answer")
        found = results[-1]
        return [
            tuple(found.get_value(row, column) for column in range(found.nfields)) for row in range(found.ntuples)
        ]


    def abandon(self) -> None:
        """Have the server stop, and leave the session fit for what comes next, or closed."""
        try:
            self._connection.get_cancel().cancel()
            while self._connection.get_result() is not None:
                continue
        except psycopg.Error:
            self._session.close()


def ask(session: Session, statement: str, parameters: Sequence[Text] = ()) -> list[tuple[Text, ...]]:
    """Run one statement and wait for its answer; raises as `Question.answer` does."""
    return Question(session, statement, parameters).answer()


def wait_any(questions: Sequence[Question], seconds: float) -> None:
    """Sleep until one of the servers says something, or for some time."""
    if not any(question.ready() for question in questions):
        select.select([question.socket for question in questions], [], [], seconds)
