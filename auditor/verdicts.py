"""Verdicts as records: entries of a log in which each names the hash of the one before. Pure: nothing is read here.

An entry is JSON in one spelling (`canonical`), so that its hash can be computed again anywhere. What is changed, taken
out, put in or moved shows at the first entry that no longer fits.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from comparators.errors import Defect, StoreUnavailable

Document = dict[str, Any]
UNHASHED = ("id", "consumed_by")
"""What an evaluation's id is not made of: itself, and what becomes of the evaluation later."""


class Kind(StrEnum):
    """What an entry records."""

    VERDICT = "verdict"
    CONSUMED = "consumed"
    OVERRIDE = "override"
    STARTED = "started"


class NotAnEntry(Defect):
    """A line of the log is damaged: it cannot be read, or its hash is another."""


class ChainForked(StoreUnavailable):
    """Another gate wrote to the same log at the same moment."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be recorded; `at` is unix seconds."""

    kind: Kind
    id: str
    body: Mapping[str, Any]
    at: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of the log."""

    seq: int
    previous: str | None
    """Hash of the entry before; `None` at the very beginning."""
    at: float
    kind: Kind
    id: str
    body: Mapping[str, Any]
    hash: str

    @property
    def text(self) -> str:
        """The entry as it is stored: one line."""
        return canonical(_parts(self) | {"hash": self.hash})


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where a chain goes on: the entry before its next one; `seq` 0 is the beginning."""

    seq: int = 0
    hash: str | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A place where the chain does not hold; `line` counts from 1."""

    line: int
    seq: int | None
    id: str | None
    reason: str


def canonical(value: Any) -> str:
    """Write JSON in its one spelling: sorted keys, no blanks, no NaN.

    Raises:
        ValueError, TypeError: it is not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def sha256(value: Any) -> str:
    """Hash the one spelling of a value."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def evaluation_id(document: Mapping[str, Any]) -> str:
    """Name an evaluation by what it says."""
    return "v_" + sha256({name: value for name, value in document.items() if name not in UNHASHED})[:16]


def seal(draft: Draft, after: Anchor) -> Entry:
    """Make the entry that follows another."""
    body = json.loads(canonical(draft.body))
    unsealed = Entry(after.seq + 1, after.hash, draft.at, draft.kind, draft.id, body, "")
    return Entry(after.seq + 1, after.hash, draft.at, draft.kind, draft.id, body, sha256(_parts(unsealed)))


def seal_all(drafts: Iterable[Draft], after: Anchor) -> list[Entry]:
    """Make the entries that follow another, in a row."""
    made: list[Entry] = []
    for draft in drafts:
        made.append(seal(draft, after))
        after = anchor_of(made[-1])
    return made


def anchor_of(entry: Entry) -> Anchor:
    return Anchor(entry.seq, entry.hash)


def read_entry(text: str | bytes) -> Entry:
    """Read one line of the log.

    Raises:
        NotAnEntry: it is damaged.
    """
    try:
        found = json.loads(text)
        stored = text.decode() if isinstance(text, bytes) else text
        whole = (
            isinstance(found["seq"], int) and isinstance(found["at"], int | float) and isinstance(found["body"], dict)
        )
        if not whole or stored != canonical(found):
            raise NotAnEntry("it is not written as an entry is")
        entry = Entry(**found | {"kind": Kind(found["kind"])})
    except (TypeError, ValueError, KeyError, RecursionError) as error:
        raise NotAnEntry(f"it is not an entry: {type(error).__name__}") from None
    if entry.hash != sha256(_parts(entry)):
        raise NotAnEntry("its content and its hash do not fit")
    return entry


def tail_of(newest_first: Iterable[str | bytes]) -> tuple[Anchor, list[str]]:
    """Find where a log goes on.

    Returns:
        The last good entry, and what is wrong with those after it, oldest first.
    """
    damaged: list[str] = []
    for text in newest_first:
        try:
            entry = read_entry(text)
        except NotAnEntry as error:
            damaged.insert(0, str(error))
            continue
        return Anchor(entry.seq, entry.hash), damaged
    return Anchor(), damaged


def broken(lines: Iterable[str | bytes], before: Anchor | None = Anchor()) -> list[Broken]:
    """Check a chain, entry by entry.

    Args:
        before: what the first entry must follow; `None` takes it as it comes, as in a part of a log.
    """
    found: list[Broken] = []
    anchor, damaged = before, 0
    for number, line in enumerate(lines, 1):
        try:
            entry = read_entry(line)
        except NotAnEntry as error:
            found.append(Broken(number, *_claimed(line), str(error)))
            damaged += 1
            continue
        # an entry after damaged ones is named only where it would not fit after what they were either
        named = damaged > 0 and anchor is not None and entry.seq == anchor.seq + damaged + 1
        if anchor is not None and not named and (reason := _misfit(entry, anchor)):
            found.append(Broken(number, entry.seq, entry.id, reason))
        anchor, damaged = anchor_of(entry), 0
    return found


def _misfit(entry: Entry, anchor: Anchor) -> str:
    if entry.seq == anchor.seq + 1 and entry.previous == anchor.hash:
        return ""
    if entry.seq == anchor.seq and entry.hash != anchor.hash:
        return f"a fork: there are two entries {entry.seq}, as if two gates had written at once"
    if entry.seq <= anchor.seq:
        return f"it stands after entry {anchor.seq}: repeated, or out of order"
    if entry.seq > anchor.seq + 1:
        return f"entries {anchor.seq + 1} to {entry.seq - 1} before it are missing"
    return f"it does not follow entry {anchor.seq} as that is now"


def _claimed(line: str | bytes) -> tuple[int | None, str | None]:
    """Say which entry a damaged line claims to be."""
    try:
        found = json.loads(line)
        seq, name = found.get("seq"), found.get("id")
    except (ValueError, AttributeError, RecursionError):
        return None, None
    return seq if isinstance(seq, int) else None, name if isinstance(name, str) else None


def _parts(entry: Entry) -> Document:
    return {
        "seq": entry.seq,
        "previous": entry.previous,
        "at": entry.at,
        "kind": str(entry.kind),
        "id": entry.id,
        "body": entry.body,
    }
