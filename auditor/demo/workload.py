"""Put load on the source: a few clients, each with its own session and its own stream of transactions."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress

from auditor.demo.database import Session, connect, one, run, session
from auditor.demo.transactions import Client, Ending, Script, Statement
from comparators.errors import AuditorError

LARGE_EVERY_SECONDS = 8.0
NEW_DAY_EVERY_SECONDS = 5.0
LONG_EVERY_SECONDS = 7.0
BACKLOG_SECONDS = 0.2
"""How far a client may fall behind its rate and still catch up; more is forgotten, so that no burst follows a stall."""
ATTEMPTS = 100
RETRY_SECONDS = 0.2
UNIQUE_VIOLATION = "23505"


class Workload:
    """Clients that write until they are told to stop; a source that goes away is waited for."""

    def __init__(self, source: str, *, clients: int = 2, rate: float = 400.0, seed: int = 1) -> None:
        """Prepare the clients.

        Args:
            source: conninfo of the database to write to.
            clients: sessions that share the rate; one more runs the long transactions.
            rate: transactions a second in all.
            seed: makes every client's transactions the same again.
        """
        self._source = source
        self._stop = threading.Event()
        self._counts = [0] * (clients + 1)
        self._problems: list[str] = []
        prepared = _prepared_allowed(source)
        drawn = [Client(number, clients + 1, seed, prepared=prepared) for number in range(clients + 1)]
        calls: list[tuple[Callable[[Client, int], None], Client]] = [(self._steady, one_) for one_ in drawn[:-1]]
        calls.append((self._slow, drawn[-1]))
        self._pause = clients / rate
        self._threads = [
            threading.Thread(target=self._guarded, args=(call, client, number), name=f"client-{number}", daemon=True)
            for number, (call, client) in enumerate(calls)
        ]

    @property
    def committed(self) -> int:
        """Transactions that were committed so far."""
        return sum(self._counts)

    @property
    def problems(self) -> list[str]:
        """What stopped a client before its time."""
        return list(self._problems)

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End every client after its present transaction."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(timeout=20)

    def _guarded(self, call: Callable[[Client, int], None], client: Client, number: int) -> None:
        try:
            call(client, number)
        except Exception as error:  # a thread has nobody else to tell
            self._problems.append(f"client {number}: {type(error).__name__}: {error}")

    def _steady(self, client: Client, number: int) -> None:
        """Run transactions at the client's share of the rate, with a rare one in between."""
        runner = _Runner(self._source, self._stop)
        rare, every = (client.new_day, NEW_DAY_EVERY_SECONDS) if number == 0 else (client.large, LARGE_EVERY_SECONDS)
        due = time.monotonic()
        next_rare = due + 1.0
        while not self._stop.is_set():
            if due >= next_rare:
                self._counts[number] += runner.run(rare())
                next_rare += every
            self._counts[number] += runner.run(next(client))
            due = max(due + self._pause, time.monotonic() - BACKLOG_SECONDS)
            self._stop.wait(max(0.0, due - time.monotonic()))
        runner.close()

    def _slow(self, client: Client, number: int) -> None:
        """Leave a transaction open now and then."""
        runner = _Runner(self._source, self._stop)
        while not self._stop.wait(LONG_EVERY_SECONDS):
            self._counts[number] += runner.run(client.long())
        runner.close()


class _Runner:
    """One session that carries out scripts, and a new session when the server went away."""

    def __init__(self, source: str, stop: threading.Event) -> None:
        self._source = source
        self._stop = stop
        self._session: Session | None = None
        self._serial = 0

    def run(self, script: Script) -> int:
        """Carry out a transaction; say how many were committed (0 or 1)."""
        for _ in range(ATTEMPTS):
            problem = self._try(script)
            if problem is None:
                return int(script.ending is not Ending.ROLLBACK)
            self.close()  # also after a failed statement: what a broken pipeline had prepared is not known
            if getattr(problem, "sqlstate", None) == UNIQUE_VIOLATION:
                return 1  # committed just before the connection was lost
            if self._stop.wait(RETRY_SECONDS):
                return 0
        return 0

    def _try(self, script: Script) -> Exception | None:
        """Carry out a transaction and return what went wrong."""
        try:
            self._session = self._session or connect(self._source)
        except AuditorError as error:
            return error
        try:
            self._once(self._session, script)
        except self._session.Error as error:
            return error
        return None

    def close(self) -> None:
        if self._session is not None:
            with suppress(self._session.Error):
                self._session.close()
        self._session = None

    def _once(self, opened: Session, script: Script) -> None:
        *first, last = script.statements
        with opened.pipeline() as pipeline:
            opened.execute("BEGIN")
            _queue(opened, first)
            if script.pause_seconds:
                pipeline.sync()
                self._stop.wait(script.pause_seconds)
            _queue(opened, [last])
            self._end(opened, script.ending)

    def _end(self, opened: Session, ending: Ending) -> None:
        if ending is Ending.PREPARE:
            self._serial += 1
            name = f"demo-{id(self)}-{self._serial}"
            run(opened, f"PREPARE TRANSACTION '{name}'", f"COMMIT PREPARED '{name}'")
        else:
            opened.execute("COMMIT" if ending is Ending.COMMIT else "ROLLBACK")


def _queue(opened: Session, statements: "list[Statement]") -> None:
    for text, values in statements:
        opened.execute(text.encode(), values)


def _prepared_allowed(source: str) -> bool:
    """Ask whether the server takes prepared transactions."""
    with session(source) as opened:
        return int(one(opened, "SELECT current_setting('max_prepared_transactions')")) > 0
