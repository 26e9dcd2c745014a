"""A commit is told to both audits beside what else is done; clients do not wait for records that are away."""

import threading
from typing import Any

import pytest

from comparators.errors import StoreUnavailable
from orchestrator.adapters import reverse
from orchestrator.adapters.reverse import Ways
from orchestrator.adapters.subscriptions import SlotSeen, SubscriptionSeen
from orchestrator.deadlines import Deadline


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


def _ways(drawn: Any) -> Ways:
    nowhere: Any = None
    return Ways(nowhere, nowhere, ["app_sub"], ["back"], budget_bytes=1, drawn=drawn)


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
    away[0] = False
    assert ways.tend(_soon())["audits_told"] is True
    assert ways.tend(_soon())["audits_told"] is True
    assert told == [(5, 6)]


def test_records_that_hang_do_not_hold_the_clients(enabled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reverse, "TELL_SECONDS", 0.01)
    let_go = threading.Event()
    assert _ways(lambda fence, line: let_go.wait()).enable_reverse(5, 6, _soon())["audits_told"] is False
    let_go.set()
    assert enabled == ["back"]
