"""The faults that `auditor demo --inject` knows, and what the auditor owes for each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from auditor.demo import damage, outages
from auditor.demo.damage import CHANGES
from auditor.demo.stage import Harm, Stage
from comparators.errors import SettingInvalid

Inject = Callable[[Stage, str], Harm]
EXIT = {"PASS": 0, "FAIL": 1, "INCONCLUSIVE": 3}
PERSON = 4
OUTAGE_LIMITS: Mapping[str, float] = {
    "in-window-share": 0.0, "lag-ms": 60_000.0, "marker-ms": 60_000.0, "watermark-age": 3.0,
}  # fmt: skip
"""An outage marks the statistics of the last minute, which a short demo cannot wait for; the audit's own progress is
what must stop and come back, so its limit is tighter."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and its promise."""

    name: str
    what: str
    inject: Inject
    expected: tuple[str, ...] = ()
    """Kinds of findings of the audit that must find it."""
    verdict: str = "FAIL"
    """The last one."""
    needs_person: bool = False
    verdict_during: str | None = None
    conditions: tuple[str, ...] = ("open-findings",)
    """At least one of these is not PASS while the fault lasts."""
    hold_seconds: float = 0.0
    """How long it lasts before it heals."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """What the auditor's configuration needs for it."""
    variants: tuple[str, ...] = ()
    detector: str = "transaction"
    in_rows: tuple[str, ...] = ()
    """Kinds of findings of the row audit, which reads what the fault has left in the tables."""
    early: bool = False
    """Done before the audit begins, and never again."""

    @property
    def expected_exit(self) -> int:
        return PERSON if self.needs_person else EXIT[self.verdict]


def _damaging(
    name: str, what: str, inject: Inject, *kinds: str, rows: tuple[str, ...] = (), variants: tuple[str, ...] = ()
) -> Fault:
    """Args: rows: what the row audit calls it, where it calls it otherwise."""
    return Fault(name, what, inject, kinds, in_rows=rows or kinds, variants=variants)


def _untouched(name: str, what: str, inject: Inject, *kinds: str) -> Fault:
    """Describe damage that is in no log that the audit reads."""
    return Fault(name, what, inject, kinds, detector="row", in_rows=kinds, early=True)


def _passing(name: str, what: str, inject: Inject, *, during: str | None = "INCONCLUSIVE", hold: float = 0.0) -> Fault:
    config = {"gate": {"limits": OUTAGE_LIMITS}}
    conditions = () if during is None else ANY_TROUBLE
    return Fault(
        name, what, inject, (), "PASS", verdict_during=during, hold_seconds=hold, conditions=conditions, config=config
    )


def _closing(name: str, what: str, inject: Inject, *conditions: str, **config: Any) -> Fault:
    """Describe what the gate cannot judge and a person must look at."""
    return Fault(name, what, inject, (), "INCONCLUSIVE", needs_person=True, conditions=conditions, config=config)


ANY_TROUBLE = ("lag-ms", "lag-bytes", "watermark-age", "samplers-alive", "core-alive", "subscriptions-applying",
               "in-window-share", "dwell", "gate")  # fmt: skip
MISSING, EXTRA = ("row-missing",), ("row-extra",)
FAULTS = {
    fault.name: fault
    for fault in (
        _damaging("changed-column", "apply writes one value wrongly", damage.changed_column, "row-different",
                  variants=tuple(CHANGES)),
        _damaging("columns-swapped", "apply writes two values each in the other's place", damage.columns_swapped,
                  "row-different"),
        _damaging("keyless-row-changed", "apply writes one value wrongly in a table without a key",
                  damage.keyless_row_changed, "row-missing", "row-extra"),
        _damaging("row-lost", "apply drops one of a transaction's rows", damage.row_lost, "row-missing"),
        _damaging("row-extra", "apply writes a row that the source does not have", damage.row_extra, "row-extra"),
        _damaging("transaction-skipped", "ALTER SUBSCRIPTION ... SKIP after an error of apply",
                  damage.transaction_skipped, "transaction-missing", rows=MISSING),
        _damaging("transaction-incomplete", "apply drops what a transaction wrote to one table",
                  damage.transaction_incomplete, "transaction-incomplete", rows=MISSING),
        _damaging("truncate-lost", "a TRUNCATE is not carried out on the target", damage.truncate_lost,
                  "truncate-missing", rows=EXTRA),
        _damaging("foreign-insert", "somebody inserts a row on the target", damage.foreign_insert, "foreign-write",
                  rows=EXTRA),
        _damaging("foreign-update", "somebody changes a row on the target", damage.foreign_update, "foreign-write",
                  rows=("row-different",)),
        _damaging("foreign-delete", "somebody deletes a row on the target", damage.foreign_delete, "foreign-write",
                  rows=MISSING),
        _damaging("foreign-truncate", "somebody empties a table on the target", damage.foreign_truncate,
                  "foreign-write", rows=MISSING),
        _untouched("untouched-row", "a row of the target is wrong since before the audit began, and nobody writes it",
                   damage.untouched_row, "row-different"),
        _closing("unpublished-table", "a new table is written to and not published", outages.unpublished_table,
                 "scope-complete"),
        _closing("subscription-disabled", "an error of apply disables the subscription",
                 outages.subscription_disabled, "subscriptions-applying"),
        _closing("source-slot-dropped", "somebody drops the auditor's slot on the source",
                 outages.source_slot_dropped, "slots-in-budget", "unaudited-gaps"),
        _closing("wal-budget-exceeded", "the source's sampler stands still until its slot holds back too much WAL",
                 outages.wal_budget_exceeded, "slots-in-budget", "unaudited-gaps",
                 wal_budget_bytes=outages.WAL_BUDGET_BYTES),
        _passing("target-stalled", "apply waits for a lock: lagging, never missing", outages.target_stalled, hold=6.0),
        _passing("target-restarted", "the target restarts", outages.target_restarted),
        _passing("target-crashed", "the target loses what it had not flushed", outages.target_crashed),
        _passing("source-restarted", "the source restarts under its clients", outages.source_restarted),
        _passing("sampler-killed", "the source's sampler is killed", outages.sampler_killed),
        _passing("core-killed", "the stream core is killed", outages.core_killed),
        _passing("gate-killed", "the gate is killed", outages.gate_killed),
        _passing("ddl-add-column", "a column is added on both sides in mid-stream", outages.column_added, during=None),
        _passing("ddl-drop-column", "a column is dropped on both sides in mid-stream", outages.column_dropped,
                 during=None),
    )
}  # fmt: skip


def find(name: str) -> tuple[Fault, str]:
    """Look up `name` or `name:variant`.

    Raises:
        SettingInvalid: there is no such fault or variant.
    """
    base, _, variant = name.partition(":")
    fault = FAULTS.get(base)
    if fault is None:
        raise SettingInvalid(f"--inject: there is no fault {base!r}", hint="auditor demo --list-faults")
    if variant and variant not in fault.variants:
        known = ", ".join(fault.variants) or "none"
        raise SettingInvalid(f"--inject: {base} has no variant {variant!r}", hint=f"it has: {known}")
    return fault, variant


def fault_json(fault: Fault) -> dict[str, Any]:
    """Describe a fault as interface.md promises."""
    return {
        "name": fault.name,
        "what": fault.what,
        "expected": list(fault.expected),
        "detector": fault.detector if fault.expected else "gate",
        "in_rows": list(fault.in_rows),
        "expected_verdict": fault.verdict,
        "expected_exit": fault.expected_exit,
        "verdict_during": fault.verdict_during,
        "conditions": list(fault.conditions),
        "variants": list(fault.variants),
    }
