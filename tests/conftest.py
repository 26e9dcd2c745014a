"""Real servers for the tests. A server that cannot start fails the tests that need it; nothing is skipped."""

from collections.abc import Iterator

import hypothesis
import pytest

from auditor.servers import KafkaServer, PostgresServer
from tests.helpers import Pair

hypothesis.settings.register_profile("auditor", deadline=None)  # tests promise results, never times
hypothesis.settings.load_profile("auditor")

SETTINGS = {
    "wal_level": "logical",
    "max_replication_slots": "50",
    "max_wal_senders": "50",
    "max_logical_replication_workers": "30",
    "max_sync_workers_per_subscription": "4",
    "max_worker_processes": "40",
    "max_connections": "200",
    "max_prepared_transactions": "20",
    "track_commit_timestamp": "off",
    "wal_retrieve_retry_interval": "100ms",
    "fsync": "off",
    "shared_buffers": "64MB",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let whoever wants it run what takes too long for every run."""
    parser.addoption("--whole-kill-matrix", action="store_true", help="every case of docs/kill-matrix.md: for hours")


@pytest.fixture(scope="session")
def postgres_source() -> Iterator[PostgresServer]:
    """PostgreSQL 16, shared by the whole run: do not stop it (`private_pair` may be)."""
    with PostgresServer(16, SETTINGS, "source") as server:
        yield server


@pytest.fixture(scope="session")
def postgres_target() -> Iterator[PostgresServer]:
    """PostgreSQL 18, shared by the whole run: do not stop it (`private_pair` may be)."""
    with PostgresServer(18, SETTINGS, "target") as server:
        yield server


@pytest.fixture(scope="session")
def kafka() -> Iterator[KafkaServer]:
    """A broker, shared by the whole run: name topics by `unique_name`, and do not stop it (`private_kafka` may be)."""
    with KafkaServer() as server:
        yield server


@pytest.fixture
def private_kafka() -> Iterator[KafkaServer]:
    """A broker of its own, which the test may stop, kill and restart."""
    with KafkaServer() as server:
        yield server


@pytest.fixture
def pair(postgres_source: PostgresServer, postgres_target: PostgresServer) -> Iterator[Pair]:
    """A fresh database on both servers; `pair.replicate()` joins them."""
    with Pair(postgres_source, postgres_target) as databases:
        yield databases


@pytest.fixture
def private_pair() -> Iterator[Pair]:
    """A pair on two servers of its own, which the test may stop, kill and restart."""
    with PostgresServer(16, SETTINGS, "source") as source, PostgresServer(18, SETTINGS, "target") as target:
        databases = Pair(source, target)
        databases.__enter__()
        yield databases
        databases.close()
