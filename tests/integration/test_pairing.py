"""Which columns, forms and keys two real servers share, and which tables are named as not comparable."""

from comparators.tables import Form, Mode
from samplers.connections import connect
from samplers.pairing import Wanted, pair_tables
from tests.helpers import Pair


def paired(pair: Pair, *names: str, **more):
    with connect(pair.source.dsn) as source, connect(pair.target.dsn) as target:
        return pair_tables(source, target, [Wanted(name, name, name, **more) for name in names])


def test_an_ordinary_table_is_cut_by_its_primary_key_and_digested_strictly(pair: Pair):
    pair.source.execute("CREATE TYPE filler AS ENUM ('x')")  # OIDs differ from here on
    pair.execute(
        """CREATE TYPE mood AS ENUM ('good', 'bad');
        CREATE TABLE t (id bigint PRIMARY KEY, name text, n numeric(9,2), doc jsonb, at timestamptz, m mood, f float8,
            "char" "char", tags text[])"""
    )
    t = paired(pair, "public.t")["public.t"]
    assert (Mode.RANGES, "id", '"id"', "int8") == (t.mode, t.source.key[0].name, t.target.key[0].expression, "int8")
    forms = {column.name: column.form for column in t.source.columns}
    assert {"id", "name", "at", "char"} == {name for name, form in forms.items() if form is Form.NATIVE}
    assert {"n", "doc", "m", "f", "tags"} == {name for name, form in forms.items() if form is Form.TEXT}
    assert forms == {column.name: column.form for column in t.target.columns}
    assert ((), False) == (t.notes, t.sha)
