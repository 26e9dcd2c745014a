"""`auditor prepare` and `auditor teardown`: our objects on both sides, and the records that go with them."""

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from auditor.records import open_records
from auditor.settings import Settings
from auditor.status import read_records
from auditor.topics import ensure_topics
from comparators.errors import StoreUnavailable
from comparators.positions import Side, format_lsn
from samplers.catalog import subscriptions
from samplers.connections import connect
from samplers.objects import PrepareReport, PrepareRequest, prepare
from samplers.plan import TableReport
from samplers.steps import Step
from samplers.teardown import TeardownReport, teardown

log = logging.getLogger(__name__)

DONE, NEEDS_PERSON = 0, 4


@dataclass(frozen=True, slots=True)
class Result:
    """What a command shows and exits with."""

    text: str
    document: Mapping[str, Any]
    code: int = DONE


def prepare_migration(settings: Settings, *, dry_run: bool, without_canary: bool, new_baseline: bool) -> Result:
    """Create our objects and record where the audit begins.

    Raises:
        NeedsOperator: the pair cannot be audited as it is.
        NotReady, SideUnavailable, StoreUnavailable: run it again; what was done stays done.
    """
    settings.check_secrets()
    if not dry_run:
        ensure_topics(settings)  # first: a baseline that cannot be recorded is worth nothing
    records = _records(settings, dry_run)
    request = request_of(settings, records.get("baseline"), without_canary=without_canary, new_baseline=new_baseline)
    report = prepare(request, dry_run=True)
    if dry_run or report.needs_person:
        return _prepared(report, None, done=False)
    with closing(open_records(settings)) as store:
        if report.statements and "baseline" in records:
            # should we die between a new slot and its record, the old floor must not be taken for the slot's
            store.put({"baseline": records["baseline"] | {"renewing": time.time()}})
        ready = _ready_tables(settings)
        report = prepare(request, observer=_tell)
        store.put(_awaiting(settings, records, _to_record(records, report, ready)))
    return _prepared(report, records.get("baseline"), done=not report.needs_person)


def teardown_migration(settings: Settings, *, dry_run: bool) -> Result:
    """Remove our objects and end the audit: findings and verdicts stay, but nothing is claimed any more.

    Raises:
        NeedsOperator, NotReady, SideUnavailable: something is left; run it again when it is out of the way.
    """
    settings.check_secrets()
    records = _records(settings, dry_run)
    report = teardown(request_of(settings, records.get("baseline")), dry_run=dry_run, observer=_tell)
    if not dry_run and "baseline" in records:
        # kept, as the next baseline counts on from its generation: frames of this one may still be in the topic
        ended = {"baseline": records["baseline"] | {"ended": time.time()}}
        with closing(open_records(settings)) as store:
            store.put(ended | {key: value | {"open": False} for key, value in _open_gaps(records).items()})
    return _torn_down(report, dry_run)


def _records(settings: Settings, dry_run: bool) -> dict[str, Any]:
    """Read the records; a dry run does so without the topics that a real one would make."""
    try:
        return read_records(settings)
    except StoreUnavailable:
        if dry_run:
            return {}
        raise


def request_of(
    settings: Settings, baseline: Any = None, *, without_canary: bool = False, new_baseline: bool = False
) -> PrepareRequest:
    """Give the samplers what they need of the settings, secrets resolved."""
    names = settings.names
    return PrepareRequest(
        source_conninfo=settings.source.conninfo(),
        target_conninfo=settings.target.conninfo(),
        publications=settings.replication.publications,
        subscriptions=settings.replication.subscriptions,
        schema=names.schema,
        source_slot=names.source_slot,
        target_slot=names.target_slot,
        publication=names.publication,
        publication_inserts=names.publication_inserts,
        include=settings.tables.include,
        exclude=settings.tables.exclude,
        without_canary=without_canary,
        new_baseline=new_baseline,
        parked=settings.reverse_of is not None,
        baseline=_believed(baseline),
    )


def _believed(baseline: Any) -> Any:
    """Give the baseline of earlier; of one that was interrupted, or ended by a cutover, only the generation counts."""
    over = baseline and ("renewing" in baseline or "committed" in baseline)
    return baseline | {"source_slot": None} if over else baseline


def _ready_tables(settings: Settings) -> list[str]:
    """List the tables whose initial copy ended before our slot: later writes without origin are not the copy's."""
    with connect(settings.target.conninfo(), application_name="auditor prepare") as target:
        known = subscriptions(target)
    wanted = [known[name] for name in settings.replication.subscriptions if name in known]
    return sorted(f"{schema}.{name}" for one in wanted for schema, name, state, _ in one.tables if state == "r")


def _to_record(records: Mapping[str, Any], report: PrepareReport, ready: list[str]) -> dict[str, dict[str, Any]]:
    """Give the new baseline, and the interval between the last one and it, which nobody audited."""
    old = records.get("baseline")
    if report.baseline is None:
        return {"baseline": old} if old else {}
    kept = {name: value for name, value in report.baseline.items() if name not in ("renewing", "ended")}
    fresh = {"ready_tables": ready} | kept | {"canary": report.canary}
    if old is None or "ended" in old or old["generation"] == fresh["generation"]:
        return {"baseline": fresh}
    end = fresh["floor"] if old["source_system"] == fresh["source_system"] else None
    known = {key: value | {"to": end} for key, value in _open_gaps(records).items() if value.get("to") is None}
    return {"baseline": fresh} | (known or {f"gap/baseline-{fresh['generation']}": _gap(records, old, end)})


def _awaiting(
    settings: Settings, records: Mapping[str, Any], items: dict[str, dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """Keep a reverse audit's new baseline out of force until the commit line is drawn."""
    old, fresh = records.get("baseline"), items.get("baseline")
    if settings.reverse_of is None or fresh is None or (old is not None and old["generation"] == fresh["generation"]):
        return items
    waiting = {"baseline": fresh | {"renewing": time.time()}}
    return waiting if old is not None and "renewing" in old else items | waiting  # nothing was audited: no gap


def _gap(records: Mapping[str, Any], old: Mapping[str, Any], end: int | None) -> dict[str, Any]:
    resolved = [value["resolved"] for key, value in records.items() if key.startswith("progress/")]
    start = max(old["floor"], min((one for one in resolved if isinstance(one, int)), default=0))
    reason = "the audit was begun anew; what was committed before that and not yet judged was not audited"
    return {"from": start, "to": end, "reason": reason, "at": time.time(), "side": str(Side.SOURCE), "open": True}


def _open_gaps(records: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {key: value for key, value in records.items() if key.startswith("gap/") and value.get("open") is not False}


def _tell(step: Step) -> None:
    log.info("%s: %s", step.side, step.what, extra={"action": "object"})


# What is shown: the document for scripts, the text for people.


def _prepared(report: PrepareReport, old: Any, *, done: bool) -> Result:
    document = {
        "done": done,
        "statements": report.statements_by_side,
        "created": list(report.created),
        "kept": list(report.kept),
        "warnings": list(report.warnings),
        "needs_person": list(report.needs_person),
        "canary": report.canary,
        "tables": [asdict(table) for table in report.tables],
        "floor": format_lsn(report.baseline["floor"]) if report.baseline else None,
    }
    lines = _sql(report.statements) if not done else [f"created: {what}" for what in report.created]
    lines += [f"kept: {what}" for what in report.kept]
    lines += [f"table {_table_words(table)}" for table in report.tables]
    lines += [f"warning: {text}" for text in report.warnings]
    lines += [f"a person is needed: {text}" for text in report.needs_person]
    lines += _began(report, old) if done else ["nothing was changed"]
    return Result("\n".join(lines), document, NEEDS_PERSON if report.needs_person else DONE)


def _began(report: PrepareReport, old: Any) -> list[str]:
    if report.baseline is None:
        return []
    floor = format_lsn(report.baseline["floor"])
    if old and old["generation"] == report.baseline["generation"]:
        return [f"the audit goes on; it began at {floor}", "next: auditor run"]
    return [f"the audit begins at {floor}", "next: auditor run"]


def _torn_down(report: TeardownReport, dry_run: bool) -> Result:
    document = {
        "done": not dry_run and not report.needs_person,
        "statements": report.statements_by_side,
        "removed": list(report.removed),
        "needs_person": list(report.needs_person),
    }
    lines = _sql(report.statements) if dry_run else [f"removed: {what}" for what in report.removed]
    lines += [f"a person is needed: {text}" for text in report.needs_person]
    lines += ["nothing was changed"] if dry_run else []
    if not lines:
        lines = ["nothing of ours is left"]
    return Result("\n".join(lines), document, NEEDS_PERSON if report.needs_person else DONE)


def _sql(statements: Iterable[tuple[Side, str]]) -> list[str]:
    """Write statements so that a person can paste them: a comment where the side changes."""
    lines: list[str] = []
    last = None
    for side, sql in statements:
        lines += [f"-- on the {side}"] if side is not last else []
        lines.append(sql if sql.rstrip().endswith(";") or sql.startswith("--") else f"{sql};")
        last = side
    return lines


def _table_words(table: TableReport) -> str:
    return f"{table.table}: {table.state}" + (f" ({table.reason})" if table.reason else "")
