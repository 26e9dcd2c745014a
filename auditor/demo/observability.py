"""Who watches the demo as production is watched: Prometheus with the shipped rules loaded, and Alertmanager."""

import json
import urllib.error
import urllib.parse
import urllib.request
from contextlib import ExitStack
from pathlib import Path

import auditor
from auditor.servers import AlertmanagerServer, PrometheusServer
from comparators.errors import NotInstalled

CHECKOUT = Path(auditor.__file__).resolve().parent.parent
RULES = CHECKOUT / "deploy" / "prometheus" / "rules.yaml"
RUNBOOK = CHECKOUT / "docs"
DIVERGENCE = "AuditorDivergence"
FIRED = 'count by (alertname) (max_over_time(ALERTS{alertstate="firing"}[1d]))'


class Watchers:
    """Prometheus and Alertmanager beside a running gate."""

    def __init__(self, prometheus: PrometheusServer, alertmanager: AlertmanagerServer) -> None:
        self._prometheus, self._alertmanager = prometheus, alertmanager

    @property
    def addresses(self) -> dict[str, str]:
        """Give what a person may open in a browser, by its name."""
        return {
            "Prometheus": f"{self._prometheus.url}/alerts",
            "Alertmanager": self._alertmanager.url,
            "runbook": f"{self._prometheus.url}/user/runbook/{DIVERGENCE}.md",
        }

    def fired(self) -> list[str]:
        """Name the alerts that fire or have fired; none where Prometheus does not answer."""
        query = urllib.parse.urlencode({"query": FIRED})
        try:
            with urllib.request.urlopen(f"{self._prometheus.url}/api/v1/query?{query}", timeout=5) as response:
                found = json.load(response)["data"]["result"]
        except (urllib.error.URLError, OSError):
            return []
        return sorted(series["metric"]["alertname"] for series in found)


def start(gate: str, closing: ExitStack) -> Watchers:
    """Start both, to be removed when `closing` closes.

    Args:
        gate: host:port to scrape.
    Raises:
        NotInstalled: one of them is missing, or the rules are.
        ServerFailed: one of them did not start.
    """
    if not RULES.exists():
        raise NotInstalled(
            "the alert rules are part of the repository, not of the package",
            hint="run scripts/demo --observability in a checkout",
        )
    alertmanager = closing.enter_context(AlertmanagerServer())
    prometheus = PrometheusServer([gate], RULES, alertmanager=alertmanager, assets=RUNBOOK)
    return Watchers(closing.enter_context(prometheus), alertmanager)
