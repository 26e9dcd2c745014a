"""Fold the records of the probes, of overrides and of other systems' alerts into evidence."""

from collections.abc import Mapping
from typing import Any

from auditor import fields
from auditor.fields import Records
from comparators.preflight import Item, item_of
from orchestrator.seen import AlertSeen, OverrideSeen, ProbeSeen

LAST_DATE = 253_402_300_800.0
"""The year 10000; calendars end there."""


def probes_seen(records: Records) -> dict[str, ProbeSeen]:
    """Read what the probes saw last, by group."""
    return {
        group: ProbeSeen(
            group=group,
            at=fields.number(record, "at"),
            generation=fields.whole(record, "generation"),
            error=_error(record),
            items=_items(record.get("items")),
            figures=_figures(record.get("figures")),
        )
        for group, record in fields.below(records, "probe/").items()
    }


def _error(record: Mapping[str, Any]) -> str | None:
    """Give why the look failed; a record that does not say whether it did has failed."""
    return fields.text(record, "error") if "error" in record else "its record does not say whether the look failed"


def _items(value: Any) -> tuple[Item, ...] | None:
    if not isinstance(value, list | tuple):
        return None
    items = [item_of(one) for one in value]
    known = [item for item in items if item is not None]
    return tuple(sorted(known, key=lambda item: item.name)) if len(known) == len(items) else None


def _figures(value: Any) -> dict[str, float | None]:
    if not isinstance(value, Mapping):
        return {}
    read = {str(name): (value[name], fields.number(value, name)) for name in sorted(value, key=str)}
    # a figure that is null says so; one that is no number says nothing
    return {name: number for name, (given, number) in read.items() if given is None or number is not None}


def overrides_seen(records: Records) -> tuple[OverrideSeen, ...]:
    """Read who takes responsibility for what."""
    return tuple(
        OverrideSeen(
            id=name,
            condition=fields.name(record, "condition") if _readable_item(record) else None,
            item=fields.name(record, "item"),
            owner=fields.name(record, "owner"),
            reason=fields.name(record, "reason"),
            at=_date(record, "at"),
            until=_date(record, "until"),
        )
        for name, record in fields.below(records, "override/").items()
    )


def _readable_item(record: Mapping[str, Any]) -> bool:
    """An override of an item nobody can read must not become one of the whole condition."""
    return record.get("item") is None or bool(fields.name(record, "item"))


def _date(record: Mapping[str, Any], name: str) -> float | None:
    value = fields.number(record, name)
    return value if value is not None and 0 <= value < LAST_DATE else None


def alerts_seen(records: Records) -> tuple[AlertSeen, ...]:
    """Read the alerts of other systems that fire; one that cannot be read fires."""
    return tuple(
        AlertSeen(
            id=name,
            name=fields.name(record, "name"),
            severity=fields.name(record, "severity"),
            since=fields.number(record, "since"),
        )
        for name, record in fields.below(records, "alert/").items()
    )
