"""What the gate has seen of a migration, as plain values; `None` always means "not known", never "nothing wrong"."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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


@dataclass(frozen=True, slots=True)
class BaselineSeen:
    """Where the audit began."""

    floor: int | None = None
    at: float | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class GapSeen:
    """An interval of one side's log that nobody audited and no sweep has made good."""

    id: str
    side: str | None = None
    reason: str | None = None


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

    def resolved(self) -> int | None:
        """Give the source position through which every partition has judged everything."""
        reached = [self.cores.get(partition, CoreSeen()).resolved for partition in range(self.partitions)]
        known = [position for position in reached if position is not None]
        return min(known) if known and len(known) == len(reached) else None
