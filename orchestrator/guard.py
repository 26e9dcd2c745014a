"""Watch the new side after the switch: what leads back by itself, what calls a person, what is only told."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.deadlines import Deadline
from orchestrator.ports import Facts, Ports
from orchestrator.records import LeaseLost
from orchestrator.rules import Rules


@dataclass(frozen=True, slots=True)
class Watched:
    """One look."""

    notes: Mapping[str, Any] = field(default_factory=dict)
    worse: str | None = None
    """Why the applications should go back."""
    unclear: str | None = None
    """Why a person must look at once."""


class Guard:
    """Looks again and again; remembers how many looks in a row were bad.

    What the forward audit finds counts once it was told of the commit: until then the writes of now are foreign to it.
    It counts when it stands for some looks, as a verdict may be a little older than that.
    """

    def __init__(self, ports: Ports, rules: Rules) -> None:
        self._ports, self._rules = ports, rules
        self._strikes = self._fails = 0
        self._told = False

    def look(self, deadline: Deadline) -> Watched:
        """Look at everything once.

        Raises:
            LeaseLost: whoever looks may act no more.
        """
        ports = self._ports
        slots = (_asked(lambda: ports.replication.tend(deadline)), _asked(lambda: ports.consumers.tend(deadline)))
        tended = all("failed" not in one and one.get("audits_told") is not False for one in slots)
        self._told = self._told or slots[0].get("audits_told") is True
        forward = _asked(lambda: ports.gate.verdict(deadline)).get("verdict")
        reverse = _asked(lambda: ports.audit.verdict(deadline)).get("verdict")
        way = _asked(ports.replication.observe).get("reverse")
        reads = self._bad_reads(_asked(lambda: ports.suite.measure(deadline)))
        notes = {"forward": forward, "reverse": reverse, "way_back": way, "tended": tended, "reads": reads}
        self._fails = self._fails + 1 if self._told and forward == "FAIL" else 0
        worse = "differences were found from before the commit" if self._fails >= self._rules.strikes else None
        if reads:
            worse = worse or f"reads are worse than allowed: {reads}"
        return Watched(notes, worse, self._unclear())

    def _unclear(self) -> str | None:
        try:
            closed = self._ports.old.observe().closed
        except LeaseLost:
            raise
        except Exception:  # not known: looked at again
            return None
        return "the old side is open, though the commit was won" if closed is False else None

    def _bad_reads(self, facts: Facts) -> str | None:
        problem = self._bad(facts)
        self._strikes = self._strikes + 1 if problem else 0
        return problem if self._strikes >= self._rules.strikes else None

    def _bad(self, facts: Facts) -> str | None:
        reads, errors, p99 = facts.get("reads"), facts.get("errors"), facts.get("p99_ms")
        share, slow = self._rules.max_error_share, self._rules.max_p99_ms
        if share is not None and isinstance(reads, int) and isinstance(errors, int) and errors > share * reads:
            return f"{errors} of {reads} failed"
        if slow is not None and isinstance(p99, int | float) and p99 > slow:
            return f"p99 is {p99:.0f} ms of {slow:.0f} allowed"
        return None


def _asked(ask: Callable[[], Facts]) -> Facts:
    try:
        return ask()
    except LeaseLost:
        raise
    except Exception as error:  # a look that failed is told, and stops nobody from watching
        return {"failed": type(error).__name__}
