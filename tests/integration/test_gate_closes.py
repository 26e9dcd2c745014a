"""One audit that runs, and one trouble after the other on real servers.

Each closes the gate under its own name and with its own words; the gate opens again only after the cause has gone and
fresh proof is there.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import yaml

from auditor.servers import PostgresServer
from tests.audits import LIMITS, Audit
from tests.conftest import SETTINGS
from tests.helpers import Pair, wait_for
from tests.traffic import Traffic, patients

CLOSES_SECONDS = 60
OPENS_SECONDS = 180
EXTENSION = "vector"
STALLED = "SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{slot}'"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """A pair of its own: some of these troubles are the whole server's."""
    with PostgresServer(16, SETTINGS, "source") as source, PostgresServer(18, SETTINGS, "target") as target:
        databases = Pair(source, target)
        databases.__enter__()
        patients(databases)
        databases.execute(
            "CREATE SEQUENCE clinic.ticket MAXVALUE 1000;"
            "CREATE INDEX visit_at ON clinic.visit (at);"
            "CREATE FUNCTION clinic.noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
            "CREATE TRIGGER noted AFTER INSERT ON clinic.visit FOR EACH ROW EXECUTE FUNCTION clinic.noted()"
        )
        databases.replicate()
        yield databases
        databases.close()


@pytest.fixture(scope="module")
def audit(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audit]:
    """Run the audit while somebody writes."""
    audit = Audit(
        pair, tmp_path_factory.mktemp("gate"), sweep={"pause_seconds": 0.05, "every_seconds": 3},
        probes={"interval_seconds": 0.5, "known_slots": {"cdc": {"owner": "cdc team"}}},
    )  # fmt: skip
    document = yaml.safe_load(audit.file.read_text())
    document["gate"]["limits"] = LIMITS | {"apply-stall": 4}
    audit.file.write_text(yaml.safe_dump(document))
    with audit, Traffic(pair, per_second=20):
        audit.wait_verdict("PASS", OPENS_SECONDS)
        yield audit


def wait_closed(audit: Audit, name: str, *words: str) -> dict[str, Any]:
    """Wait until a condition does not hold, and its reason has the words; the verdict is INCONCLUSIVE then."""
    seen: list[Any] = [None]

    def closed() -> bool:
        seen[0] = verdict = audit.verdict()
        parts = {part["name"]: part for part in verdict.get("conditions", ())}
        part = parts.get(name, {"status": "PASS", "reason": ""})
        return part["status"] == "INCONCLUSIVE" and all(word in part["reason"] for word in words)

    try:
        wait_for(closed, CLOSES_SECONDS, f"{name} to close the gate with {words}")
    except AssertionError as error:
        raise AssertionError(f"{error}; last: {seen[0].get('reasons')}") from None
    assert seen[0]["verdict"] == "INCONCLUSIVE"
    return dict(seen[0])


@contextmanager
def opening(audit: Audit) -> Iterator[None]:
    """Undo the block's trouble, and see the gate open again."""
    audit.wait_verdict("PASS", OPENS_SECONDS)
    yield
    audit.wait_verdict("PASS", OPENS_SECONDS)


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def changed(execute: Callable[[str], Any], do: str, undo: str) -> Iterator[None]:
    execute(do)
    try:
        yield
    finally:
        execute(undo)


def test_a_stalled_walsender(pair: Pair, audit: Audit) -> None:
    with opening(audit), stopped(int(pair.source.value(STALLED.format(slot=pair.subscription)))):
        wait_closed(audit, "apply-stall", "no progress for", pair.subscription)


def test_an_unknown_slot(pair: Pair, audit: Audit) -> None:
    made = "SELECT pg_create_logical_replication_slot('stranger', 'pgoutput')"
    with opening(audit), changed(pair.source.execute, made, "SELECT pg_drop_replication_slot('stranger')"):
        wait_closed(audit, "preflight-slots", "slots-known", "stranger")


def test_a_foreign_slot_that_nobody_reads(pair: Pair, audit: Audit) -> None:
    made = "SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')"
    with opening(audit), changed(pair.source.execute, made, "SELECT pg_drop_replication_slot('cdc')"):
        wait_closed(audit, "preflight-slots", "slots-consumers", "cdc")


def test_an_invalid_index(pair: Pair, audit: Audit) -> None:
    spoilt = "UPDATE pg_index SET indisvalid = {} WHERE indexrelid = 'clinic.visit_at'::regclass"
    with opening(audit), changed(pair.target.execute, spoilt.format("false"), spoilt.format("true")):
        wait_closed(audit, "preflight-shape", "indexes-valid", "visit_at")


def test_a_missing_extension(pair: Pair, audit: Audit) -> None:
    made, gone = f"CREATE EXTENSION {EXTENSION}", f"DROP EXTENSION {EXTENSION}"
    with opening(audit), changed(pair.source.execute, made, gone):
        wait_closed(audit, "preflight-identity", "extensions-present", EXTENSION)


def test_a_collation_of_another_version(pair: Pair, audit: Audit) -> None:
    was = pair.target.value(f"SELECT datcollversion FROM pg_database WHERE datname = '{pair.name}'")
    spoilt = f"UPDATE pg_database SET datcollversion = {{}} WHERE datname = '{pair.name}'"
    other, back = spoilt.format("'2.17'"), spoilt.format(f"'{was}'" if was else "NULL")
    with opening(audit), changed(pair.target.execute, other, back):
        wait_closed(audit, "preflight-identity", "collation-versions")


def test_a_change_of_the_schema_on_one_side(pair: Pair, audit: Audit) -> None:
    cost = "ALTER TABLE clinic.visit ALTER COLUMN cost {} DEFAULT"
    with opening(audit):
        with changed(pair.source.execute, cost.format("SET") + " 1", cost.format("DROP")):
            wait_closed(audit, "ddl-drift", "drift-sides-differ", "clinic.visit")
        wait_closed(audit, "ddl-drift", "not every table was swept since")


def test_a_change_of_the_schema_on_both_sides_waits_for_a_sweep_of_every_table(pair: Pair, audit: Audit) -> None:
    with opening(audit):
        pair.execute("ALTER TABLE clinic.visit ALTER COLUMN cost SET DEFAULT 2")
        wait_closed(audit, "ddl-drift", "not every table was swept since")


def test_a_sequence_without_headroom(pair: Pair, audit: Audit) -> None:
    drawn, back = "SELECT setval('clinic.ticket', 990)", "SELECT setval('clinic.ticket', 1)"
    with opening(audit), changed(pair.source.execute, drawn, back):
        wait_closed(audit, "preflight-sequences", "sequences-headroom", "clinic.ticket")


def test_a_disabled_trigger(pair: Pair, audit: Audit) -> None:
    noted = "ALTER TABLE clinic.visit {} TRIGGER noted"
    with opening(audit), changed(pair.target.execute, noted.format("DISABLE"), noted.format("ENABLE")):
        wait_closed(audit, "preflight-shape", "triggers-alike", "noted")


def test_a_prepared_transaction(pair: Pair, audit: Audit) -> None:
    with opening(audit), psycopg.connect(pair.source.dsn, autocommit=True) as session:
        session.execute("BEGIN")
        session.execute("SELECT txid_current()")
        session.execute("PREPARE TRANSACTION 'left behind'")
        wait_closed(audit, "preflight-activity", "activity-prepared", "left behind")
        session.execute("ROLLBACK PREPARED 'left behind'")


def test_apply_that_fails_again_and_again(pair: Pair, audit: Audit) -> None:
    never = "ALTER TABLE clinic.visit ADD CONSTRAINT never CHECK (cost <> 666.6) NOT VALID"
    with opening(audit), changed(pair.target.execute, never, "ALTER TABLE clinic.visit DROP CONSTRAINT never"):
        pair.source.execute("INSERT INTO clinic.visit (patient, cost) VALUES ('p1', 666.6)")
        wait_closed(audit, "preflight-replication", "apply-errors", pair.subscription)


@pytest.mark.parametrize(
    ("process", "condition"),
    [("sampler-source", "samplers-alive"), ("sweeper", "base-scan"), ("prober", "prober-alive")],
)
def test_a_process_that_stands_still(audit: Audit, process: str, condition: str) -> None:
    with opening(audit), stopped(audit.pid_of(process)):
        wait_closed(audit, condition)


def test_a_gate_that_stands_still_is_not_believed(audit: Audit) -> None:
    with opening(audit), stopped(audit.pid_of("gate")):
        assert audit.command("gate", "check", "--json", expect=3).returncode == 3


def test_a_disk_budget_that_is_used_up(pair: Pair, audit: Audit) -> None:
    """Comes last: it takes another configuration, so the audit starts again."""
    document = yaml.safe_load(audit.file.read_text())
    for disk, closed in (({"target": "1MiB"}, True), ({"target": "1TiB"}, False)):
        document["probes"]["disk"] = disk
        audit.stop()
        audit.file.write_text(yaml.safe_dump(document))
        audit.start()
        if closed:
            wait_closed(audit, "preflight-capacity", "disk-target")
    audit.wait_verdict("PASS", OPENS_SECONDS)


def test_nothing_of_it_was_taken_for_a_difference(audit: Audit) -> None:
    assert [] == [finding for finding in audit.findings() if finding.detector != "canary"]
