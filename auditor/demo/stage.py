"""What a fault may lay hands on, and what it leaves behind."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from auditor.demo.database import Session, one, run, session, wait_until
from auditor.demo.schema import SUBSCRIPTION
from comparators.sampling import seed_of, share_of, threshold_of

CONFIRMED = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s"
APPLIED = """
    SELECT coalesce(bool_or(o.remote_lsn >= %s::pg_lsn), false)
      FROM pg_subscription s JOIN pg_replication_origin_status o ON o.external_id = 'pg_' || s.oid
     WHERE s.subname = %s"""
COMMITTED_AT = (
    "SELECT (extract(epoch FROM pg_xact_commit_timestamp(%s::xid) - timestamptz '2000-01-01Z') * 1000000)::bigint"
)


class Server(Protocol):
    """A server that can be taken away and brought back."""

    def stop(self, mode: str = ...) -> None: ...
    def start(self) -> object: ...


@dataclass(frozen=True, slots=True)
class Stage:
    """The two databases, their servers, and the auditor that watches them."""

    source: str
    """Conninfo; the same place is written to by the workload."""
    target: str
    migration: str
    source_slot: str
    """The auditor's own."""
    rate: float = 1.0
    source_server: Server | None = None
    target_server: Server | None = None
    pid_of: Callable[[str], int | None] = lambda name: None
    """Pid of one of the auditor's processes by its name in the records, as in `core`."""

    @contextmanager
    def on_source(self) -> Iterator[Session]:
        with session(self.source) as opened:
            yield opened

    @contextmanager
    def on_target(self) -> Iterator[Session]:
        with session(self.target) as opened:
            yield opened

    def wait_applied(self, position: str, seconds: float = 30.0) -> None:
        """Wait until the target has everything that the source wrote before a position."""
        with self.on_source() as source, self.on_target() as target:
            wait_until(
                lambda: bool(
                    one(target, APPLIED, position, SUBSCRIPTION) or one(source, CONFIRMED, position, SUBSCRIPTION)
                ),
                f"the target to apply {position}",
                seconds,
            )

    def is_sampled(self, source: Session, xid: str) -> bool:
        """Say whether the audit looks at a transaction that was committed."""
        if self.rate >= 1:
            return True
        share = share_of(one(source, COMMITTED_AT, xid), seed_of(self.migration))
        return share < threshold_of(self.rate)


@dataclass(frozen=True, slots=True)
class Harm:
    """What was done."""

    at: float
    """Unix seconds when it was committed or begun."""
    table: str | None = None
    """As findings name it; `None` where no table is to be accused."""
    columns: frozenset[str] = frozenset()
    heal: Callable[[], None] | None = None
    """Ends what lasts until then; the damage to rows is never undone."""


def insert_lsn(opened: Session) -> str:
    """Return where the next record will be written."""
    return str(one(opened, "SELECT pg_current_wal_insert_lsn()"))


def commit(opened: Session, *statements: str) -> tuple[float, str, str]:
    """Run statements in one transaction.

    Returns:
        When it was committed, its xid, and a position behind it.
    """
    run(opened, "BEGIN", *statements)
    xid = str(one(opened, "SELECT pg_current_xact_id()::xid"))
    run(opened, "COMMIT")
    return time.time(), xid, insert_lsn(opened)
