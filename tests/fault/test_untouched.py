"""Damage that is older than the audit and in no log: the row audit finds it, the transaction audit accuses nobody."""

import pytest

from auditor.demo.command import early_damage
from auditor.demo.faults import FAULTS
from auditor.demo.summary import Injected
from auditor.demo.world import Plan
from tests.fault.shows import stand
from tests.fault.times import keep

pytestmark = pytest.mark.alone


def test_a_row_that_was_wrong_before_the_audit_and_is_never_written_is_found():
    fault = FAULTS["untouched-row"]
    with stand(Plan(early=early_damage(fault, ""))) as opened:
        harm = opened.world.harm
        assert harm is not None
        judged = opened.expect(Injected(fault, "", harm), 90)
        keep("untouched-row", kind="row-different", verdict=fault.verdict, milliseconds=judged.detected_after_ms)
        assert [finding["detector"] for finding in opened.watch.picture.findings] == ["row"]
