"""The gate process: evidence in, verdict out, again and again; it serves what it decided last and nothing older.

It decides from the records alone, so it outlives databases, samplers and the core, and says so. Beside that it holds
our slots to their WAL budget, as the supervisor does: whichever of the two is alive protects the user's disk.
"""

import asyncio
import contextlib
import json
import logging
import os
import signal
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from aiohttp import web

from auditor import api, console
from auditor.accepted_differences import AcceptedFile, over_coverage
from auditor.api.serving import listen
from auditor.board import Board, BoardKeeper
from auditor.consumption import Receipt, log_away
from auditor.cutover.desk import Desk, watching
from auditor.evidence import Expected, FindingsReader, expected_of, fold, fold_findings, source_mark
from auditor.fields import below
from auditor.gate_limits import limits_of
from auditor.metrics import Exporter, View
from auditor.records import Records, open_records
from auditor.settings import Settings, Side
from auditor.verdict_history import Explained, Page, read_explained, read_page
from auditor.verdict_log import VerdictLog, open_to_write
from auditor.verdict_recorder import Evaluation, VerdictRecorder
from auditor.verdicts import evaluation_id
from auditor.version import auditor_version
from auditor.wal_budget import enforcer
from auditor.watchers import BudgetWatch
from comparators.findings import Finding, about_data
from orchestrator.conditions import Status
from orchestrator.policy import Dwell, Limits, Verdict, decide, verdict_json
from orchestrator.seen import Evidence, FindingsSeen, ProcessSeen
from orchestrator.watermarks import History, caught_up_age, follow

log = logging.getLogger(__name__)

EVALUATE_SECONDS = 0.2
STALE_SECONDS = 2.0
"""An answer older than this is never served; it is made again on the spot."""
HEARTBEAT_SECONDS = 1.0
WAIT_SECONDS = 30.0
"""For so long after a question the target is nudged, so that the next answer is quick."""
WAIT_AGAIN_SECONDS = 5.0
SEEN_SECONDS, SEEN_AGAIN_SECONDS = 2.0, 0.01
"""What a client stores is in the next answer: the records are read every 50 ms."""
ANEW_SECONDS, ANEW_AGAIN_SECONDS = 0.5, 0.002
"""For so long an answer that is asked anew waits for records that are read after the question."""
PICTURES = 64
"""Changes of the picture that a stream which was interrupted can catch up with."""
CONSUME_SECONDS = 5.0
"""How long the log may take to record a consumption; a file takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One evaluation, ready to be served."""

    verdict: Verdict
    evidence: Evidence
    body: bytes
    made: float
    """On the monotonic clock."""
    number: int
    """Rises when the verdict or the state of a condition changes, not with each figure."""
    document: Mapping[str, Any] = field(default_factory=dict)
    """What `body` says."""

    @property
    def id(self) -> str:
        """The name of this evaluation, by which it is consumed and explained."""
        return str(self.document["id"])


class Evaluator:
    """Turns boards into snapshots; the only mutable state is the history of the last evaluations."""

    def __init__(
        self, expected: Expected, limits: Limits, incarnation: str, accepted: AcceptedFile | None = None
    ) -> None:
        self._accepted = accepted or AcceptedFile(None)
        self._expected, self._limits, self._incarnation = expected, limits, incarnation
        self._dwell, self._history = Dwell(), History()
        self._findings: tuple[object, FindingsSeen] | None = None
        self.reader = FindingsReader(self._accepted)
        self._generation: int | None = None
        self._number = 0
        self._picture: tuple[object, ...] = ()

    def evaluate(self, board: Board, now: float, made: float, consumed_by: str | None = None) -> Snapshot:
        """Decide on what the board shows at a time; `consumed_by` is the cutover with a valid receipt."""
        evidence = self._evidence(board, now)
        verdict, self._dwell = decide(evidence, self._limits, now, self._dwell)
        picture = (*_picture(verdict), consumed_by)
        self._number, self._picture = self._number + (picture != self._picture), picture
        said = verdict_json(verdict)
        document = said | {"id": evaluation_id(said), "consumed_by": consumed_by}
        body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
        return Snapshot(verdict, evidence, body, made, self._number, document)

    def _evidence(self, board: Board, now: float) -> Evidence:
        seen = fold(
            over_coverage(board.state, self._accepted.entries()),
            now,
            self._expected,
            read_at=board.read_at,
            records_error=board.error or (None if board.read_at is not None else "the records were not read yet"),
            findings=self._fold_findings(board, now),
        )
        self._follow(seen, now)
        own = ProcessSeen(self._incarnation, heartbeat=now)
        age = caught_up_age(self._history, seen.resolved(), now)
        return replace(seen, caught_up_age=age, processes={**seen.processes, "gate": own})

    def _follow(self, seen: Evidence, now: float) -> None:
        generation = seen.baseline.generation if seen.baseline else None
        if generation != self._generation:  # positions of an earlier baseline may be of another server
            self._history, self._generation = History(), generation
        keep = max(60.0, 2 * self._limits.conditions["watermark-age"])
        at, position = source_mark(seen) or (None, None)
        self._history = follow(self._history, at, position, now, keep)

    def _fold_findings(self, board: Board, now: float) -> FindingsSeen:
        """Count the findings again only when one changed, or may have: acceptances end by themselves."""
        entries = self._accepted.entries()
        state = (board.findings_version, entries, self._accepted.error)
        if self._findings and self._findings[0] == state and not (board.accepted or entries):
            return self._findings[1]
        seen = fold_findings(board.records, now, self.reader)
        self._findings = (state, seen)
        return seen


class Gate:
    """The running gate: evaluates on a timer and on urgent news, answers the API, writes its own records."""

    def __init__(
        self,
        settings: Settings,
        open_store: Callable[[], Records] | None = None,
        clock: Callable[[], float] = time.time,
        open_log: Callable[[], VerdictLog] | None = None,
    ) -> None:
        self._settings = settings
        self.migration = settings.migration
        self.incarnation = uuid.uuid4().hex
        self._limits = limits_of(settings)
        self._clock, self._monotonic = clock, time.monotonic
        accepted = AcceptedFile(settings.accepted_differences)
        self._evaluator = Evaluator(expected_of(settings), self._limits, self.incarnation, accepted)
        self._keeper = BoardKeeper(open_store or (lambda: open_records(settings)), self._wake, clock)
        self._exporter = Exporter(settings)
        self._recorder = VerdictRecorder(
            open_log or (lambda: open_to_write(settings)), about_gate(settings, self.incarnation), self._closed, clock
        )
        self._started = clock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news, self._changed = asyncio.Event(), asyncio.Event()
        self._wait_written = self._heartbeat_written = float("-inf")
        self._pictures: deque[Snapshot] = deque(maxlen=PICTURES)
        self.cutover: Desk | None = None
        """What the journal of cutovers tells; `None` where no cutover is configured."""
        self._snapshot = self._evaluate()

    # What the API asks.

    def current(self) -> Snapshot:
        """Give the newest evaluation, and never one older than two seconds."""
        if self._monotonic() - self._snapshot.made > STALE_SECONDS:
            self._evaluate()
        return self._snapshot

    async def anew(self) -> Snapshot | None:
        """Decide now, on records that were read after this call.

        Returns:
            `None` where no reading came to its end in time; where the records cannot be read, the verdict says so.
        """
        now, give_up = self._clock(), self._monotonic() + ANEW_SECONDS
        while (self._keeper.board.read_at or 0.0) < now and self._monotonic() < give_up:
            self._keeper.hurry()
            await asyncio.sleep(ANEW_AGAIN_SECONDS)
        board = self._keeper.board
        return None if (board.read_at or 0.0) < now and board.error is None else self._evaluate()

    def asked(self) -> None:
        """Note that somebody waits for an answer, so that the target is nudged."""
        now = self._monotonic()
        if now - self._wait_written >= WAIT_AGAIN_SECONDS:
            self._wait_written = now
            self._keeper.put({"wait/gate": {"until": self._clock() + WAIT_SECONDS}})

    async def consume(self, verdict: str, cutover: str) -> Receipt:
        """Give one evaluation to one cutover; it is in the log before the receipt is given.

        Raises:
            ConsumptionRefused: `code`, `status` and the text say why.
        """
        answer = self._recorder.request(verdict, cutover)
        try:
            async with asyncio.timeout(CONSUME_SECONDS):
                return await asyncio.wrap_future(answer)
        except TimeoutError:
            raise log_away(f"no answer within {CONSUME_SECONDS:g} s; ask again for the same cutover") from None

    def remembered(self, verdict: str) -> Mapping[str, Any] | None:
        """Give one of the last evaluations, also one that was not recorded."""
        found = self._recorder.remembered(verdict)
        return found.document if found else None

    async def history(self, limit: int, before: int | None) -> Page:
        """Read the newest records of the log of verdicts below a number.

        Raises:
            StoreUnavailable: it cannot be reached now.
        """
        return await asyncio.to_thread(read_page, self._settings, limit, before=before)

    async def explained(self, verdict: str) -> Explained | None:
        """Look one verdict up in the log.

        Raises:
            StoreUnavailable: it cannot be reached now.
        """
        return await asyncio.to_thread(read_explained, self._settings, verdict)

    async def store(self, items: Mapping[str, Mapping[str, Any] | None]) -> None:
        """Write records, durably, and decide anew once they are seen.

        Raises:
            StoreUnavailable: nothing is known about what was stored.
        """
        await asyncio.to_thread(self._keeper.store, items)
        give_up = self._monotonic() + SEEN_SECONDS
        while any(self.records().get(key) != value for key, value in items.items()) and self._monotonic() < give_up:
            await asyncio.sleep(SEEN_AGAIN_SECONDS)
        self._evaluate()

    def records(self) -> Mapping[str, Mapping[str, Any]]:
        """Give the records as they were last read, without those of findings."""
        return self._keeper.board.state

    def now(self) -> float:
        return self._clock()

    def after(self, number: int) -> list[Snapshot]:
        """Give the first evaluation of each picture after a number, as many as are still kept."""
        return [snapshot for snapshot in self._pictures if snapshot.number > number]

    def findings(self) -> list[Finding]:
        """List the findings about the user's data."""
        return about_data(self._evaluator.reader.read(self._keeper.board.records, self._clock())[0])

    def not_ready(self) -> list[str]:
        """Name what is missing before an answer can mean anything."""
        return missing(self.current().evidence, self._limits, self._clock())

    def metrics(self) -> bytes:
        snapshot = self.current()
        cutover = self.cutover.view if self.cutover else None
        view = View(snapshot.verdict, snapshot.evidence, self._keeper.board.records, self.findings(), cutover)
        return self._exporter.render(view)

    async def changed(self, number: int, seconds: float) -> bool:
        """Wait until the verdict or its conditions differ from answer `number`; `False` when the time is over."""
        if self._snapshot.number != number:
            return True
        try:
            await asyncio.wait_for(self._changed.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def evidence(self) -> Evidence:
        return self._snapshot.evidence

    def note(self, items: Mapping[str, Mapping[str, Any]]) -> None:
        """Write records of the gate's own."""
        self._keeper.put(items)

    # What the process does.

    async def run(self) -> None:
        """Evaluate until cancelled; ends with the error of a thread that died."""
        self._loop = asyncio.get_running_loop()
        self._keeper.start()
        self._recorder.start()
        while True:
            self._evaluate()
            if failure := self._keeper.failure or self._recorder.failure:
                raise failure
            self._news.clear()
            # not wait_for: Python 3.11's swallows a cancellation that comes with the news, and SIGTERM would be lost
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVALUATE_SECONDS):
                    await self._news.wait()

    def stop(self) -> None:
        self._recorder.stop()
        self._keeper.stop()

    def _closed(self) -> str | None:
        """Say why nothing can be consumed now."""
        snapshot = self._snapshot
        if (age := self._monotonic() - snapshot.made) > STALE_SECONDS:
            return f"it has not decided for {age:.0f} s"
        verdict = snapshot.verdict
        return None if verdict.status is Status.PASS else f"{verdict.status}: {'; '.join(verdict.reasons)}"

    def _wake(self) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._news.set)

    def _evaluate(self) -> Snapshot:
        previous = getattr(self, "_snapshot", None)
        board, now = self._keeper.board, self._clock()
        snapshot = self._evaluator.evaluate(board, now, self._monotonic(), self._recorder.consumed_by(now))
        self._snapshot = snapshot
        self._exporter.note(snapshot.verdict, snapshot.evidence)
        differs = previous is None or previous.number != snapshot.number
        if differs:
            self._pictures.append(snapshot)
            self._changed.set()
            self._changed = asyncio.Event()
            _log_verdict(snapshot.verdict)
        self._recorder.note(_evaluation(snapshot), differs, below(board.state, "override/"))
        self._write(snapshot, differs)
        return snapshot

    def _write(self, snapshot: Snapshot, differs: bool) -> None:
        if not differs and snapshot.made - self._heartbeat_written < HEARTBEAT_SECONDS:
            return
        self._heartbeat_written = snapshot.made
        heartbeat = {
            "incarnation": self.incarnation,
            "pid": os.getpid(),
            "started_at": self._started,
            "heartbeat": snapshot.verdict.evaluated_at,
            "restarts": 0,
            "error": snapshot.evidence.records_error or self._recorder.error,
        }
        self._keeper.put({"verdict": snapshot.document, "process/gate": heartbeat})


def about_gate(settings: Settings, incarnation: str) -> dict[str, Any]:
    """Say which gate writes: what the first entry of each of its starts holds."""
    configuration = expected_of(settings).configuration
    return {"incarnation": incarnation, "auditor": auditor_version(), "configuration": configuration}


def _evaluation(snapshot: Snapshot) -> Evaluation:
    verdict = snapshot.verdict
    return Evaluation(snapshot.id, str(verdict.status), verdict.evaluated_at, verdict.valid_until, snapshot.document)


def missing(evidence: Evidence, limits: Limits, now: float) -> list[str]:
    """Name the parts that have not been heard from within their limit."""
    found = []
    if evidence.records_error or evidence.read_at is None:
        found.append(f"records: {evidence.records_error or 'not read yet'}")
    if evidence.baseline is None:
        found.append("baseline: run auditor prepare")
    for name, condition in (
        ("sampler-source", "samplers-alive"),
        ("sampler-target", "samplers-alive"),
        ("core", "core-alive"),
    ):
        heartbeat = evidence.processes.get(name, ProcessSeen()).heartbeat
        if heartbeat is None or not abs(now - heartbeat) <= limits.conditions[condition]:
            found.append(f"{name}: not heard from")
    return found


def _picture(verdict: Verdict) -> tuple[object, ...]:
    """What a watcher wants to hear of: the verdict and which conditions hold, not each figure."""
    return verdict.status, verdict.needs_person, tuple((part.name, part.status) for part in verdict.conditions)


def _log_verdict(verdict: Verdict) -> None:
    extra = {"action": "verdict", "migration": verdict.migration, "verdict": str(verdict.status)}
    log.info("%s: %s", verdict.status, "; ".join(verdict.reasons) or "every condition holds", extra=extra)


def serve(settings: Settings) -> int:
    """Run the gate in the foreground until SIGTERM or SIGINT.

    Raises:
        SettingInvalid: the address cannot be listened on, or may not without authentication.
    """
    api.check_listen(settings.gate, settings.gate.listen)
    asyncio.run(_serve(settings, api.Access(settings.gate)))
    return 0


async def _serve(settings: Settings, access: api.Access) -> None:
    gate = Gate(settings)
    ended, loop = asyncio.ensure_future(gate.run()), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.cancel)
    loop.add_signal_handler(signal.SIGHUP, partial(access.refresh, always=True))
    show_keys = settings.evidence.keys == "clear"
    app = api.build(gate, show_keys=show_keys, access=access, rate=settings.gate.rate_limit)
    console.register(app, gate)
    runner = web.AppRunner(app, **api.RUNNER_OPTIONS)
    try:
        async with AsyncExitStack() as stack:
            gate.cutover = stack.enter_context(watching(settings))
            await listen(runner, settings, access.tls)
            await stack.enter_async_context(api.watched(runner, access.refresh))
            for side in Side:
                stack.enter_context(BudgetWatch(settings, side, enforcer(gate.note, gate.evidence)))
            await ended
    except asyncio.CancelledError:
        log.info("the gate stops")
    finally:
        ended.cancel()
        await runner.cleanup()
        gate.stop()
