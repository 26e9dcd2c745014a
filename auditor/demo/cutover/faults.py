"""The faults that `auditor demo --cutover --inject` knows: where in the cutover each strikes, and how it must end."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, cast

from auditor.demo.cutover import bank
from auditor.demo.cutover.world import World
from auditor.demo.database import Session, run, session
from comparators.errors import SettingInvalid
from orchestrator.records import Wish
from samplers import connections

Heal = Callable[[], None]


class End(StrEnum):
    """How an attempt ends."""

    PROMOTED = "promoted"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and what is promised for it."""

    name: str
    what: str
    step: str
    """It strikes just before this step acts."""
    inject: Callable[[World], Heal]
    """Does it, and gives what takes it back once the cutover has ended."""
    end: End = End.ABORTED
    reason: str = ""
    """A word that the reason given must hold."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Laid over the configuration."""
    clients_fail: bool = False
    """The fault itself takes the clients' connections away."""
    any_end: bool = False
    """Every end is good that is safe."""
    heal_after: str = ""
    """It passes when this step is done; by default once all has ended."""
    lasts: float | None = None
    """Seconds after which it passes while the orchestrator is at work."""


def _nothing() -> None:
    """Heal what needs no healing."""


def _held_open(dsn: str, *statements: str) -> Heal:
    """Open a session as the application and leave its transaction open."""
    opened = cast("Session", connections.connect_plain(dsn, "stubborn-client"))
    run(opened, *statements)

    def close() -> None:
        with suppress(opened.Error):
            opened.close()

    return close


def stubborn_transaction(world: World) -> Heal:
    return _held_open(world.through[0], "BEGIN", "UPDATE accounts SET moves = moves WHERE id = -1")


def prepared_transaction(world: World) -> Heal:
    name = "show-prepared"
    with session(world.source.app) as opened:
        run(opened, "BEGIN", "INSERT INTO orders (client, note) VALUES (-1, 'prepared')")
        run(opened, f"PREPARE TRANSACTION '{name}'")

    def heal() -> None:
        with session(world.source.admin) as opened:
            run(opened, f"ROLLBACK PREPARED '{name}'")

    return heal


def row_damaged(world: World) -> Heal:
    """Change a row on the target as no replication does: one that the clients write all the time."""
    with session(world.target.admin) as opened:
        run(opened, "UPDATE accounts SET balance = balance + 1")
    return _nothing


def replication_stalled(world: World) -> Heal:
    with session(world.target.admin) as opened:
        run(opened, f"ALTER SUBSCRIPTION {bank.SUBSCRIPTION} DISABLE")

    def heal() -> None:
        with session(world.target.admin) as opened:
            run(opened, f"ALTER SUBSCRIPTION {bank.SUBSCRIPTION} ENABLE")

    return heal


def target_lost(world: World) -> Heal:
    world.target.server.kill()
    return lambda: void(world.target.server.start())


def journal_lost(world: World) -> Heal:
    world.journal.stop("immediate")
    return lambda: void(world.journal.start())


def pooler_lost(world: World) -> Heal:
    world.pools[-1].kill()
    return lambda: void(world.pools[-1].start())


def sequence_narrowed(world: World) -> Heal:
    with session(world.target.admin) as opened:
        run(opened, "ALTER SEQUENCE ledger_id_seq MAXVALUE 5")

    def heal() -> None:
        with session(world.target.admin) as opened:
            run(opened, "ALTER SEQUENCE ledger_id_seq NO MAXVALUE")

    return heal


def gate_silent(world: World) -> Heal:
    world.kill_auditor()
    return world.run_auditor


def operator_aborts(world: World) -> Heal:
    world.wish(Wish.ABORT)
    return _nothing


def operator_rolls_back(world: World) -> Heal:
    world.wish(Wish.ROLLBACK)
    return _nothing


def reads_fail(world: World) -> Heal:
    """Let the watched read wait for a lock on the promoted side; data and schema stay what the way back needs."""
    return _held_open(world.target.admin, f"SELECT pg_advisory_lock({READ_LOCK})")


def void(_: object) -> None:
    """Forget a result."""


READ_LOCK = 7_306_042
READ = f"SELECT pg_advisory_xact_lock_shared({READ_LOCK}), (SELECT max(note) FROM orders)"
READS: Mapping[str, Any] = {"cutover": {"suite": {"reads": [{"name": "notes", "sql": READ}]}}}

FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("stubborn-transaction", "a client leaves its transaction open in the pooler", "hold-proxies",
              stubborn_transaction, clients_fail=True),
        Fault("prepared-transaction", "a prepared transaction that nobody ends", "close-old", prepared_transaction,
              reason="prepared"),
        Fault("row-damaged", "rows of the target are changed behind the replication's back", "compare-last",
              row_damaged, reason="differ"),
        Fault("replication-stalled", "the subscription is disabled", "see-marker", replication_stalled),
        Fault("target-lost", "the target's server is killed", "see-marker", target_lost,
              heal_after="release-after-abort"),
        Fault("journal-lost", "the journal's server is stopped", "see-marker", journal_lost,
              lasts=12.0),
        Fault("pooler-lost", "the pooler is killed, and is back a while later", "hold-proxies", pooler_lost,
              clients_fail=True, heal_after="win-abort"),
        Fault("sequence-narrowed", "a sequence of the target has no room", "set-sequences", sequence_narrowed,
              reason="ledger_id_seq"),
        Fault("gate-silent", "the auditor is killed while writes are held", "close-old", gate_silent, reason="gate"),
        Fault("operator-aborts", "an operator says abort while writes are held", "make-durable", operator_aborts,
              reason="operator"),
        Fault("operator-rolls-back", "an operator says rollback after the promotion", "watch", operator_rolls_back,
              End.ROLLED_BACK, "operator"),
        Fault("reads-fail", "a watched read fails on the promoted side", "watch", reads_fail, End.ROLLED_BACK,
              config=READS),
    )
}  # fmt: skip


def find(name: str) -> Fault:
    """Find a fault.

    Raises:
        SettingInvalid: there is none of that name.
    """
    if name in FAULTS:
        return FAULTS[name]
    raise SettingInvalid(f"--inject: {name!r} is no fault of a cutover", hint=f"one of {', '.join(FAULTS)}")
