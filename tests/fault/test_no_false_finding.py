"""Heavy mixed load, processes killed at random: nothing is lost, nothing counted twice, nothing accused."""

import os
import random
import signal
import time

import pytest

from auditor.demo.database import one, session
from auditor.demo.faults import OUTAGE_LIMITS
from auditor.demo.schema import PUBLICATION
from auditor.demo.world import Plan
from tests.fault.shows import Stand, stand

pytestmark = pytest.mark.alone

LOAD_SECONDS = float(os.environ.get("AUDITOR_TEST_LOAD_SECONDS", "45"))
"""Minutes of it are a matter of the environment; the promise is the same."""
KILL_EVERY_SECONDS = (3.0, 8.0)
NAMES = ("sampler-source", "sampler-target", "core", "gate", "sweeper", "prober")
SWEEP = {"pause_seconds": 0, "every_seconds": 5}
"""The row audit reads what the load is writing as often as it can."""
UNREAD = {
    "condition": "preflight-slots", "item": "slots-consumers", "owner": "this test", "until": "2100-01-01",
    "reason": "the witness is peeked at, and read by nobody",
}  # fmt: skip
COUNT = """
    WITH seen AS (
        SELECT xid, chr(get_byte(data, 0)) AS kind, substring(data FROM 2 FOR 4) AS relid
          FROM pg_logical_slot_peek_binary_changes(
               'witness', NULL, NULL, 'proto_version', '1', 'publication_names', %s))
    SELECT count(DISTINCT xid::text) FROM seen
     WHERE kind = 'T' OR kind IN ('I', 'U', 'D') AND relid <> ALL (
           SELECT int4send(c.oid::int) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname LIKE 'auditor%%')"""
"""Transactions of the shop that a slot of our own has seen; the auditor's markers are not among them."""


@pytest.mark.parametrize("kill", [False, True], ids=["undisturbed", "killed at random"])
def test_load_is_counted_exactly_and_accuses_nobody(kill: bool):
    gate = {"limits": OUTAGE_LIMITS, "overrides": [UNREAD]}
    probes = {"known_slots": {"witness": {"owner": "this test"}}}
    with stand(Plan(config={"gate": gate, "sweep": SWEEP, "probes": probes}), load=False) as opened:
        with session(opened.world.stage.source) as source:
            one(source, "SELECT pg_create_logical_replication_slot('witness', 'pgoutput')")
        opened.world.workload.start()
        disturb(opened, kill)
        opened.wait_verdict("PASS", 90)
        opened.world.workload.stop()
        opened.wait_swept(time.time())
        sampled, matched = opened.drained()
        with session(opened.world.stage.source) as source:
            assert sampled == one(source, COUNT, PUBLICATION)
        assert matched == sampled
        assert [finding["sentence"] for finding in opened.watch.picture.findings] == []
        assert opened.world.workload.problems == []


def disturb(opened: Stand, kill: bool) -> None:
    """Let the load run, and kill a process now and then."""
    drawn, over = random.Random(7), time.monotonic() + LOAD_SECONDS
    while time.monotonic() < over:
        time.sleep(drawn.uniform(*KILL_EVERY_SECONDS))
        pid = opened.world.pid_of(drawn.choice(NAMES))
        if kill and pid is not None:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # the one before has not been replaced yet
