"""The reverse audit is ended from a host that did not start it: its slots hold WAL on both sides."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from auditor.cutover.reverse_audit import ReverseAudit
from auditor.cutover.reverse_config import back_settings
from auditor.settings import Settings
from auditor.side_settings import SideSettings
from comparators.errors import NeedsOperator
from orchestrator.deadlines import Deadline
from tests.helpers import Pair, wait_for
from tests.migrations import memory_settings

READ = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = ANY (%s) AND active"


def _soon() -> Deadline:
    return Deadline.within(60, "the test's step")


@pytest.fixture
def settings(pair: Pair, tmp_path: Path) -> Iterator[Settings]:
    """A host that knows the migration and has no file of its reverse audit; the slots are there."""
    made = replace(
        memory_settings(tmp_path, pair.name.replace("_", "-")),
        source=SideSettings(pair.source.dsn),
        target=SideSettings(pair.target.dsn),
    )
    pair.target.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", _names(made)[0])
    pair.source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", _names(made)[1])
    yield made
    for side in (pair.source, pair.target):
        wait_for(lambda side=side: not side.value(READ, list(_names(made))), 30, "the reader to let go")
        side.execute("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = ANY (%s)",
                     list(_names(made)))  # fmt: skip


def _names(settings: Settings) -> tuple[str, str]:
    names = back_settings(settings).names
    return names.source_slot, names.target_slot


def _slots(pair: Pair, settings: Settings) -> int:
    count = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = ANY (%s)"
    return sum(int(side.value(count, list(_names(settings)))) for side in (pair.source, pair.target))


def test_slots_of_another_hosts_reverse_audit_are_removed(pair: Pair, settings: Settings) -> None:
    assert _slots(pair, settings) == 2
    assert ReverseAudit(settings).stop(_soon()) == {"stopped": True, "prepared": True}
    assert _slots(pair, settings) == 0


def test_where_nothing_was_prepared_nothing_is_done(pair: Pair, settings: Settings) -> None:
    ReverseAudit(settings).stop(_soon())
    elsewhere = replace(settings, state_dir=settings.state_dir / "elsewhere")
    assert ReverseAudit(elsewhere).stop(_soon()) == {"stopped": True, "prepared": False}
    assert not elsewhere.state_dir.exists()


def test_a_reverse_audit_that_runs_on_another_host_is_not_said_to_be_stopped(pair: Pair, settings: Settings) -> None:
    with closing(psycopg.Connection.connect(pair.target.dsn, replication="database", autocommit=True)) as reader:
        slot = _names(settings)[0]
        reader.pgconn.exec_(
            f"START_REPLICATION SLOT {slot} LOGICAL 0/0 (proto_version '1', publication_names 'x')".encode()
        )
        with pytest.raises(NeedsOperator, match="runs on another host"):
            ReverseAudit(settings).stop(_soon())
    assert _slots(pair, settings) == 2
