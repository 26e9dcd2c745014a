"""The file of accepted differences: read again whenever it changes, laid over what is shown, stored nowhere.

Nothing is accepted for good: a line that is taken out or has ended no longer counts at the next look, and a file that
cannot be read accepts nothing.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from auditor.quantities import end_of
from auditor.settings_file import Problem, read_document, schema_problems
from comparators.acceptance import Entry
from comparators.errors import SettingInvalid
from comparators.findings import Finding, Kind, time_text

_COVERAGE = "coverage/"


def _text(must: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "pattern": r"\S", "x-must": must, **more}


def _several(must: str) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": _text(must), "x-must": f"a list, each {must}"}


_ENTRY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["table", "owner", "reason", "until"],
    "x-must": "a mapping with table, owner, reason, until and what is accepted",
    "properties": {
        "table": _text("a table, schema.table", pattern=r"^[^.*?]+\.[^.*?]+$"),
        "kind": {"enum": [str(kind) for kind in Kind], "x-must": f"a kind of finding: {', '.join(Kind)}"},
        "columns": _several("the name of a column"),
        "key_hashes": _several("the hash of a key, as `auditor findings show` gives it"),
        "skipped": {"const": True, "x-must": "true"},
        "owner": _text("the name of somebody"),
        "reason": _text("a reason in words"),
        "until": _text("a day or a time such as 2030-01-31 or 2030-01-31T12:00:00Z"),
    },
}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["accepted"],
    "properties": {"accepted": {"type": "array", "items": _ENTRY, "x-must": "a list of accepted differences"}},
}


def load_accepted(file: Path | None) -> tuple[Entry, ...]:
    """Read the file; `None`: nothing is accepted.

    Raises:
        SettingInvalid: names file, place, value, reason and a way out.
    """
    if file is None:
        return ()
    document = read_document(file)
    for problem in schema_problems(document, SCHEMA) or _odd_entries(document):
        raise problem.error(file)
    try:
        written = file.stat().st_mtime
    except OSError as error:
        raise SettingInvalid(f"{file}: {error.strerror}", hint="make it readable for this user") from None
    return tuple(_entry(file, number, given, written) for number, given in enumerate(document["accepted"]))


class AcceptedFile:
    """The file as it stands at each look, for processes that run for long."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._seen: tuple[int, ...] = ()
        self._entries: tuple[Entry, ...] = ()
        self.error: str | None = None
        """Why nothing is accepted although a file is named."""

    def entries(self) -> tuple[Entry, ...]:
        """Give what the file says now; nothing where it cannot be read."""
        if self._file is not None and (now := _version(self._file)) != self._seen:
            self._seen = now
            self._entries, self.error = (), None
            try:
                self._entries = load_accepted(self._file)
            except SettingInvalid as error:
                self.error = f"no difference is accepted: {error}"
        return self._entries


def _version(file: Path) -> tuple[int, ...]:
    try:
        seen = os.stat(file)
    except OSError:
        return (-1,)
    return seen.st_mtime_ns, seen.st_size, seen.st_ino


def over_coverage(records: Mapping[str, Any], entries: Iterable[Entry]) -> Mapping[str, Any]:
    """Lay the accepted absences over the coverage of skipped tables; ended ones too, so that the gate can say so."""
    # the one that lasts longest comes last, and wins
    skips = {entry.table: entry for entry in sorted(entries, key=lambda entry: entry.until) if entry.skipped}
    laid = {}
    for table, entry in skips.items():
        record = records.get(_COVERAGE + table)
        if isinstance(record, Mapping) and record.get("state") == "skipped":
            accepted = {"owner": entry.owner, "reason": entry.reason, "until": entry.until}
            laid[_COVERAGE + table] = {**record, "accepted": accepted}
    return {**records, **laid} if laid else records


def accepted_json(entries: Sequence[Entry], findings: Sequence[Finding], now: float) -> list[dict[str, Any]]:
    """Describe each line of the file, and how much it is laid over: the ended ones too.

    Args:
        findings: with the file laid over them.
        now: unix seconds.
    """
    places = [finding.accepted.place for finding in findings if finding.accepted]
    return [
        {
            "place": entry.place,
            "table": entry.table,
            "kind": None if entry.kind is None else str(entry.kind),
            "columns": sorted(entry.columns),
            "key_hashes": sorted(entry.key_hashes),
            "skipped": entry.skipped,
            "owner": entry.owner,
            "reason": entry.reason,
            "until": time_text(entry.until),
            "state": "in force" if entry.counts(now) else "ended",
            "findings": places.count(entry.place),
        }
        for entry in entries
    ]


def accepted_line(line: Mapping[str, Any]) -> str:
    """Write one line of `accepted_json` for people."""
    named = [line["kind"], ", ".join(line["columns"]), ", ".join(f"#{key}" for key in line["key_hashes"])]
    what = "skipped" if line["skipped"] else "; ".join(filter(None, named))
    rows = "" if line["skipped"] else f": {line['findings']} findings"
    state = f"until {line['until']}{rows}" if line["state"] == "in force" else f"ENDED {line['until']}: counts no more"
    return f"{line['place']}: {line['table']} ({what}) accepted by {line['owner']} {state}"


def _odd_entries(document: dict[str, Any]) -> Iterable[Problem]:
    for number, entry in enumerate(document.get("accepted", ())):
        path = f"accepted.{number}"
        about_rows = [name for name in ("kind", "columns", "key_hashes") if name in entry]
        if not about_rows and "skipped" not in entry:
            yield Problem(path, "names no difference", "add kind, columns, key_hashes or skipped: true")
        if about_rows and "skipped" in entry:
            text = f"{about_rows[0]} and skipped do not go together"
            yield Problem(path, text, "make two entries of it")
        if end_of(entry["until"]) is None:
            yield Problem(f"{path}.until", f"{entry['until']!r} is not a day or a time", "write it as in 2030-01-31")


def _entry(file: Path, number: int, given: Mapping[str, Any], written: float) -> Entry:
    until = end_of(given["until"])
    assert until is not None
    return Entry(
        place=f"{file.name}: accepted.{number}",
        table=given["table"],
        owner=given["owner"].strip(),
        reason=given["reason"].strip(),
        until=until,
        at=written,
        kind=Kind(given["kind"]) if "kind" in given else None,
        columns=frozenset(given.get("columns", ())),
        key_hashes=frozenset(given.get("key_hashes", ())),
        skipped="skipped" in given,
    )
