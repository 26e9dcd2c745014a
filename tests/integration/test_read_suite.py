"""The reads that are watched after a switch, through a real PgBouncer."""

from collections.abc import Iterator

import pytest

from orchestrator.adapters.suite import ReadSuite, quantile
from orchestrator.deadlines import Deadline
from orchestrator.records import LeaseLost
from tests.helpers import Pair
from tests.pools import Pool, one_pool, soon


@pytest.fixture
def pool(pair: Pair) -> Iterator[Pool]:
    with one_pool(pair) as started:
        yield started


def measure(pool: Pool, reads: dict[str, str], rounds: int = 3, **ways: str) -> dict[str, object]:
    suite = ReadSuite(reads, {"pool": pool.dsn, **ways}, rounds)
    try:
        return dict(suite.measure(soon()))
    finally:
        suite.close()


def test_reads_are_counted_and_timed(pool: Pool) -> None:
    facts = measure(pool, {"count": "SELECT count(*) FROM written;", "one": "SELECT 1 -- a remark"})
    assert (6, 0, {}) == (facts["reads"], facts["errors"], facts["failed"])
    assert isinstance(facts["p99_ms"], float)
    assert facts["slowest"] in ("count", "one")


def test_a_read_that_fails_is_an_error_and_others_go_on(pool: Pool) -> None:
    facts = measure(pool, {"bad": "SELECT * FROM missing", "good": "SELECT 1"})
    assert (6, 3, {"bad": 3}) == (facts["reads"], facts["errors"], facts["failed"])


def test_a_read_cannot_write(pair: Pair, pool: Pool) -> None:
    facts = measure(pool, {"write": "INSERT INTO written VALUES (1, 1)"})
    assert 3 == facts["errors"]
    assert 0 == pair.source.value("SELECT count(*) FROM written")


def test_a_proxy_that_is_down_is_nothing_but_errors(pool: Pool) -> None:
    dead = pool.dsn.replace(f"port={pool.server.port}", "port=1")
    facts = measure(pool, {"one": "SELECT 1"}, other=dead)
    assert (6, 3) == (facts["reads"], facts["errors"])


def test_sessions_that_were_lost_are_opened_again(pool: Pool) -> None:
    suite = ReadSuite({"one": "SELECT 1"}, {"pool": pool.dsn}, 2)
    assert 0 == suite.measure(soon())["errors"]
    pool.server.restart()
    suite.measure(soon())
    assert 0 == suite.measure(soon())["errors"]
    suite.close()


def test_without_reads_nothing_is_known(pool: Pool) -> None:
    facts = measure(pool, {})
    assert (0, None) == (facts["reads"], facts["p99_ms"])


def test_a_lost_lease_is_not_taken_for_an_error(pool: Pool) -> None:
    class Lost(Deadline):
        def left(self) -> float:
            if self.doing.startswith("reading"):
                raise LeaseLost("over")
            return super().left()

    suite = ReadSuite({"one": "SELECT 1"}, {"pool": pool.dsn})
    with pytest.raises(LeaseLost):
        suite.measure(Lost.within(60, "a test"))
    suite.close()


@pytest.mark.parametrize(("share", "expected"), [(0.5, 2.0), (0.99, 4.0), (0.25, 1.0), (1.0, 4.0)])
def test_quantiles_are_values_that_were_seen(share: float, expected: float) -> None:
    assert expected == quantile([1.0, 2.0, 3.0, 4.0], share)
    assert quantile([], share) is None
