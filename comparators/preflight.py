"""The checklist of both sides: which checks there are, and what each says. Pure values; probes fill them in.

A check that is declared here and says nothing counts as unknown: silence never passes.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

NAMED = 20
"""So many objects an item names; `count` is exact."""


class ItemStatus(StrEnum):
    """What a check found; the later ones are worse, and all from `blocks-capacity` on close the gate."""

    OK = "ok"
    WARN = "warn"
    BLOCKS_CAPACITY = "blocks-capacity"
    """The move may fail or take too long, and no data is at risk."""
    BLOCKS_CORRECTNESS = "blocks-correctness"
    """Data would be lost, refused or different."""
    UNKNOWN = "unknown"

    @property
    def blocks(self) -> bool:
        return self not in (ItemStatus.OK, ItemStatus.WARN)


@dataclass(frozen=True, slots=True)
class Check:
    """A line of the checklist: a name that never changes once published, its group, and what it asks."""

    name: str
    group: str
    what: str
    overridable: bool = False
    """Whether a person may take responsibility for it; never where data would be lost or left unproved."""


@dataclass(frozen=True, slots=True)
class Item:
    """What one check found; `subjects` names at most `NAMED` objects, never a row or a value of the user's."""

    name: str
    status: ItemStatus
    sentence: str
    remedy: str = ""
    subjects: tuple[str, ...] = ()
    count: int = 0


def found(
    name: str, status: ItemStatus, subjects: Iterable[str], sentence: str, remedy: str, fine: str = "none found"
) -> Item:
    """Give the item of a check that looks for offending objects.

    Args:
        status: what it means that there are any.
        subjects: the objects; none of them is the good news `fine`.
    """
    named = sorted(set(subjects))
    if not named:
        return Item(name, ItemStatus.OK, fine)
    return Item(name, status, sentence, remedy, tuple(named[:NAMED]), len(named))


def unknown(name: str, reason: str, remedy: str = "") -> Item:
    """Give the item of a check that could not be made."""
    return Item(name, ItemStatus.UNKNOWN, f"not known: {reason}", remedy)


def completed(items: Iterable[Item], checks: Iterable[Check]) -> tuple[Item, ...]:
    """Give one item for each check, in the checks' order; a check nobody made is unknown, and so is one made twice."""
    by_name: dict[str, list[Item]] = {}
    for item in items:
        by_name.setdefault(item.name, []).append(item)
    return tuple(
        by_name[check.name][0] if len(by_name.get(check.name, ())) == 1 else unknown(check.name, "it was not checked")
        for check in checks
    )


def item_json(item: Item) -> dict[str, Any]:
    """Write an item for records, for people's programs and for `--json`."""
    return {
        "name": item.name,
        "status": str(item.status),
        "sentence": item.sentence,
        "remedy": item.remedy,
        "subjects": list(item.subjects),
        "count": item.count,
    }


def item_of(value: Any) -> Item | None:
    """Read an item back; `None` for anything that is none."""
    if not isinstance(value, Mapping):
        return None
    name, status, sentence = (value.get(field) for field in ("name", "status", "sentence"))
    subjects, count = value.get("subjects", ()), value.get("count", 0)
    if not isinstance(name, str) or not isinstance(sentence, str) or status not in list(ItemStatus):
        return None
    if not isinstance(subjects, list | tuple) or isinstance(count, bool) or not isinstance(count, int) or count < 0:
        return None
    return Item(
        name, ItemStatus(status), sentence, str(value.get("remedy", "")), tuple(str(one) for one in subjects), count
    )
