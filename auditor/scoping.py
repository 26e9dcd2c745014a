"""Keep the scope of a migration current: both catalogs are read at the start, when the log asks, and now and then."""

import logging
import threading
from collections.abc import Callable

from auditor.settings import Settings
from comparators.errors import AuditorError, NeedsOperator
from samplers.catalog import published_tables, subscriptions, tables
from samplers.connections import connect
from samplers.rows import insert_position
from samplers.scope import Catalogs, Scope, choose_scope
from samplers.withdrawal import give_way

log = logging.getLogger(__name__)

READ_SECONDS = 3.0
FIRST_SECONDS = 1.0


class ScopeKeeper:
    """Reads the catalogs of both sides now and then, and keeps the scope that follows."""

    def __init__(self, load: Callable[[], tuple[Scope, Catalogs]]) -> None:
        self._load = load
        self.current: Scope | None = None
        self.catalogs: Catalogs | None = None
        self.version = 0
        self.error: str | None = None
        self._again = threading.Event()

    @property
    def origins(self) -> tuple[str, ...]:
        """Give the origin name of each subscription."""
        return tuple(subscription.origin_name for subscription in self.catalogs.subscriptions) if self.catalogs else ()

    @property
    def other_origins(self) -> frozenset[str]:
        """Give the origin names of subscriptions that are not configured."""
        return self.catalogs.unknown_origins if self.catalogs else frozenset()

    def now(self) -> Scope:
        """Give the scope that holds now."""
        return self.current or Scope({}, {})

    def read_again(self) -> None:
        """Ask for a fresh reading soon."""
        self._again.set()

    def touch(self) -> None:
        """Have every relation planned anew, although the tables are the same."""
        self.version += 1

    def run(self, stop: threading.Event) -> None:
        """Read until told to stop."""
        while not stop.is_set():
            self.read()
            self._again.wait(READ_SECONDS if self.current else FIRST_SECONDS)
            stop.wait(0.2)  # many relations may ask at once
            self._again.clear()

    def read(self) -> None:
        """Read once; a failure keeps the scope that was."""
        try:
            scope, catalogs = self._load()
        except AuditorError as error:
            self.error = str(error)
            return
        self.error, self.catalogs = None, catalogs
        if scope != self.current:
            self.current = scope
            self.version += 1


def load_scope(settings: Settings) -> tuple[Scope, Catalogs]:
    """Read both catalogs and choose the scope.

    Raises:
        SideUnavailable: try again.
        NeedsOperator: a configured subscription does not exist.
    """
    names, replication = settings.names, settings.replication
    label = f"auditor {settings.migration}"
    with (
        connect(settings.source.conninfo(), application_name=label) as source,
        connect(settings.target.conninfo(), application_name=label) as target,
    ):
        published = published_tables(source, replication.publications)
        source_tables = tables(source)
        known = subscriptions(target)
        target_tables = tables(target)
        ours = published_tables(target, [names.publication, names.publication_inserts])
        ours = give_way(target, names.publication, ours, target_tables)
        source_insert = insert_position(source)
    missing = [name for name in replication.subscriptions if name not in known]
    if missing:
        raise NeedsOperator(
            f"subscription {missing[0]!r} does not exist on the target", hint="correct replication.subscription"
        )
    catalogs = Catalogs(
        published=published,
        source=source_tables,
        target=target_tables,
        subscriptions=[known[name] for name in replication.subscriptions],
        ours=ours,
        source_insert=source_insert,
        unknown_subscriptions=tuple(sorted(set(known) - set(replication.subscriptions))),
        unknown_origins=frozenset(known[name].origin_name for name in set(known) - set(replication.subscriptions)),
    )
    return choose_scope(catalogs, settings.tables.selects, names.schema), catalogs
