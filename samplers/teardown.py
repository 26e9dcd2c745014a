"""Remove our own objects from both sides, in an order in which the user's replication never meets a missing table.

Slots go first, as they hold back WAL, then our publications; then our tables: out of the user's publication and off the
source, and off the target only once it has applied the last change of them (ruling 11).
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import psycopg

from comparators.errors import AuditorError, NeedsOperator, NotReady
from comparators.positions import Side
from samplers import steps
from samplers.catalog import Subscription, own_tables, published_tables, subscriptions
from samplers.objects import Connections, Observer, open_side, run_step
from samplers.slots import inspect_slots
from samplers.steps import Action, Step
from samplers.survey import CONTROL_TABLES, PrepareRequest, SideSurvey, survey_side

_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class TeardownReport:
    """What `teardown` did, or would do."""

    statements: tuple[tuple[Side, str], ...]
    """In their order; run unless this was a dry run, but for those that `needs_person` is about."""
    removed: tuple[str, ...]
    needs_person: tuple[str, ...]
    """What is left, and why; run teardown again when that is settled."""

    @property
    def statements_by_side(self) -> dict[str, list[str]]:
        return {str(side): [sql for at, sql in self.statements if at is side] for side in Side}


def teardown(request: PrepareRequest, *, dry_run: bool = False, observer: Observer | None = None) -> TeardownReport:
    """Remove everything of ours that is there.

    Args:
        dry_run: only say what would be done.
        observer: told each statement once it is done.
    Raises:
        SideUnavailable: a side cannot be reached; slot and publications of the other one are gone all the same.
        NotReady: locks were in the way; run it again.
    """
    tell = observer or (lambda step: None)
    with ExitStack() as stack:
        sides, failed = _open(stack, request)
        surveys = {side: survey_side(connection, request.schema) for side, connection in sides.items()}
        first = [step for side, found in surveys.items() for step in _slot_and_publications(side, found, request)]
        if failed is not None:
            if not dry_run:
                _run(first, sides, tell)
            raise failed
        planned = (*first, *_tables(surveys[Side.SOURCE], surveys[Side.TARGET], request))
        report = TeardownReport(tuple((s.side, s.sql) for s in planned), (), _refusals(planned))
        if dry_run:
            return report
        return _carry_out(planned, Connections(sides[Side.SOURCE], sides[Side.TARGET]), request, tell)


def _open(stack: ExitStack, request: PrepareRequest) -> tuple[dict[Side, psycopg.Connection], AuditorError | None]:
    """Open both sides; give what could be opened and what stood against the rest."""
    found: dict[Side, psycopg.Connection] = {}
    failed: AuditorError | None = None
    for side, conninfo in ((Side.SOURCE, request.source_conninfo), (Side.TARGET, request.target_conninfo)):
        try:
            found[side] = open_side(stack, conninfo)
        except AuditorError as error:
            failed = error
    return found, failed


def _slot_and_publications(side: Side, found: SideSurvey, request: PrepareRequest) -> list[Step]:
    slot = request.source_slot if side is Side.SOURCE else request.target_slot
    planned = [steps.drop_slot(side, slot)] if slot in found.slots else []
    if side is Side.TARGET:
        for name in (request.publication, request.publication_inserts):
            if (publication := found.publications.get(name)) is not None:
                refused = None if publication.owned else f"publication {name} belongs to role {publication.owner}"
                planned.append(steps.drop_object(side, "publication", name, refused))
    return planned


def _tables(source: SideSurvey, target: SideSurvey, request: PrepareRequest) -> list[Step]:
    """Decide how our tables go; whatever keeps them on the source keeps them on the target."""
    planned = [*_unpublish(source, request), *_drop_tables(Side.SOURCE, source, request)]
    if not target.schema_exists:
        return planned
    blocked = next((f"the source first: {step.refused}" for step in planned if step.refused), None)
    carriers = [s for s in target.subscriptions.values() if s.table_names & set(request.control_tables)]
    if carriers:
        planned.append(steps.wait_applied(tuple(s.name for s in carriers), blocked))
    planned += [steps.refresh(s.name, blocked) for s in carriers if s.owned and s.enabled]
    return planned + [_blocked(step, blocked) for step in _drop_tables(Side.TARGET, target, request)]


def _blocked(step: Step, reason: str | None) -> Step:
    return Step(step.side, step.what, step.sql, step.action, step.names, step.refused or reason)


def _unpublish(source: SideSurvey, request: PrepareRequest) -> list[Step]:
    """Take our tables out of every publication that names them."""
    planned = []
    for name, members in source.members.items():
        if ours := members & set(request.control_tables):
            publication = source.publications[name]
            refused = None if publication.owned else f"publication {name} belongs to role {publication.owner}"
            planned.append(steps.remove_tables(Side.SOURCE, name, ours, refused))
    return planned


def _drop_tables(side: Side, found: SideSurvey, request: PrepareRequest) -> list[Step]:
    if not found.schema_exists:
        return []
    refused = None if found.schema_owned else f"{side}: schema {request.schema} belongs to another role"
    there = [name for name in reversed(CONTROL_TABLES) if name in found.own_tables]
    planned = []
    for name in there:
        table = found.tables.get(f"{request.schema}.{name}")
        foreign = f"{side}: table {request.schema}.{name} belongs to another role"
        planned.append(
            steps.drop_object(side, "table", f"{request.schema}.{name}", None if table and table.owned else foreign)
        )
    if others := sorted(found.own_tables - set(CONTROL_TABLES)):
        refused = f"{side}: schema {request.schema} holds {', '.join(others)}, which is not ours"
    return [*planned, steps.drop_object(side, "schema", request.schema, refused)]


def _refusals(planned: tuple[Step, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f"{step.sql}: {step.refused}" for step in planned if step.refused))


def _run(planned: list[Step], sides: Mapping[Side, psycopg.Connection], tell: Observer) -> None:
    for step in planned:
        if not step.refused:
            run_step(sides[step.side], step)
            tell(step)


def _carry_out(
    planned: tuple[Step, ...], sides: Connections, request: PrepareRequest, tell: Observer
) -> TeardownReport:
    """Run what may be run; once the target lags behind, nothing that it still needs is taken from it."""
    removed: list[str] = []
    left: str | None = None
    for step in planned:
        if step.refused:
            continue
        if step.action is Action.WAIT_APPLIED:
            left = _behind(sides, request, step.names)
        elif step.action is Action.REFRESH:
            _refresh(sides, step, request)
        else:
            run_step(sides.side(step.side), step)
            removed.append(step.what)
        tell(step)
        if left:
            break
    needs = (*_refusals(planned), *((left,) if left else ()))
    return TeardownReport(tuple((s.side, s.sql) for s in planned), tuple(removed), needs)


def _refresh(sides: Connections, step: Step, request: PrepareRequest) -> None:
    """Forget our tables in the subscription, unless that would subscribe to a table of the user's without its rows.

    Dropping the tables on the target forgets them too, so that leaving this out, or failing, harms nobody.
    """
    ours = set(request.control_tables)
    found = subscriptions(sides.target)[step.names[0]]
    published = {t.full_name for t in published_tables(sides.source, found.publications)}
    if published - ours == found.table_names - ours:
        with suppress(NeedsOperator, NotReady):
            run_step(sides.target, step)


def _behind(sides: Connections, request: PrepareRequest, names: tuple[str, ...]) -> str | None:
    """Wait until the target has passed our tables; say what is in the way, or `None`."""
    if own_tables(sides.source, request.schema)[2] & set(CONTROL_TABLES):
        return f"source: tables in {request.schema} are still there"
    row = sides.source.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    position = int(row[0]) if row else 0
    deadline = time.monotonic() + request.wait_seconds
    while waiting := _not_passed(sides, names, position):
        if time.monotonic() > deadline or not waiting.enabled:
            state = "has not applied the last change of our tables" if waiting.enabled else "is disabled"
            return (
                f"subscription {waiting.name} {state}: schema {request.schema} stays on the target, as apply would stop"
                " without it; run teardown again once it has caught up"
            )
        time.sleep(_PAUSE_SECONDS)
    return None


def _not_passed(sides: Connections, names: tuple[str, ...], position: int) -> Subscription | None:
    """Find a subscription that may still bring a change of our tables; one whose slot is gone brings nothing."""
    slots = inspect_slots(sides.source)
    for name, found in subscriptions(sides.target).items():
        slot = slots.get(found.slot_name or "")
        if name in names and slot is not None and (slot.confirmed_flush_lsn or 0) < position:
            return found
    return None
