"""The shop on real servers: PostgreSQL's own replication carries all of it, and nothing differs afterwards."""

import psycopg
import pytest

from auditor.demo import schema
from auditor.demo.schema import TABLES
from auditor.demo.workload import Workload
from tests.helpers import Pair, wait_for

PRINTED = "-c datestyle=ISO -c timezone=UTC -c bytea_output=hex -c extra_float_digits=3 -c search_path=public"


def rows_of(dsn: str, table: str) -> list[str]:
    """Read a table as sorted texts, columns by name."""
    with psycopg.connect(dsn, options=PRINTED) as session:
        names = session.execute(
            "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attname) FROM pg_attribute"
            " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            (table,),
        ).fetchone()
        assert names is not None
        return sorted(row[0] for row in session.execute(f"SELECT row({names[0]})::text FROM {table}"))


@pytest.mark.parametrize("via_root", [True, False], ids=["via root", "by partition"])
def test_the_shop_under_load_arrives_whole(pair: Pair, via_root: bool):
    source, target = pair.source.dsn, pair.target.dsn
    schema.create(source, target, via_root=via_root)
    workload = Workload(source, rate=300)
    workload.start()
    wait_for(lambda: workload.committed > 600, 60, "600 transactions")
    workload.stop()
    assert workload.problems == []
    pair.catch_up(schema.SUBSCRIPTION)
    for table in TABLES:
        assert rows_of(source, table) == rows_of(target, table), table
    assert rows_of(source, "visits")


def test_a_workload_that_never_began_can_be_stopped(pair: Pair):
    Workload(pair.source.dsn).stop()
