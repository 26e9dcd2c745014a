"""Hold what one audit found against what the other should have seen.

A row that was equal and differs now has been changed in between. Where the transaction audit compared every change in
between and has nothing to say, one of the two is blind, or something changed the row behind the log's back: a finding
of its own, `unexplained`.
"""

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from comparators.findings import Kind

Record = Mapping[str, Any]
JUDGED_SECONDS = 5.0
"""How long the transaction audit may take to judge what the row audit has read."""
POLL_SECONDS = 0.05
CLOCK_SECONDS = 60.0
"""A finding that is older than the sweep by so little may still tell of a later change."""


class View(Protocol):
    """What the processes of the migration last said."""

    def get(self, key: str) -> Record | None: ...
    def baseline(self) -> Record | None: ...
    def below(self, prefix: str) -> Mapping[str, Record]: ...


class CrossCheck:
    """Decides once a sweep of a table whether its differences are explained."""

    def __init__(self, view: View, pause: Callable[[float], None] = time.sleep) -> None:
        """Args: view: kept current by somebody else."""
        self._view, self._pause = view, pause
        self._explained: dict[str, tuple[Hashable, bool]] = {}

    def told(
        self, table: str, subscription: int, sweep: Hashable, before: Record, differences: Sequence[Any]
    ) -> tuple[Any, ...]:
        """Give the differences that a step of a sweep found, each once more as `unexplained` where nothing explains it.

        Args:
            sweep: names it.
            before: the table's coverage record, with its last complete sweep.
            differences: of `samplers.table_sweep`.
        """
        if not differences:
            return ()
        known = self._explained.get(table)
        if known is None or known[0] != sweep:
            position = max(one.source_position for one in differences)
            known = self._explained[table] = sweep, self._explain(table, subscription, before, position)
        again = () if known[1] else (replace(one, kind=str(Kind.UNEXPLAINED)) for one in differences)
        return *differences, *again

    def _explain(self, table: str, subscription: int, before: Record, position: int) -> bool:
        """Say whether a difference at a source position is explained, or may be in a moment."""
        if explain(table, subscription, before, self._view):
            return True
        return not self._judged(position) or explain(table, subscription, before, self._view)

    def _judged(self, position: int) -> bool:
        """Wait until the transaction audit has passed a source position: it may be about to report the same."""
        for _ in range(int(JUDGED_SECONDS / POLL_SECONDS)):
            parts = self._view.below("progress/").values()
            if parts and min(int(part["resolved"]) for part in parts) >= position:
                return True
            self._pause(POLL_SECONDS)
        return False


def explain(table: str, subscription: int, before: Record | None, view: View) -> bool:
    """Say whether the transaction audit accounts for a difference, or could not have seen what caused it.

    Args:
        table: in which the row audit found one.
        subscription: number of the one that brings the table.
        before: the coverage record with the last complete sweep of the table, `None` where there is none.
    """
    if _told_before(table, view):
        return False
    if before is None or not _was_equal(before, view):
        return True
    through, since = int(before["through"]), float(before["at"])
    return not (
        _in_full(table, through, view)
        and _every_change(subscription, through, view)
        and _without_gaps(through, since, view)
        and not _reported(table, since, view)
    )


def _told_before(table: str, view: View) -> bool:
    """Say whether the table's differences were found unexplained and have not healed since: they still are."""
    for key, suspect in view.below("suspect/").items():
        if suspect.get("kind") == Kind.UNEXPLAINED and suspect.get("table") == table:
            settled = view.get(key.replace("suspect/", "settled/", 1)) or suspect
            if settled.get("state") != "healed":
                return True
    return False


def _was_equal(before: Record, view: View) -> bool:
    """Say whether every row of the table was proved equal under this baseline."""
    baseline = view.baseline()
    same = baseline is not None and before.get("generation") == baseline["generation"]
    doubtful = any(before.get(name) != 0 for name in ("unverified", "hot", "different"))
    known = before.get("through") is not None and before.get("at") is not None
    return same and known and not doubtful and int(before.get("sweep") or 0) > 0


def _in_full(table: str, through: int, view: View) -> bool:
    """Say whether the table's changes of every kind are compared, from a position on."""
    scope = (view.get("sampler/target") or {}).get("scope") or ()
    entry = next((one for one in scope if one["table"] == table), None)
    return entry is not None and entry["state"] == "audited" and int(entry["since"] or 0) <= through


def _every_change(subscription: int, through: int, view: View) -> bool:
    """Say whether no transaction after a position was left out of the sample, on any partition and either side."""
    baseline, parts = view.baseline(), list(view.below("progress/").values())
    generation = None if baseline is None else baseline["generation"]
    joins = [part["joins"] for part in parts if part["generation"] == generation]
    if not joins or len(joins) != len(parts) or any(len(part) <= subscription for part in joins):
        return False
    rates = [side for part in joins for side in part[subscription]["rates"].values()]
    return len(rates) == 2 * len(joins) and all(_whole_rate(side, through) for side in rates)


def _whole_rate(rates: Sequence[Sequence[float]], through: int) -> bool:
    return len(rates) == 1 and rates[0][0] <= through and rates[0][1] >= 1.0


def _without_gaps(through: int, since: float, view: View) -> bool:
    gaps = view.below("gap/").values()
    overlaps = any(gap.get("to") is None or gap["to"] > through or gap.get("at", since) >= since for gap in gaps)
    return not overlaps and not view.below("dead-letter/")


def _reported(table: str, since: float, view: View) -> bool:
    """Say whether another detector has a finding about the table since a time, healed or not."""
    return any(
        suspect.get("table") == table and suspect.get("detector") != "row"
        and float(suspect.get("first_seen") or 0.0) >= since - CLOCK_SECONDS
        for suspect in view.below("suspect/").values()
    )  # fmt: skip
