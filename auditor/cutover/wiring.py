"""Everything that a cutover acts through, made of the configuration: alone in knowing every concrete part."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import cast

from auditor.cutover.budget import MeasuredBudget
from auditor.cutover.dead_man import DeadManProcess
from auditor.cutover.gate_port import HttpGate
from auditor.cutover.opening import Permission, fence_of, nobody_acts, require_section
from auditor.cutover.proxies import doors_of, proxies_of
from auditor.cutover.replicating import Replicating, line_recorded
from auditor.cutover.reverse_audit import ReverseAudit, draw_back, draw_forward, reverse_plan
from auditor.cutover.rows import PairedRows, looking
from auditor.cutover.settings import HookSettings
from auditor.mapping_file import load_mapping
from auditor.settings import Settings
from comparators.errors import Retryable
from comparators.positions import Side
from orchestrator.adapters.callers import Caller, Program, Service
from orchestrator.adapters.canary import Canary
from orchestrator.adapters.consumers import Consumer, SlotConsumers
from orchestrator.adapters.hooks import CalledHooks, Hook
from orchestrator.adapters.markers import Drain
from orchestrator.adapters.reverse import WayBack, WayForward
from orchestrator.adapters.sequences import SequencePort
from orchestrator.adapters.sessions import Session
from orchestrator.adapters.shadow import Read, ReadsLeader, ShadowReads
from orchestrator.adapters.suite import ReadSuite
from orchestrator.deadlines import Deadline
from orchestrator.journal import PostgresJournal
from orchestrator.ports import Identity, Ports, Proxy
from orchestrator.records import Direction, Journal, JournalUnfit

IDENTITY_SECONDS = 5.0
"""How long a side may take to say who it is."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of one migration's cutover."""

    journal: Journal
    ports: Mapping[Direction, Ports]
    gate: HttpGate
    permission: Permission = field(repr=False)
    hooked: frozenset[str] = frozenset()
    """Phases that have hooks."""


@contextmanager
def installed_journal(settings: Settings) -> Iterator[Journal]:
    """Open the journal, and set it up where it is not; it is on a server that is neither side.

    Raises:
        JournalUnavailable, JournalUnfit: it cannot be used.
        Retryable: a side does not say who it is, and the journal was never set up.
    """
    with PostgresJournal(require_section(settings).journal.conninfo(), settings.migration) as journal:
        try:
            journal.install(identities(settings).values())
        except Retryable:
            with suppress(JournalUnfit):
                journal.lease()  # it was set up when both sides were there
                yield journal
                return
            raise
        yield journal


def identities(settings: Settings) -> dict[Side, Identity]:
    """Ask both sides who they are.

    Raises:
        SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
    """
    found = {}
    for side, control in require_section(settings).control.items():
        with Session(control.conninfo(), "identity") as session:
            found[side] = session.identity(Deadline.within(IDENTITY_SECONDS, f"asking the {side} who it is"))
    return found


@contextmanager
def assembled(settings: Settings, journal: Journal) -> Iterator[Assembly]:
    """Make the parts of both directions; what they open is closed at the end. No side is asked anything yet.

    Raises:
        SettingInvalid: a secret or a place cannot be read.
        NotInstalled: a driver needs a package that is not there.
    """
    with ExitStack() as stack:
        yield _Workshop(settings, journal, stack).assembly()


class _Workshop:
    """Makes the parts of one assembly, those of both directions once."""

    def __init__(self, settings: Settings, journal: Journal, stack: ExitStack) -> None:
        self._settings, self._journal, self._stack = settings, journal, stack
        self._given = require_section(settings)
        self._control = {side: control.conninfo() for side, control in self._given.control.items()}
        self._plan = reverse_plan(settings)
        self._permission = Permission(partial(nobody_acts, journal))
        self._gate = HttpGate.of(settings)

    def assembly(self) -> Assembly:
        """Make everything."""
        fences = {side: fence_of(self._settings, side, self._journal, self._stack) for side in Side}
        proxies = proxies_of(self._given, self._journal.entries, self._permission, self._stack)
        audit, suite, hooks = ReverseAudit(self._settings), self._suite(), self._hooks()
        hooked = frozenset(one.phase for one in self._given.hooks)
        budget = MeasuredBudget(self._gate, self._journal.entries, hooked=hooked)
        ports = {
            direction: Ports(
                old=fences[direction.old],
                new=fences[direction.new],
                proxies=proxies,
                replication=self._replication(direction),
                rows=self._rows(direction),
                sequences=self._sequences(direction),
                consumers=self._consumers(direction),
                gate=self._gate,
                audit=audit,
                dead_man=DeadManProcess(self._settings, direction),
                hooks=hooks,
                suite=suite,
                shadow=self._shadow(direction, proxies),
                budget=budget,
            )
            for direction in Direction
        }
        return Assembly(self._journal, ports, self._gate, self._permission, hooked)

    def _session(self, side: Side, doing: str) -> Session:
        return self._stack.enter_context(Session(self._control[side], doing))

    def _replication(self, direction: Direction) -> Replicating:
        forward = direction is Direction.FORWARD
        schema = self._settings.names.schema if forward else self._plan.control.schema
        coming = self._plan.forward if forward else (self._plan.name,)
        drain = Drain(self._control[direction.old], self._control[direction.new], schema=schema, subscriptions=coming)
        self._stack.callback(drain.close)
        source, target = (self._session(side, "ways") for side in (Side.SOURCE, Side.TARGET))
        recorded = partial(self._line_recorded, direction)
        if forward:
            return Replicating(drain, WayBack(source, target, self._plan, draw_forward(self._settings), recorded))
        return Replicating(drain, WayForward(source, target, self._plan, draw_back(self._settings), recorded))

    def _line_recorded(self, direction: Direction) -> tuple[int, int] | None:
        return line_recorded(self._journal.entries(), direction)

    def _rows(self, direction: Direction) -> PairedRows:
        forward = direction is Direction.FORWARD
        publications = self._settings.replication.publications if forward else (self._plan.name,)
        schema = self._settings.names.schema
        new = direction.new
        canary = Canary(self._control[new], schema=schema, doors=doors_of(self._given), side=new)
        make = partial(looking, self._settings, direction.old, self._control, publications)
        made = PairedRows(make, canary)
        self._stack.callback(made.close)
        return made

    def _sequences(self, direction: Direction) -> SequencePort:
        made = SequencePort(
            self._control[Side.SOURCE],
            self._control[Side.TARGET],
            old=direction.old,
            own_schema=self._settings.names.schema,
            selects=self._settings.tables.selects,
            mapping=load_mapping(self._settings.mapping),
        )
        self._stack.callback(made.close)
        return made

    def _consumers(self, direction: Direction) -> SlotConsumers:
        listed = [Consumer(one.slot, one.plugin, one.pause, one.resume) for one in self._given.consumers]
        old, new = (self._session(side, "consumers") for side in (direction.old, direction.new))
        return SlotConsumers(old, new, listed, rollback=direction is Direction.BACK)

    def _suite(self) -> ReadSuite:
        ways = {name: doors[0] for name, doors in doors_of(self._given).items()}
        made = ReadSuite({read.name: read.sql for read in self._given.suite.reads}, ways)
        self._stack.callback(made.close)
        return made

    def _hooks(self) -> CalledHooks:
        return CalledHooks([Hook(one.phase, _caller(one)) for one in self._given.hooks])

    def _shadow(self, direction: Direction, proxies: Sequence[Proxy]) -> ShadowReads:
        leaders = [cast(ReadsLeader, proxy) for proxy in proxies if hasattr(proxy, "lead_reads")]
        reads = [Read(read.name, read.sql) for read in self._given.suite.reads]
        return ShadowReads(leaders, self._control, reads, direction.old)


def _caller(hook: HookSettings) -> Caller:
    if hook.url is None:
        return Program(hook.exec)
    return Service(hook.url, hook.token.resolve() if hook.token else None)
