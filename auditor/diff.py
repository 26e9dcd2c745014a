"""`auditor diff`: compare the tables of two databases once, with nothing but the two connection strings."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from auditor.bars import Bars
from auditor.diff_reading import Reading
from auditor.diff_report import Missing, Report, TableResult
from auditor.diff_scope import (
    Pairing,
    lopsided_columns,
    pair_names,
    selected,
    several_in_one,
    told_by_parts,
    unreadable,
)
from auditor.diff_sides import Followed, Sides, followed
from comparators.errors import SettingInvalid
from comparators.mapping import NO_MAPPING
from comparators.mapping import Mapping as Rules
from comparators.tables import Skipped, TablePair
from samplers.catalog import PublishedTable, TableShape, published_tables, tables
from samplers.pairing import Wanted, pair_tables
from samplers.table_sweep import SweepOptions


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
    wait_seconds: float = 600.0
    """How long the target may be behind before rows are left unverified."""
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
        reading = Reading(sides, work.followed, _options(request), show)
        results = [_result(name, work, reading, request.listed) for name in sorted(work.pairs)]
    return Report(
        results,
        Missing(work.pairing.only_source, work.pairing.only_target),
        left_out=work.pairing.ours,
        subscriptions=work.followed.names,
        notes=work.followed.notes,
        seconds=time.monotonic() - began,
    )


def _options(request: Request) -> SweepOptions:
    seed = int.from_bytes(os.urandom(7))  # another one each time, so that no accident of the hashes repeats itself
    return SweepOptions(seed, settle_seconds=request.settle_seconds, wait_seconds=request.wait_seconds)


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
    everything = pair_names(source, target, rules)
    pairing = selected(everything, request.tables)
    wanted = [_wanted(source[here], there, published.get(here)) for here, there in pairing.both.items()]
    twice = {**told_by_parts(everything, source, target), **several_in_one(everything, rules)}
    skipped = {**unreadable(pairing), **follow.unfinished(pairing.both)}
    skipped.update((name, reason) for name, reason in twice.items() if name in pairing.both)
    paired = pair_tables(sides.source, sides.target, [one for one in wanted if one.name not in skipped], rules)
    lopsided = {
        here: lopsided_columns(here, source[here], target[there], rules, _columns(published.get(here)))
        for here, there in pairing.both.items()
    }
    return Work(pairing, {**_all_paired(wanted, paired), **skipped}, lopsided, follow)


def _wanted(source: TableShape, there: str, published: PublishedTable | None) -> Wanted:
    """Ask for every column that the target is owed: who generates it on which side, readers of both do not care."""
    here, where = source.full_name, published.row_filter if published else None
    listed = _columns(published)
    columns = tuple(column.name for column in source.columns) if listed is None else listed
    return Wanted(here, here, there, columns=columns, where=where, generated=True)


def _columns(published: PublishedTable | None) -> tuple[str, ...] | None:
    return published.columns if published else None


def _all_paired(wanted: Sequence[Wanted], paired: Mapping[str, TablePair | Skipped]) -> dict[str, TablePair | Skipped]:
    """Let no table vanish between the request and the answer."""
    return {one.name: paired.get(one.name) or Skipped(one.name, "it could not be paired") for one in wanted}


def _result(name: str, work: Work, reading: Reading, listed: int) -> TableResult:
    pair = work.pairs[name]
    result = TableResult(name, listed=listed, lopsided=work.lopsided.get(name, ()))
    if isinstance(pair, Skipped):
        result.stopped(pair.reason)
        return result
    result.pair = pair
    began = time.monotonic()
    reading.read(pair, result)
    result.seconds = time.monotonic() - began
    return result
