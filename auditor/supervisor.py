"""The supervisor of one migration: starts its processes, starts them again when they die, and ends with all of them.

It decides nothing about data. What could hang (records, databases, the gate) is done in threads of its own, so that
a dead child is always noticed at once.
"""

import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from auditor.children import Child, ChildSpec, Report
from auditor.gate_limits import limits_of
from auditor.locks import held
from auditor.settings import Settings, Side, config_path
from auditor.watchers import BudgetWatch, ReadyWatch, RecordsWriter

log = logging.getLogger(__name__)

STOP_SECONDS = 8.0
"""From SIGTERM to SIGKILL; with what is around it, `auditor run` ends within ten."""
TICK_SECONDS = 1.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
NOT_KNOWN = 3


def supervise(settings: Settings, config: Path | None, run_for: float | None, options: Sequence[str] = ()) -> int:
    """Run all processes of a migration until a signal, or for some seconds.

    Args:
        config: the configuration file as given; the children read it themselves.
        run_for: seconds; `None` runs until SIGTERM or SIGINT.
        options: passed on to every child, as in `--log-format json`.
    Returns:
        0 when it was stopped, 3 when the time was over before the gate was ready.
    Raises:
        SettingInvalid: another one runs on the same state folder, or a secret or a file cannot be read.
    """
    settings.check_secrets()
    settings.check_tokens()
    limits_of(settings)
    _check_files(settings)
    with ExitStack() as stack:
        stack.enter_context(held(settings.open_state_dir() / "run.lock", "`auditor run`"))
        records = stack.enter_context(RecordsWriter(settings))
        for side in Side:
            stack.enter_context(BudgetWatch(settings, side))
        ready = stack.enter_context(ReadyWatch(settings.gate.url))
        specs = specs_of(settings, config_path(config).absolute(), options)
        Supervisor(specs, records.report).run(run_for)
        return NOT_KNOWN if run_for is not None and not ready.reached else 0


def _check_files(settings: Settings) -> None:
    """Read the files that the configuration names, so that a wrong one is told at the start."""
    if settings.mapping or settings.accepted_differences:
        from auditor.accepted_differences import load_accepted
        from auditor.mapping_file import load_mapping

        load_mapping(settings.mapping)
        load_accepted(settings.accepted_differences)


def specs_of(settings: Settings, config: Path, options: Sequence[str] = ()) -> tuple[ChildSpec, ...]:
    """List the processes of a migration: samplers and core (one on the memory transport), sweeper, prober, gate."""
    commands: dict[str, tuple[str, ...]] = {"worker": ("worker",)}
    if settings.transport is not None:
        samplers = {f"sampler-{side}": ("sampler", "--side", str(side)) for side in Side}
        commands = samplers | {"core": ("core",)}
    if settings.sweep.enabled:
        commands["sweeper"] = ("sweeper",)
    if settings.probes.enabled:
        commands["prober"] = ("prober",)
    if settings.evidence.export is not None:
        commands["archiver"] = ("archiver",)
    commands["gate"] = ("gate", "serve")
    program = (sys.executable, "-m", "auditor")
    return tuple(
        ChildSpec(name, (*program, *words, "-c", str(config), *options), lifeline=True)
        for name, words in commands.items()
    )


class Supervisor:
    """Keeps processes alive. Must run in the main thread: signals arrive there, and children die with their starter."""

    def __init__(self, specs: Sequence[ChildSpec], report: Report) -> None:
        self._children = [Child(spec, report) for spec in specs]
        self._stopping = False

    def run(self, run_for: float | None = None) -> None:
        """Start everything; come back when told to stop, with every child gone."""
        end = None if run_for is None else time.monotonic() + run_for
        with _wakeups(self._stop) as woken:
            try:
                while not self._stopping and (end is None or time.monotonic() < end):
                    for child in self._children:
                        child.look()
                    woken(self._pause(end))
            finally:
                self._end()

    def _stop(self, number: int) -> None:
        log.info("stops: %s", signal.Signals(number).name, extra={"action": "stop"})
        self._stopping = True

    def _pause(self, end: float | None) -> float:
        """Sleep until the next thing to do; a child's death wakes us up."""
        deadlines = [child.restart_at for child in self._children if child.restart_at is not None]
        deadlines += [end] if end is not None else []
        return max(0.0, min([TICK_SECONDS, *(deadline - time.monotonic() for deadline in deadlines)]))

    def _end(self) -> None:
        for child in self._children:
            child.signal(signal.SIGTERM)
        give_up = time.monotonic() + STOP_SECONDS
        for child in self._children:
            child.end(give_up)


@contextmanager
def _wakeups(stop: Callable[[int], None]) -> Iterator[Callable[[float], None]]:
    """Turn signals into the end of a wait: the handlers only note, the loop acts."""
    reading, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = {number: signal.signal(number, lambda got, _frame: stop(got)) for number in SIGNALS}
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda _got, _frame: None)
    wakeup = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def wait(seconds: float) -> None:
        if select.select([reading], [], [], seconds)[0]:
            os.read(reading, 4096)

    try:
        yield wait
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)
