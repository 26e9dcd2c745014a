"""A cutover asks the gate over HTTP and relies on nothing that is not whole, fresh and of its own migration."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from auditor.cutover.gate_port import HttpGate
from auditor.gate_client import GateClient, GateUnreachable, Way, client_of
from auditor.settings import load
from comparators.errors import NotReady
from comparators.findings import time_text
from orchestrator.conditions import NAMES
from orchestrator.deadlines import Deadline, DeadlinePassed
from tests.unit.test_cutover_settings import SMALLEST

VERDICT = "v_0123456789abcdef"


class Answering:
    """Stands for the client of a gate; remembers what it was asked."""

    def __init__(self, *answers: tuple[int, Any]) -> None:
        self.answers, self.base = list(answers), "http://gate"
        self.asked: list[tuple[str, str, Any]] = []

    def request(self, method: str, path: str, timeout: float, body: Any = None) -> tuple[int, str, bytes]:
        self.asked.append((method, path, body))
        status, said = self.answers.pop(0)
        if status == 0:
            raise GateUnreachable("nobody there")
        return status, "Words", said if isinstance(said, bytes) else json.dumps(said).encode()


def verdict(**changes: Any) -> dict[str, Any]:
    now = time.time()
    conditions = [{"name": name, "status": "PASS", "reason": "fine"} for name in (*NAMES, "dwell")]
    return {
        "migration": "orders", "verdict": "PASS", "evaluated_at": time_text(now), "valid_until": time_text(now + 10),
        "conditions": conditions, "reasons": [], "needs_person": False, "evidence_digest": "sha256:e", "id": VERDICT,
        "consumed_by": None, "sample": {"rate": 1.0}, "overrides": [], "overrides_standing": [],
    } | changes  # fmt: skip


def gate_on(tmp_path: Path, client: Answering) -> HttpGate:
    file = tmp_path / "auditor.yaml"
    file.write_text(yaml.safe_dump(SMALLEST))
    return HttpGate(load(file), client, client)  # type: ignore[arg-type]


def soon() -> Deadline:
    return Deadline.within(5, "a test")


def test_a_verdict_comes_with_its_name_its_conditions_and_the_rate(tmp_path: Path) -> None:
    client = Answering((200, verdict()))
    facts = gate_on(tmp_path, client).verdict(soon())
    assert (facts["id"], facts["verdict"], facts["rate"]) == (VERDICT, "PASS", 1.0)
    assert facts["conditions"]["open-findings"] == "PASS"
    assert client.asked == [("GET", "/v1/migrations/orders/gate?anew=1", None)]
    json.dumps(facts, allow_nan=False)


def test_the_overrides_of_a_verdict_are_those_in_force_and_not_those_applied_now(tmp_path: Path) -> None:
    client = Answering((200, verdict(overrides=[], overrides_standing=[{"id": "o_1"}])))
    assert [{"id": "o_1"}] == gate_on(tmp_path, client).verdict(soon())["overrides"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((0, None), "nobody there"),
        ((503, {"detail": "the store is away"}), "503 Words: the store is away"),
        ((200, b"<html>"), "not JSON"),
    ],
)
def test_no_verdict_is_made_of_what_is_no_answer(tmp_path: Path, answer: tuple[int, Any], said: str) -> None:
    with pytest.raises(NotReady, match=said):
        gate_on(tmp_path, Answering(answer)).verdict(soon())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"migration": "others"}, "about migration 'others'"),
        ({"valid_until": time_text(time.time() - 9)}, "no longer valid"),
        ({"conditions": []}, "leaves out"),
        ({"verdict": "MAYBE"}, "which is none"),
        ({"overrides_standing": None}, "which overrides are in force"),
    ],
)
def test_no_verdict_is_made_of_what_cannot_be_relied_on(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(NotReady, match=said):
        gate_on(tmp_path, Answering((200, verdict(**changes)))).verdict(soon())


def test_a_rate_that_the_gate_does_not_tell_is_not_known(tmp_path: Path) -> None:
    assert gate_on(tmp_path, Answering((200, verdict(sample={})))).verdict(soon())["rate"] is None


def test_a_verdict_is_consumed_for_one_cutover(tmp_path: Path) -> None:
    receipt = {"seq": 7, "hash": "h", "id": VERDICT, "cutover": "orders/1", "at": "t", "valid_until": "u"}
    client = Answering((200, receipt))
    assert gate_on(tmp_path, client).consume(VERDICT, "orders/1", soon()) == {"receipt": receipt}
    path = "/v1/migrations/orders/gate:consume"
    assert client.asked == [("POST", path, {"cutover": "orders/1", "verdict": VERDICT})]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((409, {"detail": "already consumed by other"}), "409 Words: already consumed by other"),
        ((200, {"id": VERDICT, "cutover": "other"}), "another cutover"),
        ((200, []), "not what a gate says"),
    ],
)
def test_a_refused_or_strange_receipt_is_none(tmp_path: Path, answer: tuple[int, Any], said: str) -> None:
    with pytest.raises(NotReady, match=said):
        gate_on(tmp_path, Answering(answer)).consume(VERDICT, "orders/1", soon())


def test_nobody_is_asked_once_the_time_is_over(tmp_path: Path) -> None:
    client = Answering()
    with pytest.raises(DeadlinePassed):
        gate_on(tmp_path, client).verdict(Deadline(time.monotonic() - 1, "a test"))
    assert client.asked == []


def test_figures_of_a_probe_that_failed_are_none(tmp_path: Path) -> None:
    groups = [
        {"group": "lag", "error": None, "figures": {"marker_p99_ms": 3.0}},
        {"group": "capacity", "error": "away", "figures": {"predicted_drain_seconds": 0.1}},
    ]
    found = gate_on(tmp_path, Answering((200, {"groups": groups}))).figures(soon())
    assert found == {"lag": {"marker_p99_ms": 3.0}, "capacity": {}}


def test_a_verdict_is_consumed_with_a_token_that_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READER", "r" * 20)
    monkeypatch.setenv("DEPLOYER", "d" * 20)
    tokens = [
        {"name": "reader", "token": "env:READER", "scopes": ["read"]},
        {"name": "deployer", "token": "env:DEPLOYER", "scopes": ["consume"]},
    ]
    file = tmp_path / "auditor.yaml"
    file.write_text(yaml.safe_dump(SMALLEST | {"gate": {"tokens": tokens}}))
    settings = load(file)
    read, consume = (client_of(settings, Way(), scope) for scope in ("read", "consume"))
    assert isinstance(consume, GateClient)
    assert read._headers["Authorization"] == f"Bearer {'r' * 20}"
    assert consume._headers["Authorization"] == f"Bearer {'d' * 20}"
