"""Prometheus' rules: each proved firing and quiet by promtool, explained on a page of the runbook, and routed."""

import re
import subprocess
from typing import Any

import pytest
import yaml

from comparators.checklist import GROUPS
from orchestrator.conditions import NAMES
from tests import monitoring
from tests.monitoring import ALERTMANAGER, RULE_TESTS, RULES_FILE, RUNBOOK

RULES = monitoring.rules()
SEVERITIES = {"critical", "warning", "info"}
SECTIONS = ["Meaning", "Impact", "Diagnosis", "What to do", "When to ignore it"]
by_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def run(*command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", RULE_TESTS, ids=lambda file: file.stem)
def test_promtool_proves_the_rules(file) -> None:
    done = run("promtool", "test", "rules", str(file))
    assert 0 == done.returncode, done.stdout + done.stderr


def test_promtool_finds_nothing_to_say_about_the_rules() -> None:
    done = run("promtool", "check", "rules", str(RULES_FILE))
    assert 0 == done.returncode, done.stdout + done.stderr
    assert f"SUCCESS: {len(RULES)} rules found" in done.stdout


@pytest.mark.parametrize("kind", ["fires", "stays quiet"])
@by_rule
def test_each_alert_is_proved_both_ways(rule: dict[str, Any], kind: str) -> None:
    checks = [
        check
        for file in RULE_TESTS
        for test in yaml.safe_load(file.read_text())["tests"]
        for check in test["alert_rule_test"]
        if check["alertname"] == rule["alert"]
    ]
    assert any(bool(check["exp_alerts"]) == (kind == "fires") for check in checks)


@by_rule
def test_each_alert_is_tried_where_its_series_are_missing(rule: dict[str, Any]) -> None:
    """A gate that answers and says nothing of what the alert is about, or no gate at all."""
    names = [test["name"] for file in RULE_TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    missing = ("nothing is known", "its series are missing", "nothing is scraped at all")
    assert any(name.startswith(rule["alert"] + " ") and name.endswith(missing) for name in names)


@by_rule
def test_each_alert_says_what_it_means_and_where_to_look(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"Auditor([A-Z][a-z]+)+", rule["alert"])
    assert rule["labels"]["severity"] in SEVERITIES
    notes = rule["annotations"]
    assert {"summary", "description", "runbook_url", "dashboard_url"} == set(notes)
    assert re.fullmatch(r"[A-Z][^{}]*\.", notes["summary"])
    assert "{{ $labels." in notes["description"]
    assert f"{{{{ $externalURL }}}}/user/runbook/{rule['alert']}.md" == notes["runbook_url"]
    uids = {monitoring.dashboard(path)["uid"] for path in monitoring.DASHBOARDS}
    assert re.sub(r".*/d/([\w-]+).*", r"\1", notes["dashboard_url"]) in uids


@by_rule
def test_each_alert_has_a_page_in_the_runbook(rule: dict[str, Any]) -> None:
    """That its commands exist is tested with those of all pages."""
    page = (RUNBOOK / f"{rule['alert']}.md").read_text()
    assert page.startswith(f"# {rule['alert']}\n")
    assert SECTIONS == re.findall(r"^## (.*)$", page, re.MULTILINE)
    assert f"severity: {rule['labels']['severity']}" in page
    diagnosis = page.split("## Diagnosis")[1].split("## What to do")[0]
    assert re.search(r"^```sh\n.*^(auditor|curl|systemctl|journalctl) ", diagnosis, re.MULTILINE | re.DOTALL)


def test_the_runbook_has_no_page_without_an_alert() -> None:
    assert {rule["alert"] for rule in RULES} == {page.stem for page in RUNBOOK.glob("Auditor*.md")}


def test_the_conditions_that_rules_name_exist() -> None:
    """A condition that was renamed would leave an alert that never fires."""
    for rule in RULES:
        for pattern in re.findall(r'condition=~?"([^"]*)"', rule["expr"]):
            for name in pattern.split("|"):
                assert [known for known in NAMES if re.fullmatch(name, known)], (rule["alert"], name)


def test_every_part_of_the_checklist_is_watched() -> None:
    checked = {f"preflight-{group}" for group in GROUPS}
    assert checked & set(NAMES) == {name for name in NAMES if name.startswith("preflight-")}


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (["alertname=AuditorDivergence", "severity=critical"], "on-call"),
        (["alertname=AuditorLag", "severity=warning"], "team"),
        (["alertname=AuditorOverride", "severity=info"], "nobody"),
        (["alertname=DiskFull", "severity=critical"], "nobody"),
        (["alertname=DiskFull", "severity=critical", "closes_gate=true"], "gate"),
    ],
)
def test_alerts_reach_who_should_hear_of_them(labels: list[str], told: str) -> None:
    done = run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert told == done.stdout.strip()


@by_rule
def test_no_alert_of_ours_closes_the_gate(rule: dict[str, Any]) -> None:
    """A closed gate raises an alert, which would keep it closed for ever."""
    labels = [f"alertname={rule['alert']}", f"severity={rule['labels']['severity']}", "closes_gate=true"]
    done = run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert "gate" not in done.stdout.split()


def test_amtool_and_promtool_accept_the_configurations() -> None:
    assert 0 == run("amtool", "check-config", str(ALERTMANAGER)).returncode
    assert 0 == run("promtool", "check", "config", str(RULES_FILE.with_name("prometheus.yaml"))).returncode
