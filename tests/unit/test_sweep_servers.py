"""A sweep reads the servers of its baseline and no others: positions of another server mean something else."""

from dataclasses import replace
from typing import Any

import pytest

from auditor.same_server import check_server
from comparators.errors import PositionLost
from comparators.positions import Side
from samplers.catalog import ServerFacts

FACTS = ServerFacts(
    version=160000, system_identifier="7", timeline=1, in_recovery=False, wal_level="logical",
    max_slot_wal_keep_megabytes=-1, slots_allowed=10, slots_used=1, started_at=1.0, database="shop", database_oid=5,
    role="auditor", superuser=False, may_replicate=True, may_create=True, may_read_progress=True,
)  # fmt: skip
BASELINE = {"source_system": "7", "source_timeline": 1, "target_system": "8", "target_timeline": 3}


def test_the_server_of_the_baseline_is_read_after_a_restart_too():
    check_server(Side.SOURCE, replace(FACTS, started_at=99.0), BASELINE)
    check_server(Side.TARGET, replace(FACTS, system_identifier="8", timeline=3), BASELINE)


@pytest.mark.parametrize("changes", [{"timeline": 2}, {"system_identifier": "9"}])
@pytest.mark.parametrize("side", list(Side))
def test_a_server_that_was_failed_over_or_replaced_is_not_read(side, changes):
    good: dict[str, Any] = {"system_identifier": BASELINE[f"{side}_system"], "timeline": BASELINE[f"{side}_timeline"]}
    with pytest.raises(PositionLost, match=rf"{side}: the server was replaced, failed over or restored"):
        check_server(side, replace(FACTS, **good | changes), BASELINE)
