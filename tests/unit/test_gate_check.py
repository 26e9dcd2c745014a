"""`auditor gate check` exits 0 on a PASS that is fresh, whole and consistent, and on nothing else."""

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auditor.evidence import Expected, fold
from auditor.gate_check import Untrusted, check, judge
from auditor.settings import GateSettings, ReplicationSettings, Settings, SideSettings
from orchestrator.policy import Limits, decide, verdict_json
from tests.helpers_records import FINDING, good_records, suspect

SETTINGS = Settings(
    migration="orders",
    source=SideSettings("host=source"),
    target=SideSettings("host=target"),
    replication=ReplicationSettings("native", ("app_pub",), ("app_sub",)),
    state_dir=Path("state"),
    gate=GateSettings(dwell_seconds=1.0),
)
AT_ONCE = replace(Limits(), dwell_seconds=0.0, evaluations=1)


def document(now: float, **changed_records: Any) -> dict[str, Any]:
    records = good_records(now) | changed_records
    seen = replace(fold(records, now, Expected("orders", 2, "c0ffee")), caught_up_age=0.2)
    return verdict_json(decide(seen, AT_ONCE, now)[0])


def passing(now: float) -> dict[str, Any]:
    return document(now)


def failing(now: float) -> dict[str, Any]:
    return document(now, **{f"suspect/{FINDING}": suspect(now=now, state="confirmed")})


def waiting(now: float) -> dict[str, Any]:
    return document(now, **{"core/0": {}})


def stuck(now: float) -> dict[str, Any]:
    return document(now, baseline={})


class FakeGate(HTTPServer):
    """Answers with what the test put in; the last answer repeats."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Any] = []
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: FakeGate

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        status, body = answer if isinstance(answer, tuple) else (200, answer(time.time()))
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def gate() -> Iterator[FakeGate]:
    with FakeGate() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "code", "verdict"),
    [(passing, 0, "PASS"), (failing, 1, "FAIL"), (waiting, 3, "INCONCLUSIVE"), (stuck, 4, "INCONCLUSIVE")],
)
def test_the_exit_code_is_the_verdict(
    gate: FakeGate, capsys: pytest.CaptureFixture[str], answer: Any, code: int, verdict: str
) -> None:
    gate.answers = [answer]
    assert check(SETTINGS, gate.url, as_json=True) == code
    printed = json.loads(capsys.readouterr().out)
    assert printed["verdict"] == verdict
    assert gate.asked == ["/v1/migrations/orders/gate"]
    assert check(SETTINGS, gate.url) == code
    assert f"orders: {verdict}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [
        (500, b"{}"),
        (404, {"detail": "no such migration"}),
        (302, passing(time.time())),
        (200, b""),
        (200, b"PASS"),
        (200, b'"PASS"'),
        (200, {"verdict": "PASS"}),
        lambda now: passing(now) | {"migration": "other"},
        lambda now: passing(now - 3600),
        lambda now: passing(now - 3600) | {"valid_until": "2999-01-01T00:00:00Z"},
    ],
)
def test_anything_else_is_not_known(gate: FakeGate, capsys: pytest.CaptureFixture[str], answer: Any) -> None:
    gate.answers = [answer]
    assert check(SETTINGS, gate.url, as_json=True) == 3
    printed = json.loads(capsys.readouterr().out)
    assert printed["verdict"] == "INCONCLUSIVE"
    assert printed["reasons"]
    assert printed["next_steps"]


def test_a_gate_that_does_not_answer_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    with FakeGate() as closed:
        url = closed.url
    assert check(SETTINGS, url, timeout=1, as_json=True) == 3
    assert "cannot be reached" in json.loads(capsys.readouterr().out)["reasons"][0]


def test_what_speaks_no_http_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(SETTINGS, "ftp://nowhere", timeout=1) == 3
    assert "INCONCLUSIVE" in capsys.readouterr().out


def test_waiting_returns_at_the_first_pass(gate: FakeGate, capsys: pytest.CaptureFixture[str]) -> None:
    gate.answers = [waiting, (503, b""), stuck, failing, passing]
    assert check(SETTINGS, gate.url, wait=True, timeout=60, pause=lambda _: None) == 0
    output = capsys.readouterr()
    assert len(gate.asked) == 5
    assert "core-alive" in output.err
    assert "core-alive" not in output.out.splitlines()[0]


def test_waiting_returns_at_a_fail_only_when_it_lasts(gate: FakeGate) -> None:
    began = time.time()
    clock = [began]

    def since_began(now: float) -> dict[str, Any]:
        return failing(clock[0]) | {"since": verdict_json_time(began)}

    gate.answers = [since_began]
    assert check(SETTINGS, gate.url, True, 60, now=lambda: clock[0], pause=lambda _: pass_time(clock, 0.25)) == 1
    assert len(gate.asked) == 5


def verdict_json_time(at: float) -> str:
    return str(failing(at)["evaluated_at"])


def pass_time(clock: list[float], seconds: float) -> None:
    clock[0] += seconds


@pytest.mark.parametrize(("answer", "code"), [(waiting, 3), (stuck, 4)])
def test_waiting_ends_in_time_with_the_last_verdict_s_code(gate: FakeGate, answer: Any, code: int) -> None:
    clock = [time.time()]
    gate.answers = [lambda _: answer(clock[0])]
    assert check(SETTINGS, gate.url, True, 5, now=lambda: clock[0], pause=lambda _: pass_time(clock, 1)) == code
    assert len(gate.asked) == 6


NOW = time.time()


def test_a_fresh_verdict_is_taken_as_it_is() -> None:
    assert judge(json.dumps(passing(NOW)).encode(), "orders", 15, NOW + 1).code == 0


@pytest.mark.parametrize(
    "change",
    [
        {"conditions": []},
        {"conditions": None},
        {"conditions": ["PASS"]},
        {"needs_person": True},
        {"needs_person": None},
        {"valid_until": None},
        {"valid_until": "2030-01-01T00:00:00"},
        {"evaluated_at": "soon"},
        {"verdict": "FAIL"},
        {"verdict": "pass"},
        {"migration": None},
        {"reasons": ["one"]},
        {"reasons": None},
        {"conditions": [*passing(NOW)["conditions"][:-1]]},
        {"conditions": [{"name": "open-findings", "status": "FAIL"}, *passing(NOW)["conditions"]]},
    ],
)
def test_a_verdict_that_contradicts_itself_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Untrusted):
        judge(json.dumps(passing(NOW) | change).encode(), "orders", 15, NOW)


@pytest.mark.parametrize("age", [-3.5, 15.5])
def test_a_verdict_of_another_time_is_refused(age: float) -> None:
    with pytest.raises(Untrusted):
        judge(json.dumps(passing(NOW)).encode(), "orders", 15, NOW + age)


@given(st.data())
def test_a_pass_over_conditions_that_do_not_all_hold_is_refused(data: st.DataObject) -> None:
    answer = passing(NOW)
    picked = data.draw(st.sets(st.integers(0, len(answer["conditions"]) - 1), min_size=1))
    for index in sorted(picked, reverse=True):
        if data.draw(st.booleans()) and answer["conditions"][index]["name"] != "dwell":
            del answer["conditions"][index]
        else:
            answer["conditions"][index]["status"] = data.draw(st.sampled_from(["INCONCLUSIVE", "FAIL", "maybe", None]))
    with pytest.raises(Untrusted):
        judge(json.dumps(answer).encode(), "orders", 15, NOW)


def test_an_inconclusive_verdict_over_a_failing_condition_is_refused() -> None:
    with pytest.raises(Untrusted, match="FAIL"):
        judge(json.dumps(failing(NOW) | {"verdict": "INCONCLUSIVE"}).encode(), "orders", 15, NOW)
