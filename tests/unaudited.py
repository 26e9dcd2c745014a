"""`auditor` with a gate that always passes, and no audits: for tests of what a cutover does to servers and clients.

Run as `python -m tests.unaudited`; everything else is the program itself.
"""

import sys
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

from auditor.cli import main
from auditor.settings import Settings
from orchestrator.deadlines import Deadline
from orchestrator.ports import Facts

VERDICT: Mapping[str, Any] = {
    "id": "v_test", "verdict": "PASS", "rate": 1.0, "reasons": [], "needs_person": False, "conditions": {},
    "overrides": [], "evidence_digest": "sha256:test",
}  # fmt: skip
FIGURES: Mapping[str, Mapping[str, Any]] = {
    "activity": {"oldest_transaction_seconds": 0.01},
    "capacity": {"predicted_drain_seconds": 0.01},
    "lag": {"marker_p99_ms": 5.0},
}


class PassingGate:
    """A gate of an audit that never ran."""

    @classmethod
    def of(cls, settings: Settings) -> "PassingGate":
        return cls()

    def verdict(self, deadline: Deadline) -> Facts:
        return VERDICT

    def consume(self, verdict: str, cutover: str, deadline: Deadline) -> Facts:
        return {"receipt": {"id": verdict, "cutover": cutover}}

    def figures(self, deadline: Deadline) -> Mapping[str, Mapping[str, Any]]:
        return FIGURES

    def blocking(self, deadline: Deadline) -> list[Mapping[str, Any]]:
        return []


class NoAudit:
    """A reverse audit that is content without looking."""

    def __init__(self, settings: Settings) -> None:
        pass

    def start(self, deadline: Deadline) -> Facts:
        return {"ready": True}

    def verdict(self, deadline: Deadline) -> Facts:
        return VERDICT

    def stop(self, deadline: Deadline) -> Facts:
        return {"stopped": True}


def not_drawn(settings: Settings) -> Callable[[int, int], None]:
    """Tell nobody of fence and commit line: no audit listens."""
    return lambda fence, line: None


def run() -> int:
    """Run one command."""
    where = "auditor.cutover.wiring"
    with (
        patch(f"{where}.HttpGate", PassingGate),
        patch(f"{where}.ReverseAudit", NoAudit),
        patch(f"{where}.draw_forward", not_drawn),
        patch(f"{where}.draw_back", not_drawn),
    ):
        return main()


if __name__ == "__main__":
    sys.exit(run())
