"""Follow a side's log by a slot that ends with its session, and keep which rows were written last and most.

Nothing is left behind: the slot is temporary, and holds back no log that was read. Keys stay in this process.
"""

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn

from comparators.canonical import tuple_end
from comparators.errors import AuditorError, NotReady
from comparators.mapping import NO_MAPPING
from comparators.mapping import Mapping as Rules
from comparators.positions import Side, format_lsn
from comparators.segments import Key
from comparators.server_errors import wrapped
from comparators.tables import TablePair
from comparators.tallies import FOLLOWERS, Tally, Written
from samplers import pgoutput
from samplers.connections import connect_replication
from samplers.replication import ReplicationStream

_BODY = 25
"""Where the message begins behind the copy header: kind, start, end, clock."""
_KEEPALIVE = ord("k")
_TEXT = ord("t")
_INSERT, _UPDATE, _DELETE, _TRUNCATE = b"IUDT"
_BEGIN, _COMMIT, _RELATION = b"BCR"
_NEW = ord("N")
AT_ONCE = 2000
"""Messages that are read before somebody else may look."""
CONFIRM_SECONDS = 0.1
HURRY_SECONDS = 0.005
"""Between two questions how far the log was read, while somebody waits for a position."""
POLL_SECONDS = 0.0005
STOP_SECONDS = 0.1
KEPT_COMMITS = 100_000


def followed_tables(pairs: Sequence[TablePair], side: Side, mapping: Rules = NO_MAPPING) -> dict[str, tuple[str, ...]]:
    """Name the tables of a side, `schema.table`, and their keys' columns as they are called there."""
    found = {}
    for pair in pairs:
        table = pair.source if side is Side.SOURCE else pair.target
        rules = mapping.columns(pair.name)
        names = [c.name if side is Side.SOURCE else rules.target_name(c.name) for c in table.key]
        found[f"{table.schema}.{table.name}"] = tuple(names)
    return found


class LogFollower:
    """A thread that reads one side's log."""

    def __init__(
        self, conninfo: str, publications: Sequence[str], tables: Mapping[str, tuple[str, ...]], *,
        ours: Collection[str], side: str,
    ) -> None:  # fmt: skip
        """Remember what to follow; nothing is opened yet.

        Args:
            conninfo: of a role that may replicate.
            publications: that show the tables, and a table of ours into which a marker is written.
            tables: as `followed_tables` names them.
            ours: schemas of the audit's own tables: changes there are none of the user's.
        """
        self._conninfo, self._publications, self._side = conninfo, tuple(publications), side
        self._log = Log(tables, frozenset(ours))
        self._lock = threading.Lock()
        self._following, self._stopped, self._hurry = threading.Event(), threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: PGconn | None = None
        self._error: AuditorError | None = None

    def start(self, seconds: float) -> None:
        """Begin, and return once it follows; where it does already, nothing happens.

        Raises:
            NotReady: transactions were open for too long: every one that has written must end first.
            NotPermitted, NeedsOperator, ...: as `comparators.server_errors.wrapped` sorts them.
        """
        if self._thread is not None and self._thread.is_alive() and self._following.is_set():
            return
        self.stop()
        self._error = None
        self._stopped.clear()
        self._thread = threading.Thread(target=self._run, name=f"follow {self._side}", daemon=True)
        self._thread.start()
        until = time.monotonic() + seconds
        while not self._following.wait(0.01):
            self._raise()
            if time.monotonic() > until:
                self.stop()
                raise NotReady(f"{self._side}: transactions were open for too long to follow the log")

    def stop(self) -> None:
        """Follow no more; its slot goes with its session."""
        self._stopped.set()
        while self._thread is not None and self._thread.is_alive():
            self._cancel()
            self._thread.join(STOP_SECONDS)
        self._thread = None
        self._following.clear()

    def written(self, position: int, last: int, most: int, seconds: float) -> Written:
        """Read on until a position is passed, and give what was written until then.

        Args:
            position: of this side; something must have been written behind it.
            last, most: how many rows to give of those written last, and of those written most.
        Raises:
            NotReady: it was not passed in time, or nobody follows.
        """
        until = time.monotonic() + seconds
        self._hurry.set()
        try:
            while self._log.through < position:
                self._raise()
                if not self._following.is_set() or time.monotonic() > until:
                    through = format_lsn(self._log.through)
                    raise NotReady(f"{self._side}: the log was read to {through}, not to {format_lsn(position)}")
                time.sleep(POLL_SECONDS)
        finally:
            self._hurry.clear()
        with self._lock:
            return self._log.written(position, last, most)

    def _cancel(self) -> None:
        """End the wait for other transactions that making a slot begins with."""
        connection = self._connection
        if connection is not None and not self._following.is_set():
            with contextlib.suppress(psycopg.Error):
                connection.get_cancel().cancel()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._connection = connect_replication(self._conninfo, application_name="auditor follower")
            self._follow(self._stream(self._connection))
        except AuditorError as error:
            self._error = error
        finally:
            self._following.clear()
            if self._connection is not None:
                self._connection.finish()
            self._connection = None

    def _stream(self, connection: PGconn) -> ReplicationStream:
        slot = f"{FOLLOWERS}{secrets.token_hex(4)}"
        command = f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL pgoutput NOEXPORT_SNAPSHOT"
        result = connection.exec_(command.encode())
        if result.status != ExecStatus.TUPLES_OK:
            raise wrapped(result.error_message.decode(errors="replace"), None, f"{self._side}: follow the log")
        return ReplicationStream(
            self._conninfo, slot, self._publications, side=self._side, connection=connection
        )  # fmt: skip

    def _follow(self, stream: ReplicationStream) -> None:
        self._following.set()
        next_confirm = 0.0
        while not self._stopped.is_set():
            with self._lock:
                idle = self._read(stream)
            now, hurry = time.monotonic(), self._hurry.is_set()
            if now >= next_confirm or self._log.asked:
                self._log.asked = False
                stream.confirm(self._log.through, self._log.through, reply=hurry)
                next_confirm = now + (HURRY_SECONDS if hurry else CONFIRM_SECONDS)
            if idle:
                stream.wait(HURRY_SECONDS)

    def _read(self, stream: ReplicationStream) -> bool:
        """Read what is there; say whether that was all."""
        for _ in range(AT_ONCE):
            size, view = stream.get(1)
            if size == 0:
                stream.fill()
                size, view = stream.get(1)
            if size == 0:
                return True
            if size < 0:
                raise stream.ended()
            self._log.take(bytes(view))
        return False


class Log:
    """What was read of the log."""

    def __init__(self, tables: Mapping[str, tuple[str, ...]], ours: frozenset[str]) -> None:
        self.through = 0
        self.asked = False
        """The server wants to hear from us."""
        self._tables, self._ours = tables, ours
        self._tally = Tally()
        self._named: dict[bytes, tuple[str, tuple[int, ...]]] = {}
        """Relation to its table, and where its key's columns stand."""
        self._own: set[bytes] = set()
        self._commits: deque[tuple[int, int]] = deque(maxlen=KEPT_COMMITS)
        """Start of a commit record, and how many changes of the user's it committed."""
        self._begun: int | None = None
        self._changes = self._unnamed = 0

    def take(self, data: bytes) -> None:
        """Take in one message of the replication protocol."""
        if data[0] == _KEEPALIVE:
            if self._begun is None:
                self.through = max(self.through, int.from_bytes(data[1:9], "big"))
            self.asked = self.asked or bool(data[17])
            return
        tag = data[_BODY]
        if tag in b"IUD":
            self._change(tag, data)
        elif tag == _BEGIN:
            self._begun, self._changes = int.from_bytes(data[26:34], "big"), 0
        elif tag == _COMMIT:
            self._commit(int.from_bytes(data[35:43], "big"))
        elif tag == _RELATION:
            self._relation(pgoutput.relation(data[_BODY:], int.from_bytes(data[1:9], "big")))
        elif tag == _TRUNCATE:
            relids = pgoutput.truncate(data[_BODY:], int.from_bytes(data[1:9], "big")).relids
            self._changes += sum(relid.to_bytes(4, "big") not in self._own for relid in relids)

    def written(self, position: int, last: int, most: int) -> Written:
        """Say what was written last, and what behind a position."""
        behind = sum(changes for commit, changes in self._commits if commit >= position)
        return Written(self._tally.chosen(last, most), behind, self._unnamed)

    def _commit(self, end: int) -> None:
        if self._changes:
            self._commits.append((self._begun or 0, self._changes))
        self._begun = None
        self.through = max(self.through, end)

    def _relation(self, relation: pgoutput.Relation) -> None:
        relid = relation.relid.to_bytes(4, "big")
        if relation.schema in self._ours:
            self._own.add(relid)
            return
        name = f"{relation.schema}.{relation.name}"
        columns = [column.name for column in relation.columns]
        key = self._tables.get(name, ())
        self._named.pop(relid, None)
        if key and set(key) <= set(columns):
            self._named[relid] = name, tuple(columns.index(column) for column in key)

    def _change(self, tag: int, data: bytes) -> None:
        relid = data[26:30]
        if relid in self._own:
            return
        self._changes += 1
        if relid not in self._named:
            self._unnamed += 1
            return
        name, places = self._named[relid]
        if data[30] == _NEW or tag == _DELETE:
            self._count(name, _key(data, 31, places))
            return
        self._count(name, _key(data, 31, places))
        self._count(name, _key(data, tuple_end(data, 31) + 1, places))

    def _count(self, name: str, key: Key | None) -> None:
        if key is None:
            self._unnamed += 1
        else:
            self._tally.add(name, key)


def _key(data: bytes, start: int, places: tuple[int, ...]) -> Key | None:
    """Take a key out of a tuple; `None` where the log leaves a part of it out."""
    found: list[bytes | None] = []
    at = start + 2
    for _ in range(max(places) + 1):
        if data[at] != _TEXT:
            found.append(None)
            at += 1
            continue
        size = int.from_bytes(data[at + 1 : at + 5], "big")
        found.append(data[at + 5 : at + 5 + size])
        at += 5 + size
    key = tuple(found[place] for place in places)
    return None if None in key else key
