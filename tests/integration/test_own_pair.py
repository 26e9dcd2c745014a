"""On two servers of one's own: prepare, run, a verdict, damage found, and nothing of ours left afterwards."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.audits import PROBES, Audit
from tests.helpers import Pair, wait_for
from tests.traffic import BURST, Traffic, patients

BUSY_MACHINE = {
    "lag-ms": 30_000, "in-window-share": 0.0, "lag-bytes": 1 << 30, "marker-ms": 30_000, "apply-headroom": 0,
}  # fmt: skip
"""What other tests on the same processors spoil; all that is about differences and completeness is the default."""
OURS = (
    "SELECT 'slot', slot_name::text FROM pg_replication_slots WHERE database = current_database()"
    " UNION SELECT 'publication', pubname FROM pg_publication"
    " UNION SELECT 'published', pubname || '.' || schemaname || '.' || tablename FROM pg_publication_tables"
    " UNION SELECT 'schema', nspname FROM pg_namespace WHERE nspname NOT LIKE 'pg\\_%'"
    " UNION SELECT 'relation', oid::regclass::text FROM pg_class WHERE relnamespace NOT IN"
    " (SELECT oid FROM pg_namespace WHERE nspname LIKE 'pg\\_%')"
    " UNION SELECT 'subscribed', srsubid::text || '.' || srrelid::regclass::text || '.' || srsubstate::text"
    " FROM pg_subscription_rel"
    " UNION SELECT 'setting', setdatabase::text || setconfig::text FROM pg_db_role_setting"
    " UNION SELECT 'origin', roname FROM pg_replication_origin"
    " UNION SELECT 'role', rolname FROM pg_roles ORDER BY 1, 2"
)


def smallest(pair: Pair, folder: Path, **more: Any) -> Audit:
    """Write the configuration of five lines, and where its files and its gate are on this machine."""
    audit = Audit(pair, folder, "clinic")
    gate = yaml.safe_load(audit.file.read_text())["gate"]["listen"]
    document = {
        "migration": "clinic",
        "source": {"dsn": pair.source.dsn},
        "target": {"dsn": pair.target.dsn},
        "replication": {"mode": "native", "publication": pair.publication, "subscription": pair.subscription},
        "state_dir": str(audit.state),
        "gate": {"listen": gate, "limits": BUSY_MACHINE},
        "probes": dict(PROBES),
    }
    audit.file.write_text(yaml.safe_dump(document | more))
    return audit


def objects(pair: Pair) -> list[Any]:
    return [database.rows(OURS) for database in (pair.source, pair.target)]


def found(audit: Audit, kind: str, table: str) -> dict[str, Any]:
    """Wait until a difference is confirmed, as `auditor findings list --json` shows it."""

    def confirmed() -> dict[str, Any] | None:
        listed = json.loads(audit.command("findings", "list", "--json").stdout)["findings"]
        return next((f for f in listed if (f["state"], f["kind"], f["table"]) == ("confirmed", kind, table)), None)

    finding = wait_for(confirmed, 30, f"{kind} in {table}")
    assert finding is not None
    return finding


@pytest.mark.parametrize("more", [{"sampling": {"rate": 1.0}}, {}], ids=["everything", "one percent"])
def test_a_pair_of_ones_own_is_proved_and_left_as_it_was(pair: Pair, tmp_path: Path, more: dict[str, Any]) -> None:
    patients(pair)
    pair.replicate()
    before = objects(pair)
    audit = smallest(pair, tmp_path, **more)
    with audit, Traffic(pair) as traffic:
        if not more:  # one in a hundred of these is sampled; 300 are needed
            pair.source.execute(BURST.format(count=40_000))
        audit.command("gate", "check", "--wait", "--timeout", "400", "--json")
        pair.target.execute("UPDATE clinic.visit SET cost = cost + 0.001 WHERE id = (SELECT min(id) FROM clinic.visit)")
        audit.wait_verdict("FAIL", 20)
        audit.command("gate", "check", expect=1)
        finding = found(audit, "foreign-write", "clinic.visit")
        assert 1 == finding["count"]
        assert ["cost"] == finding["columns"]
        assert "/" in finding["target_position"]
        assert finding["source_position"] is None
        traffic.more(50)
    audit.command("teardown")
    assert before == objects(pair)
    with Traffic(pair) as traffic:
        traffic.more(50)
    pair.catch_up()
    for table in ("visit", "patient", "reading", '"Note"'):
        counts = {side.value(f"SELECT count(*) FROM clinic.{table}") for side in (pair.source, pair.target)}
        assert 1 == len(counts), table


def test_a_change_that_apply_spoils_names_both_positions(pair: Pair, tmp_path: Path) -> None:
    patients(pair)
    pair.replicate()
    pair.target.execute(
        "CREATE FUNCTION spoil() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.cost = 123.456 THEN NEW.cost := 123.457; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER spoil BEFORE INSERT ON clinic.visit FOR EACH ROW EXECUTE FUNCTION spoil();"
        "ALTER TABLE clinic.visit ENABLE ALWAYS TRIGGER spoil"
    )
    with smallest(pair, tmp_path, sampling={"rate": 1.0}) as audit, Traffic(pair):
        # a trigger that fires in apply, and only there, is on the checklist: the gate stays closed beforehand
        wait_for(lambda: ["preflight-shape", "dwell"] == unmet(audit), 120, "only the trigger to be missed")
        pair.source.execute("INSERT INTO clinic.visit (patient, cost) VALUES ('p1', 123.456)")
        finding = found(audit, "row-different", "clinic.visit")
        assert (1, ["cost"]) == (finding["count"], finding["columns"])
        assert "/" in finding["source_position"]
        assert "/" in finding["target_position"]
        audit.wait_verdict("FAIL", 20)


def two_subscriptions(pair: Pair) -> tuple[str, str]:
    """Publish patients and visits by one subscription, readings and notes by another; give the second's names."""
    patients(pair)
    second = f"{pair.name}_pub2", f"{pair.name}_sub2"
    pair.replicate("TABLE clinic.patient, clinic.visit")
    pair.replicate('TABLE clinic.reading, clinic."Note"', publication=second[0], subscription=second[1])
    return second


def test_two_subscriptions_of_one_migration_are_both_audited(pair: Pair, tmp_path: Path) -> None:
    publication, subscription = two_subscriptions(pair)
    replication = {
        "mode": "native", "publication": [pair.publication, publication],
        "subscription": [pair.subscription, subscription],
    }  # fmt: skip
    before = objects(pair)
    audit = smallest(pair, tmp_path, sampling={"rate": 1.0}, replication=replication)
    with audit, Traffic(pair) as traffic:
        audit.command("gate", "check", "--wait", "--timeout", "400")
        traffic.more(200)
        audit.wait_resolved()
        assert [] == audit.findings()
        tables = {
            name
            for number in range(2)
            for name in audit.records()[f"progress/{number}"]["tallies"]["tables"]
        }  # fmt: skip
        assert {"clinic.patient", "clinic.visit", "clinic.reading", "clinic.Note"} <= tables
        pair.target.execute("DELETE FROM clinic.reading WHERE taken = (SELECT min(taken) FROM clinic.reading)")
        assert 1 == found(audit, "foreign-write", "clinic.reading")["count"]
        audit.wait_verdict("FAIL", 20)
    audit.command("teardown")
    assert before == objects(pair)


def test_tables_added_later_are_audited_after_refresh_and_prepare(pair: Pair, tmp_path: Path) -> None:
    patients(pair)
    pair.replicate("TABLE clinic.patient, clinic.visit")
    with smallest(pair, tmp_path, sampling={"rate": 1.0}) as audit, Traffic(pair) as traffic:
        missed = ["scope-complete", "base-scan", "coverage-age", "unverified-rows", "dwell"]
        wait_for(
            lambda: missed == [name for name in unmet(audit) if not name.startswith("preflight-")], 120,
            "only the tables not published to be missed",
        )  # fmt: skip
        audit.command("gate", "check", expect=4)
        pair.source.execute(f'ALTER PUBLICATION "{pair.publication}" ADD TABLE clinic.reading, clinic."Note"')
        pair.target.execute(f'ALTER SUBSCRIPTION "{pair.subscription}" REFRESH PUBLICATION')
        wait_for(pair.ready, 60, "the copy of the added tables")
        audit.command("prepare")
        audit.wait_verdict("PASS")

        def proved() -> bool:
            traffic.more(10)
            records = audit.records()
            return any("clinic.reading" in records[f"progress/{n}"]["tallies"]["tables"] for n in range(2))

        wait_for(proved, 30, "changes of the added table to be proved")
        audit.wait_resolved()
        assert [] == audit.findings()
        pair.target.execute("UPDATE clinic.reading SET value = 0 WHERE taken = (SELECT max(taken) FROM clinic.reading)")
        found(audit, "foreign-write", "clinic.reading")
        audit.wait_verdict("FAIL", 20)


def unmet(audit: Audit) -> list[str]:
    """Name the conditions that do not hold."""
    return [part["name"] for part in audit.verdict().get("conditions", ()) if part["status"] != "PASS"]
