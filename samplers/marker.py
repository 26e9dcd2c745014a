"""Write the marker: a tiny commit now and then on the source, so that an idle system too shows that changes arrive."""

import threading
from collections.abc import Callable

from comparators.errors import AuditorError
from samplers.connections import connect
from samplers.rows import fetch

MARKER_SECONDS = 1.0


class Marker:
    """Updates the marker row on the source for as long as the table is replicated."""

    def __init__(self, conninfo: str, schema: str, installed: Callable[[], bool], *, application_name: str) -> None:
        """Args: installed: whether the marker table is published, subscribed and ready."""
        self._conninfo, self._installed, self._name = conninfo, installed, application_name
        self._statement = (
            f'INSERT INTO "{schema}".marker (id, nonce, written_at) VALUES (1, 1, clock_timestamp())'
            " ON CONFLICT (id) DO UPDATE SET nonce = marker.nonce + 1, written_at = excluded.written_at"
        )
        self.error: str | None = None

    def run(self, stop: threading.Event) -> None:
        """Write until told to stop; a lost connection is opened again."""
        while not stop.wait(MARKER_SECONDS):
            if not self._installed():
                continue
            try:
                with connect(self._conninfo, application_name=self._name) as connection:
                    self.error = None
                    while self._installed() and not stop.wait(MARKER_SECONDS):
                        fetch(connection, self._statement)
            except AuditorError as error:
                self.error = str(error)
