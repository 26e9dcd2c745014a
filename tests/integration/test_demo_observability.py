"""`auditor demo --observability`: a fault turns the verdict and fires the alert, while Prometheus can be asked."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from auditor.demo import observability
from comparators.errors import NotInstalled
from tests.helpers import wait_for
from tests.integration import test_demo_command
from tests.integration.test_demo_command import begun

pytestmark = pytest.mark.alone

folder = test_demo_command.folder


class Said:
    """What the demo says of itself while it runs."""

    def __init__(self, lines: Iterator[str]) -> None:
        self.text = ""
        self._thread = threading.Thread(target=self._read, args=(lines,), daemon=True)
        self._thread.start()

    def _read(self, lines: Iterator[str]) -> None:
        for line in lines:
            self.text += line

    def end(self) -> None:
        self._thread.join(30)

    def address(self, name: str) -> str | None:
        found = [line.split()[2] for line in self.text.splitlines() if line.startswith(f"demo: {name} ")]
        return found[0] if found else None


def alerts(prometheus: str) -> set[tuple[str, str]]:
    """Ask Prometheus itself what is pending and what fires."""
    with urllib.request.urlopen(f"{prometheus.removesuffix('/alerts')}/api/v1/alerts", timeout=5) as response:
        listed: list[dict[str, Any]] = json.load(response)["data"]["alerts"]
    return {(alert["labels"]["alertname"], alert["state"]) for alert in listed}


def test_a_fault_fires_the_alert_while_the_demo_runs(folder: Path) -> None:
    options = ("--observability", "--seconds", "12", "--inject", "changed-column", "--json")
    with begun(folder, *options) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        said = Said(iter(process.stderr))
        address = wait_for(lambda: said.address("Prometheus"), 120, "the address of Prometheus")
        assert address is not None
        for name in ("console", "metrics", "Alertmanager", "runbook"):
            wait_for(partial(said.address, name), 30, f"the address of {name}")
        fires = ("AuditorDivergence", "firing")
        wait_for(lambda: fires in alerts(address), 90, "AuditorDivergence to fire")
        out = process.stdout.read()
        assert 1 == process.wait(120), said.text
        said.end()
    ending = json.loads(out.splitlines()[-1])
    assert "FAIL" == ending["verdict"]
    assert "AuditorDivergence" in ending["alerts"]
    assert list(folder.iterdir()) == []


def test_without_the_rules_it_says_where_they_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(observability, "RULES", tmp_path / "rules.yaml")
    with pytest.raises(NotInstalled, match="part of the repository"):
        observability.start("127.0.0.1:1", closing=None)  # type: ignore[arg-type]
