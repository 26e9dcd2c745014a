"""Programs and addresses of the user's that are called when a phase begins, and may hold it."""

from collections.abc import Sequence
from dataclasses import dataclass

from comparators.errors import AuditorError, NotReady
from orchestrator.adapters.callers import Caller, reason_of
from orchestrator.deadlines import Deadline
from orchestrator.ports import Facts
from orchestrator.records import LeaseLost


@dataclass(frozen=True, slots=True)
class Hook:
    """What is called before the first step of a phase."""

    phase: str
    caller: Caller


class CalledHooks:
    """The hooks of one migration, called in the order in which they are configured."""

    def __init__(self, hooks: Sequence[Hook]) -> None:
        self._hooks = tuple(hooks)

    def call(self, phase: str, facts: Facts, deadline: Deadline) -> Facts:
        """Call those of a phase; each is told the phase, the facts and its seconds, and all must agree.

        Returns:
            Which were called, with the reasons that they gave; nothing where the phase has none.
        Raises:
            NotReady: one of them failed, answered `proceed: false`, or took too long: the phase holds.
        """
        called = [self._agreed(hook, facts, deadline) for hook in self._hooks if hook.phase == phase]
        return {"hooks": called} if called else {}

    def _agreed(self, hook: Hook, facts: Facts, deadline: Deadline) -> Facts:
        document = {**facts, "phase": hook.phase, "seconds": round(deadline.left(), 3)}
        try:
            answer = hook.caller.call(document, deadline)
        except LeaseLost:
            raise
        except AuditorError as error:
            raise NotReady(f"the hook {hook.caller.name} of {hook.phase} holds: {error}") from error
        said = reason_of(answer)
        if answer.get("proceed", True) is not True:
            raise NotReady(f"the hook {hook.caller.name} of {hook.phase} holds{said}")
        return {"hook": hook.caller.name, **({"reason": said.removeprefix(": ")} if said else {})}
