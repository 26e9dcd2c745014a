"""SQL of the row audit: what both servers are asked, generated for each side from one description of the table.

Values of keys travel as parameters, never in the text of a statement: they would show in logs and in pg_stat_activity.
"""

from collections.abc import Sequence
from functools import lru_cache

import sqlglot
from sqlglot import exp

from comparators.tables import DigestColumn, Form, KeyColumn, SideTable

_DIALECT = "postgres"
_GIVEN = "auditor_given"
"""What the parameters are called in a query: no table of the user's should have that name."""
LAST = 1_000_000_000
"""Number of the segment that has no upper bound."""
PAGE_ROWS = 8
"""Rows sampled of a page."""
PARTS = 64
"""Into which a range is divided to find its rows that differ."""
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
        whole = _call("hash_record_extended", _call("row", *values), exp.cast(_number(seed), "bigint"))
        # it adds up the hashes of the columns: in a sum over rows, values exchanged between rows would cancel out
        return _call("hashfloat8extended", exp.cast(whole, "float8"), exp.cast(_number(seed), "bigint"))
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
def segments_digest(table: SideTable, inner: bool, ends: Bounded, seed: int, sha: bool) -> str:
    """Write the query for count and digest of neighbouring segments, all in one snapshot.

    Args:
        inner: segments with both bounds take part; their bounds are the first parameters, as `over_ranges` says.
        ends: whether the first and the last segment have an end of their own. One that has not adds a parameter for
            each column of the key: the bound below which the first lies, then that from which the last does.
    Returns:
        SQL whose rows are (segment's number, rows, sum of hashes): 0 the first without a lower bound, then those with
        both, then `LAST`.
    """
    counted = _counted(table, seed, sha)
    width = len(table.key)
    place = 2 * width if inner else 0
    pieces = []
    if inner:
        pieces.append(over_ranges(table, exp.select(*(one.copy() for one in counted))))
    if not ends[0]:
        pieces.append(_single(table, counted, 0, [_compare(table, exp.LT, _parameters(table, place))]))
        place += width
    if not ends[1]:
        pieces.append(_single(table, counted, LAST, [_compare(table, exp.GTE, _parameters(table, place))]))
    return " UNION ALL ".join(pieces)


@lru_cache(maxsize=512)
def whole_digest(table: SideTable, seed: int, sha: bool) -> str:
    """Write the query for count and digest of a table that is one segment."""
    return _single(table, _counted(table, seed, sha), 0, [])


def _counted(table: SideTable, seed: int, sha: bool) -> list[exp.Expr]:
    total = _call("coalesce", exp.Sum(this=row_hash(table, seed, sha)), _number(0))
    return [exp.alias_(exp.Count(this=exp.Star()), "rows"), exp.alias_(total, "total")]


def _single(table: SideTable, counted: Sequence[exp.Expr], number: int, where: list[exp.Expr]) -> str:
    query = exp.select(_number(number), *(one.copy() for one in counted)).from_(_table(table))
    return query.where(*where, *_filter(table)).sql(_DIALECT)


def over_ranges(table: SideTable, inner: exp.Select, more: str = "") -> str:
    """Write a query over many ranges of the key as one loop over its index: grouping would cost each row more.

    The parameters are arrays: lower bounds, one array for each column of the key, then upper bounds. So the text is
    the same for any number of ranges.

    Args:
        inner: what is asked of each range.
        more: another array that belongs to the ranges, of type bigint, as `more`.
    """
    width = len(table.key)
    names = [f"b{place}" for place in range(2 * width)]
    arrays = [_array(place, table.key[place % width]) for place in range(2 * width)] + ([more] if more else [])
    given = [*names, *(["more"] if more else [])]
    low = [exp.column(name, table=_GIVEN) for name in names[:width]]
    high = [exp.column(name, table=_GIVEN) for name in names[width:]]
    asked = inner.from_(_table(table)).where(_compare(table, exp.GTE, low), _compare(table, exp.LT, high))
    asked = asked.where(*_filter(table))
    return (
        f"SELECT {_GIVEN}.n, x.* FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS {_GIVEN}({', '.join(given)}, n), "
        f"LATERAL ({asked.sql(_DIALECT)}) AS x"
    )


@lru_cache(maxsize=512)
def narrow_ranges(table: SideTable, seed: int, sha: bool) -> str:
    """Write the query that tells in which part of each range the digests differ.

    Returns:
        SQL whose rows are (range's number from 1, part, rows, sum of hashes); a row's part is told by its key's hash.
    """
    hashed = exp.alias_(row_hash(table, seed, sha), "h")
    rows = over_ranges(table, exp.select(exp.alias_(_part(table, seed, sha), "part"), hashed))
    return f"SELECT n, part, count(*), sum(h) FROM ({rows}) AS r GROUP BY n, part"


@lru_cache(maxsize=512)
def list_ranges(table: SideTable, seed: int, sha: bool) -> str:
    """Write the query that lists key and hash of each row in some parts of each range.

    The last array of parameters names the parts, each by its bit.
    """
    keys = [exp.alias_(text, f"k{place}") for place, text in enumerate(_key_texts(table))]
    chosen = sqlglot.parse_one(f"({_GIVEN}.more >> {_part(table, seed, sha).sql(_DIALECT)}) & 1 = 1", dialect=_DIALECT)
    hashed = exp.alias_(row_hash(table, seed, sha), "h")
    part = f"CAST(${2 * len(table.key) + 1} AS BIGINT[])"
    return over_ranges(table, exp.select(*keys, hashed).where(exp.Paren(this=chosen)), part)


def _part(table: SideTable, seed: int, sha: bool) -> exp.Expr:
    hashed = _hash(_key_texts(table), seed, sha)
    return exp.cast(exp.Paren(this=exp.BitwiseAnd(this=exp.Paren(this=hashed), expression=_number(PARTS - 1))), "int")


@lru_cache(maxsize=512)
def list_rows(table: SideTable, ends: Bounded, seed: int, sha: bool) -> str:
    """Write the query that lists key and hash of each row of a range; its bounds are the parameters, lower first."""
    query = exp.select(*_key_texts(table), row_hash(table, seed, sha)).from_(_table(table))
    return query.where(*_range(table, ends), *_filter(table)).sql(_DIALECT)


@lru_cache(maxsize=512)
def rows_by_key(table: SideTable, seed: int, sha: bool) -> str:
    """Write the query that reads rows by their keys: one array of parameters for each column of the key.

    Returns:
        SQL whose rows are (key's number from 1, which version of the row it is, xmin, hash).
    """
    version = sqlglot.parse_one("CAST(tableoid AS text) || CAST(ctid AS text)", dialect=_DIALECT)
    xmin = exp.cast(exp.column("xmin"), "text")
    named = [("version", version), ("xmin", xmin), ("hash", row_hash(table, seed, sha))]
    return _by_key(table, [exp.alias_(value, name) for name, value in named])


@lru_cache(maxsize=512)
def column_hashes(table: SideTable, seed: int, sha: bool) -> str:
    """Write the query that reads the hash of every column by itself, of rows by their keys."""
    values = [
        exp.alias_(_hash([_value(column, sha)], seed, sha), f"c{number}") for number, column in enumerate(table.columns)
    ]
    return _by_key(table, values)


@lru_cache(maxsize=512)
def hashes_by_key(table: SideTable, seed: int, sha: bool, place: int = 0) -> str:
    """Write the query that reads the hashes of rows by their keys: (key's number from 1, hash).

    Args:
        place: how many parameters stand before its own.
    """
    return _by_key(table, [exp.alias_(row_hash(table, seed, sha), "hash")], place)


@lru_cache(maxsize=512)
def newest_hashes(table: SideTable, rows: int, seed: int, sha: bool) -> str:
    """Write the query that reads the hashes of the rows whose keys come last, in no order."""
    key = ", ".join(f"{_parsed(column.expression).sql(_DIALECT)} DESC" for column in table.key)
    query = exp.select(exp.alias_(row_hash(table, seed, sha), "hash")).from_(_table(table)).where(*_filter(table))
    return f"{query.sql(_DIALECT)} ORDER BY {key} LIMIT {rows}"


def last_in_file(table: SideTable, rows: int) -> str:
    """Write the query for the keys of some rows at the end of a table's file, where new rows are often put."""
    name = _table(table).sql(_DIALECT)
    size = f"pg_relation_size(CAST({exp.Literal.string(name).sql(_DIALECT)} AS regclass))"
    page = f"greatest({size} / CAST(current_setting('block_size') AS bigint) - 2, 0)"
    query = exp.select(*_key_texts(table)).from_(_table(table)).where(*_filter(table))
    joint = "AND" if table.where else "WHERE"
    return f"{query.sql(_DIALECT)} {joint} ctid >= CAST('(' || {page} || ',0)' AS tid) LIMIT {rows}"


def _by_key(table: SideTable, columns: Sequence[exp.Expr], first: int = 0) -> str:
    names = [f"k{place}" for place in range(len(table.key))]
    arrays = [_array(place, column) for place, column in enumerate(table.key, start=first)]
    inner = exp.select(*columns).from_(_table(table))
    for name, column in zip(names, table.key, strict=True):
        inner = inner.where(exp.EQ(this=_parsed(column.expression), expression=exp.column(name, table=_GIVEN)))
    inner = inner.where(*_filter(table))
    return (
        f"SELECT {_GIVEN}.n, x.* FROM unnest({', '.join(arrays)}) WITH ORDINALITY AS {_GIVEN}({', '.join(names)}, n), "
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


def sample_keys(table: SideTable, every: int, *, percent: float = 100, pages: tuple[int, int] | None = None) -> str:
    """Write the query for every n-th key of a sample of the table, in order.

    Args:
        percent: of pages taken at random.
        pages: how many pages there are, and how far apart those lie of which the first rows are taken: the more even
            way, for tables that are no partitioned ones.
    """
    key = ", ".join(_parsed(column.expression).sql(_DIALECT) for column in table.key)
    texts = ", ".join(f"{text.sql(_DIALECT)} AS k{place}" for place, text in enumerate(_key_texts(table)))
    some = f" TABLESAMPLE SYSTEM ({percent:f})" if percent < 100 else ""
    if pages is not None:
        spread = f"generate_series(0, {pages[0] - 1}, {pages[1]}) AS p, generate_series(1, {PAGE_ROWS}) AS o"
        some = f" WHERE ctid = ANY(ARRAY(SELECT CAST('(' || p || ',' || o || ')' AS tid) FROM {spread}))"
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
        conditions.append(_compare(table, exp.GTE, _parameters(table, 0)))
    if ends[1]:
        conditions.append(_compare(table, exp.LT, _parameters(table, len(table.key) if ends[0] else 0)))
    return conditions


def _parameters(table: SideTable, first: int) -> list[exp.Expr]:
    """Write one bound as parameters from a place on."""
    return [
        sqlglot.parse_one(f"CAST(${first + place + 1} AS {_type(column.type)})", dialect=_DIALECT)
        for place, column in enumerate(table.key)
    ]


def _array(place: int, column: KeyColumn) -> str:
    return f"CAST(${place + 1} AS {_type(column.type)}[])"


def _compare(table: SideTable, operator: type[exp.Binary], bound: Sequence[exp.Expr]) -> exp.Expr:
    key = [_parsed(column.expression) for column in table.key]
    if len(key) == 1:
        return operator(this=key[0], expression=bound[0])
    return operator(this=exp.Tuple(expressions=key), expression=exp.Tuple(expressions=list(bound)))


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
