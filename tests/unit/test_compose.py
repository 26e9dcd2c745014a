"""What ships for containers is checked as far as that goes without an engine to run it."""

import json
import re
import subprocess
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from auditor import settings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VENDORED = "check_jsonschema/builtin_schemas/vendor/compose-spec.json"  # the package is here for its file, not to run
SCHEMA = json.loads(Path(str(distribution("check-jsonschema").locate_file(VENDORED))).read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_it_follows_the_compose_specification():
    jsonschema.validate(COMPOSE, SCHEMA)


@pytest.mark.parametrize("wrong", [{"services": {"a": {"imagge": "x"}}}, {"services": {"a": {"ports": "80"}}}])
def test_the_schema_would_notice_a_mistake(wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)


def test_both_servers_can_replicate_logically():
    assert ["postgres:16", "postgres:18"] == [SERVICES[side]["image"] for side in ("source", "target")]
    for side in ("source", "target"):
        assert "wal_level=logical" in SERVICES[side]["command"]


def test_the_broker_is_the_version_that_tests_run_on():
    pinned = re.search(r"kafka_2\.13</artifactId>\s*<version>(.*?)<", (ROOT / "auditor/servers/pom.xml").read_text())
    assert pinned is not None
    assert f"apache/kafka:{pinned[1]}" == SERVICES["kafka"]["image"]


def test_who_watches_has_the_versions_that_tests_run_on():
    """Rules and routes are tested by Debian's programs, dashboards against the types of one Grafana."""
    package = json.loads((ROOT / "tests/node/package.json").read_text())
    assert f"grafana/grafana:{package['devDependencies']['@grafana/schema']}" == SERVICES["grafana"]["image"]
    for service, program in (("prometheus", "prometheus"), ("alertmanager", "prometheus-alertmanager")):
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
        version = re.search(r"version (\d+\.\d+\.\d+)", said.stdout + said.stderr)
        assert version is not None
        assert f"prom/{service}:v{version[1]}" == SERVICES[service]["image"]


def test_who_watches_may_write_nothing_but_its_own_data():
    for name in ("prometheus", "alertmanager", "grafana"):
        assert SERVICES[name]["read_only"], name
        assert ["ALL"] == SERVICES[name]["cap_drop"], name
        mounted = [volume for volume in SERVICES[name]["volumes"] if volume.startswith("./")]
        assert all(volume.endswith(":ro") for volume in mounted), name


def test_the_monitoring_names_these_services():
    ports = {name: service["ports"][0].rsplit(":")[-1] for name, service in SERVICES.items() if "ports" in service}
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yaml").read_text())
    (scraped,) = prometheus["scrape_configs"]
    assert "auditor" == scraped["job_name"]
    assert [{"targets": [f"auditor:{ports['auditor']}"]}] == scraped["static_configs"]
    (told,) = prometheus["alerting"]["alertmanagers"]
    assert [{"targets": [f"alertmanager:{ports['alertmanager']}"]}] == told["static_configs"]
    sources = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yaml").read_text())
    assert [f"http://{name}:{ports[name]}" for name in ("prometheus", "alertmanager")] == [
        source["url"] for source in sources["datasources"]
    ]
    migration = settings.load(ROOT / "deploy/compose.yaml").migration
    receivers = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yaml").read_text())["receivers"]
    (gate,) = [receiver for receiver in receivers if receiver["name"] == "gate"]
    closed = f"http://auditor:{ports['auditor']}/v1/migrations/{migration}/alerts"
    assert [closed] == [hook["url"] for hook in gate["webhook_configs"]]


def test_the_smoke_script_asks_for_what_is_there_and_says_that_nobody_runs_it_here():
    script = (ROOT / "scripts/smoke-compose").read_text()
    subprocess.run(["bash", "-n", str(ROOT / "scripts/smoke-compose")], check=True)
    assert "NOT run by CI" in script
    published = {port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", [])}
    assert set(re.findall(r"127\.0\.0\.1:(\d+)", script)) <= published
    asked = set(re.findall(r"/api/dashboards/uid/([\w-]+)", script))
    assert {json.loads(file.read_text())["uid"] for file in ROOT.glob("deploy/grafana/dashboards/*.json")} == asked
    (awaited,) = re.findall(r"--wait-timeout 300 (.*)", script)
    assert all("healthcheck" in SERVICES[name] for name in awaited.split())


def test_nothing_is_published_beyond_the_host_and_no_password_is_written_down():
    for name, service in SERVICES.items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        for variable, value in service.get("environment", {}).items():
            assert "PASSWORD" not in variable or value.startswith("${"), (name, variable)


def test_every_volume_and_every_mounted_file_is_there():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]


def test_the_auditors_configuration_is_valid_and_names_these_services():
    found = settings.load(ROOT / "deploy/compose.yaml")
    assert found.transport is not None
    assert found.transport.bootstrap == ("kafka:9092",)
    assert ["host=source", "host=target"] == [side.dsn.split()[0] for side in (found.source, found.target)]
    published = SERVICES["auditor"]["ports"][0].rsplit(":")[-1]
    assert int(published) == found.gate.port
    volumes = [volume.split(":")[1] for volume in SERVICES["auditor"]["volumes"]]
    assert str(found.state_dir) in volumes
    assert {found.source.password, found.target.password}.isdisjoint({None})


def test_what_the_image_is_built_from_is_let_in():
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    wanted = {path.split("/")[0] for group in copied for path in group.split()}
    assert wanted == let_in
    assert all((ROOT / path).exists() for path in wanted)


def test_the_image_does_not_run_as_root():
    assert "USER auditor" in DOCKERFILE
