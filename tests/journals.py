"""Entries of a cutover's journal as a conductor would have written them, at times that a test chooses."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.cutover import ABORT_STEPS, ROLLBACK_STEPS, STEPS, Event
from orchestrator.records import GENESIS, Direction, Draft, Entry, Kind, chained, hash_of

START = datetime(2030, 1, 1, 12, tzinfo=UTC)
CLOSED = {"closed": True, "sessions": 0, "prepared": 0}
FORWARD_FACTS: Mapping[str, Mapping[str, Any]] = {
    "check-all": {"blockers": 0},
    "check-gate": {"verdict": "PASS", "rate": 1.0},
    "check-approval": {"enough": True, "by": ["ann"], "plan": "sha256:p"},
    "shadow-reads": {"possible": False},
    "close-new": CLOSED,
    "prepare-reverse": {"reverse": "disabled"},
    "start-reverse-audit": {"ready": True},
    "check-budget": {"within": True, "predicted_ms": 120.0},
    "check-way-back": {"verdict": "PASS"},
    "start-dead-man": {"ready": True},
    "consume-verdict": {"verdict": "PASS", "overrides": [], "accepted": []},
    "hold-proxies": {"held": True},
    "close-old": CLOSED,
    "record-fence-lsn": {"fence_lsn": 4711},
    "see-marker": {"fence_lsn": 4711, "seen": True, "nonce": "n"},
    "make-durable": {"durable": True},
    "compare-last": {"different": 0, "missing": 0, "compared": 100},
    "set-sequences": {"sequences": 3, "behind": 0},
    "hand-over-consumers": {"consumers": 1, "behind": 0},
    "confirm-verdict": {
        "verdict": "PASS", "asked_after_fence": True, "evaluated_after": "2026-01-01T00:00:00.001Z",
        "evaluated_at": "2026-01-01T00:00:00.002Z", "overrides": [], "accepted": [],
    },
    "stop-forward": {"forward": "disabled"},
    "record-commit-line": {"commit_line": 99, **CLOSED, "behind": 0},
    "commit": {"result": "commit"},
    "enable-reverse": {"reverse": "enabled"},
    "open-new": {"closed": False},
    "release-proxies": {"held": False},
    "prove-routing": {"elsewhere": 0, "proxies": 1},
    "count-old-sessions": {"sessions": 0, "closed": True},
    "write-canary": {"seen": True},
    "win-abort": {"result": "abort"},
    "open-old": {"closed": False},
    "release-after-abort": {"held": False},
    "resume-forward": {"forward": "enabled"},
}
_WAYS = {Direction.FORWARD: STEPS, Direction.BACK: ROLLBACK_STEPS}


class Written:
    """Writes entries one after the other; each step takes `ms` milliseconds, each entry one."""

    def __init__(self, migration: str = "orders", actor: str = "ann@host") -> None:
        self.migration, self.actor = migration, actor
        self.entries: list[Entry] = []
        self.now, self.attempt, self.direction, self.epoch = START, 1, Direction.FORWARD, 1

    def write(self, step: str, kind: Kind, **facts: Any) -> "Written":
        """Write one entry."""
        head = self.entries[-1].hash if self.entries else GENESIS
        draft = Draft(self.attempt, self.direction, step, kind, facts)
        self.now += timedelta(milliseconds=1)
        self.entries += chained(self.migration, self.epoch, self.actor, [draft], len(self.entries), head, self.now)
        return self

    def step(self, name: str, ms: float = 4, **facts: Any) -> "Written":
        """Write a step that was done, with the facts that prove it unless others are given."""
        proof = {"route-proxies": {"route": str(self.direction.new)}, "route-back": {"route": str(self.direction.old)}}
        self.write(name, Kind.INTENT)
        self.now += timedelta(milliseconds=ms)
        return self.write(name, Kind.DONE, **{**FORWARD_FACTS.get(name, {}), **proof.get(name, {}), **facts})

    def event(self, event: Event, **facts: Any) -> "Written":
        """Write what moved it to another phase."""
        return self.write(str(event), Kind.EVENT, **facts)

    def until(self, last: str, ms: float = 4) -> "Written":
        """Write every step up to one, which is done as well; those that are there already are left out."""
        there = {entry.step for entry in self.entries if entry.attempt == self.attempt}
        names = [step.name for step in _WAYS[self.direction]]
        for name in names[: names.index(last) + 1]:
            if name not in there:
                self.step(name, ms)
        return self

    def aborted(self, reason: str) -> "Written":
        """Write an abort from where it stands."""
        began = {entry.step for entry in self.entries if entry.attempt == self.attempt}
        self.event(Event.FAILED, reason=reason)
        for step in ABORT_STEPS:
            if not step.undoes or began & set(step.undoes):
                self.step(step.name)
        return self.event(Event.ABORTED)

    def again(self, direction: Direction = Direction.FORWARD) -> "Written":
        """Begin another attempt."""
        self.attempt, self.direction, self.epoch = self.attempt + 1, direction, self.epoch + 1
        return self


def tampered(entry: Entry, **changes: Any) -> Entry:
    """Give an entry with other contents under the hash of before."""
    changed = replace(entry, **changes)
    assert hash_of(changed) != entry.hash
    return changed
