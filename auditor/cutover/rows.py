"""The rows of a migration as one part of a cutover; which tables there are is asked only when it is needed.

A conductor that goes on after a restart must be able to open a side while the other is away, so nothing is read from a
catalog before somebody wants to look at rows.
"""

from collections.abc import Callable, Mapping, Sequence

from auditor.mapping_file import load_mapping
from auditor.settings import Settings
from auditor.sweep_servers import ServerEngine
from comparators.errors import AuditorError, NeedsOperator
from comparators.positions import Side
from comparators.tables import TablePair
from orchestrator.adapters.canary import Canary
from orchestrator.adapters.last_rows import LastRows
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker, Facts, Proxy
from samplers.follower import LogFollower, followed_tables


class PairedRows:
    """The last look and the canary."""

    def __init__(self, make: Callable[[], LastRows], canary: Canary) -> None:
        """Args: make: reads both catalogs, and makes the last look of what they hold."""
        self._make, self._canary = make, canary
        self._last: LastRows | None = None

    def close(self) -> None:
        """End its sessions, and follow no more."""
        if self._last is not None:
            self._last.close()
        self._canary.close()

    def check(self) -> Sequence[Blocker]:
        """Say what keeps tables from being looked at, or the canary from being seen."""
        try:
            last = self._looking().check()
        except AuditorError as error:
            hint = error.hint if isinstance(error, NeedsOperator) else "look again"
            last = [Blocker("tables", f"the tables cannot be paired: {error}", hint)]
        return [*last, *self._canary.check()]

    def warm(self, deadline: Deadline) -> Facts:
        """Open what is needed, and follow from now on what is written on the old side.

        Raises:
            NotReady: transactions were open for too long, so that their rows could not be followed.
        """
        self._canary.warm(deadline)
        return self._looking().warm(deadline)

    def compare_last(self, fence_lsn: int, deadline: Deadline) -> Facts:
        """Compare the rows written last and those written most."""
        return self._looking().compare_last(fence_lsn, deadline)

    def behind(self, fence_lsn: int, deadline: Deadline) -> Facts:
        """Count what was committed on the old side behind the fence, until now."""
        return self._looking().behind(fence_lsn, deadline)

    def write_canary(self, through: Sequence[Proxy], nonce: str, deadline: Deadline) -> Facts:
        """Write a nonce on the new side and read it back through every proxy; the log is followed no more."""
        if self._last is not None:
            self._last.close()  # what comes to the old side from now on comes back from the new one
        return self._canary.write(through, nonce, deadline)

    def _looking(self) -> LastRows:
        if self._last is None:
            self._last = self._make()
        return self._last


def looking(settings: Settings, old: Side, control: Mapping[Side, str], publications: Sequence[str]) -> LastRows:
    """Make the last look of one direction.

    Args:
        control: connection strings of the control roles.
        publications: on the old side, which show the tables and the marker.
    Raises:
        SideUnavailable, NotPermitted, ...: a catalog cannot be read.
    """
    pairs = _pairs(settings)
    tables = followed_tables(pairs, old, load_mapping(settings.mapping))
    own = settings.names.schema
    follower = LogFollower(
        settings.side(old).conninfo(), publications, tables, ours={own, f"{own}_back"}, side=str(old)
    )
    return LastRows(control[old], control[old.other], pairs, old_side=old, follower=follower)


def _pairs(settings: Settings) -> list[TablePair]:
    """Pair the user's tables; those that cannot be read are the gate's to refuse, or somebody's to accept."""
    found, own = ServerEngine(settings).tables().pairs, settings.names.schema
    return [pair for pair in found.values() if isinstance(pair, TablePair) and pair.source.schema != own]
