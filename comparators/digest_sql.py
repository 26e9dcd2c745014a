"""SQL of the row audit: what both servers are asked, generated for each side from one description of the table.

Values of keys travel as parameters, never in the text of a statement: they would show in logs and in pg_stat_activity.
"""

from collections.abc import Sequence
from functools import lru_cache

import sqlglot
from sqlglot import exp

from comparators.tables import DigestColumn, Form, KeyColumn, SideTable

_DIALECT = "postgres"
Bounded = tuple[bool, bool]
"""Whether a range has a lower and an upper bound."""


def row_hash(table: SideTable, seed: int, sha: bool) -> exp.Expr:
    """Write the 64-bit hash of a row, NULL never.

    Args:
        sha: by SHA-256 over length-prefixed texts, for servers whose own record hashes disagree.
    """
    return _hash([_value(column, sha) for column in table.columns], seed, sha)


def _hash(values: Sequence[exp.Expr], seed: int, sha: bool) -> exp.Expr:
    if not sha:
        return _call("hash_record_extended", _call("row", *values), exp.cast(_number(seed), "bigint"))
    pieces: exp.Expr = exp.Literal.string(str(seed))
    for value in values:
        pieces = exp.DPipe(this=pieces, expression=_framed(value))
    return _first_bytes(pieces)


def _framed(text: exp.Expr) -> exp.Expr:
    """Write a text with its length before it, and NULL as neither."""
    length = exp.cast(_call("char_length", text), "text")  # in characters: bytes depend on the encoding
    whole = exp.DPipe(this=exp.DPipe(this=length, expression=exp.Literal.string(":")), expression=text.copy())
    return _call("coalesce", whole, exp.Literal.string("N"))


def _first_bytes(text: exp.Expr) -> exp.Expr:
    """Write the first eight bytes of a text's SHA-256 as a number."""
    digest = _call("sha256", _call("convert_to", text, exp.Literal.string("UTF8")))
    eight = _call("encode", _call("substr", digest, _number(1), _number(8)), exp.Literal.string("hex"))
    bits = exp.DPipe(this=exp.Literal.string("x"), expression=eight)
    return sqlglot.parse_one(f"CAST(CAST({bits.sql(_DIALECT)} AS bit(64)) AS bigint)", dialect=_DIALECT)


def _value(column: DigestColumn, sha: bool) -> exp.Expr:
    given = _parsed(column.expression)
    if column.form is Form.NATIVE and not sha:
        return given
    # a collation under which different texts are equal would hash them alike
    text = exp.Collate(this=exp.cast(given, "text"), expression=exp.to_identifier("C", quoted=True))
    if column.form is Form.SHA256 and not sha:
        return _call("sha256", _call("convert_to", text, exp.Literal.string("UTF8")))
    return text


@lru_cache(maxsize=512)
def segments_digest(table: SideTable, bounds: int, ends: Bounded, seed: int, sha: bool) -> str:
    """Write the query for count and digest of neighbouring segments, all in one snapshot.

    Args:
        bounds: how many bounds follow as parameters, the key's columns one after the other; they cut the range
            that they span into segments, and what lies outside belongs to it too where `ends` is false.
    Returns:
        SQL whose rows are (segment's number from 0, rows, sum of hashes).
    """
    total = _call("coalesce", exp.Sum(this=row_hash(table, seed, sha)), _number(0))
    counted = [exp.alias_(exp.Count(this=exp.Star()), "rows"), exp.alias_(total, "total")]
    pieces: list[str] = []
    if not ends[0]:
        pieces.append(_single(table, counted, 0, [_below(table, 0)] if bounds else []))
    inner = bounds - 1
    if inner > 0:
        pieces.append(_inner(table, counted, inner, first=0 if ends[0] else 1))
    if not ends[1] and bounds:
        number = inner + (0 if ends[0] else 1)
        pieces.append(_single(table, counted, number, [_from(table, bounds - 1)]))
    return " UNION ALL ".join(pieces)


def _single(table: SideTable, counted: Sequence[exp.Expr], number: int, where: list[exp.Expr]) -> str:
    query = exp.select(_number(number), *(one.copy() for one in counted)).from_(_table(table))
    return query.where(*where, *_filter(table)).sql(_DIALECT)


def _inner(table: SideTable, counted: Sequence[exp.Expr], count: int, first: int) -> str:
    """Write segments that have both bounds as one loop over an index: grouping by segment would cost each row more."""
    width = len(table.key)
    rows = []
    for number in range(count):
        places = range(number * width, (number + 2) * width)
        values = [_parameter_text(place, table.key[place % width]) for place in places]
        rows.append(f"({first + number}, {', '.join(values)})")
    names = [f"b{place}" for place in range(2 * width)]
    low = [exp.column(name, table="v") for name in names[:width]]
    high = [exp.column(name, table="v") for name in names[width:]]
    inner = exp.select(*(one.copy() for one in counted)).from_(_table(table))
    inner = inner.where(_compare(table, exp.GTE, low), _compare(table, exp.LT, high), *_filter(table))
    return (
        f"SELECT v.n, x.rows, x.total FROM (VALUES {', '.join(rows)}) AS v(n, {', '.join(names)}), "
        f"LATERAL ({inner.sql(_DIALECT)}) AS x"
    )


@lru_cache(maxsize=512)
def list_rows(table: SideTable, ends: Bounded, seed: int, sha: bool) -> str:
    """Write the query that lists key and hash of each row of a range; its bounds are the parameters, lower first."""
    query = exp.select(*_key_texts(table), row_hash(table, seed, sha)).from_(_table(table))
    return query.where(*_range(table, ends), *_filter(table)).sql(_DIALECT)


@lru_cache(maxsize=512)
def rows_by_key(table: SideTable, keys: int, seed: int, sha: bool) -> str:
    """Write the query that reads rows by their keys, which are the parameters.

    Returns:
        SQL whose rows are (key's number, which version of the row it is, xmin, hash); none for a key without a row.
    """
    version = sqlglot.parse_one("CAST(tableoid AS text) || CAST(ctid AS text)", dialect=_DIALECT)
    xmin = exp.cast(exp.column("xmin"), "text")
    named = [("version", version), ("xmin", xmin), ("hash", row_hash(table, seed, sha))]
    return _by_key(table, keys, [exp.alias_(value, name) for name, value in named])


@lru_cache(maxsize=512)
def column_hashes(table: SideTable, keys: int, seed: int, sha: bool) -> str:
    """Write the query that reads the hash of every column by itself, of rows by their keys."""
    values = [
        exp.alias_(_hash([_value(column, sha)], seed, sha), f"c{number}")
        for number, column in enumerate(table.columns)
    ]
    return _by_key(table, keys, values)


def _by_key(table: SideTable, keys: int, columns: Sequence[exp.Expr]) -> str:
    width = len(table.key)
    rows = []
    for number in range(keys):
        values = [_parameter_text(number * width + place, column) for place, column in enumerate(table.key)]
        rows.append(f"({number}, {', '.join(values)})")
    names = [f"k{place}" for place in range(width)]
    inner = exp.select(*columns).from_(_table(table))
    for name, column in zip(names, table.key, strict=True):
        inner = inner.where(exp.EQ(this=_parsed(column.expression), expression=exp.column(name, table="v")))
    inner = inner.where(*_filter(table))
    return (
        f"SELECT v.n, x.* FROM (VALUES {', '.join(rows)}) AS v(n, {', '.join(names)}), "
        f"LATERAL ({inner.sql(_DIALECT)}) AS x"
    )


def buckets_digest(table: SideTable, mask: int, seed: int, sha: bool) -> str:
    """Write the query for count and digest of the whole table by bucket: (bucket, rows, sum of hashes)."""
    hashed = row_hash(table, seed, sha)
    inner = exp.select(exp.alias_(_bucket(table, mask, seed, sha), "n"), exp.alias_(hashed, "h"))
    inner = inner.from_(_table(table)).where(*_filter(table))
    return f"SELECT n, count(*), sum(h) FROM ({inner.sql(_DIALECT)}) AS r GROUP BY n"


def list_buckets(table: SideTable, buckets: Sequence[int], mask: int, seed: int, sha: bool) -> str:
    """Write the query that lists the rows of some buckets.

    Returns:
        SQL whose rows are (key's texts, hash), or without a key (hash, how many rows have it).
    """
    chosen = exp.In(this=exp.column("n"), expressions=[_number(bucket) for bucket in buckets]).sql(_DIALECT)
    names = [f"k{place}" for place in range(len(table.key))]
    keys = [exp.alias_(text, name) for name, text in zip(names, _key_texts(table), strict=True)]
    inner = exp.select(exp.alias_(_bucket(table, mask, seed, sha), "n"), *keys,
                       exp.alias_(row_hash(table, seed, sha), "h"))  # fmt: skip
    source = inner.from_(_table(table)).where(*_filter(table)).sql(_DIALECT)
    if names:
        return f"SELECT {', '.join(names)}, h FROM ({source}) AS r WHERE {chosen}"
    return f"SELECT h, count(*) FROM ({source}) AS r WHERE {chosen} GROUP BY h"


def _bucket(table: SideTable, mask: int, seed: int, sha: bool) -> exp.Expr:
    """Write a row's bucket: by its key, so that a change does not move it, or by its hash."""
    hashed = _hash(_key_texts(table), seed, sha) if table.key else row_hash(table, seed, sha)
    return exp.BitwiseAnd(this=exp.Paren(this=hashed), expression=_number(mask))


def sample_keys(table: SideTable, percent: float, every: int) -> str:
    """Write the query for every n-th key of a sample of the table's pages, in order."""
    key = ", ".join(_parsed(column.expression).sql(_DIALECT) for column in table.key)
    texts = ", ".join(f"{text.sql(_DIALECT)} AS k{place}" for place, text in enumerate(_key_texts(table)))
    some = f" TABLESAMPLE SYSTEM ({percent:f})" if percent < 100 else ""
    names = ", ".join(f"k{place}" for place in range(len(table.key)))
    numbered = f"SELECT {texts}, row_number() OVER (ORDER BY {key}) AS n FROM {_table(table).sql(_DIALECT)}{some}"
    return f"SELECT {names} FROM ({numbered}) AS s WHERE n % {every} = 0 ORDER BY n"


@lru_cache(maxsize=512)
def key_after(table: SideTable, ends: Bounded, rows: int) -> str:
    """Write the query for the key that stands some rows into a range; no row where the range is shorter."""
    key = ", ".join(_parsed(column.expression).sql(_DIALECT) for column in table.key)
    query = exp.select(*_key_texts(table)).from_(_table(table)).where(*_range(table, ends), *_filter(table))
    return f"{query.sql(_DIALECT)} ORDER BY {key} OFFSET {rows} LIMIT 1"


def count_rows(table: SideTable, most: int) -> str:
    """Write the query that counts rows up to a limit."""
    return f"SELECT count(*) FROM (SELECT 1 FROM {_table(table).sql(_DIALECT)} LIMIT {most}) AS r"


# --- small pieces -----------------------------------------------------------------------------------------------


def _range(table: SideTable, ends: Bounded) -> list[exp.Expr]:
    conditions = []
    if ends[0]:
        conditions.append(_from(table, 0))
    if ends[1]:
        conditions.append(_below(table, 1 if ends[0] else 0))
    return conditions


def _from(table: SideTable, bound: int) -> exp.Expr:
    return _compare(table, exp.GTE, _bound(table, bound))


def _below(table: SideTable, bound: int) -> exp.Expr:
    return _compare(table, exp.LT, _bound(table, bound))


def _bound(table: SideTable, number: int) -> list[exp.Expr]:
    first = number * len(table.key)
    return [_parameter(first + place, column) for place, column in enumerate(table.key)]


def _compare(table: SideTable, operator: type[exp.Binary], bound: Sequence[exp.Expr]) -> exp.Expr:
    key = [_parsed(column.expression) for column in table.key]
    if len(key) == 1:
        return operator(this=key[0], expression=bound[0])
    return operator(this=exp.Tuple(expressions=key), expression=exp.Tuple(expressions=list(bound)))


def _parameter(place: int, column: KeyColumn) -> exp.Expr:
    return sqlglot.parse_one(_parameter_text(place, column), dialect=_DIALECT)


def _parameter_text(place: int, column: KeyColumn) -> str:
    return f"CAST(${place + 1} AS {_type(column.type)})"


@lru_cache(maxsize=256)
def _type(name: str) -> str:
    """Read a type's name and write it again, so that nothing else can stand there."""
    return exp.DataType.build(name, dialect=_DIALECT, udt=True).sql(_DIALECT)


def _key_texts(table: SideTable) -> list[exp.Expr]:
    return [exp.cast(_parsed(column.expression), "text") for column in table.key]


def _filter(table: SideTable) -> list[exp.Expr]:
    return [exp.Paren(this=_parsed(table.where))] if table.where else []


def _parsed(text: str) -> exp.Expr:
    return sqlglot.parse_one(text, dialect=_DIALECT)


def _table(table: SideTable) -> exp.Table:
    return exp.table_(exp.to_identifier(table.name, quoted=True), db=exp.to_identifier(table.schema, quoted=True))


def _call(name: str, *arguments: exp.Expr) -> exp.Expr:
    return exp.Anonymous(this=name, expressions=list(arguments))


def _number(value: int) -> exp.Expr:
    return exp.Literal.number(value)
