"""Our own objects on both sides: create what is missing, remove what is there, and never stop the user's replication.

Each run looks at both sides first and does what is left to do, so that one that was killed is finished by the next.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import psycopg

from comparators.positions import Side
from samplers.catalog import server_facts
from samplers.connections import connect, failure
from samplers.plan import Plan, TableReport, plan_prepare
from samplers.slots import create_slot, drop_slot
from samplers.steps import Action, Step
from samplers.survey import PrepareRequest, Survey, check_pair, take_survey

__all__ = ["PrepareReport", "PrepareRequest", "prepare"]

APPLICATION = "auditor prepare"
STATEMENT_SECONDS = 60
LOCK_SECONDS = 10
"""Publications lock their tables briefly against DDL; better to give up than to queue before the user's statements."""

Observer = Callable[[Step], None]
"""Told each step once it is done."""


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What `prepare` did, or would do."""

    statements: tuple[tuple[Side, str], ...]
    """In their order; run unless this was a dry run or a person is needed."""
    created: tuple[str, ...]
    kept: tuple[str, ...]
    warnings: tuple[str, ...]
    needs_person: tuple[str, ...]
    """Not empty: nothing was done."""
    tables: tuple[TableReport, ...]
    canary: bool
    """Marker and canary tables are in place (or would be)."""
    baseline: dict[str, Any] | None
    """What to record before the audit runs; `None` where nothing was done."""

    @property
    def statements_by_side(self) -> dict[str, list[str]]:
        return {str(side): [sql for at, sql in self.statements if at is side] for side in Side}


@dataclass(frozen=True, slots=True)
class Connections:
    """A session on each side."""

    source: psycopg.Connection
    target: psycopg.Connection

    def side(self, side: Side) -> psycopg.Connection:
        return self.source if side is Side.SOURCE else self.target


def open_side(stack: ExitStack, conninfo: str) -> psycopg.Connection:
    """Open a session that is closed with the stack."""
    return stack.enter_context(
        connect(conninfo, application_name=APPLICATION, statement_seconds=STATEMENT_SECONDS, lock_seconds=LOCK_SECONDS)
    )


def prepare(request: PrepareRequest, *, dry_run: bool = False, observer: Observer | None = None) -> PrepareReport:
    """Create what the audit needs on both sides and is not there yet.

    Args:
        dry_run: only say what would be done.
        observer: told each statement once it is done.
    Returns:
        A report whose `needs_person`, if not empty, says why nothing was done.
    Raises:
        NeedsOperator: the pair cannot be audited as it is; the error says what to change.
        NotReady: open transactions or locks were in the way; run it again.
        SideUnavailable: a side cannot be reached; run it again.
    """
    with ExitStack() as stack:
        sides = Connections(open_side(stack, request.source_conninfo), open_side(stack, request.target_conninfo))
        survey = take_survey(sides.source, sides.target, request)
        check_pair(survey, request)
        plan = plan_prepare(survey, request)
        baseline = None
        if not dry_run and not plan.needs_person:
            baseline = _carry_out(plan, sides, survey, request, observer or (lambda step: None))
    return PrepareReport(
        tuple((step.side, step.sql) for step in plan.steps), tuple(step.what for step in plan.steps), plan.kept,
        plan.warnings, plan.needs_person, plan.tables, plan.canary, baseline,
    )  # fmt: skip


def _carry_out(
    plan: Plan, sides: Connections, survey: Survey, request: PrepareRequest, observer: Observer
) -> dict[str, Any]:
    created: dict[Side, int] = {}
    for step in plan.steps:
        if step.action is Action.CREATE_SLOT:
            created[step.side] = create_slot(sides.side(step.side), step.names[0], request.slot_seconds)
        else:
            run_step(sides.side(step.side), step)
        observer(step)
    if not plan.floor_moves and request.baseline is not None:
        return dict(request.baseline)
    return _baseline(sides, created, request)


def run_step(connection: psycopg.Connection, step: Step) -> None:
    """Run one statement, or drop one slot."""
    if step.action is Action.DROP_SLOT:
        drop_slot(connection, step.names[0])
        return
    try:
        connection.execute(step.sql.encode())
    except psycopg.Error as error:
        raise failure(error, f"{step.side}: {step.sql}") from error


def _baseline(sides: Connections, created: Mapping[Side, int], request: PrepareRequest) -> dict[str, Any]:
    """Describe where the audit begins: at a new source slot's consistent point, else where the source writes now.

    Either is after everything that the target needs is in place, so that each later commit is seen on both sides.
    """
    source, target = server_facts(sides.source), server_facts(sides.target)
    target_start = created.get(Side.TARGET) or _insert_position(sides.target)
    return {
        "floor": created.get(Side.SOURCE) or _insert_position(sides.source),
        "target_start": target_start,
        "at": time.time(),
        "source_system": source.system_identifier,
        "target_system": target.system_identifier,
        "source_timeline": source.timeline,
        "target_timeline": target.timeline,
        "source_slot": request.source_slot,
        "target_slot": request.target_slot,
        "generation": int((request.baseline or {}).get("generation", 0)) + 1,
    }


def _insert_position(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    return int(row[0]) if row else 0
