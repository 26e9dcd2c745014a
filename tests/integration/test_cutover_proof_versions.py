"""Drain and last look from version to version, there and back."""

from collections.abc import Iterator

import pytest

from comparators.positions import Side
from tests.conftest import SETTINGS
from tests.helpers import Database, Pair, wait_for
from tests.last_looks import MARKER, OURS, Look, look_at, soon
from tests.literals import LITERALS, TYPES_SQL
from tests.node_postgres import server

MAJORS = [(16, 18), (18, 16), (15, 18)]
TABLES = ("public.t", "public.u")


@pytest.fixture(params=MAJORS, ids=lambda majors: f"{majors[0]} to {majors[1]}")
def between(request: pytest.FixtureRequest) -> Iterator[Pair]:
    source, target = request.param
    with (
        server(source, SETTINGS, "source") as left,
        server(target, SETTINGS, "target") as right,
        Pair(left, right) as pair,
    ):
        pair.execute(MARKER)
        pair.execute(TYPES_SQL)
        columns = ", ".join(f"c{number} {kind}" for number, kind in enumerate(LITERALS))
        pair.execute(f"CREATE TABLE t (id text PRIMARY KEY, {columns})")
        pair.execute("CREATE TABLE u (a int, b timestamptz, v numeric, PRIMARY KEY (b, a))")
        yield pair


def prove(look: Look, here: Database, there: Database) -> None:
    """Write on one side, compare, and see that damage is noticed on the other."""
    look.rows.warm(soon())
    here.execute(f"INSERT INTO t (id) VALUES ('{here.server.name} 1'), ('{here.server.name} \"2\"\\')")
    here.execute(
        "INSERT INTO u SELECT n, now(), random() FROM generate_series(1, 40) n; UPDATE u SET v = 1 WHERE a = 7"
    )
    facts = look.compare()
    assert (0, 42) == (facts["different"], facts["written_last"])
    there.execute("SET session_replication_role = replica; UPDATE u SET v = 2 WHERE a = 7")
    assert {"public.u": 1} == look.compare()["different_tables"]
    there.execute("UPDATE u SET v = 1 WHERE a = 7; DELETE FROM t WHERE id LIKE '%2%'; RESET session_replication_role")
    assert {"public.t": 1} == look.compare()["different_tables"]
    here.execute("DELETE FROM t; DELETE FROM u")
    assert 0 == look.compare()["different"]
    assert look.drain.make_durable(soon())["durable"] is True
    look.close()


def turn_round(pair: Pair) -> None:
    """Let the data come from the target, as after a cutover."""
    pair.target.execute(f"ALTER SUBSCRIPTION {pair.subscription} DISABLE")
    wait_for(
        lambda: not pair.target.value("SELECT count(*) FROM pg_stat_subscription WHERE pid IS NOT NULL"), 30, "end"
    )
    pair.target.execute(f"DROP SUBSCRIPTION {pair.subscription}")
    pair.target.execute(f"CREATE PUBLICATION {pair.publication} FOR TABLE t, u, {OURS}.marker")
    origin = ", origin = none" if pair.source.server.major >= 16 else ""
    pair.source.execute(
        f"CREATE SUBSCRIPTION {pair.subscription} CONNECTION '{pair.target.dsn}' PUBLICATION {pair.publication}"
        f" WITH (copy_data = false{origin})"
    )
    wait_for(lambda: pair.source.value("SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel"), 30, "tables")


def test_there_and_back(between: Pair) -> None:
    between.replicate(f"TABLE t, u, {OURS}.marker")
    prove(look_at(between, TABLES), between.source, between.target)
    turn_round(between)
    back = look_at(between, TABLES, old=Side.TARGET)
    assert [] == [*back.drain.check(), *back.rows.check()]
    prove(back, between.target, between.source)
