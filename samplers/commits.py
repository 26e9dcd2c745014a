"""Commits that can be seen and are not flushed yet, and commits that are in a server's log and cannot be seen yet.

The latter wait for their flush or for a standby. The other side may have what such a commit wrote, or count it as
applied. So two reads differ for sure only when every transaction has ended that held an id after the position was
passed.
"""

import time

from samplers.rows import Session, Text, fetch

GRACE_SECONDS = 0.2
"""How long a commit takes at most that waits for nobody."""
LEAST_SECONDS = 0.5
POLL_SECONDS = 0.005
_POSITIONS = """SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint::text,
       (pg_current_wal_flush_lsn() - '0/0')::bigint::text,
       5 * extract(epoch FROM current_setting('wal_writer_delay')::interval)"""
"""A commit that waits for no flush is flushed after three such delays at the latest."""
_WRITERS = """SELECT l.transactionid::text,
       CASE WHEN NOT pg_has_role('pg_read_all_stats', 'USAGE') THEN current_setting('synchronous_standby_names') <> ''
            WHEN l.pid IS NULL THEN EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')
            ELSE EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid AND a.wait_event = 'SyncRep') END
FROM pg_locks l WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted"""
"""Who holds an id, and whether its commit may wait for a standby: of who only writes nothing is in the log."""


def visible(session: Session, seconds: float) -> bool:
    """Wait until each commit that is in a server's log now can be seen by the session's next statement.

    Args:
        seconds: to wait for commits that may wait for a standby.
    Returns:
        False: there may be one that cannot be seen.
    Raises:
        SideUnavailable: the server cannot be asked.
    """
    began = time.monotonic()
    writers = running = _writers(session)
    while running:
        waited = time.monotonic() - began
        if waited >= GRACE_SECONDS and not any(running.values()):
            return True
        if waited >= max(seconds, GRACE_SECONDS):
            return False
        time.sleep(POLL_SECONDS)
        running = {writer: waits for writer, waits in _writers(session).items() if writer in writers}
    return True


def logged(session: Session) -> int:
    """Give a position that the target can reach, behind every commit that can be seen now.

    What was inserted last need not be flushed while nobody commits: by a transaction that is open, or by none where the
    log stands at the start of a page.
    """
    began = time.monotonic()
    insert, flush, delay = _positions(session)
    while flush < insert and time.monotonic() - began < max(delay, LEAST_SECONDS):
        time.sleep(POLL_SECONDS)
        _, flush, _ = _positions(session)
    return min(insert, flush)


def _positions(session: Session) -> tuple[int, int, float]:
    insert, flush, delay = fetch(session, _POSITIONS)[0]
    return int(insert or 0), int(flush or 0), float(delay or 0)


def _writers(session: Session) -> dict[Text, bool]:
    return {writer: waits == b"t" for writer, waits in fetch(session, _WRITERS)}
