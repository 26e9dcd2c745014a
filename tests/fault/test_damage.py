"""Damage on the target, row by row: both audits find each kind, name its table and columns, and accuse nothing else."""

import time
from collections.abc import Iterator

import pytest

from auditor.demo.damage import CHANGES
from auditor.demo.faults import FAULTS
from auditor.demo.world import Plan
from tests.fault.shows import Stand, stand
from tests.fault.times import keep

pytestmark = pytest.mark.alone

OTHERWISE = ("changed-column", "untouched-row")
DAMAGE = [name for name, fault in FAULTS.items() if fault.expected and name not in OTHERWISE]
EACH = [*DAMAGE, *(f"changed-column:{variant}" for variant in CHANGES)]
SEVERAL_TABLES = ("transaction-skipped",)
SWEEP = {"pause_seconds": 0, "every_seconds": 1, "workers": 2}
"""The row audit's time is that of its next look at the table: how often it looks is a setting."""


@pytest.fixture(scope="module")
def spectator() -> Iterator[Stand]:
    with stand(Plan(config={"sweep": SWEEP})) as opened:
        opened.wait_verdict("PASS")
        yield opened


@pytest.mark.parametrize("name", EACH)
def test_damage_is_found_where_it_was_done(spectator: Stand, name: str):
    injected = spectator.inject(name)
    judged = spectator.expect(injected)
    in_rows = spectator.expect_in_rows(injected)
    if name in SEVERAL_TABLES:  # what it left in the others is not to be taken for the next fault's
        spectator.wait_swept(time.time())
    keep(
        name, kind=", ".join(injected.fault.expected), verdict=injected.fault.verdict,
        milliseconds=judged.detected_after_ms, rows_milliseconds=in_rows,
    )  # fmt: skip
