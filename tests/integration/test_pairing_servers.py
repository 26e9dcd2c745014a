"""What pairing makes of servers that differ: their encodings, their roles' rights, their versions; and of a scope."""

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from auditor.servers import PostgresServer
from auditor.servers.installations import available_majors
from comparators.tables import Form, Mode, Skipped, TablePair
from comparators.vectors import PRINTED, VECTORS
from samplers import catalog
from samplers.connections import connect
from samplers.handshake import Agreement, shake_hands
from samplers.pairing import Wanted, pair_tables, wanted_of
from samplers.scope import Catalogs, choose_scope
from tests.helpers import Pair, unique_name
from tests.pairings import both_digests, digests, pair_of, pair_of_every_type
from tests.sweeps import sessions


@pytest.fixture
def role(pair: Pair) -> Iterator[str]:
    name = unique_name("reader")
    for database in (pair.source, pair.target):
        database.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    yield name
    for database in (pair.source, pair.target):
        database.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


def test_what_the_role_may_not_read_is_skipped_and_the_rest_is_paired(pair: Pair, role: str):
    pair.execute(
        f"""CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE hidden (id int PRIMARY KEY);
        CREATE TABLE policed (id int PRIMARY KEY); ALTER TABLE policed ENABLE ROW LEVEL SECURITY;
        GRANT SELECT ON t, policed TO {role}"""
    )
    names = ["public.t", "public.hidden", "public.policed"]
    source, target = (make_conninfo(d.dsn, user=role, password="x") for d in (pair.source, pair.target))
    with connect(source) as left, connect(target) as right:
        found = pair_tables(left, right, [Wanted(name, name, name) for name in names])
    assert names == list(found)
    t, hidden, policed = found.values()
    assert isinstance(t, TablePair)
    assert isinstance(hidden, Skipped)
    assert isinstance(policed, Skipped)
    assert hidden.reason.startswith("source: the role may not read public.hidden: grant SELECT")
    assert policed.reason.startswith("source: row security hides rows of public.policed")


@pytest.fixture
def latin(pair: Pair) -> Pair:
    """A target whose database encodes text otherwise."""
    pair.target.drop()
    with psycopg.connect(pair.target.server.dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING LATIN1 LOCALE 'C'").format(
                sql.Identifier(pair.target.name)
            )
        )
    return pair


def test_databases_of_different_encodings_are_compared_by_sha(latin: Pair):
    latin.execute("CREATE TABLE t (id text PRIMARY KEY, v varchar, n int)")
    latin.execute("INSERT INTO t VALUES ('é', 'ß', 1), ('a', NULL, NULL)")
    t = pair_of(latin)
    assert (True, Mode.BUCKETS, {Form.SHA256}) == (t.sha, t.mode, {c.form for c in t.target.columns})
    assert "the source is encoded in UTF8, the target in LATIN1" == t.source.columns[0].why
    left, right = both_digests(latin, t)
    assert left == right
    latin.target.execute("UPDATE t SET v = 'ss' WHERE n = 1")
    assert left != digests(latin.target, t.target, sha=True)


def test_a_scope_is_paired_with_its_lists_and_filters_but_for_our_own_tables(pair: Pair):
    pair.execute(
        """CREATE TABLE a (id int PRIMARY KEY, v text, secret text); CREATE TABLE b (id int PRIMARY KEY);
        CREATE SCHEMA ours; CREATE TABLE ours.canary (id int PRIMARY KEY)"""
    )
    pair.replicate("TABLE a (id, v) WHERE (id > 3), b, ours.canary")
    with connect(pair.source.dsn) as source, connect(pair.target.dsn) as target:
        published = catalog.published_tables(source, [pair.publication])
        ours = [replace(table, columns=None, row_filter=None) for table in published]
        subscription = catalog.subscriptions(target)[pair.subscription]
        catalogs = Catalogs(published, catalog.tables(source), catalog.tables(target), [subscription], ours)
        wanted = wanted_of(choose_scope(catalogs, lambda _: True, "ours"), catalogs)
        found = pair_tables(source, target, wanted)
    assert [
        Wanted("public.a", "public.a", "public.a", 0, ("id", "v"), "(id > 3)"),
        Wanted("public.b", "public.b", "public.b", 0, None, None),
    ] == wanted
    assert all(isinstance(table, TablePair) for table in found.values())


def test_16_and_18_hash_and_print_every_vector_alike(pair: Pair):
    with connect(pair.source.dsn) as source, connect(pair.target.dsn) as target:
        assert Agreement() == shake_hands(source, target, {*VECTORS, *PRINTED})


@pytest.mark.parametrize("major", [major for major in available_majors() if major >= 14])
def test_any_version_that_is_installed_is_paired_with_18(major: int, postgres_target: PostgresServer):
    with PostgresServer(major, {"fsync": "off"}, f"older-{major}") as server, Pair(server, postgres_target) as pair:
        pair_of_every_type(pair)


PARTITIONED = """CREATE TABLE m (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
    CREATE TABLE m1 PARTITION OF m FOR VALUES FROM (0) TO (100);
    CREATE TABLE m2 PARTITION OF m FOR VALUES FROM (100) TO (200)"""
INHERITED = """CREATE TABLE m (id int PRIMARY KEY, v text);
    CREATE TABLE m1 (PRIMARY KEY (id)) INHERITS (m); CREATE TABLE m2 (PRIMARY KEY (id)) INHERITS (m)"""


@pytest.mark.parametrize("swapped", [False, True])
def test_a_partitioned_table_and_one_whose_parts_inherit_hold_the_same_rows(pair: Pair, swapped: bool):
    partitioned, inherited = (pair.target, pair.source) if swapped else (pair.source, pair.target)
    partitioned.execute(f"{PARTITIONED}; INSERT INTO m SELECT i, 'v' || i FROM generate_series(0, 199) i")
    inherited.execute(
        f"""{INHERITED}; INSERT INTO m1 SELECT i, 'v' || i FROM generate_series(0, 99) i;
        INSERT INTO m2 SELECT i, 'v' || i FROM generate_series(100, 199) i"""
    )
    m = pair_of(pair, "public.m")
    left, right = both_digests(pair, m)
    assert left == right
    assert 200 == len(left)
    inherited.execute("UPDATE m2 SET v = 'other' WHERE id = 150")
    left, right = both_digests(pair, m)
    assert left != right


def test_a_parent_is_read_without_what_inherits_from_it_where_both_sides_inherit(pair: Pair):
    pair.execute(f"{INHERITED}; INSERT INTO m VALUES (1, 'own'); INSERT INTO m1 VALUES (2, 'of a part')")
    left, right = both_digests(pair, pair_of(pair, "public.m"))
    assert left == right
    assert 1 == len(left)


def test_a_row_that_a_parent_and_its_part_both_hold_is_found_beside_a_partitioned_table(pair: Pair):
    pair.source.execute(f"{PARTITIONED}; INSERT INTO m SELECT i, 'v' || i FROM generate_series(0, 199) i")
    pair.target.execute(
        f"""{INHERITED}; INSERT INTO m1 SELECT i, 'v' || i FROM generate_series(0, 99) i;
        INSERT INTO m2 SELECT i, 'v' || i FROM generate_series(100, 199) i; INSERT INTO m VALUES (150, 'v150')"""
    )
    with sessions(pair) as opened:
        found = opened.swept("m")
    assert (1, 199) == (found.different, found.verified)
    assert [("row-different", (b"150",))] == [(one.kind, one.key) for one in found.differences]
