"""What must hold of the clients' writes, whatever happened: each acknowledged one is there once, on the one side that
accepts writes, and no two sides ever accepted them at a time."""

import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from auditor.demo.cutover import bank
from auditor.demo.database import Session, run, session
from comparators.errors import AuditorError
from comparators.positions import Side
from samplers import connections

TRY = "UPDATE accounts SET moves = moves WHERE id = 0"
LOOK_SECONDS = 0.02
Kept = Mapping[tuple[int, int], tuple[int, int, int]]
"""Number in the ledger, account and amount of each acknowledged write, by client and serial."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What one side holds of what was acknowledged."""

    acknowledged: int
    lost: tuple[tuple[int, int], ...]
    """Client and serial."""
    doubled: tuple[tuple[int, int], ...]
    altered: tuple[tuple[int, int], ...]
    torn: tuple[int, ...]
    """Accounts that hold half of a transaction."""

    @property
    def sound(self) -> bool:
        return not (self.lost or self.doubled or self.altered or self.torn)


def kept_in(folder: Path) -> Kept:
    """Read what the clients have kept; a last line that was cut off was not acknowledged."""
    kept: dict[tuple[int, int], tuple[int, int, int]] = {}
    for file in sorted(folder.glob("client-*.txt")):
        client = int(file.stem.removeprefix("client-"))
        for line in file.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                serial, *rest = map(int, line.split())
                number, account, amount = rest
                kept[client, serial] = (number, account, amount)
    return kept


def check(dsn: str, folder: Path) -> Checked:
    """Compare what was acknowledged with what a side holds.

    Args:
        dsn: a role that may read, also while the application may not log in.
    """
    kept = kept_in(folder)
    with session(dsn) as opened:
        run(opened, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        there = bank.rows_of(opened, bank.WRITTEN)
        torn = tuple(row[0] for row in bank.rows_of(opened, bank.UNEVEN))
        run(opened, "COMMIT")
    times = Counter((client, serial) for client, serial, *_ in there)
    rows = {(client, serial): (number, account, amount) for client, serial, number, account, amount in there}
    return Checked(
        len(kept),
        tuple(sorted(key for key in kept if key not in rows)),
        tuple(sorted(key for key, count in times.items() if count > 1)),
        tuple(sorted(key for key, values in kept.items() if key in rows and rows[key] != values)),
        torn,
    )


def writable(app: str) -> bool:
    """Say whether a side lets the application log in, past every proxy, and write."""
    try:
        opened = cast("Session", connections.connect_plain(app, "bypassing-client"))
    except AuditorError:
        return False
    try:
        run(opened, "BEGIN", TRY, "ROLLBACK")
        return True
    except opened.Error:
        return False
    finally:
        with suppress(opened.Error):
            opened.close()


class Witness:
    """Tries both sides in turn, past every proxy, and keeps when each let it write."""

    def __init__(self, sides: Mapping[Side, str]) -> None:
        """Args: sides: how the application would reach each side directly."""
        self._sides = dict(sides)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="witness", daemon=True)
        self.seen: list[tuple[float, Side, bool]] = []
        """When a try ended, on the monotonic clock; where; whether it could write."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(30)

    def turns(self, until: float = float("inf")) -> list[Side]:
        """List the sides in the order in which they could be written to, from when the target was first closed.

        One writer at a time is `[SOURCE]` where nothing was promoted, `[SOURCE, TARGET]` where it was.

        Args:
            until: what is seen later, on the monotonic clock, does not count.
        """
        seen = [one for one in self.seen if one[0] < until]
        closed = next((n for n, (_, side, open_) in enumerate(seen) if side is Side.TARGET and not open_), None)
        if closed is None:
            return []
        before = [one for one in seen[:closed] if one[1] is Side.SOURCE][-1:]  # a slow look may find it closed next
        turns: list[Side] = []
        for _, side, open_ in [*before, *seen[closed:]]:
            if open_ and turns[-1:] != [side]:
                turns.append(side)
        return turns

    def _look(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            for side, app in self._sides.items():
                could = writable(app)
                self.seen.append((time.monotonic(), side, could))
