"""Where each table's audit begins, as the samplers' publisher notes it."""

from types import SimpleNamespace
from typing import Any

import pytest

from auditor.peers import Peers
from auditor.publishing import Publisher
from auditor.reading import SideState, Watches
from comparators.positions import Side
from tests.helpers_records import MemoryRecords
from tests.migrations import memory_settings
from tests.unit.test_scope import catalogs, published, scope_of, shape

BASELINE = {"floor": 10, "target_start": 20, "generation": 1, "at": 0.0, "ready_tables": ["public.t"]}


class World:
    """A publisher whose databases are what the test says."""

    def __init__(self, tmp_path: Any) -> None:
        self.records = MemoryRecords({"baseline": BASELINE})
        self.scope: Any = SimpleNamespace(error=None, touch=lambda: None, now=lambda: self.shown, catalogs=None)
        self.apply = SimpleNamespace(wal_insert=900, error=None)
        watches = Watches(apply=self.apply)  # type: ignore[arg-type]
        self.peers = Peers(self.records)
        settings = memory_settings(tmp_path)
        self.publisher = Publisher(
            settings, self.records, self.peers, [SideState(Side.TARGET)], self.scope, watches
        )  # fmt: skip

    def shows(self, *names: str, insert: int, at_target: int = 900) -> dict[str, Any]:
        """Publish a scope that was read when the source's log ended at `insert`; give what `ready/` says then."""
        shapes, tables = [shape(name) for name in names], [published(name) for name in names]
        found = catalogs(shapes, shapes, tables, subscribed=names)
        self.shown, self.apply.wal_insert = scope_of(found), at_target
        self.scope.catalogs = SimpleNamespace(published=(), source_insert=insert)
        self.peers.refresh()
        self.publisher.publish()
        self.peers.refresh()
        return {key[6:]: value for key, value in self.records.values.items() if key.startswith("ready/")}


@pytest.fixture
def world(tmp_path: Any) -> World:
    return World(tmp_path)


def test_a_table_of_the_baseline_is_judged_from_it(world: World) -> None:
    assert {"public.t": {"from": 20, "source": 0, "generation": 1}} == world.shows("t", insert=500)


def test_a_table_added_later_is_judged_from_where_both_publications_surely_show_it(world: World) -> None:
    world.shows("t", insert=500)
    assert {"from": 900, "source": 600, "generation": 1} == world.shows("t", "u", insert=600)["public.u"]
    assert 600 == world.shows("t", "u", insert=700)["public.u"]["source"], "it begins once"


def test_a_table_that_was_gone_begins_anew(world: World) -> None:
    world.shows("t", "u", insert=500)
    assert world.shows("u", insert=600)["public.t"]["gone"]
    assert {"from": 950, "source": 700, "generation": 1} == world.shows("t", "u", insert=700, at_target=950)["public.t"]
