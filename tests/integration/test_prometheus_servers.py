"""Prometheus and Alertmanager of our own: they start, answer, stop and leave nothing."""

import os
import urllib.request
from pathlib import Path

import pytest

from auditor.servers import AlertmanagerServer, PrometheusServer, ServerFailed
from auditor.servers.prometheus import answers
from comparators.errors import NotInstalled


def test_they_start_answer_and_leave_nothing() -> None:
    with AlertmanagerServer() as alertmanager, PrometheusServer([], alertmanager=alertmanager) as prometheus:
        servers = [alertmanager, prometheus]
        assert all(server.running and answers(f"{server.url}/-/healthy") for server in servers)
        pids, homes = [server.pid for server in servers], [server.home for server in servers]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not any(home.exists() for home in homes)


def test_prometheus_serves_the_folder_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# What to do\n")
    with (
        PrometheusServer([], assets=tmp_path) as prometheus,
        urllib.request.urlopen(f"{prometheus.url}/user/page.md", timeout=5) as page,
    ):
        assert b"# What to do\n" == page.read()


def test_rules_that_are_none_are_refused_with_what_prometheus_said(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("groups: [{name: a, rules: [{alert: A, expr: 'up =='}]}]\n")
    server = PrometheusServer([], tmp_path / "rules.yaml")
    with pytest.raises(ServerFailed, match="parse error"), server:
        pass
    assert not server.running


@pytest.mark.parametrize("make", [lambda: PrometheusServer([]), AlertmanagerServer], ids=["prometheus", "alertmanager"])
def test_who_lacks_them_is_told_the_package(make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(NotInstalled) as missing:
        make()
    assert missing.value.hint.startswith("apt-get install prometheus")
