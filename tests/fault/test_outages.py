"""Outages and lawful changes of shape: the gate says that it does not know, never that something is missing."""

from collections.abc import Iterator

import pytest

from auditor.demo.database import one, run
from auditor.demo.faults import FAULTS, OUTAGE_LIMITS
from auditor.demo.schema import SUBSCRIPTION
from auditor.demo.world import Plan
from tests.fault.shows import Stand, stand
from tests.fault.times import keep
from tests.helpers import wait_for

pytestmark = pytest.mark.alone

PASSING = [name for name, fault in FAULTS.items() if fault.verdict == "PASS"]


@pytest.fixture(scope="module")
def spectator() -> Iterator[Stand]:
    with stand(Plan(config={"gate": {"limits": OUTAGE_LIMITS}})) as opened:
        yield opened


def tell(name: str, spectator: Stand) -> None:
    """Inject a fault, wait for what it promises, and keep the time it took."""
    injected = spectator.inject(name)
    judged = spectator.expect(injected)
    during = f"{injected.fault.verdict_during}, then " if injected.fault.verdict_during else ""
    keep(name, kind="", verdict=f"{during}{injected.fault.verdict}", milliseconds=judged.detected_after_ms)


@pytest.mark.parametrize("name", PASSING)
def test_an_outage_closes_the_gate_and_accuses_nobody(spectator: Stand, name: str):
    spectator.wait_verdict("PASS")
    tell(name, spectator)
    assert not [finding for finding in spectator.watch.picture.findings if finding["state"] == "confirmed"]
    assert spectator.world.workload.problems == []


def test_an_included_table_that_is_not_published_closes_the_gate(spectator: Stand):
    spectator.wait_verdict("PASS")
    tell("unpublished-table", spectator)
    for side in (spectator.world.stage.on_source, spectator.world.stage.on_target):
        with side() as opened:
            run(opened, "DROP TABLE gift_cards")
    spectator.wait_verdict("PASS")


def test_a_subscription_disabled_by_an_error_closes_the_gate_until_it_applies_again(spectator: Stand):
    spectator.wait_verdict("PASS")
    tell("subscription-disabled", spectator)
    with spectator.world.stage.on_target() as target:
        run(target, f"ALTER SUBSCRIPTION {SUBSCRIPTION} ENABLE")
        wait_for(lambda: one(target, "SELECT count(*) FROM orders WHERE id < 0"), 30, "the transaction to be applied")
    spectator.wait_verdict("PASS")


@pytest.mark.parametrize("name", ["source-slot-dropped", "wal-budget-exceeded"])
def test_a_lost_slot_is_a_gap_that_only_a_new_baseline_ends(name: str):
    with stand(Plan(config=FAULTS[name].config)) as opened:
        opened.wait_verdict("PASS")
        tell(name, opened)
