"""Which columns, forms and keys two real servers share, and which tables are named as not comparable."""

from collections.abc import Iterator
from typing import Any

import pytest

from auditor.servers import PostgresServer
from comparators.errors import SettingInvalid
from comparators.mapping import Mapping
from comparators.mapping_rules import read_mapping
from comparators.tables import Form, Mode
from samplers import catalog
from samplers.connections import connect
from tests.helpers import Pair
from tests.pairings import both_digests, digests, pair_of, skipped


@pytest.fixture(scope="module")
def databases(postgres_source: PostgresServer, postgres_target: PostgresServer) -> Iterator[Pair]:
    with Pair(postgres_source, postgres_target) as found:
        yield found


@pytest.fixture
def pair(databases: Pair) -> Pair:
    """One pair for all tests of this module, emptied before each."""
    databases.execute("DROP SCHEMA public CASCADE; DROP SCHEMA IF EXISTS s CASCADE; CREATE SCHEMA public")
    databases.source.execute("DROP PUBLICATION IF EXISTS p")
    return databases


def rules(**table: Any) -> Mapping:
    return read_mapping({"public.t": table}, "mapping.yaml")


def test_an_ordinary_table_is_cut_by_its_primary_key_and_digested_strictly(pair: Pair):
    pair.source.execute("CREATE TYPE filler AS ENUM ('x')")  # OIDs differ from here on
    pair.execute(
        """CREATE TYPE mood AS ENUM ('good', 'bad');
        CREATE TABLE t (id bigint PRIMARY KEY, name text, n numeric(9,2), doc jsonb, at timestamptz, m mood, f float8,
            "char" "char", tags text[])"""
    )
    t = pair_of(pair)
    assert (Mode.RANGES, "id", '"id"', "int8") == (t.mode, t.source.key[0].name, t.target.key[0].expression, "int8")
    forms = {column.name: column.form for column in t.source.columns}
    assert {"id", "name", "at", "char"} == {name for name, form in forms.items() if form is Form.NATIVE}
    assert {"n", "doc", "m", "f", "tags"} == {name for name, form in forms.items() if form is Form.TEXT}
    assert forms == {column.name: column.form for column in t.target.columns}
    assert ((), False) == (t.notes, t.sha)


# --- keys


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ("id int, a int, b int, PRIMARY KEY (b, a)", ["b", "a"]),
        ("id int, a int, PRIMARY KEY (id) DEFERRABLE INITIALLY DEFERRED", ["id"]),
        ("id int UNIQUE, a int NOT NULL UNIQUE", ["a"]),
        ("id int NOT NULL, a int, UNIQUE (id) INCLUDE (a)", ["id"]),
        ("a uuid, b timestamptz, c text, PRIMARY KEY (a, b, c)", ["a", "b", "c"]),
        ("a numeric(20,3) PRIMARY KEY", ["a"]),
        ('a text COLLATE ucs_basic, b text COLLATE "C.utf8", PRIMARY KEY (a, b)', ["a", "b"]),
        ("a bpchar, b date, c inet, d bytea, e bool, PRIMARY KEY (a, b, c, d, e)", ["a", "b", "c", "d", "e"]),
    ],
)
def test_ranges_are_cut_by_a_key_that_both_sides_order_alike(pair: Pair, columns: str, key: list[str]):
    pair.execute(f"CREATE TABLE t ({columns})")
    t = pair_of(pair)
    assert (Mode.RANGES, key, key) == (t.mode, [k.name for k in t.source.key], [k.name for k in t.target.key])


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("CREATE TABLE t (id mood PRIMARY KEY)", "key column id: no range of public.mood"),
        ("CREATE TABLE t (id interval PRIMARY KEY)", "key column id: no range of interval"),
    ],
)
def test_a_key_without_ranges_in_common_still_names_the_rows(pair: Pair, statement: str, why: str):
    pair.execute("CREATE TYPE mood AS ENUM ('good', 'bad')")
    pair.execute(statement)
    t = pair_of(pair)
    assert (Mode.BUCKETS, ["id"]) == (t.mode, [k.name for k in t.source.key])
    assert why in t.notes[0]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE t (id int, a int)",
        "CREATE TABLE t (id int UNIQUE, a int)",
        "CREATE TABLE t (id int[] PRIMARY KEY)",
        "CREATE TABLE t (id int NOT NULL, a int); CREATE UNIQUE INDEX ON t (id) WHERE a > 0",
        "CREATE TABLE t (id int NOT NULL, a int NOT NULL); CREATE UNIQUE INDEX ON t ((id + a))",
    ],
)
def test_what_may_repeat_or_be_null_is_no_key(pair: Pair, statement: str):
    pair.execute(statement)
    t = pair_of(pair)
    assert (Mode.BUCKETS, (), ()) == (t.mode, t.source.key, t.target.key)
    assert ("in buckets: no primary key, nor a unique index without NULLs, that both sides have",) == t.notes


def test_a_column_that_may_hold_nulls_from_before_is_no_key(pair: Pair):
    pair.source.execute("CREATE TABLE t (id int NOT NULL UNIQUE)")
    pair.target.execute(
        "CREATE TABLE t (id int UNIQUE); INSERT INTO t VALUES (NULL); ALTER TABLE t ADD NOT NULL id NOT VALID"
    )
    assert () == pair_of(pair).source.key


def test_a_key_must_be_one_on_both_sides(pair: Pair):
    pair.source.execute("CREATE TABLE t (id int PRIMARY KEY, a int NOT NULL UNIQUE)")
    pair.target.execute("CREATE TABLE t (id int, a int NOT NULL UNIQUE)")
    assert ["a"] == [k.name for k in pair_of(pair).source.key]


def test_a_key_that_is_indexed_in_another_order_is_not_cut(pair: Pair):
    pair.source.execute("CREATE TABLE t (a int, b int, PRIMARY KEY (a, b))")
    pair.target.execute("CREATE TABLE t (a int, b int, PRIMARY KEY (b, a))")
    t = pair_of(pair)
    assert (Mode.BUCKETS, ["a", "b"]) == (t.mode, [k.name for k in t.target.key])


def test_widened_keys_are_cut_by_bounds_that_fit_both(pair: Pair):
    pair.source.execute("CREATE TABLE t (id bigint, code varchar(8), PRIMARY KEY (id, code))")
    pair.target.execute("CREATE TABLE t (id int, code text, PRIMARY KEY (id, code))")
    t = pair_of(pair)
    assert [(Mode.RANGES, "int8", "text")] * 2 == [(t.mode, *(k.type for k in s.key)) for s in (t.source, t.target)]


def test_texts_that_the_sides_order_differently_are_not_cut(pair: Pair):
    pair.source.execute('CREATE TABLE t (id text COLLATE "C" PRIMARY KEY)')
    pair.target.execute('CREATE TABLE t (id text COLLATE "C.utf8" PRIMARY KEY)')
    t = pair_of(pair)
    assert (Mode.BUCKETS, ["id"]) == (t.mode, [k.name for k in t.source.key])
    assert "key column id is ordered by C of libc on the source, by C.utf8 of libc on the target" in t.notes[0]


def test_an_index_orders_by_its_own_collation(pair: Pair):
    pair.execute('CREATE TABLE t (id text COLLATE "C.utf8" NOT NULL); CREATE UNIQUE INDEX ON t (id COLLATE "C")')
    t = pair_of(pair)
    assert (Mode.RANGES, '"id" COLLATE pg_catalog."C"') == (t.mode, t.target.key[0].expression)


# --- columns


def test_columns_are_paired_by_name_and_others_are_named(pair: Pair):
    pair.source.execute(
        "CREATE TABLE t (gone int, b text, id int PRIMARY KEY, left_only int, twice int GENERATED ALWAYS AS (id * 2)"
        " STORED); ALTER TABLE t DROP COLUMN gone"
    )
    pair.target.execute(
        "CREATE TABLE t (id int PRIMARY KEY, right_only int, b text, twice int GENERATED ALWAYS AS (id * 2) STORED)"
    )
    t = pair_of(pair)
    assert [["b", "id"]] * 2 == [[c.name for c in side.columns] for side in (t.source, t.target)]
    assert {
        "not compared, as each side generates them: twice",
        "on the source only: left_only",
        "on the target only: right_only",
    } == set(t.notes)
    pair.source.execute("INSERT INTO t (id, b) VALUES (1, 'x')")
    pair.target.execute("INSERT INTO t (id, b) VALUES (1, 'x')")
    left, right = both_digests(pair, t)
    assert left == right != []


def test_only_published_columns_are_compared(pair: Pair):
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, b text, secret text)")
    t = pair_of(pair, columns=("id", "b"))
    assert (["b", "id"], ("not published: secret",)) == ([c.name for c in t.source.columns], t.notes)


def test_tables_without_a_column_in_common_are_skipped(pair: Pair):
    pair.source.execute("CREATE TABLE t (a int)")
    pair.target.execute("CREATE TABLE t (b int)")
    assert "the two sides have no column in common" == skipped(pair)


def test_columns_whose_types_differ_are_compared_as_text_and_named(pair: Pair):
    pair.source.execute("CREATE TABLE t (id int PRIMARY KEY, n numeric(9,2), d int, v varchar(3))")
    pair.target.execute("CREATE TABLE t (id bigint PRIMARY KEY, n numeric(9,4), d text, v text)")
    t = pair_of(pair)
    assert {"d": Form.TEXT, "id": Form.NATIVE, "n": Form.TEXT, "v": Form.NATIVE} == {
        c.name: c.form for c in t.source.columns
    }
    assert ["d is integer on the source and text on", "n is numeric(9,2) on the source and numeric(9,4) on"] == [
        note.split(" the target:")[0] for note in t.notes
    ]
    pair.source.execute("INSERT INTO t VALUES (1, 5, 7, 'x')")
    pair.target.execute("INSERT INTO t VALUES (1, 5, 7, 'x')")
    left, right = both_digests(pair, t)
    assert left != right  # 5.00 is not 5.0000
    casting = rules(cast={"n": {"target": "n::numeric(9,2)"}})
    left, right = both_digests(pair, pair_of(pair, mapping=casting))
    assert left == right


def test_a_mapping_renames_casts_leaves_out_and_filters(pair: Pair):
    pair.source.execute("CREATE TABLE t (id int PRIMARY KEY, name text, cents bigint, note text, tenant int)")
    pair.target.execute(
        "CREATE SCHEMA s; CREATE TABLE s.u (uid int PRIMARY KEY, label text, euros numeric, tenant int)"
    )
    pair.source.execute("INSERT INTO t VALUES (1, 'A', 250, 'n', 7), (2, 'B', 1, 'n', 8)")
    pair.target.execute("INSERT INTO s.u VALUES (1, 'a', 2.50, 7)")
    mapping = rules(
        target="s.u", rename={"id": "uid", "name": "label", "cents": "euros"}, exclude=["note"],
        cast={"name": {"source": "lower(name)"}, "cents": {"target": "(euros * 100)::bigint"}},
        filter={"source": "tenant = 7"},
    )  # fmt: skip
    t = pair_of(pair, mapping=mapping, where="(id > 0)")
    assert (Mode.RANGES, '"uid"', "s", "u") == (t.mode, t.target.key[0].expression, t.target.schema, t.target.name)
    assert {"cents": Form.NATIVE, "id": Form.NATIVE, "name": Form.NATIVE, "tenant": Form.NATIVE} == {
        c.name: c.form for c in t.target.columns
    }
    assert (
        "not compared, as the mapping excludes them: note",
        "rows not published are not compared, only those with (id > 0)",
    ) == t.notes
    left, right = both_digests(pair, t)
    assert left == right != []


def test_a_key_that_the_mapping_changes_names_no_rows(pair: Pair):
    pair.execute("CREATE TABLE t (id int PRIMARY KEY)")
    assert () == pair_of(pair, mapping=rules(cast={"id": {"source": "id % 2"}})).source.key


@pytest.mark.parametrize(
    "rule", [{"cast": {"d": {"source": "d * 2"}}}, {"filter": {"source": "d = 'x'"}}, {"filter": {"source": "d + 1"}}]
)
def test_what_the_server_refuses_is_the_settings_fault(pair: Pair, rule: Any):
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, d date)")
    with pytest.raises(SettingInvalid, match=r"mapping.yaml: tables.public.t: the source refuses it: "):
        pair_of(pair, mapping=rules(**rule))


def test_a_cast_to_text_that_somebody_wrote_hides_nothing(pair: Pair):
    pair.execute(
        """CREATE TYPE money2 AS (amount numeric, currency text);
        CREATE FUNCTION short(money2) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT ($1).currency $$;
        CREATE CAST (money2 AS text) WITH FUNCTION short(money2);
        CREATE TABLE t (id int PRIMARY KEY, m money2); INSERT INTO t VALUES (1, (5, 'EUR')), (2, NULL)"""
    )
    t = pair_of(pair)
    left, right = both_digests(pair, t)
    assert left == right
    pair.target.execute("UPDATE t SET m.amount = 6 WHERE id = 1")
    assert left != digests(pair.target, t.target)


def test_wide_tables_are_digested_whole(pair: Pair):
    columns = ", ".join(f"c{number} int DEFAULT {number}" for number in range(300))
    pair.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns}); INSERT INTO t VALUES (1)")
    t = pair_of(pair)
    left, right = both_digests(pair, t)
    assert left == right
    pair.target.execute("UPDATE t SET c299 = 0")
    assert left != digests(pair.target, t.target)


# --- rows


def test_a_parent_is_read_without_the_rows_of_its_children(pair: Pair):
    pair.execute(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE child () INHERITS (t);"
        " INSERT INTO t VALUES (1); INSERT INTO child VALUES (2)"
    )
    assert [1, 1] == [len(found) for found in both_digests(pair, pair_of(pair))]


def test_a_partitioned_table_is_read_through_its_root_and_counted_by_its_leaves(pair: Pair):
    pair.source.execute(
        """CREATE TABLE t (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
        CREATE TABLE t1 PARTITION OF t FOR VALUES FROM (0) TO (100); CREATE TABLE t2 PARTITION OF t DEFAULT;
        INSERT INTO t SELECT i, i::text FROM generate_series(1, 300) i; ANALYZE t"""
    )
    pair.target.execute(
        "CREATE TABLE t (v text, id int PRIMARY KEY); INSERT INTO t SELECT i::text, i FROM generate_series(1, 300) i"
    )
    t = pair_of(pair)
    left, right = both_digests(pair, t)
    assert (300, Mode.RANGES, left) == (t.rows, t.mode, right)


@pytest.mark.parametrize("condition", ["id > 5", "v ~~ 'a%' AND kind = 'x'::mood", "v IS DISTINCT FROM NULL"])
def test_a_row_filter_of_the_publication_holds_on_the_source(pair: Pair, condition: str):
    pair.execute("CREATE TYPE mood AS ENUM ('x', 'y'); CREATE TABLE t (id int PRIMARY KEY, v text, kind mood)")
    with connect(pair.source.dsn) as session:
        pair.source.execute("CREATE PUBLICATION p FOR TABLE t WHERE (id > 5)")
        (published,) = catalog.published_tables(session, ["p"])
    t = pair_of(pair, where=published.row_filter)
    assert ("((id > 5))", None) == (t.source.where, t.target.where)
    pair.source.execute("INSERT INTO t SELECT i, 'a', 'x' FROM generate_series(1, 10) i")
    assert 5 == len(digests(pair.source, t.source))


def test_a_row_filter_that_cannot_be_written_anew_is_not_guessed(pair: Pair):
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, net inet, bits bit(3))")
    assert "source: its row filter is not understood: (net <<= '10.0.0.0/8'::inet)" == skipped(
        pair, where="(net <<= '10.0.0.0/8'::inet)"
    )
    assert "source: its row filter is not understood: (bits = '101'::\"bit\")" == skipped(
        pair, where="(bits = '101'::\"bit\")"
    )


# --- tables that cannot be compared


def test_tables_that_are_not_there_are_named(pair: Pair):
    pair.source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    assert "target: table public.t does not exist" == skipped(pair)
    assert "source: table public.u does not exist" == skipped(pair, "public.u")
    assert skipped(pair, "public.a.b").startswith("source: a schema or table whose name has a dot")


def test_an_unlogged_copy_proves_nothing(pair: Pair):
    pair.source.execute("CREATE TABLE t (id int PRIMARY KEY)")
    pair.target.execute("CREATE UNLOGGED TABLE t (id int PRIMARY KEY)")
    assert skipped(pair).startswith("target: public.t is unlogged")
