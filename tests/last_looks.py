"""The steps of a cutover from the fence to the last look, on a test's databases."""

from dataclasses import dataclass
from typing import Any

from comparators.mapping import NO_MAPPING, Mapping
from comparators.positions import Side
from comparators.tables import TablePair
from orchestrator.adapters.last_rows import LastRows
from orchestrator.adapters.markers import Drain
from orchestrator.deadlines import Deadline
from samplers.follower import LogFollower, followed_tables
from samplers.pairing import Wanted
from tests.helpers import Pair
from tests.pairings import paired

OURS = "auditor_test"
MARKER = f"""
    CREATE SCHEMA {OURS};
    CREATE TABLE {OURS}.marker (id int PRIMARY KEY, nonce bigint, written_at timestamptz);
"""


def soon(seconds: float = 30) -> Deadline:
    return Deadline.within(seconds, "the test")


@dataclass(slots=True)
class Look:
    """What a cutover does from the fence to the last look."""

    pair: Pair
    rows: LastRows
    drain: Drain
    turn: int = 0

    def fence(self) -> int:
        self.turn += 1
        fence_lsn = int(self.drain.position(soon())["fence_lsn"])
        self.drain.write_marker(f"nonce-{self.turn}", soon())
        self.drain.see_marker(f"nonce-{self.turn}", soon())
        return fence_lsn

    def compare(self) -> dict[str, Any]:
        return dict(self.rows.compare_last(self.fence(), soon()))

    def close(self) -> None:
        self.rows.close()
        self.drain.close()


def look_at(
    pair: Pair, tables: tuple[str, ...], mapping: Mapping = NO_MAPPING, also: str = "", old: Side = Side.SOURCE
) -> Look:
    """Look from one side at the other.

    Args:
        also: another publication that shows tables.
        old: the side that was written to; what comes from there has the pair's names for publication and subscription.
    """
    found = paired(pair, *(Wanted(name, name, mapping.target_of(name)) for name in tables), mapping=mapping)
    pairs = [one for one in found.values() if isinstance(one, TablePair)]
    assert len(tables) == len(pairs), found
    here, there = (pair.source, pair.target) if old is Side.SOURCE else (pair.target, pair.source)
    publications = [pair.publication, *([also] if also else [])]
    follower = LogFollower(
        here.dsn, publications, followed_tables(pairs, old, mapping), ours=[OURS], side=str(old)
    )  # fmt: skip
    rows = LastRows(here.dsn, there.dsn, pairs, old_side=old, follower=follower)
    drain = Drain(here.dsn, there.dsn, schema=OURS, subscriptions=[pair.subscription])
    return Look(pair, rows, drain)
