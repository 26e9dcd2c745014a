"""What is planted on a real pair is found by both audits, and a blind audit is told from one that sees."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from auditor.canary import Canary
from auditor.records import open_records
from auditor.settings import load
from comparators.findings import read_findings
from tests.audits import Audit
from tests.helpers import Pair, wait_for

SCHEMA = "CREATE TABLE public.t (id int PRIMARY KEY, v text)"


@contextmanager
def canary(audit: Audit) -> Iterator[None]:
    """Let a canary sing beside an audit that has none of its own."""
    settings, stop = load(audit.file), threading.Event()
    with closing(open_records(settings)) as records:
        thread = threading.Thread(target=Canary(settings, records).run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(30)


def receipt(audit: Audit) -> dict[str, Any]:
    """Wait for the first receipt."""
    wait_for(lambda: "canary/receipt" in audit.records(), 60, "the canary's receipt")
    return dict(audit.records()["canary/receipt"])


def body(pair: Pair) -> Any:
    return pair.target.value("SELECT body FROM auditor_lawful.canary WHERE id = 1")


def test_both_audits_find_the_planted_difference_and_it_heals_by_itself(pair: Pair, tmp_path: Path) -> None:
    pair.execute(SCHEMA)
    pair.replicate()
    with Audit(pair, tmp_path, sweep={"enabled": False}) as audit, canary(audit):
        said = receipt(audit)
        assert said["error"] is None
        assert said["planted_at"] <= said["at"]
        assert min(said["transaction_ms"], said["row_ms"], said["n"], said["generation"]) > 0
        wait_for(lambda: body(pair) == "whole", 20, "the row to be healed by replication")

        def planted() -> list[Any]:
            found = read_findings(audit.records())[0]
            return [(one.detector, one.kind) for one in found if one.state == "healed"]

        wait_for(lambda: planted() == [("canary", "foreign-write")], 30, "the canary's finding to heal")
        assert [] == audit.findings()
        assert [] == [part for part in audit.verdict()["conditions"] if part["status"] == "FAIL"]


def test_a_transaction_audit_that_does_not_read_is_told(pair: Pair, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("auditor.canary.FIND_SECONDS", 2.0)
    pair.execute(SCHEMA)
    pair.replicate()
    audit = Audit(pair, tmp_path, sweep={"enabled": False})
    audit.command("prepare")
    with canary(audit):
        said = receipt(audit)
    assert "the transaction audit did not find the planted difference" in said["error"]
    assert said["row_ms"] is None
    wait_for(lambda: body(pair) == "whole", 20, "the row to be healed by replication")


def test_a_whole_audit_passes_once_everything_is_swept_and_the_canary_was_found(pair: Pair, tmp_path: Path) -> None:
    pair.execute(SCHEMA)
    pair.source.execute("INSERT INTO t SELECT i, 'untouched' FROM generate_series(1, 1000) i")
    pair.replicate()
    with Audit(pair, tmp_path) as audit:
        pair.source.execute("UPDATE t SET v = 'touched' WHERE id = 1")
        audit.wait_verdict("PASS")
        said = audit.verdict()
        assert said["coverage"]["tables"] == said["coverage"]["swept"] == 1
        assert said["coverage"]["rows"] == said["coverage"]["verified"] == 1000
        assert said["coverage"]["through"] is not None
        assert [] == audit.findings()


def test_a_row_that_somebody_deleted_on_the_target_is_missed_and_comes_back(
    pair: Pair, tmp_path: Path, monkeypatch: Any
) -> None:
    for name, seconds in (("ARRIVE_SECONDS", 1.0), ("INTERVAL_SECONDS", 0.1), ("AGAIN_SECONDS", 0.1)):
        monkeypatch.setattr(f"auditor.canary.{name}", seconds)
    pair.execute(SCHEMA)
    pair.replicate()
    with Audit(pair, tmp_path, sweep={"enabled": False}) as audit:

        def error() -> Any:
            return audit.records().get("canary/receipt", {"error": "none yet"})["error"]

        with canary(audit):
            wait_for(lambda: error() is None, 60, "the first canary")
            pair.target.execute("DELETE FROM auditor_lawful.canary")
            wait_for(lambda: error() is not None, 30, "the canary to be missed")
            wait_for(lambda: error() is None, 30, "the canary to come back")
        for finding in audit.findings():
            audit.command("findings", "recheck", finding.id)
        wait_for(lambda: all(one.state == "healed" for one in audit.findings()), 40, "what was missing to be healed")
