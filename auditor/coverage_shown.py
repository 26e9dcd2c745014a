"""`auditor coverage` and `auditor tables`: what is proved of each table, and how it is read."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from auditor.accepted_differences import accepted_json, accepted_line, load_accepted, over_coverage
from auditor.coverage import columns_of
from auditor.settings import Settings
from auditor.status import read_records
from auditor.sweep_engine import Tables
from comparators.acceptance import lay_over
from comparators.findings import Finding, State, merged_findings, position_text
from comparators.tables import Skipped, TablePair

Record = Mapping[str, Any]


def coverage_command(settings: Settings, *, as_json: bool) -> int:
    """Print the ledger as recorded; 0 means that it could be read, not that all is covered."""
    now, entries = time.time(), load_accepted(settings.accepted_differences)
    records = over_coverage(read_records(settings), entries)
    findings = lay_over(merged_findings(records, now), entries, now)
    lines = [
        {**value, "accepted_rows": accepted_rows(findings, key.removeprefix("coverage/"))}
        for key, value in sorted(records.items())
        if key.startswith("coverage/")
    ]
    accepted = accepted_json(entries, findings, now)
    if as_json:
        print(json.dumps({"tables": lines, "sweeper": records.get("sweeper"), "accepted": accepted}))
    else:
        words = [*_sweeper_words(records.get("sweeper")), *map(accepted_line, accepted)]
        print("\n".join([coverage_table(lines, now), *words]))
    return 0


def accepted_rows(findings: Sequence[Finding], table: str) -> int:
    """Count the rows of a table that differ as somebody accepted."""
    return sum(one.count for one in findings if (one.table, one.detector, one.state) == (table, "row", State.ACCEPTED))


def tables_command(settings: Settings, *, as_json: bool) -> int:
    """Read both catalogs now, and print how each table would be swept."""
    from auditor.sweep_servers import ServerEngine

    tables = ServerEngine(settings).tables()
    documents = [_table_json(name, tables) for name in sorted(tables.names)]
    print(json.dumps({"tables": documents}) if as_json else "\n".join(_table_words(one) for one in documents))
    return 0


def coverage_table(lines: Sequence[Record], now: float) -> str:
    """Lay the ledger out for a terminal."""
    if not lines:
        return "nothing has been swept yet: `auditor run`, or `auditor sweep --once`"
    head = ("TABLE", "STATE", "SWEEP", "ROWS", "VERIFIED", "UNVERIFIED", "HOT", "DIFFERENT", "THROUGH", "AGE", "")
    rows = [head, *(_coverage_row(line, now) for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _coverage_row(line: Record, now: float) -> tuple[str, ...]:
    numbers = [str(line[name]) for name in ("sweep", "rows", "verified", "unverified", "hot", "different")]
    through = position_text(line["through"]) or "-"
    age = "-" if line["at"] is None else f"{max(now - line['at'], 0):.0f} s"
    return (str(line["table"]), str(line["state"]), *numbers, through, age, _remark(line, now))


def _remark(line: Record, now: float) -> str:
    words = [line["reason"]] if line["reason"] else []
    if accepted := line.get("accepted"):
        said = f"accepted by {accepted['owner']}: {accepted['reason']}"
        words.append(said if now < accepted["until"] else f"the acceptance by {accepted['owner']} has ended")
    if rows := line.get("accepted_rows"):
        words.append(f"{rows} of the different rows accepted")
    if running := line["now"]:
        left = "" if running["eta_seconds"] is None else f", {running['eta_seconds']:.0f} s left"
        rate = "" if running["rows_per_second"] is None else f", {running['rows_per_second']:,.0f} rows/s"
        words.append(f"sweep {running['sweep']}: {running['segment']} of {running['segments']} segments{rate}{left}")
    return "; ".join(words)


def _sweeper_words(sweeper: Record | None) -> list[str]:
    if sweeper is None:
        return []
    why = sweeper["paused_because"] or sweeper["error"]
    return ["", f"sweeper: {sweeper['state']}{f', {why}' if why else ''}"]


def _table_json(name: str, tables: Tables) -> dict[str, Any]:
    pair = tables.pairs.get(name)
    read = pair if isinstance(pair, TablePair) else None
    return {
        "table": name,
        "target": f"{read.target.schema}.{read.target.name}" if read else None,
        "mode": str(read.mode) if read else None,
        "key": [column.name for column in read.source.key] if read else [],
        "rows": read.rows if read else None,
        "columns": list(columns_of(read)) if read else [],
        "row_hash": ("sha256" if read.sha else "native") if read else None,
        "notes": list(read.notes) if read else [],
        "skipped": pair.reason if isinstance(pair, Skipped) else None,
        "waiting": tables.waiting.get(name),
    }


def _table_words(table: Record) -> str:
    if table["mode"] is None:
        why = f"skipped: {table['skipped']}" if table["skipped"] else f"waiting: {table['waiting']}"
        return f"{table['table']}: {why}"
    key = f"key {', '.join(table['key'])}" if table["key"] else "without a key"
    lines = [f"{table['table']}: {table['mode']}, {key}, about {table['rows']:,} rows, row hash {table['row_hash']}"]
    forms: dict[tuple[str, str], list[str]] = {}
    for column in table["columns"]:
        forms.setdefault((column["form"], column["why"] or "as its type"), []).append(column["name"])
    lines += [f"  {form}: {', '.join(names)} ({why})" for (form, why), names in sorted(forms.items())]
    return "\n".join([*lines, *(f"  note: {note}" for note in table["notes"])])
