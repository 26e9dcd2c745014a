"""The records: what one process of a migration lets the others know, by key, newest value only.

Two homes with one contract: a SQLite file when all processes share a host, a compacted Kafka topic when they do not.
Each key has one writer; anybody reads. A reader asks what changed since it asked last.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from auditor.settings import Settings
from comparators.errors import Defect, StoreUnavailable

Value = dict[str, Any]

BUSY_SECONDS = 5.0
"""How long SQLite waits for another process; a write takes milliseconds, so longer means a stuck disk."""


class NotStorable(Defect):
    """A value is not JSON: NaN, an infinity, or a type that JSON does not know."""


class Records(Protocol):
    """One process's view of the records. Thread-safe; two readers in a process open one each."""

    def put(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Store values; `None` deletes. Durable once it returns.

        Raises:
            StoreUnavailable: nothing is known about what was stored; put the same again.
            NotStorable: a value is not JSON; nothing was stored.
        """

    def changes(self) -> dict[str, Value | None]:
        """Give everything at the first call, later what was put or deleted (`None`) since the call before.

        Raises:
            StoreUnavailable: nothing is lost; the next call gives it.
        """

    def close(self) -> None:
        """Let go of files and connections."""


def open_records(settings: Settings) -> Records:
    """Open the records of a migration where its transport keeps them.

    Raises:
        StoreUnavailable: they cannot be reached now.
    """
    if settings.transport is None:
        return SqliteRecords(settings.open_state_dir() / "records.sqlite")
    from auditor.kafka_records import KafkaRecords  # 20 MB and 0.3 s, which who has no broker need not pay

    return KafkaRecords(settings.transport, settings.names.topics.records)


def encode_value(value: Mapping[str, Any]) -> str:
    """Write a value as JSON that any reader takes: sorted keys, no NaN.

    Raises:
        NotStorable: it cannot be written so.
    """
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise NotStorable(f"a record is not JSON: {error}") from error
    return text


def encode_items(items: Mapping[str, Mapping[str, Any] | None]) -> list[tuple[str, str | None]]:
    """Encode what a put is given, all of it before any is stored."""
    return [(key, None if value is None else encode_value(value)) for key, value in items.items()]


SCHEMA = """
CREATE TABLE IF NOT EXISTS records (
    key TEXT PRIMARY KEY,
    version INTEGER NOT NULL,  -- of the put that wrote it, one higher than the put before
    value TEXT                 -- NULL: deleted; kept so that every reader hears of it
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_by_version ON records (version);
"""
PUT = """
INSERT INTO records VALUES (?, ?, ?)
ON CONFLICT (key) DO UPDATE SET version = excluded.version, value = excluded.value
"""


class SqliteRecords:
    """Records in a file that the processes of one host share.

    A put is one transaction that holds SQLite's only write lock, so versions become visible in their order and a
    reader that has seen version n has seen all below n.
    """

    def __init__(self, path: Path) -> None:
        """Open the file, and make it if need be.

        Raises:
            StoreUnavailable: it cannot be opened.
        """
        self._lock = threading.Lock()
        self._seen: int | None = None
        with sqlite_errors(f"open {path}"):
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            use_wal(self._db)
            self._db.execute("PRAGMA synchronous = FULL")  # a tally that is acknowledged must outlive a power cut
            self._db.executescript(SCHEMA)

    def put(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        encoded = encode_items(items)
        if not encoded:
            return
        with self._lock, sqlite_errors("write records"), transaction(self._db):
            version = self._newest() + 1
            self._db.executemany(PUT, [(key, version, value) for key, value in encoded])

    def changes(self) -> dict[str, Value | None]:
        with self._lock, sqlite_errors("read records"):
            rows = self._db.execute(
                "SELECT key, value, version FROM records WHERE version > ?", (self._seen or 0,)
            ).fetchall()
        first = self._seen is None
        self._seen = max((version for _, _, version in rows), default=self._seen or 0)
        return {
            key: None if value is None else json.loads(value) for key, value, _ in rows if not (first and value is None)
        }

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _newest(self) -> int:
        (newest,) = self._db.execute("SELECT coalesce(max(version), 0) FROM records").fetchone()
        return int(newest)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Hold SQLite's write lock for the block; an error takes back all of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


@contextmanager
def sqlite_errors(doing: str) -> Iterator[None]:
    """Turn SQLite's errors into ours; `doing` is for the message, as in "read records"."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # a closed store, a wrong statement: ours
    except sqlite3.Error as error:
        raise StoreUnavailable(f"cannot {doing}: {error}") from error


def use_wal(db: sqlite3.Connection) -> None:
    """Switch to the write-ahead log; here alone SQLite does not wait for others that open the file right now."""
    give_up = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.01)
