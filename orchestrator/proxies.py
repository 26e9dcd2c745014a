"""All proxies of a migration as one: held all or none, led and let go each.

Rules of this file:
1. Writes are held only while every proxy is seen to be held. One that fails, or that has let go again by the time all
   have answered, lets all of them go.
2. What must reach every proxy (leading, letting go) is tried on each, whatever became of the others; then it fails.
3. Not known is never held and never led.
4. A cutover begins only where every proxy leads to the old side, by what it shows and by who answers through it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from comparators.errors import AuditorError, NotReady
from comparators.positions import Side
from orchestrator.deadlines import Deadline
from orchestrator.parallel import in_parallel
from orchestrator.ports import Blocker, Facts, Fence, Identity, Proxy, ProxySeen

Answer = TypeVar("Answer")

UNDO_SECONDS = 3.0
LED_SECONDS = 10.0
"""How long a proxy and a side may take to say who answers."""


class ProxyGroup:
    """Every way of the applications to the database."""

    def __init__(self, proxies: Sequence[Proxy]) -> None:
        """Take the proxies; their names must differ.

        Raises:
            ValueError: two have one name.
        """
        self._proxies = {proxy.name: proxy for proxy in proxies}
        if len(self._proxies) != len(proxies):
            raise ValueError("two proxies have one name")

    def check(self) -> list[Blocker]:
        """Give what speaks against a cutover, each with its proxy's name before it."""
        found = self._each(lambda proxy: proxy.check())
        return [Blocker(f"{name}: {one.name}", one.reason, one.remedy) for name in self._proxies for one in found[name]]

    def hold(self, deadline: Deadline) -> Facts:
        """Hold them all, or none.

        Raises:
            AuditorError: what the first that failed raised; all were let go again, or a note says which was not.
        """
        try:
            facts = self._each(lambda proxy: proxy.hold(deadline))
            if loose := self._loose() if len(facts) > 1 else ():
                raise NotReady(f"{', '.join(loose)} let go again while the others were being held")
        except Exception as error:
            self._let_go(deadline.anew(UNDO_SECONDS, "letting the proxies go again"), error)
            raise
        return {"held": True, "proxies": facts}

    def release(self, deadline: Deadline) -> Facts:
        """Let the waiting transactions of each go.

        Raises:
            AuditorError: one of them still holds; each of the others was let go all the same.
        """
        return {"held": False, "proxies": self._each(lambda proxy: proxy.release(deadline))}

    def route(self, to: Side, deadline: Deadline) -> Facts:
        """Lead each to a side.

        Raises:
            AuditorError: one of them was not led there; each of the others was tried all the same.
        """
        return {"route": to.value, "proxies": self._each(lambda proxy: proxy.route(to, deadline))}

    def observe(self) -> Mapping[str, ProxySeen]:
        """See each of them."""
        return self._each(lambda proxy: proxy.observe())

    def identities(self, deadline: Deadline) -> Mapping[str, Identity]:
        """Ask through each of them which server answers.

        Raises:
            AuditorError: through one of them nobody answers.
        """
        return self._each(lambda proxy: proxy.probe(deadline))

    def _loose(self) -> list[str]:
        return [name for name, seen in self.observe().items() if seen.held is not True]

    def _let_go(self, deadline: Deadline, error: Exception) -> None:
        try:
            self.release(deadline)
        except AuditorError as second:
            error.add_note(f"not all proxies were let go again: {second}")

    def _each(self, act: Callable[[Proxy], Answer]) -> Mapping[str, Answer]:
        ended = in_parallel({name: lambda proxy=proxy: act(proxy) for name, proxy in self._proxies.items()})  # type: ignore[misc]
        ended.raise_first()
        return ended.answers


def unasked(proxies: Sequence[Proxy]) -> list[str]:
    """Name the proxies of which nobody asks, before anything is held, who answers where they will lead."""
    return [proxy.name for proxy in proxies if not proxy.places_asked]


def led_elsewhere(proxies: Sequence[Proxy], old: Fence) -> list[Blocker]:
    """Find proxies that do not lead to the side that the applications are on.

    Raises:
        AuditorError: that side does not say who it is.
    """
    wanted = old.identity(Deadline.within(LED_SECONDS, f"asking the {old.side} who it is"))
    ended = in_parallel({proxy.name: lambda proxy=proxy: _stray(proxy, old.side, wanted) for proxy in proxies})  # type: ignore[misc]
    ended.raise_first()
    return [blocker for found in ended.answers.values() for blocker in found]


def _stray(proxy: Proxy, side: Side, wanted: Identity) -> list[Blocker]:
    remedy = f"lead it to the {side}"
    seen = proxy.observe().route
    if seen is not side:
        return [Blocker("route", f"{proxy.name} leads to {f'the {seen}' if seen else 'nobody knows where'}", remedy)]
    try:
        found = proxy.probe(Deadline.within(LED_SECONDS, f"asking through {proxy.name} who answers"))
    except AuditorError as error:
        return [Blocker("route", f"nobody answers through {proxy.name}: {error}", "see why, and ask again")]
    if (found.system, found.database) == (wanted.system, wanted.database):
        return []
    reason = f"through {proxy.name} {found.database} at {found.address} answers, which is not the {side}"
    return [Blocker("route", reason, remedy)]
