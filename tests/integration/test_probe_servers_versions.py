"""Settings, activity, writers and slots are looked at on the oldest versions too, on either side."""

import pytest

from comparators.preflight import ItemStatus
from samplers.probes.activity import Activity
from samplers.probes.settings import Settings
from samplers.probes.slots import Slots
from samplers.probes.writers import Writers
from tests.conftest import SETTINGS
from tests.helpers import Pair
from tests.node_postgres import server
from tests.server_probes import asked, blocking, look, status_of


@pytest.mark.parametrize(("before", "after"), [(14, 17), (17, 14)])
def test_an_old_version_on_either_side_is_looked_at_whole(before: int, after: int) -> None:
    with (
        server(before, SETTINGS, "source") as left,
        server(after, SETTINGS, "target") as right,
        Pair(left, right) as pair,
    ):
        pair.execute("CREATE TABLE t (id int PRIMARY KEY, n int)")
        pair.replicate()
        question = asked(pair)
        for probe in (Settings(question), Activity(question), Writers(question), Slots(question)):
            assert [] == blocking(look(probe, pair))
        for database in (pair.source, pair.target):
            database.execute("SELECT pg_create_physical_replication_slot('standby')")
            assert ItemStatus.BLOCKS_CORRECTNESS is status_of(look(Slots(question), pair), "slots-known")
            database.execute("SELECT pg_drop_replication_slot('standby')")
            writer = database.connect(autocommit=False)
            writer.execute("INSERT INTO t VALUES (1, 1)")
            writer.execute("PREPARE TRANSACTION 'left'")
            writer.rollback()
            found = status_of(look(Activity(question), pair), "activity-prepared")
            database.execute("ROLLBACK PREPARED 'left'")
            assert ItemStatus.BLOCKS_CORRECTNESS is found
        with pair.target.connect(autocommit=False) as early:
            early.execute("INSERT INTO t VALUES (1, 1)")
            assert ItemStatus.BLOCKS_CORRECTNESS is status_of(look(Writers(question), pair), "target-writers")
            early.rollback()
