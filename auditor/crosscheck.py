"""Hold what one audit found against what the other should have seen.

A row that was equal and differs now has been changed in between. Where the transaction audit compared every change in
between and has nothing to say, one of the two is blind, or something changed the row behind the log's back: a finding
of its own, `unexplained`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from comparators.findings import Kind
from samplers.table_sweep import RowDifference

Record = Mapping[str, Any]
CLOCK_SECONDS = 60.0
"""A finding that is older than the sweep by so little may still tell of a later change."""


class View(Protocol):
    """What the processes of the migration last said."""

    def get(self, key: str) -> Record | None: ...
    def baseline(self) -> Record | None: ...
    def below(self, prefix: str) -> Mapping[str, Record]: ...


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


def marked(differences: Iterable[RowDifference], *, explained: bool) -> tuple[RowDifference, ...]:
    """Give the differences, and each of them once more as `unexplained` where nothing explains them."""
    listed = tuple(differences)
    if explained:
        return listed
    return listed + tuple(replace(one, kind=str(Kind.UNEXPLAINED)) for one in listed)


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
