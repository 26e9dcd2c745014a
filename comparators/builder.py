"""Collect the changes of one lane in columns until they are cut into a frame."""

from collections.abc import Callable

from comparators.canonical import RowPlan
from comparators.frames import ENDED, OVERSIZE, Cut, Frame, TableEntry, column, encode
from comparators.positions import Side

MAX_ROWS = 4096
MAX_KEY_BYTES = 256 * 1024
MAX_OPEN_BYTES = 64 << 20
"""Frames of one transaction in one lane; a larger one is given up rather than held."""


class LaneBuilder:
    """The columns of one lane: rows are appended one by one, frames leave whole."""

    def __init__(
        self, side: Side, subscription: int, partition: int, *, generation: int, epoch: int, rate: float, start: int
    ) -> None:
        self.side, self.subscription, self.partition = side, subscription, partition
        self.generation, self.epoch, self.rate = generation, epoch, rate
        self._sequence = 0
        self._cut = Cut(start)
        self._open_rows = 0
        self._open_bytes = 0
        self._clear()

    def _clear(self) -> None:
        self.key: list[int] = []
        self.digest: list[int] = []
        self.key_end: list[int] = []
        self.table: list[int] = []
        self.op: list[int] = []
        self.keys = bytearray()
        self._own: list[int] = []
        self._source: list[int] = []
        self._committed: list[int] = []
        self._rows: list[int] = []
        self._skipped: list[int] = []
        self._flags: list[int] = []
        self._noted = 0
        self._tables: dict[str, int] = {}
        self._entries: list[TableEntry] = []

    @property
    def full(self) -> bool:
        return len(self.key) >= MAX_ROWS or len(self.keys) >= MAX_KEY_BYTES

    @property
    def oversize(self) -> bool:
        """Say whether the open transaction is too large to be held."""
        return self._open_bytes > MAX_OPEN_BYTES

    @property
    def position(self) -> int:
        """Give the own position that this lane's frames have reached."""
        return self._cut.position

    @property
    def holds_transactions(self) -> bool:
        return bool(self._own)

    def table_number(self, plan: RowPlan) -> int:
        """Number a table within the frame that is being built."""
        number = self._tables.get(plan.table)
        if number is None:
            number = self._tables[plan.table] = len(self._entries)
            self._entries.append(TableEntry(plan.table, plan.key_columns, plan.keyless))
        return number

    def add(self, table: int, op: int, key: int, digest: int, packed: bytes) -> None:
        """Append one change of the transaction that is open."""
        self.key.append(key)
        self.digest.append(digest)
        self.table.append(table)
        self.op.append(op)
        self.keys += packed
        self.key_end.append(len(self.keys))

    def end(self, own: int, source: int, committed: int, flags: int = 0) -> None:
        """Close the open transaction; one without rows in this lane leaves no trace."""
        rows = len(self.key) - self._noted
        if rows or self._open_rows:
            self._note(own, source, committed, rows, flags | ENDED | (OVERSIZE if self.oversize else 0))
        self._open_rows = self._open_bytes = 0

    def _note(self, own: int, source: int, committed: int, rows: int, flags: int) -> None:
        self._noted += rows
        self._own.append(own)
        self._source.append(source)
        self._committed.append(committed)
        self._rows.append(rows)
        self._skipped.append(self._open_rows)
        self._flags.append(flags)

    def cut(
        self, through: int, watermark: int, emitted_us: int, seal: Callable[[bytes], bytes],
        still_open: tuple[int, int, int, int] | None = None,
    ) -> bytes:  # fmt: skip
        """Encode what was collected and start anew.

        Args:
            through: own position up to which every ended transaction is in this lane's frames.
            watermark: source position that this lane has passed.
            emitted_us: the auditor's clock, microseconds.
            seal: encrypts the packed keys as a whole.
            still_open: (own, source or 0, committed, flags) of the transaction that goes on in the next frame.
        """
        if still_open is not None:
            own, source, committed, flags = still_open
            rows = len(self.key) - self._noted
            if rows:
                self._note(own, source, committed, rows, flags)
                self._open_rows += rows
        end = Cut(through, self._open_rows)
        frame = Frame(
            side=self.side, subscription=self.subscription, partition=self.partition,
            generation=self.generation, epoch=self.epoch, sequence=self._sequence, rate=self.rate, start=self._cut,
            end=max(end, self._cut), watermark=watermark, emitted_us=emitted_us, tables=tuple(self._entries),
            own=column("own", self._own), source=column("source", self._source),
            committed=column("committed", self._committed), rows=column("rows", self._rows),
            skipped=column("skipped", self._skipped), flags=column("flags", self._flags),
            key=column("key", self.key), digest=column("digest", self.digest), key_end=column("key_end", self.key_end),
            table=column("table", self.table), op=column("op", self.op),
            keys=seal(bytes(self.keys)) if self.keys else b"",
        )  # fmt: skip
        self._sequence += 1
        self._cut = frame.end
        self._clear()
        payload = encode(frame)
        self._open_bytes += len(payload) if self._open_rows else 0
        return payload
