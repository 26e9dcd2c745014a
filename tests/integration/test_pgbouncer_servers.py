"""The PgBouncer that the demo and the tests start."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from auditor.servers import PgBouncerServer, pgbouncer
from auditor.servers.ports import is_free
from comparators.errors import NotInstalled
from tests.helpers import Database, Pair


@pytest.fixture
def served(pair: Pair) -> Iterator[PgBouncerServer]:
    with open_pool(pair.source) as server:
        yield server


@contextlib.contextmanager
def open_pool(database: Database) -> Iterator[PgBouncerServer]:
    superuser = {"postgres": database.server.password}
    behind = {"app": f"host=127.0.0.1 port={database.server.port} dbname={database.name}"}
    with PgBouncerServer(behind, superuser) as server:
        yield server


def test_leads_to_the_database_behind_it(pair: Pair, served: PgBouncerServer) -> None:
    with psycopg.connect(served.dsn("app", "postgres")) as connection:
        assert (pair.name,) == connection.execute("SELECT current_database()").fetchone()


def test_its_console_answers(served: PgBouncerServer) -> None:
    with psycopg.connect(served.admin_dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as console:
        assert "PgBouncer" in console.execute("SHOW VERSION").fetchall()[0][0]


def test_a_restart_keeps_port_and_configuration(served: PgBouncerServer) -> None:
    port, text = served.port, served.config.read_text()
    served.kill()
    assert is_free(port)
    served.restart()
    assert (port, text) == (served.port, served.config.read_text())
    with psycopg.connect(served.dsn("app", "postgres")) as connection:
        assert (1,) == connection.execute("SELECT 1").fetchone()


def test_removed_it_leaves_neither_process_nor_files(pair: Pair) -> None:
    with open_pool(pair.source) as server:
        home, port = server.home, server.port
    assert not home.exists()
    assert is_free(port)


def test_a_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(pgbouncer, "SYSTEM_FOLDER", "/nonexistent")
    with pytest.raises(NotInstalled) as missing:
        PgBouncerServer({}, {})
    assert missing.value.hint == "apt-get install pgbouncer"
