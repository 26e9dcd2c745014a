"""`auditor cutover steps`: the table of steps, as the conductor takes them."""

import json
from collections.abc import Iterator

from auditor.cutover.documents import Document, planned_document
from auditor.settings import Settings
from orchestrator.cutover import ABORT_STEPS, ROLLBACK_STEPS, STEPS, Step
from orchestrator.lease import RENEW_SHARE
from orchestrator.rules import Rules

WAYS: tuple[tuple[str, tuple[Step, ...]], ...] = (
    ("forward", STEPS),
    ("rollback", ROLLBACK_STEPS),
    ("abort", ABORT_STEPS),
)


def steps_command(settings: Settings | None, *, as_json: bool) -> int:
    """Print every step; deadlines are the configuration's where there is one."""
    listed = steps_document(settings)
    print(json.dumps({"steps": listed}) if as_json else "\n".join(_lines(listed)))
    return 0


def steps_document(settings: Settings | None) -> list[Document]:
    """List the steps of every way."""
    rules = rules_of(settings) if settings else Rules()
    return [planned_document(step, rules.seconds_of(step)) | {"way": way} for way, steps in WAYS for step in steps]


def rules_of(settings: Settings) -> Rules:
    """Give the limits and deadlines of a migration's cutovers."""
    given = settings.cutover
    if given is None:
        return Rules()
    watched = bool(given.suite.reads)
    return Rules(
        steps=given.steps,
        hold_budget_ms=given.hold_budget_ms,
        guard_seconds=given.guard_seconds,
        lease_seconds=given.lease_seconds,
        renew_seconds=given.lease_seconds * RENEW_SHARE,
        approvals_needed=given.approvals.needed,
        max_p99_ms=given.suite.max_p99_ms if watched else None,
        max_error_share=given.suite.max_error_share if watched else None,
    )


def _lines(listed: list[Document]) -> Iterator[str]:
    width = max(len(one["step"]) for one in listed)
    for way, _ in WAYS:
        yield f"{way}:"
        for one in listed:
            if one["way"] == way:
                mark = "*" if one["holds_writes"] else " "
                seconds = f"{one['deadline_seconds']:g} s"
                yield f"  {mark} {one['step']:<{width}}  {one['phase']:<12} {seconds:>7}  {one['does']}"
    yield "* clients wait while it runs"
