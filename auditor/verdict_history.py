"""`auditor gate history|explain`: what the gate decided, read from its log, also while it is down."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from typing import Any

from auditor.settings import Settings
from auditor.verdict_log import VerdictLog, open_verdict_log
from auditor.verdicts import Broken, Document, Entry, Kind, NotAnEntry, broken, read_entry
from comparators.errors import SettingInvalid
from comparators.findings import time_text

GOOD, TAMPERED, NOT_KNOWN = 0, 1, 3
ID_LENGTH = 18
TOLD = {Kind.VERDICT: ("verdict", "reasons"), Kind.CONSUMED: ("cutover",)}
"""What of an entry's body a list shows; of the other kinds, all."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries, newest first, and where their chain does not hold."""

    entries: tuple[Entry, ...] = ()
    broken: tuple[Broken, ...] = ()


@dataclass(frozen=True, slots=True)
class Explained:
    """One entry, the verdict recorded before it, and the consumptions of it."""

    entry: Entry
    before: Entry | None = None
    consumed: tuple[Entry, ...] = ()


def history_command(settings: Settings, limit: int, since: float | None, *, as_json: bool) -> int:
    """Print the newest entries.

    Returns:
        0; 1 when the log was tampered with in what is shown.
    """
    page = read_page(settings, limit, since=since)
    if as_json:
        print(json.dumps(page_json(page)))
    else:
        print(_table(page.entries) if page.entries else "nothing is recorded yet: auditor run")
        for one in page.broken:
            print(f"the chain does not hold at entry {one.seq} ({one.id}): {one.reason}", file=sys.stderr)
    return TAMPERED if page.broken else GOOD


def explain_command(settings: Settings, wanted: str, *, as_json: bool) -> int:
    """Print why a verdict was what it was.

    Returns:
        0; 3 when the log does not know it.
    """
    explained = read_explained(settings, wanted)
    if explained is None:
        recorded = "a verdict is recorded when its picture changes, and once a minute"
        print(f"error: {wanted} is not in the log; hint: auditor gate history ({recorded})", file=sys.stderr)
        return NOT_KNOWN
    print(json.dumps(explained_json(explained)) if as_json else _explained_text(explained))
    return GOOD


def read_page(settings: Settings, limit: int, *, since: float | None = None, before: int | None = None) -> Page:
    """Read the newest entries of the log; an absent log has none, and nothing is created.

    Args:
        since: unix seconds.
        before: only entries below this `seq`.
    Raises:
        StoreUnavailable: the log cannot be reached now.
    """
    if _absent(settings):
        return Page()
    with closing(open_verdict_log(settings)) as log:
        lines = list(islice(_wanted(log, since, before), limit))
    lines.reverse()
    entries = [entry for line in lines if (entry := _entry(line))]
    return Page(tuple(reversed(entries)), tuple(broken(lines, before=None)))


def read_explained(settings: Settings, wanted: str) -> Explained | None:
    """Look an entry up by its id, the beginning of it, or its number.

    Raises:
        SettingInvalid: several ids begin so.
        StoreUnavailable: the log cannot be reached now.
    """
    if _absent(settings):
        return None
    with closing(open_verdict_log(settings)) as log:
        return find(log.newest(), wanted)


def find(newest_first: Iterable[str], wanted: str) -> Explained | None:
    """Search the log from its end.

    Raises:
        SettingInvalid: several ids begin so.
    """
    consumed: dict[str, list[Entry]] = {}
    found: Entry | None = None
    before: Entry | None = None
    for entry in filter(None, map(_entry, newest_first)):
        if found is None and entry.kind is Kind.CONSUMED:
            consumed.setdefault(entry.id, []).insert(0, entry)
        if _is(entry, wanted) and (found is None or entry.id != found.id):
            if found is not None:
                raise SettingInvalid(f"{wanted}: several ids begin so", hint=f"write more of {found.id} or {entry.id}")
            found = entry
        elif found is not None and before is None and entry.kind is Kind.VERDICT and entry.id != found.id:
            before = entry
        if found is not None and before is not None and (wanted.isdecimal() or len(wanted) == ID_LENGTH):
            break
    return None if found is None else Explained(found, before, tuple(consumed.get(found.id, ())))


def page_json(page: Page) -> Document:
    """Give a page of the history as the API and the command do."""
    return {
        "entries": [entry_json(entry) for entry in page.entries],
        "broken": [broken_json(one) for one in page.broken],
    }


def entry_json(entry: Entry) -> Document:
    """Sum an entry up."""
    told = TOLD.get(entry.kind, tuple(entry.body))
    more = {name: entry.body.get(name) for name in told}
    whole = {"seq": entry.seq, "at": time_text(entry.at), "kind": str(entry.kind), "id": entry.id, "hash": entry.hash}
    return {**more, **whole}


def broken_json(one: Broken) -> Document:
    return {"line": one.line, "seq": one.seq, "id": one.id, "reason": one.reason}


def explained_json(explained: Explained) -> Document:
    """Give an explanation as the API and the command do."""
    entry, before = explained.entry, explained.before
    return {
        **entry_json(entry),
        "document": entry.body,
        "before": None if before is None else entry_json(before),
        "changed": changes(before.body if before else {}, entry.body) if entry.kind is Kind.VERDICT else [],
        "consumed": [entry_json(one) for one in explained.consumed],
    }


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Document]:
    """List the conditions whose status differs between two verdicts."""
    old, new = _statuses(before), _statuses(after)
    names = [*new, *(name for name in old if name not in new)]
    return [
        {"name": name, "from": old.get(name), "to": new.get(name)} for name in names if old.get(name) != new.get(name)
    ]


def _absent(settings: Settings) -> bool:
    return settings.transport is None and not (settings.state_dir / "verdicts.sqlite").exists()


def _wanted(log: VerdictLog, since: float | None, before: int | None) -> Iterator[str]:
    for line in log.newest():
        entry = _entry(line)
        if entry and since is not None and entry.at < since:
            return
        if entry is None or before is None or entry.seq < before:
            yield line


def _entry(line: str) -> Entry | None:
    try:
        return read_entry(line)
    except NotAnEntry:
        return None


def _is(entry: Entry, wanted: str) -> bool:
    if wanted.isdecimal():
        return entry.seq == int(wanted)
    return entry.kind is not Kind.CONSUMED and entry.id.startswith(wanted)


def _statuses(document: Mapping[str, Any]) -> dict[str, str]:
    return {part["name"]: part["status"] for part in document.get("conditions") or ()}


def _table(entries: Sequence[Entry]) -> str:
    head = ("SEQ", "AT", "ID", "KIND", "WHAT")
    rows = [head, *((str(one.seq), str(time_text(one.at)), one.id, str(one.kind), _what(one)) for one in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _what(entry: Entry) -> str:
    """Say in one line what an entry records."""
    body = entry.body
    if entry.kind is Kind.VERDICT:
        return "; ".join([str(body.get("verdict")), *map(str, body.get("reasons") or ())])
    if entry.kind is Kind.CONSUMED:
        return f"by {body.get('cutover')}, valid until {time_text(body.get('valid_until'))}"
    if entry.kind is Kind.OVERRIDE:
        return f"in force: {', '.join(body.get('overrides') or ()) or 'none'}"
    return "; ".join([f"gate {str(body.get('incarnation'))[:8]}", *_incidents(body)])


def _incidents(body: Mapping[str, Any]) -> list[str]:
    found = [f"damaged before it: {text}" for text in body.get("damaged") or ()]
    found += [f"the log was away: {body['after']}"] if body.get("after") else []
    return found + ([f"{body['left_out']} entries were dropped while it was away"] if body.get("left_out") else [])


def _explained_text(explained: Explained) -> str:
    entry, before = explained.entry, explained.before
    lines = [f"{entry.id} (entry {entry.seq}, {time_text(entry.at)}): {_what(entry)}"]
    if entry.kind is Kind.VERDICT:
        lines.append(f"valid until {entry.body.get('valid_until')}")
        lines += [_before_words(before, changes(before.body, entry.body))] if before else ["the first that is recorded"]
        lines += [f"consumed: entry {one.seq}, {time_text(one.at)}, {_what(one)}" for one in explained.consumed]
        lines += [f"  {_condition_words(part)}" for part in entry.body.get("conditions") or ()]
        lines += [f"  next: {step}" for step in entry.body.get("next_steps") or ()]
    else:
        lines.append(json.dumps(entry.body, indent=2, sort_keys=True))
    return "\n".join(lines)


def _before_words(before: Entry, changed: Sequence[Mapping[str, Any]]) -> str:
    words = [f"{one['name']} {one['from'] or 'new'} -> {one['to'] or 'gone'}" for one in changed]
    return f"changed since {before.id} ({before.body.get('verdict')}): {', '.join(words) or 'no condition'}"


def _condition_words(part: Mapping[str, Any]) -> str:
    value = "unknown" if part.get("value") is None else f"{part['value']:.6g}"
    age = "" if part.get("age_seconds") is None else f", {part['age_seconds']:g} s old"
    limit = "" if part.get("limit") is None else f", limit {part['limit']:g}"
    return f"{part['status']:<12} {part['name']}: {value} {part.get('unit')}{limit}{age}; {part.get('reason')}"
