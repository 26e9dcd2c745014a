"""Consumers of change slots on real servers: each sees every change once, across the switch and back."""

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from comparators.errors import NeedsOperator, NotReady
from comparators.positions import Side
from orchestrator.adapters.consumers import Consumer, SlotConsumers
from orchestrator.adapters.programs import Programs, run_all
from orchestrator.adapters.reverse import WayBack, WayForward
from orchestrator.adapters.sessions import Session
from orchestrator.adapters.subscriptions import slots
from orchestrator.deadlines import Deadline, DeadlinePassed
from samplers.replication import ReplicationStream
from tests.helpers import Database, Pair, wait_for
from tests.integration.test_cutover_reverse import Ways


def _soon(seconds: float = 60) -> Deadline:
    return Deadline.within(seconds, "the test's step")


class Reader:
    """Reads a slot as Debezium would: keeps the changes of a transaction, then confirms it."""

    def __init__(self, slot: str, publication: str, sides: dict[Side, Database]) -> None:
        self.slot, self._publication, self._sides = slot, publication, sides
        self.seen: list[tuple[str, bytes]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, side: Side) -> None:
        self._stop.clear()
        self._thread = threading.Thread(target=self._read, args=(self._sides[side],), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(30)

    def _read(self, database: Database) -> None:
        stream = ReplicationStream(database.dsn, self.slot, (self._publication,), side="consumer")
        pending: list[tuple[str, bytes]] = []
        try:
            while not self._stop.is_set():
                stream.fill()
                size, view = stream.get(1)
                if size == 0:
                    stream.wait(0.01)
                    continue
                data = bytes(view)
                if data[:1] == b"k":
                    position = int.from_bytes(data[1:9], "big")
                    stream.confirm(position, 0 if pending else position)
                elif data[25:26] in (b"I", b"U", b"D"):
                    pending.append((data[25:26].decode(), data[30:]))
                elif data[25:26] == b"C":
                    self.seen += pending
                    pending = []
                    end = int.from_bytes(data[35:43], "big")
                    stream.confirm(end, end)
        finally:
            stream.close()


class World:
    """A pair with its ways and one consumer."""

    def __init__(self, pair: Pair, stack: ExitStack) -> None:
        pair.execute("CREATE TABLE account (id bigint PRIMARY KEY, balance int NOT NULL, note text)")
        pair.execute(f"CREATE PUBLICATION {pair.name}_cdc FOR TABLE account")
        pair.replicate("TABLE account")
        self.pair, self.slot = pair, f"{pair.name}_cdc"
        pair.source.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", self.slot)
        ways = Ways(pair, stack)
        self.source, self.target = ways.source, ways.target
        self.back, self.forward = (
            WayBack(*self._sides(), ways.plan, _told),
            WayForward(*self._sides(), ways.plan, _told),
        )
        self.reader = Reader(self.slot, self.slot, {Side.SOURCE: pair.source, Side.TARGET: pair.target})
        stack.callback(self.reader.stop)
        words = ("stop",), ("start",)
        self.consumer = Consumer(self.slot, "pgoutput", *words)
        self.there = SlotConsumers(self.source, self.target, [self.consumer], run=self._run)
        self.and_back = SlotConsumers(self.target, self.source, [self.consumer], rollback=True, run=self._run)
        self.reader.start(Side.SOURCE)
        wait_for(lambda: self.there.check() == [], 60, "the reader to read")

    def _sides(self) -> tuple[Session, Session]:
        return self.source, self.target

    def _run(self, programs: Programs, deadline: Deadline) -> None:
        for words, more in programs.values():
            assert more["AUDITOR_SLOT"] == self.slot
            if tuple(words) == ("stop",):
                self.reader.stop()
            else:
                self.reader.start(Side(more["AUDITOR_SIDE"]))

    def position(self, side: Database) -> int:
        return int(side.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"))


def _told(fence: int, line: int) -> None:
    """Nobody audits here."""


@pytest.fixture
def world(pair: Pair) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(pair, stack)


def _insert(side: Database, first: int, last: int) -> None:
    for number in range(first, last + 1):
        side.execute("INSERT INTO account VALUES (%s, 1, 'x')", number)


def test_a_consumer_sees_every_change_once_across_the_switch_and_back(world: World) -> None:
    pair = world.pair
    world.back.prepare_reverse(_soon())
    _insert(pair.source, 1, 50)
    assert world.there.pause(_soon())["consumers"] == 1
    fence = world.position(pair.source)
    pair.catch_up()
    assert world.there.drain(fence, _soon())["behind"] == 0
    assert list(world.there.hand_over(_soon())["slots"]) == [world.slot]
    world.back.stop_forward(_soon())
    world.back.enable_reverse(fence, world.back.commit_line(_soon())["commit_line"], _soon())
    _insert(pair.target, 51, 100)
    world.there.resume(Side.TARGET, _soon())
    _insert(pair.target, 101, 150)
    wait_for(lambda: len(world.reader.seen) >= 150, 60, "the consumer to see the target's changes")
    wait_for(lambda: pair.source.value("SELECT count(*) FROM account") == 150, 60, "the way back to carry them")
    tended = world.there.tend(_soon())
    assert tended["parked"][world.slot] > fence

    _insert(pair.target, 151, 160)
    world.and_back.pause(_soon())
    fence = world.position(pair.target)
    world.and_back.drain(fence, _soon())
    wait_for(lambda: pair.source.value("SELECT count(*) FROM account") == 160, 60, "the way back to carry the last")
    wait_for(lambda: world.back.observe()["reverse_lag_bytes"] == 0, 60, "the way back to end")
    world.forward.stop_forward(_soon())
    world.and_back.hand_over(_soon())
    world.forward.enable_reverse(fence, world.forward.commit_line(_soon())["commit_line"], _soon())
    world.and_back.resume(Side.SOURCE, _soon())
    _insert(pair.source, 161, 200)
    wait_for(lambda: len(world.reader.seen) >= 200, 60, "the consumer to see the source's changes again")
    pair.catch_up()
    assert [kind for kind, _ in world.reader.seen] == ["I"] * 200
    assert len(set(world.reader.seen)) == 200
    assert world.and_back.finalize(_soon())["dropped"] == [world.slot]
    assert slots(world.target, [world.slot], _soon()) == {}


def test_an_aborted_cutover_leaves_no_slot_behind_and_its_consumer_goes_on(world: World) -> None:
    _insert(world.pair.source, 1, 20)
    fence = world.position(world.pair.source)
    world.there.drain(fence, _soon())
    world.there.hand_over(_soon())
    world.there.hand_over(_soon())
    assert world.there.take_back(_soon())["dropped"] == [world.slot]
    assert world.there.take_back(_soon())["dropped"] == []
    world.there.resume(Side.SOURCE, _soon())
    _insert(world.pair.source, 21, 40)
    wait_for(lambda: len(world.reader.seen) >= 40, 60, "the consumer to go on")
    assert len(set(world.reader.seen)) == 40


def test_a_consumer_that_does_not_confirm_ends_the_wait_by_name(world: World) -> None:
    world.reader.stop()
    _insert(world.pair.source, 1, 5)
    with pytest.raises(DeadlinePassed, match=f"{world.slot} did not confirm"):
        world.there.drain(world.position(world.pair.source), _soon(0.3))
    assert slots(world.target, [world.slot], _soon()) == {}
    with pytest.raises(NotReady, match="nobody reads"):
        world.there.pause(_soon())


def test_a_slot_of_that_name_on_the_other_side_speaks_against_it(world: World) -> None:
    world.pair.target.execute("SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", world.slot)
    assert ["already" in one.reason for one in world.there.check()] == [True]
    wrong = SlotConsumers(world.source, world.target, [Consumer(world.slot, "wal2json", (), ())])
    with pytest.raises(NeedsOperator, match="plug-in pgoutput"):
        wrong.hand_over(_soon())


def test_programs_are_told_what_to_do_and_a_failure_is_told(tmp_path: Path) -> None:
    told = tmp_path / "told"
    words = ("sh", "-c", f'echo "$AUDITOR_SLOT $AUDITOR_SIDE" > {told}')
    run_all({"a": (words, {"AUDITOR_SLOT": "a", "AUDITOR_SIDE": "target"})}, _soon())
    assert told.read_text() == "a target\n"
    with pytest.raises(NotReady, match="ended with 3: no such connector"):
        run_all({"a": (("sh", "-c", "echo no such connector >&2; exit 3"), {})}, _soon())
    with pytest.raises(DeadlinePassed, match="took too long"):
        run_all({"a": ((sys.executable, "-c", "import time; time.sleep(60)"), {})}, _soon(0.2))
    with pytest.raises(NeedsOperator, match="cannot be started"):
        run_all({"a": (("/nonexistent/program",), {})}, _soon())
