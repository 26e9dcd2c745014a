"""What goes into a bundle: the chain of verdicts as it is, all else field by field, so that no row value slips in."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from auditor.accepted_differences import accepted_json, load_accepted
from auditor.bundles.manifest import FINDINGS, VERDICTS, digest, pretty, sealed_line
from auditor.fields import below
from auditor.secret_ref import SecretRef
from auditor.settings import Settings, SideSettings
from auditor.status import read_records
from auditor.verdict_log import read_after, read_lines
from auditor.verdicts import Anchor, Broken, Document, Entry, NotAnEntry, broken, read_entry
from auditor.version import auditor_version
from comparators.acceptance import lay_over
from comparators.findings import Finding, about_data, finding_json, read_findings, time_text

FINDING_FIELDS = (
    "id", "kind", "state", "detector", "table", "subscription", "key_hash", "columns", "count", "source_position",
    "target_position", "first_seen", "settled_at", "explained_by", "accepted", "sentence",
)  # fmt: skip
COVERAGE_FIELDS = (
    "table", "state", "reason", "mode", "generation", "sweep", "rows", "verified", "unverified", "hot", "different",
    "through", "at", "finished_at", "seconds",
)  # fmt: skip
OVERRIDE_FIELDS = ("condition", "item", "owner", "reason", "at", "until", "by")


class Contents:
    """Everything of a bundle but its name and its place in a row."""

    def __init__(self, settings: Settings, since: float | None = None, after: Anchor | None = None) -> None:
        """Read it all.

        Args:
            since: only verdicts of this time (unix seconds) and later.
            after: only verdicts after this one, as long as the log still has it as it was.
        Raises:
            StoreUnavailable: the log or the records cannot be reached now.
            SettingInvalid: the file of accepted differences cannot be read.
        """
        now = time.time()
        rest = None if after is None else read_after(settings, after)
        lines, anchor = read_lines(settings, since) if after is None or rest is None else (rest, after)
        records = read_records(settings)
        entries = load_accepted(settings.accepted_differences)
        findings, unreadable = read_findings(records, now)
        listed = lay_over(about_data(findings), entries, now)
        configuration = configuration_json(settings)
        self.broken: tuple[Broken, ...] = tuple(broken(lines, anchor))
        self.files: Mapping[str, bytes] = {
            VERDICTS: "".join(_line(line) + "\n" for line in lines).encode(),
            FINDINGS: b"".join(sealed_line(_finding(one)) for one in listed),
            "coverage.json": pretty(_coverage(records)),
            "overrides.json": pretty(_overrides(records, accepted_json(entries, listed, now))),
            "configuration.json": pretty(configuration),
        }
        self.about: Document = {
            "migration": settings.migration,
            "made_at": time_text(now),
            "auditor": auditor_version(),
            "configuration_digest": f"sha256:{digest(pretty(configuration))}",
            "since": time_text(since),
            "chain": _chain(lines, anchor or Anchor()),
            "unreadable_findings": list(unreadable),
        }


def configuration_json(settings: Settings) -> Any:
    """Write the settings in force; secrets by their references only, connection strings without them."""
    return _plain(settings)


def _plain(value: Any) -> Any:
    if isinstance(value, SecretRef):
        return value.reference
    if isinstance(value, SideSettings):
        return {"dsn": value.shown, "password": _plain(value.password)}
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value) if one.repr}
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, str | int | float | bool | None):
        return value
    return (
        str(value) if isinstance(value, Path) or not isinstance(value, Sequence) else [_plain(item) for item in value]
    )


def _chain(lines: Sequence[str], before: Anchor) -> Document:
    """Say which part of the log this is, for a reader to compare with the parts before and after it."""
    entries = [entry for line in lines if (entry := _entry(line))]
    end = {"seq": before.seq, "hash": before.hash}
    if not entries:
        return {"entries": len(lines), "first": None, "last": end}
    first, last = entries[0], entries[-1]
    return {
        "entries": len(lines),
        "first": {"seq": first.seq, "previous": first.previous, "hash": first.hash},
        "last": {"seq": last.seq, "hash": last.hash},
    }


def _finding(finding: Finding) -> Document:
    shown = finding_json(finding, show_keys=False)
    hashes = [key["key_hash"] for key in shown["keys"]]
    return {name: shown[name] for name in FINDING_FIELDS} | {"key_hashes": hashes}


def _coverage(records: Mapping[str, Any]) -> Document:
    lines = below(records, "coverage/").values()
    return {"tables": [{name: line.get(name) for name in COVERAGE_FIELDS} for line in lines]}


def _overrides(records: Mapping[str, Any], accepted: Sequence[Mapping[str, Any]]) -> Document:
    given = {
        name: {field: value.get(field) for field in OVERRIDE_FIELDS}
        for name, value in below(records, "override/").items()
    }
    return {"overrides": given, "accepted_differences": list(accepted)}


def _line(line: str) -> str:
    """Keep a damaged entry on one line."""
    return line.replace("\n", "\\n").replace("\r", "\\r")


def _entry(line: str) -> Entry | None:
    try:
        return read_entry(line)
    except NotAnEntry:
        return None
