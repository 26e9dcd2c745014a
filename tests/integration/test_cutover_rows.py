"""The last look: what was written last, most, or has the last keys is compared, whoever damaged it."""

import threading
from collections.abc import Iterator

import pytest

from comparators.errors import NotReady, Retryable
from comparators.mapping import ColumnRules, Mapping
from samplers.probes.slots import Slots
from tests.helpers import Pair, wait_for
from tests.last_looks import MARKER, OURS, Look, look_at, soon
from tests.server_probes import asked, blocking, items
from tests.server_probes import look as probe

SCHEMA = f"""
    {MARKER}
    CREATE TABLE t (id int PRIMARY KEY, v text);
    CREATE TABLE u (a text, b uuid DEFAULT gen_random_uuid(), v int, PRIMARY KEY (b, a));
    CREATE TABLE bag (v text);
    ALTER TABLE bag REPLICA IDENTITY FULL;
    CREATE TABLE nothing_in_it (id int PRIMARY KEY);
"""
TABLES = ("public.t", "public.u", "public.bag", "public.nothing_in_it")


@pytest.fixture
def look(pair: Pair) -> Iterator[Look]:
    pair.execute(SCHEMA)
    pair.source.execute("INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 5000) i")
    pair.source.execute("INSERT INTO u SELECT 'a' || i, gen_random_uuid(), i FROM generate_series(1, 500) i")
    pair.source.execute("INSERT INTO bag SELECT 'v' || i FROM generate_series(1, 50) i")
    pair.replicate()
    made = look_at(pair, TABLES)
    assert [] == made.rows.check()
    made.rows.warm(soon())
    yield made
    made.close()


def test_an_equal_pair_has_no_difference_and_what_was_written_is_among_what_is_compared(look: Look) -> None:
    look.pair.source.execute("UPDATE t SET v = 'x' WHERE id BETWEEN 100 AND 139; DELETE FROM t WHERE id = 7")
    look.pair.source.execute("INSERT INTO u VALUES ('new', DEFAULT, 1); UPDATE bag SET v = v || 'x' WHERE v = 'v7'")
    facts = look.compare()
    assert (0, 0, False) == (facts["different"], facts["missing"], facts["empty"])
    assert 42 == facts["written_last"]
    assert facts["compared"] >= 40 + 1 + 50
    assert facts["followed"] is True
    assert 1 == facts["unnamed"]
    assert (0, []) == (facts["uncompared"], facts["uncompared_tables"])


@pytest.mark.parametrize(
    ("damage", "table"),
    [
        ("UPDATE t SET v = 'other' WHERE id = 2500", "public.t"),
        ("DELETE FROM t WHERE id = 2500", "public.t"),
        ("INSERT INTO t VALUES (7, 'deleted on the source')", "public.t"),
        ("UPDATE u SET v = -1 WHERE a = 'last'", "public.u"),
        ("DELETE FROM t WHERE id = 5000", "public.t"),
        ("INSERT INTO t VALUES (6000, 'only here')", "public.t"),
        ("UPDATE bag SET v = 'other' WHERE v = 'v7'", "public.bag"),
        ("INSERT INTO nothing_in_it VALUES (1)", "public.nothing_in_it"),
    ],
)
def test_a_row_written_last_that_is_not_alike_is_a_difference(look: Look, damage: str, table: str) -> None:
    look.pair.source.execute("UPDATE t SET v = 'x' WHERE id = 2500; DELETE FROM t WHERE id = 7")
    look.pair.source.execute("INSERT INTO u VALUES ('last', DEFAULT, 1)")
    look.fence()
    look.pair.target.execute(f"SET session_replication_role = replica; {damage}")
    facts = look.compare()
    assert {table: 1} == facts["different_tables"]
    assert 1 == facts["different"]


def test_a_row_written_most_is_compared_however_long_ago_it_was_written_last(look: Look) -> None:
    for _ in range(20):
        look.pair.source.execute("UPDATE t SET v = v || 'x' WHERE id = 1234")
    look.pair.source.execute("UPDATE t SET v = 'y' WHERE id > 3000")
    look.fence()
    look.pair.target.execute("SET session_replication_role = replica; UPDATE t SET v = 'z' WHERE id = 1234")
    assert {"public.t": 1} == look.compare()["different_tables"]


def test_a_row_whose_key_was_changed_is_compared_under_both(look: Look) -> None:
    look.pair.source.execute("UPDATE t SET id = -5 WHERE id = 2500")
    assert 0 == look.compare()["different"]
    look.pair.target.execute("SET session_replication_role = replica; INSERT INTO t VALUES (2500, 'v2500')")
    assert {"public.t": 1} == look.compare()["different_tables"]


def test_a_write_behind_the_fence_is_never_let_through(look: Look) -> None:
    fence_lsn = look.fence()
    look.pair.source.execute("INSERT INTO t VALUES (7000, 'too late')")
    look.fence()
    with pytest.raises(NotReady, match="1 changes were committed on the old side after it was fenced"):
        look.rows.compare_last(fence_lsn, soon())


def test_what_is_committed_behind_the_fence_after_the_look_is_counted_at_once(look: Look) -> None:
    fence_lsn = look.fence()
    look.rows.compare_last(fence_lsn, soon())
    assert 0 == look.rows.behind(fence_lsn, soon())["behind"]
    look.pair.source.execute("INSERT INTO t VALUES (7001, 'too late'), (7002, 'too late')")
    assert 2 == look.rows.behind(fence_lsn, soon())["behind"]


def test_a_log_that_cannot_be_read_to_the_fence_is_no_proof(look: Look) -> None:
    fence_lsn = look.fence()
    with pytest.raises(Retryable):
        look.rows.compare_last(fence_lsn + (1 << 30), soon(1))
    look.pair.source.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_replication WHERE application_name = 'auditor follower'"
    )
    with pytest.raises(Retryable):
        look.rows.compare_last(fence_lsn + (1 << 30), soon(5))


def test_a_transaction_that_stays_open_is_told_before_anything_is_held_and_leaves_no_slot(look: Look) -> None:
    look.close()
    again = look_at(look.pair, TABLES)
    with look.pair.source.connect(autocommit=False) as writer:
        writer.execute("UPDATE t SET v = v WHERE id = 1")
        with pytest.raises(NotReady, match="open for too long"):
            again.rows.warm(soon(2))
        writer.rollback()
    again.rows.warm(soon())
    assert 0 == again.compare()["different"]
    again.close()
    wait_for(
        lambda: 1 == look.pair.source.value("SELECT count(*) FROM pg_replication_slots WHERE database = %s",
                                            look.pair.name), 20, "the follower's slot to be gone",
    )  # fmt: skip


def test_what_is_warm_already_stays_as_it_is(look: Look) -> None:
    before = look.pair.source.value("SELECT count(*) FROM pg_replication_slots")
    look.rows.warm(soon())
    assert before == look.pair.source.value("SELECT count(*) FROM pg_replication_slots")


def test_the_slot_that_is_followed_blocks_no_cutover(look: Look) -> None:
    reading = probe(Slots(asked(look.pair, subscriptions=(look.pair.subscription,))), look.pair)
    assert [] == blocking(reading)
    assert any(one.startswith("source: auditor_follow_") for one in items(reading)["slots-inventory"].subjects)


def test_tables_that_are_all_empty_are_told_as_such(pair: Pair) -> None:
    pair.execute(SCHEMA)
    pair.replicate()
    empty = look_at(pair, TABLES)
    empty.rows.warm(soon())
    assert (0, True) == ((facts := empty.compare())["compared"], facts["empty"])
    empty.close()


def test_tables_that_the_sides_order_differently_are_compared_at_their_ends_though_nobody_writes(pair: Pair) -> None:
    pair.execute(MARKER)
    pair.source.execute("""CREATE TABLE w (k text COLLATE "C" PRIMARY KEY, v int)""")
    pair.target.execute("""CREATE TABLE w (k text COLLATE "C.utf8" PRIMARY KEY, v int)""")
    pair.source.execute("INSERT INTO w SELECT md5(n::text), n FROM generate_series(1, 5000) n")
    pair.replicate()
    looked = look_at(pair, ("public.w",))
    assert ["public.w"] == looked.rows.warm(soon())["looked_at_by_log_alone"]
    facts = looked.compare()
    assert (10, 0, False) == (facts["compared"], facts["different"], facts["empty"])
    pair.target.execute("SET session_replication_role = replica; UPDATE w SET v = -v WHERE v > 4800")
    assert looked.compare()["different"] > 0
    looked.close()


def test_a_large_table_without_a_key_is_named_as_one_that_nothing_is_compared_of(pair: Pair) -> None:
    pair.execute(f"{MARKER} CREATE TABLE heap (v text); ALTER TABLE heap REPLICA IDENTITY FULL")
    pair.execute("CREATE TABLE t (id int PRIMARY KEY)")
    pair.source.execute("INSERT INTO heap SELECT md5(n::text) FROM generate_series(1, 50000) n")
    pair.source.execute("INSERT INTO t VALUES (1)")
    pair.replicate()
    looked = look_at(pair, ("public.heap", "public.t"))
    warmed, facts = looked.rows.warm(soon()), looked.compare()
    looked.close()
    assert [] == warmed["looked_at_by_log_alone"]
    for told in (warmed, facts):
        assert (1, ["public.heap"]) == (told["uncompared"], told["uncompared_tables"])
    assert (1, 0, False) == (facts["compared"], facts["different"], facts["empty"])


def test_names_and_columns_may_differ(pair: Pair) -> None:
    pair.execute(MARKER)
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pair.replicate(f"TABLE t, {OURS}.marker")
    pair.execute('CREATE TABLE "Odd %s" (id int PRIMARY KEY, "v %s" text, w text)')
    pair.target.execute("""ALTER TABLE "Odd %s" RENAME w TO x""")
    mapping = Mapping({"public.Odd %s": ColumnRules(target="public.Odd %s", renamed={"w": "x"})})
    pair.execute("""INSERT INTO "Odd %s" VALUES (1, 'a', 'b')""")
    pair.source.execute(f"""CREATE PUBLICATION {pair.name}_odd FOR TABLE "Odd %s" """)
    odd = look_at(pair, ("public.Odd %s", "public.t"), mapping, f"{pair.name}_odd")
    odd.rows.warm(soon())
    assert (1, 0) == ((facts := odd.compare())["compared"], facts["different"])
    pair.source.execute("""UPDATE "Odd %s" SET w = 'c'""")
    assert 1 == odd.compare()["different"]
    odd.close()


def test_writers_that_stop_at_the_fence_leave_no_difference(look: Look) -> None:
    stop = threading.Event()

    def write(number: int) -> None:
        with look.pair.source.connect() as writer:
            turn = 0
            while not stop.is_set():
                turn += 1
                writer.execute("UPDATE t SET v = v || 'x' WHERE id = %s", [number * 100 + turn % 50])
                writer.execute("INSERT INTO u VALUES (%s, DEFAULT, %s)", [f"w{number}", turn])

    for _ in range(3):
        stop.clear()
        threads = [threading.Thread(target=write, args=(number,)) for number in range(1, 4)]
        for thread in threads:
            thread.start()
        wait_for(lambda: (look.pair.source.value("SELECT count(*) FROM u") or 0) > 600, 30, "some writes")
        stop.set()
        for thread in threads:
            thread.join()
        facts = look.compare()
        assert (0, 600) == (facts["different"], facts["written_last"]) or facts["written_last"] < 600
        look.pair.source.execute("DELETE FROM u WHERE a LIKE 'w%'")


def test_hundreds_of_tables_are_compared(pair: Pair) -> None:
    pair.execute(MARKER)
    pair.execute(
        "DO $$BEGIN FOR i IN 1..300 LOOP EXECUTE format('CREATE TABLE t%s (id int PRIMARY KEY, a text, b int, "
        "c timestamptz DEFAULT now())', i); END LOOP; END$$"
    )
    pair.replicate(copy_data=False)
    pair.source.execute(
        "DO $$BEGIN FOR i IN 1..300 LOOP EXECUTE format('INSERT INTO t%s SELECT n, md5(n::text), n "
        "FROM generate_series(1, 50) n', i); END LOOP; END$$"
    )
    many = look_at(pair, tuple(f"public.t{number}" for number in range(1, 301)))
    many.rows.warm(soon(100))
    pair.source.execute("DO $$BEGIN FOR i IN 1..300 LOOP EXECUTE format('UPDATE t%s SET a = 1 WHERE id = 9', i);"
                        "END LOOP; END$$")  # fmt: skip
    facts = many.compare()
    assert (300, 0) == (facts["written_last"], facts["different"])
    assert 3300 == facts["compared"]
    many.close()
