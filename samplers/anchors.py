"""Through which source position a snapshot holds everything (ruling 21).

A commit record may stand in the log before its transaction is visible: while it waits for its flush or for a standby.
So a position is proved only by a snapshot in which every transaction has ended that held an id when that position was
read. Each transaction that has an id holds a lock on it until after it became visible.
"""

from collections import deque
from typing import NamedTuple

from samplers.rows import Session, fetch

MOST = 2000
_WRITERS = """SELECT transactionid::text FROM pg_locks
WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted"""
_NOW = "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint::text"
"""What is flushed, because only that reaches the target: of what is not nothing is claimed."""
_SNAPSHOT = "SELECT pg_current_snapshot()::text"


class Anchor(NamedTuple):
    """A position and the transactions that may have committed before it without being visible yet."""

    position: int
    writers: frozenset[int]


class Snapshot:
    """What a statement sees, by the ids of transactions."""

    def __init__(self, text: str) -> None:
        """Read what `pg_current_snapshot()` prints, ids of 64 bits."""
        _, past, inside = text.split(":")
        self._past = int(past)
        self._inside = frozenset(int(one) for one in inside.split(",") if one)

    def runs(self, writer: int) -> bool:
        """Say whether a transaction had not ended yet, by the lower 32 bits of its id."""
        whole = (self._past & ~0xFFFFFFFF) | writer
        if whole > self._past + (1 << 31):
            whole -= 1 << 32
        elif whole < self._past - (1 << 31):
            whole += 1 << 32
        return whole >= self._past or whole in self._inside


class Anchors:
    """Positions read on the source, oldest first, of which each snapshot proves the newest it can."""

    def __init__(self) -> None:
        self._kept: deque[Anchor] = deque()

    def drop(self, session: Session) -> int | None:
        """Read a position, and give the one that any snapshot taken from now on holds in full.

        Returns:
            `None` while no position is proved: a transaction has been writing since before the first one.
        """
        position = flush_position(session)
        writers = frozenset(int(row[0] or 0) for row in fetch(session, _WRITERS))
        snapshot = (fetch(session, _SNAPSHOT)[0][0] or b"").decode()
        self._kept.append(Anchor(position, writers))
        return self._proved(Snapshot(snapshot))

    def _proved(self, snapshot: Snapshot) -> int | None:
        for number in reversed(range(len(self._kept))):
            if not any(snapshot.runs(writer) for writer in self._kept[number].writers):
                position = self._kept[number].position
                for _ in range(number):
                    self._kept.popleft()
                return position
        if len(self._kept) > MOST:
            del self._kept[1]  # the oldest is worth most while a long transaction holds all others back
        return None


def flush_position(session: Session) -> int:
    """Read how far the source's log is flushed."""
    return int(fetch(session, _NOW)[0][0] or 0)
