"""A commit is told to both audits beside what else is done; clients do not wait for records that are away."""

import threading
from typing import Any

import pytest

from auditor.cutover.replicating import line_recorded
from comparators.errors import StoreUnavailable
from orchestrator.adapters import reverse
from orchestrator.adapters.reverse import Ways
from orchestrator.adapters.subscriptions import SlotSeen, SubscriptionSeen
from orchestrator.deadlines import Deadline
from orchestrator.records import GENESIS, Direction, Draft, Kind, chained, now_utc


def _soon() -> Deadline:
    return Deadline.within(60, "the test's step")


@pytest.fixture
def enabled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Both sides as they are at a commit: `coming` is disabled, and `going` waits with its slot."""
    done: list[str] = []

    def subscriptions(session: Any, names: Any, deadline: Any) -> dict[str, SubscriptionSeen]:
        return {name: SubscriptionSeen(1, name, name in done, name, "none", True, ()) for name in names}

    def slots(session: Any, names: Any, deadline: Any) -> dict[str, SlotSeen]:
        return {name: SlotSeen(name, 7, 1, 1, "reserved", "pgoutput") for name in names}

    monkeypatch.setattr(reverse, "subscriptions", subscriptions)
    monkeypatch.setattr(reverse, "slots", slots)
    monkeypatch.setattr(reverse, "enable", lambda session, names, deadline: done.extend(names))
    monkeypatch.setattr(reverse, "advance", lambda *_: 1)
    return done


def _ways(drawn: Any, recorded: Any = lambda: None) -> Ways:
    nowhere: Any = None
    return Ways(nowhere, nowhere, ["app_sub"], ["back"], budget_bytes=1, drawn=drawn, recorded=recorded)


def test_both_audits_are_told_before_the_side_is_opened(enabled: list[str]) -> None:
    told: list[tuple[int, int]] = []
    facts = _ways(lambda fence, line: told.append((fence, line))).enable_reverse(5, 6, _soon())
    assert facts == {"reverse": "enabled", "audits_told": True}
    assert told == [(5, 6)]
    assert enabled == ["back"]


def test_records_that_are_away_are_told_while_the_guard_lasts(enabled: list[str]) -> None:
    away, told = [True], []

    def drawn(fence: int, line: int) -> None:
        if away[0]:
            raise StoreUnavailable("away")
        told.append((fence, line))

    ways = _ways(drawn)
    assert ways.enable_reverse(5, 6, _soon())["audits_told"] is False
    assert ways.tend(_soon())["audits_told"] is False
    assert ways.tell(_soon()) == {"audits_told": False}
    away[0] = False
    assert ways.tell(_soon()) == {"audits_told": True}
    assert ways.tend(_soon())["audits_told"] is True
    assert told == [(5, 6)]


def test_records_that_hang_do_not_hold_the_clients(enabled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse, "TELL_SECONDS", 0.01)
    let_go = threading.Event()
    assert _ways(lambda fence, line: let_go.wait()).enable_reverse(5, 6, _soon())["audits_told"] is False
    let_go.set()
    assert enabled == ["back"]


def test_a_process_that_goes_on_tells_what_the_one_before_it_could_not(enabled: list[str]) -> None:
    told: list[tuple[int, int]] = []
    ways = _ways(lambda fence, line: told.append((fence, line)), lambda: (5, 6))
    assert ways.tend(_soon())["audits_told"] is True
    ways.tend(_soon())
    assert told == [(5, 6)]


def test_where_nothing_is_recorded_nobody_was_told(enabled: list[str]) -> None:
    assert _ways(lambda fence, line: None).tend(_soon())["audits_told"] is False


def test_the_line_is_read_from_the_last_commit_of_a_direction() -> None:
    def done(attempt: int, step: str, **facts: int) -> list[Draft]:
        return [Draft(attempt, Direction.FORWARD, step, kind, facts) for kind in (Kind.INTENT, Kind.DONE)]

    drafts = [
        *done(1, "record-fence-lsn", fence_lsn=5), *done(1, "record-commit-line", commit_line=6), *done(1, "commit"),
        *done(2, "record-fence-lsn", fence_lsn=7), *done(2, "record-commit-line", commit_line=8),
    ]  # fmt: skip
    entries = chained("orders", 1, "ana", drafts, 0, GENESIS, now_utc())
    assert line_recorded(entries, Direction.FORWARD) == (5, 6)
    assert line_recorded(entries, Direction.BACK) is None
