"""Differences that a sweep found, as findings: one per table, kind and sweep in which it was first seen.

This process writes both their records. What a running sweep sees of a finding that is open already is gathered beside
it (`next`) and takes its place when the sweep is complete: so its count is exact at any time, after a crash too.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from auditor.peers import Peers
from auditor.sealing import Sealer, Texts
from comparators.errors import PoisonFrame
from comparators.findings import KEYS_LISTED
from comparators.tables import TablePair
from samplers.table_sweep import RowDifference

DETECTOR = "row"
Record = Mapping[str, Any]
Items = dict[str, dict[str, Any] | None]


class Sweep(NamedTuple):
    """One sweep of a table; one that starts anew is another."""

    generation: int
    """Of the baseline."""
    number: int
    started_at: float


_TALLY = ("sweep", "count", "keys", "key_cipher", "columns", "source_position", "target_position")


class RowFindings:
    """The row audit's findings; `kept` notes what was stored, so that one failed write forgets nothing."""

    def __init__(self, migration: str, sealer: Sealer, peers: Peers, *, clear_keys: bool) -> None:
        """Args: peers: holds the records; those of this detector are read once, here."""
        self._migration, self._sealer, self._peers, self._clear = migration, sealer, peers, clear_keys
        self._suspects: dict[str, Record] = {}
        self._settled: dict[str, Record] = {}
        self.kept({key: dict(value) for area in ("suspect/", "settled/") for key, value in peers.below(area).items()})

    def kept(self, items: Mapping[str, dict[str, Any] | None]) -> None:
        """Take over what is in the records now."""
        for key, value in items.items():
            area, _, identity = key.partition("/")
            if value is not None and area == "suspect" and value.get("detector") == DETECTOR:
                self._suspects[identity] = value
            elif value is not None and area == "settled" and identity in self._suspects:
                self._settled[identity] = value

    def table_of(self, identity: str) -> str | None:
        """Give the table of one of this detector's findings."""
        found = self._suspects.get(identity)
        return None if found is None else str(found["table"])

    def found(
        self, pair: TablePair, subscription: str, sweep: Sweep, kinds: Mapping[str, int],
        differences: Sequence[RowDifference], now: float,
    ) -> Items:  # fmt: skip
        """Give the records that a step of a sweep changes.

        Args:
            kinds: rows of each kind in this sweep so far, those of this step included.
        """
        items: Items = {}
        for kind in sorted({one.kind for one in differences}):
            some = [one for one in differences if one.kind == kind]
            identity = next(iter(self._open(pair.name, kind)), None)
            if identity is None:
                identity = self._identity(pair.name, kind, sweep)
                items[f"suspect/{identity}"] = _suspect(identity, pair, subscription, kind, kinds[kind], some[0], now)
            items[f"settled/{identity}"] = self._added(identity, pair, kind, sweep, kinds[kind], some, now)
        return items

    def complete(self, table: str, sweep: Sweep, kinds: Mapping[str, int], *, whole: bool, now: float) -> Items:
        """Give the records that a complete sweep of a table changes: what it saw counts, what it did not see heals.

        Args:
            whole: every row was proved; a row that was not may be the very one, and nothing heals.
        """
        items: Items = {}
        for identity in self._open(table):
            settled = self._settled[identity]
            if not kinds.get(settled["kind"]):
                items |= {f"settled/{identity}": _healed(settled, sweep, now)} if whole else {}
            elif following := settled.get("next"):
                tally = {name: following[name] for name in _TALLY}
                items[f"settled/{identity}"] = self._explained(table, {**settled, **tally, "next": None})
        return items

    def _open(self, table: str, kind: str | None = None) -> Iterable[str]:
        return [
            identity
            for identity, settled in self._settled.items()
            if settled["state"] != "healed"
            and self._suspects[identity]["table"] == table
            and kind in (None, settled["kind"])
        ]

    def _identity(self, table: str, kind: str, sweep: Sweep) -> str:
        text = json.dumps(
            [DETECTOR, self._migration, table, kind, sweep.generation, sweep.number], separators=(",", ":")
        )
        return "f_" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _added(
        self,
        identity: str,
        pair: TablePair,
        kind: str,
        sweep: Sweep,
        count: int,
        some: Sequence[RowDifference],
        now: float,
    ) -> dict[str, Any]:
        """Add rows to what a finding's sweep has gathered: the finding itself, or what will follow it."""
        settled = self._settled.get(identity) or _confirmed(kind, sweep, now)
        ahead = tuple(settled["sweep"]) != sweep
        tally = settled if not ahead else settled.get("next") or {}
        added = self._tally(tally if tuple(tally.get("sweep", ())) == sweep else {}, pair, sweep, count, some)
        return {**settled, "next": added} if ahead else self._explained(pair.name, {**settled, **added})

    def _tally(
        self, before: Record, pair: TablePair, sweep: Sweep, count: int, some: Sequence[RowDifference]
    ) -> dict[str, Any]:
        listed, keys = list(before.get("keys") or ()), self._unsealed(before)
        known = {one["hash"] for one in listed}
        for one in (one for one in some if one.key):  # the others stand for rows that were only counted
            shown = self._shown(pair, one)
            if len(listed) < KEYS_LISTED and shown["hash"] not in known:
                listed.append(shown)
                keys.append(one.key)
                known.add(shown["hash"])
        columns = sorted({*(before.get("columns") or ()), *(name for one in some for name in one.columns)})
        return {
            "sweep": list(sweep), "count": max(count, len(listed)), "keys": listed, "columns": columns,
            "key_cipher": self._sealer.seal_keys(keys) if keys else None,
            "source_position": some[-1].source_position, "target_position": some[-1].target_position,
        }  # fmt: skip

    def _unsealed(self, before: Record) -> list[Texts]:
        try:
            return list(self._sealer.unseal_keys(before["key_cipher"])) if before.get("key_cipher") else []
        except PoisonFrame:  # sealed with a key that is lost: their hashes stay listed
            return []

    def _shown(self, pair: TablePair, one: RowDifference) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "hash": self._sealer.name(pair.name, one.key), "source_hash": one.source_hash,
            "target_hash": one.target_hash, "source_position": one.source_position,
            "target_position": one.target_position, "xmin": one.xmin,
        }  # fmt: skip
        if self._clear and pair.source.key:
            names = (column.name for column in pair.source.key)
            texts = (None if text is None else text.decode(errors="replace") for text in one.key)
            shown["clear"] = dict(zip(names, texts, strict=False))
        return shown

    def _explained(self, table: str, settled: dict[str, Any]) -> dict[str, Any]:
        """Name the foreign write that touched every row of a finding, so that the damage is counted once."""
        hashes = {key["hash"] for key in settled["keys"]}
        whole = len(hashes) == settled["count"]
        by = next((name for name in self._foreign_writes(table) if hashes <= self._touched(name)), None)
        return {**settled, "explained_by": by if whole else None}

    def _foreign_writes(self, table: str) -> Iterable[str]:
        for key, other in self._peers.below("suspect/").items():
            name = key.removeprefix("suspect/")
            settled = self._peers.get(f"settled/{name}") or other
            if (other["kind"], other["table"]) == ("foreign-write", table) and settled["state"] != "healed":
                yield name

    def _touched(self, name: str) -> set[str]:
        suspect = self._peers.get(f"suspect/{name}") or {"keys": ()}
        return {key["hash"] for key in suspect["keys"]}


def _suspect(
    identity: str, pair: TablePair, subscription: str, kind: str, count: int, first: RowDifference, now: float
) -> dict[str, Any]:
    return {
        "id": identity, "kind": kind, "state": "confirmed", "detector": DETECTOR, "table": pair.name,
        "whole_table": False, "keyless": not pair.source.key,
        "key_columns": [column.name for column in pair.source.key], "keys": [], "key_cipher": None, "count": count,
        "columns": [], "source_position": first.source_position, "target_position": first.target_position,
        "first_seen": now, "subscription": subscription, "partition": None,
    }  # fmt: skip


def _confirmed(kind: str, sweep: Sweep, now: float) -> dict[str, Any]:
    return {
        "state": "confirmed", "kind": kind, "sweep": list(sweep), "next": None, "rounds": 2, "settled_at": now,
        "explained_by": None, "reason": None,
    }  # fmt: skip


def _healed(settled: Record, sweep: Sweep, now: float) -> dict[str, Any]:
    reason = f"sweep {sweep.number} read the whole table and found none"
    return {**settled, "state": "healed", "settled_at": now, "explained_by": None, "reason": reason, "next": None}
