"""`auditor findings`: list, show, re-check and accept; works on the records alone, also when nothing runs."""

import getpass
import json
import re
import time
from argparse import Namespace
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from auditor.accepted_differences import accepted_json, accepted_line, load_accepted
from auditor.records import open_records
from auditor.settings import Settings
from comparators.acceptance import Entry, lay_over
from comparators.errors import SettingInvalid
from comparators.findings import Finding, State, about_data, finding_json, read_findings, time_text

WAIT_SECONDS = 30.0
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
NOT_KNOWN = 3
FINDING_ID = re.compile(r"f_[0-9a-f]{16}")


def list_command(settings: Settings, args: Namespace) -> int:
    """Print the findings, oldest first.

    Args:
        args: `state`, `table`, `since`, `show_keys`, `json`; what is missing or `None` does not filter.
    """
    now = time.time()
    show_keys = keys_shown(settings, bool(_given(args, "show_keys")))
    since = _given(args, "since")
    earliest = None if since is None else moment(str(since), now, past=True, option="--since")
    entries = load_accepted(settings.accepted_differences)
    findings, unreadable = _read(settings, now, entries)
    accepted = accepted_json(entries, findings, now)
    listed = [finding for finding in about_data(findings) if _wanted(finding, args, earliest)]
    documents = [finding_json(finding, show_keys=show_keys) for finding in listed]
    if _given(args, "json"):
        more: dict[str, Any] = {"accepted": accepted} if settings.accepted_differences else {}
        more |= {"unreadable": list(unreadable)} if unreadable else {}
        print(json.dumps({"findings": documents, **more}))
        return NOT_KNOWN if unreadable else 0
    print("\n".join([_table(documents) if documents else "no findings", *map(accepted_line, accepted)]))
    for key in unreadable:
        print(f"cannot be read: {key}")
    return NOT_KNOWN if unreadable else 0


def show_command(settings: Settings, args: Namespace) -> int:
    """Print one finding in full."""
    show_keys = keys_shown(settings, bool(_given(args, "show_keys")))
    document = finding_json(_find(settings, args.id, time.time()), show_keys=show_keys)
    print(json.dumps(document) if _given(args, "json") else _full(document))
    return 0


def recheck_command(settings: Settings, args: Namespace) -> int:
    """Ask for the finding's rows to be read again on both sides; the running auditor does it."""
    now = time.time()
    finding = _find(settings, args.id, now)
    wanted = {f"recheck/{finding.id}": {"at": now}, "wait/cli": {"until": now + WAIT_SECONDS}}
    return _store(settings, wanted, args, f"{finding.id} will be read again as soon as the auditor runs")


def accept_command(settings: Settings, args: Namespace) -> int:
    """Take responsibility for a difference; it no longer fails the gate until the acceptance ends."""
    now = time.time()
    finding = _find(settings, args.id, now)
    if finding.state is State.HEALED:
        raise SettingInvalid(f"{finding.id} has healed", hint="there is nothing to accept")
    reason = str(_given(args, "reason") or "").strip()
    if not reason:
        raise SettingInvalid("--reason: say why the difference may stay", hint='--reason "known: ..."')
    until = _given(args, "until")
    ends = None if until is None else moment(str(until), now, past=False, option="--until")
    if ends is not None and ends <= now:
        raise SettingInvalid(f"--until: {until} has passed", hint="give a time to come, as in 7d or 2030-01-31")
    accepted = {"owner": _given(args, "owner") or getpass.getuser(), "reason": reason, "until": ends, "at": now}
    done = f"{finding.id} is accepted by {accepted['owner']}" + (f" until {time_text(ends)}" if ends else "")
    return _store(settings, {f"accepted/{finding.id}": accepted}, args, done)


def keys_shown(settings: Settings, wanted: bool) -> bool:
    """Say whether keys leave in clear text: only where the configuration allows it.

    Raises:
        SettingInvalid: they were asked for and are not allowed.
    """
    allowed = settings.evidence.keys == "clear"
    if wanted and not allowed:
        raise SettingInvalid(
            "--show-keys: evidence.keys is hash, so keys in clear text are not stored for people",
            hint="set evidence.keys: clear; it counts for findings made from then on",
        )
    return allowed


def moment(text: str, now: float, *, past: bool, option: str) -> float:
    """Read a point in time: RFC 3339, a date, or a duration from now such as 30m, 12h or 7d.

    Raises:
        SettingInvalid: it is none of these.
    """
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip()):
        seconds = float(match[1]) * UNITS[match[2]]
        return now - seconds if past else now + seconds
    try:
        parsed = datetime.fromisoformat(text.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise SettingInvalid(
            f"{option}: {text!r} is not a time", hint="give a duration such as 30m or 7d, or 2030-01-31T12:00:00Z"
        ) from None


def _given(args: Namespace, name: str) -> Any:
    return getattr(args, name, None)


def _read(settings: Settings, now: float, entries: Sequence[Entry]) -> tuple[list[Finding], tuple[str, ...]]:
    with closing(open_records(settings)) as store:
        findings, unreadable = read_findings(store.changes(), now)
    return lay_over(findings, entries, now), unreadable


def _find(settings: Settings, name: str, now: float) -> Finding:
    findings, _ = _read(settings, now, load_accepted(settings.accepted_differences))
    found = next((finding for finding in findings if finding.id == name), None)
    if found is None:
        known = "" if FINDING_ID.fullmatch(str(name)) else " (an id looks like f_0123456789abcdef)"
        raise SettingInvalid(f"{name}: there is no such finding{known}", hint="auditor findings list")
    return found


def _store(settings: Settings, items: dict[str, dict[str, Any]], args: Namespace, done: str) -> int:
    with closing(open_records(settings)) as store:
        store.put(items)
    print(json.dumps({"id": args.id, "done": done}) if _given(args, "json") else done)
    return 0


def _wanted(finding: Finding, args: Namespace, earliest: float | None) -> bool:
    state, table = _given(args, "state"), _given(args, "table")
    return (
        (state is None or finding.state == state)
        and (table is None or finding.table == table)
        and (earliest is None or max(finding.first_seen, finding.settled_at or 0.0) >= earliest)
    )


def _table(documents: list[dict[str, Any]]) -> str:
    head = ("ID", "STATE", "KIND", "TABLE", "ROWS", "KEY", "SOURCE", "TARGET", "FIRST SEEN")
    rows = [head, *(_row(document) for document in documents)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(document: dict[str, Any]) -> tuple[str, ...]:
    texts = [document["id"], document["state"], document["kind"], document["table"], str(document["count"])]
    texts += [_key_text(document), document["source_position"] or "-", document["target_position"] or "-"]
    return (*texts, str(document["first_seen"]))


def _key_text(document: dict[str, Any]) -> str:
    if "key" in document:
        return ", ".join(f"{column}={value}" for column, value in document["key"].items())
    return f"#{document['key_hash'][:16]}" if document["key_hash"] else "-"


def _full(document: dict[str, Any]) -> str:
    names = [name for name in document if name not in ("keys", "key", "sentence", "suggests") and document[name]]
    lines = [document["sentence"], f"Often caused by {document['suggests']}.", ""]
    lines += [f"{name + ':':<18}{_value_text(document[name])}" for name in names]
    lines += [f"{'keys:':<18}{_key_text({'key_hash': None, **key})}" for key in document["keys"]]
    return "\n".join(lines)


def _value_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {text}" for name, text in value.items() if text is not None)
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
