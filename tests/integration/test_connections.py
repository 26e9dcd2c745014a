"""Sessions print values the same way whatever server, role, database or user's settings say; errors are sorted."""

import pytest
from psycopg import pq

from comparators.errors import NotPermitted, PositionLost, SettingInvalid, SideUnavailable
from comparators.server_errors import Locked, StatementCancelled, wrapped
from comparators.session_settings import PINNED
from samplers.connections import connect, connect_replication, failure
from tests.helpers import Pair

DIFFERENT = {
    "datestyle": "German",
    "intervalstyle": "iso_8601",
    "timezone": "Asia/Kathmandu",
    "extra_float_digits": "0",
    "bytea_output": "escape",
    "search_path": "public",
}
QUERY = """SELECT concat_ws('|', timestamptz '2026-01-02 03:04:05.678901+00', interval '1 day 2 hours', 0.1::float8,
'\\x00ff'::bytea)"""


def test_values_look_alike_whatever_the_server_is_set_to(pair: Pair):
    for name, value in DIFFERENT.items():
        pair.target.execute(f"ALTER DATABASE \"{pair.name}\" SET {name} = '{value}'")
    shown = []
    for database in (pair.source, pair.target):
        with connect(database.dsn + " options='-c datestyle=SQL -c work_mem=7MB'") as session:
            shown.append(session.execute(QUERY).fetchone())
            assert ("7MB",) == session.execute("SHOW work_mem").fetchone()
        replication = connect_replication(database.dsn)
        shown.append(((replication.exec_(QUERY.encode()).get_value(0, 0) or b"").decode(),))
        replication.finish()
    assert [("2026-01-02 03:04:05.678901+00|1 day 02:00:00|0.1|\\x00ff",)] * 4 == shown


def test_an_unwritten_escape_in_a_password_does_not_print_the_rest_of_it():
    with pytest.raises(SideUnavailable) as error:
        connect("postgresql://auditor:top@moresecret@127.0.0.1:1/app")
    assert "secret" not in str(error.value)


def test_each_pinned_setting_holds(pair: Pair):
    with connect(pair.source.dsn) as session:
        for name in PINNED:
            setting = session.execute("SELECT source FROM pg_settings WHERE lower(name) = %s", [name]).fetchone()
            assert ("client",) == setting, name


def test_a_replication_connection_speaks_the_protocol(pair: Pair):
    replication = connect_replication(pair.source.dsn)
    result = replication.exec_(b"IDENTIFY_SYSTEM")
    assert pq.ExecStatus.TUPLES_OK == result.status
    replication.finish()


@pytest.mark.parametrize("opened", [connect, connect_replication])
def test_why_a_side_cannot_be_entered_decides_what_to_do(pair: Pair, opened):
    with pytest.raises(SideUnavailable):
        opened("host=127.0.0.1 port=1 dbname=x password=hush")
    with pytest.raises(NotPermitted, match="password authentication failed") as raised:
        opened(pair.source.dsn + " password=hush")
    assert "hush" not in str(raised.value)
    with pytest.raises(SettingInvalid, match="does not exist"):
        opened(pair.source.dsn.replace(f"dbname={pair.name}", "dbname=nowhere"))
    with pytest.raises(SettingInvalid) as unreadable:
        opened("password=hush hush")
    assert "hush" not in str(unreadable.value)


def test_a_statement_that_takes_too_long_may_be_tried_again(pair: Pair):
    with connect(pair.source.dsn, statement_seconds=0.1) as session:
        with pytest.raises(Exception, match="timeout") as raised:
            session.execute("SELECT pg_sleep(60)")
        assert isinstance(failure(raised.value, "read"), StatementCancelled)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "message", "sort"),
    [
        ("42704", 'replication slot "auditor_m_source" does not exist', PositionLost),
        ("55000", 'can no longer get changes from replication slot "auditor_m_source"', PositionLost),
        ("55000", 'can no longer access replication slot "auditor_m_source"', PositionLost),
        ("58P01", "requested WAL segment 0000 has already been removed", PositionLost),
        ("42501", "permission denied for table t", NotPermitted),
        ("28P01", "password authentication failed", NotPermitted),
        ("57P01", "terminating connection due to administrator command", SideUnavailable),
        ("53300", "sorry, too many clients already", SideUnavailable),
        ("08006", "connection failure", SideUnavailable),
        (None, "server closed the connection unexpectedly", SideUnavailable),
        ("55P03", "canceling statement due to lock timeout", Locked),
    ],
)
def test_errors_are_sorted_by_what_to_do_next(state: str | None, message: str, sort: type):
    found = wrapped(message, state, "read")
    assert sort is type(found)
    assert message in str(found)
