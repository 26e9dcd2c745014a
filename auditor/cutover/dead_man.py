"""The dead man as a process: how the orchestrator starts it and sees that it lives, and what it does then.

It has a session of its own, so that neither Ctrl-C nor the end of its starter's terminal reaches it, and it goes on
when its starter is gone: that is what it is for. It ends by itself once the attempt is over or committed.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import IO

from auditor.cutover.opening import Permission, fence_of, nobody_acts, opened_journal, require_section
from auditor.cutover.proxies import proxies_of
from auditor.cutover.steps import rules_of
from auditor.settings import Settings
from comparators.errors import AuditorError, NotReady, SettingInvalid
from orchestrator.deadlines import Deadline
from orchestrator.deadman import ACTOR, DeadMan
from orchestrator.ports import Facts, Fence
from orchestrator.records import Direction, Entry

log = logging.getLogger(__name__)

READY, BEAT = b"ready\n", b".\n"
FRESH_SECONDS = 5.0
"""A dead man that has been silent for longer is taken for one that cannot act."""
_WARM_SECONDS = 2.0
_LOOK_SECONDS = 0.02


class DeadManProcess:
    """Starts the dead man of an attempt, and hears whether it lives (the port `DeadMan`)."""

    def __init__(self, settings: Settings, direction: Direction) -> None:
        self._settings, self._direction = settings, direction
        self._attempt: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._heard: _Heard | None = None

    def start(self, attempt: int, deadline: Deadline) -> Facts:
        """Start it for one attempt, and hear that its connections are open.

        Raises:
            NotReady: it ended instead.
            DeadlinePassed: it took too long; it was ended.
        """
        if self._attempt != attempt or self.alive() is not True:
            self._launch(attempt)
            try:
                self._await_ready(deadline)
            except BaseException:
                self._kill()
                raise
        return {"ready": True, "pid": self._process.pid if self._process else None, "attempt": attempt}

    def alive(self) -> bool | None:
        """Say whether it runs and was heard of lately; not known where this process started none."""
        if self._process is None or self._heard is None:
            return None
        return self._process.poll() is None and self._heard.lately()

    def _launch(self, attempt: int) -> None:
        log_file = self.log_file(attempt)
        with open(log_file, "ab", opener=_private) as errors:
            self._process = subprocess.Popen(
                self._command(attempt),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        self._attempt = attempt
        self._heard = _Heard(self._process)

    def log_file(self, attempt: int) -> Path:
        """Name the file that the dead man of an attempt writes its log into."""
        return self._settings.open_state_dir() / f"dead-man-{attempt}.log"

    def _command(self, attempt: int) -> list[str]:
        if self._settings.file is None:
            raise SettingInvalid("the dead man needs the configuration's file", hint="start from a file")
        words = ("cutover", "dead-man", "--attempt", str(attempt), "--direction", self._direction.value)
        return [sys.executable, "-m", "auditor", *words, "-c", str(self._settings.file)]

    def _await_ready(self, deadline: Deadline) -> None:
        process, heard = self._process, self._heard
        while process is not None and heard is not None and not heard.ready.wait(min(_LOOK_SECONDS, deadline.left())):
            if process.poll() is not None:
                raise NotReady(f"the dead man ended with {process.returncode}: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log_file(self._attempt or 0).read_text("utf-8", "replace").splitlines()
        return lines[-1] if lines else "it said nothing"

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._attempt = None


class _Heard:
    """What a dead man says on its standard output: that it is ready, then a beat at each look."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.ready = threading.Event()
        self._last = float("-inf")
        threading.Thread(target=self._listen, args=[process.stdout], name="dead man", daemon=True).start()

    def lately(self) -> bool:
        """Say whether it was heard of not long ago."""
        return time.monotonic() - self._last < FRESH_SECONDS

    def _listen(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                self._last = time.monotonic()
                if line == READY:
                    self.ready.set()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def stand_command(settings: Settings, attempt: int, direction: Direction) -> int:
    """Be the dead man of one attempt until there is nothing left to do: always 0, however that came."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):  # whatever ends the orchestrator must not end this
        signal.signal(number, signal.SIG_IGN)
    about = {"action": "dead-man", "migration": settings.migration, "attempt": attempt, "direction": str(direction)}
    with opened_journal(settings) as journal, ExitStack() as stack:
        permission = Permission(partial(nobody_acts, journal))
        old = fence_of(settings, direction.old, journal, stack)
        man = DeadMan(
            journal,
            old,
            proxies_of(require_section(settings), journal.entries, permission, stack),
            attempt,
            direction,
            actor=f"{ACTOR}:{os.getpid()}",
            rules=rules_of(settings),
            say=lambda words: log.critical("%s", words, extra=about),
            tell=_tell,
        )
        permission.ask = man.may_act
        voice = _Voice(old)
        voice.begin()
        log.info("stands by", extra=about)
        end = man.stand(voice.beat)
    log.info("goes: %s", end.value, extra=about)
    return 0


class _Voice:
    """Says that it lives, for as long as somebody listens, and keeps the way to the old side open."""

    def __init__(self, old: Fence) -> None:
        self._warm: Callable[[Deadline], None] = getattr(old, "warm", lambda deadline: None)
        self._warmed = float("-inf")

    def begin(self) -> None:
        """Open the way, and say so.

        Raises:
            As `Session.execute`.
        """
        self._warm(Deadline.within(_WARM_SECONDS, "the dead man opens its sessions"))
        self._say(READY)

    def beat(self) -> None:
        """Say it once; a lost session is opened again."""
        self._say(BEAT)
        if time.monotonic() - self._warmed > _WARM_SECONDS:
            with suppress(AuditorError):  # it is tried again, and once more when it is needed
                self._warm(Deadline.within(_WARM_SECONDS, "the dead man keeps its sessions"))
            self._warmed = time.monotonic()

    def _say(self, words: bytes) -> None:
        with suppress(OSError):  # nobody listens any more
            os.write(sys.stdout.fileno(), words)


def _tell(entry: Entry) -> None:
    about = {"action": "dead-man", "attempt": entry.attempt, "step": entry.step, "kind": str(entry.kind)}
    log.warning("wrote into the journal: %s %s", entry.step, entry.kind.value, extra=about)
