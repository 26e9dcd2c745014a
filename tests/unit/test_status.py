"""The status is read from the records, and never says more than they do."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from auditor.settings import EvidenceSettings, ExportSettings, ReplicationSettings, Settings, SideSettings
from auditor.status import read_records, screen, status_of
from comparators.findings import time_text
from tests.helpers_records import good_records

NOW = 1_800_000_000.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings("orders", SideSettings("host=a"), SideSettings("host=b"), ReplicationSettings(), tmp_path / "state")


def verdict(**changes):
    return {"verdict": "PASS", "valid_until": time_text(NOW + 15), "reasons": [], "next_steps": []} | changes


def test_nothing_stored_is_read_as_nothing_and_nothing_is_created(settings):
    assert read_records(settings) == {}
    assert not settings.state_dir.exists()
    status = status_of(settings, {}, NOW)
    assert status["verdict"] == "INCONCLUSIVE"
    assert status["next_steps"] == ["auditor prepare", "auditor run"]
    assert {process["alive"] for process in status["processes"]} == {False}
    assert "not known" in screen(status)


def test_a_migration_in_good_health_is_one_screen(settings):
    records = good_records(NOW) | {"verdict": verdict(), "process/gate": {"heartbeat": NOW}}
    status = status_of(settings, records, NOW)
    assert status["verdict"] == "PASS"
    assert {process["alive"] for process in status["processes"]} == {True}
    assert re.fullmatch("[0-9A-F]+/[0-9A-F]+", status["positions"]["audited_through"])
    assert status["next_steps"] == ["auditor gate check"]
    assert len(screen(status).splitlines()) <= 24


def test_a_verdict_that_is_no_longer_valid_counts_for_nothing(settings):
    old = good_records(NOW) | {"verdict": verdict(valid_until=time_text(NOW - 1))}
    status = status_of(settings, old, NOW)
    assert status["verdict"] == "INCONCLUSIVE"
    assert "no longer valid" in status["reasons"][0]


@pytest.mark.parametrize("until", [None, "soon", 7, ""])
def test_a_verdict_without_an_end_counts_for_nothing(settings, until):
    status = status_of(settings, good_records(NOW) | {"verdict": verdict(valid_until=until)}, NOW)
    assert status["verdict"] == "INCONCLUSIVE"


def test_a_dead_process_is_told_with_its_last_end(settings):
    records = good_records(NOW) | {"supervisor/worker": {"restarts": 3, "last_exit": "killed by SIGKILL", "at": NOW}}
    records["process/core"] = records["process/core"] | {"heartbeat": NOW - 60}
    status = status_of(settings, records, NOW)
    core = next(process for process in status["processes"] if process["name"] == "core")
    assert (core["alive"], core["restarts"], core["last_exit"]) == (False, 3, "killed by SIGKILL")
    assert "silent, heard from 60.0 s ago, restarts: 3, last end: killed by SIGKILL" in screen(status)


def test_the_archiver_is_told_where_evidence_is_exported(settings):
    error = "no evidence was exported: denied"
    records = good_records(NOW) | {"process/archiver": {"pid": 7, "heartbeat": NOW, "error": error}}
    assert "archiver" not in screen(status_of(settings, records, NOW))
    exporting = replace(settings, evidence=EvidenceSettings(export=ExportSettings("evidence")))
    assert error in screen(status_of(exporting, records, NOW))
