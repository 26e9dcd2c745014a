"""Every major version from 14 to 18 on either side: paired, digested alike, audited to a PASS, and damage found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from comparators.vectors import PRINTED, VECTORS
from samplers.connections import connect
from samplers.handshake import Agreement, shake_hands
from tests.audits import Audit
from tests.conftest import SETTINGS
from tests.helpers import Pair, wait_for
from tests.node_postgres import server
from tests.pairings import digests, pair_of_every_type
from tests.traffic import Traffic, patients

PAIRS = [(14, 17), (17, 14), (14, 18)]


@pytest.fixture(scope="module", params=PAIRS, ids=lambda majors: f"{majors[0]} to {majors[1]}")
def versions(request: pytest.FixtureRequest) -> Iterator[Pair]:
    source, target = request.param
    with server(source, SETTINGS, "source") as left, server(target, SETTINGS, "target") as right:
        assert (source, target) == (left.major, right.major)
        yield Pair(left, right)


@pytest.fixture
def between(versions: Pair) -> Iterator[Pair]:
    with Pair(versions.source.server, versions.target.server) as pair:
        yield pair


def test_the_servers_are_of_the_versions_that_the_test_names(between: Pair) -> None:
    for side in (between.source, between.target):
        assert side.server.major == int(side.value("SHOW server_version_num")) // 10_000


def test_every_type_is_hashed_and_printed_alike(between: Pair) -> None:
    with connect(between.source.dsn) as source, connect(between.target.dsn) as target:
        assert Agreement() == shake_hands(source, target, {*VECTORS, *PRINTED})
    t = pair_of_every_type(between)
    left = digests(between.source, t.source)
    between.target.execute("UPDATE t SET c0 = 1 WHERE id = 'a'")
    assert left != digests(between.target, t.target)


def test_a_migration_between_them_passes_until_a_row_is_damaged(between: Pair, tmp_path: Path) -> None:
    patients(between)
    between.source.execute("INSERT INTO clinic.patient VALUES ('kept', '2000-01-01', 'eyes', '{}')")
    between.replicate()
    audit = Audit(between, tmp_path, sweep={"every_seconds": 1, "pause_seconds": 0})
    with audit, Traffic(between):
        audit.command("gate", "check", "--wait", "--timeout", "400")
        # a row that no visit writes again: the next change of it would heal it
        between.target.execute("UPDATE clinic.patient SET allergies = '{nuts}' WHERE code = 'kept'")
        audit.wait_verdict("FAIL", 30)
        kinds = wait_for(lambda: {(f.kind, f.table) for f in audit.findings()}, 10, "a finding")
        assert ("foreign-write", "clinic.patient") in kinds
    audit.command("teardown")
