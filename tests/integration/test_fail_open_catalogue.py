"""Ways in which real verifiers called different data equal (comparison 3.3, and the defects seen when they were run).

What is not here is held to elsewhere: a failing table, a side that is down, differences by exit code, many differences
and settings of the servers in `test_diff`; a target that stands still in `test_table_sweep` and `test_diff`; an empty
target and tables without a key in `test_table_sweep`; a repair that counts only once a whole sweep saw it, and a side
that stays down, in `test_sweeper`; conditions of the gate in `tests/unit/test_policy.py`; memory in `benchmarks`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from auditor import diff_reading
from auditor.bars import Lines
from auditor.diff import Request, compare
from auditor.servers import PostgresServer
from comparators.errors import AuditorError, SideUnavailable
from comparators.mapping_rules import read_mapping
from comparators.segments import Plan
from comparators.tables import Mode
from samplers import table_differences
from samplers.passage import NoPassage
from samplers.rows import Session
from samplers.table_sweep import TableSweep, make_plan
from tests.helpers import Database, Pair
from tests.sweeps import QUICK, Sessions, kinds, sessions, total

MANY = "INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 2000) i"


@pytest.fixture(scope="module")
def databases(postgres_source: PostgresServer, postgres_target: PostgresServer) -> Iterator[Pair]:
    with Pair(postgres_source, postgres_target) as pair:
        yield pair


@pytest.fixture
def sides(databases: Pair) -> Iterator[Sessions]:
    databases.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CREATE TABLE t (id int PRIMARY KEY, v text)")
    with sessions(databases) as opened:
        yield opened


@dataclass
class Acting(NoPassage):
    """A passage that does something each time a row is looked at again."""

    act: Callable[[int], object]
    times: int = 0

    def wait(self, position: int, seconds: float) -> bool:
        self.times += 1
        self.act(self.times)
        return True


def compared(pair: Pair, *tables: str, **more: Any) -> Any:
    return compare(Request(pair.source.dsn, pair.target.dsn, tables, settle_seconds=0.0, **more), Lines("test"))


# --- 1, 2, 3: errors are not rows ---------------------------------------------------------------------------------


def test_a_scan_that_fails_is_no_empty_table(sides: Sessions) -> None:
    sides.pair.execute(MANY)
    sweep = sides.sweep(options=replace(QUICK, depth=1))  # nothing is on its way between two steps
    assert sweep.step() is not None
    position = sweep.position
    sides.pair.execute("DROP TABLE t")
    with pytest.raises(AuditorError):
        list(iter(sweep.step, None))
    assert position == sweep.position


def test_one_error_on_both_sides_is_not_agreement(sides: Sessions) -> None:
    sides.pair.execute(MANY)
    paired = sides.paired()
    broken = tuple(replace(column, expression="1 / (id - id)") for column in paired.source.columns)
    paired = replace(
        paired, source=replace(paired.source, columns=broken), target=replace(paired.target, columns=broken)
    )
    for mode in Mode:
        with pytest.raises(AuditorError, match="division by zero"):
            sides.swept(replace(paired, mode=mode))


def test_one_error_on_both_sides_is_not_known_to_the_command(sides: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff_reading, "RETRY_SECONDS", 0.0)
    sides.pair.execute(f"{MANY}; CREATE TABLE u (id int PRIMARY KEY, n int); INSERT INTO u VALUES (1, 0)")
    rules = read_mapping({"public.u": {"cast": {"n": {"source": "1 / n", "target": "1 / n"}}}}, "mapping.yaml")
    report = compared(sides.pair, rules=rules)
    assert {"public.t": "equal", "public.u": "unknown"} == {one.table: one.verdict for one in report.results}
    assert 3 == report.code


def test_a_look_that_fails_drops_no_row(sides: Sessions) -> None:
    sides.pair.execute(MANY)
    sides.pair.target.execute("UPDATE t SET v = 'other' WHERE id = 1")
    lost = Acting(
        lambda time: sides.pair.target.execute("SELECT pg_terminate_backend(%s, 60000)", sides.target.info.backend_pid)
    )
    sweep = sides.sweep(passage=lost)
    with pytest.raises(SideUnavailable):
        list(iter(sweep.step, None))
    assert (0, True) == (sweep.position, lost.times > 0)


# --- 5, 15, 16: nothing leaves the scope --------------------------------------------------------------------------


def test_rows_whose_unique_key_is_null_are_compared(sides: Sessions) -> None:
    sides.pair.execute("CREATE TABLE u (a int UNIQUE, v text); INSERT INTO u VALUES (1, 'x'), (NULL, 'y'), (NULL, 'z')")
    assert 3 == sides.swept("u").verified
    sides.pair.target.execute("UPDATE u SET v = 'other' WHERE v = 'z'")
    sides.pair.source.execute("INSERT INTO u VALUES (NULL, 'more')")
    found = sides.swept("u")
    assert {"row-missing": 2, "row-extra": 1} == counts(found)
    assert (4, 2) == (found.rows, found.verified)


def counts(step: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in step.differences:
        found[one.kind] = found.get(one.kind, 0) + one.count
    return found


@pytest.mark.parametrize("key", [" PRIMARY KEY", ""], ids=["by key", "without a key"])
def test_a_table_that_was_never_copied_is_different(sides: Sessions, key: str) -> None:
    sides.pair.execute(f"CREATE TABLE u (id int{key}, v text)")
    sides.pair.source.execute("INSERT INTO u SELECT i, 'v' FROM generate_series(1, 500) i")
    found = sides.swept("u")
    assert ({"row-missing": 500}, 0) == (counts(found), found.verified)


@pytest.mark.parametrize("key", [" PRIMARY KEY", ""], ids=["by key", "without a key"])
@pytest.mark.parametrize("why", ["late", "open"])
def test_a_table_that_could_not_be_read_on_the_target_is_unverified_though_the_source_is_empty(
    sides: Sessions, key: str, why: str
) -> None:
    sides.pair.execute(f"CREATE TABLE u (id int{key}); CREATE TABLE w (id int{key})")
    sides.pair.execute("ANALYZE u")
    sides.pair.target.execute("INSERT INTO u VALUES (1)")
    with sides.pair.source.connect(autocommit=False) as writer:
        if why == "open":
            writer.execute("INSERT INTO w VALUES (1)")
        for table in ("u", "w"):
            found = sides.swept(table, Far(why == "late", sides.source_asks), replace(QUICK, wait_seconds=0.05))
            assert (0, True) == (found.verified, found.unverified + found.different > 0), table
        writer.rollback()


@dataclass
class Far(NoPassage):
    """Positions that the target reaches at once, or never."""

    late: bool = False
    asks: Session | None = None
    anchored: bool = True

    def passed(self, position: int) -> bool:
        return not self.late

    def wait(self, position: int, seconds: float) -> bool:
        return not self.late


# --- 7: every key is in one piece and no other --------------------------------------------------------------------


def test_rows_on_beside_and_beyond_every_bound_are_compared_once(sides: Sessions) -> None:
    sides.pair.execute(MANY.replace("i,", "i * 10,"))
    bounds = [int(key[0] or 0) for key in make_plan(sides.source, sides.paired(), QUICK).bounds]
    assert len(bounds) > 10
    sides.pair.target.execute("UPDATE t SET v = 'other' WHERE id = ANY (%s)", bounds)
    extra = sorted([*(bound - 1 for bound in bounds), *(bound + 1 for bound in bounds), -(2**31), 2**31 - 1])
    sides.pair.target.execute("INSERT INTO t SELECT unnest(%s::int[]), 'extra'", extra)
    found = sides.swept()
    assert {"row-different": len(bounds), "row-extra": len(extra)} == counts(found)
    assert sorted([*bounds, *extra]) == sorted(int(one.key[0] or 0) for one in found.differences)
    assert (2000, 2000 - len(bounds)) == (found.rows, found.verified)


# --- 8: sums that cancel ------------------------------------------------------------------------------------------


def test_a_row_that_is_there_twice_too_often_does_not_cancel_out(sides: Sessions) -> None:
    sides.pair.execute("CREATE TABLE u (v text); INSERT INTO u VALUES ('x'), ('y'), ('y')")
    sides.pair.target.execute("INSERT INTO u VALUES ('x'), ('x')")
    sides.pair.target.execute("DELETE FROM u WHERE v = 'y'")
    assert {"row-extra": 2, "row-missing": 2} == counts(sides.swept("u"))


def test_one_change_on_two_rows_does_not_cancel_out(sides: Sessions) -> None:
    sides.pair.execute("CREATE TABLE u (id int PRIMARY KEY, a int, b int); INSERT INTO u VALUES (1, 5, 6), (2, 6, 5)")
    sides.pair.target.execute("UPDATE u SET a = b, b = a")
    assert {"row-different": 2} == counts(sides.swept("u"))


# --- 9: no limit cuts a table short -------------------------------------------------------------------------------


def test_more_rows_than_are_listed_at_once_are_counted_exactly(
    sides: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_differences, "PART_ROWS", 300)
    sides.pair.execute(MANY)
    sides.pair.target.execute("UPDATE t SET v = 'other' WHERE id % 2 = 0; DELETE FROM t WHERE id % 5 = 0")
    sides.pair.target.execute("INSERT INTO t SELECT i, 'extra' FROM generate_series(2001, 3500) i")
    paired = sides.paired()
    steps = list(iter(TableSweep(sides.source, sides.target, paired, Plan(), NoPassage(), QUICK).step, None))
    found = total(steps)
    assert {"row-different": 800, "row-missing": 400, "row-extra": 1500} == counts(found)
    assert (2000, 800, 2700) == (found.rows, found.verified, found.different)


# --- 10, 12, 13, 14, 17: what was said before decides nothing -----------------------------------------------------


def test_a_table_that_was_clean_is_read_again(sides: Sessions) -> None:
    sides.pair.execute(MANY)
    seen = []
    for statement in ("", "UPDATE t SET v = 'other' WHERE id = 1000", "UPDATE t SET v = 'v1000' WHERE id = 1000"):
        if statement:
            sides.pair.target.execute(statement)
        seen.append((sides.swept().verified, sides.swept().different))
    assert [(2000, 0), (1999, 1), (2000, 0)] == seen


@pytest.mark.parametrize("times", [1, 2, 3, 4])
def test_a_difference_that_heals_while_it_is_looked_at_is_none(sides: Sessions, times: int) -> None:
    sides.pair.execute(MANY)
    sides.pair.target.execute("UPDATE t SET v = 'other' WHERE id IN (5, 1500); DELETE FROM t WHERE id = 700")

    def heal(time: int) -> None:
        if time == times:
            sides.pair.target.execute(
                "UPDATE t SET v = 'v' || id; INSERT INTO t VALUES (700, 'v700') ON CONFLICT DO NOTHING"
            )

    found = sides.swept(passage=Acting(heal))
    assert (2000, 2000, 0, ()) == (found.rows, found.verified, found.different, found.differences)


def test_a_table_that_vanishes_while_it_is_looked_at_is_an_error_and_no_agreement(sides: Sessions) -> None:
    sides.pair.execute(MANY)
    sides.pair.target.execute("UPDATE t SET v = 'other' WHERE id = 5")
    with pytest.raises(AuditorError):
        sides.swept(passage=Acting(lambda time: sides.pair.execute("DROP TABLE IF EXISTS t")))


@pytest.mark.parametrize("fault", ["UPDATE u SET n = -1 WHERE id = 7", "DELETE FROM u WHERE id = 7"])
@pytest.mark.parametrize("key", [" PRIMARY KEY", ""], ids=["by key", "without a key"])
def test_a_row_that_changes_at_every_look_is_never_verified(sides: Sessions, key: str, fault: str) -> None:
    sides.pair.execute(f"CREATE TABLE u (id int{key}, n int); INSERT INTO u SELECT i, 0 FROM generate_series(1, 50) i")
    sides.pair.target.execute(fault)
    change = Acting(lambda time: sides.pair.source.execute("UPDATE u SET n = n + 1 WHERE id = 7"))
    for _ in range(3):
        found = sides.swept("u", change)
        assert (50, 49, True) == (found.rows, found.verified, found.hot > 0)
        assert "rows changed faster than they could be looked at" == found.reason
        assert found.different == (1 if not key and "UPDATE" in fault else 0)


def test_rows_without_a_key_that_both_sides_change_are_verified(sides: Sessions) -> None:
    sides.pair.execute("CREATE TABLE u (id int, n int); INSERT INTO u SELECT i, 0 FROM generate_series(1, 50) i")
    sides.pair.target.execute("UPDATE u SET n = -1 WHERE id = 9")

    def change(time: int) -> None:
        sides.pair.source.execute(f"UPDATE u SET n = n + 1 WHERE id = 7; INSERT INTO u VALUES (100, {time})")
        if time > 1:
            sides.pair.target.execute(
                "UPDATE u SET n = n + 1 WHERE id = 7; INSERT INTO u VALUES (100, %s)" % (time - 1)
            )

    found = sides.swept("u", Acting(change))
    assert {"row-missing": 1, "row-extra": 1} == counts(found)
    assert (found.rows - 1, 0) == (found.verified, found.hot)


def test_looks_that_take_longer_than_they_may_prove_nothing(sides: Sessions) -> None:
    sides.pair.execute("CREATE TABLE u (v text); INSERT INTO u VALUES ('x'), ('y')")
    sides.pair.target.execute("UPDATE u SET v = 'other' WHERE v = 'y'")
    slow = Acting(lambda _: time.sleep(0.02))
    found = sides.swept("u", slow, replace(QUICK, settle_seconds=0.001))
    assert (1, 2) == (found.verified, found.different)


# --- seen when they were run --------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [1, 8])
def test_readers_that_overtake_each_other_lose_no_row(sides: Sessions, depth: int) -> None:
    """Tables at rest, small chunks, the one side slower than the other: thousands of rows were missing elsewhere."""
    sides.pair.execute(MANY)
    options = replace(QUICK, segment_rows=10, chunk_seconds=0.001, depth=depth)
    found = sides.swept(options=options)
    assert (2000, 2000, 0, 0) == (found.rows, found.verified, found.different, found.unverified)


@pytest.mark.parametrize("key", [" PRIMARY KEY", ""], ids=["by key", "without a key"])
def test_differences_with_nulls_among_them_are_told(sides: Sessions, key: str) -> None:
    sides.pair.execute(
        f"CREATE TABLE u (id int{key}, a text, b int); INSERT INTO u SELECT i FROM generate_series(1, 9) i"
    )
    sides.pair.source.execute("INSERT INTO u VALUES (10, NULL, NULL), (11, NULL, 1), (12, 'x', NULL)")
    sides.pair.target.execute("INSERT INTO u VALUES (11, 'x', NULL), (12, NULL, NULL), (13, NULL, NULL)")
    found = sides.swept("u")
    expected = {"row-missing": 1, "row-extra": 1, "row-different": 2} if key else {"row-missing": 3, "row-extra": 3}
    assert expected == counts(found)
    json.dumps([str(one) for one in found.differences])


def test_a_report_does_not_contradict_itself(sides: Sessions) -> None:
    sides.pair.execute(MANY)
    sides.pair.target.execute("UPDATE t SET v = NULL WHERE id % 100 = 0; DELETE FROM t WHERE id = 3")
    command = [sys.executable, "-m", "auditor", "diff", sides.pair.source.dsn, sides.pair.target.dsn]
    done = subprocess.run([*command, "--settle", "0", "--json"], capture_output=True, text=True, timeout=400)
    document = json.loads(done.stdout)
    (table,) = document["tables"]
    assert (1, "different", "different") == (done.returncode, document["verdict"], table["verdict"])
    assert table["rows"] == table["verified"] + table["kinds"]["row-different"] + table["kinds"]["row-missing"]
    assert table["different"] == sum(table["kinds"].values()) == sum(one["count"] for one in document["differences"])


def test_nothing_is_left_behind_and_nothing_is_written(sides: Sessions) -> None:
    sides.pair.execute(MANY)
    sides.pair.target.execute("UPDATE t SET v = 'other' WHERE id = 4")
    before = [traces(database) for database in (sides.pair.source, sides.pair.target)]
    assert 1 == compared(sides.pair).code
    assert before == [traces(database) for database in (sides.pair.source, sides.pair.target)]


def traces(database: Database) -> tuple[Any, ...]:
    """Tell what a verifier might leave, and that no row of the table was touched."""
    return database.rows("""SELECT (SELECT count(*) FROM pg_class WHERE relnamespace <> 'pg_toast'::regnamespace),
        (SELECT count(*) FROM pg_proc), (SELECT count(*) FROM pg_namespace), (SELECT count(*) FROM pg_extension),
        (SELECT count(*) FROM pg_replication_slots WHERE database = current_database()),
        (SELECT count(*) FROM pg_publication), (SELECT count(*) FROM pg_subscription
            WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())),
        (SELECT max(xmin::text::bigint) FROM t), (SELECT max(xmax::text::bigint) FROM t)""")[0]


def test_what_was_found_is_told_by_kind_key_and_column(sides: Sessions) -> None:
    sides.pair.execute(MANY)
    sides.pair.target.execute(
        "UPDATE t SET v = NULL WHERE id = 8; DELETE FROM t WHERE id = 9; INSERT INTO t VALUES (0)"
    )
    assert [("row-different", (b"8",), ("v",)), ("row-extra", (b"0",), ()), ("row-missing", (b"9",), ())] == kinds(
        sides.swept()
    )
