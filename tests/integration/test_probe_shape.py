"""The probe of the shape on a real pair: a healthy one passes, and each difference planted is named."""

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from auditor.demo import schema as demo
from comparators.preflight import ItemStatus
from samplers.connections import connect
from samplers.probes.base import Asked, Sides
from samplers.probes.drift import Drift
from samplers.probes.shape import Shape
from tests.helpers import Pair, unique_name
from tests.shape_probes import asked_for, blocking, items_of, look

SCHEMA = """
    CREATE SCHEMA "Odd Names";
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE DOMAIN percent AS numeric(5, 2) CHECK (VALUE BETWEEN 0 AND 100);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE FUNCTION fold(t text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT lower(t)';
    CREATE TABLE parent (id bigint PRIMARY KEY, name varchar(20) NOT NULL, feels mood DEFAULT 'sad', share percent);
    CREATE TABLE child (
        id serial PRIMARY KEY,
        parent_id bigint REFERENCES parent ON DELETE CASCADE,
        amount numeric(10, 2) NOT NULL DEFAULT 0 CHECK (amount >= 0),
        twice numeric GENERATED ALWAYS AS (amount * 2) STORED,
        said text COLLATE "C",
        made timestamptz DEFAULT now(),
        UNIQUE (parent_id, made)
    );
    CREATE INDEX child_said ON child (public.fold(said)) WHERE said IS NOT NULL;
    CREATE UNIQUE INDEX child_once ON child (made, amount);
    CREATE TRIGGER child_note BEFORE INSERT ON child FOR EACH ROW WHEN (NEW.amount > 1) EXECUTE FUNCTION note();
    CREATE RULE child_kept AS ON DELETE TO child WHERE OLD.amount = 7 DO INSTEAD NOTHING;
    CREATE POLICY child_seen ON child FOR SELECT USING (amount > 0);
    CREATE TABLE part (id bigint, region text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
    CREATE TABLE part_a PARTITION OF part FOR VALUES IN ('a');
    CREATE TABLE part_b PARTITION OF part FOR VALUES IN ('b');
    CREATE INDEX part_region ON part (region);
    CREATE TABLE "Odd Names"."My Table" ("The Id" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
    CREATE VIEW glad AS SELECT p.id, p.name FROM parent p WHERE p.feels = 'glad';
"""


@pytest.fixture
def shop(pair: Pair) -> Pair:
    pair.execute(SCHEMA)
    pair.replicate()
    return pair


def test_an_equal_pair_has_nothing_that_blocks_and_no_warning(shop: Pair) -> None:
    items = items_of(Shape, shop)

    assert {ItemStatus.OK} == {item.status for item in items.values()}


def test_the_demos_shop_has_nothing_that_blocks(pair: Pair) -> None:
    demo.create(pair.source.dsn, pair.target.dsn, options=f", slot_name = {pair.subscription}")
    asked = Asked("t", (demo.PUBLICATION,), (demo.SUBSCRIPTION,), "auditor_t", {})

    items = {item.name: item for item in look(Shape(asked), pair).items}

    assert {} == blocking(items)
    assert ("public.payments", "public.visits") == items["primary-keys"].subjects


@pytest.mark.parametrize("via_root", [False, True])
@pytest.mark.parametrize("swapped", [False, True])
def test_two_versions_print_the_same_definitions_alike(pair: Pair, via_root: bool, swapped: bool) -> None:
    pair.execute((Path(__file__).parents[1] / "rich_schema.sql").read_text())
    pair.execute(f"CREATE PUBLICATION {pair.publication} FOR ALL TABLES WITH (publish_via_partition_root = {via_root})")
    with connect(pair.source.dsn) as older, connect(pair.target.dsn) as newer:
        sides = Sides(newer, older) if swapped else Sides(older, newer)
        shape, drift = (probe(asked_for(pair)).look(sides, 1000.0) for probe in (Shape, Drift))

    assert [] == [item for item in (*shape.items, *drift.items) if item.status is not ItemStatus.OK]
    assert 9 == shape.figures["tables"]


BLOCKS, CAPACITY, WARN = ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.BLOCKS_CAPACITY, ItemStatus.WARN
PLANTED = [  # side, statement, item, status, an object it names
    ("target", "DROP TABLE child", "tables-present", BLOCKS, "public.child"),
    ("target", "ALTER TABLE child DROP COLUMN said", "columns-present", BLOCKS, "public.child.said"),
    ("target", "ALTER TABLE child ADD COLUMN owed int NOT NULL", "columns-present", BLOCKS, "public.child.owed"),
    ("target", "ALTER TABLE child ADD COLUMN extra int", "columns-present", WARN, "public.child.extra"),
    ("target", "DROP VIEW glad; ALTER TABLE parent ALTER name TYPE varchar(10)", "columns-types", BLOCKS,
     "public.parent.name (character varying(20), on the target character varying(10))"),
    ("target", "DROP VIEW glad; ALTER TABLE parent ALTER name TYPE text", "columns-types", WARN,
     "public.parent.name (character varying(20), on the target text)"),
    ("target", "ALTER TABLE child ALTER parent_id SET NOT NULL", "columns-nullable", BLOCKS, "public.child.parent_id"),
    ("target", "ALTER TABLE parent ALTER name DROP NOT NULL", "columns-nullable", WARN, "public.parent.name"),
    ("target", "ALTER TABLE child ALTER made DROP DEFAULT", "columns-defaults", BLOCKS, "public.child.made"),
    ("target", "ALTER TABLE parent ALTER feels SET DEFAULT 'glad'", "columns-defaults", BLOCKS, "public.parent.feels"),
    ("target", 'ALTER TABLE "Odd Names"."My Table" ALTER "The Id" DROP IDENTITY', "columns-defaults", BLOCKS,
     "Odd Names.My Table.The Id"),
    ("target", "ALTER TABLE child ALTER twice DROP EXPRESSION", "columns-generated", BLOCKS, "public.child.twice"),
    ("target", 'DROP INDEX child_said; ALTER TABLE child ALTER said TYPE text COLLATE "POSIX"', "columns-collation",
     WARN, "public.child.said"),
    ("target", "ALTER TABLE child DROP CONSTRAINT child_amount_check", "constraints-alike", BLOCKS,
     "public.child.child_amount_check (check)"),
    ("target", "ALTER TABLE child DROP CONSTRAINT child_parent_id_made_key", "constraints-alike", BLOCKS,
     "public.child.child_parent_id_made_key (unique)"),
    ("target", "ALTER TABLE child DROP CONSTRAINT child_pkey", "constraints-alike", BLOCKS,
     "public.child.child_pkey (primary key)"),
    ("target", "ALTER TABLE child DROP CONSTRAINT child_pkey", "replica-identity", BLOCKS, "public.child"),
    ("target", "ALTER TABLE parent ADD CHECK (id > -5)", "constraints-alike", WARN,
     "public.parent.parent_id_check (check)"),
    ("target", "ALTER TABLE child DROP CONSTRAINT child_parent_id_fkey", "foreign-keys", BLOCKS,
     "public.child.child_parent_id_fkey (foreign key)"),
    ("target", "ALTER TABLE child DROP CONSTRAINT child_amount_check;"
     "ALTER TABLE child ADD CONSTRAINT child_amount_check CHECK (amount >= 0) NOT VALID", "constraints-validated",
     WARN, "public.child.child_amount_check (check)"),
    ("target", "DROP INDEX child_said", "indexes-present", CAPACITY, "public.child_said"),
    ("target", "DROP INDEX child_once", "indexes-present", BLOCKS, "public.child_once"),
    ("target", "DROP INDEX part_region", "indexes-present", CAPACITY, "public.part_region"),
    ("target", "DROP TRIGGER child_note ON child", "triggers-alike", BLOCKS, "public.child.child_note"),
    ("target", "ALTER TABLE child DISABLE TRIGGER child_note", "triggers-alike", BLOCKS, "public.child.child_note"),
    ("source", "ALTER TABLE child DISABLE TRIGGER child_note", "triggers-alike", BLOCKS, "public.child.child_note"),
    ("target", "ALTER TABLE child ENABLE ALWAYS TRIGGER child_note", "triggers-in-apply", BLOCKS,
     "public.child.child_note"),
    ("target", "ALTER TABLE child ENABLE REPLICA TRIGGER child_note", "triggers-in-apply", BLOCKS,
     "public.child.child_note"),
    ("target", "CREATE TRIGGER part_note BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION note();"
     "ALTER TABLE part_a ENABLE ALWAYS TRIGGER part_note", "triggers-in-apply", BLOCKS, "public.part_a.part_note"),
    ("target", """DO $$ BEGIN EXECUTE (SELECT format('ALTER TABLE child ENABLE ALWAYS TRIGGER %I', tgname)
     FROM pg_trigger WHERE tgrelid = 'child'::regclass AND tgisinternal LIMIT 1); END $$""", "triggers-in-apply",
     BLOCKS, "public.child.child_parent_id_fkey"),
    ("target", "ALTER TABLE child DISABLE TRIGGER ALL", "foreign-keys-enforced", BLOCKS,
     "public.child.child_parent_id_fkey"),
    ("target", "DROP RULE child_kept ON child", "rules-alike", BLOCKS, "public.child.child_kept"),
    ("target", "ALTER TABLE child ENABLE ROW LEVEL SECURITY", "row-security", BLOCKS, "public.child"),
    ("target", "DROP POLICY child_seen ON child", "row-security", BLOCKS, "public.child.child_seen"),
    ("target", "ALTER POLICY child_seen ON child USING (amount > 1)", "row-security", WARN, "public.child.child_seen"),
    ("target", "DROP TABLE part_b", "tables-present", BLOCKS, "public.part_b"),
    ("target", "ALTER TABLE part DETACH PARTITION part_b;"
     "ALTER TABLE part ATTACH PARTITION part_b FOR VALUES IN ('c')", "partitions-alike", BLOCKS, "public.part_b"),
    ("target", "ALTER TABLE child SET UNLOGGED", "unlogged-tables", BLOCKS, "public.child"),
    ("target", "DROP VIEW glad; ALTER TABLE parent ALTER feels DROP DEFAULT, ALTER feels TYPE text;"
     "DROP TYPE mood", "types-alike",
     BLOCKS, "public.mood"),
    ("target", "ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'", "types-alike", BLOCKS, "public.mood"),
    ("source", "ALTER TYPE mood ADD VALUE 'calm'", "types-alike", BLOCKS, "public.mood"),
    ("target", "ALTER TYPE mood ADD VALUE 'calm'", "types-alike", WARN, "public.mood"),
    ("target", "ALTER DOMAIN percent DROP CONSTRAINT percent_check", "types-alike", BLOCKS, "public.percent"),
    ("target", "DROP INDEX child_said; DROP FUNCTION fold(text)", "functions-present", BLOCKS, "public.fold(t text)"),
    ("target", "CREATE OR REPLACE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
     "functions-present", WARN, "public.note()"),
    ("target", "DROP VIEW glad", "views-present", WARN, "public.glad"),
    ("source", "ALTER TABLE child REPLICA IDENTITY NOTHING", "replica-identity", BLOCKS, "public.child"),
    ("source", "SELECT lo_create(0)", "large-objects", BLOCKS, None),
    ("source", "CREATE MATERIALIZED VIEW much AS SELECT 1 AS one", "materialized-views", WARN, "public.much"),
    ("source", "CREATE UNLOGGED TABLE quick (id int)", "unlogged-tables", WARN, "public.quick"),
    ("source", "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; "
     "CREATE FOREIGN TABLE far (id int) SERVER s", "foreign-tables", WARN, "public.far"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("side", "statement", "name", "status", "subject"), PLANTED, ids=lambda value: str(value)[:60]
)
def test_a_difference_is_named(
    shop: Pair, side: str, statement: str, name: str, status: ItemStatus, subject: str | None
) -> None:
    getattr(shop, side).execute(statement)

    item = items_of(Shape, shop)[name]

    assert status is item.status
    assert subject is None or subject in item.subjects
    assert item.remedy


def test_a_failed_concurrent_build_leaves_an_index_that_is_named(shop: Pair) -> None:
    shop.source.execute("INSERT INTO parent (id, name) VALUES (1, 'twin'), (2, 'twin')")
    shop.catch_up()
    for side in (shop.source, shop.target):
        with pytest.raises(psycopg.errors.UniqueViolation):
            side.execute("CREATE UNIQUE INDEX CONCURRENTLY parent_by_name ON parent (name)")

    item = items_of(Shape, shop)["indexes-valid"]

    assert ItemStatus.BLOCKS_CORRECTNESS is item.status
    assert ("public.parent_by_name (target)",) == item.subjects
    assert "public.parent_by_name (source)" in item.sentence
    shop.target.execute("DROP INDEX parent_by_name")
    assert ItemStatus.BLOCKS_CAPACITY is items_of(Shape, shop)["indexes-valid"].status


def test_tables_that_are_not_published_are_a_warning(pair: Pair) -> None:
    pair.execute("CREATE TABLE shown (id int PRIMARY KEY); CREATE TABLE hidden (id int PRIMARY KEY)")
    pair.replicate("TABLE shown")

    items = items_of(Shape, pair)

    assert ItemStatus.WARN is items["tables-published"].status
    assert ("public.hidden",) == items["tables-published"].subjects
    assert {} == blocking(items)


def test_without_a_published_table_nothing_passes(pair: Pair) -> None:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY)")

    assert ItemStatus.UNKNOWN is items_of(Shape, pair)["tables-present"].status


def test_a_target_may_divide_a_table_published_by_its_root_otherwise(pair: Pair) -> None:
    pair.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)"
    )
    pair.target.execute("CREATE TABLE t (id int PRIMARY KEY)")
    pair.replicate(publish="publish_via_partition_root = true")

    items = items_of(Shape, pair)

    assert {} == blocking(items)
    assert ("public.t",) == items["partitions-alike"].subjects


def test_an_extension_may_live_in_another_schema_on_the_target(pair: Pair) -> None:
    for side, schema in ((pair.source, "public"), (pair.target, '"more types"')):
        side.execute(f"CREATE SCHEMA IF NOT EXISTS {schema}; CREATE EXTENSION vector SCHEMA {schema}")
        side.execute(f"CREATE TABLE t (id int PRIMARY KEY, v {schema}.vector(3), w {schema}.vector[])")
    pair.replicate()

    assert {} == blocking(items_of(Shape, pair))
    pair.target.execute('ALTER TABLE t ALTER v TYPE "more types".vector(4)')
    assert {"columns-types": ("public.t.v (vector(3), on the target vector(4))",)} == blocking(items_of(Shape, pair))


def test_what_is_ours_is_neither_compared_nor_missed(shop: Pair) -> None:
    shop.source.execute("CREATE SCHEMA auditor_t; CREATE TABLE auditor_t.canary (id int)")

    assert {ItemStatus.OK} == {item.status for item in items_of(Shape, shop).values()}


def test_what_the_role_may_not_read_is_unknown_and_the_rest_is_judged(shop: Pair) -> None:
    role = unique_name("poor")
    shop.source.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'; REVOKE SELECT ON pg_policy FROM PUBLIC")

    items = items_of(Shape, shop, source=make_conninfo(shop.source.dsn, user=role, password="poor"))

    assert {"row-security"} == set(blocking(items))
    assert ItemStatus.UNKNOWN is items["row-security"].status
    assert f'on the source: GRANT SELECT ON pg_policy TO "{role}"' == items["row-security"].remedy
    shop.source.execute(f"DROP ROLE {role}")
