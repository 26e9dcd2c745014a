"""The script that copies rows anew: run by psql on real servers, it heals what was found and touches nothing else."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.audits import Audit
from tests.helpers import Database, Pair

ODD_KEYS = ["it's", "'; DROP TABLE shop.plain; --", ":target", "\\! touch pwned", "a\nb", "ключ", "\\", '"', ""]
WIDE = """
CREATE TABLE shop."Odd ""Table" (
  "Key one" text COLLATE "C", k2 int, PRIMARY KEY ("Key one", k2),
  n numeric, f double precision, t timestamptz, b bytea, j jsonb, raw json, a int[], texts text[], flag boolean,
  c char(5), v varchar(9), u uuid, i interval, bits bit varying, mood shop.mood, note text,
  made text GENERATED ALWAYS AS (upper(v)) STORED)
"""
ROW = """('%s', %s, 1e-30, 'NaN', '0001-01-01 00:00:00.000001+00 BC', '\\x00ff5c27', '{"a": "\\u00e9"}', '{"a" : 1}',
  '{{1,NULL},{3,4}}', ARRAY[NULL, 'NULL', 'a"b', '\\', ''], NULL, 'ab', E'x\\ty', gen_random_uuid(),
  '1 mon -2 days 03:04:05.6', B'101', 'so so', E'secret \\\\ ''%%'' : \\n')"""


@pytest.fixture
def audit(pair: Pair, tmp_path: Path) -> Iterator[Audit]:
    """A prepared audit of two tables; the target's have a trigger that would spoil what is written."""
    pair.execute("CREATE SCHEMA shop; CREATE TYPE shop.mood AS ENUM ('so so', 'it''s fine')")
    pair.execute("CREATE TABLE shop.plain (id bigint PRIMARY KEY, total numeric, note text)")
    pair.execute(WIDE)
    pair.source.execute("INSERT INTO shop.plain SELECT i, i / 7.0, 'secret ' || i FROM generate_series(1, 2000) i")
    for number, key in enumerate(ODD_KEYS):
        row = ROW % (key.replace("'", "''"), number)
        pair.source.execute(f'INSERT INTO shop."Odd ""Table" VALUES {row}')
    pair.replicate()
    for table in ("shop.plain", 'shop."Odd ""Table"'):
        pair.target.execute(
            f"CREATE OR REPLACE FUNCTION shop.spoil() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN new.note := 'spoiled'; RETURN new; END $$; "
            f"CREATE TRIGGER spoil BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION shop.spoil()"
        )
    made = Audit(pair, tmp_path, "shop", sweep={"every_seconds": 0.1, "pause_seconds": 0})
    made.command("prepare")
    yield made
    made.stop()


def damage(audit: Audit, statement: str) -> None:
    """Change the target as if a fault had: no trigger fires."""
    audit.pair.target.execute(f"SET session_replication_role = replica; {statement}; RESET session_replication_role")


def swept(audit: Audit) -> dict[str, str]:
    """Sweep once and give the state of each finding by table and kind."""
    audit.command("sweep", "--once", "--json", expect=None)
    return {f"{one.table} {one.kind}": str(one.state) for one in audit.findings()}


def exported(audit: Audit, *arguments: str, expect: int = 0) -> Path:
    file = audit.folder / "repair.sql"
    audit.command("findings", "export", "--sql", "--output", str(file), *arguments, expect=expect)
    return file


def run(source: Database, target: Database, file: Path) -> str:
    """Run the script as its head says."""
    psql = target.server.installation.bin / "psql"
    done = subprocess.run(
        [psql, "-X", source.dsn, "-v", f"target={target.dsn}", "-f", file],
        capture_output=True, text=True, timeout=180, cwd=file.parent,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr), f"{done.stdout}\n{done.stderr}"
    return done.stdout


def contents(audit: Audit, table: str) -> list[Any]:
    rows = [side.rows(f"SELECT t::text FROM {table} t ORDER BY 1") for side in (audit.pair.source, audit.pair.target)]
    assert rows[0] == rows[1]
    return rows[0]


def test_the_script_heals_what_was_found_and_nothing_of_the_rows_is_in_it(audit: Audit) -> None:
    damage(audit, "UPDATE shop.plain SET total = total + 0.001 WHERE id IN (7, 8, 9)")
    damage(audit, "DELETE FROM shop.plain WHERE id IN (20, 21)")
    damage(audit, "INSERT INTO shop.plain VALUES (-5, 1, 'secret')")
    damage(audit, """UPDATE shop."Odd ""Table" SET note = note || 'x' WHERE k2 < 4""")
    damage(audit, """DELETE FROM shop."Odd ""Table" WHERE k2 BETWEEN 4 AND 7""")
    damage(audit, """UPDATE shop."Odd ""Table" SET "Key one" = 'only here' WHERE k2 = 8""")
    assert {"confirmed"} == set(swept(audit).values())
    file = exported(audit)
    text = file.read_text()
    assert 0o600 == file.stat().st_mode & 0o777
    assert "secret" not in text
    assert "1e-30" not in text
    out = run(audit.pair.source, audit.pair.target, file)
    assert 6 == len(re.findall(r"\d of \d repaired, 0 changed on the source, 0 on the target", out)), out
    assert 2000 == len(contents(audit, "shop.plain"))
    assert len(ODD_KEYS) == len(contents(audit, 'shop."Odd ""Table"'))
    assert {"healed"} == set(swept(audit).values())
    assert not (audit.folder / "pwned").exists()
    assert "0 rows" in exported(audit).read_text()


def test_a_row_that_changed_since_is_left_alone(audit: Audit) -> None:
    damage(audit, "UPDATE shop.plain SET total = 0 WHERE id IN (1, 2, 3)")
    damage(audit, "DELETE FROM shop.plain WHERE id IN (11, 12, 13)")
    damage(audit, "INSERT INTO shop.plain VALUES (-1, 1), (-2, 2), (-3, 3)")
    swept(audit)
    file = exported(audit)
    audit.pair.source.execute("UPDATE shop.plain SET note = 'newer' WHERE id IN (1, 11)")
    audit.pair.source.execute("INSERT INTO shop.plain VALUES (-4, 4)")
    audit.pair.catch_up()
    damage(audit, "UPDATE shop.plain SET note = 'newer on the target' WHERE id IN (2, -2)")
    damage(audit, "INSERT INTO shop.plain VALUES (12, 12, 'newer on the target')")
    out = run(audit.pair.source, audit.pair.target, file)
    assert "row-extra: 2 of 3 repaired, 0 changed on the source, 1 on the target" in out
    assert "row-different: 1 of 3 repaired, 1 changed on the source, 1 on the target" in out
    assert "row-missing: 1 of 3 repaired, 1 changed on the source, 1 on the target" in out
    there = dict(audit.pair.target.rows("SELECT id, note FROM shop.plain WHERE id < 14"))
    assert {2: "newer on the target", 12: "newer on the target", -2: "newer on the target", 3: "secret 3"} == {
        key: there[key] for key in (2, 12, -2, 3)
    }
    assert ("newer", "secret 13") == (there[1], there[13])
    assert not {11, -1, -3} & set(there)


def test_a_step_that_would_not_make_the_rows_equal_is_rolled_back(audit: Audit) -> None:
    damage(audit, "UPDATE shop.plain SET note = 'x' WHERE id = 1")
    swept(audit)
    file = exported(audit)
    audit.pair.target.execute("ALTER TABLE shop.plain ENABLE ALWAYS TRIGGER spoil")
    assert "rolled back, the rows would still differ" in run(audit.pair.source, audit.pair.target, file)
    assert "x" == audit.pair.target.value("SELECT note FROM shop.plain WHERE id = 1")


def versions(database: Database) -> Any:
    return database.value("SELECT array_agg((id, xmin::text, ctid) ORDER BY id) FROM shop.plain")


def test_swapped_servers_lose_nothing_and_a_second_run_writes_nothing(audit: Audit) -> None:
    damage(audit, "UPDATE shop.plain SET total = 0 WHERE id = 1; DELETE FROM shop.plain WHERE id = 2")
    damage(audit, "INSERT INTO shop.plain VALUES (-1, 1)")
    swept(audit)
    file, source, target = exported(audit), audit.pair.source, audit.pair.target
    before = versions(source), versions(target)
    assert 3 == run(target, source, file).count("0 of 1 repaired")
    assert before == (versions(source), versions(target))
    assert 3 == run(source, target, file).count("1 of 1 repaired")
    before = versions(source), versions(target)
    assert 3 == run(source, target, file).count("0 of 1 repaired")
    assert before == (versions(source), versions(target))


def test_what_cannot_be_in_the_script_is_said(audit: Audit) -> None:
    audit.pair.execute("CREATE TABLE shop.log (line text)")
    audit.pair.target.execute(f'ALTER SUBSCRIPTION "{audit.pair.subscription}" REFRESH PUBLICATION')
    audit.command("prepare")
    audit.pair.catch_up()
    damage(audit, "INSERT INTO shop.log VALUES ('extra'); UPDATE shop.plain SET total = -1 WHERE id <= 150")
    swept(audit)
    done = audit.command("findings", "export", "--sql", expect=3)
    assert re.search(r"NOT HERE: 1 of 1 in shop.log \(f_[0-9a-f]{16}\): their keys are not listed", done.stderr)
    assert re.search(r"NOT HERE: 50 of 150 in shop.plain \(f_[0-9a-f]{16}\): their keys", done.stderr)
    assert "-- NOT HERE: 50 of 150 in shop.plain" in done.stdout
    assert "100 rows to copy anew" in done.stderr
    only = audit.command("findings", "export", "--sql", "--table", "shop.nothing")
    assert "0 rows to copy anew" in only.stderr


def test_an_accepted_difference_is_not_copied_over(audit: Audit) -> None:
    accepted = audit.folder / "accepted.yaml"
    who = {"owner": "ann", "reason": "known", "until": "2099-01-31"}
    accepted.write_text(yaml.safe_dump({"accepted": [{"table": "shop.plain", "columns": ["note"], **who}]}))
    document = yaml.safe_load(audit.file.read_text()) | {"accepted_differences": "accepted.yaml"}
    audit.file.write_text(yaml.safe_dump(document))
    damage(audit, "UPDATE shop.plain SET note = 'other' WHERE id = 1; DELETE FROM shop.plain WHERE id = 2")
    assert {"shop.plain row-different", "shop.plain row-missing"} == set(swept(audit))
    listed = json.loads(audit.command("findings", "list", "--json").stdout)["findings"]
    assert {("row-different", "accepted"), ("row-missing", "confirmed")} == {(f["kind"], f["state"]) for f in listed}
    file = exported(audit)
    assert "row-different" not in file.read_text()
    run(audit.pair.source, audit.pair.target, file)
    assert {"shop.plain row-different": "confirmed", "shop.plain row-missing": "healed"} == swept(audit)


def test_mapped_rows_are_copied_as_the_mapping_says(audit: Audit) -> None:
    rules = {
        "rename": {"note": "remark"},
        "cast": {"total": {"source": "round(total, 2)"}},
        "filter": {"source": "id <> 5", "target": "id <> 5"},
    }
    (audit.folder / "mapping.yaml").write_text(yaml.safe_dump({"tables": {"shop.plain": rules}}))
    audit.file.write_text(yaml.safe_dump(yaml.safe_load(audit.file.read_text()) | {"mapping": "mapping.yaml"}))
    pair = audit.pair
    pair.target.execute(f'ALTER SUBSCRIPTION "{pair.subscription}" DISABLE')
    pair.target.execute("ALTER TABLE shop.plain RENAME note TO remark")
    damage(
        audit, "UPDATE shop.plain SET total = round(total, 2); UPDATE shop.plain SET remark = 'bad' WHERE id IN (5, 6)"
    )
    damage(audit, "DELETE FROM shop.plain WHERE id = 9")
    pair.target.execute("ALTER TABLE shop.plain ADD note text")
    pair.target.execute(f'ALTER SUBSCRIPTION "{pair.subscription}" ENABLE')
    pair.catch_up()
    states = swept(audit)
    assert ("confirmed", "confirmed") == (states["shop.plain row-different"], states["shop.plain row-missing"])
    run(pair.source, pair.target, exported(audit, "--table", "shop.plain"))
    rows = {key: (str(total), remark) for key, total, remark in pair.target.rows(
        "SELECT id, total, remark FROM shop.plain WHERE id IN (5, 6, 9)")}  # fmt: skip
    assert {5: ("0.71", "bad"), 6: ("0.86", "secret 6"), 9: ("1.29", "secret 9")} == rows
    states = swept(audit)
    assert ("healed", "healed") == (states["shop.plain row-different"], states["shop.plain row-missing"])
