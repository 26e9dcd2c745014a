"""From a value that apply writes wrongly to the alert that a person gets: real servers, Prometheus and Alertmanager."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.servers import AlertmanagerServer, PrometheusServer
from auditor.servers.prometheus import answers
from tests.audits import Audit
from tests.fault.times import keep
from tests.helpers import Pair, wait_for
from tests.monitoring import ALERTMANAGER, RULES_FILE

pytestmark = pytest.mark.alone


@dataclass(frozen=True)
class Pace:
    """How often Prometheus looks, and how long Alertmanager waits for company."""

    name: str
    interval: str
    group_wait: str
    group_interval: str


AGGRESSIVE, SHIPPED = Pace("aggressive", "1s", "0s", "1s"), Pace("shipped", "5s", "1s", "1m")
"""The shipped one is what deploy/prometheus/prometheus.yaml and deploy/alertmanager/alertmanager.yaml say."""
DAMAGE = """
CREATE FUNCTION public.spoil() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.total := NEW.total + 1; RETURN NEW; END $$;
CREATE TRIGGER spoil BEFORE INSERT ON public.orders FOR EACH ROW EXECUTE FUNCTION public.spoil();
ALTER TABLE public.orders ENABLE ALWAYS TRIGGER spoil;
"""
REPAIR = "DROP TRIGGER spoil ON public.orders; DROP FUNCTION public.spoil()"


class Webhook:
    """Receives what Alertmanager sends."""

    def __init__(self) -> None:
        self.told: list[tuple[float, dict[str, Any]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.told.append((time.time(), json.loads(body)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    def at(self, name: str, status: str) -> float | None:
        """When it was first told of an alert."""
        times = [
            at for at, told in self.told for alert in told["alerts"]
            if alert["labels"]["alertname"] == name and alert["status"] == status
        ]  # fmt: skip
        return min(times, default=None)

    @contextmanager
    def listening(self) -> Iterator["Webhook"]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def routed(webhook: str, pace: Pace) -> dict[str, Any]:
    """Give the shipped routes with the person on call behind a webhook."""
    document = dict(yaml.safe_load(ALERTMANAGER.read_text()))
    document["route"] |= {"group_wait": pace.group_wait, "group_interval": pace.group_interval}
    document["receivers"] = [
        {"name": receiver["name"]} | ({"webhook_configs": [{"url": webhook}]} if receiver["name"] == "on-call" else {})
        for receiver in document["receivers"]
    ]
    return document


@contextmanager
def watched(pair: Pair, folder: Path, pace: Pace) -> Iterator[tuple[Audit, Webhook]]:
    """Run an audit under the eyes of Prometheus and Alertmanager; give it once it is at work and all is scraped."""
    pair.execute("CREATE TABLE orders (id int PRIMARY KEY, total numeric)")
    pair.replicate()
    with (
        Webhook().listening() as webhook,
        AlertmanagerServer(routed(webhook.url, pace)) as alertmanager,
        Audit(pair, folder) as audit,
    ):
        gate = yaml.safe_load(audit.file.read_text())["gate"]["listen"]
        wait_for(lambda: answers(f"http://{gate}/readyz"), 90, "the audit to be at work")
        scraped = PrometheusServer([gate], RULES_FILE, alertmanager=alertmanager, interval=pace.interval)
        with scraped as prometheus:
            wait_for(lambda: asked(prometheus, "auditor_gate_evaluated_timestamp_seconds"), 60, "the first scrape")
            yield audit, webhook


def asked(prometheus: PrometheusServer, expression: str) -> list[Any]:
    with urllib.request.urlopen(f"{prometheus.url}/api/v1/query?query={expression}", timeout=10) as response:
        return list(json.load(response)["data"]["result"])


@pytest.mark.parametrize("pace", [AGGRESSIVE, SHIPPED], ids=lambda pace: pace.name)
def test_a_divergence_reaches_the_person_on_call_and_its_end_too(pair: Pair, tmp_path: Path, pace: Pace) -> None:
    with watched(pair, tmp_path, pace) as (audit, webhook):
        pair.source.execute("INSERT INTO orders VALUES (1, 10)")
        audit.wait_resolved()
        assert webhook.at("AuditorDivergence", "firing") is None
        pair.target.execute(DAMAGE)
        pair.source.execute("INSERT INTO orders VALUES (2, 86753)")
        harmed = time.time()
        told = wait_for(lambda: webhook.at("AuditorDivergence", "firing"), 90, "the webhook to be told")
        assert told is not None
        keep(f"alert-{pace.name}", kind="row-different", verdict="FAIL", milliseconds=(told - harmed) * 1000)
        (alert,) = [
            alert for _, body in webhook.told for alert in body["alerts"]
            if alert["labels"]["alertname"] == "AuditorDivergence"
        ][:1]  # fmt: skip
        assert ("lawful", "critical") == (alert["labels"]["migration"], alert["labels"]["severity"])
        assert alert["annotations"]["runbook_url"].endswith("/user/runbook/AuditorDivergence.md")
        assert "86753" not in json.dumps(alert["annotations"]["description"])
        pair.target.execute(REPAIR)
        pair.source.execute("UPDATE orders SET total = 21 WHERE id = 2")
        for finding in audit.findings():
            audit.command("findings", "recheck", finding.id, expect=None)
        wait_for(lambda: webhook.at("AuditorDivergence", "resolved"), 150, "the webhook to be told of the end")


def test_the_pace_as_shipped_is_what_ships() -> None:
    prometheus = yaml.safe_load(RULES_FILE.with_name("prometheus.yaml").read_text())["global"]
    assert {SHIPPED.interval} == {prometheus["scrape_interval"], prometheus["evaluation_interval"]}
    route = yaml.safe_load(ALERTMANAGER.read_text())["route"]
    assert (SHIPPED.group_wait, SHIPPED.group_interval) == (route["group_wait"], route["group_interval"])
