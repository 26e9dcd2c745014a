"""Probes of the servers beside a running audit: what it does itself is never held against the migration."""

from pathlib import Path

from comparators.checks.activity import ActivityLimits
from comparators.preflight import Item, ItemStatus
from samplers.probes.activity import Activity
from samplers.probes.base import Probe
from samplers.probes.settings import Settings
from samplers.probes.slots import Slots
from samplers.probes.writers import Writers
from tests.audits import Audit
from tests.helpers import Pair, unique_name, wait_for
from tests.server_probes import asked, blocking, items, look

PATIENT = ActivityLimits(transaction_seconds=10.0, idle_warn_seconds=10.0, idle_seconds=10.0)


def test_our_own_sessions_slots_and_the_apply_workers_are_not_accused(pair: Pair, tmp_path: Path) -> None:
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
    pair.replicate()
    migration = unique_name("beside")
    question = asked(pair, migration, known_writers=("postgres",))
    probes: list[Probe] = [Settings(question), Activity(question, PATIENT), Writers(question), Slots(question)]
    with Audit(pair, tmp_path, migration.replace("_", "-")) as audit:
        pair.source.execute("INSERT INTO t SELECT i, 0 FROM generate_series(1, 1000) i")
        audit.wait_resolved(150)
        # before the reader of a slot has connected, that nobody reads it is true
        wait_for(lambda: items(look(Slots(question), pair))["slots-active"].status is ItemStatus.OK, 30, "the readers")
        accused: list[Item] = []
        for n in range(20):
            pair.source.execute("UPDATE t SET n = %s", n)
            accused += [item for probe in probes for item in blocking(look(probe, pair, now=1_000_000.0 + n))]
    assert [] == accused
