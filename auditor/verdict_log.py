"""The log of verdicts: append-only and hash-chained, in a SQLite file or in a Kafka topic of its own.

It is written by the gate alone and read by anybody, also while the gate is down.
"""

import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Protocol

from auditor.records import BUSY_SECONDS, sqlite_errors, transaction, use_wal
from auditor.settings import Settings
from auditor.verdicts import Anchor, Draft, Entry, NotAnEntry, read_entry, seal_all, tail_of
from comparators.errors import StoreUnavailable

KEEP_SECONDS = 400 * 24 * 3600.0
"""A year and the time to notice that something of it is wanted."""
KEEP_ENTRIES = 1_000_000
"""A gate that changes its mind all day long must not fill the disk: some 2 GB."""
PRUNE_EVERY = 1000


class VerdictLog(Protocol):
    """One process's view of the log."""

    def append(self, drafts: Sequence[Draft]) -> list[Entry]:
        """Chain entries to the log's end; durable once it returns.

        Raises:
            ChainForked: another gate wrote at the same moment; what was written stays, and does not count.
            StoreUnavailable: nothing is known about what was stored; append again what still counts.
        """

    def damage(self) -> list[str]:
        """Say what is wrong at the log's end; the next entry is chained to the last good one before it."""

    def lines(self, since: float | None = None) -> Iterator[str]:
        """Give the entries as they are stored, oldest first, damaged ones included.

        Args:
            since: unix seconds; leaves out what is older.
        """

    def newest(self) -> Iterator[str]:
        """Give the entries as they are stored, newest first."""

    def anchor(self) -> Anchor | None:
        """Say what the first entry that is still there must follow; `None`: it is not known here."""

    def close(self) -> None:
        """Let go of files and connections."""


def open_verdict_log(settings: Settings) -> VerdictLog:
    """Open the log of a migration where its transport keeps it.

    Raises:
        StoreUnavailable: it cannot be reached now.
    """
    if settings.transport is None:
        return SqliteVerdictLog(settings.open_state_dir() / "verdicts.sqlite")
    from auditor.kafka_verdict_log import KafkaVerdictLog  # what who has no broker need not pay

    return KafkaVerdictLog(settings.transport, settings.names.topics.verdicts)


def open_to_write(settings: Settings) -> VerdictLog:
    """Open the log for the gate, and make its home if need be.

    Raises:
        NeedsOperator: a topic of its name is not as it must be, or the state folder cannot be written to.
        StoreUnavailable: it cannot be reached now.
    """
    if settings.transport is not None:
        from auditor.topics import ensure_topics  # what who has no broker need not pay

        ensure_topics(settings)
    return open_verdict_log(settings)


def read_lines(settings: Settings, since: float | None = None) -> tuple[list[str], Anchor | None]:
    """Read the log for a command: nothing is created, and an absent one is empty.

    Raises:
        StoreUnavailable: it cannot be reached now.
    """
    if settings.transport is None and not (settings.state_dir / "verdicts.sqlite").exists():
        return [], Anchor()
    with closing(open_verdict_log(settings)) as log:
        return list(log.lines(since)), log.anchor() if since is None else None


def read_after(settings: Settings, after: Anchor) -> list[str] | None:
    """Read what follows an entry; `None` where the log no longer has that entry as it was.

    Raises:
        StoreUnavailable: it cannot be reached now.
    """
    if settings.transport is None and not (settings.state_dir / "verdicts.sqlite").exists():
        return None
    lines: list[str] = []
    with closing(open_verdict_log(settings)) as log:
        for line in log.newest():
            entry = next(good_entries(iter([line])), None)
            if entry is not None and entry.seq <= after.seq:
                return lines[::-1] if Anchor(entry.seq, entry.hash) == after else None
            lines.append(line)
        return lines[::-1] if log.anchor() == after else None


def good_entries(lines: Iterator[str]) -> Iterator[Entry]:
    """Read what can be read."""
    for line in lines:
        try:
            yield read_entry(line)
        except NotAnEntry:
            continue


SCHEMA = """
CREATE TABLE IF NOT EXISTS entries (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    entry BLOB NOT NULL     -- the line, compressed by zlib
);
CREATE INDEX IF NOT EXISTS entries_by_time ON entries (at);
CREATE TABLE IF NOT EXISTS anchor (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash TEXT);
"""


class SqliteVerdictLog:
    """The log in a file. Its write lock is held from reading the end to writing after it: no fork is possible."""

    def __init__(self, path: Path, keep_entries: int = KEEP_ENTRIES, clock: Callable[[], float] = time.time) -> None:
        """Open the file, and make it if need be.

        Raises:
            StoreUnavailable: it cannot be opened.
        """
        self._lock = threading.Lock()
        self._keep_entries, self._clock = keep_entries, clock
        self._appended = 0
        self._path = path
        with sqlite_errors(f"open {path}"):
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            use_wal(self._db)
            self._db.execute("PRAGMA synchronous = FULL")  # a receipt must outlive a power cut
            self._db.executescript(SCHEMA)
            self._file = _identity(path)

    def append(self, drafts: Sequence[Draft]) -> list[Entry]:
        with self._lock, sqlite_errors("write the verdict log"), transaction(self._db):
            if _identity(self._path) != self._file:
                raise StoreUnavailable(f"cannot write the verdict log: {self._path.name} was removed or replaced")
            made = seal_all(drafts, self._end()[0])
            rows = [(entry.at, zlib.compress(entry.text.encode())) for entry in made]
            self._db.executemany("INSERT INTO entries (at, entry) VALUES (?, ?)", rows)
            self._prune(len(made))
        return made

    def damage(self) -> list[str]:
        with self._lock, sqlite_errors("read the verdict log"):
            return self._end()[1]

    def lines(self, since: float | None = None) -> Iterator[str]:
        return self._pages(
            "SELECT position, entry FROM entries WHERE position > ? AND at >= ? ORDER BY position", since
        )

    def newest(self) -> Iterator[str]:
        page = "SELECT position, entry FROM entries WHERE position < ? AND at >= ? ORDER BY position DESC"
        return self._pages(page, None, start=1 << 62)

    def anchor(self) -> Anchor | None:
        with self._lock, sqlite_errors("read the verdict log"):
            return self._anchor()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _pages(self, query: str, since: float | None, start: int = 0) -> Iterator[str]:
        """Read page by page: the gate goes on writing meanwhile."""
        while True:
            with self._lock, sqlite_errors("read the verdict log"):
                page = self._db.execute(f"{query} LIMIT 500", (start, since or 0.0)).fetchall()
            if not page:
                return
            yield from (_unpacked(blob) for _, blob in page)
            start = page[-1][0]

    def _end(self) -> tuple[Anchor, list[str]]:
        rows = self._db.execute("SELECT entry FROM entries ORDER BY position DESC")
        end, damaged = tail_of(_unpacked(blob) for (blob,) in rows)
        rows.close()
        return (end if end.seq else self._anchor()), damaged

    def _anchor(self) -> Anchor:
        found = self._db.execute("SELECT seq, hash FROM anchor").fetchone()
        return Anchor(*found) if found else Anchor()

    def _prune(self, appended: int) -> None:
        """Forget the oldest entries, but not the hash that the next one names."""
        due = self._appended == 0 or self._appended // PRUNE_EVERY != (self._appended + appended) // PRUNE_EVERY
        self._appended += appended
        if not due:
            return
        (newest,) = self._db.execute("SELECT max(position) FROM entries").fetchone()
        oldest_kept = self._db.execute(
            "SELECT min(position) FROM entries WHERE at >= ?", (self._clock() - KEEP_SECONDS,)
        ).fetchone()[0]
        first = max(newest - self._keep_entries + 1, newest if oldest_kept is None else oldest_kept)
        last = self._db.execute("SELECT entry FROM entries WHERE position < ? ORDER BY position DESC LIMIT 1", (first,))
        gone, _ = tail_of(_unpacked(blob) for (blob,) in last)
        if gone.seq:
            self._db.execute("INSERT OR REPLACE INTO anchor VALUES (1, ?, ?)", (gone.seq, gone.hash))
            self._db.execute("DELETE FROM entries WHERE position < ?", (first,))


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _unpacked(blob: bytes) -> str:
    """Unpack a line; what cannot be unpacked stays a line that is no entry."""
    try:
        return zlib.decompress(blob).decode()
    except (zlib.error, UnicodeDecodeError, TypeError):
        return f"damaged: {len(blob)} bytes that cannot be unpacked"
