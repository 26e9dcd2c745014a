"""Through which source position a snapshot holds everything (ruling 21).

A commit record may stand in the log before its transaction is visible: while it waits for its flush or for a standby.
So a position is proved only by a snapshot in which every transaction has ended that held an id when that position was
read. Each transaction that has an id holds a lock on it until after it became visible.
"""

from collections import deque
from typing import NamedTuple

from samplers.question import ask
from samplers.rows import Session

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
        writers = frozenset(int(row[0] or 0) for row in ask(session, _WRITERS))
        snapshot = (ask(session, _SNAPSHOT)[0][0] or b"").decode()
        self._kept.append(Anchor(position, writers))
        return self._proved(snapshot)

    def _proved(self, snapshot: str) -> int | None:
        proved = None
        for number, anchor in enumerate(self._kept):
            if any(running(writer, snapshot) for writer in anchor.writers):
                continue
            proved, passed = anchor.position, number
        if proved is not None:
            for _ in range(passed):
                self._kept.popleft()
        while len(self._kept) > MOST:
            del self._kept[1]  # the oldest is worth most while a long transaction holds all others back
        return proved


def flush_position(session: Session) -> int:
    """Read how far the source's log is flushed."""
    return int(ask(session, _NOW)[0][0] or 0)


def running(writer: int, snapshot: str) -> bool:
    """Say whether a transaction had not ended yet in a snapshot.

    Args:
        writer: its id, 32 bits of it.
        snapshot: as `pg_current_snapshot()` prints it, ids of 64 bits.
    """
    _, past, inside = snapshot.split(":")
    limit = int(past)
    whole = (limit & ~0xFFFFFFFF) | writer
    if whole > limit + (1 << 31):
        whole -= 1 << 32
    elif whole < limit - (1 << 31):
        whole += 1 << 32
    return whole >= limit or (inside != "" and whole in {int(one) for one in inside.split(",")})
