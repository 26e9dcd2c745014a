"""A psql script that copies rows anew from the source to the target, for a person to read and to run.

It holds keys and digests, never a value: values go from the one server to the other through psql's memory. A row is
touched only while both sides still show what they showed when the script was written.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlglot import exp

from comparators.digest_sql import row_hash
from comparators.tables import SideTable, TablePair

ROWS_AT_ONCE = 100
_DIALECT = "postgres"
_COPIED = ("row-different", "row-missing")


@dataclass(frozen=True, slots=True)
class Copied:
    """One column that is copied."""

    value: str
    """SQL of the source."""
    name: str
    """On the target."""
    type: str
    """On the target, as its catalog writes it."""


class Row(NamedTuple):
    """One row that differs, as both sides showed it; a hash is absent where the row is."""

    kind: str
    key: tuple[bytes | None, ...]
    xmin: str | None
    """Of the source."""
    source: int | None
    target: int | None


@dataclass(frozen=True, slots=True)
class Table:
    """One table whose rows are copied."""

    pair: TablePair
    seed: int
    columns: tuple[Copied, ...]
    rows: tuple[Row, ...]

    def hash(self, side: SideTable) -> str:
        return row_hash(side, self.seed, self.pair.sha).sql(_DIALECT)


class Step(NamedTuple):
    """What one transaction repairs: rows of one table that differ in the same way."""

    number: int
    table: Table
    kind: str
    rows: tuple[Row, ...]


def script(tables: Sequence[Table], pinned: Mapping[str, str], remarks: Sequence[str]) -> str:
    """Write the script.

    Args:
        pinned: settings under which both sides print and hash values alike.
        remarks: what a reader should know first, such as what is not in it.
    """
    steps = _steps(tables)
    pieces = [
        *(_comment(line) for line in (*_HEAD, *remarks)), *_SETUP, *_session(pinned),
        "", "-- On the source: rows that are as they were. Nothing is written there.", "BEGIN READ ONLY;",
        *(_read(step) for step in steps), "COMMIT;",
        "", r"\connect -reuse-previous=off :target", *_session(pinned),
        "-- As for replication: no triggers, no foreign keys. Needs a superuser, or GRANT SET ON PARAMETER.",
        "SET session_replication_role = replica;", "SET lock_timeout = '5s';",
        *(_write(step) for step in steps),
    ]  # fmt: skip
    return "\n".join(pieces) + "\n"


_HEAD = (
    "Copies rows anew from the source to the target. Review it, then run it where psql reaches both:",
    "",
    '    psql -X "SOURCE CONNECTION STRING" -v target="TARGET CONNECTION STRING" -f THIS_FILE',
    "",
    "It holds row keys in clear text and no other values. Both roles need SELECT, the target's also INSERT, UPDATE and",
    "DELETE. A row is written only if both sides are still as they were when this file was made, and a step is rolled",
    "back unless its rows then have the source's digests. A row that changed meanwhile is left alone: see the next",
    "sweep. To the transaction audit this is a foreign write, a finding that heals once the rows are read equal.",
    "",
)
_SETUP = ("", r"\set ON_ERROR_STOP on", r"\set QUIET on", r"\encoding UTF8", r"\pset tuples_only on",
          r"\pset format unaligned")  # fmt: skip


def _steps(tables: Sequence[Table]) -> list[Step]:
    cut: list[tuple[Table, str, tuple[Row, ...]]] = []
    for table in tables:
        for kind in ("row-extra", *_COPIED):  # room is made before rows come in
            rows = [row for row in table.rows if row.kind == kind]
            cut += [(table, kind, tuple(rows[at : at + ROWS_AT_ONCE])) for at in range(0, len(rows), ROWS_AT_ONCE)]
    return [Step(number, *one) for number, one in enumerate(cut, 1)]


def _session(pinned: Mapping[str, str]) -> list[str]:
    settings = {**pinned, "standard_conforming_strings": "on"}
    return [
        f"SELECT set_config({_text(name)}, {_text(value)}, false) \\gset auditor_" for name, value in settings.items()
    ]


def _read(step: Step) -> str:
    """Write the query that fetches from the source what its step needs, into a variable of psql."""
    table, source = step.table, step.table.pair.source
    copied = step.kind in _COPIED
    keys = [f"auditor_w.auditor_k{place}" for place in range(len(source.key))]
    same = [f"{column.expression} = CAST({key} AS {column.type})" for column, key in zip(source.key, keys, strict=True)]
    same += [f"({source.where})"] if source.where else []
    values = ["auditor_w.auditor_t", "auditor_w.auditor_s", *keys]
    if copied:
        values += [f"CAST({column.value} AS text)" for column in table.columns]
        same += ["CAST(xmin AS text) = auditor_w.auditor_x"]
        same += [f"{table.hash(source)} = CAST(auditor_w.auditor_s AS bigint)"]
    given = f"to_json(ARRAY[{', '.join(values)}]) AS given"
    found = f"{_name(source)} WHERE {' AND '.join(same)}"
    rows = f"(VALUES\n{_values(step)}\n) AS auditor_w({', '.join(_given_names(source))})"
    query = (
        f"FROM {rows},\nLATERAL (SELECT {given} FROM {found}) AS auditor_r"
        if copied
        else f"FROM (SELECT {given} FROM {rows}\nWHERE NOT EXISTS (SELECT FROM {found})) AS auditor_r"
    )
    title = _comment(f"{step.number}. {table.pair.name}: {step.kind}, {len(step.rows)} rows")
    picked = "SELECT count(*) AS found, coalesce(json_agg(auditor_r.given), '[]') AS given"
    return f"\n{title}\n{picked}\n{query}\n\\gset auditor_{step.number}_"


def _values(step: Step) -> str:
    rows = []
    for row in step.rows:
        texts = [row.xmin, row.target, row.source, *(None if text is None else text.decode() for text in row.key)]
        rows.append(f"({', '.join('CAST(NULL AS text)' if one is None else _text(str(one)) for one in texts)})")
    return ",\n".join(rows)


def _given_names(side: SideTable) -> list[str]:
    keys = [f"auditor_k{place}" for place in range(len(side.key))]
    return ["auditor_x", "auditor_t", "auditor_s", *keys]


def _write(step: Step) -> str:
    """Write the transaction that carries a step out on the target, or rolls it back."""
    table, target = step.table, step.table.pair.target
    width = len(target.key)
    items = [("auditor_t", "bigint"), ("auditor_s", "bigint")]
    items += [(f"auditor_k{place}", column.type) for place, column in enumerate(target.key)]
    if step.kind in _COPIED:
        items += [(f"auditor_v{place}", column.type) for place, column in enumerate(table.columns)]
    texts = ", ".join(f"CAST(e ->> {place} AS {kind}) AS {name}" for place, (name, kind) in enumerate(items))
    keys = zip(target.key, [f"given.auditor_k{place}" for place in range(width)], strict=True)
    same = [f"{column.expression} = {key}" for column, key in keys]
    same += [f"({target.where})"] if target.where else []
    statement = {"row-extra": _delete, "row-different": _update, "row-missing": _insert}[step.kind](table, same)
    title = _text(f"{step.number}. {table.pair.name}: {step.kind}: ")
    return "\n".join(
        [
            "", _comment(f"{step.number}. {table.pair.name}: {step.kind}"), "BEGIN;",
            f"WITH given AS (SELECT {texts}",
            f"FROM json_array_elements(CAST(:'auditor_{step.number}_given' AS json)) AS e),",
            f"done AS ({statement})",
            "SELECT count(*) AS changed, count(*) FILTER (WHERE wrong) > 0 AS wrong FROM done \\gset auditor_",
            r"\if :auditor_wrong", "ROLLBACK;", f"SELECT {title} || 'rolled back, the rows would still differ';",
            r"\else", "COMMIT;",
            f"SELECT {title} || :auditor_changed || ' of {len(step.rows)} repaired, ' || "
            f"{len(step.rows)} - :auditor_{step.number}_found || ' changed on the source, ' || "
            f":auditor_{step.number}_found - :auditor_changed || ' on the target';",
            r"\endif",
        ]
    )  # fmt: skip


def _delete(table: Table, same: Sequence[str]) -> str:
    target = table.pair.target
    guard = f"{table.hash(target)} = given.auditor_t"
    return f"DELETE FROM {_name(target)} USING given\nWHERE {' AND '.join([*same, guard])}\nRETURNING false AS wrong"


def _update(table: Table, same: Sequence[str]) -> str:
    target = table.pair.target
    keys = {column.expression for column in target.key}
    assigned = [
        f"{quoted(column.name)} = given.auditor_v{place}"
        for place, column in enumerate(table.columns)
        if quoted(column.name) not in keys
    ]
    guard = f"{table.hash(target)} = given.auditor_t"
    return (
        f"UPDATE {_name(target)} SET {', '.join(assigned)} FROM given\nWHERE {' AND '.join([*same, guard])}\n"
        f"RETURNING {table.hash(target)} <> given.auditor_s AS wrong"
    )


def _insert(table: Table, same: Sequence[str]) -> str:
    target = table.pair.target
    names = ", ".join(quoted(column.name) for column in table.columns)
    values = ", ".join(f"given.auditor_v{place}" for place in range(len(table.columns)))
    return (
        f"INSERT INTO {_name(target)} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM given\n"
        f"WHERE NOT EXISTS (SELECT FROM {_name(target)} WHERE {' AND '.join(same)}) ON CONFLICT DO NOTHING\n"
        f"RETURNING {table.hash(target)} <> ALL (ARRAY(SELECT auditor_s FROM given)) AS wrong"
    )


def _name(side: SideTable) -> str:
    return f"{quoted(side.schema)}.{quoted(side.name)}"


def quoted(name: str) -> str:
    """Write a name so that it means nothing else."""
    return exp.to_identifier(name, quoted=True).sql(_DIALECT)


def _text(text: str) -> str:
    return exp.Literal.string(text).sql(_DIALECT)


def _comment(text: str) -> str:
    """Write a line that stays a comment whatever a table is called."""
    return f"-- {re.sub(r'[^ -~]', '?', text)}".rstrip()
