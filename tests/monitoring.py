"""What ships for Prometheus, Alertmanager and Grafana, read for the tests: rules, dashboards, and their expressions."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from auditor.metrics import METRICS

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
RULES_FILE = DEPLOY / "prometheus" / "rules.yaml"
RULE_TESTS = sorted((DEPLOY / "prometheus" / "tests").glob("*.yaml"))
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yaml"
RUNBOOK = ROOT / "docs" / "runbook"
GRAFANA = DEPLOY / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
VARIABLES = {
    "$__rate_interval": "1m", "$__interval": "15s", "$__range": "1h", "$job": "auditor", "$migration": "orders",
}  # fmt: skip
"""What Grafana puts in their places."""
SELECTOR = re.compile(r"\b(auditor_\w+|up)\b(\{[^}]*\})?")
FOREIGN = frozenset({"up"})
"""What Prometheus itself says of each scrape."""


@dataclass(frozen=True)
class Expression:
    """One expression and where it stands."""

    place: str
    text: str

    @property
    def filled(self) -> str:
        """The expression with Grafana's variables in place."""
        text = self.text
        for name in sorted(VARIABLES, key=len, reverse=True):
            text = text.replace(name, VARIABLES[name])
        return text

    def selectors(self) -> list[str]:
        return [found[0] for found in SELECTOR.finditer(self.filled)]

    def metrics(self) -> set[str]:
        return {found[1] for found in SELECTOR.finditer(self.filled)} - FOREIGN


def rules() -> list[dict[str, Any]]:
    """List the alerts."""
    return [rule for group in yaml.safe_load(RULES_FILE.read_text())["groups"] for rule in group["rules"]]


def dashboard(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


def panels(path: Path) -> list[dict[str, Any]]:
    """List the panels that show something: no rows."""
    return [panel for panel in dashboard(path)["panels"] if panel["type"] != "row"]


def grafana_rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((GRAFANA / "provisioning/alerting/rules.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def shown() -> list[Expression]:
    """List the expressions of all panels: each must show something on a migration at work."""
    return [
        Expression(f"{path.stem}: {panel['title']} {target['refId']}", target["expr"])
        for path in DASHBOARDS
        for panel in panels(path)
        for target in panel["targets"]
    ]


def watched() -> list[Expression]:
    """List the expressions that are empty while all is well: alerts and annotations."""
    return [*_watched()]


def _watched() -> Iterator[Expression]:
    for rule in rules():
        yield Expression(f"rules: {rule['alert']}", rule["expr"])
    for rule in grafana_rules():
        for query in rule["data"]:
            if "expr" in query["model"]:
                yield Expression(f"Grafana's alerts: {rule['title']}", query["model"]["expr"])
    for path in DASHBOARDS:
        for annotation in dashboard(path)["annotations"]["list"]:
            yield Expression(f"{path.stem}: {annotation['name']}", annotation["target"]["expr"])


def queried() -> list[Expression]:
    """List the queries behind the variables of dashboards, as plain selectors."""
    return [
        Expression(f"{path.stem}: ${variable['name']}", variable["definition"].split("(")[1].rpartition(",")[0])
        for path in DASHBOARDS
        for variable in dashboard(path)["templating"]["list"]
        if variable["type"] == "query"
    ]


def exported() -> set[str]:
    """Name every series that the auditor exports."""
    names = {metric.name for metric in METRICS if not metric.histogram}
    return names | {
        f"{metric.name}{part}" for metric in METRICS if metric.histogram for part in ("_bucket", "_sum", "_count")
    }
