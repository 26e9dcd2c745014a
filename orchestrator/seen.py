"""What the gate has seen of a migration, as plain values; `None` always means "not known", never "nothing wrong"."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from comparators.preflight import Item


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """One process: which start of it (incarnation), when it last said so, and what troubles it."""

    incarnation: str | None = None
    heartbeat: float | None = None
    error: str | None = None
    last_exit: str | None = None


@dataclass(frozen=True, slots=True)
class SlotSeen:
    """One replication slot of ours and the WAL it holds back."""

    name: str | None = None
    exists: bool | None = None
    retained_bytes: int | None = None
    wal_status: str | None = None


@dataclass(frozen=True, slots=True)
class SamplerSeen:
    """How far one side's log has been read; positions are of that side's own WAL."""

    at: float | None = None
    position: int | None = None
    wal_insert: int | None = None
    reading: bool | None = None
    waiting_for: str | None = None
    error: str | None = None
    slot: SlotSeen | None = None
    rate: float | None = None
    """Share of the transactions that it samples."""


@dataclass(frozen=True, slots=True)
class SubscriptionSeen:
    """One subscription of the user's."""

    name: str
    enabled: bool | None = None
    worker: bool | None = None
    error: str | None = None
    tables_not_ready: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class ApplySeen:
    """What the target's sampler says of apply: progress in source positions, delays, scope."""

    at: float | None = None
    applied: int | None = None
    lag_bytes: int | None = None
    lag_ms_p95: float | None = None
    lag_samples: int | None = None
    idle: bool | None = None
    in_window: int | None = None
    measured: int | None = None
    unmeasured: int | None = None
    span_seconds: float | None = None
    subscriptions: tuple[SubscriptionSeen, ...] | None = None
    unpublished: tuple[str, ...] | None = None
    unknown_subscriptions: tuple[str, ...] | None = None
    audited: tuple[str, ...] | None = None
    skipped: tuple[str, ...] | None = None
    to_cover: tuple[str, ...] | None = None
    """Tables that sweeps have to cover: all of the scope but those excluded by the configuration, and our own."""
    judged_from: Mapping[str, int] = field(default_factory=dict)
    """Source position after which the logs are compared for each audited table."""


@dataclass(frozen=True, slots=True)
class CoreSeen:
    """One partition of the core; `resolved` is the source position through which everything was judged."""

    at: float | None = None
    resolved: int | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """Totals since the baseline; `tables` counts the settled sampled transactions of each table."""

    transactions: int | None = None
    changes: int | None = None
    matched: int | None = None
    tables: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FindingsSeen:
    """The open findings (a few named in `open_named`), the suspects, and records of findings nobody can read."""

    open_count: int | None = None
    open_named: tuple[str, ...] = ()
    suspects: int | None = None
    oldest_suspect: float | None = None
    unreadable: tuple[str, ...] = ()
    differing: Mapping[str, int] = field(default_factory=dict)
    swept_tables: tuple[str, ...] = ()
    """Tables of which the row audit has a finding, in whatever state."""
    accepted: int = 0
    """Findings that somebody takes responsibility for."""
    accepted_error: str | None = None
    """Why the file of accepted differences cannot be read."""


@dataclass(frozen=True, slots=True)
class BaselineSeen:
    """Where the audit began."""

    floor: int | None = None
    at: float | None = None
    generation: int | None = None
    canary: bool | None = None
    """`False`: prepared without a canary table, on demand."""


@dataclass(frozen=True, slots=True)
class GapSeen:
    """An interval of one side's log that nobody audited; `end` is a source position, `None` while it has no end."""

    id: str
    side: str | None = None
    reason: str | None = None
    end: int | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True)
class SkipSeen:
    """Who accepted that a table is not swept, why and until when."""

    owner: str | None = None
    reason: str | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class CoverageSeen:
    """What the last complete sweep of one table saw: counts of rows, the source position that it proves, its times.

    `at` is when its oldest chunk was read: rows may have been wrong since then without any sweep to see it.
    """

    table: str | None = None
    state: str | None = None
    reason: str | None = None
    generation: int | None = None
    sweep: int | None = None
    rows: int | None = None
    verified: int | None = None
    unverified: int | None = None
    hot: int | None = None
    different: int | None = None
    through: int | None = None
    at: float | None = None
    finished_at: float | None = None
    accepted: SkipSeen | None = None


@dataclass(frozen=True, slots=True)
class SweeperSeen:
    """What the process that sweeps says of itself."""

    at: float | None = None
    state: str | None = None
    paused_because: str | None = None
    tables: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class CanarySeen:
    """The last planted difference, and after how many milliseconds each audit had found it."""

    at: float | None = None
    planted_at: float | None = None
    transaction_ms: float | None = None
    row_ms: float | None = None
    n: int | None = None
    generation: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ProbeSeen:
    """The last look of one probe; items of which one could not be read are `None` as a whole."""

    group: str
    at: float | None = None
    """When the look began."""
    generation: int | None = None
    error: str | None = None
    items: tuple[Item, ...] | None = None
    figures: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OverrideSeen:
    """A person takes responsibility for a condition that is over its limit, or for one item of a checklist."""

    id: str
    condition: str | None = None
    item: str | None = None
    owner: str | None = None
    reason: str | None = None
    at: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class AlertSeen:
    """An alert of another system that fires, and closes the gate."""

    id: str
    name: str | None = None
    severity: str | None = None
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a verdict rests on; times are unix seconds of the auditor's clock.

    `caught_up_age` says how long ago the newest source position lies that every partition has resolved (see
    `watermarks`); `configuration` is a digest of the settings in force.
    """

    migration: str
    partitions: int
    configuration: str
    read_at: float | None = None
    records_error: str | None = None
    baseline: BaselineSeen | None = None
    processes: Mapping[str, ProcessSeen] = field(default_factory=dict)
    source: SamplerSeen | None = None
    target: SamplerSeen | None = None
    apply: ApplySeen | None = None
    cores: Mapping[int, CoreSeen] = field(default_factory=dict)
    tally: Tally | None = None
    findings: FindingsSeen | None = None
    gaps: tuple[GapSeen, ...] | None = None
    dead_letters: int | None = None
    caught_up_age: float | None = None
    sweeps: bool = True
    """The configuration wants sweeps."""
    sweeper: SweeperSeen | None = None
    coverage: Mapping[str, CoverageSeen] = field(default_factory=dict)
    canary: CanarySeen | None = None
    probing: bool = True
    """The configuration wants probes."""
    probes: Mapping[str, ProbeSeen] = field(default_factory=dict)
    """By group."""
    overrides: tuple[OverrideSeen, ...] = ()
    alerts: tuple[AlertSeen, ...] | None = None
    """Those that fire now; `None`: not known."""

    def resolved(self) -> int | None:
        """Give the source position through which every partition has judged everything."""
        reached = [self.cores.get(partition, CoreSeen()).resolved for partition in range(self.partitions)]
        known = [position for position in reached if position is not None]
        return min(known) if known and len(known) == len(reached) else None
