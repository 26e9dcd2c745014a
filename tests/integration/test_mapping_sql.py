from comparators.expressions import read_expression

TABLE = """
CREATE TABLE t (a int, b numeric, c text, e timestamptz, f boolean, g bytea, h double precision);
INSERT INTO t VALUES
  (7, 12.345, '  It''s 50%  ', '2026-02-28 23:59:59.123456+02', true, '\\x00ff', 1e30),
  (-7, -0.005, '', '1969-12-31 12:00:00.9999995Z', false, '', '-0'),
  (0, 'NaN', '42', 'epoch', NULL, '\\x27', 'Infinity'), (NULL, NULL, NULL, NULL, NULL, NULL, NULL)
"""
EXPRESSIONS = [
    "a::bigint * 100 - -3", "-a % 4 = 1 or not f", "b::numeric(12,2)", "round(b, 2) || 'x'", "trunc(b)", "-(-b)",
    "lower(trim(both ' ' from c))", "btrim(c, ' I')", "ltrim(c)", "left(c, 3) || right(c, 2)", "c in ('', '42')",
    "substr(c, 3, 4)", "substring(c from 3)", "replace(c, '%', '')", "length(c)", "md5(c)", "nullif(c, '')",
    "c like '%50\x25%'", "a not in (1, 7) and c is not null", "e::timestamptz(3)", "date_trunc('milliseconds', e)",
    "e at time zone 'UTC'", "(e at time zone 'UTC')::date", "extract(epoch from e)",
    "e > timestamptz '2000-01-01 00:00Z'",
    "coalesce(f, a > 0, false)", "f is true", "encode(g, 'hex')", "case a when 7 then b else h::numeric end",
    "case when a between 0 and 9 then 'digit' when a < 0 then 'below' else 'none' end", "h::real::text",
    "greatest(a, b, 1.5)", "a is distinct from b", "abs(b) / 7", "f::text::varchar(2)", "a::text::char(3)", "1e3 + a",
    ".5 + b", "a = 7 and b > 0 or f", "(a = 7 or f) and b < 0",
]  # fmt: skip


def test_an_expression_written_anew_means_the_same_on_both_servers(pair):
    written = {text: read_expression(text).sql for text in EXPRESSIONS}
    tests = ", ".join(f"count(*) FILTER (WHERE ({text}) IS DISTINCT FROM ({sql}))" for text, sql in written.items())
    for database in (pair.source, pair.target):
        database.execute(TABLE)
        ((counts),) = database.rows(f"SELECT {tests} FROM t")
        assert [text for text, count in zip(written, counts, strict=True) if count] == []
