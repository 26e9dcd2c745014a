"""The fence of one side: its roles cannot log in, nobody of them is in, and nothing is prepared.

Rules of this file:
1. Whose LOGIN is taken is remembered before it is taken; `open` gives back to these and to nobody else.
2. All roles lose LOGIN in one transaction, and get it back in one.
3. Whoever opens or closes ends every other session of a fence first: an orchestrator or a dead man that was stopped
   and wakes cannot finish what it began.
4. Closed means: two looks in a row found nobody, no session was still coming up, and nothing was prepared after them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import LiteralString, Protocol, TypeVar

import psycopg
from psycopg import sql

from comparators.errors import AuditorError, NeedsOperator, Retryable
from comparators.positions import Side
from orchestrator.adapters import fence_sessions as sessions
from orchestrator.adapters.fence_checks import blockers
from orchestrator.adapters.fence_roles import REHEARSAL, Choice, Roles, read_roles
from orchestrator.adapters.fence_sessions import OURS, Ending, Look
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.ports import Blocker, Facts, FenceSeen, Identity

Result = TypeVar("Result")

_ZEROS = 2
_FIRST_PAUSE_SECONDS = 0.001
_LONGEST_PAUSE_SECONDS = 0.02
_RETRY_SECONDS = 0.05
_OBSERVE_SECONDS = 5
_STUCK_LOOKS = 8
"""After so many looks a session that still comes up is taken for one whose client does not answer."""
_NAME = "fence"
NOBODY: frozenset[str] = frozenset()

_OTHERS = """SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND application_name = %s AND pid <> pg_backend_pid()"""


class Memory(Protocol):
    """Where the roles of a fence are remembered; the journal is one."""

    def remember(self, side: Side, roles: Sequence[str]) -> None: ...
    def remembered(self, side: Side) -> Sequence[str]: ...
    def forget(self, side: Side) -> None: ...


class DatabaseFence:
    """Keeps applications out of one side by what its own server lets in."""

    def __init__(self, side: Side, dsn: str, memory: Memory, choice: Choice | None = None) -> None:
        """Remember where and whom; nothing is opened yet.

        Args:
            dsn: of the control role, which the fence spares.
        """
        self.side = side
        self._memory = memory
        self._choice = choice or Choice()
        self._acting = Session(dsn, _NAME)
        self._watching = Session(dsn, "fence watch")
        self._closed_here = False
        """This process closed it, and has not opened it since."""

    def close_sessions(self) -> None:
        """End the fence's own sessions; what it closed stays closed."""
        self._acting.close()
        self._watching.close()

    def warm(self, deadline: Deadline) -> None:
        """See that both sessions answer a look, or open them: since they were used last, hours may have passed.

        Raises:
            As `Session.execute`.
        """
        for session in (self._acting, self._watching):
            try:
                sessions.look(session, self._choice, None, replace(deadline, at=deadline.at - deadline.left() / 2))
            except Retryable:
                session.close()  # as where a firewall has forgotten it
                sessions.look(session, self._choice, None, deadline)

    def identity(self, deadline: Deadline) -> Identity:
        """Ask the side's own server who it is.

        Raises:
            As `Session.execute`.
        """
        return self._acting.identity(deadline)

    def check(self) -> Sequence[Blocker]:
        """Ask what speaks against closing this side, by rights, roles and sessions as they are now.

        Raises:
            As `Session.execute`.
        """
        deadline = Deadline.within(_OBSERVE_SECONDS, f"check the fence of the {self.side}")
        seen = sessions.look(self._watching, self._choice, NOBODY, deadline)
        return blockers(self.side, self._watching, seen, bool(self._memory.remembered(self.side)), deadline)

    def observe(self, deadline: Deadline | None = None) -> FenceSeen:
        """Look at roles, sessions and prepared transactions; what cannot be seen is `None`.

        Args:
            deadline: of a step that holds writes: whether it is closed is then told without asking the journal.
        """
        soon = deadline or Deadline.within(_OBSERVE_SECONDS, f"observe the fence of the {self.side}")
        try:
            seen = sessions.look(self._watching, self._choice, NOBODY, soon)
        except AuditorError:
            return FenceSeen(None)
        closed = self._closed(seen.roles, here=self._closed_here and deadline is not None)
        return FenceSeen(closed, _inside(seen), seen.prepared)

    def rehearse(self, deadline: Deadline) -> Facts:
        """Exercise every statement of the fence: for real on a role of its own, and undone on the real ones.

        Raises:
            NotPermitted: the control role lacks a right.
            Retryable: try again.
        """
        began = time.monotonic()
        roles = read_roles(self._acting, self._choice, deadline)
        self._undone(roles.open(), deadline)
        self._drop_rehearsal(deadline)
        self._acting.execute(_named("CREATE ROLE {} LOGIN", REHEARSAL), deadline=deadline)
        try:
            began_to_alter = time.monotonic()
            self._alter([REHEARSAL], "NOLOGIN", deadline)
            alter_ms, began_to_look = _since(began_to_alter), time.monotonic()
            seen = sessions.look(self._acting, self._choice, None, deadline)
            look_ms = _since(began_to_look)
            self._alter([REHEARSAL], "LOGIN", deadline)
        finally:
            self._drop_rehearsal(deadline)
        return {
            "rehearsed": True,
            "roles": len(roles.open()),
            "sessions": _inside(seen),
            "alter_ms": alter_ms,
            "look_ms": look_ms,
            "ms": _since(began),
        }

    def close(self, deadline: Deadline) -> Facts:
        """Take LOGIN from every fenced role, end its sessions until there are none twice; nothing is prepared.

        Raises:
            DeadlinePassed: somebody is still in; the roles stay without LOGIN until `open`.
            NeedsOperator: nobody can be fenced, a transaction is prepared, or a superuser came back to work.
        """
        began = time.monotonic()
        _persist(lambda: self._end_others(deadline), deadline)
        ending = Ending()
        taken = _persist(lambda: self._empty(ending, deadline), deadline)
        self._closed_here = True
        return {
            "closed": True,
            "sessions": 0,
            "prepared": 0,
            "roles": taken,
            "ended": len(ending.ended),
            "superusers_ended": len(ending.superusers),
            "kept_ended": len(ending.kept),
            "looks": ending.looks,
            "ms": _since(began),
        }

    def open(self, deadline: Deadline) -> Facts:
        """Give back exactly the LOGINs that `close` took.

        Raises:
            Retryable: try again; some may have it back already.
            NeedsOperator: nobody can log in, and nobody is remembered.
        """
        began, self._closed_here = time.monotonic(), False
        _persist(lambda: self._end_others(deadline), deadline)
        given = _persist(lambda: self._give_login(deadline), deadline)
        return {"closed": False, "roles": given, "ms": _since(began)}

    def _take_login(self, taken: set[str], names: Sequence[str], ending: Ending, deadline: Deadline) -> None:
        """Remember whose LOGIN is to be taken, and take it; who is coming up is noted anew."""
        if not taken.issuperset(names):
            self._memory.remember(self.side, names)
            taken.update(names)
        self._alter(names, "NOLOGIN", deadline)
        ending.starts, ending.zeros = None, 0

    def _give_login(self, deadline: Deadline) -> list[str]:
        """Give LOGIN back, read it back, and only then forget."""
        names = list(self._memory.remembered(self.side))
        while lacking := (roles := read_roles(self._acting, self._choice, deadline)).without_login(names):
            self._alter(lacking, "LOGIN", deadline)
        if not names and not roles.open():
            raise NeedsOperator(
                f"no application can log in to the {self.side}, and no fence is remembered that kept it out",
                hint="give the roles of the applications LOGIN again (ALTER ROLE ... LOGIN)",
            )
        if names:
            self._memory.forget(self.side)
        return sorted(names)

    def _empty(self, ending: Ending, deadline: Deadline) -> list[str]:
        """Take LOGIN and end sessions until two looks in a row found none; give whose LOGIN was taken."""
        taken = set(self._memory.remembered(self.side))
        roles = read_roles(self._acting, self._choice, deadline)
        try:
            while (names := roles.open()) or ending.zeros < _ZEROS:
                if names:
                    self._take_login(taken, names, ending, deadline)
                if not taken:
                    raise NeedsOperator(
                        f"the {self.side} has no role that could be fenced",
                        hint="let applications use a role of their own",
                    )
                roles = self._look(ending, deadline)
        except DeadlinePassed as passed:
            raise DeadlinePassed(f"{passed}; {ending}") from passed
        return sorted(taken.intersection(role.name for role in roles.known.values()))

    def _look(self, ending: Ending, deadline: Deadline) -> Roles:
        """Look once, end whom it finds, and wait a moment where it must look again.

        Raises:
            NeedsOperator: nobody is in, but something is prepared.
        """
        seen = sessions.look(self._acting, self._choice, ending.starts, deadline)
        judged = sessions.judge(seen.sessions, seen.roles, ending)
        sessions.end(self._acting, judged.end, seen.roles, ending, deadline)
        ending.looks += 1
        ending.starts, ending.against = seen.starts, judged.against
        ending.zeros = 0 if judged.against or seen.starts else ending.zeros + 1
        if ending.zeros and seen.prepared:
            raise NeedsOperator(
                f"{seen.prepared} prepared transactions are open on the {self.side}: they can commit behind the fence",
                hint="COMMIT PREPARED or ROLLBACK PREPARED each (pg_prepared_xacts), and stop what makes them",
            )
        if seen.starts and ending.looks % _STUCK_LOOKS == 0 and seen.roles.acting.superuser:
            sessions.end_starts(self._acting, seen.starts, deadline)
        if ending.zeros < _ZEROS:
            pause = min(_FIRST_PAUSE_SECONDS * 2 ** min(ending.looks, 16), _LONGEST_PAUSE_SECONDS)
            time.sleep(min(pause, deadline.left()))
        return seen.roles

    def _end_others(self, deadline: Deadline) -> None:
        """End the sessions of every other fence of this side, and see that they are gone."""
        while self._acting.execute(_OTHERS, [f"{OURS} {_NAME}"], deadline=deadline):
            time.sleep(_FIRST_PAUSE_SECONDS)

    def _alter(self, names: Sequence[str], word: LiteralString, deadline: Deadline) -> None:
        """Give or take LOGIN, all in one transaction."""
        statements = [_named("ALTER ROLE {} " + word, name) for name in names]
        self._acting.execute(sql.SQL("; ").join(statements), deadline=deadline)

    def _undone(self, names: Sequence[str], deadline: Deadline) -> None:
        """Take LOGIN in a transaction that is rolled back: nobody notices, but a right that lacks shows."""
        if names:
            with self._acting.transaction(deadline):
                self._alter(names, "NOLOGIN", deadline)
                raise psycopg.Rollback

    def _drop_rehearsal(self, deadline: Deadline) -> None:
        self._acting.execute(_named("DROP ROLE IF EXISTS {}", REHEARSAL), deadline=deadline)

    def _closed(self, roles: Roles, *, here: bool) -> bool | None:
        """Say whether everybody is kept out; not known where nobody is remembered who ever was let in."""
        if roles.open():
            return False
        if here:
            return True
        try:
            return True if self._memory.remembered(self.side) else None
        except AuditorError:
            return None


def _persist(do: Callable[[], Result], deadline: Deadline) -> Result:
    """Do something idempotent again while the server cannot be reached or others alter the same role."""
    while True:
        try:
            return do()
        except DeadlinePassed:
            raise
        except Retryable:
            time.sleep(min(_RETRY_SECONDS, deadline.left()))


def _inside(seen: Look) -> int:
    """Count the sessions that a closed fence must not have."""
    return sum(sessions.trespasses(one, seen.roles) for one in seen.sessions)


def _named(statement: LiteralString, name: str) -> sql.Composed:
    return sql.SQL(statement).format(sql.Identifier(name))


def _since(began: float) -> float:
    return round((time.monotonic() - began) * 1000, 2)
