"""Let both servers hash the same values, so that their hashes are compared only where they agree."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlglot import exp

from comparators.encoding import ColumnType, native
from comparators.vectors import BEYOND_ASCII, PRINTED, VECTORS
from samplers.rows import Session, Text, fetch

_SEEDS = (0, 0x5EED)
_ALWAYS = frozenset({"bytea", "int4", "text"})
"""What rows are hashed from, directly or as text or bytes."""
_ROWS = (
    ("int4", ("1", None, "2")), ("int4", (None,)), ("int4", ("2", "1")), ("text", ("", None)), ("text", (None, "")),
)  # fmt: skip
_SERVER = (
    "SELECT pg_catalog.to_regprocedure('pg_catalog.hash_record_extended(record,bigint)') IS NOT NULL,"
    " pg_catalog.current_setting('server_encoding')"
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two servers have in common."""

    disagreeing: frozenset[str] = frozenset()
    """Types whose values they hash differently."""
    printing: frozenset[str] = frozenset()
    """Types whose values they print differently."""
    sha: str | None = None
    """Why rows cannot be hashed by the servers' own function; `None`: they can."""
    one_encoding: bool = True


def shake_hands(source: Session, target: Session, types: Collection[str]) -> Agreement:
    """Compare what both servers make of the same values.

    Args:
        types: names of the server's own types that are in use.
    Raises:
        SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
    """
    servers = [fetch(session, _SERVER)[0] for session in (source, target)]
    one_encoding = servers[0][1] == servers[1][1]
    if missing := [name for name, (has, _) in zip(("source", "target"), servers, strict=True) if has != b"t"]:
        return Agreement(sha=f"the {missing[0]} has no hash_record_extended", one_encoding=one_encoding)
    if not one_encoding:
        left, right = ((encoding or b"?").decode() for _, encoding in servers)
        return Agreement(sha=f"the source is encoded in {left}, the target in {right}", one_encoding=False)
    hashed = sorted((set(types) | _ALWAYS) & set(VECTORS))
    printed = sorted(set(types) & set(PRINTED))
    statement = vectors_query(hashed, printed, unicode=servers[0][1] == b"UTF8")
    answers = [fetch(session, statement)[0] for session in (source, target)]
    return _agreement(hashed, printed, answers)


def _agreement(hashed: Sequence[str], printed: Sequence[str], answers: Sequence[tuple[Text, ...]]) -> Agreement:
    differing = [left is None or left != right for left, right in zip(*answers, strict=True)]
    odd = frozenset(name for name, differs in zip(hashed, differing[1:], strict=False) if differs)
    printing = frozenset(name for name, differs in zip(printed, differing[1 + len(hashed) :], strict=True) if differs)
    unusable = differing[0] or not odd.isdisjoint(_ALWAYS)
    return Agreement(odd, printing, "the servers hash rows differently" if unusable else None)


def vectors_query(hashed: Iterable[str], printed: Iterable[str], *, unicode: bool) -> str:
    """Write the query that gives, in one row, the hashes of whole rows, of each hashed type, and the printed texts."""
    columns = [_array(_hash(kind, row) for kind, row in _ROWS)]
    for name in hashed:
        more = BEYOND_ASCII if unicode and name in ("text", "varchar", "bpchar") else ()
        columns.append(_array(_hash(name, [value]) for value in (*VECTORS[name], *more)))
    for name in printed:
        columns.append(_array([exp.cast(_cast(name, value), "text")] for value in PRINTED[name]))
    return exp.select(*columns).sql(dialect="postgres")


def _array(items: Iterable[list[exp.Expr]]) -> exp.Expr:
    return exp.Array(expressions=[one for some in items for one in some])


def _hash(kind: str, values: Iterable[str | None]) -> list[exp.Expr]:
    """Hash a row of one type as the row audit does, by each seed."""
    own = ColumnType(kind)
    row = exp.Anonymous(this="ROW", expressions=[native(_cast(kind, value), own, own) for value in values])
    return [_hash_by(row, exp.Literal.number(seed)) for seed in _SEEDS]


def _hash_by(row: exp.Expr, seed: exp.Expr) -> exp.Expr:
    whole = exp.Anonymous(this="hash_record_extended", expressions=[row.copy(), seed])
    return exp.Anonymous(this="hashfloat8extended", expressions=[exp.cast(whole, "float8"), seed.copy()])


def _cast(name: str, value: str | None) -> exp.Expr:
    literal = exp.Null() if value is None else exp.Literal.string(value)
    return exp.Cast(this=literal, to=exp.DataType.build(name, dialect="postgres", udt=True))
