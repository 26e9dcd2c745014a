"""A sweep finds every row that differs and no other, whatever the key, while both sides are written to."""

from itertools import pairwise

import pytest

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
    return Step(
        steps[0].first, steps[-1].past_last, *(sum(getattr(s, n) for s in steps) for n in
        ("rows", "verified", "different", "hot", "unverified")), min((s.through or 0) for s in steps),
        reason=next((s.reason for s in steps if s.reason), None), differences=sum((s.differences for s in steps), ()),
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
