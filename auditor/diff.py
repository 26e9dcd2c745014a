"""`auditor diff`: compare the tables of two databases once, with nothing but the two connection strings."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from auditor.bars import Bars
from auditor.diff_report import Missing, Report, TableResult
from auditor.diff_scope import Pairing, lopsided_columns, pair_names, selected, unreadable
from auditor.diff_sides import Followed, Sides, followed
from comparators.errors import AuditorError, Retryable, SettingInvalid
from comparators.mapping import NO_MAPPING
from comparators.mapping import Mapping as Rules
from comparators.tables import Skipped, TablePair
from samplers.catalog import PublishedTable, published_tables, tables
from samplers.pairing import Wanted, pair_tables
from samplers.table_sweep import SweepOptions, TableSweep, make_plan

ATTEMPTS = 5
"""Times that the same rows are tried before they are left unverified."""
RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be compared."""

    source: str = field(repr=False)
    """Connection string; may hold a password."""
    target: str = field(repr=False)
    tables: tuple[str, ...] = ()
    """Patterns; empty: all."""
    subscription: str | None = None
    """Whose progress tells what the target has applied; `None`: those that lead from the source."""
    settle_seconds: float = 5.0
    rules: Rules = NO_MAPPING
    listed: int = 100
    """Differing rows that are named of each table; all are counted."""


@dataclass(frozen=True, slots=True)
class Work:
    """What was found before any row was read."""

    pairing: Pairing
    pairs: Mapping[str, TablePair | Skipped]
    lopsided: Mapping[str, tuple[str, ...]]
    followed: Followed


def compare(request: Request, show: Bars) -> Report:
    """Compare the rows of both sides, table by table.

    Raises:
        SettingInvalid: a pattern, subscription or rule names nothing, or both strings lead to one database.
        SideUnavailable, NotPermitted: a side could not be looked into at all.
    """
    began = time.monotonic()
    with Sides(request.source, request.target) as sides:
        sides.refuse_one_database()
        work = _look(request, sides)
        options = SweepOptions(seed=int.from_bytes(os.urandom(7)), settle_seconds=request.settle_seconds)
        results = [_result(name, work, sides, options, request.listed, show) for name in sorted(work.pairs)]
    return Report(
        results,
        Missing(work.pairing.only_source, work.pairing.only_target),
        left_out=work.pairing.ours,
        subscriptions=work.followed.names,
        notes=work.followed.notes,
        seconds=time.monotonic() - began,
    )


def _look(request: Request, sides: Sides) -> Work:
    """Read both catalogs and decide what is compared with what, and how."""
    source, target = tables(sides.source), tables(sides.target)
    rules = request.rules
    for name in rules.tables:
        if name not in source:
            raise SettingInvalid(
                f"--mapping: {name!r} is no table of the source", hint="name it as the source does, schema.table"
            )
    follow = followed(sides, target, request.subscription)
    published = {one.full_name: one for one in published_tables(sides.source, follow.publications)}
    pairing = selected(pair_names(source, target, rules), request.tables)
    wanted = [_wanted(here, there, published.get(here)) for here, there in pairing.both.items()]
    skipped = {**unreadable(pairing), **follow.unfinished(pairing.both)}
    paired = pair_tables(sides.source, sides.target, [one for one in wanted if one.name not in skipped], rules)
    lopsided = {
        here: lopsided_columns(here, source[here], target[there], rules, _columns(published.get(here)))
        for here, there in pairing.both.items()
    }
    return Work(pairing, {**_all_paired(wanted, paired), **skipped}, lopsided, follow)


def _wanted(here: str, there: str, published: PublishedTable | None) -> Wanted:
    where = published.row_filter if published else None
    return Wanted(here, here, there, columns=_columns(published), where=where)


def _columns(published: PublishedTable | None) -> tuple[str, ...] | None:
    return published.columns if published else None


def _all_paired(wanted: Sequence[Wanted], paired: Mapping[str, TablePair | Skipped]) -> dict[str, TablePair | Skipped]:
    """Let no table vanish between the request and the answer."""
    return {one.name: paired.get(one.name) or Skipped(one.name, "it could not be paired") for one in wanted}


def _result(name: str, work: Work, sides: Sides, options: SweepOptions, listed: int, show: Bars) -> TableResult:
    pair = work.pairs[name]
    result = TableResult(name, listed=listed, lopsided=work.lopsided.get(name, ()))
    result.pair = None if isinstance(pair, Skipped) else pair
    if isinstance(pair, Skipped) or sides.gone:
        result.stopped(pair.reason if isinstance(pair, Skipped) else str(sides.gone))
        return result
    began = time.monotonic()
    show.begin(name, pair.rows)
    try:
        _sweep(pair, result, work.followed, sides, options, show)
    except AuditorError as error:
        result.stopped(str(error))
    result.seconds = time.monotonic() - began
    show.end(name, result.sentence)
    return result


def _sweep(
    pair: TablePair, result: TableResult, follow: Followed, sides: Sides, options: SweepOptions, show: Bars
) -> None:
    """Read a table to its end; what fails is tried again from the first rows that are not reported yet.

    Raises:
        AuditorError: the rest of the table cannot be read.
    """
    plan, position, attempts = None, 0, 0
    while True:
        try:
            sides.reopen()
            plan = plan or make_plan(sides.source, pair, options)
            passage = follow.passage(sides, f"{pair.target.schema}.{pair.target.name}")
            sweep = TableSweep(sides.source, sides.target, pair, plan, passage, options, start=position)
            while (step := sweep.step()) is not None:
                result.add(step)
                position, attempts = sweep.position, 0
                show.advance(pair.name, result.rows, position / (len(plan.bounds) + 1))
            result.finished = True
            return
        except Retryable:
            attempts += 1
            sides.close()  # whatever was in flight counts for nothing
            if attempts >= ATTEMPTS:
                raise
            time.sleep(RETRY_SECONDS)
