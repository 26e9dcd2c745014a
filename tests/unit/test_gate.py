"""The gate process: starts careful, outlives its sources, serves nothing old."""

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from auditor import api
from auditor.board import BoardKeeper
from auditor.consumption import ConsumptionRefused
from auditor.gate import Gate, listen
from auditor.gate_limits import limits_of
from auditor.settings import GateSettings
from auditor.verdicts import broken, evaluation_id
from comparators.errors import SettingInvalid, StoreUnavailable
from tests.helpers import wait_for, wait_for_async
from tests.helpers_records import FINDING, MemoryRecords, good_records, settings_of, suspect
from tests.verdict_logs import MemoryVerdictLog


class Clock:
    """Shows real time plus what a test adds."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Feeder:
    """Keeps the records of a healthy migration fresh, as its processes would."""

    def __init__(self, records: MemoryRecords, clock: Callable[[], float]) -> None:
        self._records, self._clock, self._stop = records, clock, threading.Event()
        self.silent: set[str] = set()
        self.changed: dict[str, dict[str, Any]] = {}
        self._thread = threading.Thread(target=self._feed)

    def __enter__(self) -> "Feeder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _feed(self) -> None:
        baseline = self._clock() - 100
        while not self._stop.is_set():
            fresh = good_records(self._clock())
            fresh["baseline"]["at"] = baseline
            fresh.update(self.changed)
            with contextlib.suppress(StoreUnavailable):
                self._records.put({key: value for key, value in fresh.items() if key not in self.silent})
            self._stop.wait(0.05)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords()


@pytest.fixture
def verdicts() -> MemoryVerdictLog:
    return MemoryVerdictLog()


@pytest.fixture
async def gate(records: MemoryRecords, clock: Clock, verdicts: MemoryVerdictLog) -> AsyncIterator[Gate]:
    gate = Gate(settings_of(), lambda: records, clock, verdicts.open)
    running = asyncio.ensure_future(gate.run())
    yield gate
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    await asyncio.to_thread(gate.stop)


@pytest.fixture
async def client(gate: Gate) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(api.build(gate))) as client:
        yield client


async def until(gate: Gate, verdict: str) -> None:
    def described() -> str | None:
        seen = gate.current().verdict
        return "yes" if seen.status == verdict else None

    try:
        await wait_for_async(described, 10, f"the verdict {verdict}")
    except AssertionError as error:
        raise AssertionError(f"{error}: {gate.current().verdict.reasons}") from None


async def test_a_restart_starts_inconclusive(gate: Gate) -> None:
    assert gate.current().verdict.status == "INCONCLUSIVE"
    assert gate.not_ready()


async def test_fresh_evidence_opens_it_and_a_difference_closes_it(
    gate: Gate, records: MemoryRecords, clock: Clock
) -> None:
    with Feeder(records, clock):
        await until(gate, "PASS")
        assert gate.not_ready() == []
        records.put({f"suspect/{FINDING}": suspect(now=clock(), state="confirmed")})
        await until(gate, "FAIL")
        records.put({f"settled/{FINDING}": {"state": "healed", "settled_at": clock()}})
        await until(gate, "PASS")


async def test_asked_anew_it_decides_on_records_that_were_read_after_the_question(
    client: TestClient[Any, Any], gate: Gate, records: MemoryRecords, clock: Clock
) -> None:
    with Feeder(records, clock):
        await until(gate, "PASS")
        records.put({f"suspect/{FINDING}": suspect(now=clock(), state="confirmed")})
        asked = clock()
        said = await (await client.get("/v1/migrations/orders/gate?anew=1")).json()
        assert said["verdict"] == "FAIL"
        assert datetime.fromisoformat(said["evaluated_at"]).timestamp() >= asked - 0.001
        assert gate.current().evidence.read_at is not None
        assert gate.current().evidence.read_at >= asked
    assert (await client.get("/v1/migrations/orders/gate?anew=yes")).status == 400


async def test_asked_anew_it_does_not_decide_on_records_whose_reading_hangs(
    client: TestClient[Any, Any], gate: Gate, records: MemoryRecords, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, go_on, changes = threading.Event(), threading.Event(), records.changes

    def hang() -> Mapping[str, Any]:
        hangs.set()
        go_on.wait()
        return changes()

    with Feeder(records, clock):
        await until(gate, "PASS")
        monkeypatch.setattr(records, "changes", hang)
        try:
            await asyncio.to_thread(hangs.wait)
            said = await client.get("/v1/migrations/orders/gate?anew=1")
            assert (said.status, (await said.json())["code"]) == (503, "not-ready")
        finally:
            go_on.set()
        await until(gate, "PASS")
        assert (await client.get("/v1/migrations/orders/gate?anew=1")).status == 200


async def test_a_core_that_dies_closes_it_with_the_reason(gate: Gate, records: MemoryRecords, clock: Clock) -> None:
    with Feeder(records, clock) as feeder:
        await until(gate, "PASS")
        feeder.silent |= {"core/0", "core/1", "process/core"}
        feeder.changed["supervisor/worker"] = {"restarts": 1, "last_exit": "killed by signal 9", "at": clock()}
        await wait_for_async(lambda: "supervisor/worker" in records.values, 5, "the news")
        clock.ahead += 6
        await until(gate, "INCONCLUSIVE")
        await wait_for_async(
            lambda: any("killed by signal 9" in reason for reason in gate.current().verdict.reasons), 5, "the reason"
        )
        assert any(problem.startswith("core:") for problem in gate.not_ready())


async def test_a_lost_store_closes_it_and_a_store_that_comes_back_opens_it(
    gate: Gate, records: MemoryRecords, clock: Clock
) -> None:
    with Feeder(records, clock):
        await until(gate, "PASS")
        records.away = True
        await until(gate, "INCONCLUSIVE")
        assert any("the disk is gone" in reason for reason in gate.current().verdict.reasons)
        assert any("the disk is gone" in problem for problem in gate.not_ready())
        records.away = False
        await until(gate, "PASS")


async def test_a_store_that_is_away_at_the_start_is_tried_again(clock: Clock) -> None:
    records, tries = MemoryRecords(), []

    def open_store() -> MemoryRecords:
        tries.append(1)
        if len(tries) < 2:
            raise StoreUnavailable("not there yet")
        return records

    keeper = BoardKeeper(open_store, clock=clock)
    keeper.start()
    await wait_for_async(lambda: keeper.board.read_at is not None, 10, "the records")
    assert keeper.board.error is None
    await asyncio.to_thread(keeper.stop)
    assert records.closed


async def test_a_thread_that_dies_ends_the_process_with_its_error(records: MemoryRecords, clock: Clock) -> None:
    gate = Gate(settings_of(), lambda: records, clock, MemoryVerdictLog().open)
    broken: Any = records
    broken.changes = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(gate.run(), 10)
    await asyncio.to_thread(gate.stop)


async def test_an_old_evaluation_is_made_again_before_it_is_served(records: MemoryRecords, clock: Clock) -> None:
    gate = Gate(settings_of(), lambda: records, clock, MemoryVerdictLog().open)
    first = gate.current()
    assert gate.current() is first
    gate._monotonic = lambda: time.monotonic() + 2.5
    assert gate.current() is not first


async def test_it_writes_its_verdict_and_its_heartbeat(gate: Gate, records: MemoryRecords, clock: Clock) -> None:
    with Feeder(records, clock):
        await until(gate, "PASS")
        await wait_for_async(lambda: records.values.get("verdict", {}).get("verdict") == "PASS", 5, "the verdict")
    assert records.values["process/gate"]["incarnation"] == gate.incarnation
    assert records.values["verdict"]["incarnations"]["gate"] == gate.incarnation


async def test_a_question_asks_for_nudges_once_in_a_while(client: TestClient[Any, Any], records: MemoryRecords) -> None:
    for _ in range(5):
        await client.get("/v1/migrations/orders/gate")
    await wait_for_async(lambda: "wait/gate" in records.values, 5, "the note that somebody waits")
    assert records.values["wait/gate"]["until"] > time.time() + 20
    assert sum("wait/gate" in items for items in records.puts) == 1


# HTTP.


async def test_the_gate_answers_200_whatever_the_verdict(client: TestClient[Any, Any]) -> None:
    response = await client.get("/v1/migrations/orders/gate")
    assert (response.status, response.content_type) == (200, "application/json")
    assert response.headers["Cache-Control"] == "no-store"
    document = await response.json()
    assert document["verdict"] == "INCONCLUSIVE"
    assert document["migration"] == "orders"


async def test_check_is_200_only_at_pass(
    client: TestClient[Any, Any], gate: Gate, records: MemoryRecords, clock: Clock
) -> None:
    closed = await client.post("/v1/migrations/orders/gate:check")
    document = await closed.json()
    assert (closed.status, closed.content_type) == (409, "application/problem+json")
    assert (document["code"], document["verdict"]) == ("gate-closed", "INCONCLUSIVE")
    with Feeder(records, clock):
        await until(gate, "PASS")
        opened = await client.post("/v1/migrations/orders/gate:check")
        assert opened.status == 200
        assert (await opened.json())["verdict"] == "PASS"


async def test_ready_names_what_is_missing(
    client: TestClient[Any, Any], gate: Gate, records: MemoryRecords, clock: Clock
) -> None:
    assert (await client.get("/livez")).status == 200
    answer = await client.get("/readyz")
    assert answer.status == 503
    assert (await answer.json())["code"] == "not-ready"
    with Feeder(records, clock) as feeder:
        await wait_for_async(lambda: gate.not_ready() == [], 10, "readiness")
        assert (await client.get("/readyz")).status == 200
        feeder.silent.add("baseline")
        records.put({"baseline": None})
        await wait_for_async(lambda: gate.not_ready() != [], 10, "a missing baseline")
        assert "auditor prepare" in (await (await client.get("/readyz")).json())["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/migrations/other/gate", 404, "not-found"),
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/v1/migrations/orders/gate:check", 405, "method-not-allowed"),
        ("GET", "/v1/migrations/orders/findings?state=odd", 400, "bad-request"),
    ],
)
async def test_errors_have_a_code(client: TestClient[Any, Any], method: str, path: str, status: int, code: str) -> None:
    response = await client.request(method, path)
    document = await response.json(content_type="application/problem+json")
    assert (response.status, document["status"], document["code"]) == (status, status, code)


async def test_findings_and_migrations_are_listed(
    client: TestClient[Any, Any], gate: Gate, records: MemoryRecords
) -> None:
    records.put({f"suspect/{FINDING}": suspect(keys=[{"hash": "cd", "clear": {"id": "42"}}])})
    await wait_for_async(lambda: bool(gate.findings()), 5, "the finding")
    (finding,) = (await (await client.get("/v1/migrations/orders/findings")).json())["findings"]
    assert (finding["id"], finding["key_hash"]) == (FINDING, "cd")
    assert "key" not in finding
    none = await client.get("/v1/migrations/orders/findings?state=confirmed")
    assert (await none.json())["findings"] == []
    (one,) = (await (await client.get("/v1/migrations")).json())["migrations"]
    assert (one["id"], one["gate"]) == ("orders", "/v1/migrations/orders/gate")


async def test_events_tell_each_change_of_the_verdict(
    client: TestClient[Any, Any], records: MemoryRecords, clock: Clock
) -> None:
    async with client.get("/v1/migrations/orders/events") as response:
        assert response.content_type == "text/event-stream"
        seen = []
        with Feeder(records, clock):
            async with asyncio.timeout(15):
                async for line in response.content:
                    if not line.startswith(b"data: "):
                        continue
                    seen.append(json.loads(line[6:])["verdict"])
                    if seen[-1] == "PASS":
                        records.put({f"suspect/{FINDING}": suspect(now=clock(), state="confirmed")})
                    if seen[-1] == "FAIL":
                        break
    assert seen[0] == "INCONCLUSIVE"
    assert "PASS" in seen


@pytest.mark.parametrize("listen", ["0.0.0.0:8432", "10.0.0.5:8432", "[::]:8432", "gate.example:8432"])
def test_other_hosts_are_not_answered_without_saying_so(listen: str) -> None:
    with pytest.raises(SettingInvalid, match=r"gate\.listen") as caught:
        api.check_listen(GateSettings(listen=listen), listen)
    assert "gate.allow_remote" in caught.value.hint


@pytest.mark.parametrize("listen", ["127.0.0.1:8432", "[::1]:8432", "localhost:0"])
def test_this_host_is_answered(listen: str) -> None:
    api.check_listen(GateSettings(listen=listen), listen)


def test_the_wal_budget_is_the_slots_limit() -> None:
    limits = limits_of(settings_of(wal_budget_bytes=1 << 20, gate=GateSettings(limits={"lag-ms": 99})))
    assert limits.conditions["slots-in-budget"] == 1 << 20
    assert limits.conditions["lag-ms"] == 99


def test_what_is_put_before_the_end_is_written(records: MemoryRecords) -> None:
    keeper = BoardKeeper(lambda: records)
    keeper.start()
    wait_for(lambda: keeper.board.read_at is not None, 5, "the first reading")
    keeper.put({"verdict": {"verdict": "INCONCLUSIVE"}})
    keeper.stop()
    assert records.values["verdict"] == {"verdict": "INCONCLUSIVE"}


async def test_an_address_in_use_is_named(gate: Gate) -> None:
    first, second = (web.AppRunner(api.build(gate)) for _ in range(2))
    try:
        url = await listen(first, settings_of(gate=GateSettings(listen="127.0.0.1:0")))
        async with ClientSession() as session, session.get(f"{url}/livez") as response:
            assert response.status == 200
        taken = url.removeprefix("http://")
        with pytest.raises(SettingInvalid, match=taken):
            await listen(second, settings_of(gate=GateSettings(listen=taken)))
    finally:
        await first.cleanup()
        await second.cleanup()


async def test_a_pass_is_consumed_once_and_the_verdict_says_by_whom(
    gate: Gate, records: MemoryRecords, clock: Clock, verdicts: MemoryVerdictLog
) -> None:
    with Feeder(records, clock):
        early = gate.current().id
        await until(gate, "PASS")
        with pytest.raises(ConsumptionRefused, match="only a PASS"):
            await gate.consume(early, "friday")
        name = gate.current().id
        receipt = await gate.consume(name, "friday")
        assert receipt == await gate.consume(name, "friday")
        await wait_for_async(lambda: gate.current().document["consumed_by"] == "friday", 5, "the news")
        assert evaluation_id(gate.current().document) == gate.current().id
        with pytest.raises(ConsumptionRefused, match="already consumed by friday"):
            await gate.consume(gate.current().id, "saturday")
        assert [name] == [entry.id for entry in verdicts.entries("consumed")]
        assert name in [entry.id for entry in verdicts.entries("verdict")]
        assert [] == broken(verdicts.lines())


async def test_a_verdict_is_not_consumed_once_the_gate_has_closed(
    gate: Gate, records: MemoryRecords, clock: Clock, verdicts: MemoryVerdictLog
) -> None:
    with Feeder(records, clock):
        await until(gate, "PASS")
        name = gate.current().id
        records.put({f"suspect/{FINDING}": suspect(now=clock(), state="confirmed")})
        await until(gate, "FAIL")
        with pytest.raises(ConsumptionRefused, match="the gate has closed since: FAIL"):
            await gate.consume(name, "friday")
        assert [] == verdicts.entries("consumed")


async def test_without_the_log_it_answers_says_so_and_gives_no_receipt(
    gate: Gate, records: MemoryRecords, clock: Clock, verdicts: MemoryVerdictLog
) -> None:
    with Feeder(records, clock):
        await until(gate, "PASS")
        verdicts.away = True
        with pytest.raises(ConsumptionRefused) as refused:
            await gate.consume(gate.current().id, "friday")
        assert 503 == refused.value.status
        await wait_for_async(
            lambda: records.values.get("process/gate", {}).get("error") == "the disk is gone", 5, "the process error"
        )
        assert "PASS" == gate.current().verdict.status
        verdicts.away = False
        await wait_for_async(lambda: records.values["process/gate"]["error"] is None, 10, "the good news")
        assert await gate.consume(gate.current().id, "friday")
