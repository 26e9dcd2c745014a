"""The way of the data as one part of a cutover: its proof, and both ways of it."""

from collections.abc import Iterable, Sequence

from orchestrator.adapters.markers import Drain
from orchestrator.adapters.reverse import WayBack, WayForward
from orchestrator.cutover import told
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker, Facts
from orchestrator.records import Direction, Entry


class Replicating:
    """Joins what proves that everything has come with what stops and starts the ways."""

    def __init__(self, drain: Drain, ways: WayBack | WayForward) -> None:
        self._drain, self._ways = drain, ways
        self.position = drain.position
        self.write_marker = drain.write_marker
        self.see_marker = drain.see_marker
        self.make_durable = drain.make_durable
        self.prepare_reverse = ways.prepare_reverse
        self.stop_forward = ways.stop_forward
        self.commit_line = ways.commit_line
        self.resume_forward = ways.resume_forward
        self.enable_reverse = ways.enable_reverse
        self.tell = ways.tell
        self.tend = ways.tend
        self.disarm = ways.disarm
        self.finalize = ways.finalize
        self.observe = ways.observe

    def check(self) -> Sequence[Blocker]:
        """Ask both parts."""
        return [*self._drain.check(), *self._ways.check()]

    def warm(self, deadline: Deadline) -> Facts:
        """Open what the held steps need."""
        return self._drain.warm(deadline) or {}


def line_recorded(entries: Iterable[Entry], direction: Direction) -> tuple[int, int] | None:
    """Give where the last commit of a direction stands in the journal: fence of its old side, line of its new one."""
    committed = [run.facts for run in told(entries) if run.direction is direction and run.committed]
    if not committed:
        return None
    facts = committed[-1]
    return int(facts["record-fence-lsn"]["fence_lsn"]), int(facts["record-commit-line"]["commit_line"])
