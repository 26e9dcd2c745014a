"""Compare the rows of one transaction on both sides and name what does not agree: a suspect, never yet a verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from comparators.frames import Array, Frame, TableEntry

MAX_KEYS = 100
"""Keys kept for a finding; its count is exact."""

_GOLD = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)
DELETE, TRUNCATE = ord("D"), ord("T")


class Piece(NamedTuple):
    """Rows of one transaction that stand together in one frame."""

    frame: Frame
    rows: slice | Array


class Transaction(NamedTuple):
    """One side of a transaction, as far as this lane shows it."""

    own: int
    source: int
    committed: int
    flags: int
    changes: int
    total: int
    """Sum over its rows of a hash of table, key, digest, operation and place: equal sums mean equal transactions."""
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Suspect:
    """What one transaction shows of one table that needs a second look (or, for a foreign write, none)."""

    kind: str
    table: TableEntry
    count: int
    """Changes, exact."""
    keys: tuple[tuple[Frame, int], ...]
    """Frame and row number of at most MAX_KEYS distinct keys."""
    key_hashes: tuple[int, ...]
    source_position: int | None
    target_position: int | None
    confirmed: bool
    whole_table: bool
    committed: int


def mixed(values: Array) -> Array:
    """Spread 64-bit values over the whole range, so that sums of them do not cancel."""
    values = (values ^ (values >> _HALF)) * _MIX
    values = (values ^ (values >> _HALF)) * _MIX
    spread: Array = values ^ (values >> _HALF)
    return spread


def table_ids(frame: Frame, ids: dict[str, int]) -> Array:
    """Give each row its table's 64-bit identity."""
    found: Array = np.array([ids[t.name] for t in frame.tables], "u8")[frame.table]
    return found


def row_identities(frame: Frame, ids: dict[str, int]) -> Array:
    """Hash each row's table, key, operation and digest; its place in the transaction is left to the caller."""
    keys = mixed(frame.key ^ table_ids(frame, ids))
    return mixed(keys + frame.digest * _GOLD + frame.op)


class _Rows(NamedTuple):
    """All rows of one side of a transaction, flattened."""

    key: Array
    full: Array
    table: Array
    op: Array
    frame: Array
    row: Array
    frames: tuple[Frame, ...]

    def pick(self, chosen: Array) -> "_Rows":
        """Keep some of the rows."""
        return _Rows(
            self.key[chosen], self.full[chosen], self.table[chosen], self.op[chosen], self.frame[chosen],
            self.row[chosen], self.frames,
        )  # fmt: skip


def _flatten(transaction: Transaction | None, ids: dict[str, int]) -> _Rows:
    pieces = transaction.pieces if transaction else ()
    frames = tuple(piece.frame for piece in pieces)
    columns: list[list[Array]] = [[np.empty(0, kind)] for kind in ("u8", "u8", "u8", "u1", "i8", "i8")]
    for number, (frame, rows) in enumerate(pieces):
        tables = table_ids(frame, ids)[rows]
        where = np.arange(len(frame.key))[rows]
        added = (mixed(frame.key[rows] ^ tables), row_identities(frame, ids)[rows], tables, frame.op[rows],
                 np.full(len(where), number), where)  # fmt: skip
        for column, values in zip(columns, added, strict=True):
            column.append(values)
    key, full, table, op, source, row = (np.concatenate(column) for column in columns)
    return _Rows(key, full, table, op, source, row, frames)


def _with_ordinals(rows: _Rows) -> tuple[Array, Array]:
    """Number the changes of each key in their order; return (key and ordinal, everything and ordinal)."""
    order = np.argsort(rows.key, kind="stable")
    ordered = rows.key[order]
    first = np.ones(len(ordered), bool)
    first[1:] = ordered[1:] != ordered[:-1]
    starts = np.flatnonzero(first)
    ordinal = np.empty(len(ordered), "u8")
    ordinal[order] = np.arange(len(ordered)) - np.repeat(starts, np.diff(np.append(starts, len(ordered))))
    step = mixed(ordinal + _GOLD)
    return rows.key ^ step, rows.full ^ step


def compare_transactions(
    source: Transaction | None, target: Transaction | None, ids: dict[str, int], *, only_truncates: bool = False
) -> list[Suspect]:
    """Name every table of a transaction in which the two sides disagree.

    Args:
        source, target: the same transaction; `None` where a side does not show it although it has passed it.
        ids: 64-bit identity of every table named in the frames.
        only_truncates: the rest was not sampled on one side.
    """
    left, right = _flatten(source, ids), _flatten(target, ids)
    if only_truncates:
        left, right = (rows.pick(rows.op == TRUNCATE) for rows in (left, right))
    left_slot, left_full = _with_ordinals(left)
    right_slot, right_full = _with_ordinals(right)
    left_alone = ~np.isin(left_full, right_full)
    right_alone = ~np.isin(right_full, left_full)
    both = left_alone & np.isin(left_slot, right_slot[right_alone])
    right_both = right_alone & np.isin(right_slot, left_slot[left_alone])
    arrived = set(np.unique(right.table).tolist())
    found: list[Suspect] = []
    named = source or target
    if named is None:
        return []
    positions = (named.source, target.own if target else None)
    committed = named.committed
    for kind, rows in (
        *_source_side(left, both, left_alone & ~both, arrived, target is None),
        *_target_side(right, right_alone & ~right_both),
    ):
        found += _by_table(kind, rows, positions, committed)
    return _merged(found)


def _source_side(
    rows: _Rows, both: Array, alone: Array, arrived: set[int], absent: bool
) -> Iterator[tuple[str, _Rows]]:
    """Classify what the source shows and the target does not."""
    truncate = rows.op == TRUNCATE
    yield "row-different", rows.pick(both & ~truncate)
    yield "truncate-missing", rows.pick((both | alone) & truncate)
    alone = alone & ~truncate
    if absent:
        yield "transaction-missing", rows.pick(alone)
        return
    partly = np.isin(rows.table, np.array(sorted(arrived), "u8"))
    yield "transaction-incomplete", rows.pick(alone & ~partly)
    yield "row-extra", rows.pick(alone & partly & (rows.op == DELETE))
    yield "row-missing", rows.pick(alone & partly & (rows.op != DELETE))


def _target_side(rows: _Rows, alone: Array) -> Iterator[tuple[str, _Rows]]:
    """Classify what only the target shows."""
    gone = (rows.op == DELETE) | (rows.op == TRUNCATE)
    yield "row-missing", rows.pick(alone & gone)
    yield "row-extra", rows.pick(alone & ~gone)


def foreign_writes(transaction: Transaction, ids: dict[str, int]) -> list[Suspect]:
    """Report a target transaction that did not come through replication, once a table, confirmed as it stands."""
    rows = _flatten(transaction, ids)
    return _by_table("foreign-write", rows, (None, transaction.own), transaction.committed)


def order_violated(transaction: Transaction, ids: dict[str, int]) -> list[Suspect]:
    """Report a transaction that the target committed after one that follows it on the source."""
    rows = _flatten(transaction, ids)
    return _by_table("order-violated", rows, (transaction.source, transaction.own), transaction.committed)


def _by_table(
    kind: str, rows: _Rows, positions: tuple[int | None, int | None], committed: int
) -> list[Suspect]:
    found = []
    for table in np.unique(rows.table).tolist():
        chosen = rows.pick(rows.table == table)
        _, first = np.unique(chosen.key, return_index=True)
        first = np.sort(first)[:MAX_KEYS]
        places = [(chosen.frames[chosen.frame[i]], int(chosen.row[i])) for i in first.tolist()]
        frame, row = places[0]
        found.append(
            Suspect(
                kind=kind, table=frame.tables[frame.table[row]], count=len(chosen.key), keys=tuple(places),
                key_hashes=tuple(int(f.key[r]) for f, r in places), source_position=positions[0],
                target_position=positions[1], confirmed=kind in ("foreign-write", "order-violated"),
                whole_table=bool((chosen.op == TRUNCATE).any()), committed=committed,
            )
        )  # fmt: skip
    return found


def _merged(found: Sequence[Suspect]) -> list[Suspect]:
    """Keep one suspect per table and kind: both sides may have contributed keys."""
    kept: dict[tuple[str, str], Any] = {}
    for suspect in found:
        name = (suspect.table.name, suspect.kind)
        if name not in kept:
            kept[name] = suspect
            continue
        first = kept[name]
        keys = dict(zip(first.key_hashes + suspect.key_hashes, first.keys + suspect.keys, strict=True))
        kept[name] = Suspect(
            kind=first.kind, table=first.table, count=first.count + suspect.count, keys=tuple(keys.values())[:MAX_KEYS],
            key_hashes=tuple(keys)[:MAX_KEYS], source_position=first.source_position,
            target_position=first.target_position, confirmed=first.confirmed,
            whole_table=first.whole_table or suspect.whole_table, committed=first.committed,
        )  # fmt: skip
    return list(kept.values())
