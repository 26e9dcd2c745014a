"""The gate's writer of verdicts: a thread that appends what was decided and consumed, and never holds the gate up.

What cannot be written waits, is tried again and is said. Only a consumption does not wait: it is recorded, or refused.
"""

import contextlib
import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from auditor import consumption
from auditor.consumption import ConsumptionRefused, Receipt
from auditor.verdict_log import VerdictLog, good_entries
from auditor.verdicts import Draft, Entry, Kind, sha256
from comparators.errors import AuditorError, NeedsOperator, Retryable
from comparators.findings import time_text

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
"""An unchanged picture is recorded so often: a silent gate shows as a hole in its log."""
RETRY_SECONDS = 1.0
REMEMBERED = 256
"""Evaluations that can be consumed: those of the last minute, most of the time."""
WAITING = 1000
"""Entries kept while the log is away; then the oldest are dropped, and the log says how many."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One evaluation of the gate: `document` is the verdict's JSON with its id; times are unix seconds."""

    id: str
    status: str
    at: float
    valid_until: float
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Request:
    evaluation: Evaluation
    cutover: str
    answer: "Future[Receipt]"


class VerdictRecorder:
    """Owns the log for the gate's process."""

    def __init__(
        self,
        open_log: Callable[[], VerdictLog],
        about: Mapping[str, Any],
        closed: Callable[[], str | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Prepare; nothing is written before `start`.

        Args:
            open_log: opens the log; called again until it succeeds.
            about: what the first entry says of this gate: its incarnation, version and configuration.
            closed: says why the gate is closed now, `None` when it is open; called from the thread.
        """
        self._open_log, self._about, self._closed, self._clock = open_log, about, closed, clock
        self._log: VerdictLog | None = None
        self._state = threading.Condition()
        self._drafts: deque[Draft] = deque()
        self._asked: deque[_Request] = deque()
        self._known: OrderedDict[str, Evaluation] = OrderedDict()
        self._recorded: OrderedDict[str, None] = OrderedDict()
        self._overrides: Mapping[str, Any] | None = None
        self._noted_at = float("-inf")
        self._left_out = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._guard, name="verdict-log", daemon=True)
        self._standing: Receipt | None = None
        self.error: str | None = None
        """Why the log cannot be written now."""
        self.failure: BaseException | None = None
        """What ended the thread, which nothing should."""
        self.written = self.failed = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, seconds: float = 2.0) -> None:
        """Write what waits, within a few seconds."""
        with self._state:
            self._stopping = True
            self._state.notify()
        if self._thread.is_alive():
            self._thread.join(seconds)

    def consumed_by(self, now: float) -> str | None:
        """Name the cutover whose receipt is valid now."""
        receipt = self._standing
        return receipt.cutover if receipt and receipt.valid_until >= now else None

    def remembered(self, verdict: str) -> Evaluation | None:
        """Give one of the last evaluations."""
        with self._state:
            return self._known.get(verdict)

    def note(self, evaluation: Evaluation, changed: bool, overrides: Mapping[str, Any]) -> None:
        """Remember an evaluation, and record it when its picture changed or a minute has passed; returns at once."""
        with self._state:
            self._known[evaluation.id] = evaluation
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            if overrides != self._overrides and (overrides or self._overrides):
                self._put(Draft(Kind.OVERRIDE, _own_id(overrides), {"overrides": overrides}, evaluation.at))
            self._overrides = dict(overrides)
            if changed or abs(evaluation.at - self._noted_at) >= EVERY_SECONDS:
                self._noted_at = evaluation.at
                self._put(_draft(evaluation))

    def request(self, verdict: str, cutover: str) -> "Future[Receipt]":
        """Ask for a consumption; the future ends with a receipt, or with `ConsumptionRefused`."""
        answer: Future[Receipt] = Future()
        with self._state:
            found = self._known.get(verdict) or Evaluation(verdict, "", 0.0, 0.0, {})
            self._asked.append(_Request(found, cutover, answer))
            self._state.notify()
        return answer

    def _put(self, draft: Draft) -> None:
        self._drafts.append(draft)
        while len(self._drafts) > WAITING:
            self._drafts.popleft()
            self._left_out += 1
        self._state.notify()

    # The thread.

    def _guard(self) -> None:
        try:
            self._work()
        except BaseException as failure:  # the gate ends with it: it must not go on deciding without a record
            log.exception("the gate lost its writer of verdicts")
            self.failure = failure
            self.error = "the writer of verdicts has died"
        finally:
            if self._log is not None:
                with contextlib.suppress(AuditorError):
                    self._log.close()

    def _work(self) -> None:
        while self._wait():
            try:
                self._open()
                self._answer()
                self._write()
                self.error = None
            except (Retryable, NeedsOperator) as error:
                self._away(error)

    def _wait(self) -> bool:
        """Wait for something to do; `False` when it is time to end."""
        with self._state:
            if self.error is not None and not self._stopping:
                self._state.wait_for(lambda: self._stopping or self._asked, RETRY_SECONDS)
            else:
                self._state.wait_for(lambda: self._stopping or self._asked or self._drafts or self._log is None)
            return bool(self._asked) or not self._stopping or (bool(self._drafts) and self.error is None)

    def _away(self, error: AuditorError) -> None:
        if self.error is None:
            log.error("the verdict log cannot be written: %s", error, extra={"action": "verdict-log"})
        self.error = str(error)
        self.failed += 1
        if self._log is not None:  # what can be reached again is opened again: a file may have been replaced
            with contextlib.suppress(AuditorError):
                self._log.close()
            self._log = None
        with self._state:
            waiting, self._asked = list(self._asked), deque()
        for request in waiting:
            _settle(request.answer, consumption.log_away(self.error))

    def _open(self) -> None:
        if self._log is not None:
            return
        opened = self._open_log()
        try:
            if damaged := opened.damage():
                log.error("the verdict log ends with %d damaged entries", len(damaged), extra={"action": "verdict-log"})
            opened.append([self._started({"damaged": damaged, "after": self.error})])
            self._standing = consumption.standing(self._receipts(opened), self._clock())
        except BaseException:
            opened.close()
            raise
        self._log = opened

    def _write(self) -> None:
        """Append what waits, one at a time: whoever asks for a consumption comes first."""
        while drafts := self._next():
            self._append(drafts)
            with self._state:
                self._left_out = 0
                if self._drafts and self._drafts[0] is drafts[-1]:
                    self._drafts.popleft()

    def _next(self) -> list[Draft]:
        with self._state:
            if self._asked or not self._drafts:
                return []
            left_out = [self._started({"left_out": self._left_out})] if self._left_out else []
            return [*left_out, self._drafts[0]]

    def _started(self, more: Mapping[str, Any]) -> Draft:
        now = self._clock()
        body = {**self._about, **more, "at": time_text(now)}
        return Draft(Kind.STARTED, _own_id(body), body, now)

    def _append(self, drafts: list[Draft]) -> list[Entry]:
        assert self._log is not None
        made = self._log.append(drafts)
        self.written += len(made)
        for entry in made:
            if entry.kind is Kind.VERDICT:
                self._recorded[entry.id] = None
        while len(self._recorded) > REMEMBERED:
            self._recorded.popitem(last=False)
        return made

    def _answer(self) -> None:
        while self._asked:
            request = self._asked[0]
            if not request.answer.cancelled():
                _settle(request.answer, self._consume(request.evaluation, request.cutover))
            with self._state:
                self._asked.popleft()

    def _consume(self, evaluation: Evaluation, cutover: str) -> Receipt | ConsumptionRefused:
        """Give the receipt, durable by now, or say what speaks against it."""
        assert self._log is not None
        now = self._clock()
        before = self._receipts(self._log)
        held = consumption.holder(before, evaluation.id, cutover, now)
        if held is not None:
            return (
                held if (held.id, held.cutover) == (evaluation.id, cutover) else consumption.taken(evaluation.id, held)
            )
        if (refusal := refused(evaluation, now)) is not None:
            return refusal
        if (reasons := self._closed()) is not None:
            return consumption.closed(reasons)
        body = {"cutover": cutover, "valid_until": evaluation.valid_until}
        unrecorded = [] if evaluation.id in self._recorded else [_draft(evaluation)]
        self._append([*unrecorded, Draft(Kind.CONSUMED, evaluation.id, body, now)])
        after = self._receipts(self._log)
        self._standing = consumption.standing(after, now)
        mine = consumption.holder(after, evaluation.id, cutover, now)
        if mine is None or (mine.id, mine.cutover) != (evaluation.id, cutover):
            return consumption.taken(evaluation.id, mine) if mine else consumption.log_away("the entry is not in it")
        return mine

    def _receipts(self, opened: VerdictLog) -> list[Receipt]:
        return consumption.receipts(good_entries(opened.lines(self._clock() - consumption.WINDOW_SECONDS)))


def refused(evaluation: Evaluation, now: float) -> ConsumptionRefused | None:
    """Say why an evaluation cannot be consumed now; what became of it before is not asked here."""
    if not evaluation.document:
        return consumption.unknown(evaluation.id)
    if evaluation.status != "PASS":
        return consumption.not_pass(evaluation.id, evaluation.status)
    if not evaluation.at <= now <= evaluation.valid_until:
        return consumption.expired(evaluation.id, evaluation.valid_until)
    return None


def _draft(evaluation: Evaluation) -> Draft:
    return Draft(Kind.VERDICT, evaluation.id, evaluation.document, evaluation.at)


def _settle(answer: "Future[Receipt]", outcome: Receipt | ConsumptionRefused) -> None:
    if not answer.set_running_or_notify_cancel():
        return  # whoever asked has gone
    if isinstance(outcome, Receipt):
        answer.set_result(outcome)
    else:
        answer.set_exception(outcome)


def _own_id(body: Mapping[str, Any]) -> str:
    return "v_" + sha256(body)[:16]
