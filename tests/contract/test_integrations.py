"""What `integrations/` describes is performed, request by request, against a real gate in each of its verdicts."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.gate_server import GateServer, Reply

FOLDER = Path(__file__).parents[2] / "integrations"
SECRET = "argo-0123456789abcdef0123456789"
VERDICTS = ("PASS", "FAIL", "INCONCLUSIVE")


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateServer]:
    folder = tmp_path_factory.mktemp("tools")
    (folder / "token").write_text(SECRET)
    with GateServer(folder, tokens=[{"name": "tool", "token": "file:token", "scopes": ["read"]}]) as server:
        yield server


@pytest.fixture(scope="module")
def open_gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateServer]:
    with GateServer(tmp_path_factory.mktemp("open")) as server:
        yield server


@pytest.fixture(params=VERDICTS)
def saying(request: pytest.FixtureRequest, gate: GateServer) -> str:
    gate.say(request.param, {"token": SECRET})
    return str(request.param)


def filled(value: Any, arguments: Mapping[str, str], pattern: str) -> Any:
    """Put the arguments into a template, at any depth."""
    if isinstance(value, Mapping):
        return {key: filled(inner, arguments, pattern) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, arguments, pattern) for inner in value]
    return re.sub(pattern, lambda match: arguments[match[1]], value) if isinstance(value, str) else value


def asked(gate: GateServer, method: str, url: str, headers: Mapping[str, str], body: Any = None) -> Reply:
    path = urlsplit(url)
    return gate.request(method, path.path, headers=dict(headers), body=body)


def at(json_path: str, reply: Reply) -> Any:
    """Follow a path such as `{$.verdict}`."""
    value = reply.json()
    for name in json_path.strip("{}").removeprefix("$.").split("."):
        value = value[name]
    return value


def holds(condition: str, result: Any) -> bool:
    """Evaluate the one form of condition that the template uses."""
    found = re.fullmatch(r'result == "(\w+)"', condition)
    assert found, condition
    return bool(result == found[1])


def argo(gate: GateServer, token: str) -> str:
    """Measure once as Argo Rollouts' web provider does."""
    template = yaml.safe_load((FOLDER / "argo-rollouts/analysis-template.yaml").read_text())
    declared = {one["name"] for one in template["spec"]["args"]}
    arguments = {"gate-url": gate.url, "migration": "orders", "token": token}
    assert declared == set(arguments)
    (metric,) = filled(template["spec"]["metrics"], arguments, r"\{\{args\.([\w-]+)\}\}")
    web = metric["provider"]["web"]
    reply = asked(gate, web["method"], web["url"], {one["key"]: one["value"] for one in web["headers"]})
    if not 200 <= reply.status < 300:
        return "Error"
    result = at(web["jsonPath"], reply)
    if holds(metric["failureCondition"], result):
        return "Failed"
    return "Successful" if holds(metric["successCondition"], result) else "Inconclusive"


def test_argo_rollouts(gate: GateServer, saying: str) -> None:
    expected = {"PASS": "Successful", "FAIL": "Failed", "INCONCLUSIVE": "Inconclusive"}
    assert argo(gate, SECRET) == expected[saying]
    assert argo(gate, "wrong-0123456789abcdef") == "Error"


@pytest.mark.parametrize("verdict", VERDICTS)
def test_flagger(open_gate: GateServer, verdict: str) -> None:
    open_gate.say(verdict)
    canary = yaml.safe_load((FOLDER / "flagger/canary.yaml").read_text())
    hooks = {hook["type"]: hook for hook in canary["spec"]["analysis"]["webhooks"]}
    body = {"name": "orders", "namespace": "shop", "phase": "Progressing", "checksum": "85d557f47b", "metadata": {}}
    went = {}
    for kind, hook in hooks.items():
        reply = asked(open_gate, "POST", hook["url"], {}, body)
        went[kind] = 200 <= reply.status <= 202
        assert went[kind] or reply.json()["detail"].startswith(verdict)
    assert went == {"confirm-promotion": verdict == "PASS", "rollback": verdict == "FAIL"}


def test_spinnaker(gate: GateServer, saying: str) -> None:
    orca = yaml.safe_load((FOLDER / "spinnaker/orca-local.yml").read_text())
    (stage,) = orca["webhook"]["preconfigured"]
    arguments = {"gateUrl": gate.url, "migration": "orders", "token": SECRET}
    assert {one["name"] for one in stage["parameters"]} == set(arguments)
    stage = filled(stage, arguments, r"\$\{parameterValues\['(\w+)'\]\}")
    assert (stage["statusUrlResolution"], stage["waitForCompletion"]) == ("getMethod", True)
    headers = {name: values[0] for name, values in stage["customHeaders"].items()}
    reply = asked(gate, stage["method"], stage["url"], headers)
    status = at(stage["statusJsonPath"], reply)
    outcome = {stage["successStatuses"]: "SUCCEEDED", stage["terminalStatuses"]: "TERMINAL"}.get(status, "RUNNING")
    assert outcome == {"PASS": "SUCCEEDED", "FAIL": "TERMINAL", "INCONCLUSIVE": "RUNNING"}[saying]
    assert isinstance(at(stage["progressJsonPath"], reply), list)


def github(gate: GateServer, token: str, url: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the action's step as a runner does."""
    action = yaml.safe_load((FOLDER / "github-action/action.yml").read_text())
    given = {"url": url or gate.url, "migration": "orders", "token": token}
    inputs = {name: given.get(name, one.get("default")) for name, one in action["inputs"].items()}
    (step,) = action["runs"]["steps"]
    environment = filled(step["env"], inputs, r"\$\{\{ inputs\.(\w+) \}\}")
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=180
    )


def test_github_actions(gate: GateServer, saying: str) -> None:
    ran = github(gate, SECRET)
    assert ran.returncode == (0 if saying == "PASS" else 1)
    if saying != "PASS":
        assert ran.stdout.startswith("::error")
        assert json.dumps(saying) in ran.stdout
    assert SECRET not in ran.stdout + ran.stderr


def test_github_actions_without_a_gate_or_with_a_wrong_token_fails(gate: GateServer) -> None:
    gate.say("PASS", {"token": SECRET})
    assert "HTTP 401" in github(gate, "wrong-0123456789abcdef").stdout
    assert github(gate, SECRET, "http://127.0.0.1:1").returncode == 1
