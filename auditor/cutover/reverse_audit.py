"""The reverse audit: the same auditor with its sides swapped, as processes of its own that outlive the orchestrator."""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from auditor.commit_line import begin_at, end_at, require_baseline
from auditor.cutover.gate_port import HttpGate
from auditor.cutover.reverse_config import back_of, back_settings, config_file, write_config
from auditor.settings import Settings, load
from comparators.errors import NeedsOperator, NotReady
from comparators.positions import Side
from orchestrator.adapters.reverse import Control, ReversePlan
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.ports import Facts
from samplers import steps
from samplers.catalog import subscriptions
from samplers.connections import connect
from samplers.slots import SlotState, inspect_slot
from samplers.survey import CONTROL_TABLES

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
SAID_CHARS = 300
NOT_KNOWN, PERSON = 3, 4


def reverse_plan(settings: Settings) -> ReversePlan:
    """Say what the way back of a migration is made of.

    Raises:
        SettingInvalid: no cutover is configured, the name is too long, or the publisher's secret cannot be read.
    """
    if settings.cutover is None:
        raise NeedsOperator("no cutover is configured", hint="write the section cutover; see docs/configuration.md")
    back_of(settings.migration)  # there must be room for its names
    name = settings.names.way_back
    making = [
        steps.create_schema(Side.TARGET, name, None),
        *(steps.create_table(Side.TARGET, name, t, None) for t in CONTROL_TABLES),
    ]
    return ReversePlan(
        name=name,
        forward=settings.replication.subscriptions,
        publisher=settings.cutover.publisher.conninfo(),
        own_schema=settings.names.schema,
        control=Control(name, tuple(f"{name}.{t}" for t in CONTROL_TABLES), tuple(step.sql for step in making)),
        wal_budget_bytes=settings.wal_budget_bytes,
    )


def draw_forward(settings: Settings) -> Callable[[int, int], None]:
    """Build what tells both audits of a commit: the migration's own ends at the line, the reverse one begins there."""

    back = back_settings(settings)

    def drawn(fence: int, line: int) -> None:
        try:
            end_at(settings, fence, line)
        finally:  # whatever became of the other
            begin_at(back, fence, line)

    return drawn


def draw_back(settings: Settings) -> Callable[[int, int], None]:
    """Build what tells the reverse audit of a rollback's commit; the migration's own is prepared anew by a person."""

    back = back_settings(settings)

    def drawn(fence: int, line: int) -> None:
        end_at(back, fence, line)

    return drawn


class ReverseAudit:
    """Prepares and runs the auditor on the way back; found again by its lock when the orchestrator is another one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._file = config_file(settings)
        self._lock = self._file.parent / "run.lock"
        self._started: subprocess.Popen[bytes] | None = None

    def start(self, deadline: Deadline) -> Facts:
        """Make its slots, start its processes and hear its gate; what it finds counts from the commit line on.

        Raises:
            NeedsOperator: a person must change something first; the auditor's own words say what.
            StoreUnavailable: the records of the audit that a commit ends cannot be read; do it again.
            NotReady: transactions or locks were in the way.
        """
        require_baseline(self._settings)
        write_config(self._settings, self._slots())
        code, said = self._command(["prepare"], deadline)
        if code == PERSON:
            raise NeedsOperator(
                f"the reverse audit cannot be prepared: {said}", hint=f"auditor prepare -c {self._file}"
            )
        if code:
            raise NotReady(f"the reverse audit cannot be prepared: {said}")
        self._run()
        self._hear(deadline)
        return {"ready": True, "migration": back_of(self._settings.migration), "process": self._own() or self._pid()}

    def _slots(self) -> list[str]:
        """List the slots that the migration's subscriptions read, which are parked once it is committed."""
        with connect(self._settings.target.conninfo(), application_name="auditor reverse") as target:
            known = subscriptions(target)
        wanted = (known[name].slot_name for name in self._settings.replication.subscriptions if name in known)
        return [name for name in wanted if name is not None]

    def verdict(self, deadline: Deadline) -> Facts:
        """Give its verdict as it is now; processes that are gone are started again.

        Raises:
            NotReady: there is no answer to rely on.
        """
        settings = self._known()
        self._run()
        return HttpGate.of(settings).verdict(deadline)

    def stop(self, deadline: Deadline) -> Facts:
        """End its processes and remove its slots; its findings and verdicts stay on record.

        Raises:
            NotReady: a side could not be reached; do it again.
            NeedsOperator: it runs on another host, and is to be ended there.
        """
        if not self._file.exists():  # nothing was started here, which says nothing of other hosts
            if not (left := self._slots_left()):
                return {"stopped": True, "prepared": False}
            self._take_over(left)
        self._end(deadline)
        # what it leaves because the way back is disabled (its tables) goes with the way back itself
        code, said = self._command(["teardown"], deadline)
        if code not in (0, PERSON) or self._slots_left():
            raise NotReady(f"the reverse audit is not removed: {said}")
        return {"stopped": True, "prepared": True}

    def _slots_left(self) -> list[SlotState]:
        """Look on both sides for its slots, which may be another host's."""
        names = back_settings(self._settings).names
        found = []
        for side, name in ((Side.TARGET, names.source_slot), (Side.SOURCE, names.target_slot)):
            with connect(self._settings.side(side).conninfo(), application_name="auditor reverse") as session:
                found.append(inspect_slot(session, name))
        return [one for one in found if one.exists]

    def _take_over(self, left: Sequence[SlotState]) -> None:
        """Make it this host's to remove, unless somebody still reads its slots."""
        if read := [one.name for one in left if one.active]:
            raise NeedsOperator(
                f"the reverse audit runs on another host: slot {read[0]} is being read",
                hint=f"end `auditor run` of {back_of(self._settings.migration)} there, then let the cutover go on",
            )
        write_config(self._settings)

    def _known(self) -> Settings:
        if not self._file.exists():
            raise NotReady("the reverse audit was not started on this host")
        return load(self._file)

    def _command(self, words: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command of the auditor on the way back; give its exit code and its last words."""
        try:
            done = subprocess.run(
                [*_PROGRAM, *words, "-c", str(self._file)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                errors="replace", timeout=deadline.left(), check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise DeadlinePassed(f"{deadline.doing}: auditor {words[0]} took too long") from None
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        return done.returncode, lines[-1][:SAID_CHARS] if lines else f"exit code {done.returncode}"

    def _run(self) -> None:
        """Start `auditor run` in a session of its own, unless it runs."""
        if self._own() is not None or self._pid() is not None:
            return
        with (self._file.parent / "run.log").open("ab") as output:
            self._started = subprocess.Popen(
                [*_PROGRAM, "run", "-c", str(self._file)], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
        log.info("the reverse audit was started", extra={"action": "reverse-audit", "child": self._started.pid})

    def _hear(self, deadline: Deadline) -> None:
        """Wait until its gate answers, whatever it says."""
        gate = HttpGate.of(self._known())
        while True:
            try:
                gate.verdict(deadline)
                return
            except DeadlinePassed:
                raise
            except NotReady as reason:
                if self._started is not None and (code := self._started.poll()) is not None:
                    raise NeedsOperator(
                        f"the reverse audit ended with exit code {code}", hint=f"see {self._file.parent / 'run.log'}"
                    ) from reason
                time.sleep(min(POLL_SECONDS, deadline.left()))

    def _end(self, deadline: Deadline) -> None:
        """Let its supervisor end, and with it all of its processes."""
        pid = self._own() or self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
        while self._own() is not None or self._pid() is not None:
            time.sleep(min(POLL_SECONDS, deadline.left()))

    def _own(self) -> int | None:
        """Give the process that this one started, as long as it lives: it may not hold the lock yet."""
        started = self._started
        return started.pid if started is not None and started.poll() is None else None

    def _pid(self) -> int | None:
        """Give the process that holds the lock of `auditor run`; `None` where nobody does."""
        try:
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(os.pread(descriptor, 32, 0) or b"0") or None
        finally:
            os.close(descriptor)
        return None


_PROGRAM = (sys.executable, "-m", "auditor")
