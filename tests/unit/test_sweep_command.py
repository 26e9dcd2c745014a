"""What `auditor sweep` concludes, takes and shows; `auditor coverage` and `auditor tables` say what is recorded."""

import json
from typing import Any

import pytest

from auditor.coverage import Coverage
from auditor.coverage_shown import coverage_command, coverage_table
from auditor.records import SqliteRecords
from auditor.settings import Settings
from auditor.sweep_command import Progress, limits_of, verdict_of
from comparators.errors import SettingInvalid
from comparators.findings import merged_finding
from tests.fake_engine import FakeStep
from tests.helpers_records import NOW, covered, settings_of, suspect

ORDERS = "public.orders"


def verdict(line: dict[str, Any], *findings: Any, swept: bool = True) -> str:
    return verdict_of({ORDERS: line}, frozenset({ORDERS} if swept else ()), list(findings), NOW)


def finding(state: str = "confirmed", count: int = 1, accepted: bool = False) -> Any:
    record = suspect(detector="row", state=state, count=count)
    taken = {"owner": "ann", "reason": "known", "until": None, "at": NOW} if accepted else None
    return merged_finding(record["id"], record, None, taken, NOW)


def test_rows_that_were_all_proved_are_equal():
    assert "equal" == verdict(covered(ORDERS))
    assert "equal" == verdict(covered(ORDERS, rows=0, verified=0))


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "error", "reason": "gone"},
        {"state": "skipped", "reason": "no right"},
        {"state": "waiting"},
        {"state": "sweeping"},
        {"unverified": 1, "verified": 999},
        {"hot": 1, "verified": 999},
        {"verified": 999},
        {"different": 1, "verified": 999},
        {"different": 1},
    ],
)
def test_whatever_was_not_proved_is_not_equal(changes):
    assert "unknown" == verdict(covered(ORDERS, **changes))


def test_a_table_that_this_sweep_did_not_finish_is_not_known_and_neither_is_nothing_at_all():
    assert "unknown" == verdict(covered(ORDERS), swept=False)
    assert "unknown" == verdict_of({}, frozenset(), [], NOW)


def test_a_confirmed_row_is_different_and_an_accepted_one_is_not():
    line = covered(ORDERS, different=1, verified=999)
    assert "different" == verdict(line, finding())
    assert "equal" == verdict(line, finding(accepted=True))
    assert "unknown" == verdict(covered(ORDERS, different=2, verified=998), finding(accepted=True))


def test_limits_are_read_by_name_and_none_goes_back_to_the_configuration():
    given = ["active-sessions=20", "lock-waits=none", "statement-seconds=0.5"]
    assert {"active-sessions": 20.0, "lock-waits": None, "statement-seconds": 0.5} == limits_of(given)


@pytest.mark.parametrize("given", ["sessions=2", "active-sessions", "active-sessions=many", "lock-waits=-1", "=3"])
def test_a_limit_that_makes_no_sense_is_refused(given):
    with pytest.raises(SettingInvalid, match="--max-load"):
        limits_of([given])


@pytest.mark.parametrize("given", ["active-sessions=nan", "active-sessions=inf"])
def test_a_limit_is_a_number(given):
    with pytest.raises(SettingInvalid, match="0 or more"):
        limits_of([given])


def test_the_ledger_is_shown_with_its_age_and_what_is_under_way():
    running = Coverage("public.lines", 1).begun(10, NOW).stepped(FakeStep(), {}, 0.5).record()
    text = coverage_table([covered(ORDERS, reason="they keep changing"), running], NOW)
    assert "40 s" in text
    assert "they keep changing" in text
    assert "sweep 1: 1 of 10 segments, 20 rows/s, 4 s left" in text


def test_a_skip_that_somebody_took_is_shown_with_their_name():
    line = Coverage(ORDERS, 1).unreadable("skipped", "no right to SELECT").record()
    taken = line | {"accepted": {"owner": "ann", "reason": "a scratch table", "until": NOW + 60}}
    assert "no right to SELECT; accepted by ann: a scratch table" in coverage_table([taken], NOW)
    assert "no right to SELECT; the acceptance by ann has ended" in coverage_table([taken], NOW + 61)


def test_a_skip_that_somebody_took_leaves_the_verdict_to_the_other_tables_until_it_ends():
    skipped = Coverage("public.scratch", 1).unreadable("skipped", "no right to SELECT").record()
    taken = skipped | {"accepted": {"owner": "ann", "reason": "a scratch table", "until": NOW + 60}}
    lines = {ORDERS: covered(ORDERS), "public.scratch": taken}
    assert "equal" == verdict_of(lines, frozenset({ORDERS}), [], NOW)
    assert "unknown" == verdict_of(lines, frozenset({ORDERS}), [], NOW + 61)
    assert "unknown" == verdict_of({"public.scratch": taken}, frozenset(), [], NOW)


def test_coverage_prints_the_records_and_creates_nothing(tmp_path, capsys):
    settings = settings_of(state_dir=tmp_path / "state")
    assert 0 == coverage_command(settings, as_json=False)
    assert "nothing has been swept yet" in capsys.readouterr().out
    assert not settings.state_dir.exists()
    stored(settings, {f"coverage/{ORDERS}": covered(ORDERS)})
    assert 0 == coverage_command(settings, as_json=True)
    (said,) = json.loads(capsys.readouterr().out)["tables"]
    assert covered(ORDERS).items() <= said.items()


def stored(settings: Settings, items: dict[str, Any]) -> None:
    store = SqliteRecords(settings.open_state_dir() / "records.sqlite")
    store.put(items)
    store.close()


class Told:
    """Bars that write down what they are told."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def begin(self, table: str, rows: int) -> None:
        self.said.append(("begin", table, rows))

    def advance(self, table: str, rows: int, share: float) -> None:
        self.said.append(("advance", table, rows, share))

    def end(self, table: str, said: str) -> None:
        self.said.append(("end", table, said))


def test_each_table_has_a_bar_while_it_is_swept():
    bars, idle = Told(), Coverage(ORDERS, 1)
    progress = Progress(bars)
    begun = idle.begun(2, NOW)
    half = begun.stepped(FakeStep(), {}, 0.5)
    done = half.stepped(FakeStep(first=1, past_last=2, hot=1, verified=9, reason="they moved"), {}, 0.5).finished(NOW)
    for line in (idle, begun, half, done, done):
        progress.look({ORDERS: line})
    assert [
        ("begin", ORDERS, 0), ("advance", ORDERS, 0, 0.0), ("advance", ORDERS, 10, 0.5),
        ("end", ORDERS, f"{ORDERS}: 20 rows, 19 equal, 0 different, 1 not known: they moved"),
    ] == bars.said  # fmt: skip


def test_a_table_whose_sweep_fails_says_why():
    bars = Told()
    progress = Progress(bars)
    begun = Coverage(ORDERS, 1).begun(2, NOW)
    for line in (begun, begun.failed("the target is gone")):
        progress.look({ORDERS: line})
    assert ("end", ORDERS, f"{ORDERS}: the target is gone") == bars.said[-1]
