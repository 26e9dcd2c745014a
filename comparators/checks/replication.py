"""What each subscription does, and whether it does it: failures close until apply has passed them.

A failure (an error counted, a worker that was started again or is not there) closes for `QUIET_SECONDS` after the last
one, as a worker that fails again and again looks healthy between two attempts. After that only fresh proof opens: the
target has confirmed everything that the source had flushed when the failure was seen. A first look asks for the same
proof, since it cannot know what was before it. Rows that apply found missing close for the quiet time and then stay
as a warning: what became of those rows is for the audits of transactions and rows to say.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from comparators.preflight import Check, Item, ItemStatus, found, unknown

PRESENT = Check("subscriptions-present", "replication", "each configured subscription exists")
ENABLED = Check("subscriptions-enabled", "replication", "each subscription is enabled", True)
WORKERS = Check("apply-workers", "replication", "the apply worker of each subscription runs", True)
READY = Check("tables-ready", "replication", "the initial copy of each table has ended")
SUBSCRIBED = Check("tables-subscribed", "replication", "each published table has its subscription")
APPLY_ERRORS = Check("apply-errors", "replication", "apply does not fail, and has passed what failed")
SYNC_ERRORS = Check("sync-errors", "replication", "initial copies do not fail")
CONFLICTS = Check("apply-conflicts", "replication", "apply finds each row that it changes")
RESTARTS = Check("apply-restarts", "replication", "apply workers are not started again and again", True)
SKIPPED = Check("skipped-transactions", "replication", "nobody has a transaction skipped")
OPTIONS = Check("subscription-options", "replication", "subscriptions stop at nothing and bring everything")
OPERATIONS = Check("published-operations", "replication", "inserts, updates, deletes and truncates are published")
FILTERS = Check("published-filters", "replication", "all rows and columns are published")
OTHERS = Check("other-subscriptions", "replication", "no other subscription writes to the tables")
CHECKS = (
    PRESENT, ENABLED, WORKERS, READY, SUBSCRIBED, APPLY_ERRORS, SYNC_ERRORS, CONFLICTS, RESTARTS, SKIPPED, OPTIONS,
    OPERATIONS, FILTERS, OTHERS,
)  # fmt: skip

QUIET_SECONDS = 30.0
ALL_OPERATIONS = ("insert", "update", "delete", "truncate")
STATES = {
    "i": "waits for its copy", "d": "is being copied", "f": "copied, not joined yet", "s": "catching up", "r": "ready",
}  # fmt: skip
_STOPPING = frozenset({"confl_insert_exists", "confl_update_exists", "confl_multiple_unique_conflicts"})
"""Conflicts that are errors: apply stops, and nothing is lost."""


@dataclass(frozen=True, slots=True)
class SubscriptionSeen:
    """One configured subscription at one look; `None`: this server does not know such a thing."""

    name: str
    oid: int
    enabled: bool
    worker_pid: int | None
    tables: Mapping[str, str] = field(default_factory=dict)
    """State by `schema.table`."""
    counts: Mapping[str, int] | None = None
    """Errors and conflicts since the server's statistics were reset, by the server's names; from PostgreSQL 15."""
    confirmed: int | None = None
    """Source position below which the target has everything; `None`: no slot was seen."""
    skipping: bool = False
    """A transaction is to be skipped."""
    disable_on_error: bool = False
    two_phase: bool = False
    streaming: str = "off"
    origin: str = "any"


@dataclass(frozen=True, slots=True)
class Watched:
    """What is remembered of one subscription from look to look."""

    oid: int
    counts: Mapping[str, int]
    """At the last look."""
    risen: Mapping[str, int]
    """Since the first look."""
    rose_at: Mapping[str, float]
    worker_pid: int | None
    """Of the worker seen last."""
    restarts: int = 0
    restarted_at: float | None = None
    failed_at: float | None = None
    failure: str = ""
    to_pass: int | None = None
    """Source position that apply still has to pass to prove that it works."""
    skipped: bool = False

    def risen_lately(self, names: Iterable[str], now: float) -> bool:
        return any(now - self.rose_at[name] < QUIET_SECONDS for name in names if name in self.rose_at)


def watched(before: Watched | None, seen: SubscriptionSeen, flushed: int, now: float) -> Watched:
    """Take one more look into account.

    A counter that went back was reset: whatever it shows was counted since. A clock that went back ends no quiet time.

    Args:
        flushed: how far the source's log could be sent at this look.
    """
    if before is None or before.oid != seen.oid:
        return Watched(
            seen.oid, dict(seen.counts or {}), {}, {}, seen.worker_pid, to_pass=flushed, skipped=seen.skipping
        )
    grown = _grown(before.counts, seen.counts)
    restarted = seen.worker_pid is not None and before.worker_pid not in (None, seen.worker_pid)
    after = replace(
        before,
        counts=before.counts if seen.counts is None else dict(seen.counts),
        risen={name: before.risen.get(name, 0) + grown.get(name, 0) for name in {*before.risen, *grown}},
        rose_at={**before.rose_at, **dict.fromkeys(grown, now)},
        worker_pid=before.worker_pid if seen.worker_pid is None else seen.worker_pid,
        restarts=before.restarts + restarted,
        restarted_at=now if restarted else before.restarted_at,
        skipped=before.skipped or seen.skipping,
    )
    return _proved(after, seen, _failure(seen, grown, restarted), flushed, now)


def _grown(before: Mapping[str, int], counts: Mapping[str, int] | None) -> dict[str, int]:
    grown = {}
    for name, count in (counts or {}).items():
        known = before.get(name, 0)
        if more := count - known if count >= known else count:
            grown[name] = more
    return grown


def _failure(seen: SubscriptionSeen, grown: Mapping[str, int], restarted: bool) -> str:
    if any(name == "apply_error_count" or name in _STOPPING for name in grown):
        return "apply failed"
    if seen.enabled and seen.worker_pid is None:
        return "there was no apply worker"
    return "its apply worker was started again" if restarted else ""


def _proved(after: Watched, seen: SubscriptionSeen, failure: str, flushed: int, now: float) -> Watched:
    if failure:
        return replace(after, failed_at=now, failure=failure, to_pass=flushed)
    if after.to_pass is not None and seen.confirmed is not None and seen.confirmed >= after.to_pass:
        return replace(after, to_pass=None)
    return after


@dataclass(frozen=True, slots=True)
class PublishedSeen:
    """One published table that is in scope."""

    table: str
    operations: frozenset[str]
    row_filter: bool
    column_list: bool


@dataclass(frozen=True, slots=True)
class ReplicationSeen:
    """Everything that one look saw."""

    wanted: tuple[str, ...]
    """Names of the configured subscriptions."""
    subscriptions: tuple[SubscriptionSeen, ...]
    published: tuple[PublishedSeen, ...]
    others: Mapping[str, frozenset[str]]
    """Tables of the target's other subscriptions by name."""
    source_subscribes: bool
    """The source itself is a subscriber of somebody."""
    counts_conflicts: bool
    """The target's server counts conflicts, as PostgreSQL 18 does."""


def judge_replication(seen: ReplicationSeen, memory: Mapping[str, Watched], now: float) -> tuple[Item, ...]:
    """Give the items of one look.

    Args:
        memory: of each subscription seen, this look included.
    """
    return (
        _present(seen), _enabled(seen), _workers(seen), _ready(seen), _subscribed(seen),
        _apply_errors(seen, memory, now), _sync_errors(memory, now), _conflicts(seen, memory, now),
        _restarts(memory, now), _skipped(seen, memory), _options(seen), _operations(seen), _filters(seen),
        _others(seen),
    )  # fmt: skip


def _present(seen: ReplicationSeen) -> Item:
    missing = set(seen.wanted) - {one.name for one in seen.subscriptions}
    return found(
        PRESENT.name, ItemStatus.BLOCKS_CORRECTNESS, missing, "configured subscriptions do not exist on the target",
        "create them, or correct replication.subscription in the configuration", "each exists",
    )  # fmt: skip


def _enabled(seen: ReplicationSeen) -> Item:
    off = [one.name for one in seen.subscriptions if not one.enabled]
    return found(
        ENABLED.name, ItemStatus.BLOCKS_CAPACITY, off, "subscriptions are disabled: nothing is applied",
        "see the target's log for why; then ALTER SUBSCRIPTION name ENABLE", "each is enabled",
    )  # fmt: skip


def _workers(seen: ReplicationSeen) -> Item:
    idle = [one.name for one in seen.subscriptions if one.enabled and one.worker_pid is None]
    return found(
        WORKERS.name, ItemStatus.BLOCKS_CAPACITY, idle, "subscriptions have no apply worker",
        "see the target's log; max_logical_replication_workers and max_worker_processes must leave room for it",
        "each runs",
    )  # fmt: skip


def _ready(seen: ReplicationSeen) -> Item:
    waiting = [
        f"{table} ({STATES.get(state, state)})"
        for one in seen.subscriptions for table, state in one.tables.items() if state != "r"
    ]  # fmt: skip
    return found(
        READY.name, ItemStatus.BLOCKS_CORRECTNESS, waiting, "tables are not ready: rows are still missing from them",
        "wait until their copy has ended; where it does not, see the target's log", "each table is ready",
    )  # fmt: skip


def _subscribed(seen: ReplicationSeen) -> Item:
    subscribed = {table for one in seen.subscriptions for table in one.tables}
    missing = [one.table for one in seen.published if one.table not in subscribed]
    return found(
        SUBSCRIBED.name, ItemStatus.BLOCKS_CORRECTNESS, missing, "published tables that no subscription brings",
        "ALTER SUBSCRIPTION name REFRESH PUBLICATION, or exclude them (tables.exclude)", "each is subscribed",
    )  # fmt: skip


def _apply_errors(seen: ReplicationSeen, memory: Mapping[str, Watched], now: float) -> Item:
    failing = [f"{one}: {known.failure}" for one, known in memory.items() if _failing(known, now)]
    if failing:
        return found(
            APPLY_ERRORS.name, ItemStatus.BLOCKS_CORRECTNESS, failing,
            f"apply has failed within {QUIET_SECONDS:.0f} s, or has not passed what failed",
            "see the target's log for the error and remove its cause on the target; do not skip the transaction",
        )  # fmt: skip
    unproved = [one for one, known in memory.items() if known.to_pass is not None]
    if unproved or not memory:
        names = ", ".join(sorted(unproved)) or "any subscription"
        return unknown(APPLY_ERRORS.name, f"{names} has not been seen to pass the source's position yet", "look again")
    return Item(APPLY_ERRORS.name, ItemStatus.OK, "apply has passed the source's position since anything failed")


def _failing(known: Watched, now: float) -> bool:
    if known.failed_at is None:
        return False
    return known.to_pass is not None or now - known.failed_at < QUIET_SECONDS


def _sync_errors(memory: Mapping[str, Watched], now: float) -> Item:
    failing = [
        f"{one}: {_sum(known, sync_error)} errors"
        for one, known in memory.items() if known.risen_lately(filter(sync_error, known.risen), now)
    ]  # fmt: skip
    return found(
        SYNC_ERRORS.name, ItemStatus.BLOCKS_CORRECTNESS, failing, "the initial copy of tables fails",
        "see the target's log; rows that the copy meets on the target have to go first", "none within half a minute",
    )  # fmt: skip


def _conflicts(seen: ReplicationSeen, memory: Mapping[str, Watched], now: float) -> Item:
    lately = [
        f"{one} ({_lost_rows(known.risen)})"
        for one, known in memory.items() if known.risen_lately(filter(lost_row, known.risen), now)
    ]  # fmt: skip
    if lately:
        return found(
            CONFLICTS.name, ItemStatus.BLOCKS_CORRECTNESS, lately, "apply looks for rows that the target does not have",
            "somebody else writes to the target, or rows were lost: sweep the tables and repair what is found",
        )  # fmt: skip
    if not seen.counts_conflicts:
        return Item(CONFLICTS.name, ItemStatus.WARN, "the target counts no conflicts before PostgreSQL 18",
                    "rely on the audits of transactions and rows, which see the rows themselves")  # fmt: skip
    earlier = [f"{one} ({said})" for one, known in memory.items() if (said := _lost_rows(known.counts))]
    return found(
        CONFLICTS.name, ItemStatus.WARN, earlier, "apply has met conflicts since the statistics were reset",
        "sweep the tables; then, on the target, SELECT pg_stat_reset_subscription_stats(subid)", "none is counted",
    )  # fmt: skip


def apply_error(name: str) -> bool:
    """Say whether a counter counts failures of apply."""
    return name == "apply_error_count"


def sync_error(name: str) -> bool:
    """Say whether a counter counts failures of initial copies."""
    return name.startswith("sync_") and name.endswith("_error_count")


def conflict(name: str) -> bool:
    """Say whether a counter counts conflicts of any kind."""
    return name.startswith("confl_")


def lost_row(name: str) -> bool:
    """Say whether a counter counts changes that apply passed over, as the target did not have the row."""
    return conflict(name) and name not in _STOPPING and not name.endswith("_origin_differs")


def _sum(known: Watched, counts: Callable[[str], bool]) -> int:
    return sum(count for name, count in known.risen.items() if counts(name))


def _lost_rows(counts: Mapping[str, int]) -> str:
    rows = {name.removeprefix("confl_"): count for name, count in sorted(counts.items()) if count and lost_row(name)}
    return ", ".join(f"{name} {count}" for name, count in rows.items())


def _restarts(memory: Mapping[str, Watched], now: float) -> Item:
    lately = [
        f"{one} ({known.restarts} since the first look)" for one, known in memory.items()
        if known.restarted_at is not None and now - known.restarted_at < QUIET_SECONDS
    ]  # fmt: skip
    return found(
        RESTARTS.name, ItemStatus.BLOCKS_CAPACITY, lately, f"apply workers started again within {QUIET_SECONDS:.0f} s",
        "see the logs of both sides: an error, a time-out, or somebody changed the subscription", "none lately",
    )  # fmt: skip


def _skipped(seen: ReplicationSeen, memory: Mapping[str, Watched]) -> Item:
    skipping = {one.name for one in seen.subscriptions if one.skipping}
    earlier = {one for one, known in memory.items() if known.skipped} - skipping
    named = [f"{one} (set now)" for one in skipping] + [f"{one} (seen earlier)" for one in earlier]
    return found(
        SKIPPED.name, ItemStatus.BLOCKS_CORRECTNESS, named, "somebody has a transaction of the source skipped",
        "ALTER SUBSCRIPTION name SKIP (lsn = NONE); what was skipped is missing: sweep and repair all tables, then"
        " start the auditor again",
        "none is skipped",
    )  # fmt: skip


def _options(seen: ReplicationSeen) -> Item:
    if seen.source_subscribes and (partial := [one.name for one in seen.subscriptions if one.origin == "none"]):
        return found(
            OPTIONS.name, ItemStatus.BLOCKS_CORRECTNESS, partial,
            "with origin = none these leave out what the source itself receives by replication",
            "ALTER SUBSCRIPTION name SET (origin = any)",
        )  # fmt: skip
    named = [f"{one.name} ({said})" for one in seen.subscriptions if (said := ", ".join(_unusual(one)))]
    return found(
        OPTIONS.name, ItemStatus.WARN, named, "subscriptions have options to know of",
        "disable_on_error stops apply at the first error; two_phase needs max_prepared_transactions on the target;"
        " origin = none leaves out what the source receives by replication",
        "; ".join(f"{one.name}: streaming {one.streaming}" for one in seen.subscriptions) or "there is none",
    )  # fmt: skip


def _unusual(one: SubscriptionSeen) -> list[str]:
    said = {
        "disable_on_error": one.disable_on_error, "two_phase": one.two_phase, "origin = none": one.origin == "none",
    }  # fmt: skip
    return [name for name, on in said.items() if on]


def _operations(seen: ReplicationSeen) -> Item:
    lacking = [
        f"{one.table} ({', '.join(missing)})" for one in seen.published
        if (missing := [name for name in ALL_OPERATIONS if name not in one.operations])
    ]  # fmt: skip
    return found(
        OPERATIONS.name, ItemStatus.BLOCKS_CORRECTNESS, lacking, "operations that are not published are lost",
        "ALTER PUBLICATION name SET (publish = 'insert, update, delete, truncate'), or exclude the tables",
        "all operations are published",
    )  # fmt: skip


def _filters(seen: ReplicationSeen) -> Item:
    kinds = ((one.table, ("row filter" if one.row_filter else "", "column list" if one.column_list else ""))
             for one in seen.published)  # fmt: skip
    named = [f"{table} ({' and '.join(filter(None, kind))})" for table, kind in kinds if any(kind)]
    return found(
        FILTERS.name, ItemStatus.WARN, named, "tables that are published in part; the audit takes it as meant so",
        "see that the parts left out are wanted on neither side", "tables are published whole",
    )  # fmt: skip


def _others(seen: ReplicationSeen) -> Item:
    ours = {table for one in seen.subscriptions for table in one.tables}
    if shared := [f"{name} ({table})" for name, tables in seen.others.items() for table in sorted(tables & ours)]:
        return found(
            OTHERS.name, ItemStatus.BLOCKS_CORRECTNESS, shared, "another subscription brings tables of the migration",
            "take the tables out of one of them, or name both in replication.subscription",
        )  # fmt: skip
    return found(
        OTHERS.name, ItemStatus.WARN, seen.others, "the target has subscriptions that are not configured",
        "see that they belong to something else", "there is no other subscription",
    )  # fmt: skip


def figures_of(seen: Sequence[SubscriptionSeen], memory: Mapping[str, Watched]) -> dict[str, float]:
    """Count failures since the first look, and tables that are not ready."""
    known = memory.values()
    return {
        "apply_errors": sum(_sum(one, apply_error) for one in known),
        "sync_errors": sum(_sum(one, sync_error) for one in known),
        "conflicts": sum(_sum(one, conflict) for one in known),
        "worker_restarts": sum(one.restarts for one in known),
        "tables_not_ready": sum(state != "r" for one in seen for state in one.tables.values()),
    }
