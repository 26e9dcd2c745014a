"""`auditor diff` on real servers: 0 only for what was read whole and is equal, 1 with a difference in hand, else 3."""

import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from auditor.diff import Request, compare
from auditor.servers import free_port
from tests.helpers import Pair, wait_for

ROOT = Path(__file__).resolve().parents[2]
ITEMS = """
CREATE TABLE items (id bigint PRIMARY KEY, name text, price numeric, placed_at timestamptz, note text, weight float8,
                    body jsonb, lasts interval, due date);
"""
ROWS = """INSERT INTO items SELECT i, 'item ' || i, i * 1.10, timestamptz '2026-03-01 12:00Z' + i * interval '1 second',
CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'n' || i END, i / 3.0, jsonb_build_object('i', i), interval '1 day',
'2026-03-01' FROM generate_series(1, {}) i"""


def diff(pair: Pair, *options: str, expect: int, source: str = "", target: str = "") -> dict[str, Any]:
    """Run the command; give its JSON document."""
    done = run(source or pair.source.dsn, target or pair.target.dsn, *options, "--json")
    assert expect == done.returncode, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "auditor", "diff", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=ROOT)


def table(document: dict[str, Any], name: str = "public.items") -> dict[str, Any]:
    (found,) = [one for one in document["tables"] if one["table"] == name]
    return dict(found)


def both(pair: Pair, *statements: str, rows: int = 100) -> None:
    """Create the items on both sides without replication, and run statements there too."""
    for statement in (ITEMS, ROWS.format(rows), *statements):
        pair.execute(statement)


@pytest.fixture
def replicated(pair: Pair) -> Pair:
    pair.execute(ITEMS)
    pair.source.execute(ROWS.format(20_000))
    pair.replicate()
    pair.catch_up()
    return pair


# --- equal and different ------------------------------------------------------------------------------------------


def test_a_replicated_table_is_equal_through_a_position(replicated: Pair):
    document = diff(replicated, expect=0)
    assert document["verdict"] == "equal"
    assert document["subscriptions"] == [replicated.subscription]
    assert document["differences"] == []
    items = table(document)
    assert (items["rows"], items["verified"], items["unverified"], items["different"]) == (20_000, 20_000, 0, 0)
    assert items["mode"] == "ranges"
    assert items["through"]


def test_one_microsecond_in_one_row_is_named_by_key_hash_and_column(replicated: Pair):
    replicated.target.execute("UPDATE items SET placed_at = placed_at + interval '1 microsecond' WHERE id = 12345")
    document = diff(replicated, expect=1)
    (one,) = document["differences"]
    assert (one["kind"], one["table"], one["columns"], one["count"]) == (
        "row-different", "public.items", ["placed_at"], 1,
    )  # fmt: skip
    assert len(one["key_hash"]) == 16
    assert one["source_position"]
    assert "key" not in one
    items = table(document)
    assert (items["verified"], items["different"], items["kinds"]) == (19_999, 1, {"row-different": 1})


def test_a_missing_and_an_extra_row_are_named(replicated: Pair):
    replicated.target.execute("DELETE FROM items WHERE id = 77; INSERT INTO items (id) VALUES (-5), (99999)")
    document = diff(replicated, "--show-keys", expect=1)
    found = sorted((one["kind"], one["key"]["id"]) for one in document["differences"])
    assert found == [("row-extra", "-5"), ("row-extra", "99999"), ("row-missing", "77")]


@pytest.mark.parametrize(
    ("column", "there"),
    [
        ("note", "NULL WHERE note = ''"),
        ("note", "'' WHERE note IS NULL"),
        ("note", "'NULL' WHERE note IS NULL"),
        ("name", "name || ' '"),
        ("name", "upper(name)"),
        ("price", "(price::text || '0')::numeric"),
        ("price", "price + 1e-20"),
        ("placed_at", "placed_at + interval '1 microsecond'"),
        ("weight", "weight + weight * 2e-16"),
        ("body", """body || '{"I": 1}'"""),
        ("lasts", "interval '24 hours'"),
        ("due", "due + 1"),
    ],
)
def test_values_that_other_tools_blur_are_different(pair: Pair, column: str, there: str):
    both(pair)
    where = "" if "WHERE" in there else " WHERE id = 7"
    changed = pair.target.execute(f"UPDATE items SET {column} = {there}{where}").rowcount
    document = diff(pair, "--settle", "0.2", expect=1)
    assert table(document)["different"] == changed > 0
    assert {tuple(one["columns"]) for one in document["differences"]} == {(column,)}


def test_values_that_only_look_alike_when_they_are_joined_are_different(pair: Pair):
    pair.execute("CREATE TABLE pieces (id int PRIMARY KEY, a text, b text)")
    pair.source.execute("INSERT INTO pieces VALUES (1, 'x|y', 'z'), (2, 'xy', 'z'), (3, NULL, 'a'), (4, 'a,b', '')")
    pair.target.execute("INSERT INTO pieces VALUES (1, 'x', 'y|z'), (2, 'x', 'yz'), (3, 'a', NULL), (4, 'a', 'b,')")
    document = diff(pair, "--settle", "0.2", expect=1)
    assert [one["columns"] for one in document["differences"]] == [["a", "b"]] * 4


def test_two_rows_exchanged_and_shifts_that_cancel_out_are_different(pair: Pair):
    both(pair)
    pair.target.execute("UPDATE items SET id = -id; UPDATE items SET id = 101 + id")
    pair.target.execute(
        "UPDATE items SET placed_at = placed_at + CASE WHEN id > 50 THEN 1 ELSE -1 END * interval '1 s'"
    )
    assert table(diff(pair, "--settle", "0.2", expect=1))["different"] == 100


def test_settings_of_the_servers_that_change_only_how_values_are_printed_are_no_difference(pair: Pair):
    both(pair)
    name = pair.target.value("SELECT quote_ident(current_database())")
    for setting in (
        "timezone = 'Asia/Kolkata'", "datestyle = 'SQL, DMY'", "intervalstyle = 'sql_standard'",
        "extra_float_digits = 0", "bytea_output = 'escape'", "search_path = 'nowhere'",
    ):  # fmt: skip
        pair.target.execute(f"ALTER DATABASE {name} SET {setting}")
    assert diff(pair, expect=0)["verdict"] == "equal"


def test_many_differences_are_counted_exactly_and_listed_up_to_the_limit(pair: Pair):
    both(pair, rows=30_000)
    pair.target.execute("DELETE FROM items WHERE id % 2 = 0; UPDATE items SET note = 'x' WHERE id % 5 = 0")
    document = diff(pair, "--settle", "0.2", "--limit", "7", expect=1)
    assert len(document["differences"]) == 7
    assert table(document)["kinds"] == {"row-missing": 15_000, "row-different": 3000}
    assert table(document)["verified"] == 12_000


# --- not known ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_side_that_is_down_is_not_known_and_never_equal(pair: Pair, side: str):
    both(pair)
    nowhere = f"host=127.0.0.1 port={free_port()} dbname={pair.name} user=nobody password=geheim connect_timeout=5"
    document = diff(pair, expect=3, **{side: nowhere})
    assert document["verdict"] == "unknown"
    assert document["tables"] == []
    assert document["error"].startswith(f"{side}: ")
    done = run(*(nowhere if name == side else getattr(pair, name).dsn for name in ("source", "target")))
    assert done.returncode == 3
    assert "equal" not in done.stdout
    assert f"error: {side}: " in done.stderr
    assert "geheim" not in done.stdout + done.stderr


class Watcher:
    """Bars that do something when a table is begun."""

    def __init__(self, act: dict[str, Any]) -> None:
        self._act = act

    def begin(self, table: str, rows: int) -> None:
        if table in self._act:
            self._act[table]()

    def advance(self, table: str, rows: int, share: float) -> None: ...
    def end(self, table: str, said: str) -> None: ...


def request(pair: Pair, **options: Any) -> Request:
    return Request(pair.source.dsn, pair.target.dsn, **{"settle_seconds": 0.2, **options})


def test_a_side_that_goes_down_on_the_way_leaves_the_rest_not_known(private_pair: Pair):
    both(private_pair, "CREATE TABLE zebras (id int PRIMARY KEY)", "CREATE TABLE zoos (id int PRIMARY KEY)")
    report = compare(request(private_pair), Watcher({"public.zebras": private_pair.target.server.stop}))
    said = {one.table: one.verdict for one in report.results}
    assert said == {"public.items": "equal", "public.zebras": "unknown", "public.zoos": "unknown"}
    assert report.code == 3
    assert "target" in (report.results[2].skipped_reason or "")


def test_a_side_that_comes_back_in_time_is_read_to_the_end(private_pair: Pair):
    both(private_pair, rows=20_000)
    server = private_pair.target.server

    def restart() -> None:
        server.stop()
        server.start()

    report = compare(request(private_pair), Watcher({"public.items": restart}))
    assert (report.verdict, report.results[0].verified) == ("equal", 20_000)


def test_a_table_that_may_not_be_read_is_not_known(pair: Pair):
    both(pair, "CREATE TABLE closed (id int PRIMARY KEY)")
    role = f"{pair.name}_reader"
    pair.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'geheim'; GRANT SELECT ON items TO {role}")
    try:
        dsns = {side: f"{getattr(pair, side).dsn} user={role} password=geheim" for side in ("source", "target")}
        document = diff(pair, expect=3, **dsns)
    finally:
        pair.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert table(document)["verdict"] == "equal"
    assert table(document, "public.closed")["skipped_reason"]


def test_a_role_that_may_only_read_is_enough(replicated: Pair):
    role = f"{replicated.name}_reader"
    replicated.execute(
        f"CREATE ROLE {role} LOGIN PASSWORD 'geheim'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
    )
    try:
        dsns = {side: f"{getattr(replicated, side).dsn} user={role} password=geheim" for side in ("source", "target")}
        document = diff(replicated, expect=0, **dsns)
    finally:
        replicated.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert table(document)["through"]


def test_rows_hidden_by_a_policy_are_not_known(pair: Pair):
    role = f"{pair.name}_reader"
    both(pair, f"CREATE ROLE {role} LOGIN PASSWORD 'geheim'; GRANT SELECT ON items TO {role}",
         "ALTER TABLE items ENABLE ROW LEVEL SECURITY", "CREATE POLICY p ON items USING (id < 50)")  # fmt: skip
    try:
        dsns = {side: f"{getattr(pair, side).dsn} user={role} password=geheim" for side in ("source", "target")}
        document = diff(pair, expect=3, **dsns)
    finally:
        pair.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert table(document)["verdict"] == "unknown"


def test_two_empty_databases_prove_nothing(pair: Pair):
    assert diff(pair, expect=3)["tables"] == []


def test_a_target_that_stands_still_leaves_its_rows_not_known(replicated: Pair):
    with paused(replicated):
        replicated.source.execute("UPDATE items SET note = 'new' WHERE id = 5")
        document = diff(replicated, "--wait", "1", expect=3)
        assert document["differences"] == []
        assert table(document)["unverified"] > 0
        assert "did not apply" in table(document)["reason"]
    replicated.catch_up()
    assert diff(replicated, expect=0)["verdict"] == "equal"


def test_a_target_that_is_late_is_waited_for(replicated: Pair):
    with paused(replicated) as free:
        replicated.source.execute("UPDATE items SET note = 'new' WHERE id % 7 = 0")
        waiting = threading.Timer(2.0, free)
        waiting.start()
        document = diff(replicated, expect=0)
        waiting.join()
    assert table(document)["verified"] == 20_000


@contextmanager
def paused(pair: Pair) -> Iterator[Any]:
    """Hold up apply by a lock that lets others read; gives what ends that."""
    holder = pair.target.connect(autocommit=False)
    holder.execute("LOCK TABLE items IN SHARE MODE")
    freed = threading.Event()

    def free() -> None:
        if not freed.is_set():
            freed.set()
            holder.rollback()

    try:
        yield free
    finally:
        free()


# --- tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "reason"), [("source", "only on the source"), ("target", "only on the target")])
def test_a_table_that_one_side_lacks_is_a_difference(pair: Pair, side: str, reason: str):
    both(pair)
    getattr(pair, side).execute("CREATE TABLE lonely (id int PRIMARY KEY)")
    document = diff(pair, expect=1)
    assert table(document)["verdict"] == "equal"
    assert table(document, "public.lonely")["skipped_reason"] == reason
    (one,) = document["differences"]
    assert (one["kind"], one["table"]) == ("shape-different", "public.lonely")


def test_a_column_that_one_side_lacks_is_a_difference(pair: Pair):
    both(pair)
    pair.source.execute("ALTER TABLE items ADD fax text")
    (one,) = diff(pair, expect=1)["differences"]
    assert (one["kind"], one["columns"]) == ("shape-different", ["fax"])


def test_only_the_tables_that_are_named_are_compared(pair: Pair):
    both(pair, "CREATE SCHEMA s", "CREATE TABLE s.a (id int PRIMARY KEY)", "CREATE TABLE s.b (id int PRIMARY KEY)")
    pair.target.execute("INSERT INTO s.b VALUES (1)")
    assert [one["table"] for one in diff(pair, "--table", "items", "--table", "s.a", expect=0)["tables"]] == [
        "public.items", "s.a",
    ]  # fmt: skip
    assert len(diff(pair, "--table", "s.*", "--settle", "0.2", expect=1)["tables"]) == 2
    done = run(pair.source.dsn, pair.target.dsn, "--table", "itmes")
    assert done.returncode == 2
    assert "--table: 'itmes' names no table" in done.stderr


def test_tables_of_every_kind_are_compared(pair: Pair):
    pair.execute("""
        CREATE TYPE colour AS ENUM ('red', 'green');
        CREATE TABLE plain (a int, b text);
        CREATE TABLE texts (k text PRIMARY KEY, v text);
        CREATE TABLE pairs (a int, b uuid, c colour, PRIMARY KEY (a, b));
        CREATE TABLE parts (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
        CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
        CREATE TABLE parts_2 PARTITION OF parts DEFAULT;
        CREATE TABLE empty (id int PRIMARY KEY);
        CREATE SCHEMA "Odd"; CREATE TABLE "Odd"."Name" ("Id" int PRIMARY KEY, "Text" text);
        INSERT INTO plain VALUES (1, 'x'), (1, 'x'), (1, 'x'), (NULL, NULL);
        INSERT INTO texts SELECT k, k FROM unnest('{a,B,ä,Ab,"",é}'::text[]) k;
        INSERT INTO pairs SELECT i, md5(i::text)::uuid, 'green' FROM generate_series(1, 50) i;
        INSERT INTO parts SELECT i, date '2026-01-01' + i FROM generate_series(1, 90) i;
        INSERT INTO "Odd"."Name" VALUES (1, 'one');
    """)
    document = diff(pair, "--settle", "0.2", expect=0)
    assert {one["table"]: one["rows"] for one in document["tables"]} == {
        "Odd.Name": 1, "public.empty": 0, "public.pairs": 50, "public.parts": 90, "public.plain": 4, "public.texts": 6,
    }  # fmt: skip
    pair.target.execute("""
        DELETE FROM plain WHERE ctid = (SELECT min(ctid) FROM plain);
        UPDATE texts SET v = 'b' WHERE k = 'B'; UPDATE pairs SET c = 'red' WHERE a = 7;
        DELETE FROM parts WHERE id = 31; INSERT INTO empty VALUES (1); UPDATE "Odd"."Name" SET "Text" = 'One';
    """)
    document = diff(pair, "--settle", "0.2", "--show-keys", expect=1)
    found = {(one["table"], one["kind"], tuple(one["columns"])) for one in document["differences"]}
    assert found == {
        ("Odd.Name", "row-different", ("Text",)), ("public.empty", "row-extra", ()),
        ("public.pairs", "row-different", ("c",)), ("public.parts", "row-missing", ()),
        ("public.plain", "row-missing", ()), ("public.texts", "row-different", ("v",)),
    }  # fmt: skip
    keys = {one["table"]: one["key"] for one in document["differences"]}
    assert keys["public.texts"] == {"k": "B"}
    assert keys["public.plain"] is None


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("int GENERATED ALWAYS AS (a * 2) STORED", "int"),
        ("int DEFAULT 5", "int GENERATED ALWAYS AS (a * 2) STORED"),
        ("int GENERATED ALWAYS AS (a * 3) STORED", "int GENERATED ALWAYS AS (a * 2) STORED"),
    ],
)
def test_columns_that_either_side_generates_are_compared(pair: Pair, here: str, there: str):
    for server, kind in ((pair.source, here), (pair.target, there)):
        server.execute(f"CREATE TABLE sums (id int PRIMARY KEY, a int, total {kind})")
        server.execute("INSERT INTO sums (id, a) VALUES (1, 2)")
    (one,) = diff(pair, "--settle", "0.2", expect=1)["differences"]
    assert ("row-different", ["total"]) == (one["kind"], one["columns"])


OPERATORS = {"<": "lt", "<=": "le", "=": "eq", ">=": "ge", ">": "gt"}
NUMBERS = "".join((  # a number by another name, with operators that only `public` has
    "CREATE TYPE k; CREATE FUNCTION k_in(cstring) RETURNS k LANGUAGE internal IMMUTABLE STRICT AS 'int4in';",
    "CREATE FUNCTION k_out(k) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'int4out';",
    "CREATE TYPE k (input = k_in, output = k_out, like = int4);",
    "CREATE FUNCTION k_cmp(k, k) RETURNS int LANGUAGE internal IMMUTABLE STRICT AS 'btint4cmp';",
    *(f"CREATE FUNCTION k_{name}(k, k) RETURNS bool LANGUAGE internal IMMUTABLE STRICT AS 'int4{name}';"
      f"CREATE OPERATOR {sign} (leftarg = k, rightarg = k, function = k_{name});" for sign, name in OPERATORS.items()),
    "CREATE OPERATOR CLASS k_ops DEFAULT FOR TYPE k USING btree AS ",
    ", ".join(f"OPERATOR {number} {sign}" for number, sign in enumerate(OPERATORS, 1)), ", FUNCTION 1 k_cmp(k, k)",
))  # fmt: skip


@pytest.mark.parametrize(("define", "key"), [("CREATE TYPE k AS (x int, y text)", "(1,a)"), (NUMBERS, "42")])
def test_rows_are_named_by_keys_of_types_that_somebody_made(pair: Pair, define: str, key: str):
    pair.execute(f"{define}; CREATE TABLE made (k k PRIMARY KEY, v int)")
    pair.execute(f"INSERT INTO made VALUES ('{key}', 1)")
    assert diff(pair, "--settle", "0.2", expect=0)["verdict"] == "equal"
    pair.target.execute("UPDATE made SET v = 2")
    (one,) = diff(pair, "--settle", "0.2", "--show-keys", expect=1)["differences"]
    assert ("row-different", {"k": key}, ["v"]) == (one["kind"], one["key"], one["columns"])


def test_columns_that_both_sides_generate_alike_are_equal(pair: Pair):
    pair.execute("CREATE TABLE sums (id int PRIMARY KEY, a int, total int GENERATED ALWAYS AS (a * 2) STORED)")
    pair.execute("INSERT INTO sums (id, a) VALUES (1, 2)")
    assert table(diff(pair, "--settle", "0.2", expect=0), "public.sums")["notes"] == []


def test_what_a_publication_leaves_out_is_said_to_people_too(pair: Pair):
    pair.execute("CREATE TABLE people (id int PRIMARY KEY, email text)")
    pair.source.execute("INSERT INTO people SELECT i, 'mail' FROM generate_series(1, 10) i")
    pair.replicate("TABLE people (id) WHERE (id <= 6)")
    pair.catch_up()
    said = run(pair.source.dsn, pair.target.dsn)
    assert said.returncode == 0, said.stdout + said.stderr
    assert "note: public.people: not published: email" in said.stdout
    assert "note: public.people: rows not published are not compared, only those with (id <= 6)" in said.stdout


def test_tables_that_inherit_on_the_source_and_are_partitions_on_the_target_are_no_difference(pair: Pair):
    pair.source.execute("CREATE TABLE days (id int, day int); CREATE TABLE days_1 () INHERITS (days)")
    pair.target.execute("CREATE TABLE days (id int, day int) PARTITION BY LIST (day)")
    pair.target.execute("CREATE TABLE days_1 PARTITION OF days FOR VALUES IN (1)")
    pair.execute("INSERT INTO days_1 VALUES (1, 1), (2, 1)")
    document = diff(pair, "--settle", "0.2", expect=3)
    assert ("equal", "unknown") == tuple(table(document, one)["verdict"] for one in ("public.days_1", "public.days"))


def test_a_mapping_says_how_the_target_differs_by_design(pair: Pair, tmp_path: Path):
    both(pair)
    pair.target.execute("ALTER TABLE items RENAME TO goods")
    pair.target.execute("ALTER TABLE goods RENAME name TO title; ALTER TABLE goods ADD fax text DEFAULT 'x'")
    file = tmp_path / "mapping.yaml"
    file.write_text("tables:\n  public.items: {target: public.goods, rename: {name: title}, exclude: [fax]}\n")
    assert diff(pair, "--mapping", str(file), expect=0)["verdict"] == "equal"
    pair.target.execute("UPDATE goods SET title = 'x' WHERE id = 3")
    (one,) = diff(pair, "--mapping", str(file), "--settle", "0.2", expect=1)["differences"]
    assert one["columns"] == ["name"]


def test_marker_and_canary_of_an_audit_are_left_out_and_said(pair: Pair):
    both(pair, "CREATE SCHEMA auditor_x", "CREATE TABLE auditor_x.canary (id int PRIMARY KEY)")
    pair.target.execute("INSERT INTO auditor_x.canary VALUES (1)")
    document = diff(pair, expect=0)
    assert document["left_out"] == ["auditor_x.canary"]


# --- subscriptions and writers ------------------------------------------------------------------------------------


def test_without_a_subscription_rows_are_read_again_until_they_stand_still(pair: Pair):
    both(pair)
    document = diff(pair, expect=0)
    assert document["subscriptions"] == []
    assert "no subscription" in document["notes"][0]
    assert table(document)["through"] is None
    pair.target.execute("UPDATE items SET note = 'late' WHERE id = 5")
    timer = threading.Timer(1.5, lambda: pair.source.connect().execute("UPDATE items SET note = 'late' WHERE id = 5"))
    timer.start()
    assert diff(pair, "--settle", "6", expect=0)["verdict"] == "equal"
    timer.join()


def test_a_table_that_somebody_keeps_locked_is_not_known_and_holds_up_no_other(pair: Pair):
    pair.execute("CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)")
    pair.execute("INSERT INTO a VALUES (1); INSERT INTO b VALUES (1)")
    pair.execute("ANALYZE")
    with pair.target.connect() as session, session.transaction():
        session.execute("LOCK TABLE a IN ACCESS EXCLUSIVE MODE")
        document = diff(pair, "--settle", "0.2", expect=3)
    assert "lock timeout" in table(document, "public.a")["skipped_reason"]
    assert table(document, "public.b")["verdict"] == "equal"


@pytest.mark.parametrize("late", [5, 15])
def test_a_table_that_several_subscriptions_bring_waits_for_the_slowest(pair: Pair, late: int):
    pair.execute("CREATE TABLE many (id int PRIMARY KEY, v int)")
    pair.source.execute("INSERT INTO many SELECT i, 0 FROM generate_series(1, 20) i")
    pair.replicate("TABLE many WHERE (id < 10)")
    pair.replicate("TABLE many WHERE (id >= 10)", publication=f"{pair.name}_2", subscription=f"{pair.name}_2")
    pair.catch_up()
    pair.catch_up(f"{pair.name}_2")
    with pair.target.connect() as session, session.transaction():
        session.execute("SELECT FROM many WHERE id = %s FOR UPDATE", [late])
        pair.source.execute("UPDATE many SET v = 1")
        document = diff(pair, "--wait", "2", "--settle", "0.5", expect=3)
    assert document["differences"] == []
    assert len(document["subscriptions"]) == 2
    assert table(diff(pair, expect=0), "public.many")["verified"] == 20


def test_a_disabled_subscription_is_not_waited_for_and_said(replicated: Pair):
    replicated.target.execute(f"ALTER SUBSCRIPTION {replicated.subscription} DISABLE")
    assert "disabled" in diff(replicated, expect=0)["notes"][0]


def test_a_subscription_that_does_not_lead_from_this_source_is_refused(replicated: Pair):
    done = run(replicated.source.dsn, replicated.target.dsn, "--subscription", "other")
    assert (done.returncode, "no subscription 'other'" in done.stderr) == (2, True)
    done = run(replicated.source.server.dsn(), replicated.target.dsn, "--subscription", replicated.subscription)
    assert (done.returncode, "does not read from a slot" in done.stderr) == (2, True)
    assert diff(replicated, "--subscription", replicated.subscription, expect=0)["verdict"] == "equal"


def test_writers_cause_no_false_difference_and_hide_none(replicated: Pair):
    stop = threading.Event()

    def write() -> None:
        with replicated.source.connect() as connection:
            for number in itertools.count():
                if stop.wait(0.002):
                    return
                key = number * 7919 % 19_000
                connection.execute("UPDATE items SET note = %s, price = price + 1 WHERE id = %s", [str(number), key])
                if number % 10 == 0:
                    connection.execute("DELETE FROM items WHERE id = %s", [key + 1])
                    connection.execute("INSERT INTO items (id, name) VALUES (%s, 'new')", [key + 1])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(4):
            done = run(replicated.source.dsn, replicated.target.dsn, "--json")
            document = json.loads(done.stdout)
            assert document["differences"] == []
            assert done.returncode in (0, 3)
        replicated.target.execute("UPDATE items SET due = due + 1 WHERE id = 19999")
        wait_for(lambda: named(replicated), 60, "the planted difference to be found")
    finally:
        stop.set()
        writer.join()


def named(pair: Pair) -> bool:
    """Run once more; whatever is found must be the planted row."""
    document = json.loads(run(pair.source.dsn, pair.target.dsn, "--json", "--show-keys").stdout)
    assert {one["key"]["id"] for one in document["differences"]} <= {"19999"}
    return bool(document["verdict"] == "different")


# --- the command line ---------------------------------------------------------------------------------------------


def test_a_database_compared_with_itself_is_refused(pair: Pair):
    both(pair)
    done = run(pair.source.dsn, pair.source.dsn)
    assert (done.returncode, done.stdout) == (2, "")
    assert "the same database" in done.stderr


def test_connection_strings_may_be_references(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    both(pair)
    monkeypatch.setenv("SOURCE_DSN", pair.source.dsn)
    (tmp_path / "target").write_text(pair.target.dsn + "\n")
    assert run("env:SOURCE_DSN", f"file:{tmp_path / 'target'}").returncode == 0
    done = run("env:NOWHERE_DSN", pair.target.dsn)
    assert done.returncode == 2
    assert "SOURCE_DSN: the environment has no NOWHERE_DSN" in done.stderr


def test_hashes_of_two_runs_have_nothing_in_common(pair: Pair):
    both(pair)
    pair.target.execute("DELETE FROM items WHERE id = 1")
    first, second = (diff(pair, "--settle", "0.1", expect=1)["differences"][0]["key_hash"] for _ in range(2))
    assert first != second


def test_people_read_counts_differences_and_the_verdict(pair: Pair):
    both(pair)
    pair.target.execute("UPDATE items SET note = 'x' WHERE id = 1")
    done = run(pair.source.dsn, pair.target.dsn, "--settle", "0.1")
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    assert lines[0].split()[:5] == ["public.items", "100", "rows", "different", "1"]
    assert any("row-different" in line and "in note" in line for line in lines)
    assert lines[-1].startswith("different, after ")
