"""Grafana's dashboards and alerts, as far as that goes without a Grafana: types, PromQL, lint, parse rules."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import monitoring
from tests.monitoring import DASHBOARDS, GRAFANA, ROOT, Expression

NODE = ROOT / "tests" / "node"
TYPES = """
import type { Dashboard } from '@grafana/schema';
// JSON has the values of enumerations, not their names
type Plain<T> = T extends string ? `${T}` : T extends number | boolean ? T
    : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
// what annotations and variables of Prometheus have beside those of every data source
type Prometheus = {
    annotations?: { list?: { titleFormat?: string }[] }; templating?: { list?: { definition?: string }[] };
};
"""
by_dashboard = pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
SHOWN = [(path, panel) for path in DASHBOARDS for panel in monitoring.panels(path)]
by_panel = pytest.mark.parametrize(
    ("path", "panel"), SHOWN, ids=[f"{path.stem}-{panel['title']}" for path, panel in SHOWN]
)
EXPRESSIONS = [*monitoring.shown(), *monitoring.watched(), *monitoring.queried()]
by_expression = pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda expression: expression.place)
HEARTBEATS = {"AuditorMetricsMissing", "AuditorVerdictStale", "AuditorProcessSilent"}
ALERTS = monitoring.grafana_rules()


def checked_by_types(folder: Path, document: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Let TypeScript hold a dashboard against Grafana's own types."""
    literal = json.dumps(document, indent=1)
    (folder / "dashboard.ts").write_text(
        f"{TYPES}export const made = {literal} satisfies Plain<Dashboard> & Prometheus;\n"
    )
    options = {
        "strict": True, "noEmit": True, "skipLibCheck": True, "module": "esnext", "moduleResolution": "bundler",
        "target": "es2022", "types": [], "paths": {"@grafana/schema": [str(NODE / "node_modules/@grafana/schema")]},
    }  # fmt: skip
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["dashboard.ts"]}))
    command = [str(NODE / "node_modules/.bin/tsc"), "--project", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@by_dashboard
def test_it_is_what_grafanas_types_ask_for(path: Path, tmp_path: Path) -> None:
    done = checked_by_types(tmp_path, monitoring.dashboard(path))
    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        {"schemaVersion": "39"},
        {"panels": [{"type": "stat", "gridPos": {"h": "7", "w": 6, "x": 0, "y": 0}}]},
        {"panels": [{"type": "stat", "fieldConfig": {"defaults": {"color": {"mode": "abs"}}, "overrides": []}}]},
        {"paneels": []},
    ],
    ids=["a text for a number", "a wrong position", "a word that is none", "a name that is none"],
)  # fmt: skip
def test_the_types_would_notice_a_mistake(wrong: dict[str, Any], tmp_path: Path) -> None:
    assert 0 != checked_by_types(tmp_path, {"schemaVersion": 39} | wrong).returncode


def test_promtool_parses_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"checked:{number}", "expr": expression.filled} for number, expression in enumerate(EXPRESSIONS)
    ]
    file = tmp_path / "expressions.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "checked", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert f"SUCCESS: {len(rules)} rules found" in done.stdout, done.stdout + done.stderr


@by_expression
def test_every_metric_in_an_expression_is_exported(expression: Expression) -> None:
    assert expression.metrics() <= monitoring.exported()
    assert expression.selectors()


# The rules of Grafana's dashboard-linter.


def excused(rule: str, path: Path, panel: dict[str, Any]) -> bool:
    exclusions = yaml.safe_load((GRAFANA / "dashboards/.lint").read_text())["exclusions"]
    place = {"dashboard": monitoring.dashboard(path)["title"], "panel": panel["title"]}
    return place in exclusions.get(rule, {}).get("entries", [])


@by_dashboard
def test_data_source_job_and_migration_are_variables(path: Path) -> None:
    variables = {one["name"]: one for one in monitoring.dashboard(path)["templating"]["list"]}
    assert ["datasource", "job", "migration"] == list(variables)
    assert ("datasource", "prometheus") == (variables["datasource"]["type"], variables["datasource"]["query"])
    for name in ("job", "migration"):
        assert "query" == variables[name]["type"]
        assert {"type": "prometheus", "uid": "${datasource}"} == variables[name]["datasource"]
        assert re.fullmatch(rf"label_values\(.*, {name}\)", variables[name]["definition"])
        assert variables[name]["definition"] == variables[name]["query"]["query"]


@by_panel
def test_every_panel_has_a_title_a_description_a_unit_and_the_templated_source(
    path: Path, panel: dict[str, Any]
) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for one in (panel, *panel["targets"]):
        assert {"type": "prometheus", "uid": "${datasource}"} == one["datasource"]


@by_panel
def test_every_selector_asks_for_the_chosen_job_and_migration(path: Path, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        for name, labels in monitoring.SELECTOR.findall(target["expr"]):
            wanted = (
                ['job=~"$job"']
                if excused("target-job-rule", path, panel)
                else ['job=~"$job"', 'migration=~"$migration"']
            )
            assert all(one in labels for one in wanted), (name, labels)


@by_panel
def test_rates_follow_the_zoom(path: Path, panel: dict[str, Any]) -> None:
    ranges = [span for target in panel["targets"] for span in re.findall(r"\[(.*?)\]", target["expr"])]
    if not excused("target-rate-interval-rule", path, panel):
        assert set(ranges) <= {"$__rate_interval"}


@by_panel
def test_counters_are_shown_as_rates(path: Path, panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        for place in re.finditer(r"auditor_\w+_(total|bucket)\b", target["expr"]):
            assert re.search(r"(rate|increase)\($", target["expr"][: place.start()])


@by_dashboard
def test_panels_have_ids_of_their_own_and_do_not_lie_on_each_other(path: Path) -> None:
    every = monitoring.dashboard(path)["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in every):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken
        taken |= cells


@by_dashboard
def test_it_has_a_fixed_id_links_to_the_other_and_cannot_be_edited_away(path: Path) -> None:
    document = monitoring.dashboard(path)
    others = {monitoring.dashboard(other)["uid"] for other in DASHBOARDS} - {document["uid"]}
    assert [f"/d/{uid}" for uid in others] == [link["url"] for link in document["links"]]
    assert document["editable"] is False


# What Grafana's provisioning reads, with the rules of its own parser.


def provisioned(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((GRAFANA / "provisioning" / name).read_text()))


@pytest.mark.parametrize("file", sorted(GRAFANA.glob("provisioning/*/*.yaml")), ids=lambda file: file.stem)
def test_every_file_names_the_version_of_its_form(file: Path) -> None:
    keys = {
        "datasources": {"datasources"}, "dashboards": {"providers"},
        "alerting": {"groups", "contactPoints", "policies", "templates", "muteTimes"},
    }  # fmt: skip
    document = yaml.safe_load(file.read_text())
    assert 1 == document.pop("apiVersion")
    assert set(document) <= keys[file.parent.name]


def sources() -> dict[str, dict[str, Any]]:
    return {source["uid"]: source for source in provisioned("datasources/prometheus.yaml")["datasources"]}


def test_the_data_sources_have_fixed_ids_and_one_is_the_default() -> None:
    assert {"auditor-prometheus": "prometheus", "auditor-alertmanager": "alertmanager"} == {
        uid: source["type"] for uid, source in sources().items()
    }
    assert ["auditor-prometheus"] == [uid for uid, source in sources().items() if source.get("isDefault")]


def test_alert_groups_parse() -> None:
    for group in provisioned("alerting/rules.yaml")["groups"]:
        assert group["name"]
        assert group["folder"]
        assert re.fullmatch(r"\d+(s|m|h)", group["interval"])


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["title"])
def test_alert_rules_parse(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z-]{1,40}", rule["uid"])
    assert re.fullmatch(r"Auditor([A-Z][a-z]+)+", rule["title"])
    assert re.fullmatch(r"\d+(s|m|h)", rule["for"])
    queries = {query["refId"]: query for query in rule["data"]}
    assert rule["condition"] in queries
    for name, query in queries.items():
        assert query["datasourceUid"] in {*sources(), "__expr__"}
        assert name == query["model"]["refId"]
        assert query["relativeTimeRange"]["from"] >= query["relativeTimeRange"]["to"]
        assert query["model"].get("expression", name) in queries
    assert "$" not in "".join(rule["labels"].values())
    assert "${" not in "".join(rule["annotations"].values())
    page = Path(rule["annotations"]["runbook_url"]).name
    assert (monitoring.RUNBOOK / page).is_file()


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["title"])
def test_silence_and_errors_are_alarms(rule: dict[str, Any]) -> None:
    """Grafana's default for no data is a state of its own that wakes nobody."""
    assert "Alerting" == rule["execErrState"]
    assert "Alerting" == rule["noDataState"]


def test_the_heartbeats_are_watched() -> None:
    assert {rule["title"] for rule in ALERTS} >= HEARTBEATS
    assert len({rule["uid"] for rule in ALERTS}) == len(ALERTS)


def test_alerts_go_to_alertmanager_which_decides_whom_to_wake() -> None:
    document = provisioned("alerting/contact-points.yaml")
    (point,) = document["contactPoints"]
    (receiver,) = point["receivers"]
    assert "prometheus-alertmanager" == receiver["type"]
    assert sources()["auditor-alertmanager"]["url"] == receiver["settings"]["url"]
    assert [point["name"]] == [policy["receiver"] for policy in document["policies"]]
