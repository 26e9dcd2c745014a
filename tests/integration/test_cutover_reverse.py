"""The way back on real servers: armed, started at the commit line, tended, taken for a rollback, and removed."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from auditor.servers import PostgresServer
from comparators.errors import NeedsOperator
from orchestrator.adapters import reverse
from orchestrator.adapters.reverse import Control, ReversePlan, WayBack, WayForward
from orchestrator.adapters.sessions import Session
from orchestrator.adapters.subscriptions import slots
from orchestrator.deadlines import Deadline
from tests.conftest import SETTINGS
from tests.helpers import Pair, wait_for

SCHEMA = "CREATE TABLE account (id bigint PRIMARY KEY, balance int NOT NULL, note text)"
ROWS = "SELECT count(*), coalesce(sum(balance), 0), coalesce(sum(hashtext(note)), 0) FROM account"


def _soon(doing: str = "the test's step") -> Deadline:
    return Deadline.within(60, doing)


class Ways:
    """A migration with its way back."""

    def __init__(self, pair: Pair, stack: ExitStack) -> None:
        self.pair = pair
        self.drawn: list[tuple[int, int]] = []
        name = f"auditor_{pair.name}_back"
        control = Control(
            name, (f"{name}.marker",),
            (f"CREATE SCHEMA IF NOT EXISTS {name}", f"CREATE TABLE IF NOT EXISTS {name}.marker (id int PRIMARY KEY)"),
        )  # fmt: skip
        self.plan = ReversePlan(name, (pair.subscription,), pair.target.dsn, f"auditor_{pair.name}", control, 1 << 30)
        self.source, self.target = (stack.enter_context(Session(one.dsn, "test")) for one in (pair.source, pair.target))
        self.back = WayBack(self.source, self.target, self.plan, self._drawn, lambda: None)
        self.forward = WayForward(self.source, self.target, self.plan, self._drawn, lambda: None)

    def _drawn(self, fence: int, line: int) -> None:
        self.drawn.append((fence, line))

    def position(self, side: Any) -> int:
        return int(side.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"))

    def cut_over(self) -> None:
        """Do what a cutover does between the last write and the first one on the target."""
        fence = self.position(self.pair.source)
        self.pair.catch_up()
        self.back.stop_forward(_soon())
        line = self.back.commit_line(_soon())["commit_line"]
        self.back.enable_reverse(fence, line, _soon())

    def wait_equal(self) -> None:
        """Wait until both sides hold the same rows."""
        wait_for(lambda: self.pair.source.rows(ROWS) == self.pair.target.rows(ROWS), 60, "equal rows on both sides")

    def streams(self) -> bool:
        return bool(self.back.tend(_soon())["reverse_streams"])


@pytest.fixture
def ways(pair: Pair) -> Iterator[Ways]:
    with ExitStack() as stack:
        yield _prepared(pair, stack)


def _prepared(pair: Pair, stack: ExitStack) -> Ways:
    pair.execute(SCHEMA)
    pair.source.execute("INSERT INTO account SELECT n, n, 'note ' || n FROM generate_series(1, 100) n")
    pair.replicate("TABLE account")
    return Ways(pair, stack)


def test_ten_thousand_writes_on_the_target_come_back_and_none_comes_twice(ways: Ways) -> None:
    pair = ways.pair
    assert ways.back.check() == []
    armed = ways.back.prepare_reverse(_soon())
    assert (armed["reverse"], armed["origin"], armed["filters"]) == ("disabled", "none", True)
    pair.source.execute("INSERT INTO account SELECT n, n, 'after arming' FROM generate_series(101, 200) n")
    ways.cut_over()
    for start in range(1000, 11_000, 1000):
        pair.target.execute(
            f"INSERT INTO account SELECT n, 1, 'on the target' FROM generate_series({start}, {start + 999}) n"
        )
    pair.target.execute("UPDATE account SET balance = balance + 1 WHERE id % 10 = 0")
    pair.target.execute("DELETE FROM account WHERE id % 7 = 0")
    ways.wait_equal()
    assert pair.source.value("SELECT count(*) FROM account WHERE note = 'on the target'") == pair.target.value(
        "SELECT count(*) FROM account WHERE note = 'on the target'"
    )
    errors = "SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = %s"
    assert pair.source.value(errors, ways.plan.name) == 0
    ((fence, line),) = ways.drawn
    assert fence > 0
    assert line > 0


def test_arming_twice_leaves_one_way_back_and_disarming_leaves_nothing(ways: Ways) -> None:
    ways.back.prepare_reverse(_soon())
    ways.back.prepare_reverse(_soon())
    assert ways.back.observe()["reverse"] == "disabled"
    assert ways.back.observe()["forward"] == "enabled"
    assert ways.back.disarm(_soon()) == {"reverse": "absent"}
    assert ways.back.disarm(_soon()) == {"reverse": "absent"}
    assert slots(ways.target, [ways.plan.name], _soon()) == {}
    for side in (ways.pair.source, ways.pair.target):
        assert side.value("SELECT to_regnamespace(%s)", ways.plan.name) is None
        assert side.value("SELECT count(*) FROM pg_publication WHERE pubname = %s", ways.plan.name) == 0


def test_an_aborted_cutover_goes_on_replicating(ways: Ways) -> None:
    ways.back.prepare_reverse(_soon())
    assert ways.back.stop_forward(_soon())["forward"] == "disabled"
    assert ways.back.stop_forward(_soon())["forward"] == "disabled"
    ways.back.commit_line(_soon())
    assert ways.back.resume_forward(_soon())["forward"] == "enabled"
    ways.pair.source.execute("INSERT INTO account VALUES (5000, 1, 'later')")
    ways.pair.catch_up()
    ways.wait_equal()


def test_both_ways_are_never_enabled_together(ways: Ways) -> None:
    ways.back.prepare_reverse(_soon())
    with pytest.raises(NeedsOperator, match="still runs"):
        ways.back.enable_reverse(1, 1, _soon())
    assert ways.drawn == []
    ways.cut_over()
    with pytest.raises(NeedsOperator, match="way back is enabled"):
        ways.back.resume_forward(_soon())
    with pytest.raises(NeedsOperator, match="way back is enabled"):
        ways.back.disarm(_soon())


def test_a_way_back_that_lost_its_slot_is_not_started(ways: Ways) -> None:
    ways.back.prepare_reverse(_soon())
    ways.back.stop_forward(_soon())
    ways.pair.target.execute("SELECT pg_drop_replication_slot(%s)", ways.plan.name)
    with pytest.raises(NeedsOperator, match="is gone"):
        ways.back.enable_reverse(1, 1, _soon())
    assert ways.back.observe()["reverse"] == "disabled"


def test_a_way_back_that_lost_its_slot_is_found_before_the_commit(ways: Ways) -> None:
    """After it nothing could be opened: the new side not without a way back, the old one not at all."""
    ways.back.prepare_reverse(_soon())
    ways.back.stop_forward(_soon())
    ways.pair.target.execute("SELECT pg_drop_replication_slot(%s)", ways.plan.name)
    with pytest.raises(NeedsOperator, match="is gone"):
        ways.back.commit_line(_soon())
    assert ways.back.resume_forward(_soon())["forward"] == "enabled"
    ways.back.prepare_reverse(_soon())  # as starting again does
    assert ways.back.commit_line(_soon())["moved"] == []


def test_what_could_not_come_back_speaks_against_a_cutover(ways: Ways) -> None:
    pair = ways.pair
    pair.target.execute("ALTER TABLE account ADD COLUMN extra int")
    assert [one.name for one in ways.back.check()] == ["reverse-columns"]
    pair.target.execute("ALTER TABLE account DROP COLUMN extra")
    pair.target.execute("ALTER TABLE account REPLICA IDENTITY NOTHING")
    assert [one.name for one in ways.back.check()] == ["reverse-table"]
    with pytest.raises(NeedsOperator, match="no replica identity"):
        ways.back.prepare_reverse(_soon())
    assert ways.back.observe()["reverse"] == "absent"


def test_what_echoes_in_the_parked_slot_is_passed_and_a_rollback_brings_nothing_twice(ways: Ways) -> None:
    pair = ways.pair
    ways.back.prepare_reverse(_soon())
    ways.cut_over()
    parked = slots(ways.source, [pair.subscription], _soon())[pair.subscription].confirmed or 0
    pair.target.execute("INSERT INTO account SELECT n, 2, 'second' FROM generate_series(20000, 21000) n")
    ways.wait_equal()
    wait_for(ways.streams, 60, "the way back to stream")
    assert (ways.back.tend(_soon())["parked"][pair.subscription] or 0) > parked
    pair.target.execute("UPDATE account SET balance = balance + 5 WHERE id < 50")
    ways.wait_equal()

    fence = ways.position(pair.target)
    wait_for(lambda: ways.back.observe()["reverse_lag_bytes"] == 0, 60, "the way back to have brought everything")
    assert ways.forward.stop_forward(_soon())["forward"] == "disabled"
    line = ways.forward.commit_line(_soon())
    assert line["moved"] == [pair.subscription]
    assert ways.forward.disarm(_soon()) == {"forward": "disabled", "reverse": "disabled"}
    assert ways.forward.enable_reverse(fence, line["commit_line"], _soon())["reverse"] == "enabled"
    pair.source.execute("INSERT INTO account VALUES (30000, 3, 'after the rollback')")
    pair.catch_up()
    ways.wait_equal()
    errors = "SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = %s"
    assert pair.target.value(errors, pair.subscription) == 0
    assert ways.forward.finalize(_soon()) == {"forward": "absent", "reverse": "enabled"}


def test_finalizing_leaves_neither_way(ways: Ways) -> None:
    ways.back.prepare_reverse(_soon())
    ways.cut_over()
    assert ways.back.finalize(_soon()) == {"forward": "absent", "reverse": "absent"}
    assert slots(ways.source, [ways.pair.subscription], _soon()) == {}
    assert slots(ways.target, [ways.plan.name], _soon()) == {}


@pytest.mark.parametrize("killed_after", ["drop_subscription", "drop_slot"])
def test_who_is_killed_while_finalizing_leaves_no_slot_to_nobody(
    ways: Ways, killed_after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways.back.prepare_reverse(_soon())
    ways.cut_over()
    drop = getattr(reverse, killed_after)

    def dropped_and_killed(session: Session, name: str, deadline: Deadline) -> None:
        drop(session, name, deadline)
        if name == ways.pair.subscription:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(reverse, killed_after, dropped_and_killed)
        with pytest.raises(KeyboardInterrupt):
            ways.back.finalize(_soon())
    assert ways.back.finalize(_soon()) == {"forward": "absent", "reverse": "absent"}
    assert slots(ways.source, [ways.pair.subscription], _soon()) == {}


def test_a_source_that_cannot_leave_out_what_came_to_the_target_starts_at_the_line() -> None:
    with PostgresServer(15, SETTINGS, "old") as source, PostgresServer(18, SETTINGS, "new") as target:
        pair = Pair(source, target)
        with ExitStack() as stack:
            pair.__enter__()
            stack.callback(pair.close)
            ways = _prepared(pair, stack)
            armed = ways.back.prepare_reverse(_soon())
            assert (armed["origin"], armed["filters"]) == ("any", False)
            pair.source.execute("INSERT INTO account SELECT n, n, 'after arming' FROM generate_series(101, 300) n")
            pair.source.execute("UPDATE account SET balance = balance + 1")
            ways.cut_over()
            pair.target.execute("UPDATE account SET balance = balance + 1")
            pair.target.execute("INSERT INTO account SELECT n, 1, 'new' FROM generate_series(1000, 1999) n")
            ways.wait_equal()
            errors = "SELECT apply_error_count FROM pg_stat_subscription_stats WHERE subname = %s"
            assert pair.source.value(errors, ways.plan.name) == 0
