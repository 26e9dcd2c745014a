"""A subscription that was altered may have skipped a transaction: no look may miss that, and no restart forget it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.checks.alterations import ALTERED, Alterations, figures_of, followed, resumed
from orchestrator.conditions import Status
from tests import gates
from tests.gates import part, with_figures
from tests.helpers_records import NOW, good_records


def test_the_first_look_has_seen_no_alteration() -> None:
    assert followed(None, {"a": 7}, False, 1.0).altered_at is None


@pytest.mark.parametrize("version", [8, 6])
def test_another_version_is_an_alteration_and_is_kept(version: int) -> None:
    seen = followed(followed(None, {"a": 7}, False, 1.0), {"a": version}, False, 2.0)
    assert 2.0 == seen.altered_at
    assert 2.0 == followed(seen, {"a": version}, False, 3.0).altered_at


def test_the_same_version_is_none_however_often_apply_stopped() -> None:
    assert followed(followed(None, {"a": 7}, True, 1.0), {"a": 7}, True, 2.0).altered_at is None


def test_where_versions_cannot_be_seen_a_stop_stands_for_an_alteration() -> None:
    first = followed(None, {"a": None}, False, 1.0)
    assert first.altered_at is None
    assert followed(first, {"a": None}, False, 2.0).altered_at is None
    assert 3.0 == followed(first, {"a": None}, True, 3.0).altered_at


def test_one_that_was_gone_for_a_while_and_came_back_altered_is_noticed() -> None:
    gone = followed(followed(None, {"a": 7}, False, 1.0), {}, False, 2.0)
    assert 3.0 == followed(gone, {"a": 9}, False, 3.0).altered_at


@given(
    st.dictionaries(st.text(max_size=8), st.integers(0, 2**32), max_size=3),
    st.none() | st.floats(0, 2e9, allow_nan=False),
)
def test_a_restart_forgets_nothing(versions: dict[str, int], altered_at: float | None) -> None:
    before = Alterations(versions, altered_at)
    assert before == resumed(figures_of(before), NOW)


def test_a_record_that_says_nothing_of_it_may_hide_an_alteration() -> None:
    assert NOW == resumed({}, NOW).altered_at
    assert NOW == resumed({"version/a": 7}, NOW).altered_at
    assert resumed({ALTERED: None}, NOW).altered_at is None


@pytest.mark.parametrize("ago", [1.0, 30.0])
def test_the_gate_stays_closed_until_every_table_was_swept_after_an_alteration(ago: float) -> None:
    swept_at = min(record["at"] for key, record in good_records().items() if key.startswith("coverage/"))
    closed = part(gates.verdict_of(with_figures(good_records(), "replication", altered_at=swept_at + ago)), REPLICATION)
    assert (Status.INCONCLUSIVE, 1) == (closed.status, closed.value)
    assert "a subscription was altered" in closed.reason
    opened = with_figures(good_records(), "replication", altered_at=swept_at - 10.0)
    assert Status.PASS is part(gates.verdict_of(opened), REPLICATION).status


def test_a_record_without_the_figure_is_not_known() -> None:
    records = good_records()
    records["probe/replication"] = records["probe/replication"] | {"figures": {}}
    assert (Status.INCONCLUSIVE, None) == (
        (seen := part(gates.verdict_of(records), REPLICATION)).status,
        seen.value,
    )


REPLICATION = "preflight-replication"
