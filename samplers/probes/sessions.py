"""Read the sessions of one side for the probes of activity and of writers."""

import psycopg

from comparators.checks.sessions import Session, SideSessions
from samplers.catalog import select


def read_sessions(connection: psycopg.Connection) -> SideSessions:
    """Read what every session of this database does, but for the one that asks.

    Raises:
        SideUnavailable, StatementCancelled: try again.
    """
    rights = select(connection, "session_rights")[0]
    return SideSessions(tuple(Session(**row) for row in select(connection, "sessions", {})), **rights)
