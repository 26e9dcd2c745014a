"""Settle what the core suspects: one worker, one connection a side, oldest suspect first.

The core writes `suspect/<id>` once; what becomes of it is this worker's to say, in `settled/<id>`.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from auditor.peers import Peers
from auditor.records import Records
from auditor.scoping import ScopeKeeper
from auditor.sealing import Sealer
from auditor.settings import Settings
from comparators.errors import AuditorError, NotReady, SideUnavailable
from samplers.connections import connect
from samplers.progress import ApplyWatch
from samplers.rows import Session
from samplers.scope import AuditedTable
from samplers.settle import Outcome, Settlement, settle_keys, settle_table

log = logging.getLogger(__name__)

LISTED = 100
WAIT_SECONDS = 3.0
"""How long one look waits for the target to apply what the source shows."""
AGAIN_SECONDS = (0.05, 0.2, 1.0, 3.0, 10.0)
"""Pauses before a suspect that could not be settled is looked at again."""
CONFIRMED_AGAIN_SECONDS = 30.0
"""A confirmed difference may have been repaired meanwhile."""
STANDING_SECONDS = 0.3
"""A finding that is confirmed as it stands (a foreign write) lets suspects go first."""
IDLE_SECONDS = 0.01
_ROWS_DO_NOT_TELL = frozenset({"order-violated", "shape-different"})

Record = Mapping[str, Any]


class Rechecker:
    """Looks at suspects until they are confirmed or healed, and at confirmed ones now and then."""

    def __init__(
        self, settings: Settings, records: Records, sealer: Sealer, scope: ScopeKeeper, apply: ApplyWatch
    ) -> None:
        self._settings, self._records, self._sealer = settings, records, sealer
        self._scope, self._apply = scope, apply
        self._peers = Peers(records)
        self._due: dict[str, float] = {}
        """Finding to the time of its next look."""
        self._tries: dict[str, int] = {}
        self._version = -1
        self._audited_once: dict[str, AuditedTable] = {}
        """Tables as they were audited; one that has left the audit can still be read."""
        self.error: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Settle until told to stop; lost connections are opened again."""
        label = f"auditor recheck {self._settings.migration}"
        while not stop.is_set():
            try:
                with (
                    connect(self._settings.source.conninfo(), application_name=label, statement_seconds=2) as source,
                    connect(self._settings.target.conninfo(), application_name=label, statement_seconds=2) as target,
                ):
                    self.error = None
                    while not stop.is_set():
                        self._round(source, target, stop)
            except AuditorError as error:
                self.error = str(error)
                log.warning("recheck: %s", error, extra={"action": "recheck-interrupted"})
                stop.wait(0.5)

    def _remember(self) -> None:
        if self._version != self._scope.version:
            self._version = self._scope.version
            self._audited_once.update(self._scope.now().tables)

    def _round(self, source: Session, target: Session, stop: threading.Event) -> None:
        """Take in what changed and look at the one finding that is due longest."""
        now = time.time()
        self._remember()
        self._take(self._peers.refresh(), now)
        if self._peers.committed():
            stop.wait(IDLE_SECONDS)
            return
        due = min(self._due.items(), key=lambda item: item[1], default=None)
        if due is None or due[1] > now:
            stop.wait(IDLE_SECONDS)
            return
        identity = due[0]
        finding = self._peers.get(f"suspect/{identity}")
        if finding is None:
            del self._due[identity]
            return
        try:
            settled = self._look(finding, source, target)
        except SideUnavailable:
            raise
        except AuditorError as error:  # too slow, not applied yet, dropped meanwhile: others must not wait for it
            self._later(identity, str(error))
            return
        self._conclude(identity, finding, settled)

    def _take(self, changed: Mapping[str, Any], now: float) -> None:
        for key, value in changed.items():
            area, _, identity = key.partition("/")
            if value is None or area not in ("suspect", "recheck"):
                continue
            finding = self._peers.get(f"suspect/{identity}")
            if finding is None or finding["kind"] in _ROWS_DO_NOT_TELL or finding["detector"] == "row":
                continue  # what a sweep found, the next complete sweep of the table settles
            settled = self._peers.get(f"settled/{identity}")
            if area == "recheck" or settled is None or settled["state"] == "suspect":
                patience = STANDING_SECONDS if finding["state"] == "confirmed" else 0.0
                self._due.setdefault(identity, now + patience)
                if area == "recheck":
                    self._due[identity] = now
            elif settled["state"] == "confirmed":
                self._due.setdefault(identity, now + CONFIRMED_AGAIN_SECONDS)

    def _look(self, finding: Record, source: Session, target: Session) -> Settlement:
        name = str(finding["table"])
        table = self._audited_once.get(name)
        if table is None:
            raise NotReady("the table was not audited since this process started")
        number = self._settings.replication.subscriptions.index(finding["subscription"])
        applied = self._applied(number)
        if finding["whole_table"] or not finding["key_cipher"]:
            return settle_table(source, target, table.pair(), applied)
        keys = self._sealer.unseal_keys(finding["key_cipher"])
        settled = settle_keys(source, target, table.pair(), finding["key_columns"], keys, applied)
        if settled.outcome is Outcome.EQUAL and (finding["count"] > LISTED or finding.get("keyless")):
            # the keys beyond those listed; and without a key a row that changed again is another row
            return settle_table(source, target, table.pair(), applied)
        return settled

    def _applied(self, subscription: int) -> Callable[[int], bool]:
        def wait(position: int) -> bool:
            deadline = time.monotonic() + WAIT_SECONDS
            while self._apply.applied(subscription) < position:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.001)
            return True

        return wait

    def _conclude(self, identity: str, finding: Record, settled: Settlement) -> None:
        self._take(self._peers.refresh(), time.time())
        if self._peers.committed():  # the rows were read when applications may have written on the target already
            return
        if settled.outcome is Outcome.MOVING:
            self._later(identity, "the rows keep changing")
            return
        different = settled.outcome is Outcome.DIFFERENT
        record = self._record(finding, settled) if different else _healed(finding, settled)
        self._records.put({f"settled/{identity}": record})
        self._tries.pop(identity, None)
        if different:
            self._due[identity] = time.time() + CONFIRMED_AGAIN_SECONDS
        else:
            self._due.pop(identity, None)
        log.info("finding %s: %s", identity, record["state"], extra={"action": "settled", "table": finding["table"]})

    def _record(self, finding: Record, settled: Settlement) -> dict[str, Any]:
        keys = [
            key for key, state in zip(finding["keys"], settled.keys, strict=False) if state.outcome is Outcome.DIFFERENT
        ]
        row_kind = finding["kind"] in ("row-different", "row-missing", "row-extra")
        listed = len(settled.keys) == len(finding["keys"]) and row_kind
        before = self._peers.get(f"settled/{finding['id']}")
        again = before is not None and before["state"] == "confirmed"
        return {
            "state": "confirmed",
            "kind": settled.kind if row_kind and settled.kind else finding["kind"],
            "columns": list(settled.columns),
            "count": len(keys) if listed else finding["count"],
            "keys": keys if listed else finding["keys"],
            "rounds": settled.rounds,
            "settled_at": before["settled_at"] if before is not None and again else time.time(),
            "explained_by": self._explanation(finding),
            "reason": None,
        }

    def _explanation(self, finding: Record) -> str | None:
        """Name the foreign write that touched every key of a finding, so that the damage is counted once."""
        if finding["kind"] == "foreign-write" or not finding["keys"]:
            return None
        hashes = {key["hash"] for key in finding["keys"]}
        for key, other in self._peers.below("suspect/").items():
            if other["kind"] == "foreign-write" and other["table"] == finding["table"]:
                settled = self._peers.get(f"settled/{other['id']}")
                if settled and settled["state"] == "healed":
                    continue
                if hashes <= {one["hash"] for one in other["keys"]}:
                    return key.removeprefix("suspect/")
        return None

    def _later(self, identity: str, reason: str) -> None:
        """Look again after a pause that grows; what the records say stays as it is."""
        tries = self._tries[identity] = self._tries.get(identity, 0) + 1
        self._due[identity] = time.time() + AGAIN_SECONDS[min(tries, len(AGAIN_SECONDS)) - 1]
        log.info("finding %s waits: %s", identity, reason, extra={"action": "recheck-later"})


def _healed(finding: Record, settled: Settlement) -> dict[str, Any]:
    return {
        "state": "healed", "kind": finding["kind"], "columns": [], "count": finding["count"],
        "keys": finding["keys"], "rounds": settled.rounds, "settled_at": time.time(), "explained_by": None,
        "reason": "read again on both sides and found equal",
    }  # fmt: skip
