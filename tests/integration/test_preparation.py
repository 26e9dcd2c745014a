"""`auditor prepare` and `teardown` on real servers: objects and records go together, whatever interrupts them."""

import json
from contextlib import closing

import pytest
import yaml

from auditor import preparation
from auditor.cli import main
from auditor.records import open_records
from auditor.settings import load
from auditor.status import read_records
from tests.helpers import Pair, wait_for

SLOTS = "SELECT slot_name FROM pg_replication_slots WHERE database = current_database() AND slot_name LIKE 'auditor%'"


@pytest.fixture
def config(pair: Pair, tmp_path):
    pair.execute("CREATE TABLE items (id int PRIMARY KEY, body text)")
    pair.replicate("TABLE items")
    document = {
        "migration": pair.name.replace("_", "-"),
        "source": {"dsn": pair.source.dsn},
        "target": {"dsn": pair.target.dsn},
        "replication": {"publication": pair.publication, "subscription": pair.subscription},
        "gate": {"listen": "127.0.0.1:1"},
    }
    file = tmp_path / "auditor.yaml"
    file.write_text(yaml.safe_dump(document))
    yield file
    main(["teardown", "-c", str(file)])


def prepare(config, capsys, *options, command="prepare"):
    capsys.readouterr()
    code = main([command, "-c", str(config), "--json", *options])
    return code, json.loads(capsys.readouterr().out)


def baseline(config):
    return read_records(load(config)).get("baseline")


def gaps(config):
    return {key: value for key, value in read_records(load(config)).items() if key.startswith("gap/")}


def test_a_dry_run_says_everything_and_changes_nothing(config, capsys, pair):
    code, document = prepare(config, capsys, "--dry-run")
    assert code == 0
    assert not document["done"]
    assert document["statements"]["source"]
    assert document["statements"]["target"]
    assert not load(config).state_dir.exists()
    assert not pair.source.rows(SLOTS)
    assert not pair.target.rows(SLOTS)


def test_preparing_again_goes_on_where_it_was(config, capsys, pair):
    code, document = prepare(config, capsys)
    assert code == 0
    assert document["done"]
    first = baseline(config)
    assert first["generation"] == 1
    assert first["floor"] > 0
    code, document = prepare(config, capsys)
    assert (code, document["created"]) == (0, [])
    assert baseline(config) == first
    assert gaps(config) == {}


def test_a_new_baseline_records_what_nobody_audited(config, capsys):
    prepare(config, capsys)
    first = baseline(config)
    code, _ = prepare(config, capsys, "--new-baseline")
    assert code == 0
    second = baseline(config)
    assert second["generation"] == 2
    (gap,) = gaps(config).values()
    assert (gap["from"], gap["to"], gap["open"]) == (first["floor"], second["floor"], True)


def test_a_lost_slot_means_a_new_baseline(config, capsys, pair):
    prepare(config, capsys)
    (name,) = pair.source.rows(SLOTS)[0]
    pair.source.execute("SELECT pg_drop_replication_slot(%s)", name)
    prepare(config, capsys)
    assert baseline(config)["generation"] == 2
    assert len(gaps(config)) == 1


def test_a_run_that_died_after_its_slots_does_not_pass_the_old_floor_off_as_theirs(config, capsys, monkeypatch, pair):
    prepare(config, capsys)
    with monkeypatch.context() as patched:

        def dying(request, *, dry_run=False, observer=None):
            report = real(request, dry_run=dry_run, observer=observer)
            if not dry_run:
                raise KeyboardInterrupt
            return report

        real = preparation.prepare
        patched.setattr(preparation, "prepare", dying)
        assert main(["prepare", "-c", str(config), "--new-baseline"]) == 3
    assert "renewing" in baseline(config)
    prepare(config, capsys)
    second = baseline(config)
    assert "renewing" not in second
    assert second["generation"] == 2
    assert len(gaps(config)) == 1


def test_teardown_leaves_nothing_of_ours_and_a_new_audit_begins_without_a_gap(config, capsys, pair):
    prepare(config, capsys)
    code, document = prepare(config, capsys, "--dry-run", command="teardown")
    assert code == 0
    assert pair.source.rows(SLOTS)
    code, document = prepare(config, capsys, command="teardown")
    assert (code, document["needs_person"]) == (0, [])
    for side in (pair.source, pair.target):
        assert not side.rows(SLOTS)
        assert not side.rows("SELECT FROM pg_namespace WHERE nspname LIKE 'auditor%'")
        assert not side.rows("SELECT FROM pg_publication WHERE pubname LIKE 'auditor%'")
    wait_for(pair.ready, 30, "replication to go on")
    assert prepare(config, capsys, command="teardown")[0] == 0
    prepare(config, capsys)
    again = baseline(config)
    assert again["generation"] == 2
    assert "ended" not in again
    assert gaps(config) == {}


def test_an_open_gap_ends_where_the_new_audit_begins_and_stays_open(config, capsys):
    prepare(config, capsys)
    noted = {"from": 7, "to": None, "reason": "x", "at": 1.0, "side": "source", "open": True}
    with closing(open_records(load(config))) as records:
        records.put({"gap/slot-source-1": noted})
    prepare(config, capsys, "--new-baseline")
    assert gaps(config) == {"gap/slot-source-1": noted | {"to": baseline(config)["floor"]}}
