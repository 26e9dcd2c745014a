"""The verdict log of a real gate: it survives `kill -9`, and history and explain read it, also while it is down."""

import json
import sqlite3
import subprocess
import sys
import zlib
from contextlib import closing
from typing import Any

from auditor.records import open_records
from auditor.settings import load
from auditor.verdict_log import read_lines
from auditor.verdicts import broken, read_entry
from tests.helpers import wait_for
from tests.integration.test_gate_process import GateProcess, gate

__all__ = ["gate"]


def auditor(gate: GateProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "auditor", *words, "-c", str(gate.file)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)


def recorded(gate: GateProcess) -> list[Any]:
    return [read_entry(line) for line in read_lines(load(gate.file))[0]]


def test_history_and_explain_of_a_gate_that_is_down(gate: GateProcess) -> None:
    gate.start()
    wait_for(lambda: any(entry.kind == "verdict" for entry in recorded(gate)), 10, "a recorded verdict")
    with closing(open_records(load(gate.file))) as records:
        records.put({"override/o_1": {"condition": "lag-ms", "owner": "ann", "reason": "x", "at": 1, "until": 2}})
    wait_for(lambda: any(entry.kind == "override" for entry in recorded(gate)), 10, "the override")
    assert gate.end(15) == 0

    done = auditor(gate, "gate", "history", "--json")
    assert done.returncode == 0, done.stderr
    listed = json.loads(done.stdout)
    assert [] == listed["broken"]
    assert {"started", "verdict", "override"} == {entry["kind"] for entry in listed["entries"]}
    seqs = [entry["seq"] for entry in listed["entries"]]
    assert sorted(seqs, reverse=True) == seqs
    newest = next(entry for entry in listed["entries"] if entry["kind"] == "verdict")
    assert "INCONCLUSIVE" in auditor(gate, "gate", "history", "--limit", "50", "--since", "1h").stdout

    for wanted in (newest["id"], newest["id"][:12], str(newest["seq"])):
        explained = json.loads(auditor(gate, "gate", "explain", wanted, "--json").stdout)
        assert newest["id"] == explained["document"]["id"]
        assert explained["document"]["conditions"]
    text = auditor(gate, "gate", "explain", newest["id"]).stdout
    assert "core-alive" in text
    unknown = auditor(gate, "gate", "explain", "v_ffffffffffffffff")
    assert (3, "") == (unknown.returncode, unknown.stdout)
    assert "hint: auditor gate history" in unknown.stderr


def test_an_absent_log_is_empty_and_stays_absent(gate: GateProcess) -> None:
    done = auditor(gate, "gate", "history", "--json")
    assert (0, {"entries": [], "broken": []}) == (done.returncode, json.loads(done.stdout))
    assert auditor(gate, "gate", "explain", "1").returncode == 3
    assert not (gate.file.parent / "state").exists()


def test_killed_in_the_middle_of_appends_the_chain_goes_on_whole(gate: GateProcess) -> None:
    """Records that change the picture at once keep the gate appending; each kill comes while it does."""
    with closing(open_records(load(gate.file))) as records:
        for kill in range(3):
            gate.start()
            wanted = len(recorded(gate)) + 5

            def fed(kill: int = kill, wanted: int = wanted) -> bool:
                count = len(recorded(gate))
                records.put({"override/o_1": {"condition": f"{kill}-{count}", "owner": "ann"}})
                return count >= wanted

            wait_for(fed, 30, "some appends")
            assert gate.end(9) == -9
    lines, anchor = read_lines(load(gate.file))
    assert [] == broken(lines, anchor)
    starts = [read_entry(line).body for line in lines if read_entry(line).kind == "started"]
    assert 3 == len({body["incarnation"] for body in starts})
    assert [[], [], []] == [body["damaged"] for body in starts]


def test_a_changed_record_is_named_by_history(gate: GateProcess) -> None:
    gate.start()
    wait_for(lambda: len(recorded(gate)) >= 2, 10, "two entries")
    assert gate.end(15) == 0
    with closing(sqlite3.connect(gate.file.parent / "state" / "verdicts.sqlite", isolation_level=None)) as other:
        (packed,) = other.execute("SELECT entry FROM entries WHERE position = 2").fetchone()
        changed = zlib.decompress(packed).replace(b"INCONCLUSIVE", b"INCONCLUSIVe", 1)
        other.execute("UPDATE entries SET entry = ? WHERE position = 2", (zlib.compress(changed),))
    done = auditor(gate, "gate", "history")
    assert done.returncode == 1
    assert "the chain does not hold at entry 2" in done.stderr
