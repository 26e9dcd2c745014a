"""A log of verdicts in memory, and verdicts to put into one."""

from collections.abc import Iterator, Sequence
from typing import Any

from auditor.verdicts import Anchor, Draft, Entry, Kind, evaluation_id, read_entry, seal_all, tail_of
from comparators.errors import StoreUnavailable
from comparators.findings import time_text

NOW = 1_700_000_000.0  # a broker refuses times to come


class MemoryVerdictLog:
    """The log on a list; `away` makes every call fail as a lost store does. `close` keeps what it holds."""

    def __init__(self) -> None:
        self.stored: list[str] = []
        self.away = False
        self.opened = 0

    def open(self) -> "MemoryVerdictLog":
        self._check()
        self.opened += 1
        return self

    def append(self, drafts: Sequence[Draft]) -> list[Entry]:
        self._check()
        made = seal_all(drafts, tail_of(reversed(self.stored))[0])
        self.stored += [entry.text for entry in made]
        return made

    def damage(self) -> list[str]:
        self._check()
        return tail_of(reversed(self.stored))[1]

    def lines(self, since: float | None = None) -> Iterator[str]:
        self._check()
        yield from (line for line in list(self.stored) if since is None or read_entry(line).at >= since)

    def newest(self) -> Iterator[str]:
        self._check()
        yield from reversed(list(self.stored))

    def anchor(self) -> Anchor | None:
        return Anchor()

    def close(self) -> None:
        pass

    def entries(self, kind: str | None = None) -> list[Entry]:
        found = [read_entry(line) for line in list(self.stored)]
        return [entry for entry in found if kind in (None, entry.kind)]

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("the disk is gone")


def verdict(number: int = 0, status: str = "PASS", at: float = NOW, **more: Any) -> dict[str, Any]:
    """Give a verdict's JSON as the gate makes it."""
    condition = {
        "name": "lag-ms", "status": status, "value": 2.5 + number, "limit": 10, "unit": "ms", "age_seconds": 0.2,
        "reason": f"lag: {2.5 + number} ms",
    }  # fmt: skip
    document = {
        "migration": "orders", "verdict": status, "evaluated_at": time_text(at), "valid_until": time_text(at + 15),
        "conditions": [condition], "reasons": [] if status == "PASS" else [condition["reason"]], "needs_person": False,
        "evidence_digest": "sha256:00", "next_steps": [],
    } | more  # fmt: skip
    return document | {"id": evaluation_id(document), "consumed_by": None}


def draft(number: int = 0, at: float = NOW, kind: Kind = Kind.VERDICT, **more: Any) -> Draft:
    """Give something to append."""
    body = verdict(number, at=at, **more)
    return Draft(kind, str(body["id"]), body, at)
