import contextlib
import re

from hypothesis import given
from hypothesis import strategies as st

from comparators.expressions import read_expression

NAMES = st.sampled_from(["a", "b", '"C d"', '"q""uote"'])
LITERALS = st.integers(0, 10**6).map(str) | st.text(
    st.characters(codec="utf-8", exclude_categories=["C"], exclude_characters="\\"), max_size=8
).map(lambda text: "'" + text.replace("'", "''") + "'")
TYPES = st.sampled_from(["text", "bigint", "numeric(12,2)", "timestamptz(3)", "varchar(5)", "boolean", "uuid"])
FUNCTIONS = st.sampled_from(["lower", "upper", "abs", "length", "md5", "trim", "coalesce", "floor"])
OPERATORS = st.sampled_from(["+", "-", "*", "/", "||", "=", "<>", "<=", "and", "or", "is distinct from"])


def grown(inner):
    return st.one_of(
        st.tuples(inner, OPERATORS, inner).map(lambda parts: f"({parts[0]}) {parts[1]} ({parts[2]})"),
        st.tuples(inner, TYPES).map(lambda parts: f"({parts[0]})::{parts[1]}"),
        st.tuples(FUNCTIONS, inner).map(lambda parts: f"{parts[0]}({parts[1]})"),
        st.tuples(inner, inner, inner).map("case when {0[0]} = 1 then {0[1]} else {0[2]} end".format),
        inner.map(lambda text: f"-({text})"),
    )


ALLOWED = st.recursive(NAMES | LITERALS, grown, max_leaves=6)
FRAGMENTS = st.sampled_from(
    ["a", "b", "1", "'x'", "''", "(", ")", ",", ".", ";", "--", "/*", "*/", "$$", "$x$", "'", '"', "\\", "::", "int",
     "regclass", "evil", "select", "from", "other", "where", "union", "now()", "pg_sleep(1)", "lower(", "evil(", "case",
     "when", "then", "end", "+", "||", "@", "?", ":x", "%s", "in", "any", "array[", "]", "as", "collate", "over", "E'",
     "U&'", "x'", "\n", "at time zone", "interval", "date", "with", "returning", "drop table t",
     "\x00", "\u2028", "\ufeff"]
)  # fmt: skip
SOUP = st.lists(FRAGMENTS, max_size=14).map(" ".join) | st.lists(FRAGMENTS, max_size=14).map("".join)
WORD = re.compile(r"[A-Za-z_]+")
SPOKEN = re.compile(
    "CAST|AS|TEXT|BIGINT|DECIMAL|TIMESTAMPTZ|VARCHAR|BOOLEAN|UUID|INT|DATE|INTERVAL|"
    "CASE|WHEN|THEN|ELSE|END|AND|OR|NOT|IS|IN|NULL|TRUE|FALSE|DISTINCT|FROM|BETWEEN|LIKE|LOWER|UPPER|ABS|LENGTH|MD|TRIM|COALESCE|FLOOR|AT|TIME|ZONE"
)


def outside_quotes(sql):
    return re.sub(r"'([^']|'')*'|\"([^\"]|\"\")*\"", " ", sql)


@given(ALLOWED)
def test_what_was_written_reads_the_same_again(text):
    with contextlib.suppress(ValueError):  # a word that moves, a literal that is no time, no column at all
        once = read_expression(text)
        assert read_expression(once.sql) == once


@given(SOUP | st.text(max_size=40))
def test_nothing_passes_but_known_words_around_quoted_names(text):
    """The servers see names in quotes, plain literals and a short list of words, whatever was given."""
    try:
        read = read_expression(text)
    except ValueError:
        return
    bare = outside_quotes(read.sql)
    assert [word for word in WORD.findall(bare) if not SPOKEN.fullmatch(word)] == []
    assert not set(bare) & set("';\"\\$@?{}[]\x00")
    assert "--" not in bare
    assert "/*" not in bare
    assert read.columns


@given(
    ALLOWED, st.sampled_from(["pg_sleep(1)", "(select 1)", "now()", "other.a", "random()", "a::regclass", "evil(a)"])
)
def test_one_bad_part_spoils_the_whole(text, bad):
    for spoiled in (f"({text}) = {bad}", f"coalesce({bad}, {text})", f"case when a = 1 then {text} else {bad} end"):
        try:
            read = read_expression(spoiled)
        except ValueError:
            continue
        raise AssertionError(f"{spoiled} passed as {read.sql}")
