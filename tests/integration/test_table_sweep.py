"""A sweep finds every row that differs and no other, whatever the key, while both sides are written to."""

import random
import threading
from dataclasses import replace
from itertools import pairwise

import pytest

from comparators.errors import SideUnavailable
from comparators.segments import Plan
from comparators.tables import TablePair
from samplers.connections import connect
from samplers.pairing import Wanted, pair_tables
from samplers.passage import NoPassage, Passage
from samplers.table_sweep import Step, SweepOptions, TableSweep, make_plan
from tests.helpers import Pair

OPTIONS = SweepOptions(seed=7, chunk_seconds=0.05, segment_rows=100, settle_seconds=0.3)


def sweep(pair: Pair, table: str = "public.t", options: SweepOptions = OPTIONS, *, replicated: bool = False) -> Step:
    """Sweep one table and add everything up."""
    with (
        connect(pair.source.dsn) as source, connect(pair.target.dsn) as target,
        connect(pair.source.dsn) as source_asks, connect(pair.target.dsn) as target_asks,
    ):  # fmt: skip
        paired = pair_tables(source, target, [Wanted(table, table, table)])[table]
        assert isinstance(paired, TablePair), paired
        passage = NoPassage()
        if replicated:
            oid = pair.target.value("SELECT oid FROM pg_subscription WHERE subname = %s", pair.subscription)
            passage = Passage(source_asks, target_asks, f"pg_{oid}", pair.subscription)
        sweep = TableSweep(source, target, paired, make_plan(source, paired, options), passage, options)
        steps = []
        while (step := sweep.step()) is not None:
            steps.append(step)
    for before, after in pairwise(steps):
        assert before.past_last == after.first
    rows, verified, different, hot, unverified = (
        sum(getattr(step, name) for step in steps) for name in ("rows", "verified", "different", "hot", "unverified")
    )
    reasons = [step.reason for step in steps if step.reason and step.past_last > step.first]
    return Step(
        steps[0].first, steps[-1].past_last, rows, verified, different, hot, unverified,
        through=min((step.through or 0) for step in steps), reason=next(iter(reasons), None),
        differences=tuple(one for step in steps for one in step.differences),
    )  # fmt: skip



KEYS = {
    "bigint": "i::bigint",
    "uuid": "md5(i::text)::uuid",
    "text": "'key ' || md5(i::text)",
    "numeric": "i / 7.0",
    "timestamptz": "'2026-01-01'::timestamptz + i * interval '1 microsecond'",
    "date": "'2026-01-01'::date + i",
    "bytea": "decode(md5(i::text), 'hex')",
}


@pytest.mark.parametrize("kind", KEYS)
def test_each_damaged_row_is_found_by_any_kind_of_key(pair: Pair, kind: str) -> None:
    pair.execute(f"CREATE TABLE t (id {kind} PRIMARY KEY, n int, v text)")
    pair.execute(f"INSERT INTO t SELECT {KEYS[kind]}, i, 'v' || i FROM generate_series(1, 2000) i")
    clean = sweep(pair)
    assert (2000, 2000, 0) == (clean.rows, clean.verified, clean.different)
    pair.target.execute("UPDATE t SET v = 'other' WHERE n IN (1, 700, 2000)")
    pair.target.execute("DELETE FROM t WHERE n IN (3, 701)")
    pair.source.execute("DELETE FROM t WHERE n = 1500")
    found = sweep(pair)
    kinds = sorted(one.kind for one in found.differences)
    assert ["row-different"] * 3 + ["row-extra"] + ["row-missing"] * 2 == kinds
    assert {("v",), ()} == {one.columns for one in found.differences}
    assert (1999, 1994, 6) == (found.rows, found.verified, found.different)


def test_composite_keys_and_both_ends_are_covered(pair: Pair) -> None:
    pair.execute("CREATE TABLE t (a int, b text, v int, PRIMARY KEY (a, b))")
    pair.execute("INSERT INTO t SELECT i % 10, 'k' || i, i FROM generate_series(1, 3000) i")
    pair.target.execute("INSERT INTO t VALUES (-5, 'below', 1), (99, 'above', 1)")
    found = sweep(pair)
    assert [(b"-5", b"below"), (b"99", b"above")] == sorted(one.key for one in found.differences)
    assert 3000 == found.verified


def test_a_table_without_a_key_is_compared_by_counting_its_rows(pair: Pair) -> None:
    pair.execute("CREATE TABLE t (a int, v text)")
    pair.execute("INSERT INTO t SELECT i % 50, NULLIF(i % 3, 0)::text FROM generate_series(1, 3000) i")
    assert 3000 == sweep(pair).verified
    pair.target.execute("DELETE FROM t WHERE ctid = (SELECT min(ctid) FROM t WHERE a = 7)")
    pair.target.execute("INSERT INTO t VALUES (100, NULL), (100, NULL)")
    found = sweep(pair, options=SweepOptions(seed=7, settle_seconds=0.2))
    assert [("row-extra", 2), ("row-missing", 1)] == sorted((one.kind, one.count) for one in found.differences)
    assert 2999 == found.verified


def test_empty_tables_are_equal_and_an_empty_target_is_not(pair: Pair) -> None:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    assert (0, 0) == (sweep(pair).rows, sweep(pair).different)
    pair.source.execute("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 9000) i")
    found = sweep(pair)
    assert (9000, 0, 9000) == (found.rows, found.verified, found.different)
    assert len(found.differences) < 9000
    assert 9000 == sum(one.count for one in found.differences)


def test_what_is_equal_is_equal_through_a_position(pair: Pair) -> None:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pair.source.execute("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 5000) i")
    pair.replicate()
    before = pair.source.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
    found = sweep(pair, replicated=True)
    assert 5000 == found.verified
    assert found.through >= before
    pair.target.execute("UPDATE t SET v = 'y' WHERE id = 77")
    found = sweep(pair, replicated=True)
    assert [("row-different", (b"77",), ("v",))] == [(d.kind, d.key, d.columns) for d in found.differences]


def test_rows_of_a_transaction_that_was_open_from_the_start_are_not_proved(pair: Pair) -> None:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pair.source.execute("INSERT INTO t SELECT i, 'x' FROM generate_series(1, 500) i")
    pair.replicate()
    writer = pair.source.connect(autocommit=False)
    writer.execute("INSERT INTO t VALUES (1000, 'open')")
    found = sweep(pair, replicated=True)
    assert (0, 500) == (found.verified, found.unverified)
    assert "still open" in str(found.reason)
    writer.commit()
    pair.catch_up()
    assert 501 == sweep(pair, replicated=True).verified


class Writers:
    """Sessions that change rows of the source all the time, some of them again and again."""

    def __init__(self, pair: Pair, rows: int) -> None:
        self._pair, self._rows, self._stop = pair, rows, threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(2)]
        self.written = 0

    def _write(self, number: int) -> None:
        chance = random.Random(number)
        with self._pair.source.connect() as connection:
            while not self._stop.is_set():
                row = chance.choice([1 + number, chance.randint(1, self._rows)])
                connection.execute("UPDATE t SET v = v || 'x', n = n + 1 WHERE id = %s", [row])
                if chance.random() < 0.1:
                    connection.execute("DELETE FROM t WHERE id = %s", [row])
                    connection.execute("INSERT INTO t VALUES (%s, 0, 'again')", [row])
                self.written += 1

    def __enter__(self) -> "Writers":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_under_writes_every_planted_difference_is_found_and_no_other(pair: Pair) -> None:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, n int, v text)")
    pair.source.execute("INSERT INTO t SELECT i, 0, 'x' FROM generate_series(1, 20000) i")
    pair.replicate()
    with Writers(pair, 10_000) as writers:
        pair.target.execute("UPDATE t SET v = 'planted' WHERE id IN (10001, 15000, 20000)")
        for _ in range(5):
            found = sweep(pair, replicated=True)
            assert [b"10001", b"15000", b"20000"] == sorted(one.key[0] for one in found.differences)
    assert writers.written > 100


def test_a_target_that_stood_still_for_a_while_is_late_not_different(pair: Pair) -> None:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, n int, v text)")
    pair.source.execute("INSERT INTO t SELECT i, 0, 'x' FROM generate_series(1, 5000) i")
    pair.replicate()
    pair.target.execute(f"ALTER SUBSCRIPTION {pair.subscription} DISABLE")
    pair.source.execute("UPDATE t SET n = 1")
    impatient = replace(OPTIONS, wait_seconds=0.5)
    late = sweep(pair, options=impatient, replicated=True)
    assert (0, 5000, 0) == (late.verified, late.unverified, late.different)
    again = threading.Timer(1.5, pair.target.connect().execute, [f"ALTER SUBSCRIPTION {pair.subscription} ENABLE"])
    again.start()
    patient = sweep(pair, replicated=True)
    again.join()
    assert (5000, 0) == (patient.verified, patient.different)


def test_statements_that_take_too_long_are_cut_until_they_do_not(pair: Pair) -> None:
    """Each row of this table takes half a millisecond to print: two thousand of them are beyond what is allowed."""
    pair.execute("CREATE FUNCTION slow(v int) RETURNS int LANGUAGE plpgsql AS"
                 " $$ BEGIN PERFORM pg_sleep(0.0005); RETURN v; END $$")  # fmt: skip
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")
    pair.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 2000) i")
    with connect(pair.source.dsn, statement_seconds=0.4) as source, connect(pair.target.dsn) as target:
        paired = pair_tables(source, target, [Wanted("public.t", "public.t", "public.t")])["public.t"]
        assert isinstance(paired, TablePair)
        slow = [replace(column, expression=f"public.slow({column.expression})") for column in paired.source.columns]
        paired = replace(paired, source=replace(paired.source, columns=tuple(slow)))
        sweep = TableSweep(source, target, paired, Plan(), NoPassage(), replace(OPTIONS, segment_rows=50))
        step = None
        while step is None or not step.past_last:
            step = sweep.step()
            assert step is not None
    assert (2000, 2000) == (step.rows, step.verified)


def test_a_sweep_goes_on_at_the_segment_after_the_last_one_told(pair: Pair) -> None:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")
    pair.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 5000) i")
    pair.target.execute("UPDATE t SET v = 0 WHERE id IN (50, 4950)")
    with connect(pair.source.dsn) as source, connect(pair.target.dsn) as target:
        paired = pair_tables(source, target, [Wanted("public.t", "public.t", "public.t")])["public.t"]
        assert isinstance(paired, TablePair)
        plan = make_plan(source, paired, OPTIONS)
        first = TableSweep(source, target, paired, plan, NoPassage(), OPTIONS)
        steps = [step for step in iter(first.step, None)]
    for cut in range(1, len(steps)):
        with connect(pair.source.dsn) as source, connect(pair.target.dsn) as target:
            rest = TableSweep(source, target, paired, Plan.from_json(plan.to_json()), NoPassage(), OPTIONS,
                              start=steps[cut].first)  # fmt: skip
            told = [step for step in iter(rest.step, None)]
        assert sum(s.rows for s in steps[cut:]) == sum(s.rows for s in told)
        assert [d.key for s in steps[cut:] for d in s.differences] == [d.key for s in told for d in s.differences]
    assert 5000 == sum(step.rows for step in steps)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_connection_that_is_lost_in_mid_sweep_proves_nothing_more(pair: Pair, side: str) -> None:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, v int)")
    pair.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 5000) i")
    with connect(pair.source.dsn) as source, connect(pair.target.dsn) as target:
        paired = pair_tables(source, target, [Wanted("public.t", "public.t", "public.t")])["public.t"]
        assert isinstance(paired, TablePair)
        sweep = TableSweep(source, target, paired, make_plan(source, paired, OPTIONS), NoPassage(), OPTIONS)
        assert sweep.step() is not None
        position = sweep.position
        lost = {"source": (source, pair.source), "target": (target, pair.target)}[side]
        lost[1].execute("SELECT pg_terminate_backend(%s, 60000)", lost[0].info.backend_pid)
        with pytest.raises(SideUnavailable):
            list(iter(sweep.step, None))
    assert position <= sweep.position < 50
