"""What the catalogs say of publications, tables and subscriptions, on 16 and on 18."""

import pytest

from samplers import catalog
from samplers.connections import connect
from tests.helpers import Database, Pair


@pytest.fixture(params=["source", "target"])
def database(pair: Pair, request: pytest.FixtureRequest) -> Database:
    """One side, so that each test runs on 16 and on 18."""
    found = getattr(pair, request.param)
    assert isinstance(found, Database)
    return found


def test_lists_filters_and_operations_are_told_and_whole_tables_have_no_list(database: Database):
    database.execute(
        """CREATE TABLE a (id int PRIMARY KEY, v text, twice int GENERATED ALWAYS AS (id * 2) STORED, gone int);
        ALTER TABLE a DROP COLUMN gone;
        CREATE TABLE b (id int PRIMARY KEY, v text, secret text);
        CREATE PUBLICATION p FOR TABLE a, b (id, v) WHERE (id > 5) WITH (publish = 'insert, delete')"""
    )
    with connect(database.dsn) as session:
        a, b = catalog.published_tables(session, ["p"])
        assert ({}, []) == (catalog.publication_members(session, []), catalog.published_tables(session, ["none"]))
    assert ("public.a", None, None) == (a.full_name, a.columns, a.row_filter)
    assert ("public.b", ("id", "v"), "(id > 5)") == (b.full_name, b.columns, b.row_filter)
    assert {"insert", "delete"} == a.operations


def test_a_table_in_two_publications_is_shown_once_with_all_that_either_shows(database: Database):
    database.execute(
        """CREATE TABLE a (id int PRIMARY KEY);
        CREATE PUBLICATION p FOR TABLE a WHERE (id > 5) WITH (publish = 'insert');
        CREATE PUBLICATION q FOR TABLE a WITH (publish = 'delete')"""
    )
    with connect(database.dsn) as session:
        (a,) = catalog.published_tables(session, ["p", "q"])
    assert (None, frozenset({"insert", "delete"})) == (a.row_filter, a.operations)


def test_keys_identities_and_types_are_those_that_the_log_will_show(database: Database):
    database.execute(
        """CREATE TYPE mood AS ENUM ('good');
        CREATE TABLE t ("Id" int, part text NOT NULL, m mood, n numeric(9,2), opt int UNIQUE, code text NOT NULL,
            v text NOT NULL, PRIMARY KEY (part, "Id"));
        CREATE UNIQUE INDEX chosen ON t (code) INCLUDE (v);
        CREATE UNIQUE INDEX partial ON t (v) WHERE n > 0;
        CREATE UNIQUE INDEX expression ON t (lower(v));
        ALTER TABLE t REPLICA IDENTITY USING INDEX chosen"""
    )
    with connect(database.dsn) as session:
        t = catalog.tables(session)["public.t"]
        assert {} == catalog.tables(session, ["public.none"])
    assert (("part", "Id"), (("code",),)) == (t.primary_key, t.unique_keys)
    assert ("i", ("code",)) == (t.identity, t.identity_columns)
    assert {"m": "public.mood", "n": "numeric(9,2)"} == {c.name: c.type for c in t.columns if c.name in "mn"}


def test_partitions_know_their_roots(database: Database):
    database.execute(
        """CREATE TABLE r (id int PRIMARY KEY) PARTITION BY RANGE (id);
        CREATE TABLE r_1 PARTITION OF r FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id);
        CREATE TABLE r_1_1 PARTITION OF r_1 FOR VALUES FROM (0) TO (5)"""
    )
    with connect(database.dsn) as session:
        found = catalog.tables(session)
    assert ("public.r_1", "public.r") == found["public.r_1_1"].ancestors
    assert (True, False) == (found["public.r"].leaves_identified, found["public.r"].leaves_full)


def test_a_subscription_is_described_with_its_tables_and_worker(pair: Pair):
    pair.execute("CREATE TABLE t (id int PRIMARY KEY)")
    pair.replicate("TABLE t")
    with connect(pair.target.dsn) as session:
        found = catalog.subscriptions(session)[pair.subscription]
    assert (True, True, (pair.publication,), pair.subscription) == (
        found.enabled, found.worker, found.publications, found.slot_name,
    )  # fmt: skip
    ((schema, name, state, since),) = found.tables
    assert ("public", "t", "r", True) == (schema, name, state, since > 0)
    origin = pair.target.value("SELECT count(*) FROM pg_replication_origin WHERE roname = %s", found.origin_name)
    assert 1 == origin


def test_a_server_says_who_it_is(pair: Pair):
    with connect(pair.source.dsn) as source, connect(pair.target.dsn) as target:
        one, other = catalog.server_facts(source), catalog.server_facts(target)
    assert one.system_identifier != other.system_identifier
    assert (16, 18) == (one.version // 10000, other.version // 10000)
    assert ("logical", False, 1) == (one.wal_level, one.in_recovery, one.timeline)
