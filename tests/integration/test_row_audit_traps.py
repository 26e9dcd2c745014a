"""Tables and rows at which other verifiers failed: shifts that cancel out, odd keys, odd values, huge rows.

Elsewhere: kinds of keys, composite keys beyond both ends, lost connections and writers in `test_table_sweep`; rows at
and beyond each bound, the same error on both sides and rows that change at each look in `test_fail_open_catalogue`;
numeric scale and documents in `test_row_encoding`; what goes on while a table is swept in `test_row_audit_moving`,
restarts in `test_row_audit_servers`. A row of 50 MB stands for one of 1 GB, whose text no server can print; the servers
of these tests know no ICU, so that two orders of the system's library stand for its.
"""

from collections.abc import Iterator

import pytest

from auditor.servers import PostgresServer
from comparators.tables import Mode
from samplers.table_sweep import make_plan
from tests.helpers import Pair
from tests.sweeps import QUICK, Sessions, kinds, sessions

SETTINGS = {
    "timezone": "Asia/Kolkata", "datestyle": "SQL, DMY", "intervalstyle": "sql_standard", "extra_float_digits": "-15",
    "bytea_output": "escape", "lc_monetary": "C", "xmlbinary": "hex",
}  # fmt: skip


@pytest.fixture(scope="module")
def databases(postgres_source: PostgresServer, postgres_target: PostgresServer) -> Iterator[Pair]:
    """Two databases whose settings print values differently, and whose types have other OIDs."""
    with Pair(postgres_source, postgres_target) as pair:
        for name, value in SETTINGS.items():
            pair.target.execute(f"ALTER DATABASE {pair.name} SET {name} = '{value}'")
        pair.target.close()
        pair.source.execute("CREATE SCHEMA before; CREATE TYPE before.other AS ENUM ('ugly', 'bad', 'good')")
        yield pair


@pytest.fixture
def sides(databases: Pair) -> Iterator[Sessions]:
    databases.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    with sessions(databases) as opened:
        yield opened


def found_in(sides: Sessions, key: str = "id") -> list[str]:
    """Sweep the table and give the keys of the rows that differ; every other row must be verified."""
    found = sides.swept()
    assert found.rows - found.verified == sum(one.kind != "row-extra" for one in found.differences)
    assert (0, 0) == (found.hot, found.unverified)
    return sorted(
        " ".join((b"NULL" if text is None else text).decode() for text in one.key) for one in found.differences
    )


# --- changes that cancel out --------------------------------------------------------------------------------------

ORDERS = """CREATE TABLE t (id int PRIMARY KEY, at timestamp, amount numeric, v text);
INSERT INTO t SELECT i, timestamp '2026-03-01' + i * interval '1 minute', i, 'v' || i FROM generate_series(1, 1000) i"""
SHIFTS = {
    "four rows by the same second": ("at = at + interval '1 second'", [5, 6, 7, 8]),
    "four rows by the same bit": ("amount = amount + 1024", [512, 513, 514, 515]),
    "two rows by opposite amounts": ("amount = amount + CASE id WHEN 10 THEN 1 ELSE -1 END", [10, 11]),
    "two rows of one segment exchanged": ("v = CASE id WHEN 20 THEN 'v21' ELSE 'v20' END", [20, 21]),
    "two rows of two segments exchanged": ("v = CASE id WHEN 20 THEN 'v920' ELSE 'v20' END", [20, 920]),
    "three rows in a ring": ("v = 'v' || CASE id WHEN 1 THEN 500 WHEN 500 THEN 1000 ELSE 1 END", [1, 500, 1000]),
    "all values of a column reversed": ("amount = 1001 - amount", list(range(1, 1001))),
}  # fmt: skip


@pytest.mark.parametrize("shift", SHIFTS)
def test_changes_that_cancel_out_are_found(sides: Sessions, shift: str) -> None:
    change, ids = SHIFTS[shift]
    sides.pair.execute(ORDERS)
    sides.pair.target.execute(f"UPDATE t SET {change} WHERE id = ANY (%s)", ids)
    assert sorted(map(str, ids)) == found_in(sides)


@pytest.mark.parametrize("ids", [(20, 21), (20, 920)], ids=["one segment", "two segments"])
def test_rows_whose_keys_were_exchanged_are_found(sides: Sessions, ids: tuple[int, int]) -> None:
    sides.pair.execute(ORDERS)
    low, high = ids
    sides.pair.target.execute(f"UPDATE t SET id = -1 WHERE id = {low}; UPDATE t SET id = {low} WHERE id = {high};"
                              f"UPDATE t SET id = {high} WHERE id = -1")  # fmt: skip
    assert sorted(map(str, ids)) == found_in(sides)


# --- keys ---------------------------------------------------------------------------------------------------------

TEXT_KEYS = {
    "text": None,
    'text COLLATE "C"': Mode.RANGES,
    'text COLLATE "POSIX"': Mode.RANGES,
    "varchar(20)": None,
    "char(12)": None,
    "name": None,
}
"""Mode by type; where the servers' libraries decide, any."""


@pytest.mark.parametrize("kind", TEXT_KEYS)
def test_text_keys_of_every_order_and_case_are_compared(sides: Sessions, kind: str) -> None:
    sides.pair.execute(
        f"""CREATE TABLE t (id {kind} PRIMARY KEY, v int);
        INSERT INTO t SELECT CASE i % 4 WHEN 0 THEN 'K' WHEN 1 THEN 'k' WHEN 2 THEN 'É' ELSE '_ ' END || i, i
        FROM generate_series(1, 600) i;
        INSERT INTO t VALUES ('', 0), ('zz', 0), ('ZZZ', 0), ('a-b', 0), ('ab', 0), ('a b', 0), ('~', 0)"""
    )
    if TEXT_KEYS[kind]:
        assert TEXT_KEYS[kind] == sides.paired().mode
    assert [] == found_in(sides)
    sides.pair.target.execute("UPDATE t SET v = -1 WHERE id IN ('', 'ZZZ', 'k1', 'É2'); DELETE FROM t WHERE id = '_ 3'")
    sides.pair.target.execute("INSERT INTO t VALUES ('AAAA', 1), ('zzzz', 1)")
    assert sorted(["", "AAAA", "ZZZ", "_ 3", "k1", "zzzz", "É2"]) == found_in(sides)


def test_a_key_that_the_sides_order_differently_is_compared_and_cut_by_no_range(sides: Sessions) -> None:
    sides.pair.source.execute('CREATE TABLE t (id text COLLATE "C" PRIMARY KEY, v int)')
    sides.pair.target.execute(
        'CREATE COLLATION other (LOCALE = "C.UTF-8"); CREATE TABLE t (id text COLLATE other PRIMARY KEY, v int)'
    )
    sides.pair.execute(
        "INSERT INTO t SELECT CASE i % 2 WHEN 0 THEN 'k' ELSE 'K' END || i, i FROM generate_series(1, 500) i"
    )
    assert (Mode.BUCKETS, 1) == (sides.paired().mode, len(sides.paired().source.key))
    assert [] == found_in(sides)
    sides.pair.target.execute("UPDATE t SET id = upper(id) WHERE v = 50; DELETE FROM t WHERE v = 51")
    assert ["K50", "K51", "k50"] == found_in(sides)


COMPOSITES = {
    "a int, b text": "i / 20, 'k' || i",
    'a text COLLATE "C", b numeric': "'k' || i / 20, i / 3.0",
    "a timestamptz, b uuid": "to_timestamp(i / 20), md5(i::text)::uuid",
    "a mood, b int": "(ARRAY['good', 'bad'])[i / 20 % 2 + 1]::mood, i",
    "a date, b bytea": "date 'epoch' + i / 20, decode(md5(i::text), 'hex')",
}


@pytest.mark.parametrize("columns", COMPOSITES)
def test_composite_keys_are_compared_at_every_step_of_either_column(sides: Sessions, columns: str) -> None:
    sides.pair.execute("CREATE TYPE mood AS ENUM ('good', 'bad')")
    sides.pair.execute(f"CREATE TABLE t ({columns}, n int, PRIMARY KEY (a, b))")
    sides.pair.execute(f"INSERT INTO t SELECT {COMPOSITES[columns]}, i FROM generate_series(0, 799) i")
    damaged = [0, 19, 20, 39, 400, 799]
    sides.pair.target.execute("UPDATE t SET n = -n - 1 WHERE n = ANY (%s)", damaged)
    assert len(damaged) == len(found_in(sides))


def test_enums_whose_labels_have_other_oids_are_compared_by_label(sides: Sessions) -> None:
    sides.pair.source.execute("CREATE TYPE earlier AS ENUM ('bad', 'good')")
    sides.pair.execute(
        "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE TABLE t (id mood PRIMARY KEY, m mood, s mood[])"
    )
    sides.pair.execute("INSERT INTO t VALUES ('good', 'bad', '{good,bad}'), ('bad', 'bad', NULL)")
    oids = {database.value("SELECT 'mood'::regtype::oid") for database in (sides.pair.source, sides.pair.target)}
    assert 2 == len(oids)
    assert [] == found_in(sides)
    sides.pair.target.execute("UPDATE t SET m = 'good', s = '{bad,bad}' WHERE id = 'good'")
    assert [("row-different", (b"good",), ("m", "s"))] == kinds(sides.swept())


def test_gaps_between_keys_cost_no_segments_and_hide_no_rows(sides: Sessions) -> None:
    sides.pair.execute("CREATE TABLE t (id bigint PRIMARY KEY)")
    sides.pair.execute("INSERT INTO t SELECT i * i * i * 1000000007 FROM generate_series(-1000::bigint, 1000) i")
    assert len(make_plan(sides.source, sides.paired(), QUICK).bounds) < 25
    inside = [7, 10**15 + 1, -(10**17), 2**63 - 1, -(2**63)]
    sides.pair.target.execute("INSERT INTO t SELECT unnest(%s::bigint[])", inside)
    sides.pair.target.execute("DELETE FROM t WHERE id = 0")
    assert sorted([*map(str, inside), "0"]) == found_in(sides)


# --- values -------------------------------------------------------------------------------------------------------


def test_each_of_300_columns_is_compared_and_named(sides: Sessions) -> None:
    kinds_of = ["int", "text", "numeric", "timestamptz", "jsonb", "float8"]
    columns = ", ".join(f"c{number} {kinds_of[number % 6]}" for number in range(300))
    sides.pair.execute(f"CREATE TABLE t (id int PRIMARY KEY, {columns})")
    sides.pair.execute("INSERT INTO t (id, c0, c1, c299) SELECT i, i, 'x', i FROM generate_series(1, 310) i")
    for number in range(0, 300, 13):
        value = {"int": 5, "text": "5", "numeric": 5, "timestamptz": "2026-01-01", "jsonb": "5", "float8": 5}
        sides.pair.target.execute(f"UPDATE t SET c{number} = %s WHERE id = %s", value[kinds_of[number % 6]], number + 6)
    found = kinds(sides.swept())
    assert {(str(n + 6).encode(), f"c{n}") for n in range(0, 300, 13)} == {
        (key[0], *columns) for _, key, columns in found
    }


def test_the_last_byte_of_a_row_of_50_megabytes_is_compared(sides: Sessions) -> None:
    sides.pair.execute("CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t VALUES (1, 'x')")
    for database, last in ((sides.pair.source, "a"), (sides.pair.target, "b")):
        database.execute(f"INSERT INTO t SELECT 2, repeat('0123456789', 5000000) || '{last}'")
    found = sides.swept()
    assert [("row-different", (b"2",), ("v",))] == kinds(found)
    assert (2, 1) == (found.rows, found.verified)


ODD = {
    "float8": ["0", "-0", "NaN", "Infinity", "-Infinity", "5e-324"],
    "float4": ["0", "-0", "NaN", "Infinity", "-Infinity", "1e-45"],
    "numeric": ["0", "0.0", "NaN", "Infinity", "-Infinity", "1e-20"],
    "date": ["infinity", "-infinity", "0001-01-01 BC", "9999-12-31", "2024-02-29"],
    "timestamptz": ["infinity", "1900-01-01 00:00:00.000001+00", "2026-10-25 02:30+02", "2026-10-25 02:30+01"],
    "interval": ["1 mon", "30 days", "720 hours", "-1 mon", "0"],
    "time": ["00:00", "24:00", "23:59:59.999999"],
    "json": ['{"a":1,"b":2}', '{"b":2,"a":1}', '{"a":1,"a":1}', '{"a":1,"a":2}', '{"a": 1}', "1.0", "1"],
    "jsonb": ['{"a":1}', '{"a":1.0}', "null", '"null"', "[]", "{}"],
    "bytea": [r"\x", r"\x00", r"\x5c", r"\x5c5c"],
    "inet": ["10.0.0.1", "10.0.0.1/24", "::1"],
    "bit varying": ["", "0", "00"],
    "money": ["0.01", "-0.01", "1000.00"],
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_values_are_equal_to_themselves_and_to_no_other(sides: Sessions, kind: str) -> None:
    """On a target that prints all of them otherwise."""
    values = ODD[kind]
    sides.pair.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {kind})")
    rows = [(here, there) for here in range(len(values)) for there in range(len(values))]
    for number, (here, there) in enumerate(rows):
        sides.pair.source.execute(f"INSERT INTO t VALUES ({number}, %s::{kind})", values[here])
        with sides.pair.target.connect(options="-c datestyle=ISO") as target:
            target.execute(f"INSERT INTO t VALUES ({number}, %s::{kind})", [values[there]])
    assert sorted(str(number) for number, (here, there) in enumerate(rows) if here != there) == found_in(sides)


def test_documents_that_are_equal_by_type_are_equal(sides: Sessions) -> None:
    sides.pair.execute("CREATE TABLE t (id int PRIMARY KEY, v jsonb)")
    sides.pair.source.execute("""INSERT INTO t VALUES (1, '{"a": 1, "b": [1, 2]}'), (2, '{"a":2,"a":1}')""")
    sides.pair.target.execute("""INSERT INTO t VALUES (1, '{"b":[1,2],"a":1}'), (2, '{"a":1}')""")
    assert [] == found_in(sides)


@pytest.mark.parametrize("kind", ["timestamptz", "date", "float8", "bytea", "timestamp"])
def test_keys_that_the_servers_print_differently_are_the_same_keys(sides: Sessions, kind: str) -> None:
    value = {
        "timestamptz": "to_timestamp(i * 86400.000001)", "date": "date '2026-01-01' + i", "float8": "i / 3.0",
        "bytea": "decode(md5(i::text), 'hex')", "timestamp": "timestamp '2026-01-01' + i * interval '1.000001 s'",
    }[kind]  # fmt: skip
    sides.pair.execute(f"CREATE TABLE t (id {kind} PRIMARY KEY, n int, s interval)")
    sides.pair.execute(f"INSERT INTO t SELECT {value}, i, i * interval '1 day 1 s' FROM generate_series(1, 700) i")
    assert [] == found_in(sides)
    sides.pair.target.execute("UPDATE t SET s = s + interval '1 us' WHERE n IN (1, 350, 700)")
    assert 3 == len(found_in(sides))
