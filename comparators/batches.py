"""Transactions in batches, as they stand in one frame, and the totals that are kept of them."""

from dataclasses import dataclass, field

import numpy as np

from comparators.frames import Array, Frame
from comparators.suspects import Piece, Transaction


class Batch:
    """Whole transactions of one side that stand side by side in a frame, or a single one of any form."""

    __slots__ = ("_frame", "_whole", "bounds", "changes", "counted", "sources", "totals")

    def __init__(
        self, frame: Frame, whole: Transaction | None, sources: list[int], totals: list[int], changes: list[int],
        bounds: list[int],
    ) -> None:  # fmt: skip
        self._frame, self._whole = frame, whole
        self.sources, self.totals, self.changes, self.bounds = sources, totals, changes, bounds
        self.counted = 0
        """How many of them the tallies have."""

    @classmethod
    def of(cls, whole: Transaction) -> "Batch":
        return cls(whole.pieces[0].frame, whole, [whole.source], [whole.total], [whole.changes], [0, whole.changes])

    def transaction(self, number: int) -> Transaction:
        """Give one of them as a value of its own."""
        if self._whole is not None:
            return self._whole
        frame = self._frame
        piece = Piece(frame, slice(self.bounds[number], self.bounds[number + 1]))
        return Transaction(
            int(frame.own[number]), self.sources[number], int(frame.committed[number]), int(frame.flags[number]),
            self.changes[number], self.totals[number], (piece,),
        )  # fmt: skip

    def rows(self, first: int, past_last: int) -> tuple[Array, Array, list[str]]:
        """Number the rows of some of them by transaction and by table; name the tables."""
        if self._whole is not None:
            return _rows_by_table(self._whole)
        frame = self._frame
        owners = np.repeat(np.arange(past_last - first), self.changes[first:past_last])
        tables = frame.table[self.bounds[first] : self.bounds[past_last]].astype("i8")
        return owners, tables, [entry.name for entry in frame.tables]


@dataclass(slots=True)
class Tallies:
    """Totals of what was resolved, each transaction counted once."""

    transactions: int = 0
    changes: int = 0
    mismatched: int = 0
    tables: dict[str, list[int]] = field(default_factory=dict)
    """Changes and transactions of each table."""

    def add(self, owners: Array, numbers: Array, names: list[str]) -> None:
        """Count rows by table, and the transactions that they belong to."""
        if not names:
            return
        changes = np.bincount(numbers, minlength=len(names)).tolist()
        touched = np.unique(owners * len(names) + numbers) % len(names)
        transactions = np.bincount(touched, minlength=len(names)).tolist()
        for name, rows, count in zip(names, changes, transactions, strict=True):
            if rows:
                seen = self.tables.setdefault(name, [0, 0])
                seen[0] += rows
                seen[1] += count


def _rows_by_table(transaction: Transaction) -> tuple[Array, Array, list[str]]:
    names = sorted({entry.name for frame, _ in transaction.pieces for entry in frame.tables})
    numbers = [np.empty(0, "i8")] + [
        np.array([names.index(entry.name) for entry in frame.tables], "i8")[frame.table[rows]]
        for frame, rows in transaction.pieces
    ]
    flat = np.concatenate(numbers)
    return np.zeros(len(flat), "i8"), flat, names
