"""The probe of drift on a real pair: what changes is seen, and what is no change is not."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from comparators.preflight import ItemStatus
from samplers.probes.base import Reading
from samplers.probes.drift import Drift
from tests.helpers import Pair
from tests.shape_probes import asked_for, blocking, look

SCHEMA = """
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TABLE t (id bigserial PRIMARY KEY, a int CHECK (a > -100), feels mood, said text);
    CREATE INDEX t_said ON t (said);
    CREATE TRIGGER t_note BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION note();
    CREATE TABLE other (id int PRIMARY KEY);
"""


@pytest.fixture
def shop(pair: Pair) -> Pair:
    pair.execute(SCHEMA)
    pair.replicate()
    return pair


class Watch:
    """One probe through several looks, a second apart."""

    def __init__(self, pair: Pair, **asked: Any) -> None:
        self.pair, self.now = pair, 1000.0
        self.probe = Drift(asked_for(pair, **asked))
        self.probe.take(None, 1)

    def look(self) -> Reading:
        self.now += 1
        return look(self.probe, self.pair, self.now)

    def blocking(self) -> dict[str, tuple[str, ...]]:
        return blocking({item.name: item for item in self.look().items})


def counted(reading: Reading) -> tuple[Any, ...]:
    return tuple(reading.figures[name] for name in ("changes_unlike", "changes_alike", "changed_at"))


ON_ONE_SIDE = [
    ("ALTER TABLE t ADD COLUMN b int", "public.t (columns)"),
    ("ALTER TABLE t ALTER a TYPE bigint", "public.t (columns)"),
    ("ALTER TABLE t ALTER a SET DEFAULT 5", "public.t (columns)"),
    ("ALTER TABLE t DROP CONSTRAINT t_a_check", "public.t (constraints)"),
    ("CREATE UNIQUE INDEX ON t (a)", "public.t (unique indexes)"),
    ("ALTER TABLE t DISABLE TRIGGER t_note", "public.t (triggers)"),
    ("CREATE RULE r AS ON DELETE TO t DO INSTEAD NOTHING", "public.t (rules)"),
    ("CREATE POLICY p ON t USING (true)", "public.t (policies)"),
    ("ALTER TABLE t ENABLE ROW LEVEL SECURITY", "public.t (table)"),
    ("ALTER SEQUENCE t_id_seq INCREMENT 10", "public.t_id_seq (sequence)"),
    ("ALTER TYPE mood ADD VALUE 'calm'", "public.mood (type)"),
    ("DROP TABLE other", "public.other (table)"),
]


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(("statement", "subject"), ON_ONE_SIDE, ids=[subject for _, subject in ON_ONE_SIDE])
def test_a_change_on_one_side_is_named_until_the_other_has_it_too(
    shop: Pair, side: str, statement: str, subject: str
) -> None:
    watch = Watch(shop)
    assert (0, 0, None) == counted(watch.look())

    getattr(shop, side).execute(statement)
    reading = watch.look()

    differing = {item.name: item for item in reading.items}["drift-sides-differ"]
    assert ItemStatus.BLOCKS_CORRECTNESS is differing.status
    assert subject in differing.subjects
    assert 1002.0 == reading.figures["changed_at"]
    (shop.target if side == "source" else shop.source).execute(statement)
    assert {} == watch.blocking()
    assert (0, 1003.0) == (watch.look().figures["changes_unlike"], watch.look().figures["changed_at"])


def test_the_same_change_counts_as_the_same_where_the_sides_were_not_equal(shop: Pair) -> None:
    shop.target.execute("ALTER TABLE t ADD COLUMN legacy int")
    watch = Watch(shop)
    watch.look()

    shop.execute("ALTER TABLE t ADD COLUMN b int")

    reading = watch.look()
    assert (0, 1, 1002.0) == counted(reading)
    assert {"drift-alike": ("public.t (columns)",)} == {i.name: i.subjects for i in reading.items if i.subjects}


def test_a_change_that_was_taken_back_is_remembered(shop: Pair) -> None:
    watch = Watch(shop)
    watch.look()
    shop.source.execute("ALTER TABLE t ALTER said TYPE varchar")
    watch.look()
    shop.source.execute("ALTER TABLE t ALTER said TYPE text")

    assert (0, 0, 1003.0) == counted(watch.look())
    assert (0, 0, 1003.0) == counted(watch.look())


def test_what_is_no_change_is_not_seen(shop: Pair) -> None:
    watch = Watch(shop)
    watch.look()

    shop.source.execute("INSERT INTO t (a, said) SELECT i, 'x' FROM generate_series(1, 500) i")
    shop.catch_up()
    for side in (shop.source, shop.target):
        for statement in ("ANALYZE", "VACUUM t", "REINDEX TABLE CONCURRENTLY t", "CLUSTER t USING t_said"):
            side.execute(statement)
        side.execute("CREATE STATISTICS st ON a, said FROM t")
        side.execute("SELECT setval('t_id_seq', 900)")
        side.execute("CREATE SCHEMA auditor_t; CREATE TABLE auditor_t.canary (id int PRIMARY KEY)")
        side.execute("COMMENT ON TABLE t IS 'said'; ALTER TABLE t ALTER said SET STORAGE EXTERNAL")
    shop.target.execute("CREATE PUBLICATION ours FOR TABLE t")
    shop.target.execute(f"ALTER SUBSCRIPTION {shop.subscription} REFRESH PUBLICATION")
    shop.source.execute("ALTER TABLE t REPLICA IDENTITY FULL")

    assert (0, 0, None) == counted(watch.look())


def test_an_index_that_only_one_side_got_is_a_warning(shop: Pair) -> None:
    watch = Watch(shop)
    watch.look()
    shop.target.execute("CREATE INDEX ON t (a)")

    reading = watch.look()

    assert (0, 0, None) == counted(reading)
    assert ("public.t (indexes)",) == {item.name: item for item in reading.items}["drift-alike"].subjects


def test_a_table_that_is_published_no_more_is_named_until_it_is_again(pair: Pair) -> None:
    pair.execute(SCHEMA)
    pair.replicate("TABLE t, other")
    watch = Watch(pair)
    watch.look()

    pair.source.execute(f"ALTER PUBLICATION {pair.publication} DROP TABLE other")
    assert {"drift-publications": ("public.other (publication)",)} == watch.blocking()
    pair.source.execute(f"ALTER PUBLICATION {pair.publication} ADD TABLE other WHERE (id > 5)")
    assert {"drift-publications": ("public.other (publication)",)} == watch.blocking()
    pair.source.execute(f"ALTER PUBLICATION {pair.publication} SET TABLE t, other")
    assert {} == watch.blocking()
    assert 1004.0 == watch.look().figures["changed_at"]


def test_a_table_that_came_on_both_sides_asks_for_a_sweep(shop: Pair) -> None:
    watch = Watch(shop)
    watch.look()
    shop.execute("CREATE TABLE fresh (id int PRIMARY KEY)")

    unlike, alike, changed_at = counted(watch.look())

    assert (0, 1002.0) == (unlike, changed_at)
    assert alike >= 1


def test_a_table_that_the_configuration_leaves_out_is_no_change(shop: Pair) -> None:
    watch = Watch(shop)
    watch.look()
    record: Mapping[str, Any] | None = watch.probe.record()
    later = Watch(shop, selects=lambda table: table != "public.other")
    later.probe.take(record, 1)
    later.look()
    shop.target.execute("ALTER TABLE other ADD COLUMN b int")

    assert {} == later.blocking()


def test_a_new_process_goes_on_from_the_record(shop: Pair) -> None:
    watch = Watch(shop)
    watch.look()
    shop.source.execute("ALTER TABLE t ADD COLUMN b int")
    watch.look()
    record = json.loads(json.dumps(watch.probe.record()))

    later = Watch(shop)
    later.probe.take(record, 1)
    assert {"drift-sides-differ": ("public.t (columns)",)} == later.blocking()
    assert record == later.probe.record()
    assert later.look().figures["changed_at"] == 1002.0


def test_another_generation_is_another_baseline(shop: Pair) -> None:
    watch = Watch(shop)
    watch.look()
    shop.source.execute("ALTER TABLE t ADD COLUMN b int")
    record = watch.probe.record()

    watch.probe.take(record, 2)

    assert (0, 0, None) == counted(watch.look())
    stored = watch.probe.record()
    assert stored is not None
    assert 2 == stored["generation"]


def test_a_record_that_cannot_be_read_asks_for_a_sweep_of_everything(shop: Pair) -> None:
    watch = Watch(shop)
    watch.probe.take({"generation": 1, "source": "?"}, 1)

    assert (0, 0, 1001.0) == counted(watch.look())


def test_a_database_without_published_tables_makes_no_baseline(pair: Pair) -> None:
    watch = Watch(pair)

    assert {"drift-baseline": ()} == watch.blocking()
    assert watch.probe.record() is None
