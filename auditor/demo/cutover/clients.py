"""Live clients: each writes through a proxy, keeps every acknowledged write in a file on disk, and times its waits."""

import os
import random
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from auditor.demo.cutover import bank
from auditor.demo.database import Session, run
from comparators.errors import AuditorError
from samplers import connections

RETRY_SECONDS = 0.05
JOIN_SECONDS = 150.0
"""Longer than a pooler lets a client wait."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An error that a client saw in a transaction or while connecting."""

    client: int
    serial: int
    at: float
    """On the monotonic clock."""
    text: str
    retryable: bool
    """The connection was lost: what any client of any database must be able to repeat."""


@dataclass(frozen=True, slots=True)
class Took:
    """One transaction that was acknowledged; both times on the monotonic clock."""

    began: float
    ended: float

    @property
    def seconds(self) -> float:
        return self.ended - self.began


class LiveClients:
    """Sessions that write as fast as they may until they are told to stop."""

    def __init__(
        self, dsns: Sequence[str], folder: Path, *, clients: int = 8, pause: float = 0.005, first: int = 0
    ) -> None:
        """Prepare the clients; nothing runs yet.

        Args:
            dsns: where to write to; the clients share them in turn.
            folder: for one file a client, with a line for each acknowledged write.
            pause: seconds that each thinks between two transactions.
            first: number of the first client; no two that ever write to one ledger may have the same.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._stop = threading.Event()
        self._clients = [
            _Client(number, dsns[number % len(dsns)], folder / f"client-{number}.txt", pause, self._stop)
            for number in range(first, first + clients)
        ]

    def start(self) -> None:
        for client in self._clients:
            client.thread.start()

    def stop(self) -> None:
        """End every client after its present transaction."""
        self._stop.set()
        for client in self._clients:
            if client.thread.ident is not None:
                client.thread.join(JOIN_SECONDS)

    @property
    def acknowledged(self) -> int:
        """Transactions that were acknowledged so far."""
        return sum(client.acknowledged for client in self._clients)

    @property
    def failures(self) -> list[Failure]:
        """Every error that a client saw."""
        return [failure for client in self._clients for failure in client.failures]

    @property
    def failures_by_client(self) -> list[list[Failure]]:
        return [list(client.failures) for client in self._clients]

    def worst(self, since: float, until: float) -> float:
        """Give the longest that a client has waited for one transaction (s) that was under way in a stretch of time."""
        took = (one_ for client in self._clients for one_ in list(client.took))
        waits = [one_.seconds for one_ in took if one_.ended >= since and one_.began <= until]
        return max(waits, default=0.0)

    def all_wrote_since(self, moment: float) -> bool:
        """Say whether every client has had a transaction acknowledged that began after a moment."""
        return all(client.took and client.took[-1].began > moment for client in self._clients)


class _Client:
    def __init__(self, number: int, dsn: str, file: Path, pause: float, stop: threading.Event) -> None:
        self.number, self.acknowledged = number, 0
        self.failures: list[Failure] = []
        self.took: list[Took] = []
        self._dsn, self._file, self._pause, self._stop = dsn, file, pause, stop
        self._drawn = random.Random(number)
        self._session: Session | None = None
        self.thread = threading.Thread(target=self._run, name=f"live-client-{number}", daemon=True)

    def _run(self) -> None:
        serial = 0
        with self._file.open("ab", buffering=0) as kept:
            while not self._stop.wait(self._pause):
                serial += 1
                account, amount = self._drawn.randrange(bank.ACCOUNTS), self._drawn.randint(-100, 100)
                number = self._written(serial, account, amount)
                if number is None:
                    continue
                os.write(kept.fileno(), f"{serial} {number} {account} {amount}\n".encode())
                os.fdatasync(kept.fileno())
                self.acknowledged += 1
        self._close()

    def _written(self, serial: int, account: int, amount: int) -> int | None:
        """Write until it is acknowledged; `None` where nobody can know whether it was, or when told to stop before."""
        began = time.monotonic()
        while True:
            try:
                number = self._once(serial, account, amount)
            except _InDoubt:
                return None  # written again, it might be there twice: the next one follows
            except _Failed:
                if self._stop.wait(RETRY_SECONDS):
                    return None
            else:
                self.took.append(Took(began, time.monotonic()))
                return number

    def _once(self, serial: int, account: int, amount: int) -> int:
        opened = self._opened(serial)
        committing = False
        try:
            run(opened, "BEGIN")
            number = bank.move(opened, self.number, serial, account, amount)
            committing = True
            run(opened, "COMMIT")
        except opened.Error as error:
            raise self._failed(serial, error, in_doubt=committing) from None
        return number

    def _opened(self, serial: int) -> Session:
        if self._session is None:
            try:
                opened = connections.connect_plain(self._dsn, f"live-client-{self.number}")
            except AuditorError as error:
                raise self._failed(serial, error, in_doubt=False) from None
            self._session = cast("Session", opened)
        return self._session

    def _failed(self, serial: int, error: Exception, *, in_doubt: bool) -> "_Failed":
        state = getattr(error, "sqlstate", None)
        lost = state is None or state[:2] in ("08", "57")
        text = " ".join(str(error).split())[:200]
        self.failures.append(Failure(self.number, serial, time.monotonic(), text, lost))
        self._close()
        return _InDoubt() if in_doubt else _Failed()

    def _close(self) -> None:
        if self._session is not None:
            with suppress(self._session.Error):
                self._session.close()
        self._session = None


class _Failed(Exception):
    """A transaction was not carried out."""


class _InDoubt(_Failed):
    """It may have been carried out: its COMMIT was sent, and its answer was lost."""
