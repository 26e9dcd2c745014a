"""Alerts of other systems, as Alertmanager's webhook sends them, to records that close the gate while they fire.

Our own alerts are left out: the one that says the gate is closed would keep it closed for ever.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from auditor.api.problems import Problem
from auditor.api.shapes import MOST_ALERTS

AREA = "alert/"
OWN = "Auditor"
Records = dict[str, Mapping[str, Any] | None]
LONGEST_NAME = 200


def records_of(body: Mapping[str, Any], held: Mapping[str, Mapping[str, Any]], now: float) -> tuple[Records, int]:
    """Turn a notification into records to put, `None` for those to delete.

    Args:
        held: the records that are there.
    Returns:
        The records, and how many alerts were our own.
    Raises:
        Problem: more would fire than the gate can hold.
    """
    foreign = [alert for alert in body["alerts"] if not _name(alert["labels"]).startswith(OWN)]
    records: Records = {}
    for alert in foreign:
        key = AREA + alert["fingerprint"]
        if alert["status"] == "firing":
            records[key] = _record(_name(alert["labels"]), alert["labels"].get("severity"), alert.get("startsAt"), now)
        elif key in held:
            records[key] = None
    records |= _left_out(body, held, now)
    after = {key for key in held if key.startswith(AREA)} | {key for key, value in records.items() if value}
    if len(after - {key for key, value in records.items() if value is None}) > MOST_ALERTS:
        raise Problem("too-many-alerts", f"the gate holds {MOST_ALERTS} alerts at most", headers={"Retry-After": "60"})
    return records, len(body["alerts"]) - len(foreign)


def _left_out(body: Mapping[str, Any], held: Mapping[str, Any], now: float) -> Records:
    """Alerts that Alertmanager left out of the message may fire: that closes the gate too, until a whole one comes."""
    group = str(body.get("groupKey", ""))
    key = AREA + "left-out-" + hashlib.sha256(group.encode()).hexdigest()[:16]
    if body.get("truncatedAlerts") and not _name(body.get("groupLabels", {})).startswith(OWN):
        return {key: _record("alerts that Alertmanager left out", None, None, now)}
    return {key: None} if key in held else {}


def _record(name: str, severity: Any, since: Any, now: float) -> dict[str, Any]:
    return {"name": name, "severity": _plain(severity), "since": _moment(since, now), "at": now}


def _name(labels: Mapping[str, str]) -> str:
    return _plain(labels.get("alertname")) or "unnamed alert"


def _plain(text: Any) -> str | None:
    kept = "".join(one if one.isprintable() else "?" for one in str(text))[:LONGEST_NAME]
    return kept if text else None


def _moment(text: Any, now: float) -> float:
    try:
        moment = datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError):
        return now
    return moment if 0 <= moment <= now else now
