"""The gate's view of a cutover: what its journal tells, read again every second, and what clients ask of it.

The gate never conducts: it reads, writes wishes and approvals down, and shows. So it may live on another host than the
orchestrator, and outlive it.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

from auditor.cutover.asking import ask
from auditor.cutover.documents import Document, Followed, Seen, entry_document, request_document, status_document
from auditor.cutover.opening import opened_journal
from auditor.cutover.planning import approved, plan_document
from auditor.cutover.reading import report_of
from auditor.cutover.story import attempts_of, owed
from auditor.cutover.wiring import assembled, installed_journal
from auditor.settings import Settings
from comparators.errors import AuditorError, NotReady
from orchestrator.records import Entry, Journal, Wish

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
Open = Callable[[], AbstractContextManager[Journal]]


class Desk:
    """Watches one migration's journal on a thread, and takes what clients ask for."""

    def __init__(self, settings: Settings, open_journal: Open | None = None) -> None:
        self._settings = settings
        self._open = open_journal or partial(opened_journal, settings)
        self._view = Followed()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cutover", daemon=True)

    @property
    def view(self) -> Followed:
        return self._view

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; a question to a journal that does not answer is not waited for."""
        self._stopped.set()
        self._thread.join(timeout=LOOK_SECONDS)

    def status(self) -> Document:
        """Tell where the cutover stands.

        Raises:
            NotReady: it is not known now.
        """
        view = self._view
        if view.seen is None or view.error is not None:
            raise NotReady(view.error or "the journal was not read yet")
        return status_document(view.seen)

    def history(self, after: int, limit: int) -> Document:
        """Give entries of the journal behind one of them."""
        with self._open() as journal:
            return {"entries": [entry_document(entry) for entry in journal.entries(after, limit)]}

    def report(self, attempt: int | None) -> Document:
        """Give the report of one attempt.

        Raises:
            SettingInvalid: there is no such attempt.
        """
        with self._open() as journal:
            return report_of(journal, attempt)

    def ask(self, wish: Wish, by: str, reason: str, facts: Mapping[str, Any]) -> Document:
        """Write down what somebody asks for.

        Raises:
            SettingInvalid: there is nothing that it could be about.
            NotFromHere: the attempt is stuck, and nobody would carry it out.
        """
        with self._open() as journal:
            return request_document(ask(journal, wish, by, reason, facts, here=False))

    def plan(self) -> Document:
        """Ask every part what speaks against a cutover now."""
        with installed_journal(self._settings) as journal, assembled(self._settings, journal) as assembly:
            return plan_document(self._settings, assembly)

    def approve(self, by: str, digest: str) -> Document:
        """Write down that somebody agrees to a plan.

        Raises:
            NotApprovable: it is not the plan of now, or the gate does not say PASS.
        """
        with installed_journal(self._settings) as journal, assembled(self._settings, journal) as assembly:
            return approved(self._settings, assembly, by, digest)

    def _watch(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._open() as journal:
                    self._follow(journal)
            except NotReady:
                self._view = Followed(Seen(self._settings.migration, (), None, ()), None)
            except AuditorError as error:
                self._note(str(error))
            except Exception as error:
                log.exception("the journal of cutovers cannot be followed")
                self._note(type(error).__name__)
            self._stopped.wait(LOOK_SECONDS)

    def _follow(self, journal: Journal) -> None:
        entries: list[Entry] = []
        while not self._stopped.is_set():
            entries += journal.entries(entries[-1].seq if entries else 0)
            attempts, requests = attempts_of(entries), tuple(journal.requests())
            self._view = Followed(
                Seen(journal.migration, attempts, journal.lease(), requests, owed(attempts, requests)), None
            )
            self._stopped.wait(LOOK_SECONDS)

    def _note(self, error: str) -> None:
        if self._view.error != error:
            log.warning("the journal of cutovers cannot be read: %s", error, extra={"action": "cutover-journal"})
        self._view = Followed(self._view.seen, error)


@contextmanager
def watching(settings: Settings) -> Iterator[Desk | None]:
    """Watch the journal of a migration that has a cutover configured; `None` where it has not."""
    if settings.cutover is None:
        yield None
        return
    desk = Desk(settings)
    desk.start()
    try:
        yield desk
    finally:
        desk.stop()
