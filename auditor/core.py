"""The core between the stream and the records: frames in, findings, gaps, tallies and progress out.

Order of durability: what was found, then how far that reaches, then the acknowledgement. A crash between any two of
them repeats work and changes nothing.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from auditor.commit_line import behind_line, settled_behind
from auditor.evidence_key import evidence_key
from auditor.records import Records
from auditor.sealing import Sealer
from auditor.settings import Settings
from comparators.canonical import texts
from comparators.changes import Gap, Join
from comparators.errors import NotReady, PoisonFrame
from comparators.findings import CANARY, Kind, finding_id
from comparators.frames import Frame, decode
from comparators.positions import Side
from comparators.sampling import seed_of
from comparators.suspects import Suspect

SNAPSHOT_SECONDS = 0.2
REFRESH_SECONDS = 0.5
MAX_FINDINGS = 10_000
"""Findings kept one by one; what comes on top is one gap that says so."""

Value = Mapping[str, Any]


@dataclass(slots=True)
class _Partition:
    """What one partition has in hand."""

    joins: list[Join]
    outstanding: deque[int] = field(default_factory=deque)
    done: set[int] = field(default_factory=set)
    ackable: int | None = None
    frames: int = 0
    dead_letters: int = 0
    changed: bool = True

    def resolve(self, offsets: Iterable[int]) -> None:
        """Note frames that are resolved; they are given back in order only."""
        self.done.update(offsets)
        while self.outstanding and self.outstanding[0] in self.done:
            self.ackable = self.outstanding.popleft()
            self.done.discard(self.ackable)
            self.changed = True


class Core:
    """Everything the stream drives; `receive` and `tick` never run at once."""

    def __init__(
        self, settings: Settings, records: Records, sealer: Sealer, *, incarnation: str, clock: Callable[[], float]
    ) -> None:
        self._settings, self._records, self._sealer, self._clock = settings, records, sealer, clock
        self._incarnation, self._started = incarnation, clock()
        self._seed = seed_of(settings.migration)
        self._partitions: dict[int, _Partition] = {}
        self._lock = threading.Lock()
        self._seen: dict[str, Any] = {}
        """What the records hold of interest here: baseline, progress, the target's scope, ids of suspects."""
        self._findings: set[str] = set()
        self._found: dict[str, dict[str, Any]] = {}
        self._unsealed: tuple[Frame, bytes] | None = None
        self._next_snapshot = self._next_refresh = 0.0
        self._refresh()

    # --- the stream's side --------------------------------------------------------------------------------------

    def assign(self, partitions: set[int]) -> None:
        """Start these partitions from their durable state."""
        with self._lock:
            self._refresh()
            for number in partitions:
                self._partitions[number] = _Partition(self._joins(number))

    def revoke(self, partitions: set[int]) -> None:
        """Forget these partitions; their next owner replays them."""
        with self._lock:
            for number in partitions:
                self._partitions.pop(number, None)

    def receive(self, partition: int, offset: int, payload: bytes) -> None:
        """Take in one frame.

        Raises:
            PoisonFrame: the payload is no frame; set it aside and call `poisoned`.
            NotReady: no baseline is recorded; run `auditor prepare`.
        """
        with self._lock:
            frame = decode(payload)
            if "sampler/target" not in self._seen:
                self._refresh()
            if frame.generation > self._generation():
                self._turn(frame.generation)
            state = self._partitions[partition]
            state.outstanding.append(offset)
            state.frames += 1
            state.changed = True
            if frame.generation < self._generation() or frame.subscription >= len(state.joins):
                state.resolve([offset])
                return
            state.joins[frame.subscription].receive(frame, offset)

    def poisoned(self, partition: int, offset: int, reason: str) -> None:
        """Note a frame that was set aside; its lane shows the hole and reports it as a gap."""
        with self._lock:
            state = self._partitions[partition]
            state.outstanding.append(offset)
            state.dead_letters += 1
            state.resolve([offset])

    def tick(self) -> dict[int, int]:
        """Judge what is due, make it durable, and say which frames may be acknowledged.

        Returns:
            For each partition the highest offset up to which everything is resolved.
        Raises:
            StoreUnavailable: nothing was acknowledged; call again later.
        """
        with self._lock:
            now = self._clock()
            if now >= self._next_refresh:
                self._refresh()
                self._next_refresh = now + REFRESH_SECONDS
            for number, state in self._partitions.items():
                self._advance(number, state)
            if not self._found and now < self._next_snapshot:
                return {}
            self._records.put(self._snapshot(now))
            if self._found:
                self._settle_lawful()
            for state in self._partitions.values():
                state.changed = False
            self._found.clear()
            self._next_snapshot = now + SNAPSHOT_SECONDS
            return self._take_acks()

    # --- inside -------------------------------------------------------------------------------------------------

    def _generation(self) -> int:
        return int((self._seen.get("baseline") or {}).get("generation", 0))

    def _turn(self, generation: int) -> None:
        """Look for the newer baseline that a frame is of."""
        self._refresh()
        if self._generation() < generation:
            raise NotReady(f"frames of baseline {generation} arrive, but none is recorded: run `auditor prepare`")

    def _begin_anew(self) -> None:
        """Start every partition with the baseline that holds now; frames of the older one are done with."""
        for number, old in self._partitions.items():
            fresh = _Partition(self._joins(number), outstanding=old.outstanding, done=old.done)
            fresh.resolve(list(old.outstanding))
            self._partitions[number] = fresh

    def _joins(self, number: int) -> list[Join]:
        baseline = self._seen.get("baseline") or {}
        saved = self._seen.get(f"progress/{number}")
        count = len(self._settings.replication.subscriptions)
        if saved and saved["generation"] == self._generation() and len(saved["joins"]) == count:
            joins = [Join.resume(state, seed=self._seed) for state in saved["joins"]]
        else:
            floor = int(baseline.get("floor", 0))
            starts = {Side.SOURCE: floor, Side.TARGET: int(baseline["target_start"])} if baseline else None
            joins = [Join(seed=self._seed, floor=floor, starts=starts) for _ in range(count)]
        self._audit(joins)
        return joins

    def _audit(self, joins: list[Join]) -> bool:
        scope = self._seen.get("sampler/target")
        if scope is None:
            return False
        changed = False
        for number, join in enumerate(joins):
            tables = {
                str(entry["table"]): int(entry["since"])
                for entry in scope["scope"]
                if entry["state"] in ("audited", "partial") and entry["subscription"] == number
            }
            changed |= join.audit(tables)
        return changed

    def _refresh(self) -> None:
        """Take in what the records say; a new baseline begins everything anew before its first frame."""
        before = self._generation()
        for key, value in self._records.changes().items():
            area, _, name = key.partition("/")
            if area == "suspect":
                (self._findings.discard if value is None else self._findings.add)(name)
            elif area in ("baseline", "progress") or key == "sampler/target":
                self._seen[key] = value
        if self._generation() != before:
            self._begin_anew()
        for state in self._partitions.values():
            state.changed |= self._audit(state.joins)

    def _advance(self, number: int, state: _Partition) -> None:
        for subscription, join in enumerate(state.joins):
            state.resolve(join.advance())
            suspects, gaps = join.take()
            if suspects:
                self._refresh()  # a cutover's commit may have ended this audit, and it is told of before anybody writes
            for suspect in suspects:
                self._note(suspect, number, subscription)
            for gap in gaps:
                self._note_gap(gap, number, subscription)

    def _note(self, suspect: Suspect, partition: int, subscription: int) -> None:
        """Record a suspect once, however often its frames are replayed."""
        if self._beyond(suspect):
            return
        name = self._settings.replication.subscriptions[subscription]
        planted = self._planted(suspect)
        positions = (None, None) if planted else (suspect.source_position, suspect.target_position)
        identity = finding_id(self._settings.migration, suspect.kind, suspect.table.name, name, *positions)
        if identity in self._findings and not planted:
            return
        if len(self._findings) >= MAX_FINDINGS and not planted:
            self._found.setdefault("gap/findings-overflow", self._overflow(suspect))
            return
        self._findings.add(identity)
        self._found[f"suspect/{identity}"] = self._finding(identity, suspect, partition, name)

    def _beyond(self, suspect: Suspect) -> bool:
        """Say whether a suspect is of what came after a cutover's commit line: then it is lawful."""
        line = (self._seen.get("baseline") or {}).get("committed")
        return line is not None and behind_line(line, suspect.source_position, suspect.target_position)

    def _settle_lawful(self) -> None:
        """Settle what was just stored, if the commit was drawn meanwhile by somebody who could not see it."""
        self._refresh()
        line = (self._seen.get("baseline") or {}).get("committed")
        if line is not None and (settled := settled_behind(line, self._found, self._clock())):
            self._records.put(settled)

    def _planted(self, suspect: Suspect) -> bool:
        """Say whether it is the canary's difference: there are many of them in time, and one finding for all."""
        return suspect.kind == Kind.FOREIGN_WRITE and suspect.table.name == f"{self._settings.names.schema}.canary"

    def _finding(self, identity: str, suspect: Suspect, partition: int, subscription: str) -> dict[str, Any]:
        keys = [] if suspect.whole_table else self._keys(suspect)
        table = suspect.table
        return {
            "id": identity,
            "kind": suspect.kind,
            "state": "confirmed" if suspect.confirmed else "suspect",
            "detector": CANARY if self._planted(suspect) else "transaction",
            "table": table.name,
            "key_columns": list(table.key_columns),
            "whole_table": suspect.whole_table,
            "keyless": table.keyless,
            "keys": [self._shown(table.name, table.key_columns, key) for key in keys],
            "key_cipher": self._sealer.seal_keys(keys) if keys else None,
            "count": suspect.count,
            "columns": [],
            "source_position": suspect.source_position,
            "target_position": suspect.target_position,
            "first_seen": self._clock(),
            "subscription": subscription,
            "partition": partition,
        }

    def _keys(self, suspect: Suspect) -> list[list[bytes | None]]:
        """Unseal the keys of a suspect; none when they were sealed with a key that is lost."""
        try:
            return [self._key(frame, row) for frame, row in suspect.keys]
        except PoisonFrame:
            return []

    def _key(self, frame: Frame, row: int) -> list[bytes | None]:
        if self._unsealed is None or self._unsealed[0] is not frame:
            self._unsealed = (frame, self._sealer.unseal(frame.keys) if frame.keys else b"")
        start = int(frame.key_end[row - 1]) if row else 0
        return texts(self._unsealed[1][start : int(frame.key_end[row])])

    def _shown(self, table: str, columns: tuple[str, ...], key: list[bytes | None]) -> dict[str, Any]:
        shown: dict[str, Any] = {"hash": self._sealer.name(table, key)}
        if self._settings.evidence.keys == "clear":
            shown["clear"] = {
                column: None if text is None else text.decode(errors="replace")
                for column, text in zip(columns, key, strict=False)
            }
        return shown

    def _overflow(self, suspect: Suspect) -> dict[str, Any]:
        return {
            "from": suspect.source_position or 0, "to": None, "at": self._clock(), "side": "target", "open": True,
            "reason": f"more than {MAX_FINDINGS} findings: what came after is not listed one by one",
        }  # fmt: skip

    def _note_gap(self, gap: Gap, partition: int, subscription: int) -> None:
        self._found[f"gap/{self._generation()}-{partition}-{subscription}-{gap.start:X}"] = {
            "from": gap.start, "to": gap.end, "reason": gap.reason, "at": self._clock(), "side": gap.side.value,
            "open": True,
        }  # fmt: skip

    def _snapshot(self, now: float) -> dict[str, dict[str, Any] | None]:
        items: dict[str, dict[str, Any] | None] = dict(self._found)
        for number, state in self._partitions.items():
            if state.changed:
                items[f"progress/{number}"] = self._progress(state, now)
            items[f"core/{number}"] = _lane_record(state, now)
        items["process/core"] = {
            "incarnation": self._incarnation, "started_at": self._started, "heartbeat": now, "restarts": 0,
            "error": None, "pid": os.getpid(),
        }  # fmt: skip
        return items

    def _progress(self, state: _Partition, now: float) -> dict[str, Any]:
        states = [join.state() for join in state.joins]
        return {
            "generation": self._generation(),
            "resolved": min(s["resolved"] for s in states),
            "joins": states,
            "tallies": _totals([s["tallies"] for s in states], f"{self._settings.names.schema}."),
            "at": now,
        }

    def _take_acks(self) -> dict[int, int]:
        acks = {}
        for number, state in self._partitions.items():
            if state.ackable is not None:
                acks[number], state.ackable = state.ackable, None
        return acks


def _totals(tallies: list[dict[str, Any]], control: str) -> dict[str, Any]:
    """Add up what was proved of the user's tables; our own, each change of which is a transaction, prove nothing."""
    tables: dict[str, list[int]] = {}
    own = 0
    for one in tallies:
        for table, (changes, transactions) in one["tables"].items():
            if table.startswith(control):
                own += transactions
            else:
                seen = tables.setdefault(table, [0, 0])
                tables[table] = [seen[0] + changes, seen[1] + transactions]
    totals = {name: sum(one[name] for one in tallies) for name in ("transactions", "changes", "mismatched")}
    changes = totals["changes"] - own
    return {
        "transactions": max(totals["transactions"] - own, 0), "changes": changes, "mismatched": totals["mismatched"],
        "matched": changes - totals["mismatched"], "tables": tables,
    }  # fmt: skip


def _lane_record(state: _Partition, now: float) -> dict[str, Any]:
    joins = state.joins
    return {
        "at": now,
        "resolved": min(join.resolved for join in joins),
        "source_watermark": min(join.watermark(Side.SOURCE) for join in joins),
        "target_watermark": min(join.watermark(Side.TARGET) for join in joins),
        "pending": sum(join.pending for join in joins),
        "frames": state.frames,
        "dead_letters": state.dead_letters,
    }


def build_core(settings: Settings, records: Records) -> Core:
    """Build the core of one migration on its records."""
    now = time.time()
    return Core(settings, records, Sealer(evidence_key(settings)), incarnation=f"core-{now:.6f}", clock=time.time)
