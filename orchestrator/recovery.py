"""After a restart: read the journal, look at both sides, and say how to go on. It never guesses.

Rules of this file:
1. Before `commit` an attempt that may have held writes is aborted; one that held nothing goes on.
2. Whether the commit was won is never read off an absence: the abort is tried, and what it finds decided is followed.
3. After `commit` it goes forward; where the old side is seen open, that is closed first, and a person is called.
4. What the journal says is done is done again where it is not seen to be so; what was armed, in any case: it is old.
"""

from dataclasses import dataclass
from enum import StrEnum

from comparators.positions import Side
from orchestrator.cutover import STEPS, UNTOUCHED, Phase, Run
from orchestrator.ports import FenceSeen, Ports
from orchestrator.proxies import ProxyGroup
from orchestrator.records import LeaseLost

UNKNOWN = FenceSeen(closed=None)
_QUIET = frozenset({*UNTOUCHED, Phase.SHADOWING, Phase.ARMED, Phase.HELD, Phase.ROLLING_BACK})
"""Phases in which no write was held."""


ARMED = frozenset(step.name for step in STEPS if step.phase is Phase.ARMED)
"""Steps whose facts are of their own moment, and are taken anew before anything is held on them."""


class Way(StrEnum):
    """How a restarted conductor goes on."""

    GO_ON = "go-on"
    ABORT = "abort"
    SECURE = "secure"
    """Close the old side again, then call a person."""
    STOP = "stop"
    """Call a person; touch nothing."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Both sides and the proxies as they show themselves; `None` is not known."""

    old: FenceSeen = UNKNOWN
    new: FenceSeen = UNKNOWN
    held: bool | None = None
    route: Side | None = None


@dataclass(frozen=True, slots=True)
class Resumption:
    """How to go on, why, and which steps to do again though the journal says they are done."""

    way: Way
    reason: str = ""
    again: frozenset[str] = frozenset()


def look(ports: Ports) -> Seen:
    """See both sides and the proxies; what cannot be seen is not known."""
    held, route = _proxies(ports)
    return Seen(_fence(ports, new=False), _fence(ports, new=True), held, route)


def _fence(ports: Ports, *, new: bool) -> FenceSeen:
    try:
        return (ports.new if new else ports.old).observe()
    except LeaseLost:
        raise
    except Exception:  # whatever it is, the side was not seen
        return UNKNOWN


def _proxies(ports: Ports) -> tuple[bool | None, Side | None]:
    try:
        seen = ProxyGroup(ports.proxies).observe().values()
    except LeaseLost:
        raise
    except Exception:
        return None, None
    helds, routes = {one.held for one in seen}, {one.route for one in seen}
    return (helds.pop() if len(helds) == 1 else None), (routes.pop() if len(routes) == 1 else None)


def reconcile(run: Run, seen: Seen) -> Resumption:
    """Hold what is seen against what the journal tells of an attempt that is not over."""
    if run.aborting:
        return Resumption(Way.GO_ON, "its abort was begun", _undone(run, seen))
    if run.committed:
        return _after_commit(run, seen)
    if run.phase in _QUIET:
        return _before_holding(run, seen)
    return Resumption(Way.ABORT, f"the orchestrator was gone in {run.phase}, and writes may be held")


def _before_holding(run: Run, seen: Seen) -> Resumption:
    if run.phase in UNTOUCHED or seen.old.closed is not True:
        again = ARMED if run.phase is Phase.ARMED else frozenset()  # postponed, it is armed again at its end
        return Resumption(Way.GO_ON, "nothing was held yet", again & set(run.done))
    return Resumption(Way.STOP, f"the {run.direction.old} is fenced, but no step of this attempt has fenced it")


def _after_commit(run: Run, seen: Seen) -> Resumption:
    if seen.old.closed is False:
        return Resumption(Way.SECURE, f"the {run.direction.old} is open, though the commit was won")
    if seen.new.closed is False and "open-new" not in run.began:
        return Resumption(Way.STOP, f"the {run.direction.new} is open, but no step of this attempt has opened it")
    again = {
        "open-new": seen.new.closed is True,
        "route-proxies": seen.route is not run.direction.new,
        "release-proxies": seen.held is not False,
    }
    return Resumption(Way.GO_ON, "the commit was won", _of(run, again))


def _undone(run: Run, seen: Seen) -> frozenset[str]:
    again = {
        "open-old": seen.old.closed is not False,
        "route-back": seen.route is not run.direction.old,
        "release-after-abort": seen.held is not False,
    }
    return _of(run, again)


def _of(run: Run, again: dict[str, bool]) -> frozenset[str]:
    return frozenset(name for name, needed in again.items() if needed and name in run.done)
