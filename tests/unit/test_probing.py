"""The prober's lanes: what is recorded when a look works, fails or cannot be made; and what memory is worth."""

import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from auditor import probing
from auditor.evidence import expected_of, fold
from auditor.peers import Peers
from auditor.prober import RecordsDesk
from auditor.probing import STORED, Lane, asked_of, said_of
from auditor.settings import ProbeSettings, SlotOwner
from comparators.errors import NotPermitted, SideUnavailable
from comparators.preflight import Item, ItemStatus
from samplers.probes.base import KnownSlot, Reading
from tests.helpers_records import NOW, MemoryRecords, settings_of

BASELINE = {"generation": 3, "at": NOW, "floor": 1}


class FakeProbe:
    group = "slots"
    every_seconds = 60.0
    looks = 1
    made: ClassVar[list["FakeProbe"]] = []
    answers: ClassVar[list[Any]] = []

    def __init__(self, asked: Any) -> None:
        self.made.append(self)
        self.taken: tuple[Any, int] | None = None

    def take(self, record: Mapping[str, Any] | None, generation: int) -> None:
        self.taken = (record, generation)

    def record(self) -> dict[str, Any]:
        return {"generation": self.taken[1] if self.taken else 0}

    def look(self, sides: Any, now: float) -> Reading:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeSession:
    closed = False

    def close(self) -> None:
        self.closed = True


class FakeSides:
    def __init__(self) -> None:
        self.source, self.target = FakeSession(), FakeSession()


GOOD = Reading((Item("slots-known", ItemStatus.OK, "fine"),), {"slots": 2})


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> MemoryRecords:
    FakeProbe.made, FakeProbe.answers = [], []
    monkeypatch.setattr(probing, "import_module", lambda name: type("Module", (), {"PROBE": FakeProbe}))
    monkeypatch.setattr(probing, "open_sides", lambda settings, baseline: FakeSides())
    return MemoryRecords({"baseline": BASELINE})


def lane_of(records: MemoryRecords) -> Lane:
    peers = Peers(records)
    peers.refresh()
    return Lane("quick", ("slots",), settings_of(), RecordsDesk(records), "prober-1", peers, lambda: NOW)


def turn(lane: Lane, records: MemoryRecords) -> dict[str, Any]:
    """Let one look be made, at once."""
    lane._begin(records.values["baseline"])
    lane._due["slots"] = 0.0
    lane._turn(records.values["baseline"])
    return records.values["probe/slots"]


def test_a_look_is_recorded_whole(records: MemoryRecords) -> None:
    FakeProbe.answers = [GOOD]
    seen = turn(lane_of(records), records)
    assert (seen["at"], seen["generation"], seen["incarnation"], seen["error"]) == (NOW, 3, "prober-1", None)
    assert [item["name"] for item in seen["items"]] == ["slots-known"]
    assert seen["figures"] == {"slots": 2}


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SideUnavailable("read slots: the server\nDETAIL: a value"), "read slots: the server"),
        (NotPermitted("permission denied", hint="grant"), "permission denied"),
        (RuntimeError("row 42 is odd"), "RuntimeError: see the prober's log"),
    ],
)
def test_a_look_that_fails_replaces_the_good_news_at_once_and_gets_a_new_session(
    records: MemoryRecords, error: Exception, said: str
) -> None:
    FakeProbe.answers = [GOOD, error, GOOD]
    lane = lane_of(records)
    turn(lane, records)
    sides = lane._sides
    assert turn(lane, records)["error"] == said
    assert records.values["probe/slots"]["items"] == []
    assert sides is not None
    assert sides.source.closed
    assert turn(lane, records)["error"] is None


def test_a_side_that_cannot_be_reached_is_unknown_to_every_probe_of_the_lane(
    records: MemoryRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(settings: Any, baseline: Any) -> Any:
        raise SideUnavailable("connect: refused")

    lane = lane_of(records)
    monkeypatch.setattr(probing, "open_sides", away)
    assert turn(lane, records)["error"] == "connect: refused"


def test_another_baseline_begins_without_memory_and_takes_only_what_is_stored(records: MemoryRecords) -> None:
    FakeProbe.answers = [GOOD, GOOD]
    lane = lane_of(records)
    turn(lane, records)
    assert records.values[STORED] == {"generation": 3}
    records.values["baseline"] = BASELINE | {"generation": 4}
    assert turn(lane, records)["generation"] == 4
    assert [probe.taken[1] for probe in FakeProbe.made if probe.taken] == [3, 4]


def test_without_a_baseline_nothing_is_looked_at(records: MemoryRecords) -> None:
    records.put({"baseline": BASELINE | {"ended": NOW}})
    stop = threading.Event()
    lane = lane_of(records)
    threading.Timer(0.05, stop.set).start()
    lane.run(stop)
    assert "probe/slots" not in records.values


def test_what_could_not_be_written_is_written_with_the_next(records: MemoryRecords) -> None:
    desk = RecordsDesk(records)
    records.away = True
    desk.put({"probe/slots": {"at": 1}})
    desk.put({"probe/slots": {"at": 2}})
    records.away = False
    desk.put({"process/prober": {"heartbeat": 3}})
    assert records.puts[-1] == {"probe/slots": {"at": 2}, "process/prober": {"heartbeat": 3}}


def test_a_memory_is_stored_when_it_changed(records: MemoryRecords) -> None:
    desk = RecordsDesk(records)
    for value in ({"a": 1}, {"a": 1}, {"a": 2}):
        desk.keep(STORED, value)
    assert [put[STORED] for put in records.puts] == [{"a": 1}, {"a": 2}]


def test_probes_are_asked_what_the_settings_say() -> None:
    probes = ProbeSettings(known_slots={"cdc": SlotOwner("team", 5)}, known_writers=("app",), disk={"source": 7})
    asked = asked_of(settings_of(probes=probes))
    assert asked.own_slots == {"source": "auditor_orders_source", "target": "auditor_orders_target"}
    assert asked.own_schema == "auditor_orders"
    assert asked.known_slots == {"cdc": KnownSlot("team", 5)}
    assert (asked.known_writers, asked.disk_bytes) == (("app",), {"source": 7})


def test_an_error_shows_its_first_line_only() -> None:
    assert said_of(SideUnavailable("a  b\nc")) == "a b"


def test_without_probes_every_condition_of_theirs_says_so() -> None:
    expected = expected_of(settings_of(probes=ProbeSettings(enabled=False)))
    assert fold({}, NOW, expected).probing is False
