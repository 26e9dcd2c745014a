"""The row audit's process on real servers: it finds what no transaction shows, says how far it is, and survives."""

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.audits import ROOT, Audit
from tests.helpers import Pair, wait_for


@pytest.fixture
def audit(pair: Pair, tmp_path: Path) -> Iterator[Audit]:
    """A prepared audit of a shop that nobody runs yet."""
    pair.execute("CREATE SCHEMA shop")
    pair.execute("CREATE TABLE shop.orders (id bigint PRIMARY KEY, at timestamptz NOT NULL, total numeric, note text)")
    pair.execute("CREATE TABLE shop.log (line text, n int)")
    pair.execute("CREATE TABLE shop.nothing (id int PRIMARY KEY)")
    pair.source.execute(
        "INSERT INTO shop.orders SELECT i, '2026-01-01', i / 7.0, 'n' || i FROM generate_series(1, 20000) i"
    )
    pair.source.execute("INSERT INTO shop.log SELECT 'line ' || i % 100, i % 7 FROM generate_series(1, 3000) i")
    pair.replicate()
    made = Audit(pair, tmp_path, "shop")
    made.command("prepare")
    yield made
    made.stop()


def swept(audit: Audit, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """Sweep once and give what it printed."""
    return dict(json.loads(audit.command("sweep", "--once", "--json", *arguments, expect=expect).stdout))


def test_tables_that_are_alike_are_equal_row_by_row(audit: Audit) -> None:
    said = swept(audit)
    assert "equal" == said["verdict"]
    assert [] == said["findings"]
    lines = {line["table"]: line for line in said["tables"]}
    assert {"shop.orders": (20000, 20000), "shop.log": (3000, 3000), "shop.nothing": (0, 0)} == {
        name: (line["rows"], line["verified"]) for name, line in lines.items()
    }
    assert all(line["through"] and line["at"] and line["state"] == "swept" for line in lines.values())


def finding_of(said: dict[str, Any], table: str) -> dict[str, Any]:
    (found,) = [one for one in said["findings"] if one["table"] == table]
    return dict(found)


def test_a_row_that_was_changed_on_the_target_and_is_never_written_again_is_found_with_its_column(audit: Audit) -> None:
    audit.pair.target.execute("UPDATE shop.orders SET total = total + 0.000001 WHERE id = 17321")
    said = swept(audit, "--table", "shop.orders", expect=1)
    found = finding_of(said, "shop.orders")
    assert "different" == said["verdict"]
    assert ("row-different", "confirmed", "row", 1) == tuple(
        found[name] for name in ("kind", "state", "detector", "count")
    )
    assert ["total"] == found["columns"]
    assert found["key_hash"]
    assert "17321" not in json.dumps(said)
    (line,) = said["tables"]
    assert (20000, 19999, 1) == (line["rows"], line["verified"], line["different"])


def test_rows_that_one_side_lacks_and_rows_without_a_key_are_counted_exactly(audit: Audit) -> None:
    audit.pair.target.execute("DELETE FROM shop.orders WHERE id IN (5, 19000)")
    audit.pair.target.execute("INSERT INTO shop.orders VALUES (-3, now(), 1, 'x')")
    audit.pair.target.execute("INSERT INTO shop.log VALUES ('line 1', 1), ('line 1', 1)")
    said = swept(audit, expect=1)
    kinds = {(one["table"], one["kind"]): one["count"] for one in said["findings"]}
    assert {("shop.orders", "row-missing"): 2, ("shop.orders", "row-extra"): 1, ("shop.log", "row-extra"): 2} == kinds


def test_a_finding_stays_the_same_over_sweeps_and_heals_by_a_whole_sweep_without_it(audit: Audit) -> None:
    audit.pair.target.execute("UPDATE shop.orders SET note = 'z' WHERE id IN (10, 11)")
    first = finding_of(swept(audit, "--table", "shop.orders", expect=1), "shop.orders")
    audit.pair.target.execute("UPDATE shop.orders SET note = 'n11' WHERE id = 11")
    second = finding_of(swept(audit, "--table", "shop.orders", expect=1), "shop.orders")
    assert (first["id"], 2, 1) == (second["id"], first["count"], second["count"])
    assert second["keys"][0] in first["keys"]
    audit.pair.target.execute("UPDATE shop.orders SET note = 'n10' WHERE id = 10")
    assert "equal" == swept(audit, "--table", "shop.orders")["verdict"]
    (healed,) = [one for one in audit.findings() if one.id == first["id"]]
    assert "healed" == healed.state
    assert "sweep 3 read the whole table and found none" == healed.reason


def test_a_new_baseline_begins_the_coverage_anew(audit: Audit) -> None:
    swept(audit)
    before = swept(audit, "--table", "shop.orders")["tables"][0]
    assert (2, 1) == (before["sweep"], before["generation"])
    audit.command("prepare", "--new-baseline")
    after = swept(audit, "--table", "shop.orders")["tables"][0]
    assert (1, 2) == (after["sweep"], after["generation"])
    lines = json.loads(audit.command("coverage", "--json").stdout)["tables"]
    assert {"shop.orders": 2, "shop.log": 1, "shop.nothing": 1} == {one["table"]: one["generation"] for one in lines}


def test_the_tables_are_told_with_how_each_is_read(audit: Audit) -> None:
    tables = {one["table"]: one for one in json.loads(audit.command("tables", "--json").stdout)["tables"]}
    assert {"shop.orders", "shop.log", "shop.nothing"} == set(tables)
    assert ("ranges", ["id"]) == (tables["shop.orders"]["mode"], tables["shop.orders"]["key"])
    assert ("buckets", []) == (tables["shop.log"]["mode"], tables["shop.log"]["key"])
    forms = {column["name"]: column["form"] for column in tables["shop.orders"]["columns"]}
    assert ("text", "native") == (forms["total"], forms["id"])
    whys = {column["name"]: column["why"] for column in tables["shop.orders"]["columns"]}
    assert "equal numeric need not be the same text" == whys["total"]
    assert "shop.log: buckets, without a key" in audit.command("tables").stdout


def test_a_table_that_only_the_mapping_knows_is_named(audit: Audit) -> None:
    (audit.folder / "mapping.yaml").write_text("tables: {shop.ordres: {exclude: [note]}}")
    audit.file.write_text(f"{audit.file.read_text()}\nmapping: mapping.yaml\n")
    tables = {one["table"]: one for one in json.loads(audit.command("tables", "--json").stdout)["tables"]}
    assert "the mapping names it, and no publication" in str(tables["shop.ordres"])


class Process:
    """`auditor sweeper` under test."""

    def __init__(self, audit: Audit) -> None:
        self._log = (audit.folder / "sweeper.log").open("ab")
        words = [sys.executable, "-m", "auditor", "sweeper", "-c", str(audit.file)]
        self._process = subprocess.Popen(words, stdout=self._log, stderr=self._log, cwd=ROOT)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.end(signal.SIGKILL)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        code = self._process.wait(60)
        self._log.close()
        return code


def line_of(audit: Audit, table: str) -> dict[str, Any]:
    return dict(audit.records().get(f"coverage/{table}") or {})


def killed_half_way(audit: Audit, table: str) -> dict[str, Any] | None:
    """Start the process, kill it in the middle of a table, and give what it left in the ledger of that sweep."""

    def under_way() -> bool:
        now = line_of(audit, table).get("now")
        return bool(now and 0 < now["segment"] < now["segments"])

    with Process(audit):  # which kills it
        wait_for(under_way, 60, "the middle of a sweep")
    return line_of(audit, table)["now"] if under_way() else None  # it may have gone on before the signal came


def test_a_sweep_that_was_killed_goes_on_at_the_segment_after_its_last_step(audit: Audit) -> None:
    more = "SELECT i, '2026-01-01', i / 7.0, 'n' || i FROM generate_series(20001, 120000) i"
    audit.pair.source.execute(f"INSERT INTO shop.orders {more}")
    audit.pair.catch_up()
    audit.pair.target.execute("UPDATE shop.orders SET note = 'z' WHERE id IN (40, 119040)")
    configure(audit, chunk_seconds=0.001, every_seconds=0, pause_seconds=0)
    broken = wait_for(lambda: killed_half_way(audit, "shop.orders"), 120, "a sweep that was broken off")
    assert broken is not None
    killed_at = time.time()
    with Process(audit):
        line = wait_for(lambda: completed(audit, "shop.orders", broken["sweep"]), 60, "the end of that sweep")
    assert line is not None
    assert (120000, 119998, 2) == (line["rows"], line["verified"], line["different"])
    assert broken["at"] == line["at"] < killed_at
    (found,) = [one for one in audit.findings() if one.state == "confirmed"]
    assert 2 == found.count


def completed(audit: Audit, table: str, sweep: int) -> dict[str, Any] | None:
    """Freeze the ledger's line of one sweep: the next one is soon under way."""
    line = line_of(audit, table)
    return line if line.get("sweep") == sweep else None


def configure(audit: Audit, **sweep: Any) -> None:
    """Change how the audit sweeps."""
    document = yaml.safe_load(audit.file.read_text())
    audit.file.write_text(yaml.safe_dump(document | {"sweep": sweep}))


def test_a_busy_source_is_left_alone_and_a_limit_is_changed_while_the_sweeper_runs(audit: Audit) -> None:
    configure(audit, max_load={"active-sessions": 0})
    busy = audit.pair.source.connect()
    busy.pgconn.send_query(b"SELECT pg_sleep(600)")
    with Process(audit) as process:
        state = wait_for(lambda: paused(audit), 60, "the sweeper to wait")
        assert state is not None
        assert re.fullmatch(r"active-sessions is [1-9]\d*, the limit is 0", state["paused_because"])
        assert {0} == {line_of(audit, table)["sweep"] for table in ("shop.orders", "shop.log")}
        said = audit.command("sweep", "--max-load", "active-sessions=1000").stdout
        assert "the running sweeper keeps to these limits from now on\n" == said
        wait_for(lambda: line_of(audit, "shop.orders")["sweep"], 60, "the first sweep")
        assert 1000 == audit.records()["sweeper"]["limits"]["active-sessions"]
        refused = audit.command("sweep", "--once", expect=2)
        assert "is running already" in refused.stderr
        assert 0 == process.end()
        busy.close()


def paused(audit: Audit) -> dict[str, Any] | None:
    said = audit.records().get("sweeper") or {}
    return said if said.get("state") == "paused" and "sessions" in said["paused_because"] and said["tables"] else None


def test_a_side_that_is_down_leaves_the_table_unverified_and_is_waited_for(private_pair: Pair, tmp_path: Path) -> None:
    private_pair.execute("CREATE TABLE t (id int PRIMARY KEY, x int)")
    private_pair.source.execute("INSERT INTO t SELECT i, i FROM generate_series(1, 1000) i")
    private_pair.replicate()
    audit = Audit(private_pair, tmp_path)
    audit.command("prepare")
    private_pair.target.server.stop()
    assert 3 == audit.command("sweep", "--once", "--table", "public.t", expect=None).returncode
    private_pair.target.server.start()
    wait_for(lambda: "equal" == swept_or_not(audit), 120, "an equal table")


def swept_or_not(audit: Audit) -> str:
    done = audit.command("sweep", "--once", "--json", expect=None)
    return str(json.loads(done.stdout)["verdict"]) if done.stdout else done.stderr
