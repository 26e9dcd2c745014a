"""Values on which two servers must agree before their own hashes are compared: the edges of each type, as literals."""

from collections.abc import Mapping

_TEXTS = ("", "a", "A", " a", "a ", "ab", "0123456789ab", "0123456789abc", "quick brown foxes jump over lazy dogs")
_DAYS = ("2000-01-01", "1999-12-31", "2026-03-29", "0001-01-01", "4713-01-01 BC", "9999-12-31", "infinity", "-infinity")
_TIMES = (*_DAYS, "2026-03-29 01:30:00.000001", "1883-11-18 12:03:57.999999", "2000-01-01 00:00:00.1")
_FLOATS = ("0", "-0", "1", "0.1", "-1.5", "1e-30", "3.4028235e38", "NaN", "Infinity", "-Infinity")

BEYOND_ASCII: tuple[str, ...] = ("é", "e\u0301", "ß", "İ", "漢字", "😀")
"""More texts, for servers whose encoding is UTF-8."""

VECTORS: Mapping[str, tuple[str, ...]] = {
    "int2": ("0", "1", "-1", "32767", "-32768"),
    "int4": ("0", "1", "-1", "2147483647", "-2147483648"),
    "int8": ("0", "1", "-1", "4294967296", "9223372036854775807", "-9223372036854775808"),
    "oid": ("0", "1", "4294967295"),
    "bool": ("t", "f"),
    "text": _TEXTS,
    "varchar": _TEXTS,
    "bpchar": _TEXTS,
    "bytea": (r"\x", r"\x00", r"\xff", r"\x0001", r"\x00112233445566778899aabb", r"\x00112233445566778899aabbccddeeff"),
    "uuid": ("00000000-0000-0000-0000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff",
             "01234567-89ab-4def-8123-456789abcdef"),
    "date": _DAYS,
    "timestamp": _TIMES,
    "timestamptz": (
        "2000-01-01 00:00+00", "4713-01-02 00:00+00 BC", "infinity", "-infinity", "2026-03-29 01:30:00.000001+00",
        "1883-11-18 12:03:57.999999-05:30",
    ),
    "time": ("00:00", "24:00", "12:34:56.789012", "00:00:00.000001"),
    "inet": ("0.0.0.0", "10.1.2.3", "10.1.2.3/8", "255.255.255.255", "::", "::ffff:10.1.2.3", "2001:db8::1/64"),
    "cidr": ("0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32"),
    "macaddr": ("00:00:00:00:00:00", "08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"),
}  # fmt: skip
"""Types that are digested as they hash themselves."""

PRINTED: Mapping[str, tuple[str, ...]] = {
    "numeric": ("0", "0.0", "1.10", "-1.1", "NaN", "Infinity", "-Infinity", "1e-20", "123456789012345678901234567.5"),
    "float4": _FLOATS,
    "float8": (*_FLOATS, "1e308", "4.9e-324", "0.30000000000000004"),
    "interval": ("0", "1 day", "24 hours", "-1 day +01:00", "1 mon -1 us", "178000000 years", "P1Y2M3DT4H5M6.7S"),
    "timetz": ("00:00+00", "24:00-15:59", "12:34:56.789012+05:30"),
    "json": ('{"b": 1,  "a": 1.0, "a": 2}', '"\\u00e9"', "null", "[1.10]"),
    "jsonb": ('{"b": 1,  "a": 1.0, "a": 2}', '{"bb": 1, "a": -0.0}', '"\\u0001"', "null", "[1.10, 1e3]"),
    "money": ("0", "1234567.89", "-0.01"),
    "bit": ("0", "1"),
    "varbit": ("", "1", "0101010101"),
    "point": ("(0,-0)", "(0.1,1e300)"),
    "tsvector": ("a:1A fat:2B,4C", "'it''s'"),
    "int4range": ("empty", "[1,5]", "(,5)", "(,)"),
}
"""Types that are digested as they print."""
