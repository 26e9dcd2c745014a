"""What opens a side again: the journal that decides it, the side's fence, and the proxies in front of both.

It is all that a dead man needs, kept apart so that its process stands soon, with nothing else to load or to fail.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from auditor.cutover.settings import CutoverSettings
from auditor.settings import Settings
from comparators.errors import NotReady, SettingInvalid
from comparators.positions import Side
from orchestrator.adapters.fence import DatabaseFence
from orchestrator.adapters.fence_roles import Choice
from orchestrator.adapters.sessions import parsed
from orchestrator.journal import PostgresJournal
from orchestrator.records import Journal, JournalUnfit


@dataclass(slots=True)
class Permission:
    """Whether this process may act on what outlives it; the conductor gives it, and its lease takes it."""

    ask: Callable[[], bool]

    def __call__(self) -> bool:
        return self.ask()


def require_section(settings: Settings) -> CutoverSettings:
    """Give the configuration's section `cutover`.

    Raises:
        SettingInvalid: there is none.
    """
    if settings.cutover is None:
        raise SettingInvalid(
            "cutover: is missing in the configuration", hint="docs/cutover.md says what it needs; see config example"
        )
    return settings.cutover


@contextmanager
def opened_journal(settings: Settings) -> Iterator[Journal]:
    """Open the journal as it is.

    Raises:
        NotReady: it was never set up.
        JournalUnavailable, JournalUnfit: it cannot be used.
    """
    with PostgresJournal(require_section(settings).journal.conninfo(), settings.migration) as journal:
        try:
            journal.lease()
        except JournalUnfit as error:
            if "does not exist" not in str(error):
                raise
            raise NotReady("the journal is empty: `auditor cutover plan` sets it up") from None
        yield journal


def fence_of(settings: Settings, side: Side, journal: Journal, stack: ExitStack) -> DatabaseFence:
    """Make the fence of a side; its sessions are closed with the stack.

    Raises:
        SettingInvalid: a secret cannot be read.
    """
    given = require_section(settings)
    keep = (*given.fence.keep, *(consumer.role for consumer in given.consumers))
    auditors = {str(parsed(settings.side(side).conninfo()).get("user", ""))} - {""}
    choice = Choice(auditors=auditors, keep=keep, only=given.fence.roles)
    made = DatabaseFence(side, given.control[side].conninfo(), journal, choice)
    stack.callback(made.close_sessions)
    return made


def nobody_acts(journal: Journal) -> bool:
    """Say whether no orchestrator lives: without a conductor of its own a process may act then."""
    lease = journal.lease()
    return lease is None or lease.over
