"""Decide, from what both sides have, which statements `prepare` still has to run. Nothing here runs one (ruling 12).

Order: our tables (target, source, publication, REFRESH), publications on the target, the target's slot, the source's
slot. Each step leaves a state from which the same decision goes on, and in none of them can a write fail.
"""

from dataclasses import dataclass

from comparators.positions import Side
from samplers import steps
from samplers.canary_plan import CanaryPlan, plan_canary
from samplers.catalog import TableShape
from samplers.steps import Step
from samplers.survey import CONTROL_TABLES, PrepareRequest, Survey

EVERYTHING = ("insert", "update", "delete", "truncate")
INSERTS = ("insert", "truncate")


@dataclass(frozen=True, slots=True)
class TableReport:
    """One table, as a person should know it before the audit starts."""

    table: str
    state: str
    """`audited`, `excluded` or `skipped`."""
    reason: str | None
    publication: str | None
    """Which of ours on the target shows it."""
    source_owner: str | None = None
    target_owner: str | None = None
    source_identity: str | None = None
    target_identity: str | None = None
    source_readable: bool = False
    target_readable: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What is left to do."""

    steps: tuple[Step, ...]
    kept: tuple[str, ...]
    warnings: tuple[str, ...]
    needs_person: tuple[str, ...]
    tables: tuple[TableReport, ...]
    canary: bool
    """Marker and canary tables are, or will be, in place."""
    floor_moves: bool
    """What is judged starts anew: a slot is created, or the baseline is of other servers.

    Tables that come or go need no new floor: the core judges each from the first position it had not seen by then.
    """


def plan_prepare(survey: Survey, request: PrepareRequest) -> Plan:
    """Decide what `prepare` has to do."""
    reports = table_reports(survey, request)
    canary = plan_canary(survey, request)
    waived = request.without_canary and bool(canary.steps)
    canary_steps = () if waived else canary.steps
    installed = not waived and canary.possible
    publications = _plan_publications(survey, request, reports, installed)
    slots = _plan_slots(survey, request, bool(publications.created))
    planned = (*canary_steps, *publications.steps, *slots)
    return Plan(
        steps=planned,
        kept=_kept(survey, request, planned),
        warnings=tuple(_warnings(survey, request, reports, canary if waived else None)),
        needs_person=tuple(_person(survey, canary, planned)),
        tables=reports,
        canary=installed,
        floor_moves=bool(slots) or not _baseline_holds(survey, request),
    )


def _baseline_holds(survey: Survey, request: PrepareRequest) -> bool:
    """Say whether the baseline recorded earlier is of these servers and slots."""
    old, source, target = request.baseline, survey.source.facts, survey.target.facts
    if old is None:
        return False
    seen = {
        "source_system": source.system_identifier, "target_system": target.system_identifier,
        "source_timeline": source.timeline, "target_timeline": target.timeline,
        "source_slot": request.source_slot, "target_slot": request.target_slot,
    }  # fmt: skip
    return all(old.get(name) == value for name, value in seen.items())


# --- tables


def table_reports(survey: Survey, request: PrepareRequest) -> tuple[TableReport, ...]:
    """Sort every table that is published, or holds rows and is not, into audited, excluded and skipped."""
    subscribed = {name for s in request.subscriptions for name in survey.target.subscriptions[s].table_names}
    reports = []
    for name in sorted(set(survey.published) | set(_unpublished(survey))):
        if name in request.control_tables:
            continue
        state, reason = _state(name, survey, request, subscribed)
        reports.append(_report(name, survey, request, state, reason))
    return tuple(reports)


def _unpublished(survey: Survey) -> list[str]:
    """List the source's tables that hold rows and that nothing publishes, neither by their own name nor by a root's."""
    return [
        name for name, shape in survey.source.tables.items()
        if shape.kind == "r" and not {name, *shape.ancestors} & set(survey.published)
    ]  # fmt: skip


def _state(name: str, survey: Survey, request: PrepareRequest, subscribed: set[str]) -> tuple[str, str | None]:
    target = survey.target.tables.get(name)
    if not request.selects(name):
        return "excluded", "excluded by the configuration"
    if name.count(".") != 1:
        return "skipped", "a schema or table whose name has a dot cannot be audited yet: exclude it"
    if name not in survey.published:
        return "skipped", "not published"
    if target is None:
        return "skipped", "it does not exist on the target"
    if name not in subscribed:
        return "skipped", "not part of the subscription: run ALTER SUBSCRIPTION ... REFRESH PUBLICATION"
    if target.unlogged:
        return "skipped", "it is UNLOGGED on the target, where its changes are not in the WAL"
    return "audited", None


def _report(name: str, survey: Survey, request: PrepareRequest, state: str, reason: str | None) -> TableReport:
    source, target = survey.source.tables.get(name), survey.target.tables.get(name)
    publication = None
    if state == "audited" and target is not None:
        why_not = identity_missing(target, survey.target.facts.version)
        publication = request.publication_inserts if why_not else request.publication
        reason = why_not and f"only inserts and TRUNCATE are followed: {why_not}"
    return TableReport(
        name, state, reason, publication,
        source_owner=source.owner if source else None, target_owner=target.owner if target else None,
        source_identity=source.identity if source else None, target_identity=target.identity if target else None,
        source_readable=source is not None and source.readable and not source.row_security,
        target_readable=target is not None and target.readable and not target.row_security,
    )  # fmt: skip


def identity_missing(shape: TableShape, version: int) -> str | None:
    """Say why publishing updates and deletes of a target's table would make them fail, or `None` where it would not."""
    generated = {column.name for column in shape.columns if column.generated}
    if shape.kind == "p":
        # leaves that come later have the root's primary key, but nothing else that could be relied upon
        if not shape.primary_key or shape.leaves_identified is False:
            return "the partitioned table has no primary key that all its partitions have as replica identity"
        if version >= 180000 and shape.leaves_full and generated:
            return "a partition has REPLICA IDENTITY FULL and generated columns"
    elif not shape.identity_columns:
        return "it has no replica identity on the target"
    if version < 180000:
        return None
    # 18 refuses what earlier versions let through: an identity with columns that are not published
    identity = shape.primary_key if shape.kind == "p" else shape.identity_columns
    if (shape.identity == "f" and generated) or generated & set(identity):
        return "its replica identity holds generated columns"
    return None


# --- our publications on the target


@dataclass(frozen=True, slots=True)
class _Publications:
    steps: tuple[Step, ...]
    created: tuple[str, ...]


def _plan_publications(
    survey: Survey, request: PrepareRequest, reports: tuple[TableReport, ...], canary: bool
) -> _Publications:
    wanted = {
        request.publication: ({r.table for r in reports if r.publication == request.publication}, EVERYTHING),
        request.publication_inserts: (
            {r.table for r in reports if r.publication == request.publication_inserts}, INSERTS,
        ),
    }  # fmt: skip
    if canary:
        wanted[request.publication][0].update(request.control_tables)
    created, changed, removed, added = [], [], [], []
    for name, (tables, operations) in wanted.items():
        found = survey.target.publications.get(name)
        if found is None:
            refused = _may_not(survey, name, tables)
            created.append(steps.create_publication(name, tables, ", ".join(operations), refused))
            continue
        refused = None if found.owned else f"publication {name} belongs to role {found.owner}"
        if set(found.operations) != set(operations) or not found.via_root:
            changed.append(steps.reset_publication(name, ", ".join(operations), refused))
        if extra := survey.target.members[name] - tables:
            removed.append(steps.remove_tables(Side.TARGET, name, extra, refused))
        if more := tables - survey.target.members[name]:
            added.append(steps.add_tables(Side.TARGET, name, more, refused or _may_not(survey, name, more)))
    # a table without an identity must be out of the one before anything else
    return _Publications((*removed, *changed, *created, *added), tuple(step.what for step in created))


def _may_not(survey: Survey, publication: str, tables: set[str]) -> str | None:
    facts = survey.target.facts
    if publication not in survey.target.publications and not facts.may_create:
        return f"target: role {facts.role} may not create publications in database {facts.database}"
    if foreign := sorted(t for t in tables if t in survey.target.tables and not survey.target.tables[t].owned):
        owner = survey.target.tables[foreign[0]].owner
        return f"target: only its owner {owner} may publish {foreign[0]}" + (
            f" (and {len(foreign) - 1} more tables)" if len(foreign) > 1 else ""
        )
    return None


# --- slots


def _plan_slots(survey: Survey, request: PrepareRequest, publications_created: bool) -> tuple[Step, ...]:
    """Create what is missing. A slot from before its publications exist cannot be read, so it is made anew."""
    found: list[Step] = []
    for side, name, outdated in (
        (Side.TARGET, request.target_slot, publications_created),
        (Side.SOURCE, request.source_slot, False),
    ):
        slot = survey.side(side).slots.get(name)
        if slot is not None and slot.usable and not outdated and not request.new_baseline:
            continue
        if slot is not None:
            found.append(steps.drop_slot(side, name))
        found.append(steps.create_slot(side, name))
    return tuple(found)


# --- words


def _kept(survey: Survey, request: PrepareRequest, planned: tuple[Step, ...]) -> tuple[str, ...]:
    touched = {step.what for step in planned}
    names = [
        (f"publication {name}", name in survey.target.publications)
        for name in (request.publication, request.publication_inserts)
    ]
    names += [
        (f"slot {name}", name in survey.side(side).slots)
        for side, name in ((Side.TARGET, request.target_slot), (Side.SOURCE, request.source_slot))
    ]
    names += [
        (f"table {request.schema}.{name} on the {side}", name in survey.side(side).own_tables)
        for side in Side for name in CONTROL_TABLES
    ]  # fmt: skip
    return tuple(what for what, there in names if there and what not in touched)


def _warnings(
    survey: Survey, request: PrepareRequest, reports: tuple[TableReport, ...], waived: CanaryPlan | None
) -> list[str]:
    found = [f"{r.table}: {r.state}: {r.reason}" for r in reports if r.state == "skipped"]
    found += [f"{r.table}: {r.reason}" for r in reports if r.state == "audited" and r.reason]
    found += _unreadable(reports)
    for side in Side:
        if survey.side(side).facts.max_slot_wal_keep_megabytes < 0:
            found.append(
                f"{side}: max_slot_wal_keep_size is -1: should the auditor's whole host be lost, our slot keeps"
                " WAL without limit until somebody drops it, as nobody is left to enforce the auditor's own budget"
            )
    strangers = sorted(set(survey.target.subscriptions) - set(request.subscriptions))
    found += [f"target: subscription {name} is not part of this migration" for name in strangers]
    if waived:
        reasons = "; ".join(sorted({step.refused for step in waived.steps if step.refused})) or "as was asked for"
        found.append(f"without marker and canary tables; the canary condition is waived: {reasons}")
    return found


def _unreadable(reports: tuple[TableReport, ...]) -> list[str]:
    """Name the tables whose suspects could not be settled."""
    return [
        f"{side}: {r.table} cannot be read, so that no difference in it could be confirmed: grant SELECT on it and"
        " USAGE on its schema, and BYPASSRLS where it has row security"
        for r in reports if r.state == "audited"
        for side, readable in (("source", r.source_readable), ("target", r.target_readable)) if not readable
    ]  # fmt: skip


def _person(survey: Survey, canary: CanaryPlan, planned: tuple[Step, ...]) -> list[str]:
    """List what a person has to do before anything is done."""
    found = []
    facts = survey.target.facts
    if not facts.may_read_progress:
        found.append(
            f"target: role {facts.role} may not read the progress of replication origins; run as superuser:"
            f" {steps.grant_progress(facts.role)}"
        )
    for step in planned:
        if step.refused and step.refused not in found:
            found.append(step.refused)
    if any(step.refused for step in planned if step in canary.steps):
        found.append("or go on without marker and canary tables: auditor prepare --without-canary")
    return found
