"""What a source shows of its load: other people's work, not ours, and nothing that the role may not see."""

from psycopg.conninfo import make_conninfo

from comparators.throttle import LIMITS
from samplers.connections import connect
from samplers.load import read_load
from tests.helpers import Database, Pair, unique_name, wait_for

SWEEPING = "auditor sweep shop"


def load_of(database: Database) -> dict[str, float | None]:
    with connect(database.dsn, application_name="auditor load shop") as session:
        return read_load(session, SWEEPING)


def test_every_signal_has_a_value_on_both_versions(pair: Pair) -> None:
    for database in (pair.source, pair.target):
        load = load_of(database)
        assert set(LIMITS) == set(load)
        assert all(value is not None and value >= 0 for value in load.values())


def test_sessions_at_work_and_sessions_that_wait_for_a_lock_are_counted(pair: Pair) -> None:
    pair.source.execute("CREATE TABLE t (id int)")
    with pair.source.connect(autocommit=False) as holder:
        holder.execute("LOCK TABLE t")
        waiting = pair.source.connect()
        waiting.pgconn.send_query(b"SELECT * FROM t")

        def seen() -> bool:
            load = load_of(pair.source)
            return (load["lock-waits"] or 0) >= 1 and (load["active-sessions"] or 0) >= 1

        wait_for(seen, 20, "the session that waits")


def test_a_statement_of_the_sweep_is_timed_and_is_nobody_elses_work(pair: Pair) -> None:
    with connect(pair.source.dsn, application_name=SWEEPING) as ours:
        ours.pgconn.send_query(b"SELECT pg_sleep(60)")
        wait_for(lambda: (load_of(pair.source)["statement-seconds"] or 0) > 0.2, 20, "its time")
        wait_for(lambda: load_of(pair.source)["active-sessions"] == 0, 20, "nobody else at work")
        ours.cancel_safe()
        while ours.pgconn.get_result() is not None:
            continue
        wait_for(lambda: load_of(pair.source)["statement-seconds"] == 0, 20, "its end")


def test_a_role_that_may_not_see_others_knows_only_its_own(pair: Pair) -> None:
    name = unique_name("reader")
    pair.source.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    with connect(make_conninfo(pair.source.dsn, user=name, password="x")) as session:
        load = read_load(session, SWEEPING)
    assert {"active-sessions": None, "replica-lag-ms": None, "lock-waits": None, "statement-seconds": 0.0} == load
    pair.source.execute(f"GRANT pg_monitor TO {name}")
    with connect(make_conninfo(pair.source.dsn, user=name, password="x")) as session:
        assert None not in read_load(session, SWEEPING).values()
    pair.source.execute(f"DROP ROLE {name}")
