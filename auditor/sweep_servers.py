"""The servers behind the sweeper: both catalogs, and the sessions of one sweep."""

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from auditor.mapping_file import load_mapping
from auditor.scoping import load_scope
from auditor.settings import Settings
from auditor.sweep_engine import Opened, Sweep, Tables, session_name
from comparators.errors import NotReady, PositionLost
from comparators.positions import Side
from comparators.sampling import seed_of
from comparators.segments import Plan
from comparators.tables import Mode, Skipped, TablePair
from samplers.anchors import Anchors
from samplers.catalog import ServerFacts, Subscription, server_facts
from samplers.connections import STATEMENT_SECONDS, connect
from samplers.pairing import pair_tables, wanted_of
from samplers.passage import Passage
from samplers.rows import Session
from samplers.table_sweep import SweepOptions, TableSweep, make_plan

CANCEL_SECONDS = 2.0
SEED_BITS = 63
NOT_COPIED = "the initial copy is not finished"
NOT_BROUGHT = "the mapping names it, and no publication of the migration brings it: correct the name in the mapping"


class ServerEngine:
    """The engine on the servers of a migration."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._subscriptions: tuple[Subscription, ...] = ()
        self._lock = threading.Lock()
        self._running: set[Session] = set()
        self._anchors: dict[tuple[str, int, float], list[Anchors]] = {}

    def tables(self) -> Tables:
        settings, label = self._settings, f"auditor tables {self._settings.migration}"
        mapping = load_mapping(settings.mapping)
        scope, catalogs = load_scope(settings)
        self._subscriptions = tuple(catalogs.subscriptions)
        waiting = {t.name: NOT_COPIED for t in scope.tables.values() if not t.ready and not t.control}
        wanted = [one for one in wanted_of(scope, catalogs, mapping) if one.name not in waiting]
        with (
            connect(settings.source.conninfo(), application_name=label) as source,
            connect(settings.target.conninfo(), application_name=label) as target,
        ):
            pairs = pair_tables(source, target, wanted, mapping)
        skipped = {name: Skipped(name, why) for name, (state, why) in scope.left_out.items() if state == "skipped"}
        strange = {name: Skipped(name, NOT_BROUGHT) for name in {*mapping.tables} - {*scope.tables, *scope.left_out}}
        return Tables(strange | skipped | pairs, waiting)

    @contextmanager
    def opened(self, pair: TablePair, baseline: Mapping[str, Any]) -> Iterator[Opened]:
        seconds = self._settings.sweep.keyless_seconds if pair.mode is Mode.BUCKETS else STATEMENT_SECONDS
        name = session_name(self._settings.migration, pair.mode)
        with ExitStack() as stack:
            # two of each: while a statement runs on one, the other is asked how far the target has come
            source, source_watch, target, target_watch = (
                stack.enter_context(connect(side.conninfo(), application_name=name, statement_seconds=seconds))
                for side in (self._settings.source,) * 2 + (self._settings.target,) * 2
            )
            facts = server_facts(source)
            check_server(Side.SOURCE, facts, baseline)
            check_server(Side.TARGET, server_facts(target), baseline)
            stack.callback(self._running.difference_update, (source, target))
            self._running.update((source, target))
            passage = self._passage(pair, source_watch, target_watch)
            with self._anchored(facts) as anchors:
                yield _ServerTable(self._settings, pair, source, target, passage, anchors)

    def cancel(self) -> None:
        """Have both servers drop the statements under way; a whole table may take them minutes."""
        for session in list(self._running):
            with suppress(Exception):  # a connection that is just being closed; the process ends in any case
                session.cancel_safe(timeout=CANCEL_SECONDS)

    @contextmanager
    def _anchored(self, facts: ServerFacts) -> Iterator[Anchors]:
        """Lend the positions that earlier sweeps read on this very server; one that broke off returns none."""
        server = (facts.system_identifier, facts.timeline, facts.started_at)
        with self._lock:
            idle = self._anchors.setdefault(server, [])
            anchors = idle.pop() if idle else Anchors()
        yield anchors
        with self._lock:
            self._anchors = {server: [*self._anchors.get(server, ()), anchors]}

    def _passage(self, pair: TablePair, source: Session, target: Session) -> Passage:
        if pair.subscription >= len(self._subscriptions):
            raise NotReady("the subscriptions have not been read yet")
        subscription = self._subscriptions[pair.subscription]
        return Passage(source, target, subscription.origin_name, subscription.slot_name)


def check_server(side: Side, facts: ServerFacts, baseline: Mapping[str, Any]) -> None:
    """Make sure that a session is on the server of the baseline: positions of another one mean something else.

    Raises:
        PositionLost: it was failed over, restored, or is another one.
    """
    if (facts.system_identifier, facts.timeline) != (baseline[f"{side}_system"], baseline[f"{side}_timeline"]):
        raise PositionLost(
            f"{side}: the server was replaced, failed over or restored (timeline {facts.timeline})",
            hint="run `auditor prepare --new-baseline`",
        )


class _ServerTable:
    """One table on both servers."""

    def __init__(
        self, settings: Settings, pair: TablePair, source: Session, target: Session, passage: Passage,
        anchors: Anchors,
    ) -> None:  # fmt: skip
        self._pair, self._source, self._target = pair, source, target
        self._passage, self._anchors = passage, anchors
        # another hash for each sweep, but where a row without a key is known by it
        seed = secrets.randbits(SEED_BITS) if pair.source.key else seed_of(settings.migration) >> 64 - SEED_BITS
        self._options = SweepOptions(seed=seed, chunk_seconds=settings.sweep.chunk_seconds)

    def plan(self) -> Plan:
        return make_plan(self._source, self._pair, self._options)

    def sweep(self, plan: Plan, start: int) -> Sweep:
        return TableSweep(
            self._source, self._target, self._pair, plan, self._passage, self._options, start=start,
            anchors=self._anchors,
        )  # fmt: skip
