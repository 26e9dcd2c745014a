"""What an operator asks of a cutover: written into the journal, and carried out here where no orchestrator lives."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from auditor.cutover.documents import request_document
from auditor.cutover.opening import opened_journal
from auditor.cutover.running import carried_on
from auditor.settings import Settings
from comparators.errors import AuditorError, NeedsOperator, SettingInvalid, told_of
from orchestrator.cutover import Event, Phase, Run, told
from orchestrator.deadman import conducted
from orchestrator.records import Direction, Journal, LeaseHeld, Request, Wish

LOOK_SECONDS = 0.2
ANSWER_SECONDS = 5.0
"""For how long the lease is taken to answer what could not be carried out."""
DONE, REFUSED, UNKNOWN, PERSON = 0, 1, 3, 4
ACTS = frozenset({Wish.ABORT, Wish.ROLLBACK, Wish.FINALIZE})
"""Wishes that are carried out here where nobody else would."""
CarryOn = Callable[[], object]


class NotFromHere(NeedsOperator):
    """The attempt is stuck where what is asked for cannot be done; nothing was written."""


def wish_command(
    settings: Settings, wish: str, by: str, reason: str, facts: Mapping[str, Any], timeout: float, *, as_json: bool
) -> int:
    """Ask for something, wait for what becomes of it, and print that.

    Returns:
        0 it is done, 1 it was refused, 3 nobody has answered in time (the wish stays), 4 a person is needed.
    """
    with opened_journal(settings) as journal:
        asked = ask(journal, Wish(wish), by, reason, facts)

        def carry_on() -> None:
            print(f"no orchestrator lives: this one carries out the {wish}", file=sys.stderr)
            carried_on(settings, journal, by)

        code, words = followed(journal, asked, timeout, carry_on)
        answered = _again(journal, asked)
    document = request_document(answered) | {"result": words}
    print(json.dumps(document) if as_json else f"{wish}: {words}")
    return code


def ask(
    journal: Journal, wish: Wish, by: str, reason: str, facts: Mapping[str, Any] | None = None, *, here: bool = True
) -> Request:  # fmt: skip
    """Leave word for whoever conducts.

    Args:
        here: who asks carries it out where nobody else would.
    Raises:
        SettingInvalid: there is nothing that it could be about.
        NotFromHere: the attempt is stuck, and must go on before that can be done, or nobody would do it.
    """
    runs = told(journal.entries())
    if not runs and wish is not Wish.POSTPONE:
        raise SettingInvalid(f"{journal.migration}: there is no attempt yet", hint="see `auditor cutover status`")
    if runs and _never(wish, runs[-1]):
        raise NotFromHere(
            f"attempt {runs[-1].attempt} is stuck, and there is no {wish} from there: {runs[-1].reason}",
            hint="mend the reason (docs/runbook.md), then `auditor cutover start`",
        )
    if runs and runs[-1].phase is Phase.STUCK and wish in ACTS and not here and not conducted(journal.lease()):
        raise NotFromHere(
            f"attempt {runs[-1].attempt} is stuck, and nobody is there who would carry out the {wish}",
            hint=f"run `auditor cutover {wish}` on the orchestrator's host: it carries it out itself",
        )
    return journal.request(wish, by, reason, runs[-1].attempt if runs else None, facts or {})


def _never(wish: Wish, run: Run) -> bool:
    """Say whether a stuck attempt must go on before a wish can come true; it would do so unforeseen, much later."""
    if run.phase is not Phase.STUCK:
        return False
    if wish is Wish.ABORT:
        return run.committed
    return not run.may_roll_back() if wish is Wish.ROLLBACK else wish in (Wish.FINALIZE, Wish.PANIC)


def followed(
    journal: Journal,
    asked: Request,
    timeout: float,
    carry_on: CarryOn,
    *,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> tuple[int, str]:
    """Wait for what becomes of a wish; carry it out where nobody lives who would.

    Args:
        carry_on: conducts what is not over, and returns when that is.
    Returns:
        The exit code, and words.
    """
    until, carried = clock() + timeout, False
    while True:
        if found := outcome(_again(journal, asked), told(journal.entries()), carried=carried):
            return found
        lease = journal.lease()
        if asked.wish in ACTS and not carried and not conducted(lease):
            carried = _carried(journal, asked, carry_on)
        elif clock() > until:
            return UNKNOWN, "nobody has answered yet; the wish stays in the journal"
        else:
            pause(LOOK_SECONDS)


def outcome(asked: Request, runs: tuple[Run, ...], *, carried: bool) -> tuple[int, str] | None:
    """Say what has become of a wish; `None`: nothing yet.

    Args:
        carried: somebody has conducted what is not over, for this wish.
    """
    run = runs[-1] if runs else None
    heeded = carried or asked.answer is not None or asked.wish not in ACTS
    if run is not None and run.phase is Phase.STUCK and heeded:
        return PERSON, f"stuck: {run.reason}"
    if asked.answer is None:
        return None
    if run is None or asked.wish in (Wish.POSTPONE, Wish.UNPOSTPONE, Wish.ACKNOWLEDGE):
        return DONE, asked.answer
    return _JUDGED[asked.wish](run, asked.answer)


def _aborted(run: Run, answer: str) -> tuple[int, str] | None:
    if not run.aborting and run.ended is not Event.REFUSED:
        return REFUSED, answer
    return (DONE, f"attempt {run.attempt} is {run.ended}") if run.over else None


def _rolled_back(run: Run, answer: str) -> tuple[int, str] | None:
    if run.direction is not Direction.BACK:
        return REFUSED, answer
    if not run.over:
        return None
    return (DONE if run.ended is Event.RETURNED else REFUSED), f"attempt {run.attempt} is {run.ended}: {run.reason}"


def _finalized(run: Run, answer: str) -> tuple[int, str] | None:
    if run.phase is not Phase.FINALIZED:
        return REFUSED, answer
    return (DONE, "finalized") if run.over else None


_JUDGED: Mapping[Wish, Callable[[Run, str], tuple[int, str] | None]] = {
    Wish.ABORT: _aborted,
    Wish.PANIC: _aborted,
    Wish.ROLLBACK: _rolled_back,
    Wish.FINALIZE: _finalized,
}


def _carried(journal: Journal, asked: Request, carry_on: CarryOn) -> bool:
    try:
        carry_on()
    except LeaseHeld:
        return False
    except Exception as error:
        _give_up(journal, asked, f"not done, as it could not be carried out: {told_of(error)}")
        raise
    return True


def _give_up(journal: Journal, asked: Request, words: str) -> None:
    """Answer what nobody carries out, so that it does not come true much later; somebody at work heeds it himself."""
    with suppress(AuditorError):
        lease = journal.acquire(asked.actor, ANSWER_SECONDS)
        try:
            if _again(journal, asked).answer is None:
                journal.answer(lease.epoch, asked.id, words)
        finally:
            journal.release(lease.epoch)


def _again(journal: Journal, asked: Request) -> Request:
    return next((one for one in journal.requests() if one.id == asked.id), asked)
