"""The two databases of `auditor diff`: their sessions, and the subscription that leads from one to the other."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from comparators.errors import AuditorError, NeedsOperator, SettingInvalid
from comparators.tables import Skipped
from samplers.anchors import Anchors
from samplers.catalog import Subscription, TableShape, server_facts, subscriptions
from samplers.connections import connect
from samplers.passage import NoPassage, Passage, Passages, Passing
from samplers.rows import Session, fetch
from samplers.slots import PLUGIN, inspect_slots

NAME = "auditor diff"
PAUSE_SECONDS = 0.05


class Sides:
    """Two sessions on each side, one to read rows and one to ask for positions; opened again when lost."""

    def __init__(self, source: str, target: str) -> None:
        """Args: source, target: connection strings."""
        self._dsns = {"source": source, "target": target}
        self._open: dict[tuple[str, bool], Session] = {}
        self.anchors = Anchors()
        self.gone: str | None = None
        """Why a side could not be reached when that was last tried."""

    def __enter__(self) -> Self:
        try:
            self.reopen()
        except AuditorError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def source(self) -> Session:
        """The session on the source."""
        return self._open["source", False]

    @property
    def target(self) -> Session:
        """The session on the target."""
        return self._open["target", False]

    def reopen(self) -> None:
        """Open the sessions that are not open.

        Raises:
            SideUnavailable, NotPermitted, SettingInvalid: the text names the side.
        """
        for place in (("source", False), ("target", False), ("source", True), ("target", True)):
            if place not in self._open:
                self._open[place] = self._connected(place[0])
        self.gone = None

    def _connected(self, side: str) -> Session:
        try:
            session = connect(self._dsns[side], application_name=NAME)
        except AuditorError as error:
            self.gone = f"{side}: {error}"
            raise of_side(side, error) from None
        with suppress(AuditorError):  # it is for our own death only, and not every platform can
            fetch(session, "SET client_connection_check_interval = 1000")
        return session

    def limit(self, seconds: float) -> None:
        """Let a statement take so long."""
        for session in (self.source, self.target):
            fetch(session, f"SET statement_timeout = {int(seconds * 1000)}")

    def close(self) -> None:
        """Close all sessions."""
        self.anchors = Anchors()  # positions of a server that may not be the same when it comes back
        while self._open:
            _, session = self._open.popitem()
            with suppress(Exception):  # the server may be gone, and the session with it
                session.close()

    def passage(self, origin: str, slot: str | None) -> Passage:
        """Give what tells how far a subscription has come."""
        return Passage(self._open["source", True], self._open["target", True], origin, slot)

    def anchor(self, seconds: float) -> None:
        """Wait until a position of the source is proved: until every transaction that writes now has ended."""
        deadline = time.monotonic() + seconds
        while self.anchors.drop(self.source) is None and time.monotonic() < deadline:
            time.sleep(PAUSE_SECONDS)

    def refuse_one_database(self) -> None:
        """Refuse to compare a database with itself, which is always equal.

        Raises:
            SettingInvalid: both connection strings lead to one database.
        """
        here, there = server_facts(self.source), server_facts(self.target)
        same = ("system_identifier", "timeline", "started_at", "database_oid", "in_recovery")
        if all(getattr(here, name) == getattr(there, name) for name in same):
            raise SettingInvalid(
                "SOURCE_DSN and TARGET_DSN lead to the same database", hint="name the target's server and database"
            )


def of_side(side: str, error: AuditorError) -> AuditorError:
    """Say the same error with the side that it is about."""
    text = f"{side}: {error}"
    return type(error)(text, hint=error.hint) if isinstance(error, NeedsOperator) else type(error)(text)


@dataclass(frozen=True, slots=True)
class Followed:
    """The subscriptions whose progress says what the target has applied."""

    subscriptions: tuple[Subscription, ...]
    shapes: Mapping[str, TableShape]
    """The target's tables."""
    notes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(one.name for one in self.subscriptions)

    @property
    def publications(self) -> list[str]:
        """What they take from the source."""
        return sorted({name for one in self.subscriptions for name in one.publications})

    def passage(self, sides: Sides, target_table: str) -> Passing:
        """Give what tells when the target has applied a position of the source, for one table."""
        carriers = [one for one in self.subscriptions if target_table in self.carried(one)]
        passages = [sides.passage(one.origin_name, one.slot_name) for one in carriers]
        if len(passages) > 1:
            return Passages(passages)  # its partitions, or rows by filters, come by several
        return passages[0] if passages else NoPassage()

    def unfinished(self, both: Mapping[str, str]) -> dict[str, Skipped]:
        """Give the tables whose initial copy goes on: what they lack says nothing."""
        copying = {name for one in self.subscriptions for name, ready in self.carried(one).items() if not ready}
        return {
            here: Skipped(here, "the initial copy is not finished") for here, there in both.items() if there in copying
        }

    def carried(self, subscription: Subscription) -> dict[str, bool]:
        """Give the tables that a subscription brings, and the roots of partitions that it brings: copied or not."""
        found: dict[str, bool] = {}
        for schema, name, state, _ in subscription.tables:
            shape = self.shapes.get(f"{schema}.{name}")
            for table in (f"{schema}.{name}", *(shape.ancestors if shape else ())):
                found[table] = found.get(table, True) and state == "r"
        return found


def followed(sides: Sides, shapes: Mapping[str, TableShape], name: str | None) -> Followed:
    """Find the subscriptions that bring the source's changes to the target.

    Args:
        shapes: the target's tables.
        name: only this one; `None`: all that lead from the source and apply.
    Raises:
        SettingInvalid: the one that was named does not exist, or does not lead from this source.
    """
    known = subscriptions(sides.target)
    leads = _leading(sides)
    if name is not None:
        return Followed((_named(name, known, leads),), shapes)
    leading = [one for one in known.values() if leads(one)]
    stopped = [one.name for one in leading if not one.enabled]
    notes = [f"subscription {one} is disabled: what it has not applied counts as different" for one in stopped]
    if not leading:
        notes = ["no subscription of the target leads from this source: rows are read again until they stand still"]
    return Followed(tuple(one for one in leading if one.enabled), shapes, tuple(notes))


def _leading(sides: Sides) -> Callable[[Subscription], bool]:
    """Tell by their slots which subscriptions read from the source's database."""
    database = sides.source.info.dbname
    slots = inspect_slots(sides.source).values()
    ours = {slot.name for slot in slots if slot.database == database and slot.plugin == PLUGIN}
    return lambda subscription: subscription.slot_name in ours


def _named(name: str, known: Mapping[str, Subscription], leads: Callable[[Subscription], bool]) -> Subscription:
    if name not in known:
        raise SettingInvalid(
            f"--subscription: the target has no subscription {name!r}", hint=f"it has: {_listed(known)}"
        )
    if not leads(known[name]):
        raise SettingInvalid(
            f"--subscription: {name!r} does not read from a slot of this source's database",
            hint="its progress would say nothing about this source; leave the option out",
        )
    return known[name]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
