"""Every route keeps the published description, whatever is sent: schemathesis against a real gate over HTTP."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import ignored_auth

from auditor.api import openapi
from comparators.findings import time_text
from tests.gate_server import GateServer

SECRET = "every-scope-0123456789abcdef"
STREAM = "events"
"""It has no end."""
schema = schemathesis.openapi.from_dict(openapi.document())
OPERATIONS = sorted(found.ok().definition.raw["operationId"] for found in schema.get_all_operations())
OPERATIONS.remove(STREAM)
schema.config.generation.update(modes=list(schemathesis.GenerationMode))


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateServer]:
    folder = tmp_path_factory.mktemp("described")
    (folder / "token").write_text(SECRET)
    scopes = ["read", "consume", "override", "alert"]
    with GateServer(folder, tokens=[{"name": "every", "token": "file:token", "scopes": scopes}]) as server:
        server.say("PASS", {"token": SECRET})
        yield server


def _described(operation: str) -> Callable[..., None]:
    """Make the test of one operation."""

    @schema.include(operation_id=operation).parametrize()
    @settings(
        max_examples=12,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def test(gate: GateServer, case: Any) -> None:
        _make_sensible(case)
        case.call_and_validate(
            base_url=gate.url, headers={"Authorization": f"Bearer {SECRET}"}, excluded_checks=[ignored_auth]
        )  # who may ask what is tried in test_gate_http; strangers who ask as often as this are told to wait

    return test


for _operation in OPERATIONS:  # one function each: schemathesis gives all tests of one function the same name
    globals()[f"test_{_operation}_answers_as_described"] = _described(_operation)


def test_every_operation_has_its_test() -> None:
    documented = {one["operationId"] for methods in openapi.document()["paths"].values() for one in methods.values()}
    assert documented == {*OPERATIONS, STREAM}


def _make_sensible(case: Any) -> None:
    """Ask about the migration that is there, and for a time to come: what a schema alone cannot say."""
    if case.meta.generation.mode is not schemathesis.GenerationMode.POSITIVE:
        return
    if "id" in case.path_parameters:
        case.path_parameters["id"] = "orders"
    if case.operation.path.endswith("/overrides") and isinstance(case.body, dict):
        case.body["until"] = time_text(time.time() + random.Random(case.id).randrange(60, 86400))
