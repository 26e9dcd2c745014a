"""Stop an orchestrator exactly where it is to be killed or harmed: while the journal's database writes its entry.

A trigger in the journal's database waits there for a lock that the show holds. So nothing in the orchestrator is made
for it, and the moment is exact: before an effect (its intent is being written), or after it (its result is not known).
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum

from auditor.demo.database import Session, one, run, session, wait_until

LOCKS = 7_306_041
INSTALL = (
    "CREATE SCHEMA IF NOT EXISTS show",
    "CREATE TABLE IF NOT EXISTS show.breakpoints (id int PRIMARY KEY, step text, kind text, direction text)",
    f"""
    CREATE OR REPLACE FUNCTION show.stop() RETURNS trigger LANGUAGE plpgsql
           SECURITY DEFINER SET search_path = pg_catalog AS $$
    DECLARE found int;
    BEGIN
        FOR found IN SELECT id FROM show.breakpoints b WHERE b.step = NEW.step::text AND b.kind = NEW.kind::text
                        AND b.direction = NEW.direction::text LOOP
            PERFORM pg_advisory_xact_lock_shared({LOCKS}, found);
        END LOOP;
        RETURN NULL;
    END $$""",
    "CREATE OR REPLACE TRIGGER show_stop AFTER INSERT ON auditor_cutover.entries"
    " FOR EACH ROW EXECUTE FUNCTION show.stop()",
)
SET = "INSERT INTO show.breakpoints VALUES (%s, %s, %s, %s)"
WAITING = f"SELECT pid FROM pg_locks WHERE classid = {LOCKS} AND objid = %s AND NOT granted AND locktype = 'advisory'"
_numbers = itertools.count(1)


class Moment(StrEnum):
    """When of a step; the value is the kind of the entry that is being written."""

    BEFORE = "intent"
    AFTER = "done"


class Breakpoint:
    """One place at which an orchestrator waits, as a context manager; at its end everybody goes on."""

    def __init__(self, opened: Session, number: int, name: str) -> None:
        self._opened, self._number, self.name = opened, number, name

    @property
    def reached(self) -> int | None:
        """Give the journal's backend that waits here, if any."""
        pid = one(self._opened, WAITING, self._number)
        return None if pid is None else int(pid)

    def reach(self, seconds: float) -> None:
        """Wait until an orchestrator stands here.

        Raises:
            TimeoutError: none came.
        """
        wait_until(lambda: self.reached is not None, f"an orchestrator at {self.name}", seconds, 0.002)

    def cut(self) -> None:
        """End the waiting session with the journal: its entry is never written."""
        one(self._opened, "SELECT pg_terminate_backend(%s, 5000)", self.reached)
        self.go_on()

    def go_on(self) -> None:
        """Let it write its entry and go on; nobody stops here again."""
        with suppress(self._opened.Error):  # the journal may have been what was hit: its locks are gone with it
            run(self._opened, f"DELETE FROM show.breakpoints WHERE id = {self._number}")
            run(self._opened, "SELECT pg_advisory_unlock_all()")


@dataclass(frozen=True, slots=True)
class Breakpoints:
    """Sets breakpoints in a journal's database."""

    journal: str
    """Conninfo as a superuser; the journal's tables are there."""

    def install(self) -> None:
        """Make the trigger, unless it is there."""
        with session(self.journal) as opened:
            run(opened, *INSTALL)

    @contextmanager
    def at(self, step: str, moment: Moment, direction: str = "forward") -> Iterator[Breakpoint]:
        """Set a breakpoint; it is gone at the end of the block."""
        with session(self.journal) as opened:
            breakpoint_ = Breakpoint(opened, next(_numbers), f"{step} ({moment})")
            run(opened, f"SELECT pg_advisory_lock({LOCKS}, {breakpoint_._number})")
            opened.execute(SET, (breakpoint_._number, step, str(moment), direction))
            try:
                yield breakpoint_
            finally:
                breakpoint_.go_on()
