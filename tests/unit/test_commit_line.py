"""Both audits on their side of a commit line, as the records tell it."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from auditor.commit_line import await_line, begin_at, end_at, require_baseline
from auditor.cutover.reverse_audit import ReverseAudit
from auditor.peers import Peers, Standing
from auditor.preparation import _awaiting, _believed
from auditor.records import open_records
from auditor.settings import Settings
from comparators.errors import NeedsOperator, NotReady
from comparators.findings import merged_findings
from orchestrator.deadlines import Deadline
from tests.migrations import memory_settings

BASELINE = {"floor": 10, "target_start": 20, "generation": 3, "at": 1.0}


def _stored(settings: Settings, **baseline: Any) -> None:
    with closing(open_records(settings)) as records:
        records.put({"baseline": BASELINE | baseline})


def _baseline(settings: Settings) -> dict[str, Any]:
    with closing(open_records(settings)) as records:
        found = records.changes()["baseline"]
    assert found is not None
    return found


def test_an_audit_ends_once(tmp_path: Path) -> None:
    settings = memory_settings(tmp_path)
    with pytest.raises(NotReady, match="no baseline"):  # as on another host than the audit's
        end_at(settings, 100, 200)
    _stored(settings)
    standing = Standing(lambda: open_records(settings))
    assert not standing.over()
    end_at(settings, 100, 200)
    first = _baseline(settings)
    end_at(settings, 100, 300)
    assert first == _baseline(settings)
    assert first["committed"] == {"source": 100, "target": 200}
    assert standing.over()
    with closing(open_records(settings)) as records:
        peers = Peers(records)
        peers.refresh()
        assert peers.baseline() is None
        assert peers.committed()


def _finding(name: str, source: int | None, target: int | None) -> dict[str, Any]:
    return {
        "id": name, "kind": "foreign-write", "state": "confirmed", "detector": "transaction", "table": "public.t",
        "subscription": "s", "count": 1, "first_seen": 1.0, "source_position": source, "target_position": target,
    }  # fmt: skip


def test_what_was_found_behind_the_line_before_the_audit_was_told_is_settled(tmp_path: Path) -> None:
    settings = memory_settings(tmp_path)
    _stored(settings)
    places = {"a": (100, None), "b": (None, 200), "c": (101, None), "d": (None, 201), "e": (None, None)}
    with closing(open_records(settings)) as records:
        records.put({f"suspect/{name}": _finding(name, *place) for name, place in places.items()})
    end_at(settings, 100, 200)
    with closing(open_records(settings)) as records:
        stored = records.changes()
        assert {one.id: str(one.state) for one in merged_findings(stored)} == {
            "a": "confirmed", "b": "confirmed", "c": "healed", "d": "healed", "e": "confirmed",
        }  # fmt: skip
        end_at(settings, 100, 200)
        assert records.changes() == {}


def test_a_host_without_the_records_of_the_audit_conducts_nothing(tmp_path: Path) -> None:
    settings = memory_settings(tmp_path)
    with pytest.raises(NeedsOperator, match="of this host"):
        require_baseline(settings)
    with pytest.raises(NeedsOperator, match="of this host"):
        ReverseAudit(settings).start(Deadline.within(60, "the test's step"))
    _stored(settings)
    require_baseline(settings)


def test_a_reverse_audit_begins_at_the_line_once(tmp_path: Path) -> None:
    settings = memory_settings(tmp_path, "shop-back", reverse_of="shop")
    with pytest.raises(NotReady):
        begin_at(settings, 100, 200)
    _stored(settings, renewing=1.0)
    begin_at(settings, 100, 200)
    begin_at(settings, 101, 201)
    baseline = _baseline(settings)
    assert (baseline["floor"], baseline["target_start"], "renewing" in baseline) == (200, 100, False)
    await_line(settings)


def test_a_reverse_audit_that_was_torn_down_does_not_begin(tmp_path: Path) -> None:
    settings = memory_settings(tmp_path, "shop-back", reverse_of="shop")
    _stored(settings, ended=1.0)
    with pytest.raises(NotReady):
        begin_at(settings, 100, 200)


def test_a_new_baseline_of_a_reverse_audit_waits_for_its_line(tmp_path: Path) -> None:
    settings = memory_settings(tmp_path, "shop-back", reverse_of="shop")
    fresh = {"baseline": BASELINE, "gap/baseline-3": {"open": True}}
    assert "renewing" in _awaiting(settings, {}, dict(fresh))["baseline"]
    never_drawn = {"baseline": BASELINE | {"generation": 2, "renewing": 1.0}}
    assert list(_awaiting(settings, never_drawn, dict(fresh))) == ["baseline"]
    in_force = {"baseline": dict(BASELINE)}
    assert _awaiting(settings, in_force, {"baseline": dict(BASELINE)}) == {"baseline": BASELINE}
    assert _awaiting(memory_settings(tmp_path), {}, dict(fresh)) == fresh


def test_what_a_cutover_ended_is_begun_anew() -> None:
    assert _believed(BASELINE | {"ended": 1.0, "committed": {"source": 1, "target": 2}})["source_slot"] is None
    assert _believed(BASELINE) == BASELINE
