"""What a comparator may say: a difference, where it is, and what became of it since.

A finding is written by three hands: the core first sees it (`suspect/<id>`), the re-check settles it (`settled/<id>`)
and a person may accept it (`accepted/<id>`). `read_findings` lays the three over each other.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from comparators import explain
from comparators.errors import Defect
from comparators.positions import format_lsn

CANARY = "canary"
"""Detector of findings that were planted to see whether they are found; they say nothing of the user's data."""
KEYS_LISTED = 100
"""A finding lists at most this many keys; its count is exact."""


class Kind(StrEnum):
    """Every kind of difference that interface.md names."""

    ROW_DIFFERENT = "row-different"
    ROW_MISSING = "row-missing"
    ROW_EXTRA = "row-extra"
    TRANSACTION_MISSING = "transaction-missing"
    TRANSACTION_INCOMPLETE = "transaction-incomplete"
    FOREIGN_WRITE = "foreign-write"
    TRUNCATE_MISSING = "truncate-missing"
    ORDER_VIOLATED = "order-violated"
    SHAPE_DIFFERENT = "shape-different"
    UNEXPLAINED = "unexplained"


class State(StrEnum):
    """How sure we are, and whether a person has spoken."""

    SUSPECT = "suspect"
    CONFIRMED = "confirmed"
    HEALED = "healed"
    ACCEPTED = "accepted"


Record = Mapping[str, Any]
Merge = Callable[[str, Record, Record | None, Record | None, float | None], "Finding"]


class FindingUnreadable(Defect):
    """A finding's record lacks a field or holds one that makes no sense."""


@dataclass(frozen=True, slots=True)
class Key:
    """One row's key: an HMAC for people, the text of its columns only where the configuration allows it."""

    hash: str | None = None
    clear: Mapping[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Who takes responsibility for a difference, why, and until when (unix seconds; `None` is without end)."""

    owner: str
    reason: str
    until: float | None
    at: float
    place: str | None = None
    """Line of the file of accepted differences; `None`: accepted by the finding's id."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference between the two sides; positions are WAL offsets of their own side, times are unix seconds."""

    id: str
    kind: Kind
    state: State
    detector: str
    table: str
    subscription: str
    count: int
    first_seen: float
    keys: tuple[Key, ...] = ()
    key_cipher: str | None = None
    columns: tuple[str, ...] = ()
    source_position: int | None = None
    target_position: int | None = None
    partition: int | None = None
    settled_at: float | None = None
    rounds: int = 0
    explained_by: str | None = None
    reason: str | None = None
    accepted: Acceptance | None = None


def finding_id(
    migration: str, kind: str, table: str, subscription: str, source_position: int | None, target_position: int | None
) -> str:
    """Name one finding the same way however often its frames are replayed.

    Returns:
        `f_` and 16 hexadecimal digits over the migration, kind, table, subscription and the source position
        (the target's where the source has none).
    """
    position = ("source", source_position) if source_position is not None else ("target", target_position)
    text = json.dumps([migration, str(kind), table, subscription, *position], separators=(",", ":"))
    return "f_" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def merged_findings(records: Mapping[str, Mapping[str, Any] | None], now: float | None = None) -> list[Finding]:
    """Give every readable finding but the planted ones, oldest first; see `read_findings`."""
    return about_data(read_findings(records, now)[0])


def about_data(findings: Iterable[Finding]) -> list[Finding]:
    """Leave out what was planted in the canary table: it proves the audits and accuses nobody."""
    return [finding for finding in findings if finding.detector != CANARY]


def read_findings(
    records: Mapping[str, Mapping[str, Any] | None], now: float | None = None, merge: Merge | None = None
) -> tuple[list[Finding], tuple[str, ...]]:
    """Lay what was settled and accepted over what was first seen.

    Args:
        records: keys and values as the records store holds them; other keys are ignored.
        now: unix seconds; an acceptance that ended before no longer counts. `None` counts all of them.
        merge: `merged_finding`, or something that remembers what it gave.
    Returns:
        The findings, oldest first, and the keys of records that cannot be read: whoever decides must not
        take those for absent.
    """
    found, unreadable, merge = [], [], merge or merged_finding
    for key, value in records.items():
        area, _, name = key.partition("/")
        if value is None or area not in ("suspect", "settled"):
            continue
        if area == "settled":
            if not records.get(f"suspect/{name}") and value.get("state") != State.HEALED:
                unreadable.append(key)
            continue
        try:
            found.append(merge(name, value, records.get(f"settled/{name}"), records.get(f"accepted/{name}"), now))
        except (FindingUnreadable, KeyError, TypeError, ValueError, AttributeError, OverflowError):
            unreadable.append(key)
    return sorted(found, key=lambda finding: (finding.first_seen, finding.id)), tuple(sorted(unreadable))


def open_findings(findings: Iterable[Finding]) -> list[Finding]:
    """Keep those that fail the gate: confirmed, not accepted, no canary, not folded into another that still stands."""
    listed = list(findings)
    # Only what stands on its own explains others: two that point at each other must not both vanish.
    standing = {finding.id for finding in listed if _stands(finding) and finding.explained_by is None}
    return [
        finding
        for finding in listed
        if finding.state is State.CONFIRMED and finding.detector != CANARY and finding.explained_by not in standing
    ]


def _stands(finding: Finding) -> bool:
    """Say whether a finding may explain others; a line of a file accepts only what it names itself."""
    accepted = finding.state is State.ACCEPTED and (finding.accepted is None or finding.accepted.place is None)
    return finding.state is State.CONFIRMED or accepted


def finding_json(finding: Finding, *, show_keys: bool = False) -> dict[str, Any]:
    """Give the finding as interface.md promises it.

    Args:
        show_keys: the configuration allows keys in clear text; without it only their hashes leave.
    """
    shown = [_key_json(key, show_keys) for key in finding.keys[:KEYS_LISTED]]
    first = shown[0] if shown else {}
    accepted = finding.accepted
    return {
        "id": finding.id,
        "kind": str(finding.kind),
        "state": str(finding.state),
        "detector": finding.detector,
        "table": finding.table,
        "subscription": finding.subscription,
        **({"key": first["key"]} if "key" in first else {}),
        "key_hash": first.get("key_hash"),
        "keys": shown,
        "columns": list(finding.columns),
        "count": finding.count,
        "source_position": position_text(finding.source_position),
        "target_position": position_text(finding.target_position),
        "first_seen": time_text(finding.first_seen),
        "settled_at": time_text(finding.settled_at),
        "explained_by": finding.explained_by,
        "reason": finding.reason,
        "accepted": None if accepted is None else _acceptance_json(accepted),
        "sentence": explain.sentence(finding),
        "suggests": explain.suggestion(finding),
    }


def position_text(position: int | None) -> str | None:
    """Write a position as PostgreSQL prints it, or keep its absence."""
    return None if position is None else format_lsn(position)


def time_text(at: float | None) -> str | None:
    """Write unix seconds as RFC 3339 in UTC, to the millisecond."""
    if at is None:
        return None
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _key_json(key: Key, show_keys: bool) -> dict[str, Any]:
    clear = {"key": dict(key.clear)} if show_keys and key.clear is not None else {}
    return {**clear, "key_hash": key.hash}


def _acceptance_json(accepted: Acceptance) -> dict[str, Any]:
    return {
        "owner": accepted.owner,
        "reason": accepted.reason,
        "until": time_text(accepted.until),
        "at": time_text(accepted.at),
        **({} if accepted.place is None else {"place": accepted.place}),
    }


def merged_finding(
    name: str,
    seen: Mapping[str, Any],
    settled: Mapping[str, Any] | None,
    accepted: Mapping[str, Any] | None,
    now: float | None,
) -> Finding:
    """Lay one finding's records over each other.

    Raises:
        FindingUnreadable, KeyError, TypeError, ValueError, AttributeError, OverflowError: they make no sense.
    """
    # A re-check that found nothing more to say (no keys, no columns, count 0 when healed) keeps what was first seen.
    merged = {**seen, **{field: value for field, value in (settled or {}).items() if value}}
    if seen["id"] != name:
        raise FindingUnreadable(f"suspect/{name} holds finding {seen['id']}")
    acceptance = _acceptance(accepted, now)
    return Finding(
        id=name,
        kind=Kind(merged["kind"]),
        state=_state(seen, merged, acceptance),
        detector=_name(merged["detector"]),
        table=_name(merged["table"]),
        subscription=_name(merged["subscription"]),
        count=_whole(merged["count"]),
        first_seen=_moment(merged["first_seen"]),
        keys=tuple(Key(key.get("hash"), key.get("clear")) for key in merged.get("keys") or ()),
        key_cipher=merged.get("key_cipher"),
        columns=tuple(str(column) for column in merged.get("columns") or ()),
        source_position=_optional_whole(merged.get("source_position")),
        target_position=_optional_whole(merged.get("target_position")),
        partition=_optional_whole(merged.get("partition")),
        settled_at=None if merged.get("settled_at") is None else _moment(merged["settled_at"]),
        rounds=_whole(merged.get("rounds", 0)),
        explained_by=merged.get("explained_by"),
        reason=merged.get("reason"),
        accepted=acceptance,
    )


def _state(seen: Mapping[str, Any], merged: Mapping[str, Any], acceptance: Acceptance | None) -> State:
    state = State(merged["state"])
    if state is State.HEALED and merged["kind"] == Kind.ORDER_VIOLATED:
        state = State(seen["state"])  # a row that ends up right does not undo an order that was wrong
    return State.ACCEPTED if acceptance is not None and state is not State.HEALED else state


def _acceptance(record: Mapping[str, Any] | None, now: float | None) -> Acceptance | None:
    if record is None:
        return None
    until = None if record.get("until") is None else _moment(record["until"])
    if now is not None and until is not None and until <= now:
        return None
    return Acceptance(str(record["owner"]), str(record["reason"]), until, _moment(record["at"]))


def _moment(value: Any) -> float:
    moment = float(value)
    if not (math.isfinite(moment) and 0 <= moment < 1e11):
        raise FindingUnreadable(f"{value!r} is not a time in unix seconds")
    return moment


def _name(value: Any) -> str:
    if not isinstance(value, str):
        raise FindingUnreadable(f"{value!r} is not a name")
    return value


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise FindingUnreadable(f"{value!r} is not a whole number from 0 upwards")
    return value


def _optional_whole(value: Any) -> int | None:
    return None if value is None else _whole(value)
