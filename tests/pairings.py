"""Tables of a test's databases, paired and digested."""

from typing import Any

from comparators.digest_sql import list_rows
from comparators.mapping import NO_MAPPING, Mapping
from comparators.tables import Mode, SideTable, Skipped, TablePair
from samplers.connections import connect
from samplers.pairing import Wanted, pair_tables
from samplers.rows import fetch
from tests.helpers import Database, Pair
from tests.literals import LITERALS, TYPES_SQL


def paired(pair: Pair, *wanted: Wanted, mapping: Mapping = NO_MAPPING) -> dict[str, TablePair | Skipped]:
    with connect(pair.source.dsn) as source, connect(pair.target.dsn) as target:
        return pair_tables(source, target, wanted, mapping)


def pair_of(pair: Pair, name: str = "public.t", *, mapping: Mapping = NO_MAPPING, **more: Any) -> TablePair:
    found = paired(pair, Wanted(name, name, mapping.target_of(name), **more), mapping=mapping)[name]
    assert isinstance(found, TablePair), found
    return found


def skipped(pair: Pair, name: str = "public.t", **more: Any) -> str:
    found = paired(pair, Wanted(name, name, name, **more))[name]
    assert isinstance(found, Skipped), found
    assert name == found.name
    return found.reason


def pair_of_every_type(pair: Pair) -> TablePair:
    """Make a table `t` with a column of each type on both sides, which must then be alike."""
    pair.execute(TYPES_SQL)
    columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(LITERALS))
    pair.execute(f"CREATE TABLE t (id text PRIMARY KEY, {columns}); INSERT INTO t (id) VALUES ('a'), ('b')")
    t = pair_of(pair)
    assert (Mode.RANGES, False, ()) == (t.mode, t.sha, t.notes)
    left, right = both_digests(pair, t)
    assert left == right != []
    return t


def digests(database: Database, table: SideTable, sha: bool = False) -> list[bytes]:
    """List the hashes of all rows."""
    with connect(database.dsn) as session:
        return sorted(row[-1] or b"" for row in fetch(session, list_rows(table, (False, False), 7, sha)))


def both_digests(pair: Pair, table: TablePair) -> tuple[list[bytes], list[bytes]]:
    return digests(pair.source, table.source, table.sha), digests(pair.target, table.target, table.sha)
