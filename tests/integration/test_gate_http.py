"""The gate over real connections: TLS, tokens, certificates, slow clients, and one cutover at a time."""

import concurrent.futures
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from auditor.api.routes import ROUTES
from comparators.findings import time_text
from tests.certificates import Authority, localhost
from tests.gate_server import ONE, GateServer, Reply
from tests.helpers import wait_for

SCOPES = ("read", "consume", "override", "alert")
TOKENS = {scope: f"{scope}-{'0123456789abcdef' * 2}" for scope in SCOPES}
WRONG = "wrong-0123456789abcdef0123456789"
BODIES = {
    "consume": {"cutover": "test", "verdict": "v_" + "0" * 16},
    "override": {"condition": "canary", "owner": "Jo", "reason": "test", "until": "2020-01-01T00:00:00Z"},
    "alerts": {"version": "4", "alerts": []},
}


class Guarded:
    """A gate behind TLS that knows one token and one certificate for each scope."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.other = Authority(folder, "ca"), Authority(folder, "other")
        certificate, key = self.ca.sign("gate", *localhost())
        tokens = []
        for scope, secret in TOKENS.items():
            (folder / scope).write_text(secret + "\n")
            tokens.append({"name": f"only-{scope}", "token": f"file:{scope}", "scopes": [scope]})
        tls = {
            "certificate": str(certificate), "key": str(key), "client_ca": str(self.ca.file),
            "clients": {scope: [scope] for scope in SCOPES},
        }  # fmt: skip
        self.clients = {name: self.ca.sign(name) for name in (*SCOPES, "unlisted")}
        self.foreign = self.other.sign("read")
        self.server = GateServer(folder, tokens=tokens, tls=tls)
        self._open: dict[str, http.client.HTTPSConnection] = {}

    def trusting(self, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca.file)
        if certificate:
            context.load_cert_chain(*certificate)
        return context

    def ask(self, method: str, path: str, who: str, body: Any = None) -> Reply | None:
        """Ask as somebody; `None`: there was not even a connection."""
        kind, _, name = who.partition(":")
        token = {"token": TOKENS.get(name), "wrong": WRONG}.get(kind)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        for _ in range(2):
            connection = self._open.pop(who, None) or self._connection(who)
            try:
                connection.request(method, path, None if body is None else json.dumps(body), headers)
                response = connection.getresponse()
                reply = Reply(response.status, dict(response.getheaders()), response.read())
            except (ssl.SSLError, ConnectionError):  # the gate closes what idles: once more
                connection.close()
                continue
            self._open[who] = connection
            return reply
        return None

    def close(self) -> None:
        for connection in self._open.values():
            connection.close()

    def _connection(self, who: str) -> http.client.HTTPSConnection:
        kind, _, name = who.partition(":")
        certificate = {"certificate": self.clients.get(name), "foreign": self.foreign}.get(kind)
        return http.client.HTTPSConnection(
            "127.0.0.1", self.server.port, timeout=60, context=self.trusting(certificate)
        )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    made = Guarded(tmp_path_factory.mktemp("guarded"))
    with made.server:
        yield made
        made.close()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GateServer]:
    with GateServer(tmp_path_factory.mktemp("plain")) as server:
        yield server


MATRIX = [
    (route, who)
    for route in ROUTES
    for who in (
        "nobody",
        "wrong",
        *(f"token:{scope}" for scope in SCOPES),
        *(f"certificate:{scope}" for scope in SCOPES),
        "certificate:unlisted",
    )
]


@pytest.mark.parametrize(("route", "who"), MATRIX, ids=lambda one: one if isinstance(one, str) else one.name)
def test_who_may_ask_what(guarded: Guarded, route: Any, who: str) -> None:
    path = route.path.format(id="orders", verdict="v_" + "0" * 16, override="o_" + "0" * 16)
    method = "HEAD" if route.name == "events" else route.method  # a stream has no end
    answer = guarded.ask(method, path, who, BODIES.get(route.name))
    kind, _, name = who.partition(":")
    assert answer is not None
    if not route.scope or name == route.scope:
        assert answer.status not in (401, 403)
    elif kind in ("nobody", "wrong"):
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    else:
        assert answer.status == 403
        assert method == "HEAD" or answer.json()["scope"] == route.scope


def test_a_certificate_of_another_authority_reaches_no_route(guarded: Guarded) -> None:
    assert guarded.ask("GET", "/livez", "foreign") is None


def test_old_tls_is_refused(guarded: Guarded) -> None:
    context = guarded.trusting()
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        guarded.server.request("GET", "/livez", tls=context)


def test_the_local_command_finds_its_way_in(guarded: Guarded, tmp_path: Path) -> None:
    guarded.server.say("PASS", {"token": TOKENS["read"], "tls": guarded.trusting()})
    command = [sys.executable, "-m", "auditor", "gate", "check", "-c", str(guarded.server.file), "--json"]
    own = subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)
    assert (own.returncode, json.loads(own.stdout)["verdict"]) == (0, "PASS")
    away = [*command, "--url", guarded.server.url, "--ca", str(guarded.ca.file)]
    silent = subprocess.run(away, capture_output=True, text=True, check=False, timeout=180)
    assert (silent.returncode, "401" in silent.stdout) == (3, True), "a URL must not draw out a token"
    for more in (
        ["--token", f"file:{guarded.server.file.parent / 'read'}"],
        ["--cert", str(guarded.clients["read"][0]), "--key", str(guarded.clients["read"][1])],
    ):
        assert subprocess.run([*away, *more], stdout=subprocess.DEVNULL, check=False, timeout=180).returncode == 0
    strange = [*command, "--url", guarded.server.url, "--ca", str(guarded.other.file)]
    assert subprocess.run(strange, stdout=subprocess.DEVNULL, check=False, timeout=180).returncode == 3


def test_no_token_is_in_the_log(guarded: Guarded) -> None:
    guarded.ask("GET", f"{ONE}/gate", "wrong")
    guarded.ask("POST", f"{ONE}/alerts", "token:read", BODIES["alerts"])
    log = wait_for(lambda: (text := guarded.server.log.read_text()) and "forbidden" in text and text, 5, "the log")
    assert '"client": "token:only-read"' in log
    assert [secret for secret in (*TOKENS.values(), WRONG) if secret in log] == []


def test_a_changed_token_file_and_sighup_take_effect(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKENS["read"])
    with GateServer(tmp_path, tokens=[{"name": "one", "token": "file:token", "scopes": "read"}]) as server:
        assert server.request("GET", f"{ONE}/gate", token=TOKENS["read"]).status == 200
        (tmp_path / "token").write_text(TOKENS["alert"])
        assert server.process is not None
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.request("GET", f"{ONE}/gate", token=TOKENS["alert"]).status == 200, 10, "the new token")
        assert server.request("GET", f"{ONE}/gate", token=TOKENS["read"]).status == 401


def test_a_pass_is_consumed_once_and_nothing_else_at_all(plain: GateServer) -> None:
    def consume(cutover: str) -> Reply:
        return plain.request("POST", f"{ONE}/gate:consume", body={"cutover": cutover, "verdict": verdict})

    plain.say("FAIL")
    verdict = plain.request("GET", f"{ONE}/gate").json()["id"]
    refused = consume("too-early")
    assert (refused.status, refused.json()["code"]) == (409, "verdict-not-pass")
    plain.say("PASS")
    verdict = plain.request("GET", f"{ONE}/gate").json()["id"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(consume, [f"cutover-{number}" for number in range(8)]))
    assert sorted(reply.status for reply in replies) == [200] + [409] * 7
    receipt = next(reply.json() for reply in replies if reply.status == 200)
    assert {reply.json()["code"] for reply in replies if reply.status == 409} == {"already-consumed"}
    again = consume(receipt["cutover"])
    assert (again.status, again.json()) == (200, receipt)
    assert plain.request("GET", f"{ONE}/verdicts/{verdict}").json()["consumed"][0]["cutover"] == receipt["cutover"]
    listed = plain.request("GET", f"{ONE}/history?limit=5").json()["entries"]
    assert "consumed" in [entry["kind"] for entry in listed]


def test_overrides_on_the_command_line_reach_the_gate(plain: GateServer) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "auditor", "gate", *words, "-c", str(plain.file)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180)

    for more in ([], ["--url", plain.url]):
        told = run("override", "lag-bytes", "--owner", "Jo", "--reason", "batch", "--until", "6h", "--json", *more)
        name = json.loads(told.stdout)["id"]

        def listed() -> list[str]:
            return [one["id"] for one in plain.request("GET", f"{ONE}/overrides").json()["overrides"]]

        wait_for(lambda name=name: name in listed(), 5, "the override")
        assert name in run("overrides", *more).stdout
        assert run("override", "--revoke", name, *more).returncode == 0
        wait_for(lambda name=name: name not in listed(), 5, "its end")
        refused = run("override", "open-findings", "--owner", "Jo", "--reason", "x", "--until", "1h", *more)
        assert (refused.returncode, "invariant" in refused.stderr) == (2, True)


def test_an_override_opens_what_is_over_its_limit_and_says_so(plain: GateServer) -> None:
    plain.say("INCONCLUSIVE")
    body = {"condition": "lag-bytes", "owner": "Jo", "reason": "batch", "until": time_text(time.time() + 60)}
    made = plain.request("POST", f"{ONE}/overrides", body=body).json()
    opened = wait_for(lambda: _passing(plain), 10, "PASS by the override")
    assert opened["overrides"][0]["owner"] == "Jo"
    plain.request("DELETE", f"{ONE}/overrides/{made['id']}")
    wait_for(lambda: not _passing(plain), 10, "the end of it")


def _passing(server: GateServer) -> Any:
    document = server.request("GET", f"{ONE}/gate").json()
    return document if document["verdict"] == "PASS" else None


# Slow clients: the deadlines are the gate's own.


def test_who_never_ends_a_header_or_takes_no_answer_is_cut_off(plain: GateServer) -> None:
    def drips(first: bytes, more: bytes) -> bytes:
        """Send something, then a byte now and then, until the other side has had enough."""
        with socket.create_connection(("127.0.0.1", plain.port), timeout=60) as connection:
            connection.sendall(first)
            connection.settimeout(1)
            for _ in range(40):
                try:
                    connection.sendall(more)
                    if (answer := connection.recv(65536)) or not answer:
                        return answer
                except TimeoutError:
                    continue
                except OSError:
                    return b""
        raise AssertionError("nobody cut it off")

    header = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    body = f"POST {ONE}/gate:consume HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n".encode()
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        slow_header = pool.submit(drips, header, b"x")
        slow_body = pool.submit(drips, body + b"Content-Length: 1000\r\n\r\n", b" ")
        silent = pool.submit(drips, b"", b"")
        assert plain.request("GET", f"{ONE}/gate").status == 200
        assert slow_header.result() == b""
        assert silent.result() == b""
        assert b"request-timeout" in slow_body.result() or b"408" in slow_body.result()


def test_it_ends_within_ten_seconds_whoever_hangs_on(tmp_path: Path) -> None:
    with GateServer(tmp_path) as server, socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"POST /v1/migrations/orders/alerts HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n1")
        with socket.create_connection(("127.0.0.1", server.port)) as stream:
            stream.sendall(f"GET {ONE}/events HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            assert stream.recv(100).startswith(b"HTTP/1.1 200")
            assert server.process is not None
            os.kill(server.process.pid, signal.SIGTERM)
            assert server.process.wait(timeout=60) == 0
