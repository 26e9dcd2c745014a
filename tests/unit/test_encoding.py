"""Which form a column's type calls for, and which types both sides order alike."""

import pytest

from comparators.encoding import FAMILIES, ORDERED, ColumnType, bound_type, form_of
from comparators.tables import Form
from comparators.vectors import PRINTED, VECTORS
from tests.literals import LITERALS


def form(source: ColumnType | str, target: ColumnType | str | None = None, disagreeing: tuple[str, ...] = ()) -> Form:
    left, right = (ColumnType(one) if isinstance(one, str) else one for one in (source, target or source))
    assert form_of(left, right, disagreeing)[0] == form_of(right, left, disagreeing)[0]
    return form_of(left, right, disagreeing)[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_types_whose_equality_is_that_of_their_text_are_hashed_as_they_are(name: str):
    assert Form.NATIVE == form(name)


@pytest.mark.parametrize(
    "name", ["numeric", "jsonb", "json", "xml", "money", "bit", "varbit", "interval", "float4", "float8", "timetz",
             "tsvector", "point", "circle", "name", "_int4", "_text", "int4range", "pg_lsn"],
)  # fmt: skip
def test_types_whose_equality_blurs_or_that_have_no_hash_are_hashed_as_text(name: str):
    assert Form.TEXT == form(name)


@pytest.mark.parametrize(
    "kind",
    [
        ColumnType("mood", "public", "e"),
        ColumnType("mixed", "public", "c"),
        ColumnType("span", "public", "r"),
        ColumnType("citext", "public"),
        ColumnType("_mood", "public", element="mood"),
        ColumnType("int4", "public", "c"),
        ColumnType("text", "odd", "e"),
    ],
)
def test_types_that_somebody_made_are_hashed_as_text_whatever_their_name(kind: ColumnType):
    assert (Form.TEXT, None) == (form(kind), bound_type(kind, kind))


@pytest.mark.parametrize(("source", "target"), [("int4", "int8"), ("int2", "int4"), ("varchar", "text")])
def test_a_widened_column_is_hashed_as_it_is(source: str, target: str):
    assert Form.NATIVE == form(source, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [("int4", "oid"), ("bpchar", "text"), ("timestamp", "timestamptz"), ("int4", "numeric"), ("inet", "cidr"),
     ("json", "jsonb"), ("date", "timestamp"), ("uuid", "text"), ("name", "text")],
)  # fmt: skip
def test_types_that_differ_are_hashed_as_text(source: str, target: str):
    assert Form.TEXT == form(source, target)


def test_a_type_that_the_servers_hash_differently_is_hashed_by_sha():
    assert Form.SHA256 == form("date", disagreeing=("date",))
    assert Form.SHA256 == form("int4", "int8", disagreeing=("int8",))
    assert Form.NATIVE == form("int4", disagreeing=("date",))
    assert Form.SHA256 == form("numeric", disagreeing=("text",))


def test_every_form_has_its_reason():
    kinds = [ColumnType(name) for name in (*VECTORS, *PRINTED)] + [ColumnType("mood", "public", "e")]
    reasons = {form_of(one, other, odd)[1] for one in kinds for other in kinds for odd in ((), ("text", "date"))}
    assert "" not in reasons
    assert form_of(kinds[-1], kinds[-1], ())[1] == "an enum's hash depends on the database"


def test_every_type_that_is_hashed_as_it_is_has_vectors_and_tests():
    assert set(FAMILIES) == set(VECTORS)
    tested = {name.split("(")[0] for name in LITERALS} | {"bpchar"}
    assert set() == (set(VECTORS) | set(PRINTED)) - tested


def test_a_bound_is_cast_to_a_type_that_both_indexes_take():
    assert {"int4": "int4", "int8": "int8", "text": "text", "varchar": "text", "numeric": "numeric"} == {
        name: bound_type(ColumnType(name), ColumnType(name)) for name in ("int4", "int8", "text", "varchar", "numeric")
    }
    assert ["int8", "text", None, None] == [
        bound_type(ColumnType(one), ColumnType(other))
        for one, other in (("int4", "int8"), ("varchar", "text"), ("bpchar", "text"), ("float4", "float8"))
    ]
    assert all(bound_type(ColumnType(name), ColumnType(name)) is not None for name in ORDERED)


def test_a_type_is_named_for_sql_without_its_modifiers():
    assert ["int4", "bpchar", '"pg_catalog"."char"', '"Odd"."a""b"'] == [
        kind.sql
        for kind in (ColumnType("int4"), ColumnType("bpchar"), ColumnType("char"), ColumnType('a"b', "Odd", "e"))
    ]
