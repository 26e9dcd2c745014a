"""Foretell how long writes will be held, from what was measured; what is not known is refused, never taken for nothing.

A part is as long as it was measured to be: by the probes (transactions under way, what apply must still drain, the
marker's round trip), by the rehearsal of the fence, by the same step of an earlier attempt, and by the journal's own
entries (what a step takes beside its effect). Only a step that never ran counts with what is allowed for it.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, Protocol

from comparators.errors import NotReady
from orchestrator.cutover import STEPS, Phase
from orchestrator.deadlines import Deadline
from orchestrator.ports import Facts
from orchestrator.records import Entry, Kind

ALLOWED_MS: Mapping[str, float] = {
    "compare-last": 50,
    "set-sequences": 25,
    "hand-over-consumers": 50,
    "confirm-verdict": 25,
    "stop-forward": 25,
    "record-commit-line": 50,
    "enable-reverse": 25,
    "route-proxies": 25,
}
"""What a step that was never measured here is taken to need; others count with `OTHERS_MS`."""
OTHERS_MS = 10
HOOK_MS = 50
"""What the hooks of a phase are taken to need that were never called here."""
FENCE_MS, JOURNAL_MS = 100, 5
"""What a plan assumes before anything was measured."""
HELD = tuple(step.name for step in STEPS if step.holds_writes)
HELD_PHASES = (Phase.DRAINING, Phase.SEALING, Phase.COMMIT, Phase.FLIPPING)
"""Phases that begin while writes are held."""
_RECENT = 50


class Figures(Protocol):
    """What the probes measured last, by group."""

    def figures(self, deadline: Deadline) -> Mapping[str, Mapping[str, Any]]: ...


class MeasuredBudget:
    """Foretells the time from figures of the gate and entries of the journal."""

    def __init__(
        self, gate: Figures, entries: Callable[[], Sequence[Entry]], *, hooked: Collection[str] = (),
        assume: bool = False,
    ) -> None:  # fmt: skip
        """Args: hooked, assume: as `predict` has them."""
        self._gate, self._entries, self._hooked, self._assume = gate, entries, hooked, assume

    def foretell(self, rehearsed: Facts, deadline: Deadline) -> Facts:
        """Give `predicted_ms` and its parts.

        Raises:
            NotReady: a part is not known.
        """
        figures = self._gate.figures(deadline)
        return predict(figures, rehearsed, self._entries(), hooked=self._hooked, assume=self._assume)


def predict(
    figures: Mapping[str, Mapping[str, Any]], rehearsed: Facts, entries: Sequence[Entry], *,
    hooked: Collection[str] = (), assume: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Add the parts up.

    Args:
        figures: of the probes, by group.
        rehearsed: what the fence's rehearsal recorded; `ms` is its time.
        entries: of the journal, in order.
        hooked: phases that have hooks.
        assume: take what is allowed where the fence was not rehearsed yet and the journal holds nothing; `assumed`
            names these parts. For a plan only: nothing is held on an assumption.
    Raises:
        NotReady: a part is not known.
    """
    known, assumed, entry_ms = step_times(entries), list[str](), float(JOURNAL_MS)
    if assume and "ms" not in rehearsed:
        assumed, rehearsed = ["close-old"], {"ms": FENCE_MS}
    if assume and not _completed(entries):
        assumed = [*assumed, "journal"]
    else:
        entry_ms = journal_ms(entries)
    waits = _known(figures, "activity", "oldest_transaction_seconds") * 1000
    drains = _known(figures, "capacity", "predicted_drain_seconds") * 1000
    parts = {
        "hold-proxies": max(waits, known.get("hold-proxies", 0)),
        "close-old": max(_number(rehearsed, "ms", "how long the fence takes"), known.get("close-old", 0)),
        "see-marker": drains + _known(figures, "lag", "marker_p99_ms"),
        "journal": entry_ms * len(HELD),
        "hooks": sum(hook_ms(phase, entries) for phase in HELD_PHASES if phase in hooked),
    }
    parts |= {name: known.get(name, ALLOWED_MS.get(name, OTHERS_MS)) for name in HELD if name not in parts}
    rounded = {name: round(value, 1) for name, value in parts.items()}
    return {"predicted_ms": round(sum(parts.values()), 1), "parts": rounded, "assumed": assumed}


def step_times(entries: Iterable[Entry]) -> dict[str, float]:
    """Give for each step the longest of its completed runs, in milliseconds, as the conductor took it."""
    times: dict[str, float] = {}
    for _, ended in _completed(entries):
        times[ended.step] = max(times.get(ended.step, 0.0), ended.facts["took_ms"])
    return times


def hook_ms(phase: str, entries: Iterable[Entry]) -> float:
    """Give the longest that the hooks of a phase took."""
    took = [
        float(entry.facts["took_ms"]) for entry in entries
        if entry.step == "hooks" and entry.facts.get("phase") == phase and "took_ms" in entry.facts
    ]  # fmt: skip
    return max(took, default=HOOK_MS)


def journal_ms(entries: Iterable[Entry]) -> float:
    """Give what one step costs beside its effect: the typical time that its entries took to be written.

    Raises:
        NotReady: the journal holds too little to tell.
    """
    beside = [
        max((ended.at - began.at).total_seconds() * 1000 - ended.facts["took_ms"], 0.0)
        for began, ended in _completed(entries)
    ]
    if not beside:
        raise NotReady("how long the journal takes to write an entry is not known: it holds no step that was done")
    return float(median(beside[-_RECENT:]))


def _completed(entries: Iterable[Entry]) -> list[tuple[Entry, Entry]]:
    """Pair the beginnings and ends of steps that one process began and ended."""
    began: dict[tuple[int, str, str], Entry] = {}
    found: list[tuple[Entry, Entry]] = []
    for entry in entries:
        key = (entry.attempt, entry.direction, entry.step)
        if entry.kind is Kind.INTENT:
            began[key] = entry
        elif entry.kind is Kind.DONE and (start := began.pop(key, None)) and _whole(start, entry):
            found.append((start, entry))
    return found


def _whole(began: Entry, ended: Entry) -> bool:
    return began.epoch == ended.epoch and isinstance(ended.facts.get("took_ms"), int | float)


def _known(figures: Mapping[str, Mapping[str, Any]], group: str, name: str) -> float:
    return _number(figures.get(group, {}), name, f"the probes' figure {group}.{name}")


def _number(values: Mapping[str, Any], name: str, what: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise NotReady(f"{what} is not known, and with it how long writes would be held")
    return float(value)
