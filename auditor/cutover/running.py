"""`auditor cutover start`: the conductor in the foreground, told line by line; and what its end means to a script."""

import getpass
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import FrameType

from auditor.cutover.budget import MeasuredBudget
from auditor.cutover.documents import status_document
from auditor.cutover.planning import digest_now, digest_of
from auditor.cutover.reading import look, screen
from auditor.cutover.steps import rules_of
from auditor.cutover.story import attempts_of, owed
from auditor.cutover.wiring import Assembly, assembled, installed_journal
from auditor.settings import Settings
from comparators.errors import AuditorError, SettingInvalid
from orchestrator.conductor import Conductor, Ending
from orchestrator.cutover import ALL_STEPS, Phase, told
from orchestrator.records import Direction, Entry, Journal, Kind, Wish
from orchestrator.rehearsal import rehearse

log = logging.getLogger(__name__)

GOOD, BAD, PERSON = 0, 1, 4


def start_command(settings: Settings, by: str | None, acknowledge: int | None, reason: str, *, as_json: bool) -> int:
    """Begin an attempt, or go on with the one that is not over, until nothing is left to be done by itself.

    Returns:
        0 finalized, 1 refused, aborted or rolled back, 4 a person is needed.
    """
    with installed_journal(settings) as journal:
        if acknowledge is not None:
            acknowledge_failure(journal, acknowledge, by or getpass.getuser(), reason)
        with assembled(settings, journal) as assembly:
            ending = conducted(settings, assembly, by, begin=True)
        document = status_document(look(journal))
    print(json.dumps(document) if as_json else screen(document))
    return exit_of(ending)


def acknowledge_failure(journal: Journal, attempt: int, by: str, reason: str) -> None:
    """Write down that somebody has looked why an attempt failed; said once more, it is left as it is.

    Raises:
        SettingInvalid: it has not failed: a failure that is still to come is acknowledged by nobody.
    """
    attempts, requests = attempts_of(journal.entries()), journal.requests()
    failed = owed(attempts, ())
    if attempt != failed:
        there = f"attempt {failed} failed last" if failed is not None else "none has failed"
        raise SettingInvalid(f"{journal.migration}: attempt {attempt} is not to be acknowledged", hint=there)
    if owed(attempts, requests) is not None:
        journal.request(Wish.ACKNOWLEDGE, by, reason, attempt)


def dry_run_command(settings: Settings, *, as_json: bool) -> int:
    """Go through the whole table without doing anything: 0 it would come to its end, 1 it would not."""
    with installed_journal(settings) as journal, assembled(settings, journal) as assembly:
        plan = plan_to_conduct(settings, assembly)
        budget = MeasuredBudget(assembly.gate, journal.entries, hooked=assembly.hooked, assume=True)
        ports = replace(assembly.ports[Direction.FORWARD], budget=budget)
        rehearsal = rehearse(settings.migration, ports, plan, rules_of(settings))
    ending = rehearsal.ending
    actions = [{"step": one.step, "part": one.part, "does": one.does} for one in rehearsal.actions]
    ends = {"phase": str(ending.phase) if ending else None, "reason": ending.reason if ending else None}
    if as_json:
        print(json.dumps({"migration": settings.migration, "dry_run": True, "actions": actions, **ends}))
    else:
        width = max((len(one.step) for one in rehearsal.actions), default=0)
        print("\n".join(f"  {one.step:<{width}}  {one.part}: {one.does}" for one in rehearsal.actions))
        print(f"it would end {ends['phase']}" + (f": {ends['reason']}" if ends["reason"] else ""))
    return exit_of(ending) if ending else BAD


def carried_on(settings: Settings, journal: Journal, by: str) -> Ending:
    """Conduct what is not over, and begin nothing.

    Raises:
        LeaseHeld: somebody else does already.
    """
    with assembled(settings, journal) as assembly:
        return conducted(settings, assembly, by, begin=False)


def conducted(settings: Settings, assembly: Assembly, by: str | None, *, begin: bool) -> Ending:
    """Run the conductor in this thread."""
    actor = f"{by or getpass.getuser()}@{socket.gethostname()}:{os.getpid()}"
    plan = plan_to_conduct(settings, assembly)
    conductor = Conductor(
        assembly.journal, assembly.ports, plan, rules_of(settings), plan_of=partial(digest_of, settings, assembly),
        actor=actor, tell=tell,
    )  # fmt: skip
    assembly.permission.ask = conductor.may_act
    with _aborting_on_signals(assembly.journal, actor):
        return conductor.start() if begin else conductor.resume()


def plan_to_conduct(settings: Settings, assembly: Assembly) -> str:
    """Name the plan as it is now; where the gate or a side is away, an attempt under way goes on with its own.

    Raises:
        AuditorError: what people would have agreed to is not known, and nothing is under way.
    """
    runs = told(assembly.journal.entries())
    try:
        return digest_now(settings, assembly)
    except AuditorError:
        if not runs or runs[-1].over:
            raise
        return str(next((run.opening["plan"] for run in reversed(runs) if "plan" in run.opening), ""))


def exit_of(ending: Ending) -> int:
    """Say what an ending means to a script."""
    if ending.phase is Phase.STUCK:
        return PERSON
    return GOOD if ending.phase is Phase.FINALIZED else BAD


def tell(entry: Entry) -> None:
    """Write one line of the log for an entry of the journal."""
    about = {
        "action": "cutover",
        "migration": entry.migration,
        "attempt": entry.attempt,
        "direction": str(entry.direction),
        "step": entry.step,
        "kind": str(entry.kind),
        "seq": entry.seq,
    }
    level = logging.WARNING if entry.kind is Kind.FAILED else logging.INFO
    log.log(level, "%s", _sentence(entry), extra=about)


def _sentence(entry: Entry) -> str:
    step = ALL_STEPS.get(entry.step)
    if entry.kind is Kind.EVENT or step is None:
        reason = entry.facts.get("reason")
        return f"{entry.step}: {reason}" if reason else entry.step
    took = f" in {entry.facts['took_ms']} ms" if "took_ms" in entry.facts else ""
    reason = f": {entry.facts['reason']}" if entry.kind is Kind.FAILED and "reason" in entry.facts else ""
    return f"{step.phase} {step.name}: {step.does if entry.kind is Kind.INTENT else f'{entry.kind}{took}{reason}'}"


@contextmanager
def _aborting_on_signals(journal: Journal, actor: str) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into an operator's abort: to just end would leave writes held for seconds.

    After the commit the abort is refused and the guard goes on; the second signal ends the process in any case, and
    `start` goes on from the journal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        reason = f"{signal.Signals(number).name} to the orchestrator"
        print(f"{reason}: asking for an abort; once more ends this process", file=sys.stderr, flush=True)
        # on a thread of its own: the journal's session may be in use by the code that was interrupted
        threading.Thread(target=journal.request, args=(Wish.ABORT, actor, reason), daemon=True).start()

    asked: list[int] = []
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
