"""Damage on the target, row by row: each kind is found, names its table and columns, and nothing else is accused."""

from collections.abc import Iterator

import pytest

from auditor.demo.damage import CHANGES
from auditor.demo.faults import FAULTS
from tests.fault.shows import Stand, stand
from tests.fault.times import keep

OTHERWISE = ("changed-column", "untouched-row")
DAMAGE = [name for name, fault in FAULTS.items() if fault.expected and name not in OTHERWISE]
EACH = [*DAMAGE, *(f"changed-column:{variant}" for variant in CHANGES)]
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def spectator() -> Iterator[Stand]:
    with stand() as opened:
        opened.wait_verdict("PASS")
        yield opened


@pytest.mark.parametrize("name", EACH)
def test_damage_is_found_where_it_was_done(spectator: Stand, name: str):
    injected = spectator.inject(name)
    judged = spectator.expect(injected)
    keep(
        name, kind=", ".join(injected.fault.expected), verdict=injected.fault.verdict,
        milliseconds=judged.detected_after_ms,
    )  # fmt: skip
