"""Programs and services of the user's: what they are told, what counts as done, and what is never told on."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from comparators.errors import AuditorError, NeedsOperator, NotInstalled, NotReady
from orchestrator.adapters.callers import Program, Service
from orchestrator.adapters.hooks import CalledHooks, Hook
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.records import LeaseLost


def soon(seconds: float = 60) -> Deadline:
    return Deadline.within(seconds, "a test")


def python(code: str) -> Program:
    return Program([sys.executable, "-I", "-S", "-c", code])


# Programs.


def test_a_program_is_told_as_json_and_in_its_environment() -> None:
    code = "import os, sys, json; print(json.dumps([json.load(sys.stdin), os.environ['AUDITOR_TO']][0]))"
    assert {"to": "target", "deep": {"a": [1]}} == python(code).call({"to": "target", "deep": {"a": [1]}}, soon())


def test_what_a_program_prints_before_its_answer_is_not_the_answer() -> None:
    assert {"held": True} == python("print('working'); print('{\"held\": true}')").call({}, soon())


@pytest.mark.parametrize("printed", ["", "done", "[1]", "{", "null", "{'a': 1}"])
def test_a_program_that_prints_no_object_has_no_answer(printed: str) -> None:
    assert {} == python(f"print({printed!r})").call({}, soon())


def test_a_program_that_fails_is_told_with_its_reason() -> None:
    code = 'import sys; print(\'{"reason": "the\\\\n switch is locked"}\'); sys.exit(7)'
    with pytest.raises(NotReady, match="ended with exit code 7: the switch is locked"):
        python(code).call({}, soon())


def test_nothing_else_that_a_program_prints_is_told_on(capfd: pytest.CaptureFixture[str]) -> None:
    code = "import sys; print('password=hunter2'); sys.exit(1)"
    with pytest.raises(NotReady) as failed:
        python(code).call({}, soon())
    assert "hunter2" not in str(failed.value)


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    fifo = tmp_path / "alive"
    os.mkfifo(fifo)
    code = f"import os, time; os.fork(); out = open({str(fifo)!r}, 'w'); out.write('x'); out.flush(); time.sleep(900)"
    ends: list[str] = []
    reader = threading.Thread(target=lambda: ends.append(fifo.read_text()))  # ends when no writer is left
    reader.start()
    with pytest.raises(DeadlinePassed, match="did not end in time"):
        python(code).call({}, soon(3))
    reader.join(60)
    assert ["xx"] == ends


def test_a_program_whose_child_goes_on_is_not_waited_for() -> None:
    code = "import os, time; os.fork() or (os.setsid(), time.sleep(3)); print('{\"done\": 1}', flush=True)"
    assert {"done": 1} == python(code).call({}, soon())


def test_a_missing_program_needs_a_person() -> None:
    with pytest.raises(NotInstalled, match="nowhere cannot be started"):
        Program(["/nonexistent/nowhere"]).call({}, soon())


# Services.


@dataclass
class Spoken:
    """A service that answers as the test says, and keeps what it was asked."""

    url: str = ""
    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hold: threading.Event | None = None
    asked: list[tuple[Any, str | None]] = field(default_factory=list)


@pytest.fixture
def spoken() -> Iterator[Spoken]:
    told = Spoken()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.asked.append((body, self.headers["Authorization"]))
            if told.hold:
                told.hold.wait(60)
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}/proxy?key=hunter2"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield told
    if told.hold:
        told.hold.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_service_is_told_as_json_with_its_token(spoken: Spoken) -> None:
    spoken.body = b'{"held": true}'
    assert {"held": True} == Service(spoken.url, "secret").call({"action": "hold"}, soon())
    assert [({"action": "hold"}, "Bearer secret")] == spoken.asked


@pytest.mark.parametrize(
    ("status", "error"), [(500, NotReady), (409, NotReady), (302, NotReady), (401, NeedsOperator), (404, NeedsOperator)]
)
def test_a_service_that_refuses_is_told_with_its_reason(spoken: Spoken, status: int, error: type[AuditorError]) -> None:
    spoken.status, spoken.body, spoken.headers = status, b'{"reason": "busy"}', {"Location": "http://127.0.0.1:1/"}
    with pytest.raises(error, match=f"answered {status}: busy") as refused:
        Service(spoken.url, "secret").call({}, soon())
    assert "hunter2" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_service_that_does_not_answer_is_given_up_at_the_deadline(spoken: Spoken) -> None:
    spoken.hold = threading.Event()
    with pytest.raises((DeadlinePassed, NotReady)):
        Service(spoken.url).call({}, soon(0.3))


def test_a_service_that_is_down_may_be_asked_again() -> None:
    with pytest.raises(NotReady, match=r"127\.0\.0\.1:1/x cannot be asked"):
        Service("http://127.0.0.1:1/x").call({}, soon())


# Hooks.


@dataclass
class Said:
    """A hook that answers as the test says."""

    name: str
    answer: dict[str, Any] = field(default_factory=dict)
    error: AuditorError | None = None
    told: list[Any] = field(default_factory=list)

    def call(self, document: Any, deadline: Deadline) -> dict[str, Any]:
        self.told.append(document)
        if self.error:
            raise self.error
        return self.answer


def test_the_hooks_of_a_phase_are_called_in_order_with_its_facts() -> None:
    first, other, second = Said("a", {"reason": "announced"}), Said("b"), Said("c")
    hooks = CalledHooks([Hook("FENCING", first), Hook("GUARDED", other), Hook("FENCING", second)])
    assert {"hooks": [{"hook": "a", "reason": "announced"}, {"hook": "c"}]} == hooks.call(
        "FENCING", {"attempt": 3}, soon()
    )
    assert ([], 3, "FENCING") == (other.told, first.told[0]["attempt"], second.told[0]["phase"])


def test_a_phase_without_hooks_has_nothing_to_say() -> None:
    assert {} == CalledHooks([Hook("GUARDED", Said("a"))]).call("FENCING", {}, soon())


@pytest.mark.parametrize(
    "hook",
    [
        Said("no", error=NotReady("no ended with exit code 1: not on fridays")),
        Said("no", error=NeedsOperator("no cannot be started: not on fridays", hint="install it")),
        Said("no", {"proceed": False, "reason": "not on fridays"}),
        Said("no", {"proceed": None, "reason": "not on fridays"}),
    ],
)
def test_a_hook_that_does_not_agree_holds_the_phase(hook: Said) -> None:
    after = Said("after")
    with pytest.raises(NotReady, match=r"the hook no of FENCING holds: .*not on fridays"):
        CalledHooks([Hook("FENCING", hook), Hook("FENCING", after)]).call("FENCING", {}, soon())
    assert [] == after.told


def test_a_lost_lease_is_not_taken_for_a_hooks_no() -> None:
    with pytest.raises(LeaseLost):
        CalledHooks([Hook("FENCING", Said("a", error=LeaseLost("over")))]).call("FENCING", {}, soon())
