"""Overrides as records: made by a person, for a time, over the API or on the command line, and taken back there."""

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from comparators.errors import SettingInvalid
from comparators.findings import time_text
from orchestrator.conditions import override_problem
from orchestrator.seen import OverrideSeen

AREA = "override/"
LONGEST_SECONDS = 30 * 86400.0
CONFIGURATION = "configuration"


class NotOverridable(SettingInvalid):
    """The condition or item is an invariant, or does not exist."""


def new_override(asked: Mapping[str, Any], by: str, now: float) -> tuple[str, dict[str, Any]]:
    """Make the record of an override.

    Args:
        asked: `condition`, `owner`, `reason`, `until` (RFC 3339 with a zone), perhaps `item`.
        by: who asked, as the gate or the host knows them.
    Returns:
        Its id and its record.
    Raises:
        NotOverridable: nobody may override that.
        SettingInvalid: the end is no time, has passed, or is too far ahead.
    """
    condition, item = str(asked["condition"]), asked.get("item")
    if problem := override_problem(condition, item):
        raise NotOverridable(problem, hint="`auditor preflight` lists the items, docs/concepts.md the conditions")
    record = {
        "condition": condition,
        "item": item,
        "owner": _text(asked, "owner"),
        "reason": _text(asked, "reason"),
        "at": now,
        "until": end_of(str(asked["until"]), now),
        "by": by,
    }
    return f"o_{secrets.token_hex(8)}", record


def _text(asked: Mapping[str, Any], name: str) -> str:
    text = str(asked[name]).strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        raise SettingInvalid(f"{name}: is not text in UTF-8", hint="write it in UTF-8") from None
    return text


def end_of(text: str, now: float) -> float:
    """Read when an override ends.

    Raises:
        SettingInvalid: it is no time, has passed, or is more than 30 days ahead.
    """
    try:
        moment = datetime.fromisoformat(text)
        until = moment.timestamp() if moment.tzinfo else None
    except (ValueError, OverflowError):
        until = None
    hint = "give a time with its zone, at most 30 days ahead, as in 2030-01-31T12:00:00Z"
    if until is None:
        raise SettingInvalid("until: is not a time with a zone", hint=hint)
    if not now < until <= now + LONGEST_SECONDS:
        when = "has passed" if until <= now else "is more than 30 days ahead"
        raise SettingInvalid(f"until: {when}", hint=hint)
    return until


def override_json(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Show a record as people and programs read it."""
    times = {key: None if record.get(key) is None else time_text(float(record[key])) for key in ("at", "until")}
    plain = {key: record.get(key) for key in ("condition", "item", "owner", "reason")}
    return {"id": name, **plain, **times, "by": str(record.get("by") or CONFIGURATION)}


def overrides_json(seen: tuple[OverrideSeen, ...], records: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Show all that the gate has seen, those of the configuration too, the oldest first."""
    shown = [
        override_json(
            one.id,
            {
                **{name: getattr(one, name) for name in ("condition", "item", "owner", "reason", "at", "until")},
                "by": records.get(f"{AREA}{one.id}", {}).get("by"),
            },
        )
        for one in seen
    ]
    return sorted(shown, key=lambda one: (one["at"] or "", one["id"]))
