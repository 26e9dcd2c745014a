"""Every route keeps the published description, whatever is sent: schemathesis against a real gate over HTTP."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import ignored_auth, not_a_server_error

from auditor.api import openapi
from auditor.schema import SCOPES
from auditor.servers.postgres import PostgresServer
from comparators.findings import time_text
from orchestrator.journal import PostgresJournal
from orchestrator.records import Draft
from tests.gate_server import ONE, GateServer
from tests.helpers import Database, unique_name, wait_for
from tests.journals import Written

SECRET = "every-scope-0123456789abcdef"
STREAM = "events"
"""It has no end."""
CUTOVER = "/cutover"
"""Of these paths 503 is an answer as described: who is asked is another server, and the sides are away here."""
schema = schemathesis.openapi.from_dict(openapi.document())
OPERATIONS = sorted(found.ok().definition.raw["operationId"] for found in schema.get_all_operations())
OPERATIONS.remove(STREAM)
schema.config.generation.update(modes=list(schemathesis.GenerationMode))


@pytest.fixture(scope="module")
def journal(postgres_source: PostgresServer) -> Iterator[str]:
    """The journal of a cutover whose proof is whole; gives its connection string."""
    database = Database(postgres_source, unique_name())
    database.create()
    with PostgresJournal(database.dsn, "orders") as journal:
        journal.install([])
        written = Written().until("write-canary").entries
        epoch = journal.acquire("ann@host", 60).epoch
        journal.append(epoch, "ann@host", [Draft(e.attempt, e.direction, e.step, e.kind, e.facts) for e in written])
        journal.release(epoch)
    yield database.dsn
    database.drop()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory, journal: str) -> Iterator[GateServer]:
    """A gate that knows of a cutover; the sides, which only its plan asks, are away."""
    folder = tmp_path_factory.mktemp("described")
    (folder / "token").write_text(SECRET)
    away, far = ({"dsn": f"host=127.0.0.1 port={port} dbname=app"} for port in (1, 2))
    led = {word: ["false"] for word in ("hold", "release", "route", "observe")}
    cutover = {
        "journal": {"dsn": journal},
        "control": {"source": away, "target": far},
        "reverse": {"publisher": far},
        "proxies": [{"kind": "exec", "name": "ours", "probe": away, **led}],
    }
    tokens = [{"name": "every", "token": "file:token", "scopes": list(SCOPES)}]
    with GateServer(folder, cutover=cutover, tokens=tokens) as server:
        server.say("PASS", {"token": SECRET})
        wait_for(
            lambda: server.request("GET", f"{ONE}/cutover", token=SECRET).status == 200, 60, "the journal to be read"
        )
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
        response = case.call(base_url=gate.url, headers={"Authorization": f"Bearer {SECRET}"})
        away = response.status_code == 503 and CUTOVER in case.operation.path
        # who may ask what is tried in test_gate_http; strangers who ask as often as this are told to wait
        case.validate_response(response, excluded_checks=[ignored_auth, *([not_a_server_error] if away else [])])

    return test


for _operation in OPERATIONS:  # one function each: schemathesis gives all tests of one function the same name
    globals()[f"test_{_operation}_answers_as_described"] = _described(_operation)


def test_the_cutover_is_there_to_be_described(gate: GateServer) -> None:
    statuses = {
        path: gate.request("GET", f"{ONE}/{path}", token=SECRET).status
        for path in ("cutover", "cutover/history", "cutover/report", "cutover/plan")
    }
    assert statuses == {"cutover": 200, "cutover/history": 200, "cutover/report": 200, "cutover/plan": 503}


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
