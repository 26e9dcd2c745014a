"""The gate's HTTP interface: who may ask what, how often, and what becomes of what clients send."""

import asyncio
import base64
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from auditor import api
from auditor.api import alerts, openapi
from auditor.api.access import loopback
from auditor.api.buckets import Buckets
from auditor.api.problems import PROBLEMS, Problem
from auditor.api.routes import ROUTES
from auditor.api.serving import SILENT_SECONDS, Connections
from auditor.gate import Gate
from auditor.overriding import LONGEST_SECONDS, NotOverridable, end_of, new_override
from auditor.settings import GateSettings, RateLimit, SecretRef, TlsSettings, TokenSettings
from comparators.errors import SettingInvalid
from comparators.findings import time_text
from tests.helpers import wait_for_async
from tests.helpers_records import NOW, MemoryRecords, settings_of
from tests.verdict_logs import MemoryVerdictLog

ROOT = Path(__file__).parents[2]
ONE = "/v1/migrations/orders"
READER, WRITER = "r" * 32, "w" * 32


def token(name: str, secret: str, folder: Path, *scopes: str) -> TokenSettings:
    file = folder / name
    file.write_text(secret + "\n")
    return TokenSettings(name, SecretRef(f"file:{file}", f"gate.tokens: {name}"), scopes)


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords()


@pytest.fixture
async def gate(records: MemoryRecords) -> AsyncIterator[Gate]:
    gate = Gate(settings_of(), lambda: records, time.time, MemoryVerdictLog)
    running = asyncio.ensure_future(gate.run())
    await wait_for_async(lambda: gate.current().evidence.read_at is not None, 10, "the first reading")
    yield gate
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await asyncio.to_thread(gate.stop)


@pytest.fixture
async def client(gate: Gate) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(api.build(gate))) as client:
        yield client


# Who asks.


@pytest.fixture
async def guarded(gate: Gate, tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    given = (token("reader", READER, tmp_path, "read"), token("writer", WRITER, tmp_path, "read", "override"))
    app = api.build(gate, access=api.Access(GateSettings(tokens=given)))
    async with TestClient(TestServer(app)) as client:
        yield client


async def test_a_token_opens_and_only_its_scopes(guarded: TestClient[Any, Any]) -> None:
    assert (await guarded.get(f"{ONE}/gate", headers={"Authorization": f"Bearer {READER}"})).status == 200
    refused = await guarded.delete(f"{ONE}/overrides/o_{'0' * 16}", headers={"Authorization": f"Bearer {READER}"})
    assert (refused.status, (await refused.json())["scope"]) == (403, "override")
    allowed = await guarded.delete(f"{ONE}/overrides/o_{'0' * 16}", headers={"Authorization": f"Bearer {WRITER}"})
    assert allowed.status == 404


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer x", f"Bearer {READER}x", f"Basic {READER}", "Basic %%%", f"Digest {READER}", READER],
)
async def test_without_a_known_token_nothing_is_told(guarded: TestClient[Any, Any], header: str | None) -> None:
    answer = await guarded.get(f"{ONE}/gate", headers={"Authorization": header} if header else {})
    document = await answer.json(content_type="application/problem+json")
    assert (answer.status, document["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert "verdict" not in document


async def test_a_browser_is_asked_for_a_password_and_the_token_is_one(guarded: TestClient[Any, Any]) -> None:
    asked = await guarded.get("/metrics", headers={"Accept": "text/html"})
    assert asked.headers["WWW-Authenticate"].startswith("Basic")
    given = base64.b64encode(f"anybody:{READER}".encode()).decode()
    assert (await guarded.get("/metrics", headers={"Authorization": f"Basic {given}"})).status == 200


async def test_liveness_readiness_and_the_description_are_open(guarded: TestClient[Any, Any]) -> None:
    assert [(await guarded.get(path)).status for path in ("/livez", "/readyz", "/openapi.json")] == [200, 503, 200]


async def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(gate: Gate, tmp_path: Path) -> None:
    app = api.build(gate, access=api.Access(GateSettings(tokens=(token("reader", READER, tmp_path, "read"),))))
    async with TestClient(TestServer(app)) as client:
        seen = {(await client.get(f"{ONE}/gate")).status for _ in range(230)}
        assert seen == {401, 429}
        assert (await client.get(f"{ONE}/gate", headers={"Authorization": f"Bearer {READER}"})).status == 200


def test_a_token_file_that_changes_counts_at_once_and_one_that_goes_ends(tmp_path: Path) -> None:
    access = api.Access(GateSettings(tokens=(token("reader", READER, tmp_path, "read"),)))
    (tmp_path / "reader").write_text(WRITER)
    access.refresh()
    assert access._by_token(f"Bearer {WRITER}", None).name == "token:reader"  # type: ignore[arg-type]
    (tmp_path / "reader").unlink()
    access.refresh()
    assert access.asks
    assert access._tokens == ()


@pytest.mark.parametrize("secret", ["short", "with blanks in the middle", "ä" * 20])
def test_a_token_that_is_none_is_refused_at_the_start_and_not_shown(tmp_path: Path, secret: str) -> None:
    with pytest.raises(SettingInvalid, match="reader") as caught:
        api.Access(GateSettings(tokens=(token("reader", secret, tmp_path, "read"),)))
    assert secret not in str(caught.value)


def test_two_clients_cannot_share_a_token(tmp_path: Path) -> None:
    tokens = (token("one", READER, tmp_path, "read"), token("two", READER, tmp_path, "override"))
    with pytest.raises(SettingInvalid, match="same token"):
        api.Access(GateSettings(tokens=tokens))


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("localhost.example", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_this_hosts_own_addresses(host: str, own: bool) -> None:
    assert loopback(host) is own


def test_other_hosts_are_answered_with_tokens_and_tls_only(tmp_path: Path) -> None:
    tokens = (token("reader", READER, tmp_path, "read"),)
    tls = TlsSettings(tmp_path / "crt", tmp_path / "key")
    listen = "0.0.0.0:8432"
    for lacking in (GateSettings(listen, tokens=tokens), GateSettings(listen, tls=tls)):
        with pytest.raises(SettingInvalid, match=r"no (TLS|tokens)"):
            api.check_listen(lacking, listen)
    api.check_listen(GateSettings(listen, tokens=tokens, tls=tls), listen)


async def test_a_page_of_another_site_cannot_write_through_the_operators_browser(client: TestClient[Any, Any]) -> None:
    for headers in ({"Host": "evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = await client.delete(f"{ONE}/overrides/o_{'0' * 16}", headers=headers)
        assert (answer.status, (await answer.json())["code"]) == (403, "forbidden")


# How often.


def test_a_bucket_gives_what_came_in_and_says_when_to_come_back() -> None:
    now = [0.0]
    buckets = Buckets(2.0, 3.0, lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    now[0] += 0.5
    assert (buckets.take("a"), buckets.take("a") > 0) == (0, True)
    now[0] -= 100  # a clock that goes back takes nothing away
    assert buckets.take("b") == 0


def test_buckets_stay_few_however_many_clients_there_are() -> None:
    buckets = Buckets(1.0, 1.0, lambda: 0.0, most=10)
    for number in range(1000):
        buckets.take(f"address:{number}")
    assert len(buckets) == 10


async def test_who_asks_too_often_is_told_when_to_come_back(gate: Gate) -> None:
    app = api.build(gate, rate=RateLimit(requests_per_second=0.5, burst=3))
    async with TestClient(TestServer(app)) as client:
        answers = [await client.get(f"{ONE}/gate") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert int(answers[-1].headers["Retry-After"]) in (1, 2)
        assert (await client.get("/livez")).status == 200


def test_connections_that_are_at_nothing_for_long_are_told() -> None:
    now = [0.0]
    connections = Connections(lambda: now[0])
    assert connections.silent(["slow", "busy", "done"]) == []
    connections.begin("busy")
    now[0] = SILENT_SECONDS
    connections.begin("done")
    connections.end("done")
    now[0] += 1
    assert connections.silent(["slow", "busy", "done"]) == ["slow"]
    now[0] += SILENT_SECONDS
    assert connections.silent(["busy", "done"]) == ["done"]


# Requests in general.


async def test_each_answer_has_the_requests_name(client: TestClient[Any, Any]) -> None:
    given = await client.get("/livez", headers={"X-Request-Id": "deploy-42.7"})
    assert given.headers["X-Request-Id"] == "deploy-42.7"
    for bad in ("a b", "x" * 65, "<script>", ""):
        made = (await client.get("/nothing", headers={"X-Request-Id": bad})).headers["X-Request-Id"]
        assert made != bad
        assert len(made) == 16


async def test_methods_are_answered_sanely(client: TestClient[Any, Any]) -> None:
    allowed = await client.options(f"{ONE}/overrides")
    assert (allowed.status, allowed.headers["Allow"]) == (204, "GET,HEAD,OPTIONS,POST")
    head = await client.head(f"{ONE}/gate")
    assert (head.status, await head.read()) == (200, b"")
    assert (await client.head(f"{ONE}/events")).status == 200
    wrong = await client.put(f"{ONE}/overrides")
    assert (wrong.status, "POST" in wrong.headers["Allow"]) == (405, True)


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{}", "text/plain", 415, "unsupported-media-type"),
        (b"{", "application/json", 400, "bad-request"),
        (b"[]", "application/json", 400, "bad-request"),
        (b"[" * 10000, "application/json", 400, "bad-request"),
        (b'{"version": NaN}', "application/json", 400, "bad-request"),
        (b"\xff", "application/json", 400, "bad-request"),
        (b" " * (2 << 20) + b"{}", "application/json", 413, "too-large"),
    ],
)
async def test_a_body_that_is_none_is_refused(
    client: TestClient[Any, Any], body: bytes, kind: str, status: int, code: str
) -> None:
    answer = await client.post(f"{ONE}/alerts", data=io.BytesIO(body), headers={"Content-Type": kind})
    assert (answer.status, (await answer.json())["code"]) == (status, code)


async def test_a_large_body_without_a_length_is_cut_off(client: TestClient[Any, Any]) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b" " * 8192

    try:
        answer = await client.post(f"{ONE}/gate:consume", data=endless(), headers={"Content-Type": "application/json"})
        assert answer.status == 413
    except OSError:
        pass  # it hung up in the middle of the sending, which is the same answer


# Overrides.


def asked(**changes: Any) -> dict[str, Any]:
    until = time_text(time.time() + 3600)
    return {"condition": "lag-bytes", "owner": "Jo", "reason": "batch", "until": until, **changes}


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
async def test_what_a_proxy_on_this_host_hands_on_is_not_this_host(client: TestClient[Any, Any], header: str) -> None:
    refused = await client.post(f"{ONE}/overrides", json=asked(), headers={header: "203.0.113.9"})
    assert refused.status in (401, 403)
    assert (await client.post(f"{ONE}/overrides", json=asked())).status == 201


async def test_an_override_is_recorded_listed_and_taken_back(
    client: TestClient[Any, Any], records: MemoryRecords
) -> None:
    made = await client.post(f"{ONE}/overrides", json=asked())
    override = await made.json()
    assert (made.status, override["condition"], override["by"]) == (201, "lag-bytes", "address:127.0.0.1")
    stored = records.values[f"override/{override['id']}"]
    assert (stored["owner"], stored["reason"], stored["item"]) == ("Jo", "batch", None)
    assert (await (await client.get(f"{ONE}/overrides")).json())["overrides"] == [override]
    assert (await client.delete(f"{ONE}/overrides/{override['id']}")).status == 204
    assert (await (await client.get(f"{ONE}/overrides")).json())["overrides"] == []
    assert (await client.delete(f"{ONE}/overrides/{override['id']}")).status == 404


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"condition": "open-findings"}, 409, "not-overridable"),
        ({"condition": "nothing"}, 409, "not-overridable"),
        ({"item": "no-such-item"}, 409, "not-overridable"),
        ({"owner": "  "}, 400, "bad-request"),
        ({"owner": "\ud800"}, 400, "bad-request"),
        ({"reason": ""}, 400, "bad-request"),
        ({"until": "2020-01-01T00:00:00Z"}, 400, "bad-request"),
        ({"until": "2999-01-01T00:00:00Z"}, 400, "bad-request"),
        ({"until": "2026-12-01"}, 400, "bad-request"),
        ({"until": None}, 400, "bad-request"),
        ({"more": 1}, 400, "bad-request"),
    ],
)
async def test_an_override_that_says_too_little_or_too_much_is_none(
    client: TestClient[Any, Any], records: MemoryRecords, change: dict[str, Any], status: int, code: str
) -> None:
    answer = await client.post(f"{ONE}/overrides", json=asked(**change))
    assert (answer.status, (await answer.json())["code"]) == (status, code)
    assert not any(key.startswith("override/") for key in records.values)


async def test_nothing_is_acknowledged_that_is_not_stored(client: TestClient[Any, Any], records: MemoryRecords) -> None:
    records.away = True
    for path, body in ((f"{ONE}/overrides", asked()), (f"{ONE}/alerts", message(alert("DiskFull")))):
        answer = await client.post(path, json=body)
        assert (answer.status, (await answer.json())["code"]) == (503, "records-unavailable")
    records.away = False


def test_an_override_ends_within_thirty_days() -> None:
    assert end_of(time_text(NOW + 60), NOW) == NOW + 60
    for ahead in (-1, 0, LONGEST_SECONDS + 10):
        with pytest.raises(SettingInvalid, match="until"):
            end_of(time_text(NOW + ahead), NOW)
    with pytest.raises(NotOverridable):
        new_override(asked(condition="canary"), "test", time.time())


# Alerts of others.


def alert(name: str, status: str = "firing", fingerprint: str = "c6f1b7a0e2d34598") -> dict[str, Any]:
    return {
        "status": status, "labels": {"alertname": name, "severity": "critical", "instance": "db-1:9100"},
        "annotations": {"summary": "The disk is full."}, "startsAt": "2026-11-21T10:00:00.5Z",
        "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://prometheus/graph", "fingerprint": fingerprint,
    }  # fmt: skip


def message(*listed: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A notification as Alertmanager 0.27 sends it."""
    return {
        "receiver": "gate", "status": "firing", "alerts": list(listed), "groupLabels": {"alertname": "DiskFull"},
        "commonLabels": {"alertname": "DiskFull"}, "commonAnnotations": {}, "externalURL": "http://alertmanager",
        "version": "4", "groupKey": '{}:{alertname="DiskFull"}', "truncatedAlerts": 0, **changes,
    }  # fmt: skip


async def test_an_alert_closes_the_gate_until_it_is_resolved(
    client: TestClient[Any, Any], gate: Gate, records: MemoryRecords
) -> None:
    taken = await client.post(f"{ONE}/alerts", json=message(alert("DiskFull")))
    assert await taken.json() == {"firing": 1, "resolved": 0, "ignored": 0}
    assert [one.name for one in gate.current().evidence.alerts or ()] == ["DiskFull"]
    (part,) = [one for one in gate.current().verdict.conditions if one.name == "external-alerts"]
    assert (part.value, part.status) == (1, "INCONCLUSIVE")
    assert set(records.values["alert/c6f1b7a0e2d34598"]) == {"name", "severity", "since", "at"}
    taken = await client.post(f"{ONE}/alerts", json=message(alert("DiskFull", "resolved")))
    assert await taken.json() == {"firing": 0, "resolved": 1, "ignored": 0}
    assert gate.current().evidence.alerts == ()


async def test_our_own_alerts_do_not_close_the_gate(client: TestClient[Any, Any], gate: Gate) -> None:
    taken = await client.post(f"{ONE}/alerts", json=message(alert("AuditorGateClosed")))
    assert await taken.json() == {"firing": 0, "resolved": 0, "ignored": 1}
    assert gate.current().evidence.alerts == ()


def test_alerts_that_were_left_out_may_fire() -> None:
    records, _ = alerts.records_of(message(alert("DiskFull"), truncatedAlerts=3), {}, NOW)
    assert len(records) == 2
    held = {key: value for key, value in records.items() if value}
    whole, _ = alerts.records_of(message(alert("DiskFull", "resolved")), held, NOW)
    assert whole == dict.fromkeys(records)


def test_no_alert_is_forgotten_for_want_of_room() -> None:
    held: dict[str, Any] = {f"alert/{number:x}": {"name": "x"} for number in range(1000)}
    with pytest.raises(Problem) as caught:
        alerts.records_of(message(alert("DiskFull")), held, NOW)
    assert caught.value.code == "too-many-alerts"
    assert alerts.records_of(message(alert("DiskFull", "resolved", "0")), held, NOW)[0] == {"alert/0": None}


async def test_more_alerts_than_the_gate_takes_are_refused_whole(client: TestClient[Any, Any], gate: Gate) -> None:
    many = [alert("DiskFull", fingerprint=f"{number:x}") for number in range(1001)]
    assert (await client.post(f"{ONE}/alerts", json=message(*many))).status == 400
    assert gate.current().evidence.alerts == ()


# Streams.


async def events(client: TestClient[Any, Any], count: int, last: str = "") -> list[tuple[str, dict[str, Any]]]:
    seen: list[tuple[str, dict[str, Any]]] = []
    name = ""
    async with client.get(f"{ONE}/events", headers={"Last-Event-ID": last} if last else {}) as response:
        async for line in response.content:
            if line.startswith(b"id: "):
                name = line[4:].decode().strip()
            if line.startswith(b"data: "):
                seen.append((name, json.loads(line[6:])))
                if len(seen) == count:
                    break
    return seen


async def test_a_stream_goes_on_where_it_was_cut(client: TestClient[Any, Any], gate: Gate) -> None:
    async with asyncio.timeout(15):
        ((first, _),) = await events(client, 1)
        fingerprint = "00"
        for status in ("firing", "resolved", "firing"):
            await client.post(f"{ONE}/alerts", json=message(alert("DiskFull", status, fingerprint)))
        missed = await events(client, 3, first)
        states = [
            next(one["status"] for one in body["conditions"] if one["name"] == "external-alerts") for _, body in missed
        ]
        assert states == ["INCONCLUSIVE", "PASS", "INCONCLUSIVE"]
        ((again, _),) = await events(client, 1, "00000000.1")
        assert again == missed[-1][0], "what another start of the gate sent says nothing about this one"


async def test_streams_are_bounded(client: TestClient[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.api.streams.MOST_STREAMS", 1)
    async with client.get(f"{ONE}/events") as response:
        await response.content.readline()
        refused = await client.get(f"{ONE}/events")
        assert (refused.status, (await refused.json())["code"]) == (503, "too-many-streams")


# The description.


def test_the_committed_description_is_the_one_that_is_served() -> None:
    assert (ROOT / "docs/openapi.json").read_text() == openapi.text()


def test_every_code_and_route_is_in_the_documentation() -> None:
    text = (ROOT / "docs/api.md").read_text()
    assert [code for code in PROBLEMS if f"| `{code}` |" not in text] == []
    assert [route.path for route in ROUTES if f"`{route.method} {route.path}`" not in text] == []
