"""A real gate on planted records, scraped by a real Prometheus: every panel shows something."""

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditor.records import SqliteRecords
from auditor.servers import PrometheusServer
from comparators.preflight import Item, ItemStatus, item_json
from tests import monitoring
from tests.helpers import wait_for
from tests.helpers_records import FINDING, good_records, suspect
from tests.integration.test_gate_process import GateProcess
from tests.monitoring import RULES_FILE

FIGURES: dict[str, dict[str, float]] = {
    "lag": {"marker_p50_ms": 1, "marker_p95_ms": 2, "marker_p99_ms": 3, "marker_missing": 0, "stalled_seconds": 0},
    "capacity": {
        "wal_bytes_per_second": 1e6, "wal_peak_bytes_per_second": 5e6, "drain_bytes_per_second": 2e7,
        "headroom_ratio": 4, "predicted_drain_seconds": 0.1,
    },
    "slots": {"retained_bytes/app_sub": 4096, "retained_bytes/debezium": 1 << 20},
    "activity": {"oldest_transaction_seconds": 2, "idle_in_transaction": 1, "prepared_transactions": 0},
}  # fmt: skip


def planted(now: float, n: int) -> dict[str, dict[str, Any]]:
    """Give the records of a migration at work at its `n`-th moment: it differs, and a canary is found each time."""
    records = good_records(now) | {f"suspect/{FINDING}": suspect(now=now, state="confirmed")}
    records["baseline"]["at"] = now - 1000
    records["sweeper"]["share"] = 0.5
    for group, figures in FIGURES.items():
        items = [item_json(Item(f"{group}-{n}", status, "said")) for status in (ItemStatus.OK, ItemStatus.UNKNOWN)]
        records[f"probe/{group}"] = {
            "at": now - 1, "generation": 1, "incarnation": "p", "error": None, "items": items, "figures": figures,
        }  # fmt: skip
    for partition in (0, 1):
        tallies = records[f"progress/{partition}"]["tallies"]
        tallies["transactions"] += 10 * n
        tallies["matched"] += 20 * n
        tallies["changes"] += 20 * n
    for side in ("source", "target"):
        records[f"sampler/{side}"]["transactions"] += 50 * n
        records[f"sampler/{side}"]["sampled"] += 40 * n
    records["canary/receipt"]["n"] = n
    records["canary/receipt"]["at"] = now
    return records


class Scene:
    """A gate that lives on planted records, and the Prometheus that scrapes it."""

    def __init__(self, folder: Path, prometheus: PrometheusServer) -> None:
        self._store = SqliteRecords(folder / "state" / "records.sqlite")
        self._prometheus, self._moment = prometheus, 0

    def go_on(self) -> None:
        """Let every part report once more."""
        self._moment += 1
        self._store.put(planted(time.time(), self._moment))

    def ask(self, expression: str) -> list[Any]:
        """Evaluate an expression as a panel does."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self._prometheus.url}/api/v1/query?{query}", timeout=10) as response:
            return list(json.load(response)["data"]["result"])

    def loaded(self) -> list[str]:
        with urllib.request.urlopen(f"{self._prometheus.url}/api/v1/rules", timeout=10) as response:
            groups = json.load(response)["data"]["groups"]
        return [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "ok"]

    def close(self) -> None:
        self._store.close()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("scene")
    gate = GateProcess(folder)
    (folder / "state").mkdir(mode=0o700)
    with PrometheusServer([gate.url.removeprefix("http://")], RULES_FILE) as prometheus:
        opened = Scene(folder, prometheus)
        opened.go_on()
        gate.start()
        try:
            _play(opened)
            yield opened
        finally:
            opened.close()
            assert gate.process is not None
            gate.process.kill()
            gate.process.wait()


def _play(scene: Scene) -> None:
    """Go on until two canaries were counted and scraped, so that every rate has something to say."""

    def counted() -> bool:
        scene.go_on()
        time.sleep(1)
        return bool(scene.ask("increase(auditor_detection_delay_seconds_count[1m]) > 1"))

    wait_for(counted, 60, "Prometheus to see canaries")


@pytest.mark.parametrize("expression", monitoring.shown(), ids=lambda expression: expression.place)
def test_every_panel_shows_something(scene: Scene, expression: monitoring.Expression) -> None:
    scene.go_on()
    found = scene.ask(expression.filled)
    assert found
    assert all(series["value"][1] != "NaN" for series in found)


@pytest.mark.parametrize(
    "expression", [*monitoring.watched(), *monitoring.queried()], ids=lambda expression: expression.place
)
def test_every_selector_of_an_alert_finds_series(scene: Scene, expression: monitoring.Expression) -> None:
    """The comparison may be empty, as all is well; what it looks at may not."""
    scene.go_on()
    for selector in expression.selectors():
        if selector.startswith("auditor_cutover_"):  # this gate knows of none; that they exist is asked of the exporter
            continue
        wanted = selector.replace('process="archiver"', 'process="core"').replace("_gate_overrides", "_gate_open")
        assert scene.ask(f"last_over_time({wanted}[5m])"), selector


def test_prometheus_evaluates_every_rule(scene: Scene) -> None:
    names = {rule["alert"] for rule in monitoring.rules()}
    wait_for(lambda: names == set(scene.loaded()), 30, "every rule to be evaluated")


def test_a_confirmed_difference_fires(scene: Scene) -> None:
    scene.go_on()
    fires = 'ALERTS{alertname="AuditorDivergence", alertstate="firing", migration="orders", severity="critical"}'
    wait_for(lambda: scene.ask(fires), 30, "the alert")
