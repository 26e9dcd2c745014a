"""A migration on which nothing is wrong, what a test puts into it, and what the gate says then."""

from dataclasses import replace
from typing import Any

from auditor.evidence import Expected, fold
from comparators.checklist import GROUPS
from comparators.preflight import Item, item_json
from orchestrator.conditions import Outcome
from orchestrator.policy import Limits, Verdict, decide
from orchestrator.seen import Evidence
from tests.helpers_records import NOW, good_records

EXPECTED = Expected("orders", partitions=2, configuration="c0ffee")
AT_ONCE = replace(Limits(), dwell_seconds=0.0, evaluations=1)

Records = dict[str, dict[str, Any]]


def with_item(records: Records, item: Item) -> Records:
    """Put an item in the place of the one that its group's record has."""
    group = next(group for group in GROUPS.values() if item.name in {check.name for check in group.checks})
    record = records[f"probe/{group.name}"]
    items = [item_json(item) if one["name"] == item.name else one for one in record["items"]]
    return records | {f"probe/{group.name}": record | {"items": items}}


def with_figures(records: Records, group: str, **figures: float | None) -> Records:
    """Change figures of a group's record."""
    record = records[f"probe/{group}"]
    return records | {f"probe/{group}": record | {"figures": record["figures"] | figures}}


def evidence_of(records: Records | None = None, now: float = NOW, **changes: Any) -> Evidence:
    """Fold records; `changes` are laid over the evidence."""
    seen = fold(good_records(now) if records is None else records, now, EXPECTED)
    return replace(seen, **{"caught_up_age": 0.2, **changes})


def verdict_of(records: Records | None = None, limits: Limits = AT_ONCE, **changes: Any) -> Verdict:
    """Ask for the verdict on records."""
    return decide(evidence_of(records, **changes), limits, NOW)[0]


def part(verdict: Verdict, name: str) -> Outcome:
    """Pick a condition."""
    return next(outcome for outcome in verdict.conditions if outcome.name == name)
