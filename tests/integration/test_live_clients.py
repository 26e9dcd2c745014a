"""The clients that every test of a cutover relies on, and the checker that must not overlook what they lost."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.demo.cutover import bank
from auditor.demo.cutover.checker import Witness, check, kept_in, writable
from auditor.demo.cutover.clients import LiveClients
from auditor.demo.database import session
from auditor.servers.pgbouncer import PgBouncerServer
from comparators.positions import Side
from tests.helpers import Pair, unique_name, wait_for

PASSWORD = "the-application-0123"


class Bank:
    """The bank on both servers of a pair, and a pooler before its source."""

    def __init__(self, pair: Pair, role: str, pool: PgBouncerServer) -> None:
        self.pair, self.role, self.pool = pair, role, pool

    def direct(self, side: Side) -> str:
        server = (self.pair.source if side is Side.SOURCE else self.pair.target).server
        return f"{server.dsn(self.pair.name, self.role, with_password=False)} password={PASSWORD}"


@pytest.fixture
def shop(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    role = unique_name("app")
    monkeypatch.setattr(bank, "APPLICATION", role)
    pair.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; GRANT CREATE ON SCHEMA public TO {role}")
    for database in (pair.source, pair.target):
        with session(database.dsn) as opened:
            bank.create(opened, rows=True)
    place = f"host=127.0.0.1 port={pair.source.server.port} dbname={pair.name}"
    with PgBouncerServer({"bank": place}, {role: PASSWORD}) as pool:
        yield Bank(pair, role, pool)
    for database in (pair.source, pair.target):
        database.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


def written(shop: Bank, folder: Path, count: int = 40) -> LiveClients:
    clients = LiveClients([shop.pool.dsn("bank", shop.role)], folder, clients=4)
    clients.start()
    try:
        wait_for(lambda: clients.acknowledged >= count, 60, "the clients to write")
    finally:
        clients.stop()
    return clients


def test_what_was_acknowledged_is_kept_and_found(shop: Bank, tmp_path: Path):
    clients = written(shop, tmp_path)
    seen = check(shop.pair.source.dsn, tmp_path)
    assert ([], clients.acknowledged) == (clients.failures, seen.acknowledged)
    assert seen.sound
    assert 0 < clients.worst(0, float("inf"))


def test_nothing_that_was_lost_doubled_altered_or_torn_is_overlooked(shop: Bank, tmp_path: Path):
    written(shop, tmp_path)
    lost, doubled, altered, *_ = sorted(kept_in(tmp_path))
    where = "WHERE client = %s AND serial = %s"
    execute = shop.pair.source.execute
    execute(f"DELETE FROM ledger {where}", *lost)
    columns = "client, serial, account, amount"
    execute(f"INSERT INTO ledger ({columns}) SELECT {columns} FROM ledger {where}", *doubled)
    execute(f"UPDATE ledger SET id = -id {where}", *altered)
    seen = check(shop.pair.source.dsn, tmp_path)
    assert ((lost,), (doubled,), (altered,)) == (seen.lost, seen.doubled, seen.altered[-1:])
    assert seen.torn
    assert not seen.sound


def test_a_lost_connection_is_a_failure_that_may_be_repeated_and_loses_nothing(shop: Bank, tmp_path: Path):
    clients = LiveClients([shop.pool.dsn("bank", shop.role)], tmp_path, clients=4)
    clients.start()
    try:
        wait_for(lambda: clients.acknowledged >= 20, 60, "the clients to write")
        shop.pool.restart()
        before = clients.acknowledged
        wait_for(lambda: clients.acknowledged >= before + 20, 60, "the clients to write again")
    finally:
        clients.stop()
    assert clients.failures
    assert all(failure.retryable for failure in clients.failures)
    assert check(shop.pair.source.dsn, tmp_path).sound


def test_the_witness_tells_one_writer_after_the_other_from_two_at_a_time(shop: Bank):
    sides = {side: shop.direct(side) for side in Side}
    assert all(map(writable, sides.values()))
    shop.pair.target.execute(f"ALTER ROLE {shop.role} NOLOGIN")
    witness = Witness(sides)
    witness.start()
    try:
        wait_for(lambda: witness.turns() == [Side.SOURCE], 30, "the witness to see the source open")
        shop.pair.source.execute(f"ALTER ROLE {shop.role} NOLOGIN")
        shop.pair.target.execute(f"ALTER ROLE {shop.role} LOGIN")
        wait_for(lambda: witness.turns() == [Side.SOURCE, Side.TARGET], 30, "the witness to see the target open")
        shop.pair.source.execute(f"ALTER ROLE {shop.role} LOGIN")
        wait_for(lambda: len(witness.turns()) > 3, 30, "the witness to see both")
    finally:
        witness.stop()
