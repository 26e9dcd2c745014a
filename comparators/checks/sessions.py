"""Sessions of one side as a probe saw them: what checks of activity and of writers have in common."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

_SERVER_KINDS = frozenset({
    "archiver", "autovacuum launcher", "autovacuum worker", "background writer", "checkpointer", "io worker", "logger",
    "logical replication apply worker", "logical replication launcher", "logical replication parallel worker",
    "logical replication tablesync worker", "logical replication worker", "parallel worker", "slotsync worker",
    "standalone backend", "startup", "walreceiver", "walsender", "walsummarizer", "walwriter",
})  # fmt: skip
"""Processes that work for the server, for replication or for another session."""


@dataclass(frozen=True, slots=True)
class Session:
    """One process of the server; times are the server's own, and a statement's text is never part of it."""

    pid: int
    role: str = ""
    superuser: bool = False
    application: str = ""
    host: str = ""
    kind: str | None = "client backend"
    """As `backend_type`; `None` where the role may not see it."""
    state: str = ""
    has_xid: bool = False
    """It has written, or locked a row, in a transaction that is open."""
    transaction_seconds: float | None = None
    """Age of its open transaction."""
    state_seconds: float | None = None
    """How long it has been in its state."""
    writes: bool = False
    """Its current or last statement writes rows."""
    changes_schema: bool = False
    """It runs a statement that changes the schema or rewrites a table."""
    listens: bool = False
    holds_cursor: bool = False
    prevents_wraparound: bool = False
    vacuums: bool = False
    builds_index: bool = False
    locks_table: bool = False
    """It holds, or waits for, a lock on a table that no reader gets past."""
    locks_advisory: bool = False
    ours: bool = False
    """Of our own role and named as our sessions are."""

    @property
    def others(self) -> bool:
        """Say whether it works for somebody else than us, replication and the server itself."""
        return not self.ours and self.kind not in _SERVER_KINDS

    @property
    def background(self) -> bool:
        """Say whether it is a worker that an extension started."""
        return self.others and self.kind is not None and self.kind != "client backend"


@dataclass(frozen=True, slots=True)
class SideSessions:
    """The sessions of one side's database."""

    sessions: tuple[Session, ...] = ()
    all_seen: bool = True
    """Whether the role sees what others do."""
    role: str = "auditor"
    """Our role there."""


def hidden(sides: Mapping[str, SideSessions]) -> list[str]:
    """Name the sides whose sessions our role may not see."""
    return [side for side, seen in sides.items() if not seen.all_seen]


def hidden_reason(sides: Iterable[str]) -> str:
    """Say why nothing is known about sessions."""
    return f"our role may not see other roles' sessions on the {' and the '.join(sides)}"


def grant(sides: Mapping[str, SideSessions]) -> str:
    """Give the statement that lets our role see all sessions, for each side that needs it."""
    return "; ".join(f'on the {side}: GRANT pg_monitor TO "{sides[side].role}"' for side in hidden(sides))


def named(session: Session) -> str:
    """Name a session so that a person finds it; never by what it says."""
    application = f", application {shortened(session.application)}" if session.application else ""
    return f"process {session.pid} (role {session.role or 'none'}{application}, from {session.host or 'local'})"


def shortened(text: str, characters: int = 64) -> str:
    """Cut and clean what a client chose to call itself."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in text)
    return clean if len(clean) <= characters else f"{clean[:characters]}..."


def chosen(sides: Mapping[str, SideSessions], wanted: Callable[[Session], bool]) -> list[tuple[str, Session]]:
    """List the sessions of both sides that are others' and wanted."""
    return [
        (side, session) for side, seen in sides.items() for session in seen.sessions
        if session.others and wanted(session)
    ]  # fmt: skip
