"""A whole cutover there and back with a consumer of changes: it sees each of the clients' writes exactly once."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from auditor.demo.cutover.faults import End
from auditor.demo.cutover.story import Order, Story
from auditor.demo.cutover.world import REPLICATOR, Plan, World
from comparators.positions import Side
from tests.change_reader import SLOT, ChangeReader
from tests.helpers import wait_for
from tests.unaudited import Forked

pytestmark = pytest.mark.alone


@pytest.fixture
def reader(tmp_path: Path) -> ChangeReader:
    return ChangeReader(tmp_path)


@pytest.fixture
def world(reader: ChangeReader) -> Iterator[World]:
    consumer = {"slot": SLOT, "role": REPLICATOR, "pause": reader.words("stop"), "resume": reader.words("start")}
    plan = Plan(audited=False, launcher=Forked, config={"cutover": {"consumers": [consumer]}})
    with World(plan, print) as world, ExitStack() as closing:
        sides = {str(side): f"{stage.admin} user={REPLICATOR}" for side, stage in world.sides.items()}
        for side in Side:
            execute(world, side, f"CREATE PUBLICATION {SLOT} FOR TABLE ledger")
        execute(world, Side.SOURCE, f"SELECT pg_create_logical_replication_slot('{SLOT}', 'pgoutput')")
        reader.configure(sides)
        closing.callback(reader.stop)
        subprocess.run(reader.words("start"), env={**os.environ, "AUDITOR_SIDE": "source"}, check=True)
        yield world


def execute(world: World, side: Side, statement: str) -> list[tuple[int, ...]]:
    with psycopg.connect(world.sides[side].admin, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return list(cursor.fetchall()) if cursor.description else []


def test_it_sees_every_write_once_across_the_switch_and_back(world: World, reader: ChangeReader) -> None:
    told = Story(world, Order(returns=True), print).tell()
    assert (End.ROLLED_BACK, [], []) == (told.end, told.dangers(), list(told.failures)), told.log_tail
    written = execute(world, Side.SOURCE, "SELECT client, serial FROM ledger")
    wait_for(lambda: len(reader.seen()) >= len(written), 30, "the consumer to come to the end")
    assert sorted(written) == sorted(reader.seen()), reader.log()
    assert 100 < told.checked.acknowledged <= len(written)
    slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'cdc'"
    assert ([(1,)], [(0,)]) == (execute(world, Side.SOURCE, slots), execute(world, Side.TARGET, slots))
