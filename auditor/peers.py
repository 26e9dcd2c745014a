"""What the other processes of a migration last said, kept fresh for a process that acts on it."""

import threading
from collections.abc import Callable, Mapping
from typing import Any

from auditor.records import Records
from comparators.errors import Retryable


class Peers:
    """A copy of the records that is refreshed in the background of the caller; reading it never waits."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: dict[str, Any] = {}
        self._lock = threading.Lock()

    def refresh(self) -> dict[str, Any]:
        """Take in what changed and return that; an unreachable store changes nothing."""
        try:
            changed = self._records.changes()
        except Retryable:
            return {}
        with self._lock:
            for key, value in changed.items():
                if value is None:
                    self._known.pop(key, None)
                else:
                    self._known[key] = value
        return changed

    def get(self, key: str) -> Mapping[str, Any] | None:
        """Give the newest known value of a key."""
        with self._lock:
            return self._known.get(key)

    def baseline(self) -> Mapping[str, Any] | None:
        """Give the baseline that holds; `None` before `auditor prepare`, during it and after `auditor teardown`."""
        found = self.get("baseline")
        return None if found is None or "ended" in found or "renewing" in found else found

    def committed(self) -> bool:
        """Say whether a cutover's commit has ended this audit: what is different since then is lawful."""
        return "committed" in (self.get("baseline") or {})

    def below(self, prefix: str) -> dict[str, Mapping[str, Any]]:
        """Give every known key under a prefix."""
        with self._lock:
            return {key: value for key, value in self._known.items() if key.startswith(prefix)}


class Standing:
    """Asks the records themselves, right before somebody is accused, whether a cutover's commit has ended the audit."""

    def __init__(self, open_records: Callable[[], Records]) -> None:
        self._open = open_records
        self._peers: Peers | None = None
        self._lock = threading.Lock()

    def over(self) -> bool:
        """Say whether it has ended: a commit is told of before anybody writes on the target."""
        with self._lock:
            if self._peers is None:
                self._peers = Peers(self._open())
            self._peers.refresh()
            return self._peers.committed()
