"""What every home of the records promises; run on the file and on a real broker."""

import math
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka.errors import KafkaTimeoutError

from auditor.kafka_records import KafkaRecords
from auditor.records import NotStorable, Records, SqliteRecords
from auditor.settings import KafkaSettings
from auditor.topics import ensure_topics
from comparators.errors import StoreUnavailable
from tests.helpers import unique_name
from tests.migrations import kafka_settings

Opener = Callable[[], Records]


@pytest.fixture(params=["sqlite", "kafka"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """Open further views of one migration's records; all are closed at the end."""
    views: list[Records] = []
    make = _in_file(tmp_path) if request.param == "sqlite" else _in_kafka(request, tmp_path)

    def open_one() -> Records:
        views.append(make())
        return views[-1]

    yield open_one
    for view in views:
        view.close()


def _in_file(folder: Path) -> Opener:
    return lambda: SqliteRecords(folder / "records.sqlite")


def _in_kafka(request: pytest.FixtureRequest, folder: Path) -> Opener:
    settings = kafka_settings(request.getfixturevalue("kafka"), folder, unique_name("records").replace("_", "-"))
    ensure_topics(settings)
    assert settings.transport is not None
    kafka = settings.transport
    return lambda: KafkaRecords(kafka, settings.names.topics.records)


def test_nothing_is_there_at_first(opener: Opener) -> None:
    assert opener().changes() == {}


def test_a_value_comes_back_as_it_was_put(opener: Opener) -> None:
    records = opener()
    value = {"text": "žluťoučký \u0000 'quoted'", "none": None, "large": 2**63, "list": [1, {"a": True}], "f": 0.1}
    records.put({"baseline": value})

    assert {"baseline": value} == records.changes()


def test_the_first_call_gives_everything_and_later_ones_what_changed(opener: Opener) -> None:
    writer = opener()
    writer.put({"a": {"n": 1}, "b": {"n": 1}})
    reader = opener()

    assert reader.changes() == {"a": {"n": 1}, "b": {"n": 1}}
    assert reader.changes() == {}
    writer.put({"b": {"n": 2}})
    writer.put({"b": {"n": 3}, "c": {"n": 1}})
    assert reader.changes() == {"b": {"n": 3}, "c": {"n": 1}}
    assert reader.changes() == {}


def test_a_deletion_is_told_to_who_read_before_and_hidden_from_who_comes_later(opener: Opener) -> None:
    writer, reader = opener(), opener()
    writer.put({"a": {"n": 1}, "b": {}})
    reader.changes()
    writer.put({"a": None, "never": None})

    changes = reader.changes()
    assert changes.pop("a") is None
    assert changes.get("never") is None
    assert opener().changes() == {"b": {}}


def test_a_deleted_key_may_return(opener: Opener) -> None:
    records = opener()
    records.put({"a": {"n": 1}})
    records.put({"a": None})
    records.put({"a": {"n": 2}})

    assert records.changes() == {"a": {"n": 2}}


def test_own_puts_are_visible_at_once(opener: Opener) -> None:
    records = opener()
    for n in range(20):
        records.put({"progress/0": {"n": n}})
        assert {"progress/0": {"n": n}} == records.changes()


def test_two_views_do_not_take_changes_from_each_other(opener: Opener) -> None:
    writer, one, other = opener(), opener(), opener()
    writer.put({"a": {"n": 1}})

    assert one.changes() == {"a": {"n": 1}}
    assert other.changes() == {"a": {"n": 1}}


def test_puts_of_several_threads_and_views_all_arrive(opener: Opener) -> None:
    writers = [opener(), opener()]
    reader = opener()

    def write(number: int) -> None:
        for n in range(10):
            writers[number % 2].put({f"{number}/{n}": {"n": n}, f"last/{number}": {"n": n}})

    threads = [threading.Thread(target=write, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    seen: dict[str, object] = {}
    while any(thread.is_alive() for thread in threads):
        seen |= reader.changes()
    seen |= reader.changes()

    wanted = {f"{number}/{n}": {"n": n} for number in range(4) for n in range(10)}
    assert wanted | {f"last/{number}": {"n": 9} for number in range(4)} == seen


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, b"bytes", object(), "\ud800"])
def test_what_is_not_json_is_refused_whole(opener: Opener, value: object) -> None:
    records = opener()
    with pytest.raises(NotStorable):
        records.put({"good": {}, "bad": {"value": value}})

    assert records.changes() == {}


def test_an_empty_put_changes_nothing(opener: Opener) -> None:
    records = opener()
    records.put({})

    assert records.changes() == {}


def test_a_large_record_fits(opener: Opener) -> None:
    records = opener()
    value = {"tables": {f"public.table_{n}": [n, n] for n in range(60_000)}}
    records.put({"progress/0": value})

    assert {"progress/0": value} == records.changes()


def test_a_file_that_others_keep_locked_is_reported_as_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auditor.records.BUSY_SECONDS", 0.05)
    records = SqliteRecords(tmp_path / "records.sqlite")
    other = sqlite3.connect(tmp_path / "records.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable):
        records.put({"a": {"n": 1}})
    other.execute("ROLLBACK")
    other.close()
    records.put({"a": {"n": 1}})

    assert records.changes() == {"a": {"n": 1}}
    records.close()


def test_a_file_that_cannot_be_opened_is_reported_as_away(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="records"):
        SqliteRecords(tmp_path / "no folder" / "records.sqlite")


def test_a_broker_that_is_not_there_is_reported_as_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(**options: object) -> None:
        raise KafkaTimeoutError("no broker answers")

    monkeypatch.setattr("auditor.brokers.KafkaConsumer", give_up)
    with pytest.raises(StoreUnavailable, match=r"reach Kafka at nowhere:1: .*no broker answers"):
        KafkaRecords(KafkaSettings(bootstrap=("nowhere:1",)), "records")
