"""Speak the streaming replication protocol over psycopg's libpq layer: read what a slot decodes, confirm what is safe.

psycopg has no replication cursor; its libpq wrapper carries the protocol all the same (PostgreSQL manual, 54.4).
"""

import select
import struct
import time

from psycopg import pq
from psycopg.pq.abc import PGconn

from comparators.errors import SideUnavailable
from comparators.server_errors import wrapped
from samplers.connections import connect_replication

_STATUS = struct.Struct("!cQQQqB")
_EPOCH_2000 = 946_684_800.0
_COPY_BOTH = pq.ExecStatus.COPY_BOTH
FILTERS = 160000
"""The first version whose pgoutput can leave out what came by replication."""


class ReplicationStream:
    """One START_REPLICATION session. Not thread-safe: the thread that reads also confirms."""

    def __init__(
        self, conninfo: str, slot: str, publications: tuple[str, ...], *, side: str, local_only: bool = False,
        connection: PGconn | None = None,
    ) -> None:  # fmt: skip
        """Start streaming.

        Args:
            local_only: leave out what the server itself received by replication, as a subscription with
                `origin = none` has it; servers before PostgreSQL 16 cannot, and send it to such a subscription too.
            connection: of `connect_replication`, to which a temporary slot belongs; a new one by default.
        """
        self._side = side
        self._confirmed = 0
        self._connection = connection or connect_replication(conninfo)
        names = ",".join('"' + name.replace('"', '""') + '"' for name in publications).replace("'", "''")
        options = f"proto_version '1', publication_names '{names}'"
        if local_only and self._connection.server_version >= FILTERS:
            options += ", origin 'none'"
        command = f"START_REPLICATION SLOT {slot} LOGICAL 0/0 ({options})"
        result = self._connection.exec_(command.encode())
        if result.status != _COPY_BOTH:
            message = result.error_message.decode(errors="replace")
            sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE)
            self.close()
            raise wrapped(message, sqlstate.decode() if sqlstate else None, side)
        self._socket = self._connection.socket
        self.get = self._connection.get_copy_data

    def fill(self) -> None:
        """Move what the socket holds into libpq's buffer, without waiting.

        Raises:
            SideUnavailable: the connection is gone; open a new stream.
        """
        try:
            self._connection.consume_input()
        except Exception as error:
            raise SideUnavailable(f"{self._side}: the replication connection was lost: {error}") from error

    def wait(self, seconds: float) -> None:
        """Sleep until the server has sent something, at most `seconds`."""
        select.select([self._socket], [], [], max(seconds, 0))

    def confirm(self, written: int, durable: int, *, reply: bool = False) -> None:
        """Tell the server how far the log was received, and up to where it may be forgotten.

        A server that shuts down waits until each stream has flushed all it was sent, or, where a stream reports no
        flush, has received it. So the flush position is told when it moves and taken back at once: the slot keeps it,
        and nobody's shutdown waits for an audit that cannot be finished without that server.

        Args:
            written: position received.
            durable: position below which nothing is needed again; 0 keeps what the slot has.
            reply: ask for a keepalive with the position decoded through.
        """
        now = int((time.time() - _EPOCH_2000) * 1_000_000)
        try:
            if durable > self._confirmed:
                self._connection.put_copy_data(_STATUS.pack(b"r", written, durable, durable, now, 0))
                self._confirmed = durable
            self._connection.put_copy_data(_STATUS.pack(b"r", written, 0, 0, now, reply))
            self._connection.flush()
        except Exception as error:
            raise SideUnavailable(f"{self._side}: the replication connection was lost: {error}") from error

    def ended(self) -> Exception:
        """Say why the server stopped sending."""
        result = self._connection.get_result()
        message = result.error_message.decode(errors="replace") if result else "the server closed the stream"
        sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE) if result else None
        return wrapped(message or "the server closed the stream", sqlstate.decode() if sqlstate else None, self._side)

    def close(self) -> None:
        """Hang up; the slot stays."""
        self._connection.finish()
