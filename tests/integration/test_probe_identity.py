"""The probe of identities on a real pair of servers."""

from pathlib import Path

from psycopg.conninfo import make_conninfo

from comparators.preflight import ItemStatus
from samplers.connections import connect
from samplers.probes.base import Sides
from samplers.probes.identity import IdentityProbe
from tests.helpers import Pair, unique_name
from tests.shape_probes import asked_for, blocking, items_of

EXTENSION = "vector"


def test_an_equal_pair_has_nothing_that_blocks_and_no_warning(pair: Pair) -> None:
    items = items_of(IdentityProbe, pair)

    assert {ItemStatus.OK} == {item.status for item in items.values()}


def test_a_server_beside_itself_is_the_same_cluster(pair: Pair) -> None:
    with connect(pair.source.dsn) as one, connect(pair.source.dsn) as other:
        reading = IdentityProbe(asked_for(pair)).look(Sides(one, other), 1000.0)

    assert {"clusters-differ": ("one cluster",)} == blocking({item.name: item for item in reading.items})


def test_an_older_target_is_a_warning(pair: Pair) -> None:
    with connect(pair.target.dsn) as newer, connect(pair.source.dsn) as older:
        reading = IdentityProbe(asked_for(pair)).look(Sides(newer, older), 1000.0)

    items = {item.name: item for item in reading.items}
    assert ItemStatus.WARN is items["version-order"].status
    assert ("source 18, target 16",) == items["version-order"].subjects
    assert {} == blocking(items)


def test_an_extension_that_the_target_lacks_is_named_until_it_is_there(pair: Pair) -> None:
    pair.source.execute(f"CREATE EXTENSION {EXTENSION}")

    assert {"extensions-present": (EXTENSION,)} == blocking(items_of(IdentityProbe, pair))
    pair.target.execute(f"CREATE EXTENSION {EXTENSION}")
    assert {} == blocking(items_of(IdentityProbe, pair))


def test_an_older_extension_on_the_target_is_a_warning(pair: Pair) -> None:
    pair.execute(f"CREATE EXTENSION {EXTENSION}")
    pair.source.execute(f"UPDATE pg_extension SET extversion = '99.1' WHERE extname = '{EXTENSION}'")

    item = items_of(IdentityProbe, pair)["extension-versions"]

    assert ItemStatus.WARN is item.status
    assert item.subjects[0].startswith(f"{EXTENSION} (source 99.1, target ")


def test_a_database_whose_collation_version_moved_is_named_on_its_side(pair: Pair) -> None:
    pair.target.execute(f"UPDATE pg_database SET datcollversion = '2.17' WHERE datname = '{pair.name}'")

    items = items_of(IdentityProbe, pair)

    assert {"collation-versions": ("target: the database's default (recorded 2.17, now none)",)} == blocking(items)
    assert "REFRESH COLLATION VERSION" in items["collation-versions"].remedy


def test_a_collation_counts_only_where_a_column_or_index_uses_it(pair: Pair) -> None:
    pair.target.execute("UPDATE pg_collation SET collversion = '0.9' WHERE collname = 'pg_c_utf8'")

    assert {} == blocking(items_of(IdentityProbe, pair))
    pair.target.execute('CREATE TABLE t (a text COLLATE pg_c_utf8); CREATE INDEX ON t (a)')
    assert {"collation-versions": ("target: pg_catalog.pg_c_utf8 (recorded 0.9, now 1)",)} == blocking(
        items_of(IdentityProbe, pair)
    )


def test_a_collation_of_ours_counts_on_the_source_too(pair: Pair) -> None:
    pair.source.execute(
        "CREATE COLLATION plain (provider = libc, locale = 'C.utf8');"
        "UPDATE pg_collation SET collversion = '1.0' WHERE collname = 'plain';"
        "CREATE TABLE t (a text COLLATE plain)"
    )

    assert ("source: public.plain (recorded 1.0, now none)",) == blocking(items_of(IdentityProbe, pair))[
        "collation-versions"
    ]


def test_another_encoding_and_locale_are_named(pair: Pair) -> None:
    other = unique_name()
    pair.target.execute(f"CREATE DATABASE {other} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    try:
        with connect(pair.source.dsn) as source, connect(make_conninfo(pair.target.dsn, dbname=other)) as target:
            reading = IdentityProbe(asked_for(pair)).look(Sides(source, target), 1000.0)
    finally:
        pair.target.execute(f"DROP DATABASE {other}")

    items = {item.name: item for item in reading.items}
    assert {"encodings-alike": ("source UTF8, target SQL_ASCII",)} == blocking(items)


def test_a_database_with_another_provider_is_a_warning(pair: Pair) -> None:
    other = unique_name()
    pair.target.execute(
        f"CREATE DATABASE {other} TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
    )
    try:
        with connect(pair.source.dsn) as source, connect(make_conninfo(pair.target.dsn, dbname=other)) as target:
            reading = IdentityProbe(asked_for(pair)).look(Sides(source, target), 1000.0)
    finally:
        pair.target.execute(f"DROP DATABASE {other}")

    items = {item.name: item for item in reading.items}
    assert {} == blocking(items)
    assert ("locale: source none, target C.UTF-8", "provider: source libc, target builtin") == items[
        "locales-alike"
    ].subjects


def test_a_role_that_may_not_read_the_control_file_leaves_one_item_unknown(pair: Pair) -> None:
    role = unique_name("poor")
    pair.source.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'poor'")
    pair.source.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")

    items = items_of(IdentityProbe, pair, source=make_conninfo(pair.source.dsn, user=role, password="poor"))

    assert {"clusters-differ"} == set(blocking(items))
    assert f'on the source: GRANT EXECUTE ON FUNCTION pg_control_system TO "{role}"' == items["clusters-differ"].remedy
    pair.source.execute(f"DROP ROLE {role}")


def test_the_query_for_14_runs_where_versions_are_not_recorded() -> None:
    """PostgreSQL 14 is not at hand: its query must not name what came with 15."""
    text = (Path(__file__).parents[2] / "samplers" / "sql" / "identity_database_collation.sql").read_text()

    assert "datcollversion" not in text
    assert "datlocprovider" not in text
