"""Values of PostgreSQL's types as literals, with those near which digests of others went wrong."""

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

TYPES_SQL = """
CREATE TYPE mood AS ENUM ('good', 'bad', 'Bad ', '');
CREATE DOMAIN price AS numeric;
CREATE DOMAIN feeling AS mood;
CREATE DOMAIN label AS varchar(40);
CREATE DOMAIN counter AS int CHECK (VALUE IS NULL OR VALUE > -1000000000);
CREATE TYPE mixed AS (n numeric, m mood, t text, f float8);
CREATE TYPE span AS RANGE (subtype = numeric);
CREATE DOMAIN marks AS mood[];
"""

_CHARACTERS = st.characters(exclude_characters="\x00", exclude_categories=["Cs"])
TEXTS = st.one_of(st.sampled_from(["", " ", "a", "A", "a ", "NULL", "\\N", "é", "e\u0301", "ﬁ", "fi"]),
                  st.text(_CHARACTERS, max_size=20))  # fmt: skip
ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=10)
NUMBERS = st.one_of(
    st.sampled_from(["0", "0.0", "1", "1.0", "1.00", "1e3", "1000", "NaN", "Infinity", "-Infinity", "99999999999.98"]),
    st.tuples(st.integers(-(10**20), 10**20), st.integers(0, 20)).map(lambda n: f"{n[0]}e-{n[1]}"),
)
_ZEROS = ["0", "-0", "NaN", "Infinity", "-Infinity", "0.1", "0.30000000000000004", "1e-40"]
FLOATS = st.one_of(st.sampled_from(_ZEROS), st.floats().map(repr))
SINGLES = st.one_of(st.sampled_from(_ZEROS), st.floats(width=32).map(repr))
FINITE = st.one_of(st.sampled_from(["0", "-0", "0.1"]), st.floats(-1e6, 1e6).map(repr))
DAYS = st.one_of(st.sampled_from(["infinity", "-infinity", "4713-01-01 BC", "9999-12-31"]), st.dates().map(str))
MOMENTS = st.one_of(
    st.sampled_from(["infinity", "-infinity", "2026-03-29 01:30:00", "2026-03-29 01:30:00.000001"]),
    st.datetimes().map(str),
)
ZONED = st.one_of(
    st.sampled_from(["infinity", "2026-03-29 01:30:00+01", "2026-03-29 00:30:00+00"]),
    st.tuples(st.datetimes(), st.sampled_from(["+00", "+05:30", "-11"])).map(lambda t: f"{t[0]}{t[1]}"),
)
TIMES = st.one_of(st.sampled_from(["00:00", "24:00", "00:00:00.000001"]), st.times().map(str))
_SMALL = st.integers(-1000, 1000)
SPANS = st.one_of(
    st.sampled_from(["1 day", "24 hours", "1 mon", "30 days", "1 day -24 hours", "0"]),
    st.tuples(_SMALL, _SMALL, _SMALL).map(lambda t: f"{t[0]} mon {t[1]} day {t[2]} us"),
)
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _SMALL, TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)), max_leaves=5,
).map(lambda value: json.dumps(value, ensure_ascii=False))  # fmt: skip
DOCUMENTS = st.one_of(
    st.sampled_from(['{"a":1,"b":2}', '{"b":2,"a":1}', '{"a": 1}', '{"a":1,"a":2}', "1.0", "1.00", "[1, 2]", "-0"]),
    _JSON,
)
BITS = st.text("01", min_size=8, max_size=8)
HOSTS = st.one_of(st.ip_addresses().map(str), st.sampled_from(["10.0.0.0/8", "10.0.0.0", "10.0.0.1/8", "::1/64"]))
MOODS = st.sampled_from(["good", "bad", "Bad ", ""])
POINTS = st.tuples(FINITE, FINITE).map(lambda p: f"({p[0]},{p[1]})")


def array(items: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Write arrays with NULLs, some of them counted from another first index."""
    lists = st.lists(st.none() | items, max_size=3).map(array_literal)
    return st.one_of(lists, items.map(lambda one: "[0:0]={" + _quoted(one) + "}"))


def array_literal(items: Iterable[str | None]) -> str:
    return "{" + ",".join(map(_quoted, items)) + "}"


def composite(*fields: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    parts = st.tuples(*(st.none() | field for field in fields))
    return parts.map(lambda found: "(" + ",".join("" if one is None else _quoted(one) for one in found) + ")")


def interval_of(bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Write ranges whose lower end is not above the upper one."""
    ends = st.tuples(st.sampled_from("[("), bounds, bounds, st.sampled_from("])"))
    return st.one_of(
        ends.map(lambda e: f"{e[0]}{min(e[1], e[2])},{max(e[1], e[2])}{e[3]}"),
        st.sampled_from(["empty", "(,)", "[1,)", "(,1)", "[1,1]", "[1.0,1.00]"]),
    )


def _quoted(text: str | None) -> str:
    return "NULL" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


LITERALS: dict[str, st.SearchStrategy[str]] = {
    "int2": st.integers(-(2**15), 2**15 - 1).map(str),
    "int4": st.integers(-(2**31), 2**31 - 1).map(str),
    "int8": st.integers(-(2**63), 2**63 - 1).map(str),
    "oid": st.integers(0, 2**32 - 1).map(str),
    "bool": st.sampled_from(["t", "f"]),
    "numeric": NUMBERS,
    "numeric(12,2)": st.integers(-(10**11), 10**11).map(lambda n: f"{n}e-2"),
    "float4": SINGLES,
    "float8": FLOATS,
    "money": st.integers(-(10**12), 10**12).map(lambda n: f"{n / 100:.2f}"),
    "text": TEXTS,
    "varchar(40)": TEXTS,
    "char(30)": TEXTS,
    "bpchar": TEXTS,
    "name": ASCII,
    '"char"': st.one_of(st.integers(1, 91).map(chr), st.integers(128, 255).map(lambda n: f"\\{n:03o}")),
    "bytea": st.binary(max_size=20).map(lambda value: "\\x" + value.hex()),
    "uuid": st.uuids().map(str),
    "date": DAYS,
    "timestamp": MOMENTS,
    "timestamp(3)": MOMENTS,
    "timestamptz": ZONED,
    "time": TIMES,
    "timetz": st.tuples(TIMES, st.sampled_from(["+00", "+05:30", "-11"])).map("".join),
    "interval": SPANS,
    "json": DOCUMENTS,
    "jsonb": DOCUMENTS,
    "jsonpath": st.sampled_from(["$", "$.a", "$.b", "lax $.a[*]", "strict $.a[*]"]),
    "bit(8)": BITS,
    "varbit": st.text("01", max_size=20),
    "inet": HOSTS,
    "cidr": st.ip_addresses().map(str),
    "macaddr": st.binary(min_size=6, max_size=6).map(bytes.hex),
    "macaddr8": st.binary(min_size=8, max_size=8).map(bytes.hex),
    "point": POINTS,
    "lseg": st.tuples(POINTS, POINTS).map(lambda p: f"[{p[0]},{p[1]}]"),
    "box": st.tuples(POINTS, POINTS).map(lambda p: f"{p[0]},{p[1]}"),
    "path": st.lists(POINTS, min_size=1, max_size=3).map(lambda p: f"[{','.join(p)}]"),
    "polygon": st.lists(POINTS, min_size=1, max_size=3).map(lambda p: f"({','.join(p)})"),
    "circle": st.tuples(POINTS, st.integers(0, 9)).map(lambda c: f"<{c[0]},{c[1]}>"),
    "tsvector": st.sampled_from(["a b", "a:1 b", "a:1A b", "b a", "'a b'"]),
    "tsquery": st.sampled_from(["a & b", "a | b", "a <-> b", "!a", "a:*"]),
    "pg_lsn": st.integers(0, 2**32 - 1).map(lambda n: f"{n:X}/{n:X}"),
    "xid8": st.integers(0, 2**63).map(str),
    "int4range": interval_of(_SMALL).filter(lambda text: "." not in text),
    "numrange": interval_of(_SMALL),
    "int4multirange": interval_of(_SMALL).filter(lambda text: "." not in text).map(lambda text: "{" + text + "}"),
    "mood": MOODS,
    "price": NUMBERS,
    "feeling": MOODS,
    "label": TEXTS,
    "counter": st.integers(-(10**9) + 1, 2**31 - 1).map(str),
    "mixed": composite(NUMBERS, MOODS, TEXTS, FLOATS),
    "span": interval_of(_SMALL),
    "marks": array(MOODS),
    "int4[]": array(_SMALL.map(str)),
    "text[]": array(TEXTS),
    "numeric[]": array(NUMBERS),
    "float8[]": array(FLOATS),
    "mood[]": array(MOODS),
    "mixed[]": array(composite(NUMBERS, MOODS, TEXTS, FLOATS)),
    "bpchar[]": array(TEXTS),
    "jsonb[]": array(DOCUMENTS),
}
"""By type, as it is declared."""

NEAR: dict[str, list[tuple[str, str]]] = {
    "int8": [("-1", "4294967295"), ("1", "4294967296"), ("-2147483648", "2147483648")],
    "time": [("00:00:00.000001", "01:11:34.967296")],
    "numeric": [("1.1", "1.10"), ("0", "0.0"), ("NaN", "Infinity"), ("123456789012344", "123456789012345")],
    "float4": [("0", "-0"), ("NaN", "Infinity")],
    "float8": [("0", "-0"), ("0.3", "0.30000000000000004")],
    "text": [("", " "), ("a", "a "), ("a", "A"), ("é", "e\u0301")],
    "bytea": [(r"\x", r"\x00"), (r"\x61", r"\x6100")],
    "timestamp": [
        ("2000-01-01 00:00:00.000001", "2000-01-01 01:11:34.967296"),
        ("2026-03-29 01:30", "2026-03-29 01:30:00.000001"),
        ("infinity", "-infinity"),
    ],
    "timestamptz": [
        ("2000-01-01 00:00:00.000001+00", "2000-01-01 01:11:34.967296+00"),
        ("2026-03-29 01:30+00", "2026-03-29 01:30+01"),
    ],
    "timetz": [("12:00+00", "13:00+01")],
    "interval": [("1 day", "24 hours"), ("1 mon", "30 days")],
    "json": [('{"a":1,"b":2}', '{"b":2,"a":1}'), ('{"a":1}', '{"a":2,"a":1}'), ("[1,2]", "[1, 2]")],
    "jsonb": [("1.0", "1.00"), ('{"a":[1.0]}', '{"a":[1.00]}')],
    "varbit": [("0", "00"), ("", "0")],
    "inet": [("10.0.0.1", "10.0.0.1/24")],
    "point": [("(0,0)", "(1e-7,0)"), ("(0,0)", "(-0,0)")],
    "circle": [("<(0,0),1>", "<(5,5),1>")],
    "box": [("(1,1),(0,0)", "(2,0.5),(1,-0.5)")],
    "numrange": [("[1.0,2)", "[1.00,2)"), ("empty", "(,)")],
    "price": [("1.0", "1.00")],
    "mood": [("good", "bad"), ("bad", "Bad "), ("", "good")],
    "mixed": [("(1.0,,,)", "(1.00,,,)"), ("(,,,0)", "(,,,-0)"), ("(,,,)", '(,,"",)'), ("(,good,,)", "(,bad,,)")],
    "int4[]": [("{1}", "[0:0]={1}"), ("{1,NULL}", "{NULL,1}"), ("{{1,2}}", "{1,2}")],
    "text[]": [('{"NULL"}', "{NULL}"), ('{"a,b"}', "{a,b}"), ("{}", '{""}')],
    "numeric[]": [("{1.0}", "{1.00}")],
    "float8[]": [("{0}", "{-0}")],
    "jsonb[]": [('{"1.0"}', '{"1.00"}')],
    "mood[]": [("{good,bad}", "{bad,good}")],
    "mixed[]": [('{"(1.0,,,)"}', '{"(1.00,,,)"}')],
}
"""Pairs that the type, its hash or other comparers call equal."""
