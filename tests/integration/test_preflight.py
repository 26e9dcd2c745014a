"""`auditor preflight` on a real pair: in order, with a planted blocker, before and after prepare, and unreachable."""

import json
from pathlib import Path

from comparators.checklist import GROUPS
from tests.audits import Audit
from tests.helpers import Pair
from tests.traffic import BURST, patients


def test_a_pair_in_order_a_planted_blocker_and_what_to_do(pair: Pair, tmp_path: Path) -> None:
    patients(pair)
    pair.replicate()
    audit = Audit(pair, tmp_path)
    said = audit.command("preflight").stdout
    assert "lawful: ok: " in said
    assert "\033" not in said
    audit.command("prepare")
    document = json.loads(audit.command("preflight", "--json").stdout)
    assert (document["migration"], document["verdict"]) == ("lawful", "ok")
    assert [group["name"] for group in document["groups"]] == list(GROUPS)
    for group in document["groups"]:
        assert group["error"] is None
        assert [item["name"] for item in group["items"]] == [check.name for check in GROUPS[group["name"]].checks]
    pair.source.execute("ALTER TABLE clinic.visit ADD COLUMN extra int")
    said = audit.command("preflight", expect=1).stdout
    todo = said.split("lawful: blocked: ")[1]
    assert "columns-present" in todo
    assert "clinic.visit.extra" in todo
    assert "do: " in todo
    assert "columns-present" in audit.command("preflight", "--group", "shape", expect=1).stdout
    assert "settings-wal-level" not in audit.command("preflight", "--group", "shape", expect=1).stdout
    audit.command("preflight", "--group", "slots")


def test_a_side_that_cannot_be_reached_is_not_known(pair: Pair, tmp_path: Path) -> None:
    audit = Audit(pair, tmp_path, target={"dsn": "host=127.0.0.1 port=1 dbname=x user=x"})
    document = json.loads(audit.command("preflight", "--json", expect=3).stdout)
    assert document["verdict"] == "unknown"
    assert all(group["error"] for group in document["groups"])
    audit.command("preflight", "--group", "nothing", expect=2)


def test_apply_is_held_up_only_when_told_so_and_its_drain_is_timed(pair: Pair, tmp_path: Path) -> None:
    patients(pair)
    pair.replicate()
    audit = Audit(pair, tmp_path)
    audit.command("prepare")
    assert "--yes" in audit.command("preflight", "--drain-test", "1", expect=2).stderr
    pair.source.execute(BURST.format(count=100))
    done = audit.command("preflight", "--group", "lag", "--drain-test", "1", "--yes", "--json")
    assert json.loads(done.stdout)["drain"]["paused_seconds"] >= 1
