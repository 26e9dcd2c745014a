"""Differences that somebody takes responsibility for, and what they are laid over: never more than they name."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from comparators.findings import CANARY, Acceptance, Finding, Kind, State


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the file: a kind, columns or keys of one table, or that the table cannot be read at all."""

    place: str
    """Where it stands, for people: `accepted.yaml: accepted.0`."""
    table: str
    owner: str
    reason: str
    until: float
    """Unix seconds; from then on it no longer counts."""
    at: float
    """Unix seconds; when the file was written."""
    kind: Kind | None = None
    columns: frozenset[str] = frozenset()
    """Only findings whose columns are all among these; empty: whatever the columns."""
    key_hashes: frozenset[str] = frozenset()
    """Only findings whose keys are all listed and all among these; empty: whatever the keys."""
    skipped: bool = False
    """It is about the table's absence from the sweeps, and about no finding."""

    def counts(self, now: float) -> bool:
        """Say whether it has not ended yet."""
        return now < self.until

    def names(self, finding: Finding) -> bool:
        """Say whether it is about a finding; one that shows less than the entry asks for is not named by it."""
        if self.skipped or finding.table != self.table or finding.detector == CANARY:
            return False
        if self.kind is not None and finding.kind is not self.kind:
            return False
        if self.columns and not (finding.columns and self.columns.issuperset(finding.columns)):
            return False
        return not self.key_hashes or self._names_keys(finding)

    def _names_keys(self, finding: Finding) -> bool:
        hashes = [key.hash for key in finding.keys]
        return bool(hashes) and len(hashes) >= finding.count and self.key_hashes.issuperset(hashes)


def lay_over(findings: Iterable[Finding], entries: Sequence[Entry], now: float) -> list[Finding]:
    """Mark the findings that an entry in force names as accepted; all stay listed.

    Args:
        now: unix seconds.
    """
    in_force = [entry for entry in entries if entry.counts(now)]
    return [_laid_over(finding, in_force) for finding in findings]


def _laid_over(finding: Finding, entries: Sequence[Entry]) -> Finding:
    if finding.state not in (State.SUSPECT, State.CONFIRMED):
        return finding
    entry = next((entry for entry in entries if entry.names(finding)), None)
    if entry is None:
        return finding
    accepted = Acceptance(entry.owner, entry.reason, entry.until, entry.at, entry.place)
    return replace(finding, state=State.ACCEPTED, accepted=accepted)
