"""What every home of the verdict log promises; run on the file and on a real broker."""

import math
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from auditor.kafka_verdict_log import KafkaVerdictLog
from auditor.topics import ensure_topics
from auditor.verdict_log import SqliteVerdictLog, VerdictLog
from auditor.verdicts import Anchor, ChainForked, broken, read_entry
from comparators.errors import StoreUnavailable
from tests.helpers import unique_name
from tests.migrations import kafka_settings
from tests.verdict_logs import NOW, draft

Opener = Callable[[], VerdictLog]


@pytest.fixture(params=["sqlite", "kafka"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open further views of one migration's log; all are closed at the end."""
    views: list[VerdictLog] = []
    make = _in_file(tmp_path) if request.param == "sqlite" else _in_kafka(request, tmp_path)

    def open_one() -> VerdictLog:
        views.append(make())
        return views[-1]

    yield open_one
    for view in views:
        view.close()


def _in_file(folder: Path) -> Opener:
    return lambda: SqliteVerdictLog(folder / "verdicts.sqlite", clock=lambda: NOW)


def _in_kafka(request: pytest.FixtureRequest, folder: Path) -> Opener:
    settings = kafka_settings(request.getfixturevalue("kafka"), folder, unique_name("verdicts").replace("_", "-"))
    ensure_topics(settings)
    assert settings.transport is not None
    kafka = settings.transport
    return lambda: KafkaVerdictLog(kafka, settings.names.topics.verdicts)


def test_an_empty_log_is_whole(opener: Opener) -> None:
    log = opener()
    assert list(log.lines()) == []
    assert list(log.newest()) == []
    assert (log.damage(), log.anchor()) == ([], Anchor())


def test_entries_come_back_in_order_as_one_chain(opener: Opener) -> None:
    log = opener()
    made = log.append([draft(0), draft(1)]) + log.append([draft(2)])
    lines = list(log.lines())
    assert [entry.text for entry in made] == lines
    assert list(reversed(lines)) == list(log.newest())
    assert [1, 2, 3] == [entry.seq for entry in made]
    assert [] == broken(lines)


def test_another_view_goes_on_with_the_same_chain(opener: Opener) -> None:
    first, second = opener(), opener()
    first.append([draft(0)])
    second.append([draft(1)])
    first.append([draft(2)])
    assert [] == broken(opener().lines())
    assert 3 == len(list(second.lines()))


def test_what_is_older_is_left_out(opener: Opener) -> None:
    log = opener()
    log.append([draft(n, at=NOW - 100 + 10 * n) for n in range(10)])
    assert [7, 8, 9, 10] == [read_entry(line).seq for line in log.lines(NOW - 40)]
    assert [] == list(log.lines(NOW + 1))
    assert [] == broken(log.lines(NOW - 40), before=None)


def test_a_long_log_is_read_whole_from_both_ends(opener: Opener) -> None:
    log = opener()
    log.append([draft(n) for n in range(1203)])
    assert list(range(1, 1204)) == [read_entry(line).seq for line in log.lines()]
    assert list(range(1203, 0, -1)) == [read_entry(line).seq for line in log.newest()]


def test_bodies_keep_every_character_and_number(opener: Opener) -> None:
    body = {"text": "žluťoučký \u0000 'quoted' \u2028", "large": 2**63, "small": 1e-300, "half": 0.1}
    log = opener()
    log.append([draft(0, **body)])
    (line,) = log.lines()
    found = read_entry(line).body
    assert body == {name: found[name] for name in body}


def test_what_is_not_json_is_refused_and_nothing_of_it_stays(opener: Opener) -> None:
    log = opener()
    with pytest.raises(ValueError, match="JSON compliant"):
        log.append([draft(1), replace(draft(0), body={"value": math.nan})])
    log.append([draft(1)])
    assert [1] == [read_entry(line).seq for line in log.lines()]


def test_threads_of_one_gate_make_one_chain(opener: Opener) -> None:
    log = opener()

    def write(number: int) -> None:
        for n in range(10):
            log.append([draft(10 * number + n)])

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == broken(log.lines())
    assert 40 == len(list(log.lines()))


# The file alone.


def database(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / "verdicts.sqlite", isolation_level=None)


def test_a_damaged_end_is_said_and_the_chain_goes_on_from_the_last_good_entry(tmp_path: Path) -> None:
    log = _in_file(tmp_path)()
    good, torn = log.append([draft(0), draft(1)])
    other = database(tmp_path)
    half = zlib.compress(torn.text.encode())[:40]
    other.execute("UPDATE entries SET entry = ? WHERE position = 2", (half,))
    other.execute("INSERT INTO entries (at, entry) VALUES (?, ?)", (NOW, zlib.compress(b"{}")))
    other.close()
    log.close()

    log = _in_file(tmp_path)()
    assert 2 == len(log.damage())
    (next_one,) = log.append([draft(2)])
    assert (good.seq + 1, good.hash) == (next_one.seq, next_one.previous)
    assert [] == log.damage()
    assert [2, 3] == [one.line for one in broken(log.lines())]  # damage never becomes whole again
    log.close()


def test_old_entries_are_pruned_and_the_chain_still_fits_its_anchor(tmp_path: Path) -> None:
    log = SqliteVerdictLog(tmp_path / "verdicts.sqlite", keep_entries=10, clock=lambda: NOW)
    log.append([draft(n) for n in range(30)])
    assert list(range(21, 31)) == [read_entry(line).seq for line in log.lines()]
    anchor = log.anchor()
    assert anchor is not None
    assert 20 == anchor.seq
    assert [] == broken(log.lines(), anchor)
    assert broken(log.lines(), Anchor())
    log.close()


def test_entries_of_more_than_400_days_ago_are_pruned(tmp_path: Path) -> None:
    log = SqliteVerdictLog(tmp_path / "verdicts.sqlite", clock=lambda: NOW)
    days = 24 * 3600
    log.append([draft(0, at=NOW - 402 * days), draft(1, at=NOW - 401 * days), draft(2, at=NOW - 399 * days)])
    assert [3] == [read_entry(line).seq for line in log.lines()]
    assert [] == broken(log.lines(), log.anchor())
    log.close()


def test_a_file_that_others_keep_locked_is_reported_as_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.verdict_log.BUSY_SECONDS", 0.05)
    log = _in_file(tmp_path)()
    other = database(tmp_path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        log.append([draft(0)])
    other.execute("ROLLBACK")
    other.close()
    log.append([draft(0)])
    assert 1 == len(list(log.lines()))
    log.close()


def test_a_file_that_was_taken_away_is_noticed(tmp_path: Path) -> None:
    log = _in_file(tmp_path)()
    log.append([draft(0)])
    (tmp_path / "verdicts.sqlite").unlink()
    with pytest.raises(StoreUnavailable, match="removed or replaced"):
        log.append([draft(1)])
    log.close()


# The topic alone.


def test_two_gates_that_write_at_once_are_noticed_and_found(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second writes between the first one's look at the end and its write."""
    open_one = _in_kafka(request, tmp_path)
    first, second = open_one(), open_one()
    first.append([draft(0)])
    send = KafkaVerdictLog._send

    def late(self: KafkaVerdictLog, *args: object) -> None:
        monkeypatch.setattr(KafkaVerdictLog, "_send", send)
        second.append([draft(1)])
        send(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(KafkaVerdictLog, "_send", late)
    with pytest.raises(ChainForked, match="two gates"):
        first.append([draft(2)])
    first.append([draft(3)])
    (found,) = broken(first.lines())
    assert (3, 2) == (found.line, found.seq)
    assert "two gates" in found.reason
    for log in (first, second):
        log.close()
