"""What a fleet is to be told by a control plane that starts again: what the journal says, and nothing else."""

from collections.abc import Iterable
from dataclasses import replace

from comparators.positions import Side
from orchestrator.adapters.envoy.serving import Serving
from orchestrator.records import Entry, Kind

_HELD = frozenset({"hold-proxies"})
_RELEASED = frozenset({"release-proxies", "release-after-abort"})
_FORTH = frozenset({"route-proxies"})
_BACK = frozenset({"route-back", "reads-back"})


def serving_recorded(entries: Iterable[Entry], at_first: Side = Side.SOURCE) -> Serving:
    """Follow a migration's journal, of all its attempts, to what its Envoys do now.

    An intent counts, done or not: some nodes may have heard of it, and a restart repeats it.

    Args:
        at_first: where the Envoys lead before anything was done.
    """
    serving = Serving.all_on(at_first)
    for entry in entries:
        if entry.kind is Kind.INTENT:
            serving = _after(serving, entry)
    return serving


def _after(serving: Serving, entry: Entry) -> Serving:
    if entry.step in _HELD:
        return serving.holding()
    if entry.step in _RELEASED:
        return serving.released()
    if entry.step in _FORTH | _BACK:
        to = entry.direction.new if entry.step in _FORTH else entry.direction.old
        return replace(serving, writes=to, reads=to)
    return serving
