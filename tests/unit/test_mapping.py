from pathlib import Path

import pytest

from auditor.mapping_file import load_mapping
from comparators.errors import SettingInvalid
from comparators.expressions import read_expression
from comparators.mapping import NO_MAPPING, ColumnRules
from comparators.positions import Side

RULES = """
tables:
  public.orders:
    target: sales.purchases
    rename: {customer: buyer}
    exclude: [note]
    cast:
      total: {source: "(total * 100)::bigint"}
      created: {source: "created::timestamptz(3)", target: "created::timestamptz(3)"}
      customer: {target: "lower(buyer)"}
    filter: {source: "tenant = 7", target: "NOT archived"}
"""
ON_SOURCE = {"id", "customer", "note", "total", "created", "tenant"}
ON_TARGET = {"id", "buyer", "total", "created", "archived"}


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "mapping.yaml"
        file.write_text(text)
        return file

    return write


def rules_of(file: Path) -> ColumnRules:
    return load_mapping(file).columns("public.orders")


def test_a_table_without_rules_is_compared_as_it_is(written):
    for mapping in (NO_MAPPING, load_mapping(None), load_mapping(written(RULES))):
        rules = mapping.columns("public.other")
        assert mapping.target_of("public.other") == "public.other"
        assert (rules.target_name("id"), rules.excluded) == ("id", frozenset())
        assert rules.expression(Side.SOURCE, "id") is rules.where("target") is None
        rules.check(["id"], ["id"])


def test_tables_and_columns_are_renamed(written):
    file = written(RULES)
    assert load_mapping(file).target_of("public.orders") == "sales.purchases"
    assert rules_of(file).target_name("customer") == "buyer"
    assert rules_of(file).target_name("total") == "total"
    assert rules_of(file).excluded == {"note"}


def test_each_side_has_its_own_expressions_and_filter(written):
    rules = rules_of(written(RULES))
    assert rules.expression(Side.SOURCE, "total") == 'CAST(("total" * 100) AS BIGINT)'
    assert rules.expression(Side.TARGET, "total") is None
    assert rules.expression("target", "customer") == 'LOWER("buyer")'
    assert rules.expression("source", "created") == rules.expression("target", "created")
    assert (rules.where("source"), rules.where("target")) == ('"tenant" = 7', 'NOT "archived"')


def test_rules_that_fit_the_columns_of_both_sides_pass(written):
    rules_of(written(RULES)).check(ON_SOURCE, ON_TARGET)


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        (ON_SOURCE - {"tenant"}, ON_TARGET, "filter.source: 'tenant' is not a column of the table on the source"),
        (ON_SOURCE, ON_TARGET - {"archived"}, "filter.target: 'archived' is not a column of the table on the target"),
        (ON_SOURCE - {"total"}, ON_TARGET, "cast.total.source: 'total' is not a column"),
        (ON_SOURCE - {"customer"}, ON_TARGET, "rename.customer: 'customer' is not a column"),
        (ON_SOURCE, ON_TARGET - {"buyer"}, "rename.customer: 'buyer' is not a column of the table on the target"),
        (ON_SOURCE - {"note"}, ON_TARGET, "exclude: 'note' is not a column of the table on either side"),
        (ON_SOURCE | {"buyer"}, ON_TARGET, "rename.customer: 'buyer' is also the name of a column that stays"),
    ],
)
def test_a_rule_that_names_no_column_is_refused_before_anything_is_read(written, source, target, message):
    with pytest.raises(SettingInvalid) as caught:
        rules_of(written(RULES)).check(source, target)
    assert f"mapping.yaml: tables.public.orders.{message}" in str(caught.value)


def test_two_columns_may_change_names(written):
    rules = rules_of(written("tables: {public.orders: {rename: {a: b, b: a}}}"))
    rules.check(["a", "b"], ["a", "b"])
    assert (rules.target_name("a"), rules.target_name("b")) == ("b", "a")


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("{}", "a mapping is not a mapping with target, rename"),
        ("{renam: {a: b}}", "renam: unknown key"),
        ("{target: purchases}", "target: 'purchases' is not a table, schema.table"),
        ("{rename: {a: c, b: c}}", "rename: 'c' is the new name of a, b"),
        ("{exclude: a}", "exclude: 'a' is not a list of columns"),
        ("{exclude: [a], rename: {a: b}}", "exclude: 'a' has another rule too"),
        ("{exclude: [a], cast: {a: {source: a}}}", "exclude: 'a' has another rule too"),
        ("{cast: {a: {}}}", "cast.a: a mapping is not {source: EXPRESSION, target: EXPRESSION}"),
        ("{cast: {a: {both: a}}}", "cast.a.both: unknown key"),
        ("{cast: {a: {source: 'lower(b)'}}}", "cast.a.source: 'lower(b)' does not read the column 'a'"),
        ("{rename: {a: b}, cast: {a: {target: 'lower(a)'}}}", "cast.a.target: 'lower(a)' does not read the column 'b'"),
        ("{cast: {a: {source: '0'}}}", "cast.a.source: '0' reads no column"),
        ("{filter: {source: 'false'}}", "filter.source: 'false' reads no column"),
        ("{filter: {source: 'id in (select 1)'}}", "filter.source: 'id in (select 1)' uses a subquery"),
    ],
)
def test_an_error_names_file_place_value_and_reason(written, rules, message):
    file = written(f"tables: {{public.orders: {rules}}}")
    with pytest.raises(SettingInvalid) as caught:
        load_mapping(file)
    assert f"{file}: tables.public.orders{'' if rules == '{}' else '.'}" in str(caught.value)
    assert message in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["tables: {orders: {target: a.b}}", "tabels: {}", "{}", "- a", "tables: {a.b: {"])
def test_a_file_of_another_shape_is_refused(written, text):
    with pytest.raises(SettingInvalid, match=r"mapping\.yaml: "):
        load_mapping(written(text))


@pytest.mark.parametrize(
    ("text", "sql"),
    [
        ("Total * 100", '"total" * 100'),
        ('"Total" * 100', '"Total" * 100'),
        ("a::int2", 'CAST("a" AS SMALLINT)'),
        ("a::timestamp(3) with time zone", 'CAST("a" AS TIMESTAMPTZ(3))'),
        ("date_trunc('milliseconds', a)", "DATE_TRUNC('MILLISECONDS', \"a\")"),
        ("a at time zone 'UTC'", "\"a\" AT TIME ZONE 'UTC'"),
        ("case when a is null then '' else trim(both ' ' from a) end",
         "CASE WHEN \"a\" IS NULL THEN '' ELSE TRIM(BOTH ' ' FROM \"a\") END"),
        ("a like 'it''s %' or a in ('x', 'y')", "\"a\" LIKE 'it''s %' OR \"a\" IN ('x', 'y')"),
        ("a /* b */ -- c", '"a"'),
        ("user", '"user"'),
    ],
)  # fmt: skip
def test_an_expression_is_written_anew_with_every_name_in_quotes(text, sql):
    assert read_expression(text).sql == sql


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "a; drop table orders", "a); drop table orders --", "select a", "a in (select 1)",
        "exists(select 1)",
        "(select secret from other)", "other.a", "public.other.a", "(a).b", "a[1]", "*", "a.*", "(a, b)", "row(a)",
        "now()", "current_timestamp", "current_date", "localtimestamp", "current_user", "session_user", "random()",
        "clock_timestamp() > a", "nextval('s') + a", "pg_sleep(a)", "pg_read_file(a)", "lo_import(a)", "dblink(a, b)",
        "set_config(a, 'x', false)", "query_to_xml(a, true, true, '')", "pg_catalog.lower(a)", "evil.lower(a)",
        "count(a)", "sum(a) over ()", "generate_series(1, a)", "unnest(a)", "a = any(array[1])", "lower(distinct a)",
        "a::regclass", "a::evil", "a::public.evil", "a::int[]", "a::money", 'a::"char"', 'a collate "C"',
        "a::varchar(b)", "date_trunc(b, a)", "date_trunc('now()', a)", "a at time zone b", "a > 'now'", "a > 'Today '",
        "('n' || left(a, 0) || 'ow')::timestamptz", "date 'yesterday' < a", "E'x' || a", "a || 'x\\'", "$$x$$ || a",
        "U&'x' || a", "x'ff' || a", "a || :b", "a || $1", "a = ?", "a = %s", "%(a)s", "@a", "a ~ 'x'", "1", "null",
        "true",
        "update orders set a = 1", "copy orders to program 'x'", "call evil()", "do $$ begin end $$", "set a = 1",
        "a\x00b", "a as b", "a b", "a -> 'b'", "operator(evil.+)(a, b)", "a operator(evil.+) b", "grouping(a)",
        "(" * 900 + "a" + ")" * 900, "a" * 3000, "-" * 1500 + "a",
    ],
)  # fmt: skip
def test_what_is_not_a_plain_expression_over_the_row_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        read_expression(text)
