"""The cutover over HTTP: who may ask what, under which name, and what is said where it is not known."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from auditor import api
from auditor.api import shapes
from auditor.cutover.desk import Desk
from auditor.cutover.planning import NotApprovable
from auditor.gate import Gate
from auditor.settings import GateSettings
from comparators.errors import NotReady
from orchestrator.cutover import Event
from orchestrator.records import Entry, Journal, JournalUnavailable, Wish
from orchestrator.rehearsal import MemoryJournal
from tests.helpers import wait_for_async
from tests.helpers_records import MemoryRecords, settings_of
from tests.journals import Written
from tests.unit.test_api import READER, WRITER, token
from tests.verdict_logs import MemoryVerdictLog

ONE = "/v1/migrations/orders"
DIGEST = f"sha256:{'4f' * 32}"
SAID = {"by": "Jo Doe", "reason": "errors in checkout"}


class Asked(MemoryJournal):
    """A journal that remembers which entries it was asked for."""

    def __init__(self, migration: str) -> None:
        super().__init__(migration)
        self.asked: list[tuple[int, int | None]] = []

    def entries(self, after: int = 0, limit: int | None = None) -> list[Entry]:
        self.asked.append((after, limit))
        return super().entries(after, limit)


class Told(Desk):
    """A desk on a journal in memory, which may be away, and whose plan a test gives."""

    def __init__(self) -> None:
        self.journal = Asked("orders")
        self.away: Exception | None = None
        self.approved: list[tuple[str, str]] = []
        self.refuse: Exception | None = None
        super().__init__(settings_of(), self._opened)

    def plan(self) -> Mapping[str, Any]:  # type: ignore[override]
        return {"digest": DIGEST}

    def approve(self, by: str, digest: str) -> Mapping[str, Any]:  # type: ignore[override]
        if self.refuse:
            raise self.refuse
        self.approved.append((by, digest))
        return {"digest": digest, "by": by, "needed": 1, "given": 1}

    def write(self, written: Written) -> None:
        self.journal._entries = list(written.entries)

    @contextmanager
    def _opened(self) -> Iterator[Journal]:
        if self.away:
            raise self.away
        yield self.journal


@pytest.fixture
async def desk() -> AsyncIterator[Told]:
    desk = Told()
    yield desk
    if desk._thread.is_alive():
        await asyncio.to_thread(desk.stop)


@pytest.fixture
async def gate(desk: Told) -> AsyncIterator[Gate]:
    records = MemoryRecords()
    gate = Gate(settings_of(), lambda: records, time.time, MemoryVerdictLog)
    gate.cutover = desk
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


@pytest.fixture
async def guarded(gate: Gate, tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    given = (token("reader", READER, tmp_path, "read"), token("ann", WRITER, tmp_path, "read", "cutover"))
    async with TestClient(TestServer(api.build(gate, access=api.Access(GateSettings(tokens=given))))) as client:
        yield client


async def read(desk: Told) -> None:
    """Let the desk read its journal."""
    before = desk.view
    desk.start()
    await wait_for_async(lambda: desk.view is not before, 10, "the journal to be read")


async def test_it_tells_where_the_cutover_stands(desk: Told, client: TestClient[Any, Any]) -> None:
    desk.write(Written().until("write-canary"))
    await read(desk)
    answer = await client.get(f"{ONE}/cutover")
    status = await answer.json()
    assert (answer.status, status["phase"], status["proof_chain"]) == (200, "VERIFYING", "complete")
    assert set(shapes.CUTOVER_STATUS["required"]) <= set(status)


async def test_what_is_not_known_is_not_made_up(desk: Told, client: TestClient[Any, Any]) -> None:
    answer = await client.get(f"{ONE}/cutover")
    assert (answer.status, (await answer.json())["code"]) == (503, "cutover-unavailable")
    desk.away = JournalUnavailable("the journal cannot be reached")
    await read(desk)
    assert (await client.get(f"{ONE}/cutover")).status == 503
    assert (await client.get(f"{ONE}/cutover/history")).status == 503


async def test_a_journal_that_was_never_set_up_tells_of_no_cutover(desk: Told, client: TestClient[Any, Any]) -> None:
    desk.away = NotReady("the journal is empty")
    await read(desk)
    assert (await (await client.get(f"{ONE}/cutover")).json())["phase"] == "REGISTERED"


async def test_a_desk_finds_a_journal_again_that_was_away(desk: Told, client: TestClient[Any, Any]) -> None:
    desk.away = JournalUnavailable("away")
    desk.write(Written().until("check-gate"))
    await read(desk)
    desk.away = None
    await wait_for_async(lambda: desk.view.error is None, 10, "the journal to be read again")
    assert (await (await client.get(f"{ONE}/cutover")).json())["phase"] == "READY"


async def test_history_and_report_are_given(desk: Told, client: TestClient[Any, Any]) -> None:
    desk.write(Written().until("check-gate"))
    listed = await (await client.get(f"{ONE}/cutover/history?after=2&limit=1")).json()
    assert [entry["seq"] for entry in listed["entries"]] == [3]
    assert desk.journal.asked == [(2, 1)], "a long journal is not read whole for one page"
    assert (await (await client.get(f"{ONE}/cutover/report")).json())["attempt"] == 1
    assert (await client.get(f"{ONE}/cutover/report?attempt=9")).status == 404
    assert (await client.get(f"{ONE}/cutover/report?attempt=x")).status == 400


@pytest.mark.parametrize("wish", ["abort", "rollback", "finalize", "postpone", "unpostpone", "panic"])
async def test_a_wish_is_in_the_journal_before_the_answer(desk: Told, client: TestClient[Any, Any], wish: str) -> None:
    desk.write(Written().until("check-gate"))
    answer = await client.post(f"{ONE}/cutover:{wish}", json=SAID)
    told = await answer.json()
    (asked,) = desk.journal.requests()
    assert (answer.status, told["wish"], told["answer"]) == (202, wish, None)
    assert (asked.wish, asked.actor, asked.reason) == (Wish(wish), "Jo Doe", "errors in checkout")


@pytest.mark.parametrize("wish", ["rollback", "abort"])
async def test_what_nobody_would_carry_out_is_refused(desk: Told, client: TestClient[Any, Any], wish: str) -> None:
    ways = {"rollback": Written().until("write-canary"), "abort": Written().until("close-old").event(Event.FAILED)}
    desk.write(ways[wish].event(Event.EXHAUSTED, reason="the target is away"))
    answer = await client.post(f"{ONE}/cutover:{wish}", json=SAID)
    assert (answer.status, (await answer.json())["code"]) == (409, "cutover-refused")
    assert desk.journal.requests() == []


async def test_an_unproven_rollback_is_asked_for_in_so_many_words(desk: Told, client: TestClient[Any, Any]) -> None:
    desk.write(Written().until("check-gate"))
    assert (await client.post(f"{ONE}/cutover:rollback", json=SAID | {"unproven": True})).status == 202
    assert desk.journal.requests()[0].facts == {"unproven": True}


@pytest.mark.parametrize("body", [{}, {"by": "x"}, SAID | {"by": " "}, SAID | {"more": 1}, SAID | {"unproven": "yes"}])
async def test_a_wish_needs_a_name_and_a_reason(client: TestClient[Any, Any], body: Any) -> None:
    assert (await client.post(f"{ONE}/cutover:abort", json=body)).status == 400


async def test_with_nothing_under_way_there_is_nothing_to_abort(client: TestClient[Any, Any]) -> None:
    assert (await client.post(f"{ONE}/cutover:abort", json=SAID)).status == 404


async def test_a_plan_is_agreed_to_by_its_digest(desk: Told, client: TestClient[Any, Any]) -> None:
    assert (await (await client.get(f"{ONE}/cutover/plan")).json())["digest"] == DIGEST
    answer = await client.post(f"{ONE}/cutover:approve", json={"by": "Jo Doe", "plan": DIGEST})
    assert (answer.status, desk.approved) == (201, [("Jo Doe", DIGEST)])
    for plan in ("sha256:short", DIGEST + "\n", DIGEST.upper()):
        assert (await client.post(f"{ONE}/cutover:approve", json={"by": "Jo", "plan": plan})).status == 400
    desk.refuse = NotApprovable("the plan is another one", hint="look again")
    refused = await client.post(f"{ONE}/cutover:approve", json={"by": "Jo", "plan": DIGEST})
    assert (refused.status, (await refused.json())["code"]) == (409, "cutover-refused")


async def test_only_the_scope_cutover_steers_and_under_its_own_name(desk: Told, guarded: TestClient[Any, Any]) -> None:
    desk.write(Written().until("check-gate"))
    reader, ann = ({"Authorization": f"Bearer {secret}"} for secret in (READER, WRITER))
    for path in ("cutover:abort", "cutover:approve"):
        refused = await guarded.post(f"{ONE}/{path}", json=SAID, headers=reader)
        assert (refused.status, (await refused.json())["scope"]) == (403, "cutover")
    assert (await guarded.get(f"{ONE}/cutover/plan", headers=reader)).status == 403
    assert (await guarded.get(f"{ONE}/cutover/history", headers=reader)).status == 200
    assert (await guarded.post(f"{ONE}/cutover:abort", json=SAID, headers=ann)).status == 202
    assert desk.journal.requests()[0].actor == "token:ann"
    body = {"by": "somebody else", "plan": DIGEST}
    assert (await guarded.post(f"{ONE}/cutover:approve", json=body, headers=ann)).status == 201
    assert desk.approved == [("token:ann", DIGEST)]


async def test_a_migration_without_a_cutover_says_so(gate: Gate, client: TestClient[Any, Any]) -> None:
    gate.cutover = None
    ask: list[Callable[[], Any]] = [
        lambda: client.get(f"{ONE}/cutover"),
        lambda: client.post(f"{ONE}/cutover:abort", json=SAID),
    ]
    for one in ask:
        answer = await one()
        assert (answer.status, (await answer.json())["code"]) == (404, "not-found")
