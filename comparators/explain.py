"""Turn a finding into a sentence for the person on call, and name what usually causes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from comparators.positions import format_lsn

if TYPE_CHECKING:
    from comparators.findings import Finding

WHAT = {
    "row-different": "{rows} {differ} between source and target{columns}",
    "row-missing": "{rows} of the source {is_} not on the target",
    "row-extra": "{rows} {is_} only on the target",
    "transaction-missing": "a transaction of the source with {changes} never arrived on the target",
    "transaction-incomplete": "a transaction arrived on the target without {changes} of its own",
    "foreign-write": "{changes} on the target did not come through replication{columns}",
    "truncate-missing": "a TRUNCATE of the source was not carried out on the target",
    "order-violated": "{changes} {was} applied in another order than on the source",
    "shape-different": "the table is not built alike on both sides{columns}",
    "unexplained": "{rows} {differ}, and no change seen in the log explains it",
}
STATE = {
    "suspect": "It is being read again on both sides before it counts.",
    "confirmed": "It was still so when it was checked again.",
    "healed": "Read again later, both sides were equal.",
    "accepted": "It was accepted by {owner}: {reason}.",
}
SUGGESTION = {
    "row-different": "a trigger that fires during apply, a column type that holds less, or a write on the target",
    "row-missing": "a delete on the target, a trigger that returns NULL, or a change skipped by apply",
    "row-extra": "an insert on the target, or a delete that apply could not carry out",
    "transaction-missing": "ALTER SUBSCRIPTION ... SKIP, or an advanced replication origin",
    "transaction-incomplete": "a trigger or rule on the target, or a conflict that apply ignored",
    "foreign-write": "an application, job or person that still writes to the target",
    "truncate-missing": "a publication that does not publish truncate, or a skipped transaction",
    "order-violated": "two subscriptions for one table, or a replayed transaction",
    "shape-different": "DDL that ran on one side only",
    "unexplained": "damage from before the audit, or a change made with logging avoided",
}


def sentence(finding: Finding) -> str:
    """Say in words what was found, where, and how sure we are; never holds a key or a value."""
    what = WHAT[finding.kind].format(**_words(finding))
    return f"{finding.table}: {what}{_where(finding)}. {_state(finding)}"


def suggestion(finding: Finding) -> str:
    """Name what usually causes this kind of finding."""
    return SUGGESTION[finding.kind]


def _words(finding: Finding) -> dict[str, str]:
    one = finding.count == 1
    return {
        "rows": "1 row" if one else f"{finding.count} rows",
        "changes": "1 change" if one else f"{finding.count} changes",
        "differ": "differs" if one else "differ",
        "is_": "is" if one else "are",
        "was": "was" if one else "were",
        "columns": f" (in {', '.join(finding.columns)})" if finding.columns else "",
    }


def _where(finding: Finding) -> str:
    places = [("source", finding.source_position), ("target", finding.target_position)]
    known = [f"{side} position {format_lsn(position)}" for side, position in places if position is not None]
    return f", at {' and '.join(known)}" if known else ""


def _state(finding: Finding) -> str:
    if finding.state == "confirmed" and finding.kind == "foreign-write":
        return "Nothing but replication may write there during the migration."
    accepted = finding.accepted
    owner, reason = (accepted.owner, accepted.reason.rstrip(".")) if accepted else ("", "")
    return STATE[finding.state].format(owner=owner, reason=reason)
