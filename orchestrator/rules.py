"""What the configuration says about how a cutover is conducted."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.cutover import Step
from orchestrator.lease import RENEW_SECONDS, TTL_SECONDS


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits and deadlines of one migration's cutovers."""

    steps: Mapping[str, float] = field(default_factory=dict)
    """Deadlines in seconds, by the name of the step, that differ from the step's own."""
    hold_budget_ms: float = 750
    """The longest that writes may be held."""
    guard_seconds: float = 3600
    """How long the new side is watched in all, by whichever process, before the door may be closed."""
    approvals_needed: int = 1
    """By as many persons."""
    max_p99_ms: float | None = None
    """Slower reads after the switch lead back."""
    max_error_share: float | None = None
    """More errors among the reads after the switch lead back."""
    strikes: int = 3
    """Looks in a row at bad reads, or at differences from before the commit, before it goes back."""
    watch_seconds: float = 1
    """Between two looks in the guard."""
    poll_seconds: float = 0.25
    """Between two questions of a step that waits."""
    hook_patience_seconds: float = 300
    """How long a hook may say no before anything is held, until the attempt is given up."""
    insist_seconds: float = 120
    """How long a step is repeated that must not be given up, until a person is called."""
    abort_reserve_seconds: float = 2.5
    """What must be left of the lease behind a step while writes are held."""
    lease_seconds: float = TTL_SECONDS
    renew_seconds: float = RENEW_SECONDS
    wait_for_lease_seconds: float = 30
    """How long to wait for another holder, which may be a dead one, before giving up."""
    journal_patience_seconds: float = 600
    """How long to wait for a journal that was lost on the way."""

    def seconds_of(self, step: Step) -> float:
        """Give a step's deadline."""
        return self.steps.get(step.name, step.seconds)
