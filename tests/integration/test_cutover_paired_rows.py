"""The last look and the canary as one part: tables are paired when they are needed, the log is followed no longer."""

from typing import Any

from auditor.cutover.rows import PairedRows
from orchestrator.adapters.canary import Canary
from tests.helpers import Pair, wait_for
from tests.last_looks import MARKER, OURS, look_at, soon


def followers(pair: Pair) -> Any:
    return pair.source.value(
        "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'auditor_follow_%%' AND database = %s",
        pair.name,
    )


def test_the_log_is_followed_from_the_warm_up_to_the_canary(pair: Pair) -> None:
    pair.execute(f"{MARKER}; CREATE TABLE t (id int PRIMARY KEY, v text)")
    pair.replicate()
    look = look_at(pair, ("public.t",))
    rows = PairedRows(lambda: look.rows, Canary(pair.target.dsn, schema=OURS, doors={}))
    assert [] == rows.check()
    assert 0 == followers(pair)
    rows.warm(soon())
    assert 1 == followers(pair)
    pair.source.execute("INSERT INTO t VALUES (1, 'v')")
    facts = rows.compare_last(look.fence(), soon())
    assert (1, 0) == (facts["written_last"], facts["different"])
    rows.write_canary([], "one", soon())
    wait_for(lambda: 0 == followers(pair), 20, "nobody to follow")
    rows.warm(soon())
    assert 0 == rows.compare_last(look.fence(), soon())["different"]
    rows.close()
    look.drain.close()
    wait_for(lambda: 0 == followers(pair), 20, "nobody to follow")
