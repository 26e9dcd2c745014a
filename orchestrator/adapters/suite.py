"""Reads of the user's, measured through every proxy as an application would: one round trip each, errors counted."""

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from comparators.errors import AuditorError
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline
from orchestrator.parallel import in_parallel
from orchestrator.ports import Facts
from orchestrator.records import LeaseLost

ROUNDS = 10
LONGEST_READ_SECONDS = 5.0
SHARE = 0.5
"""Of the time that is left, what a look may take; others look at other things in the same time."""


@dataclass(slots=True)
class _Seen:
    """What one way through a proxy showed."""

    ms: dict[str, list[float]] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)


class ReadSuite:
    """The reads of one migration; its sessions stay open between two looks."""

    def __init__(self, reads: Mapping[str, str], ways: Mapping[str, str], rounds: int = ROUNDS) -> None:
        """Remember what is read where; nothing is opened yet.

        Args:
            reads: by name, queries that change nothing.
            ways: connection strings through the proxies, by the proxies' names.
            rounds: how often each read is done through each proxy in one look, where the time allows.
        """
        self._reads, self._rounds = dict(reads), rounds
        self._sessions = {name: Session(dsn, f"reads through {name}", pinned=False) for name, dsn in ways.items()}

    def measure(self, deadline: Deadline) -> Facts:
        """Do every read through every proxy, all proxies at once.

        Returns:
            `reads` and how many of them are `errors`, `p50_ms` and `p99_ms` of those that ended well (null where none
            did), `failed` by read, and the `slowest` read.
        """
        if not self._reads:
            return {"reads": 0, "errors": 0, "p50_ms": None, "p99_ms": None, "failed": {}, "slowest": None}
        until = time.monotonic() + deadline.left() * SHARE
        ended = in_parallel(
            {
                name: lambda session=session: self._look(session, until, deadline)  # type: ignore[misc]
                for name, session in self._sessions.items()
            }
        )
        ended.raise_first()
        return _figures(list(ended.answers.values()))

    def close(self) -> None:
        """End its sessions."""
        for session in self._sessions.values():
            session.close()

    def _look(self, session: Session, until: float, deadline: Deadline) -> _Seen:
        seen = _Seen({name: [] for name in self._reads})
        for _ in range(self._rounds):
            for name, query in self._reads.items():
                if time.monotonic() > until:
                    return seen
                deadline.left()
                self._read(session, name, query, seen, deadline)
        return seen

    def _read(self, session: Session, name: str, query: str, seen: _Seen, deadline: Deadline) -> None:
        began = time.monotonic()
        limit = int(LONGEST_READ_SECONDS * 1000)
        # one message, as poolers by transaction need it; the line's end closes a comment that the query may end with
        words = f"BEGIN READ ONLY; SET LOCAL statement_timeout = {limit}; {query.strip().rstrip(';')}\n; COMMIT"
        try:
            session.execute(words.encode(), deadline=deadline.anew(LONGEST_READ_SECONDS, f"reading {name}"))
        except LeaseLost:
            raise
        except AuditorError:
            seen.errors[name] += 1
            session.close()  # whatever state it was left in
        else:
            seen.ms[name].append((time.monotonic() - began) * 1000)


def _figures(seen: Sequence[_Seen]) -> Facts:
    failed: Counter[str] = sum((one.errors for one in seen), Counter())
    by_read = {name: sorted(ms for one in seen for ms in one.ms[name]) for name in seen[0].ms} if seen else {}
    together = sorted(ms for times in by_read.values() for ms in times)
    worst = {name: times[-1] for name, times in by_read.items() if times}
    return {
        "reads": len(together) + failed.total(),
        "errors": failed.total(),
        "p50_ms": quantile(together, 0.5),
        "p99_ms": quantile(together, 0.99),
        "failed": dict(failed),
        "slowest": max(worst, key=lambda name: worst[name]) if worst else None,
    }


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Give the smallest value that at least this share of the values do not exceed; `None` of none."""
    return round(ordered[math.ceil(share * len(ordered)) - 1], 2) if ordered else None
