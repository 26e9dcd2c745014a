"""The journal of a cutover in PostgreSQL, in a database that is on neither side.

Rules of this file:
1. A write is one statement, which checks the epoch, the journal's own clock and where the chain ends.
2. A statement whose answer was lost is sent again as it was: the row locks make it wait for the lost one, and what it
   then finds says which of them took effect. Nothing is concluded from a row that is not there.
3. Whoever holds a lease and cannot be answered in `patience_seconds` is told so; only reading again helps.
4. Once it has written, no refusal ends it at once: a server that fails over refuses what it takes again a little later.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any, Self, TypeVar
from uuid import uuid4

from comparators.errors import NeedsOperator, Retryable
from comparators.positions import Side
from orchestrator.adapters.sessions import Row, Session, Statement
from orchestrator.deadlines import Deadline
from orchestrator.ports import Identity
from orchestrator.records import (
    GENESIS,
    Approval,
    Direction,
    Draft,
    Entry,
    JournalUnavailable,
    JournalUnfit,
    Kind,
    Lease,
    LeaseHeld,
    LeaseLost,
    Outcome,
    Request,
    Result,
    Verified,
    Wish,
    canonical,
    chain_problems,
    chained,
    now_utc,
)

Answer = TypeVar("Answer")

STATEMENT_SECONDS = 2.0
PATIENCE_SECONDS = 5.0
PAGE_ENTRIES = 2000
"""So many entries are read at once: a statement has its time, and a journal has no end."""
_PAUSE_SECONDS = 0.05
"""Between two tries of a statement whose answer was lost."""

_ACQUIRE = """INSERT INTO auditor_cutover.lease AS held (migration, epoch, holder, token, until, head_hash)
VALUES (%s, 1, %s, %s, clock_timestamp() + make_interval(secs => %s), %s)
ON CONFLICT (migration) DO UPDATE
SET epoch = held.epoch + 1, holder = excluded.holder, token = excluded.token,
    until = clock_timestamp() + make_interval(secs => %s)
WHERE held.until <= clock_timestamp() OR (held.token = excluded.token AND held.holder = excluded.holder)
RETURNING epoch, extract(epoch FROM until - clock_timestamp())::float8, clock_timestamp()"""
_RENEW = """UPDATE auditor_cutover.lease SET until = clock_timestamp() + make_interval(secs => %s)
WHERE migration = %s AND epoch = %s AND until > clock_timestamp()
RETURNING holder, extract(epoch FROM until - clock_timestamp())::float8, clock_timestamp()"""
_RELEASE = """UPDATE auditor_cutover.lease SET until = clock_timestamp()
WHERE migration = %s AND epoch = %s AND until > clock_timestamp()"""
_LEASE = """SELECT epoch, holder, extract(epoch FROM until - clock_timestamp())::float8, head_seq, head_hash
FROM auditor_cutover.lease WHERE migration = %s"""
_APPEND = """WITH head AS (
    UPDATE auditor_cutover.lease SET head_seq = %s, head_hash = %s
    WHERE migration = %s AND epoch = %s AND until > clock_timestamp() AND head_seq = %s AND head_hash = %s
    RETURNING migration, epoch
)
INSERT INTO auditor_cutover.entries
    (migration, epoch, actor, attempt, seq, direction, step, kind, facts, at, previous_hash, hash)
SELECT head.migration, head.epoch, %s, new.attempt, new.seq, new.direction, new.step, new.kind, new.facts::json, new.at,
    new.previous_hash, new.hash
FROM head, unnest(%s::int[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::timestamptz[],
    %s::text[], %s::text[]) AS new (attempt, seq, direction, step, kind, facts, at, previous_hash, hash)
RETURNING seq"""
_ENTRIES = """SELECT migration, attempt, seq, epoch, direction, step, kind, facts, actor, at, previous_hash, hash
FROM auditor_cutover.entries WHERE migration = %s AND seq > %s ORDER BY seq LIMIT %s"""
_DECIDE = """INSERT INTO auditor_cutover.outcome (migration, attempt, direction, result, epoch, actor)
SELECT held.migration, %s, %s, %s, held.epoch, %s
FROM (
    SELECT migration, epoch FROM auditor_cutover.lease
    WHERE migration = %s AND epoch = %s AND until > clock_timestamp() FOR SHARE
) AS held
ON CONFLICT (migration, attempt) DO NOTHING"""
_OUTCOMES = """SELECT attempt, direction, result, epoch, actor, at FROM auditor_cutover.outcome
WHERE migration = %s AND attempt = coalesce(%s, attempt) ORDER BY attempt"""
_REQUEST = """INSERT INTO auditor_cutover.requests (token, migration, wish, actor, reason, attempt, facts)
VALUES (%s, %s, %s, %s, %s, %s, %s::json) ON CONFLICT (token) DO NOTHING"""
_REQUESTS = """SELECT id, wish, actor, reason, at, attempt, facts, answer, token::text FROM auditor_cutover.requests
WHERE migration = %s ORDER BY id"""
_ANSWER = """UPDATE auditor_cutover.requests SET answer = %s
WHERE id = %s AND migration = %s AND EXISTS (
    SELECT FROM auditor_cutover.lease AS held
    WHERE held.migration = %s AND held.epoch = %s AND held.until > clock_timestamp() FOR SHARE
) RETURNING id"""
_APPROVE = """INSERT INTO auditor_cutover.approvals (token, migration, digest, actor, until)
VALUES (%s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s)) ON CONFLICT (token) DO NOTHING"""
_APPROVALS = """SELECT id, digest, actor, at, extract(epoch FROM until - clock_timestamp())::float8, attempt,
    token::text
FROM auditor_cutover.approvals WHERE migration = %s AND digest = %s AND until > clock_timestamp() ORDER BY id"""
_USE = """UPDATE auditor_cutover.approvals SET attempt = %s
WHERE id = ANY(%s) AND migration = %s AND coalesce(attempt, %s) = %s AND EXISTS (
    SELECT FROM auditor_cutover.lease AS held
    WHERE held.migration = %s AND held.epoch = %s AND held.until > clock_timestamp() FOR SHARE
) RETURNING id"""
_REMEMBER = """INSERT INTO auditor_cutover.fences (migration, side, role)
SELECT %s, %s, unnest(%s::text[]) ON CONFLICT DO NOTHING"""
_REMEMBERED = "SELECT role FROM auditor_cutover.fences WHERE migration = %s AND side = %s ORDER BY role"
_FORGET = "DELETE FROM auditor_cutover.fences WHERE migration = %s AND side = %s"
_ENCODING = "SELECT current_setting('server_encoding'), pg_is_in_recovery()"


class PostgresJournal:
    """The journal of one migration. Several threads may use it; the lease is renewed on a connection of its own."""

    def __init__(self, dsn: str, migration: str, *, patience_seconds: float = PATIENCE_SECONDS) -> None:
        """Remember where it is; nothing is opened yet."""
        self.migration = migration
        self._records, self._leases = Session(dsn, "journal"), Session(dsn, "lease")
        self._locks = {self._records: threading.RLock(), self._leases: threading.RLock()}
        self._patience = patience_seconds
        self._token = uuid4().hex
        self._head: tuple[int, str] | None = None
        self._written = False
        self._ahead = timedelta(0)
        """By how much the journal's clock is ahead of ours."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End both sessions."""
        for session, lock in self._locks.items():
            with lock:
                session.close()

    def install(self, sides: Iterable[Identity]) -> None:
        """Make the journal's tables where they are missing.

        Args:
            sides: who the source's and the target's servers are; the journal is on neither.
        Raises:
            JournalUnfit: it is on one of them, read-only, or in an encoding that cannot hold every name.
            JournalUnavailable: it cannot be reached.
        """
        own = self._whole(self._records, lambda deadline: self._records.identity(deadline))
        if own.system in {side.system for side in sides}:
            raise JournalUnfit(
                "the journal is on the server of one of the sides",
                hint="give cutover.journal a database on a third server: it must outlive either side",
            )
        ((encoding, standby),) = self._asked(self._records, _ENCODING)
        if encoding != "UTF8" or standby:
            raise JournalUnfit(
                f"the journal's database has the encoding {encoding}" if not standby else "the journal is a standby",
                hint="give cutover.journal a database that can be written to, with the encoding UTF8",
            )
        schema = resources.files("orchestrator").joinpath("sql/journal.sql").read_text("utf-8")
        self._whole(self._records, lambda deadline: self._install(schema, deadline))

    def _install(self, schema: str, deadline: Deadline) -> None:
        with self._records.transaction(deadline):
            self._records.execute(
                "SELECT pg_advisory_xact_lock(hashtext('auditor_cutover'))", deadline=deadline
            )  # two installers would trip over each other
            self._records.execute(schema.encode(), deadline=deadline)

    # The lease.

    def acquire(self, holder: str, seconds: float) -> Lease:
        params = (self.migration, holder, self._token, seconds, GENESIS, seconds)
        rows = self._asked(self._leases, _ACQUIRE, params)
        if not rows:
            held = self.lease()
            raise LeaseHeld(f"{held.holder if held else 'somebody'} holds the lease of {self.migration}")
        ((epoch, left, now),) = rows
        self._heard(now)
        with self._locks[self._records]:
            self._head = None
        return Lease(epoch, holder, left)

    def renew(self, epoch: int, seconds: float) -> Lease:
        rows = self._asked(self._leases, _RENEW, (seconds, self.migration, epoch))
        if not rows:
            raise self._lost(epoch)
        ((holder, left, now),) = rows
        self._heard(now)
        return Lease(epoch, holder, left)

    def release(self, epoch: int) -> None:
        self._asked(self._leases, _RELEASE, (self.migration, epoch))

    def lease(self) -> Lease | None:
        rows = self._asked(self._leases, _LEASE, (self.migration,))
        return Lease(*rows[0][:3]) if rows else None

    def _heard(self, now: datetime) -> None:
        self._ahead = now - now_utc()

    def _lost(self, epoch: int) -> LeaseLost:
        return LeaseLost(f"epoch {epoch} of {self.migration} is over, or was followed by another")

    # The chain and the outcome.

    def append(self, epoch: int, actor: str, drafts: Sequence[Draft]) -> list[Entry]:
        with self._locks[self._records]:
            seq, head = self._chain_end()
            entries = chained(self.migration, epoch, actor, drafts, seq, head, now_utc() + self._ahead)
            self._head = None  # not known until the answer is here
            if not self._asked(self._records, _APPEND, self._append_params(epoch, actor, entries, seq, head)):
                self._find(epoch, entries)
            self._head, self._written = (entries[-1].seq, entries[-1].hash), True
            return entries

    def _append_params(
        self, epoch: int, actor: str, entries: Sequence[Entry], seq: int, head: str
    ) -> tuple[Any, ...]:  # fmt: skip
        last = entries[-1]
        return (
            last.seq, last.hash, self.migration, epoch, seq, head, actor,
            [entry.attempt for entry in entries],
            [entry.seq for entry in entries],
            [entry.direction.value for entry in entries],
            [entry.step for entry in entries],
            [entry.kind.value for entry in entries],
            [canonical(entry.facts) for entry in entries],
            [entry.at for entry in entries],
            [entry.previous_hash for entry in entries],
            [entry.hash for entry in entries],
        )  # fmt: skip

    def _find(self, epoch: int, entries: Sequence[Entry]) -> None:
        """See whether a refused statement had taken effect when its answer was lost."""
        ((now_epoch, _, left, _, head),) = self._asked(self._records, _LEASE, (self.migration,))
        if now_epoch != epoch or left <= 0:
            raise self._lost(epoch)
        if head != entries[-1].hash:
            raise JournalUnfit(
                f"the chain of {self.migration} does not end where this orchestrator left it",
                hint="somebody else writes into the journal; see `auditor cutover verify-journal`",
            )

    def _chain_end(self) -> tuple[int, str]:
        if self._head is None:
            rows = self._asked(self._records, _LEASE, (self.migration,))
            self._head = rows[0][3:] if rows else (0, GENESIS)
        return self._head

    def entries(self, after: int = 0, limit: int | None = None) -> list[Entry]:
        return self._paged(lambda page: self._asked(self._records, _ENTRIES, page), after, limit)

    def _paged(self, read: Callable[[Sequence[Any]], list[Row]], after: int, limit: int | None) -> list[Entry]:
        """Read page by page; nothing that was read can change, and what is written meanwhile comes last."""
        entries: list[Entry] = []
        while True:
            size = PAGE_ENTRIES if limit is None else min(PAGE_ENTRIES, limit - len(entries))
            rows = read((self.migration, after, size))
            entries += map(_entry, rows)
            if len(rows) < size or len(entries) == limit:
                return entries
            after = entries[-1].seq

    def decide(self, epoch: int, actor: str, attempt: int, direction: Direction, result: Result) -> Outcome:
        params = (attempt, direction.value, result.value, actor, self.migration, epoch)
        self._asked(self._records, _DECIDE, params)
        found = self.outcome(attempt)
        lease = self.lease()
        if found is None or lease is None or lease.epoch != epoch or lease.over:
            raise self._lost(epoch)
        return found

    def outcome(self, attempt: int) -> Outcome | None:
        rows = self._asked(self._records, _OUTCOMES, (self.migration, attempt))
        return _outcome(rows[0]) if rows else None

    def verify(self) -> Verified:
        with self._locks[self._records]:
            return self._whole(self._records, self._verify)

    def _verify(self, deadline: Deadline) -> Verified:
        with self._records.transaction(deadline):
            self._records.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", deadline=deadline)
            leases = self._records.execute(_LEASE, (self.migration,), deadline=deadline)
            entries = self._paged(self._page, 0, None)
            decided = self._records.execute(_OUTCOMES, (self.migration, None), deadline=self._moment())
        outcomes = [_outcome(row) for row in decided]
        seq, head = leases[0][3:] if leases else (0, GENESIS)
        return Verified(len(entries), head, chain_problems(entries, outcomes, seq, head))

    def _page(self, page: Sequence[Any]) -> list[Row]:
        return self._records.execute(_ENTRIES, page, deadline=self._moment())

    def _moment(self) -> Deadline:
        """Give one statement its time."""
        return Deadline.within(min(STATEMENT_SECONDS, self._patience), "the journal")

    # Operators.

    def request(
        self, wish: Wish, actor: str, reason: str, attempt: int | None = None, facts: Mapping[str, Any] | None = None
    ) -> Request:
        token = str(uuid4())
        params = (token, self.migration, wish.value, actor, reason, attempt, canonical(facts or {}))
        self._asked(self._records, _REQUEST, params)
        rows = self._asked(self._records, _REQUESTS, (self.migration,))
        return next(_request(row) for row in rows if row[8] == token)

    def requests(self) -> list[Request]:
        return [_request(row) for row in self._asked(self._records, _REQUESTS, (self.migration,))]

    def answer(self, epoch: int, request: int, words: str) -> None:
        params = (words, request, self.migration, self.migration, epoch)
        if not self._asked(self._records, _ANSWER, params):
            raise self._lost(epoch)

    def approve(self, digest: str, actor: str, seconds: float) -> Approval:
        token = str(uuid4())
        self._asked(self._records, _APPROVE, (token, self.migration, digest, actor, seconds))
        rows = self._asked(self._records, _APPROVALS, (self.migration, digest))
        return next(_approval(row) for row in rows if row[6] == token)

    def approvals(self, digest: str) -> list[Approval]:
        return [_approval(row) for row in self._asked(self._records, _APPROVALS, (self.migration, digest))]

    def use_approvals(self, epoch: int, attempt: int, approvals: Sequence[int]) -> None:
        if not approvals:
            return
        params = (attempt, list(approvals), self.migration, attempt, attempt, self.migration, epoch)
        if len(self._asked(self._records, _USE, params)) != len(set(approvals)):
            raise self._lost(epoch)

    # Fenced roles.

    def remember(self, side: Side, roles: Sequence[str]) -> None:
        self._asked(self._records, _REMEMBER, (self.migration, side.value, list(roles)))

    def remembered(self, side: Side) -> list[str]:
        return [row[0] for row in self._asked(self._records, _REMEMBERED, (self.migration, side.value))]

    def forget(self, side: Side) -> None:
        self._asked(self._records, _FORGET, (self.migration, side.value))

    # Statements.

    def _asked(self, session: Session, statement: Statement, params: Sequence[Any] = ()) -> list[Row]:
        """Send one statement, and again as it is where its answer was lost."""
        with self._locks[session]:
            return self._whole(session, lambda deadline: session.execute(statement, params, deadline=deadline))

    def _whole(self, session: Session, act: Callable[[Deadline], Answer]) -> Answer:
        until = time.monotonic() + self._patience
        while True:
            try:
                return act(self._moment())
            except Retryable as error:
                if time.monotonic() >= until:
                    raise JournalUnavailable(f"the journal cannot be reached: {error}") from error
            except NeedsOperator as error:
                if not self._written:
                    raise JournalUnfit(f"the journal cannot be used: {error}", hint=error.hint) from error
                if time.monotonic() >= until:
                    raise JournalUnavailable(f"the journal cannot be used now: {error}") from error
                session.close()  # another server may answer at the same address by now
            time.sleep(_PAUSE_SECONDS)


def _entry(row: Row) -> Entry:
    migration, attempt, seq, epoch, direction, step, kind, facts, actor, at, previous, own = row
    utc = at.astimezone(UTC)
    return Entry(
        migration, attempt, seq, epoch, Direction(direction), step, Kind(kind), facts, actor, utc, previous, own
    )


def _outcome(row: Row) -> Outcome:
    attempt, direction, result, epoch, actor, at = row
    return Outcome(attempt, Direction(direction), Result(result), epoch, actor, at.astimezone(UTC))


def _request(row: Row) -> Request:
    number, wish, actor, reason, at, attempt, facts, answer, _ = row
    return Request(number, Wish(wish), actor, reason, at.astimezone(UTC), attempt, facts, answer)


def _approval(row: Row) -> Approval:
    number, digest, actor, at, left, attempt, _ = row
    return Approval(number, digest, actor, at.astimezone(UTC), left, attempt)
