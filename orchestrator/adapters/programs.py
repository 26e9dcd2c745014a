"""Run programs of the user's side by side, each until the deadline at most."""

import os
import subprocess
from collections.abc import Mapping, Sequence

from comparators.errors import NotReady, SettingInvalid
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.parallel import in_parallel

SAID_CHARS = 200

Programs = Mapping[str, tuple[Sequence[str], Mapping[str, str]]]
"""By name: the words of a program, and what is added to its environment."""


def run_all(programs: Programs, deadline: Deadline) -> None:
    """Run programs at once and wait for all of them.

    Raises:
        NotReady: one failed; the others were waited for.
        DeadlinePassed: one took too long and was killed.
        SettingInvalid: one cannot be started.
    """
    tasks = {
        name: lambda name=name, words=words, more=more: run_program(name, words, more, deadline)
        for name, (words, more) in programs.items()
    }
    if tasks:
        in_parallel(tasks).raise_first()


def run_program(name: str, words: Sequence[str], more: Mapping[str, str], deadline: Deadline) -> None:
    """Run one program; what it wrote last is told where it failed."""
    try:
        done = subprocess.run(
            list(words), env={**os.environ, **more}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", timeout=deadline.left(), check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise DeadlinePassed(f"{deadline.doing}: {words[0]} for {name} took too long") from None
    except OSError as error:
        hint = "correct the program's path, and make it executable"
        raise SettingInvalid(f"{words[0]} for {name} cannot be started: {error.strerror}", hint=hint) from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        last = f": {said[-1][:SAID_CHARS]}" if said else ""
        raise NotReady(f"{words[0]} for {name} ended with {done.returncode}{last}")
