"""The roles of docs/security.md: what they suffice for, and what is asked of a person where they do not."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from comparators.errors import NotPermitted
from samplers.connections import connect
from samplers.objects import prepare
from samplers.survey import PrepareRequest
from samplers.teardown import teardown
from tests.helpers import Database, Pair, unique_name
from tests.integration.test_prepare import SCHEMA, ours, request_for, still_applies

PASSWORD = "least"
PROGRESS = "pg_show_replication_origin_status(), pg_replication_origin_progress(text, boolean)"


def as_role(database: Database, role: str) -> str:
    return make_conninfo(database.dsn, user=role, password=PASSWORD)


def documented(side: str, role: str, database: str) -> str:
    """Read one side's statements from docs/security.md, with this test's names."""
    text = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    found = re.search(rf"<!-- test: {side} -->\n```sql\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return (
        found[1]
        .replace("auditor", role)
        .replace("choose one", PASSWORD)
        .replace("DATABASE app", f"DATABASE {database}")
    )


@pytest.fixture
def role(pair: Pair) -> Iterator[str]:
    """The reading role of docs/security.md, on both sides."""
    name = unique_name("reader")
    pair.execute(SCHEMA)
    for side, database in (("source", pair.source), ("target", pair.target)):
        database.execute(documented(side, name, pair.name))
        database.execute(f'GRANT USAGE ON SCHEMA "Odd" TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA "Odd" TO {name}')
    pair.replicate()
    yield name
    for database in (pair.source, pair.target):
        database.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


def request_as(pair: Pair, role: str, **changes: Any) -> PrepareRequest:
    return request_for(
        pair, source_conninfo=as_role(pair.source, role), target_conninfo=as_role(pair.target, role), **changes
    )


def test_a_reading_role_is_given_the_sql_for_somebody_else_and_goes_on_once_it_was_run(pair: Pair, role: str):
    report = prepare(request_as(pair, role))
    assert report.needs_person
    assert ([], None) == (ours(pair), report.baseline)
    for side, statement in report.statements:  # as the owner of everything
        if "replication_slot" not in statement:
            (pair.source if side == "source" else pair.target).execute(statement)
    done = prepare(request_as(pair, role))
    assert ((), True) == (done.needs_person, done.canary)
    assert not [text for text in done.warnings if "cannot be read" in text]
    still_applies(pair)
    with connect(as_role(pair.source, role)) as source:
        source.execute(f"INSERT INTO {request_for(pair).schema}.marker VALUES (1, 1, now())")
    assert teardown(request_as(pair, role)).needs_person  # the slots went; the rest is somebody else's
    assert "slot" not in {row[1] for row in ours(pair)}
    assert () == teardown(request_for(pair)).needs_person
    assert [] == ours(pair)


def test_a_role_that_owns_the_tables_and_may_create_needs_nobody_but_for_the_canary(pair: Pair, role: str):
    owner = unique_name("owner")
    for database in (pair.source, pair.target):
        database.execute(f"CREATE ROLE {owner}; GRANT {owner} TO {role}")
        for table in ("plain", "whole", "log_only", '"Odd"."Mixed Case"', "events_1", "events_2"):
            database.execute(f"ALTER TABLE {table} OWNER TO {owner}")
    pair.target.execute(f"GRANT CREATE ON DATABASE {pair.name} TO {role}")
    try:
        report = prepare(request_as(pair, role, without_canary=True))
        assert ((), False) == (report.needs_person, report.canary)
        still_applies(pair)
        assert () == teardown(request_as(pair, role)).needs_person
        assert [] == ours(pair)
    finally:
        for database in (pair.source, pair.target):
            database.execute(f"DROP OWNED BY {owner} CASCADE; DROP ROLE {owner}")


def test_what_is_missing_is_named_with_the_grant(pair: Pair, role: str):
    pair.target.execute(f"REVOKE EXECUTE ON FUNCTION {PROGRESS} FROM {role}")
    pair.source.execute(f"REVOKE SELECT ON plain FROM {role}")
    report = prepare(request_as(pair, role), dry_run=True)
    assert any(f"GRANT EXECUTE ON FUNCTION {PROGRESS} TO" in text for text in report.needs_person)
    assert any(text.startswith("source: public.plain cannot be read") for text in report.warnings)
    pair.source.execute(f"ALTER ROLE {role} NOREPLICATION")
    with pytest.raises(NotPermitted, match="may not replicate"):
        prepare(request_as(pair, role))


@pytest.mark.parametrize("side", ["source", "target"])
def test_origin_progress_needs_a_grant_of_its_own(pair: Pair, role: str, side: str):
    """Neither pg_monitor nor REPLICATION includes it, on 16 or on 18."""
    database = getattr(pair, side)
    database.execute(f"REVOKE EXECUTE ON FUNCTION {PROGRESS} FROM {role}; GRANT pg_monitor TO {role}")
    with connect(as_role(database, role)) as session, pytest.raises(psycopg.errors.InsufficientPrivilege):
        session.execute("SELECT * FROM pg_show_replication_origin_status()")
    database.execute(f"GRANT EXECUTE ON FUNCTION {PROGRESS} TO {role}")
    with connect(as_role(database, role)) as session:
        session.execute("SELECT * FROM pg_show_replication_origin_status()")
