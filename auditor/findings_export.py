"""`auditor findings export --sql`: a script that copies the rows of open findings anew; we never run it.

Each row is looked at again on both sides first, by the engine of the row audit: the script has what still differs,
and the digests by which it can tell that nothing has changed since.
"""

import os
import secrets
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auditor.accepted_differences import load_accepted
from auditor.evidence_key import evidence_key
from auditor.mapping_file import load_mapping
from auditor.scoping import load_scope
from auditor.sealing import Sealer
from auditor.settings import Settings
from auditor.status import read_records
from comparators import repair_sql
from comparators.acceptance import lay_over
from comparators.errors import PoisonFrame, SettingInvalid
from comparators.findings import Finding, Kind, merged_findings, open_findings, time_text
from comparators.mapping import ColumnRules
from comparators.mapping import Mapping as Rules
from comparators.positions import Side
from comparators.segments import Key
from comparators.session_settings import PINNED
from comparators.tables import Skipped, TablePair
from samplers.catalog import tables
from samplers.connections import connect
from samplers.pairing import pair_tables, wanted_of
from samplers.passage import Passage
from samplers.row_settle import Found, Looks, Settled
from samplers.rows import Session

NOT_WHOLE = 3
WAIT_SECONDS = 60.0
"""How long the target may take to apply what the source shows."""
SETTLE_SECONDS = 10.0
SEED_BITS = 63
_NOT_ROWS = (Kind.SHAPE_DIFFERENT, Kind.ORDER_VIOLATED)


@dataclass(slots=True)
class _Export:
    """What goes into the script, and what cannot."""

    keys: dict[str, set[Key]] = field(default_factory=dict)
    """By table; in the order of the finding's key columns."""
    columns: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of the key, by table."""
    tables: list[repair_sql.Table] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    """What is not in it, and why."""


def export_command(settings: Settings, args: Namespace) -> int:
    """Write the script to a file or to stdout.

    Args:
        args: `table` and `output`; `None` is every table, and stdout.
    Returns:
        0 when it has every row of every open finding that still differs, 3 when something is left out.
    """
    now = time.time()
    export = _Export()
    _gather(settings, _chosen(settings, args.table, now), export)
    if export.keys:
        _look(settings, export)
    rows = sum(len(table.rows) for table in export.tables)
    remarks = [f"Made at {time_text(now)} for the migration {settings.migration}: {rows} rows.", *export.lacking]
    _put(repair_sql.script(export.tables, PINNED, remarks), args.output)
    where = "" if args.output is None else f" in {args.output}"
    print(f"{rows} rows to copy anew{where}, with their keys in clear text", file=sys.stderr)
    for line in export.lacking:
        print(line, file=sys.stderr)
    return NOT_WHOLE if export.lacking else 0


def _chosen(settings: Settings, table: str | None, now: float) -> list[tuple[Finding, Mapping[str, Any]]]:
    """Take the findings that fail the gate, with what the records say of their keys."""
    records = read_records(settings)
    entries = load_accepted(settings.accepted_differences)
    opened = open_findings(lay_over(merged_findings(records, now), entries, now))
    return [(finding, records[f"suspect/{finding.id}"]) for finding in opened if table in (None, finding.table)]


def _gather(settings: Settings, chosen: Iterable[tuple[Finding, Mapping[str, Any]]], export: _Export) -> None:
    """Unseal the keys of the findings."""
    sealer = Sealer(evidence_key(settings))
    for finding, record in chosen:
        if finding.kind in _NOT_ROWS:
            export.lacking.append(f"NOT HERE: {finding.id} in {finding.table}: no copy of rows repairs {finding.kind}")
            continue
        try:
            keys = _keys(finding, record, sealer, export)
        except PoisonFrame as error:
            export.lacking.append(f"NOT HERE: {finding.id} in {finding.table}: {error}")
            continue
        if finding.count > len(keys):
            missing = f"{finding.count - len(keys)} of {finding.count}"
            export.lacking.append(f"NOT HERE: {missing} in {finding.table} ({finding.id}): their keys are not listed")


def _keys(finding: Finding, record: Mapping[str, Any], sealer: Sealer, export: _Export) -> list[list[bytes | None]]:
    columns = tuple(record.get("key_columns") or ())
    if not finding.key_cipher or not columns or record.get("whole_table") or record.get("keyless"):
        return []
    if export.columns.setdefault(finding.table, columns) != columns:
        return []
    keys = sealer.unseal_keys(finding.key_cipher)
    export.keys.setdefault(finding.table, set()).update(tuple(key) for key in keys)
    return keys


def _look(settings: Settings, export: _Export) -> None:
    """Look at every row again on both sides.

    Raises:
        SideUnavailable, NotReady, ...: a side cannot be read; there is no script then.
    """
    mapping = load_mapping(settings.mapping)
    scope, catalogs = load_scope(settings)
    wanted = [one for one in wanted_of(scope, catalogs, mapping) if one.name in export.keys]
    label = f"auditor export {settings.migration}"
    with ExitStack() as stack:
        source, source_watch, target, target_watch = (
            stack.enter_context(connect(side.conninfo(), application_name=label))
            for side in (settings.source,) * 2 + (settings.target,) * 2
        )
        pairs = pair_tables(source, target, wanted, mapping)
        for name in sorted(export.keys):
            pair = pairs.get(name, Skipped(name, "it is not audited any more"))
            if isinstance(pair, Skipped):
                export.lacking.append(f"NOT HERE: {name}: {pair.reason}")
                continue
            subscription = catalogs.subscriptions[pair.subscription]
            passage = Passage(source_watch, target_watch, subscription.origin_name, subscription.slot_name)
            looks = Looks(source, target, pair, passage, secrets.randbits(SEED_BITS), WAIT_SECONDS, SETTLE_SECONDS)
            _look_at_table(looks, mapping, export)


def _look_at_table(looks: Looks, mapping: Rules, export: _Export) -> None:
    pair, name = looks.pair, looks.pair.name
    places = _places(export.columns[name], [column.name for column in pair.source.key])
    if places is None:
        export.lacking.append(f"NOT HERE: {name}: its rows have no key that both sides share")
        return
    settled = looks.settle([tuple(key[place] for place in places) for key in sorted(export.keys[name], key=repr)])
    moving = sum(row.found in (Found.HOT, Found.UNKNOWN) for row in settled)
    if moving:
        export.lacking.append(f"NOT HERE: {moving} rows of {name}: they keep changing, or the target is late")
    rows = tuple(_row(row) for row in settled if row.found is Found.DIFFERENT)
    columns = _copied(pair, mapping.columns(name), looks.target)
    if rows:
        export.tables.append(repair_sql.Table(pair, looks.seed, columns, rows))


def _places(given: Sequence[str], wanted: Sequence[str]) -> list[int] | None:
    """Say where in a finding's key each column of the table's key is."""
    return [given.index(name) for name in wanted] if wanted and set(given) == set(wanted) else None


def _row(row: Settled) -> repair_sql.Row:
    source, target = (side[0] if side else None for side in (row.source, row.target))
    return repair_sql.Row(
        row.kind, row.key,
        xmin=source.xmin.decode() if source and source.xmin else None,
        source=int(source.hash) if source and source.hash else None,
        target=int(target.hash) if target and target.hash else None,
    )  # fmt: skip


def _copied(pair: TablePair, rules: ColumnRules, target: Session) -> tuple[repair_sql.Copied, ...]:
    """List the columns that are compared and that the target can store."""
    shape = tables(target, [f"{pair.target.schema}.{pair.target.name}"]).get(f"{pair.target.schema}.{pair.target.name}")
    types = {column.name: column.type for column in shape.columns if not column.generated} if shape else {}
    named = [(column.name, rules.target_name(column.name)) for column in pair.source.columns]
    return tuple(
        repair_sql.Copied(rules.expression(Side.SOURCE, name) or repair_sql.quoted(name), own, types[own])
        for name, own in named
        if own in types
    )


def _put(text: str, output: Path | None) -> None:
    if output is None:
        print(text, end="")
        return
    try:
        with open(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            os.fchmod(out.fileno(), 0o600)
            out.write(text)
    except OSError as error:
        raise SettingInvalid(f"--output: {output}: {error.strerror}", hint="name a file you can write") from None
