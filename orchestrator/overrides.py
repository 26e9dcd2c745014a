"""Who takes responsibility for what, and when that counts: by name, with a reason, for a time, and never quietly.

An override accepts a number that is known and over its limit, or a named item of the checklist that is known. It
never stands in for something that is not known, and no invariant can be overridden (`Condition.overridable`).
"""

from collections.abc import Sequence

from comparators.checklist import check_of
from comparators.preflight import Item, ItemStatus
from orchestrator.measured import FUTURE_SECONDS, Unknown, number_of
from orchestrator.seen import Evidence, OverrideSeen


def standing(evidence: Evidence, condition: str, now: float) -> list[OverrideSeen]:
    """List the overrides of a condition that are in force."""
    return [one for one in evidence.overrides if one.condition == condition and refusal(one, now) is None]


def refusal(one: OverrideSeen, now: float) -> str | None:
    """Say why an override counts for nothing, as far as it shows by itself; `None` where it is in force."""
    if not (one.owner or "").strip():
        return "it names no owner"
    if not (one.reason or "").strip():
        return "it gives no reason"
    try:
        at, until, present = (
            number_of(value, what) for value, what in ((one.at, "its date"), (one.until, "its end"), (now, "the time"))
        )
    except Unknown as unknown:
        return str(unknown)
    if at > present + FUTURE_SECONDS:
        return "it is dated in the future"
    return None if present < until else "it has ended"


def item_refusal(condition: str, item: str, items: Sequence[str]) -> str | None:
    """Say why nobody may accept an item of a checklist; `None` where somebody may.

    Args:
        items: those that the condition rests on.
    """
    check = check_of(item) if item in items else None
    if check is None:
        return f"{condition} has no item {item}"
    return None if check.overridable else f"{item} is an invariant"


def acceptance(item: Item, overrides: Sequence[OverrideSeen]) -> OverrideSeen | None:
    """Give the override that accepts an item; what is not known nobody can accept."""
    check = check_of(item.name)
    if item.status is ItemStatus.UNKNOWN or check is None or not check.overridable:
        return None
    return next((one for one in overrides if one.item == item.name), None)


def words_of(one: OverrideSeen) -> str:
    """Say who accepted it, and why."""
    return f"accepted by {one.owner}: {one.reason}"
