"""What goes on while a table is swept: it grows, is emptied, is changed in shape; the target stops and comes back.

Nothing that is merely late is different, and nothing that was not read is verified.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from auditor.servers import PostgresServer
from comparators.errors import AuditorError
from samplers.anchors import Anchors
from samplers.table_sweep import Step, SweepOptions
from tests.helpers import Pair, wait_for
from tests.sweeps import Sessions, kinds, sessions

OPTIONS = SweepOptions(seed=7, chunk_seconds=0.01, segment_rows=100, settle_seconds=2.0, wait_seconds=30.0)
ROWS = 4000


@pytest.fixture(scope="module")
def replicated(postgres_source: PostgresServer, postgres_target: PostgresServer) -> Iterator[Pair]:
    with Pair(postgres_source, postgres_target) as pair:
        for table in ("t", "parts"):
            suffix = " PARTITION BY RANGE (id)" if table == "parts" else ""
            pair.execute(f"CREATE TABLE {table} (id int PRIMARY KEY, n int, v text){suffix}")
        pair.execute("""CREATE TABLE u (n int, v text); ALTER TABLE u REPLICA IDENTITY FULL;
            CREATE TABLE low PARTITION OF parts FOR VALUES FROM (MINVALUE) TO (2000);
            CREATE TABLE high PARTITION OF parts FOR VALUES FROM (2000) TO (MAXVALUE)""")
        pair.replicate(publish="publish_via_partition_root = true")
        yield pair


@pytest.fixture
def sides(replicated: Pair) -> Iterator[Sessions]:
    """The tables as new, equal on both sides."""
    fill = f"SELECT i, 0, 'v' || i FROM generate_series(1, {ROWS}) i"
    replicated.source.execute(f"TRUNCATE t, u, parts; INSERT INTO t {fill}; INSERT INTO parts {fill}")
    replicated.source.execute("INSERT INTO u SELECT i, 'v' || i FROM generate_series(1, 500) i")
    replicated.catch_up()
    with sessions(replicated) as opened:
        wait_for(lambda: Anchors().drop(opened.source), 30, "all writers to end")
        yield opened


def swept(sides: Sessions, table: str = "t", between: Callable[[], object] | None = None, **options: float) -> Step:
    return sides.swept(table, sides.passage(), replace(OPTIONS, **options), between=between)  # type: ignore[arg-type]


def equal(sides: Sessions, table: str = "t") -> int:
    """Sweep a table at rest, which must be equal; give its rows."""
    sides.pair.catch_up()
    found = swept(sides, table)
    assert (found.rows, 0, 0, 0) == (found.verified, found.different, found.hot, found.unverified)
    return found.rows


@contextmanager
def held_up(pair: Pair, table: str = "t") -> Iterator[None]:
    """Let nothing be applied to a table."""
    with pair.target.connect(autocommit=False) as holder:
        holder.execute(f"LOCK TABLE {table} IN SHARE MODE")
        yield
        holder.rollback()


class Background:
    """Does something again and again, with a pause that lets the target keep up, until the block ends."""

    def __init__(self, act: Callable[[int], object]) -> None:
        self._act, self._stop, self.times = act, threading.Event(), 0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.times += 1
                self._act(self.times)
                self._stop.wait(0.02)
        except Exception as error:
            self._error = error

    def __enter__(self) -> "Background":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error


# --- rows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["above", "below", "among"])
def test_a_table_that_grows_is_compared_to_its_end(sides: Sessions, where: str) -> None:
    key = {"above": f"{ROWS} + i", "below": "-i", "among": "1000000 + i"}[where]
    if where == "among":
        sides.pair.source.execute("UPDATE t SET id = 2000000 + id WHERE id > 2000")
        sides.pair.catch_up()
    sides.pair.target.execute("UPDATE t SET v = 'other' WHERE n = 0 AND v IN ('v7', 'v3993')")
    writer = sides.pair.source.connect()

    def grow(time: int) -> None:
        writer.execute(
            f"INSERT INTO t SELECT {key}, {time}, 'new' FROM generate_series({time * 50 - 49}, {time * 50}) i"
        )

    with Background(grow) as growing:
        found = [swept(sides, settle_seconds=30.0) for _ in range(2)]
    assert growing.times > 2
    assert [2, 2] == [len(one.differences) for one in found]
    assert ROWS <= found[0].rows <= found[1].rows
    sides.pair.source.execute("UPDATE t SET v = v || '' WHERE v IN ('v7', 'v3993')")
    assert ROWS + 50 * growing.times == equal(sides)


@pytest.mark.parametrize("table", ["t", "u", "parts"])
def test_a_table_that_is_emptied_is_equal_or_late(sides: Sessions, table: str) -> None:
    found = swept(sides, table, lambda: sides.pair.source.execute(f"TRUNCATE {table}"))
    assert (0, ()) == (found.different, found.differences)
    assert 0 == equal(sides, table)


@pytest.mark.parametrize("table", ["t", "u"])
def test_a_table_that_is_emptied_while_the_target_stands_still_is_not_known(sides: Sessions, table: str) -> None:
    paired = sides.paired(table)
    with held_up(sides.pair, table):
        sides.pair.source.execute(f"TRUNCATE {table}")
        found = sides.swept(paired, sides.passage(), replace(OPTIONS, wait_seconds=0.3))
        assert (0, 0, True) == (found.verified, found.different, found.unverified > 0)
    assert 0 == equal(sides, table)


def test_a_target_that_stops_and_comes_back_again_and_again_is_never_different(sides: Sessions) -> None:
    sides.pair.target.execute("UPDATE t SET v = 'other' WHERE id = 1234")
    stop = threading.Event()

    def stutter(_: int) -> None:
        with held_up(sides.pair):
            stop.wait(0.2)
        stop.wait(0.2)

    writer = sides.pair.source.connect()

    def write(time: int) -> None:
        writer.execute("UPDATE t SET n = n + 1 WHERE id %% 997 = %s AND id <> 1234", [time % 997])
        stop.wait(0.05)  # a target that is free half of the time keeps up with it

    with Background(stutter), Background(write):
        found = [swept(sides) for _ in range(6)]
        stop.set()
    assert [[("row-different", (b"1234",), ("v",))]] * 6 == [kinds(one) for one in found]


def test_writers_on_a_table_without_a_key_cause_no_difference_and_hide_none(sides: Sessions) -> None:
    sides.pair.target.execute("DELETE FROM u WHERE n = 499; INSERT INTO u VALUES (1000, 'planted')")
    writer = sides.pair.source.connect()

    def write(time: int) -> None:
        writer.execute(
            f"UPDATE u SET v = v || 'x' WHERE n IN ({time % 100}, 100); INSERT INTO u VALUES (600, '{time}')"
        )

    with Background(write):
        found = [swept(sides, "u") for _ in range(3)]
    for one in found:
        assert [("row-extra", 1), ("row-missing", 1)] == sorted((d.kind, d.count) for d in one.differences)
    sides.pair.catch_up()
    last = swept(sides, "u")
    assert (last.rows - 1, 2, 0) == (last.verified, last.different, last.hot)


def test_a_target_that_is_seconds_behind_and_then_is_not_is_verified(sides: Sessions) -> None:
    with held_up(sides.pair):
        sides.pair.source.execute("UPDATE t SET n = 1; INSERT INTO t VALUES (-5, 0, 'x'); DELETE FROM t WHERE id = 9")
        late = swept(sides, wait_seconds=1.0)
        assert (0, 0, ROWS) == (late.verified, late.different, late.unverified)
    assert ROWS == equal(sides)


def test_a_prepared_transaction_is_waited_for_and_then_compared(sides: Sessions) -> None:
    with sides.pair.source.connect() as writer:
        writer.execute("BEGIN; UPDATE t SET v = 'two' WHERE id IN (5, 3000); INSERT INTO t VALUES (-1, 0, 'phase');"
                       f"PREPARE TRANSACTION '{sides.pair.name}'")  # fmt: skip
        before = swept(sides)
        assert (0, 0, ROWS) == (before.different, before.verified, before.unverified)
        during = swept(sides, between=lambda: writer.execute(f"COMMIT PREPARED '{sides.pair.name}'"))
    assert 0 == during.different
    assert ROWS + 1 == equal(sides)
    sides.pair.target.execute("UPDATE t SET v = 'one' WHERE id = 3000")
    assert [("row-different", (b"3000",), ("v",))] == kinds(swept(sides))


# --- shape --------------------------------------------------------------------------------------------------------


@pytest.fixture
def shaped(pair: Pair) -> Iterator[Sessions]:
    """A table of its own on two sides that nothing replicates."""
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, n int, v text) PARTITION BY RANGE (id)")
    pair.execute("""CREATE TABLE low PARTITION OF t FOR VALUES FROM (MINVALUE) TO (2000);
        CREATE TABLE high PARTITION OF t FOR VALUES FROM (2000) TO (MAXVALUE);
        CREATE TABLE plain (id int PRIMARY KEY, n int, v text)""")
    for table in ("t", "plain"):
        pair.execute(f"INSERT INTO {table} SELECT i, 0, 'v' || i FROM generate_series(1, {ROWS}) i")
    with sessions(pair) as opened:
        yield opened


HARMLESS = {
    "a column more": "ALTER TABLE {} ADD extra int DEFAULT 5",
    "a column more, rewritten": "ALTER TABLE {} ADD extra timestamptz DEFAULT clock_timestamp()",
    "a wider column": "ALTER TABLE {} ALTER n TYPE bigint",
    "an index": "CREATE INDEX ON {} (v)",
    "a default": "ALTER TABLE {} ALTER v SET DEFAULT 'x', ALTER n SET NOT NULL",
}
BREAKING = {
    "a column less": "ALTER TABLE {} DROP v",
    "a column renamed": "ALTER TABLE {} RENAME v TO w",
    "another type": "ALTER TABLE {} ALTER id TYPE uuid USING md5(id::text)::uuid",
    "no table": "DROP TABLE {}",
}


@pytest.mark.parametrize("change", HARMLESS)
def test_a_change_of_shape_that_leaves_the_rows_is_no_difference(shaped: Sessions, change: str) -> None:
    shaped.pair.target.execute("UPDATE plain SET v = 'other' WHERE id = 3999")
    found = shaped.swept("plain", between=lambda: shaped.pair.execute(HARMLESS[change].format("plain")))
    assert [("row-different", (b"3999",), ("v",))] == kinds(found)
    assert (ROWS, ROWS - 1) == (found.rows, found.verified)


@pytest.mark.parametrize("change", BREAKING)
def test_a_change_of_shape_that_the_sweep_does_not_know_ends_it(shaped: Sessions, change: str) -> None:
    with pytest.raises(AuditorError):
        shaped.swept("plain", between=lambda: shaped.pair.execute(BREAKING[change].format("plain")))


def test_another_table_that_takes_the_place_is_what_is_compared(shaped: Sessions) -> None:
    def swap() -> None:
        shaped.pair.target.execute("""CREATE TABLE other (LIKE plain INCLUDING ALL); BEGIN;
            ALTER TABLE plain RENAME TO old; ALTER TABLE other RENAME TO plain; COMMIT""")

    found = shaped.swept("plain", between=swap)
    assert found.verified < ROWS
    assert {"row-missing"} == {one.kind for one in found.differences}
    assert ROWS == found.verified + found.different


@pytest.mark.parametrize("change", ["detach", "attach", "both sides"])
def test_partitions_that_come_and_go_are_differences_only_where_one_side_has_them(
    shaped: Sessions, change: str
) -> None:
    shaped.pair.execute(
        f"CREATE TABLE far (id int PRIMARY KEY, n int, v text); INSERT INTO far VALUES ({ROWS + 1}, 0, 'x')"
    )
    detach = "ALTER TABLE t DETACH PARTITION high"
    attach = "CREATE TABLE new PARTITION OF t FOR VALUES FROM (2000) TO (3000); INSERT INTO new VALUES (2500, 0, 'x')"

    def act() -> None:
        if change == "both sides":
            shaped.pair.execute(f"{detach}; {attach}")
        else:
            shaped.pair.target.execute(detach if change == "detach" else f"{detach}; {attach}")

    found = shaped.swept("t", between=act)
    if change == "both sides":
        assert (0, found.rows) == (found.different, found.verified)
    else:
        assert {"row-missing", *(["row-different"] if change == "attach" else [])} == {
            d.kind for d in found.differences
        }
        assert ROWS == found.rows == found.verified + found.different
        assert 1999 <= found.verified < ROWS
