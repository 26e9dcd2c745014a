"""What changed in the definition of tables since the baseline, told by digests of each side's objects.

An object's digest is the sum of its members' digests, so that the difference between two sums is what changed: the
same change on both sides is seen as the same, also where the sides were not equal before.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from comparators.checks.drift_objects import Digests, Observation
from comparators.checks.judges import Denials, Grade, graded, judge, judged, named
from comparators.preflight import Check, Item, ItemStatus, found, unknown

BLOCKS, WARN, OK = ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.WARN, ItemStatus.OK
_PARTS = ("both", "source", "target", "seen_source", "seen_target")
_HARMLESS = ("indexes",)
"""Kinds of objects that hold no rule for rows; the group `shape` judges them."""


@dataclass(frozen=True, slots=True)
class DriftState:
    """What is remembered from one look to the next; kept in a record."""

    generation: int
    at: float
    """Unix seconds of the look that made the baseline."""
    source: Digests
    """Objects to digests at the baseline."""
    target: Digests
    seen_source: Digests
    """At the last look."""
    seen_target: Digests
    changed_at: float | None = None
    """Unix seconds of the look that last saw a change, of one side or both."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Objects that are not as at the baseline."""

    unlike: tuple[str, ...] = ()
    """The two sides are not alike."""
    alike: tuple[str, ...] = ()
    published: tuple[str, ...] = ()
    """Of the source's publications: a table is no longer shown, or otherwise."""
    harmless: tuple[str, ...] = ()


def begin(observation: Observation, generation: int, now: float, changed_at: float | None = None) -> DriftState:
    """Make what both sides have now the baseline."""
    source, target = observation.source, observation.target
    return DriftState(generation, now, source, target, source, target, changed_at)


def advance(state: DriftState, observation: Observation, now: float) -> DriftState:
    """Remember what was seen, and when something that rows depend on was first seen changed."""
    before, after = (state.seen_source, state.seen_target), (observation.source, observation.target)
    moved = {
        name for old, new in zip(before, after, strict=True)
        for name in _unequal(old, new) if name not in observation.outside and _kind(name) not in _HARMLESS
    }  # fmt: skip
    changed_at = now if moved else state.changed_at
    return replace(state, seen_source=after[0], seen_target=after[1], changed_at=changed_at)


def _unequal(old: Digests, new: Digests) -> set[str]:
    return {name for name in {*old, *new} if old.get(name) != new.get(name)}


def _kind(name: str) -> str:
    return name.partition(" ")[0]


def changes(state: DriftState, observation: Observation) -> Changes:
    """Sort the objects that changed since the baseline."""
    changed = _unequal(state.source, observation.source) | _unequal(state.target, observation.target)
    sorts: dict[str, list[str]] = {"unlike": [], "alike": [], "published": [], "harmless": []}
    for name in sorted(changed - observation.outside):
        sorts[_sort(name, state, observation)].append(name)
    return Changes(**{sort: tuple(names) for sort, names in sorts.items()})


def _sort(name: str, state: DriftState, observation: Observation) -> str:
    if _kind(name) == "publication":
        return "published" if name in state.source else "alike"
    if _alike(name, state, observation):
        return "alike"
    return "harmless" if _kind(name) in _HARMLESS else "unlike"


def _alike(name: str, state: DriftState, observation: Observation) -> bool:
    """Say whether both sides have the same now, or the same has changed on both."""
    source, target = observation.source.get(name), observation.target.get(name)
    was_source, was_target = state.source.get(name), state.target.get(name)
    if source == target:
        return True
    if source is None or target is None or was_source is None or was_target is None:
        return False
    return _difference(was_source, source) == _difference(was_target, target)


def _difference(before: str, after: str) -> int:
    return (int(after, 16) - int(before, 16)) % (1 << 64)


def figures(state: DriftState, seen: Changes) -> dict[str, float | None]:
    """Count the changes."""
    return {
        "changes_unlike": len(seen.unlike) + len(seen.published),
        "changes_alike": len(seen.alike),
        "changed_at": state.changed_at,
        "objects": len(state.seen_source),
    }


@dataclass(frozen=True, slots=True)
class Drifted:
    """What the checks judge."""

    state: DriftState
    changes: Changes


def _baseline(name: str, drifted: Drifted) -> Item:
    if not drifted.state.source:
        return unknown(name, "no object of the migration was found to remember",
                       "name the publications that the subscriptions read, and check tables.include")  # fmt: skip
    return Item(name, OK, f"{len(drifted.state.source)} objects of the source are remembered")


def _sides_differ(name: str, drifted: Drifted) -> Item:
    return found(
        name, BLOCKS, _shown(drifted.changes.unlike), "changed since the baseline, and not the same way on both sides",
        "make the same change on the other side, or take it back", "none changed on one side only",
    )  # fmt: skip


def _publications(name: str, drifted: Drifted) -> Item:
    return found(
        name, BLOCKS, _shown(drifted.changes.published),
        "the publications no longer show these tables as they did at the baseline",
        "set the publication back; or copy these tables again, and run `auditor prepare --new-baseline`",
        "each table is shown as it was",
    )  # fmt: skip


def _same(name: str, drifted: Drifted) -> Item:
    seen = drifted.changes
    return graded(
        name,
        "nothing changed",
        Grade(WARN, _shown(seen.alike), "changed since the baseline, the same way on both sides",
              "the gate opens once every table was swept after the change"),
        Grade(WARN, _shown(seen.harmless), "indexes changed on one side only", "create or drop them on the other side"),
    )  # fmt: skip


def _shown(names: Iterable[str]) -> list[str]:
    """Write `columns public.orders` as `public.orders (columns)`."""
    parted = [name.partition(" ") for name in names]
    return [f"{name} ({kind.replace('_', ' ')})" for kind, _, name in parted]


_here = functools.partial(judge, "drift")
_JUDGES = (
    _here("drift-baseline", "the definitions at the audit's beginning are remembered", _baseline),
    _here("drift-sides-differ", "no definition changed on one side only", _sides_differ),
    _here("drift-publications", "the publications show each table as at the baseline", _publications),
    _here("drift-alike", "changes made on both sides, which every table must be swept after", _same),
)
CHECKS: tuple[Check, ...] = tuple(each.check for each in _JUDGES)


def judge_drift(drifted: Drifted) -> tuple[Item, ...]:
    """Make every check of the group."""
    return tuple(judged(_JUDGES, drifted, ()))


def judge_denied(denied: Denials) -> tuple[Item, ...]:
    """Make every check of the group where something could not be read: a part of the truth would look like a change."""
    first = next(iter(denied.values()))
    return tuple(unknown(check.name, f"{named(denied)}: {first.reason}", first.remedy) for check in CHECKS)


def state_json(state: DriftState) -> dict[str, Any]:
    """Write the state as a record: what both sides have alike once, and of the last look what differs from it."""
    both = {name: digest for name, digest in state.source.items() if state.target.get(name) == digest}
    return {
        "generation": state.generation,
        "at": state.at,
        "both": both,
        "source": _without(state.source, both),
        "target": _without(state.target, both),
        "seen_source": _moves(state.source, state.seen_source),
        "seen_target": _moves(state.target, state.seen_target),
        "changed_at": state.changed_at,
    }


def _without(digests: Digests, both: Digests) -> dict[str, str]:
    return {name: digest for name, digest in digests.items() if name not in both}


def _moves(old: Digests, new: Digests) -> dict[str, str | None]:
    return {name: new.get(name) for name in sorted(_unequal(old, new))}


def state_of(value: Any) -> DriftState | None:
    """Read a state back; `None` for anything that is none."""
    if not isinstance(value, Mapping):
        return None
    generation, at, changed_at = (value.get(name) for name in ("generation", "at", "changed_at"))
    both, source, target, moved_source, moved_target = (_digests(value.get(name)) for name in _PARTS)
    if not isinstance(generation, int) or not _is_time(at) or (changed_at is not None and not _is_time(changed_at)):
        return None
    if both is None or source is None or target is None or moved_source is None or moved_target is None:
        return None
    old_source, old_target = _moved(both, source), _moved(both, target)
    return DriftState(
        generation, at, old_source, old_target, _moved(old_source, moved_source), _moved(old_target, moved_target),
        changed_at,
    )  # fmt: skip


def _is_time(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _digests(part: Any) -> dict[str, str | None] | None:
    if not isinstance(part, Mapping):
        return None
    sound = all(isinstance(name, str) and (digest is None or _is_digest(digest)) for name, digest in part.items())
    return dict(part) if sound else None


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value) is not None


def _moved(digests: Mapping[str, str | None], moves: Mapping[str, str | None]) -> dict[str, str]:
    return {name: digest for name, digest in {**digests, **moves}.items() if digest is not None}
