"""What each step must have shown before the next one may begin. A fact that is missing is never a pass."""

from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.cutover import Run, Step
from orchestrator.records import Direction

Facts = Mapping[str, Any]
Test = Callable[[Facts, Run], str | None]
"""Says what is missing, or `None`."""


def shortcoming(step: str, facts: Facts, run: Run) -> str | None:
    """Say what speaks against taking a step for done; `None` where its facts prove it.

    Args:
        run: the attempt so far, whose earlier facts some are held against.
    """
    for test in NEEDED.get(step, ()):
        if problem := test(facts, run):
            return problem
    return None


def missing_proof(run: Run) -> list[str]:
    """Name the links of the proof chain that are missing before the commit; only an empty list allows it."""
    missing: list[str] = []
    for step in before_commit(run):
        if step.name not in run.done:
            missing.append(f"{step.name} is not done")
        elif problem := shortcoming(step.name, run.facts[step.name], run):
            missing.append(f"{step.name}: {problem}")
    return missing


def before_commit(run: Run) -> tuple[Step, ...]:
    """Give the steps of an attempt that come before its commit."""
    steps = run.steps()
    return steps[: [step.name for step in steps].index("commit")]


def equal(name: str, wanted: Any) -> Test:
    """Ask that a fact is exactly one value, of one type."""

    def test(facts: Facts, run: Run) -> str | None:
        found = facts.get(name)
        # True == 1 and 0 == False in Python; not here
        fits = type(found) is type(wanted) and found == wanted
        return None if fits else f"{name} is {_said(found)}, not {wanted!r}"

    return test


def whole(name: str, at_least: int = 0) -> Test:
    """Ask that a fact is a whole number, not below a value."""

    def test(facts: Facts, run: Run) -> str | None:
        found = facts.get(name)
        fits = type(found) is int and found >= at_least
        return None if fits else f"{name} is {_said(found)}, not a number from {at_least} on"

    return test


def same_as(name: str, step: str) -> Test:
    """Ask that a fact is what an earlier step recorded under that name."""

    def test(facts: Facts, run: Run) -> str | None:
        wanted = run.facts.get(step, {}).get(name)
        fits = wanted is not None and facts.get(name) == wanted
        return None if fits else f"{name} is {_said(facts.get(name))}, not {_said(wanted)} as {step} recorded"

    return test


def side_of(name: str, *, old: bool) -> Test:
    """Ask that a fact names a side of this direction."""

    def test(facts: Facts, run: Run) -> str | None:
        wanted = run.direction.old if old else run.direction.new
        return None if facts.get(name) == wanted else f"{name} is {_said(facts.get(name))}, not {wanted}"

    return test


def something_compared(facts: Facts, run: Run) -> str | None:
    """Ask that rows were compared, or that there is none anywhere."""
    if facts.get("empty") is True or whole("compared", 1)(facts, run) is None:
        return None
    return "nothing was compared"


def passed(facts: Facts, run: Run) -> str | None:
    """Ask for a PASS; a rollback may go on a person's word where the reverse audit is not sure yet."""
    if facts.get("verdict") == "PASS":
        return None
    if facts.get("verdict") == "INCONCLUSIVE" and _answered_for(run):
        return None
    return f"the verdict is {_said(facts.get('verdict'))}"


def _answered_for(run: Run) -> bool:
    """Say whether a person answers for a rollback that nothing proves."""
    return run.direction is Direction.BACK and run.opening.get("unproven") is True and bool(run.opening.get("reason"))


def decided_after_fence(facts: Facts, run: Run) -> str | None:
    """Ask that the verdict is dated after another one that was given when the fence was closed already.

    A person who answers for a rollback answers for an audit that is silent as well.
    """
    if facts.get("answered") is False and _answered_for(run):
        return None
    decided, first = facts.get("evaluated_at"), facts.get("evaluated_after")
    return None if later(decided, first) else f"it was decided at {_said(decided)}, not after {_said(first)}"


def rests_on_what_was_agreed(facts: Facts, run: Run) -> str | None:
    """Ask that a verdict rests on nobody's word that the one consumed did not rest on; a rollback consumes none."""
    if run.direction is Direction.BACK:
        return None
    problem = more_than_agreed(facts, run.facts.get("consume-verdict", {}))
    return f"{problem} than when it was consumed" if problem else None


def more_than_agreed(now: Facts, agreed: Facts) -> str | None:
    """Say what a verdict rests on by somebody's word that another did not; less is never wrong."""
    for name in AGREED:
        found, known = now.get(name), agreed.get(name)
        if not isinstance(found, list) or not isinstance(known, list):
            return f"{name}: not known, perhaps more"
        if more := [one for one in found if one not in known]:
            return f"{name}: {len(more)} more"
    return None


def later(one: Any, other: Any) -> bool:
    """Say whether a moment is after another, both as one audit writes them: in UTC, all equally long."""
    written = isinstance(one, str) and isinstance(other, str) and len(one) == len(other)
    return written and one > other


def reads_alike(facts: Facts, run: Run) -> str | None:
    """Ask that the new side answered reads as the old one did, where a proxy can lead them there."""
    if facts.get("possible") is False:
        return None
    for test in (equal("different", 0), equal("errors", 0), whole("compared", 1)):
        if problem := test(facts, run):
            return problem
    return None


def _said(found: Any) -> str:
    return "missing" if found is None else repr(found)


AGREED = ("overrides", "accepted")
"""What a verdict rests on by somebody's word, which approvals are given for."""
CLOSED = (equal("closed", True), equal("sessions", 0), equal("prepared", 0))
OPEN = (equal("closed", False),)

NEEDED: Mapping[str, tuple[Test, ...]] = {
    "check-all": (equal("blockers", 0),),
    "check-gate": (passed,),
    "check-approval": (equal("enough", True),),
    "shadow-reads": (reads_alike,),
    "close-new": CLOSED,
    "prepare-reverse": (equal("reverse", "disabled"),),
    "start-reverse-audit": (equal("ready", True),),
    "check-budget": (equal("within", True),),
    "check-way-back": (passed,),
    "start-dead-man": (equal("ready", True),),
    "hold-proxies": (equal("held", True),),
    "close-old": CLOSED,
    "record-fence-lsn": (whole("fence_lsn", 1),),
    "see-marker": (whole("fence_lsn", 1), same_as("fence_lsn", "record-fence-lsn"), equal("seen", True)),
    "make-durable": (equal("durable", True),),
    "compare-last": (equal("different", 0), equal("missing", 0), something_compared),
    "set-sequences": (whole("sequences"), equal("behind", 0)),
    "hand-over-consumers": (whole("consumers"), equal("behind", 0)),
    "confirm-verdict": (passed, equal("asked_after_fence", True), decided_after_fence, rests_on_what_was_agreed),
    "stop-forward": (equal("forward", "disabled"),),
    "record-commit-line": (whole("commit_line", 1), *CLOSED, equal("behind", 0)),
    "commit": (equal("result", "commit"),),
    "enable-reverse": (equal("reverse", "enabled"),),
    "open-new": OPEN,
    "route-proxies": (side_of("route", old=False),),
    "release-proxies": (equal("held", False),),
    "prove-routing": (equal("elsewhere", 0), whole("proxies", 1)),
    "count-old-sessions": (equal("sessions", 0), equal("closed", True)),
    "write-canary": (equal("seen", True),),
    "win-abort": (equal("result", "abort"),),
    "open-old": OPEN,
    "route-back": (side_of("route", old=True),),
    "release-after-abort": (equal("held", False),),
    "resume-forward": (equal("forward", "enabled"),),
}
"""By step; those that are not named have nothing but their return to show."""
