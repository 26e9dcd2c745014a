"""All proxies of a migration as one: held all or none, led and let go each.

Rules of this file:
1. Writes are held only while every proxy is seen to be held. One that fails, or that has let go again by the time all
   have answered, lets all of them go.
2. What must reach every proxy (leading, letting go) is tried on each, whatever became of the others; then it fails.
3. Not known is never held and never led.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from comparators.errors import AuditorError, NotReady
from comparators.positions import Side
from orchestrator.deadlines import Deadline
from orchestrator.parallel import in_parallel
from orchestrator.ports import Blocker, Facts, Identity, Proxy, ProxySeen

Answer = TypeVar("Answer")

UNDO_SECONDS = 3.0


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
