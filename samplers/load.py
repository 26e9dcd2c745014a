"""What the source has to do besides us, looked at once a second by a session of its own."""

import threading
import time
from collections.abc import Mapping

from comparators.errors import AuditorError
from samplers.catalog import select
from samplers.connections import connect
from samplers.rows import Session

LOOK_SECONDS = 0.5
STALE_SECONDS = 5.0
STATEMENT_SECONDS = 3
APPLICATION_NAME_BYTES = 63
"""The server cuts longer names off."""


class LoadWatch:
    """The newest load; a worker that reads never waits for it."""

    def __init__(self, conninfo: str, *, application_name: str, sweeping: str) -> None:
        """Args: sweeping: application name of the sessions whose statements are timed."""
        self._conninfo, self._name, self._sweeping = conninfo, application_name, sweeping
        self._seen: tuple[float, Mapping[str, float | None]] | None = None
        self.error: str | None = None

    @property
    def load(self) -> Mapping[str, float | None] | None:
        """Give the value of each signal; `None` where the source has not been seen lately."""
        seen = self._seen
        return seen[1] if seen is not None and time.monotonic() - seen[0] <= STALE_SECONDS else None

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop; a lost connection is opened again."""
        while not stop.is_set():
            try:
                with connect(
                    self._conninfo, application_name=self._name, statement_seconds=STATEMENT_SECONDS
                ) as session:
                    self.error = None
                    while not stop.is_set():
                        self._seen = (time.monotonic(), read_load(session, self._sweeping))
                        stop.wait(LOOK_SECONDS)
            except AuditorError as error:
                self.error = str(error)
                stop.wait(LOOK_SECONDS)


def read_load(session: Session, sweeping: str) -> dict[str, float | None]:
    """Read every signal once; `None` where the role may not see it.

    Raises:
        SideUnavailable, StatementCancelled: try again.
    """
    return dict(select(session, "load", {"sweeping": sweeping[:APPLICATION_NAME_BYTES]})[0])
