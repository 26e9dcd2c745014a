"""What `auditor diff` says at its end: counts by table, differences by row, one verdict; unverified is never equal."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from comparators.findings import Kind, position_text
from comparators.tables import TablePair
from samplers.table_sweep import RowDifference, Step

EQUAL, DIFFERENT, UNKNOWN = "equal", "different", "unknown"
CODES = {EQUAL: 0, DIFFERENT: 1, UNKNOWN: 3}
ONLY_SOURCE, ONLY_TARGET = "only on the source", "only on the target"
LIMITING = ("not compared", "not published", "rows not published")
"""How notes begin that name columns or rows which nobody compared."""
Document = dict[str, Any]


NameKey = Callable[[str, Sequence[bytes | None]], str]
"""Give the keyed hash of a table's row key."""


@dataclass(slots=True)
class TableResult:
    """What became of one table."""

    table: str
    pair: TablePair | None = None
    listed: int = 100
    """Differences kept by name; all are counted."""
    lopsided: tuple[str, ...] = ()
    """Columns that one side lacks."""
    skipped_reason: str | None = None
    finished: bool = False
    position: int = 0
    """The first part that was not told yet."""
    rows: int = 0
    verified: int = 0
    different: int = 0
    hot: int = 0
    unverified: int = 0
    reason: str | None = None
    """Why rows are unverified."""
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    differences: list[RowDifference] = field(default_factory=list)
    _through: int | None = None
    _parts: int = 0

    def add(self, part: Step) -> None:
        """Take in what the sweep found in a part of the table."""
        self.position = part.past_last
        self.rows += part.rows
        self.verified += part.verified
        self.different += part.different
        self.hot += part.hot
        self.unverified += part.unverified
        self.reason = part.reason or self.reason
        self._through = self._lowest(part.through)
        self._parts += 1
        for difference in part.differences:
            self.kinds[difference.kind] += difference.count
            if difference.key and len(self.differences) < self.listed:
                self.differences.append(difference)

    def _lowest(self, through: int | None) -> int | None:
        """Only the lowest position says something of the whole table; nothing does where one is not known."""
        if self._parts and (through is None or self._through is None):
            return None
        return through if self._through is None or through is None else min(self._through, through)

    def stopped(self, reason: str) -> None:
        """Give up the rest of the table."""
        self.skipped_reason = reason
        if self.pair is not None:
            self.unverified += max(self.pair.rows - self.rows, 0)

    @property
    def through(self) -> int | None:
        """Source position through which every row that was verified is proved."""
        return self._through if self.finished else None

    @property
    def verdict(self) -> str:
        """Say what is known of the table; rows nobody accounted for count against it."""
        if self.different or self.kinds or self.lopsided:
            return DIFFERENT
        whole = self.finished and self.skipped_reason is None and self.verified == self.rows
        return EQUAL if whole and not self.hot and not self.unverified else UNKNOWN

    @property
    def sentence(self) -> str:
        """Say in one line how the table ended."""
        return f"{_table_line(self.document, 0)}  {self.seconds:.1f} s"

    @property
    def document(self) -> Document:
        """Build the table's part of the JSON document."""
        return {
            "table": self.table,
            "verdict": self.verdict,
            "rows": self.rows,
            "verified": self.verified,
            "different": self.different,
            "hot": self.hot,
            "unverified": self.unverified,
            "kinds": dict(self.kinds),
            "skipped_reason": self.skipped_reason,
            "reason": self._why,
            "through": position_text(self.through),
            "mode": str(self.pair.mode) if self.pair else None,
            "notes": list(self.pair.notes) if self.pair else [],
            "seconds": round(self.seconds, 3),
        }

    @property
    def _why(self) -> str | None:
        lopsided = f"on one side only: {', '.join(self.lopsided)}" if self.lopsided else None
        return "; ".join(filter(None, (lopsided, self.reason))) or None


@dataclass(frozen=True, slots=True)
class Missing:
    """Tables that one side lacks."""

    only_source: tuple[str, ...] = ()
    only_target: tuple[str, ...] = ()

    @property
    def reasons(self) -> list[tuple[str, str]]:
        """Table and where it is."""
        return [(name, ONLY_SOURCE) for name in self.only_source] + [(name, ONLY_TARGET) for name in self.only_target]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found out."""

    results: Sequence[TableResult]
    missing: Missing = Missing()
    left_out: tuple[str, ...] = ()
    """Tables of an audit's own."""
    subscriptions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str | None = None
    """Why nothing could be read."""

    @property
    def verdict(self) -> str:
        """Say what is proved of all tables together: nothing, if there are none."""
        verdicts = {result.verdict for result in self.results}
        if DIFFERENT in verdicts or self.missing.reasons:
            return DIFFERENT
        return EQUAL if verdicts == {EQUAL} and self.error is None else UNKNOWN

    @property
    def code(self) -> int:
        """Exit code: 0 only if every table was verified to its end and is equal."""
        return CODES[self.verdict]

    def document(self, name_key: NameKey, *, show_keys: bool = False) -> Document:
        """Build the JSON document.

        Args:
            show_keys: rows are named by their keys too.
        """
        return {
            "verdict": self.verdict,
            "tables": [result.document for result in self.results] + [_absent(*one) for one in self.missing.reasons],
            "differences": list(self._differences(name_key, show_keys)),
            "left_out": list(self.left_out),
            "subscriptions": list(self.subscriptions),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "error": self.error,
        }

    def _differences(self, name_key: NameKey, show_keys: bool) -> Iterator[Document]:
        for result in self.results:
            if result.lopsided:
                yield _shape(result.table, result.lopsided)
            for one in result.differences:
                yield _row(result, one, name_key, show_keys)
        for name, _ in self.missing.reasons:
            yield _shape(name, ())


def _absent(name: str, reason: str) -> Document:
    return {**TableResult(name, skipped_reason=reason).document, "verdict": DIFFERENT}


def _shape(table: str, columns: Sequence[str]) -> Document:
    return {
        "kind": str(Kind.SHAPE_DIFFERENT), "table": table, "key_hash": None, "columns": list(columns), "count": 1,
        "source_position": None, "target_position": None,
    }  # fmt: skip


def _row(result: TableResult, one: RowDifference, name_key: NameKey, show_keys: bool) -> Document:
    return {
        "kind": one.kind,
        "table": result.table,
        "key_hash": name_key(result.table, one.key),
        **({"key": _clear(result.pair, one.key)} if show_keys else {}),
        "columns": list(one.columns),
        "count": one.count,
        "source_position": position_text(one.source_position),
        "target_position": position_text(one.target_position),
    }


def _clear(pair: TablePair | None, key: Sequence[bytes | None]) -> Mapping[str, str | None] | None:
    """Name the key's columns; rows without a key have nothing that could be shown."""
    names = [column.name for column in pair.source.key] if pair else []
    if len(names) != len(key):
        return None
    return {
        name: None if text is None else text.decode(errors="replace") for name, text in zip(names, key, strict=True)
    }


def words(document: Document) -> str:
    """Say it for people."""
    width = max((len(one["table"]) for one in document["tables"]), default=0)
    lines = [_table_line(one, width) for one in document["tables"]]
    if document["differences"]:
        lines += ["", *(_difference_line(one, width) for one in document["differences"])]
    listed = sum(one["count"] for one in document["differences"] if one["kind"] != Kind.SHAPE_DIFFERENT)
    counted = sum(sum(one["kinds"].values()) for one in document["tables"])
    if counted > listed:
        lines.append(f"  and {counted - listed:,} more: --limit N lists more of them")
    lines += ["", *(f"note: {one['table']}: {note}" for one in document["tables"] for note in limits(one["notes"]))]
    lines += [f"note: {note}" for note in document["notes"]]
    if not document["tables"]:
        lines.append("there is no table to compare" if document["error"] is None else f"error: {document['error']}")
    return "\n".join([*lines, f"{document['verdict']}, after {document['seconds']:.1f} s"]).lstrip("\n")


def limits(notes: Iterable[str]) -> list[str]:
    """Choose the notes of a table without which "equal" would say too much."""
    return [note for note in notes if note.startswith(LIMITING)]


def _table_line(one: Mapping[str, Any], width: int) -> str:
    through = f"through {one['through']}" if one["through"] else ""
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(one["kinds"].items()))
    hot = f"{one['hot']:,} rows keep changing" if one["hot"] else ""
    unverified = f"{one['unverified']:,} rows not verified" if one["unverified"] else ""
    said = "; ".join(filter(None, [kinds, hot, unverified, one["skipped_reason"], one["reason"], through]))
    return f"{one['table']:<{width}}  {one['rows']:>13,} rows  {one['verdict']:<9}  {said}".rstrip()


def _difference_line(one: Mapping[str, Any], width: int) -> str:
    key = one.get("key")
    named = ", ".join(f"{name}={text}" for name, text in key.items()) if key else f"#{one['key_hash']}"
    row = "" if one["key_hash"] is None else f" {named}"
    columns = f" in {', '.join(one['columns'])}" if one["columns"] else ""
    times = f" ({one['count']} times)" if one["count"] > 1 else ""
    return f"  {one['kind']:<15}  {one['table']:<{width}} {row}{columns}{times}"
