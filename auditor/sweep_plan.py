"""The plan of a sweep on disk: where a table is cut, which is made of row keys and therefore sealed.

A sweep that was broken off goes on with the very plan that it began with, or starts anew.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from auditor.sealing import Sealer
from comparators.errors import Defect
from comparators.segments import Plan
from comparators.tables import TablePair

FOLDER = "sweeps"


@dataclass(frozen=True, slots=True)
class Stamp:
    """The one sweep that a plan belongs to."""

    table: str
    generation: int
    started_at: float
    signature: str
    """Of how the table is read: after a change of its columns a sweep starts anew."""


def signature(pair: TablePair) -> str:
    """Sum up how a table is read; estimates and notes do not matter."""
    return hashlib.blake2b(repr(replace(pair, rows=0, notes=())).encode(), digest_size=16).hexdigest()


class PlanFiles:
    """One sealed file per table in the state folder."""

    def __init__(self, state_dir: Path, sealer: Sealer) -> None:
        self._folder, self._sealer = state_dir / FOLDER, sealer

    def save(self, stamp: Stamp, plan: Plan) -> None:
        """Write a plan in place of the table's last one; durable once it returns.

        Raises:
            OSError: the disk refuses.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        sealed = self._sealer.seal(json.dumps({"stamp": asdict(stamp), "plan": plan.to_json()}).encode())
        draft = self._file(stamp.table).with_suffix(".draft")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(sealed)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(self._file(stamp.table))

    def load(self, stamp: Stamp) -> Plan | None:
        """Give the plan of that very sweep; `None` where there is none that can be read."""
        try:
            found = self._read(stamp.table)
            return Plan.from_json(found["plan"]) if found["stamp"] == asdict(stamp) else None
        except (OSError, ValueError, KeyError, TypeError, Defect):  # damaged, or sealed with a key that is gone
            return None

    def drop(self, table: str) -> None:
        """Forget a table's plan."""
        self._file(table).unlink(missing_ok=True)

    def _read(self, table: str) -> Mapping[str, Any]:
        return dict(json.loads(self._sealer.unseal(self._file(table).read_bytes())))

    def _file(self, table: str) -> Path:
        return self._folder / f"{hashlib.blake2b(table.encode(), digest_size=16).hexdigest()}.plan"
