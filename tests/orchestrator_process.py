"""An orchestrator reduced to what a dead man must cope with: it fences the old side, and closes it again and again.

Run as `python tests/orchestrator_process.py CONFIG ATTEMPT SECONDS`; it writes one word a line: `fenced`, `lost`.
"""

import sys
import time
from pathlib import Path

from auditor.cutover.dead_man import DeadManProcess
from auditor.cutover.opening import opened_journal
from auditor.cutover.wiring import assembled
from auditor.settings import load
from comparators.errors import AuditorError
from orchestrator.deadlines import Deadline
from orchestrator.lease import Keeper, LeasedDeadline
from orchestrator.records import Direction, Draft, Kind, LeaseLost


def main(config: str, attempt: int, seconds: float) -> None:
    settings = load(Path(config))
    with opened_journal(settings) as journal, assembled(settings, journal) as assembly:
        keeper = Keeper(journal, "orchestrator", seconds=seconds, every=seconds / 4)
        keeper.take()
        keeper.start()
        ports = assembly.ports[Direction.FORWARD]
        journal.append(keeper.epoch, "orchestrator", begun(attempt))
        DeadManProcess(settings, Direction.FORWARD).start(attempt, Deadline.within(60, "the dead man"))
        ports.proxies[0].hold(LeasedDeadline(time.monotonic() + 20, "hold", keeper))
        word = "fenced"
        while True:
            try:
                ports.old.close(LeasedDeadline(time.monotonic() + 20, "close", keeper))
            except LeaseLost:
                word = "lost"
            except AuditorError:
                continue
            print(word, flush=True)
            if word == "lost":
                return


def begun(attempt: int) -> list[Draft]:
    """Give the entries of an attempt that is about to hold writes and to fence."""

    def draft(step: str, kind: Kind) -> Draft:
        return Draft(attempt, Direction.FORWARD, step, kind)

    return [
        draft("begin", Kind.EVENT), draft("start-dead-man", Kind.INTENT), draft("hold-proxies", Kind.INTENT),
        draft("close-old", Kind.INTENT),
    ]  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
