"""The drain: where the old side's last write ends, a nonce that comes behind it by replication, and a barrier.

The nonce is a row of the auditor's own marker table. Replication applies in the order of commits: who sees the nonce on
the new side has all that the same subscription brings from before it. Subscriptions that do not bring the marker table
are asked for the position that they have applied. The barrier is an empty message: a commit that changes no row.
"""

import hashlib
import time
from collections.abc import Sequence
from typing import Any

from psycopg import sql

from comparators.errors import AuditorError, NotReady
from comparators.positions import format_lsn
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker, Facts

ROW = 4
"""Of the marker table; samplers, probes, the drain test and the canary have others."""
CHECK_SECONDS = 10.0
FIRST_POLLS = 50
"""Looks for the marker without a pause; it comes within a millisecond or two where nothing is wrong."""
POLL_SECONDS = 0.001
_POSITION = """
SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, system_identifier::text,
       (SELECT timeline_id FROM pg_control_checkpoint()),
       (SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database())
FROM pg_control_system()"""
_INSERT_POSITION = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
_FLUSHED = "SELECT (pg_current_wal_flush_lsn() - '0/0')::bigint"
_UNFIT = """
SELECT w.name,
       CASE WHEN s.oid IS NULL THEN 'there is no such subscription'
            WHEN NOT s.subenabled THEN 'it is disabled'
            ELSE 'tables of it are not copied yet' END
FROM unnest(%s::text[]) AS w (name)
LEFT JOIN pg_subscription s
  ON s.subname = w.name AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
WHERE s.oid IS NULL OR NOT s.subenabled
   OR EXISTS (SELECT FROM pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srsubstate <> 'r')"""
_OTHERS = """
SELECT s.subslotname FROM pg_subscription s
WHERE s.subname = ANY (%s) AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND NOT EXISTS (SELECT FROM pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srrelid = to_regclass(%s))"""
_LATE = """
SELECT w.slot FROM unnest(%s::text[]) AS w (slot)
LEFT JOIN pg_replication_slots s ON s.slot_name = w.slot
LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid
WHERE r.replay_lsn IS NULL OR r.replay_lsn < '0/0'::pg_lsn + %s"""
_CARRIED = """
SELECT EXISTS (SELECT FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid
               WHERE r.srrelid = to_regclass(%s) AND s.subname = ANY (%s) AND r.srsubstate = 'r')"""
_RIGHTS = """
SELECT r.right FROM unnest(%s::text[]) AS r ("right")
WHERE coalesce(NOT has_table_privilege(to_regclass(%s), r.right), true)"""


class Drain:
    """Proves that the new side has, on its disk, all that was committed on the old one."""

    def __init__(self, old: str, new: str, *, schema: str, subscriptions: Sequence[str]) -> None:
        """Remember where to look; nothing is opened yet.

        Args:
            old, new: connection strings of the control roles.
            schema: holds the marker table that the way from old to new carries.
            subscriptions: on the new side, each of which brings a part of the tables.
        """
        self._old, self._new = Session(old, "marker"), Session(new, "marker")
        self._schema, self._subscriptions = schema, list(subscriptions)
        self._table = sql.Identifier(schema, "marker")
        self._before = 0
        """Position of the old side before the marker was written."""

    @property
    def marker(self) -> str:
        return self._table.as_string(None)

    def close(self) -> None:
        """End its sessions."""
        self._old.close()
        self._new.close()

    def warm(self, deadline: Deadline) -> Facts:
        """Open the sessions, and let both servers load what the drain asks of them.

        Raises:
            SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
            DeadlinePassed: it took too long.
        """
        self._old.execute(_POSITION, deadline=deadline)
        self._seen(deadline)
        self._unfit(deadline)
        self._late(self._others(deadline), deadline)
        return {}

    def check(self) -> Sequence[Blocker]:
        """Say what would keep a marker from coming through."""
        try:
            deadline = Deadline.within(CHECK_SECONDS, "check the marker")
            found = [*self._rights(deadline), *self._carried(deadline), *self._unfit(deadline)]
            return found or self._unseen(deadline)
        except AuditorError as error:
            return [Blocker("drain", f"the marker cannot be checked: {error}", getattr(error, "hint", "look again"))]

    def position(self, deadline: Deadline) -> Facts:
        """Give the old side's `fence_lsn`, taken after its last writer was gone. The conductor records it once.

        Raises:
            NotReady: a prepared transaction is left: it could still be committed.
        """
        ((position, system, timeline, prepared),) = self._old.execute(_POSITION, deadline=deadline)
        if prepared:
            raise NotReady(f"{prepared} prepared transactions are left on the old side")
        return {"fence_lsn": position, "fence_lsn_text": format_lsn(position), "system": system, "timeline": timeline}

    def write_marker(self, nonce: str, deadline: Deadline) -> Facts:
        """Write a nonce on the old side that comes by replication."""
        number = number_of(nonce)
        self._before = self._old.value(_INSERT_POSITION, deadline=deadline)
        # as a new row: an update of one that has vanished from the new side would never come
        self._old.execute(
            sql.SQL("DELETE FROM {table} WHERE id = {row}; INSERT INTO {table} VALUES ({row}, {number}, now())").format(
                table=self._table, row=sql.Literal(ROW), number=sql.Literal(number)
            ),
            deadline=deadline,
        )
        return {"nonce": nonce, "written_after": format_lsn(self._before)}

    def see_marker(self, nonce: str, deadline: Deadline) -> Facts:
        """Wait until the nonce is seen on the new side, and what other subscriptions bring is there too.

        Raises:
            DeadlinePassed: it did not come in time.
            NotReady: a subscription is disabled, or copies a table anew, so that the marker proves nothing.
        """
        began, looks = time.monotonic(), 1
        while self._seen(deadline) != number_of(nonce):
            deadline.left()
            looks += 1
            if looks > FIRST_POLLS:
                time.sleep(POLL_SECONDS)
        if unfit := self._unfit(deadline):
            raise NotReady(f"the marker proves nothing: {unfit[0].reason}")
        others = self._others(deadline)
        while self._late(others, deadline):
            deadline.left()
            time.sleep(POLL_SECONDS)
        milliseconds = round((time.monotonic() - began) * 1000, 3)
        return {"nonce": nonce, "seen": True, "waited_ms": milliseconds, "looks": looks, "other_slots": others}

    def make_durable(self, deadline: Deadline) -> Facts:
        """Commit synchronously on the new side, so that all that was applied before is on its disk.

        Returns:
            With `durable`: true.
        Raises:
            NotReady: the commit was not confirmed: by the disk, or by a standby that the server waits for.
        """
        applied = self._new.value(_INSERT_POSITION, deadline=deadline)
        self._new.take_warnings()
        self._new.execute("SELECT pg_logical_emit_message(true, 'auditor', 'barrier')", deadline=deadline)
        if warnings := self._new.take_warnings():  # a commit that is cancelled while it waits for a standby succeeds
            raise NotReady(f"the new side's commit was not confirmed: {warnings[0]}")
        flushed = self._new.value(_FLUSHED, deadline=deadline)
        if flushed < applied:
            raise NotReady("the new side has not written to its disk what it applied")
        return {"durable": True, "applied": format_lsn(applied), "flushed": format_lsn(flushed)}

    def _seen(self, deadline: Deadline) -> int | None:
        query = sql.SQL("SELECT nonce FROM {} WHERE id = {}").format(self._table, sql.Literal(ROW))
        number: int | None = self._new.value(query, deadline=deadline)
        return number

    def _others(self, deadline: Deadline) -> list[str]:
        """List the slots of the subscriptions that do not bring the marker."""
        return [slot for (slot,) in self._new.execute(_OTHERS, [self._subscriptions, self.marker], deadline=deadline)]

    def _late(self, slots: list[str], deadline: Deadline) -> list[Any]:
        """List the slots whose subscriptions are not known to have applied what was written before the marker."""
        return self._old.execute(_LATE, [slots, self._before], deadline=deadline) if slots else []

    def _unfit(self, deadline: Deadline) -> list[Blocker]:
        rows = self._new.execute(_UNFIT, [self._subscriptions], deadline=deadline)
        return [
            Blocker("subscription-unfit", f"subscription {name}: {why}", "enable it, and let it finish its copies")
            for name, why in rows
        ]

    def _carried(self, deadline: Deadline) -> list[Blocker]:
        if self._new.value(_CARRIED, [self.marker, self._subscriptions], deadline=deadline):
            return []
        reason = f"no subscription brings the marker table {self.marker}"
        return [Blocker("marker-not-carried", reason, "run `auditor prepare`")]

    def _unseen(self, deadline: Deadline) -> list[Blocker]:
        """List the other subscriptions whose progress the old side does not show."""
        self._before = 0
        late = ", ".join(slot for (slot,) in self._late(self._others(deadline), deadline))
        if not late:
            return []
        reason = f"the old side does not show how far the slots {late} were applied"
        return [Blocker("progress-unseen", reason, "let their subscriptions run; GRANT pg_monitor to the control role")]

    def _rights(self, deadline: Deadline) -> list[Blocker]:
        found = []
        for session, where, rights in (
            (self._old, "old", ["SELECT", "INSERT", "DELETE"]), (self._new, "new", ["SELECT"]),
        ):  # fmt: skip
            missing = ", ".join(row[0] for row in session.execute(_RIGHTS, [rights, self.marker], deadline=deadline))
            if missing:
                reason = f"the control role of the {where} side may not {missing} in {self.marker}"
                remedy = f"GRANT USAGE ON SCHEMA {self._schema} and {missing} ON {self.marker} to it"
                found.append(Blocker("marker-rights", reason, remedy))
        return found


def number_of(nonce: str) -> int:
    """Give the number that stands for a nonce in the marker table."""
    return int.from_bytes(hashlib.sha256(nonce.encode()).digest()[:8], "big", signed=True)
