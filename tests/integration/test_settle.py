"""The second look: equal once is equal, different must be seen twice while the source stands still."""

from typing import Any

import pytest

from comparators.errors import NotReady
from samplers.connections import connect
from samplers.rows import RowSource
from samplers.settle import Outcome, Pair, settle_keys, settle_table
from tests.helpers import Pair as Databases

COLUMNS, TYPES = ("id", "j", "v"), ("integer", "json", "text")
SCHEMA = "CREATE TABLE t (id int, v text, j json)"


def table(name: str = "t") -> Pair:
    source = RowSource("public", name, COLUMNS, TYPES)
    return Pair(source, source)


class Look:
    """Two tables, and one key to settle between them."""

    def __init__(self, pair: Databases) -> None:
        self.pair = pair
        pair.execute(SCHEMA)
        self.rounds = 0

    def settle(self, *keys: list[bytes | None], columns: tuple[str, ...] = ("id",), moving: bool = False) -> Any:
        def applied(_position: int) -> bool:
            self.rounds += 1
            if moving:
                self.pair.source.execute(f"UPDATE t SET v = 'moving {self.rounds}'")
            return True

        with connect(self.pair.source.dsn) as source, connect(self.pair.target.dsn) as target:
            return settle_keys(source, target, table(), columns, keys or [[b"1"]], applied)


@pytest.fixture
def look(pair: Databases) -> Look:
    return Look(pair)


def test_equal_rows_settle_in_one_round(look: Look) -> None:
    look.pair.execute("INSERT INTO t VALUES (1, 'a', '{\"x\": 1}')")
    assert (Outcome.EQUAL, 1) == (look.settle().outcome, look.rounds)


def test_a_difference_names_its_columns_after_two_rounds(look: Look) -> None:
    look.pair.source.execute("INSERT INTO t VALUES (1, '', '{\"x\": 1}')")
    look.pair.target.execute("INSERT INTO t VALUES (1, NULL, '{\"x\":1}')")
    settled = look.settle()
    assert (Outcome.DIFFERENT, ("j", "v"), "row-different", 2) == (
        settled.outcome, settled.columns, settled.kind, look.rounds,
    )  # fmt: skip


@pytest.mark.parametrize(("side", "kind"), [("source", "row-missing"), ("target", "row-extra")])
def test_a_row_of_one_side_only_is_missing_or_extra(look: Look, side: str, kind: str) -> None:
    getattr(look.pair, side).execute("INSERT INTO t VALUES (1, 'a', NULL)")
    assert kind == look.settle().kind


def test_absent_on_both_sides_is_equal(look: Look) -> None:
    assert Outcome.EQUAL is look.settle().outcome


def test_a_row_that_keeps_changing_is_neither(look: Look) -> None:
    look.pair.source.execute("INSERT INTO t VALUES (1, 'a', NULL)")
    look.pair.target.execute("INSERT INTO t VALUES (1, 'b', NULL)")
    assert Outcome.MOVING is look.settle(moving=True).outcome


def test_duplicates_of_a_keyless_row_are_counted(look: Look) -> None:
    look.pair.execute("INSERT INTO t VALUES (1, 'a', '{}'), (1, 'a', '{}')")
    key: list[bytes | None] = [b"1", b"{}", b"a"]
    assert Outcome.EQUAL is look.settle(key, columns=COLUMNS).outcome
    look.pair.target.execute("DELETE FROM t WHERE ctid = (SELECT ctid FROM t LIMIT 1)")
    assert Outcome.DIFFERENT is look.settle(key, columns=COLUMNS).outcome


def test_null_is_found_in_a_keyless_row(look: Look) -> None:
    look.pair.execute("INSERT INTO t VALUES (1, NULL, NULL)")
    settled = look.settle([b"1", None, None], columns=COLUMNS)
    assert settled.keys[0].on_source
    assert Outcome.EQUAL is settled.outcome


def test_one_differing_key_decides_over_equal_ones(look: Look) -> None:
    look.pair.execute("INSERT INTO t VALUES (1, 'a', NULL), (2, 'a', NULL)")
    look.pair.target.execute("UPDATE t SET v = 'b' WHERE id = 2")
    settled = look.settle([b"1"], [b"2"])
    assert Outcome.DIFFERENT is settled.outcome
    assert [Outcome.EQUAL, Outcome.DIFFERENT] == [key.outcome for key in settled.keys]


@pytest.mark.parametrize("side", ["source", "target"])
def test_whole_tables_are_compared_both_ways(look: Look, side: str) -> None:
    look.pair.execute("INSERT INTO t SELECT i, 'a', '{}' FROM generate_series(1, 100) i")
    with connect(look.pair.source.dsn) as source, connect(look.pair.target.dsn) as target:
        assert Outcome.EQUAL is settle_table(source, target, table(), lambda _: True).outcome
        getattr(look.pair, side).execute("UPDATE t SET v = 'b' WHERE id = 50")
        assert Outcome.DIFFERENT is settle_table(source, target, table(), lambda _: True).outcome


def test_a_target_that_does_not_come_far_enough_is_no_difference(look: Look) -> None:
    look.pair.source.execute("INSERT INTO t VALUES (1, 'a', NULL)")
    with (
        connect(look.pair.source.dsn) as source, connect(look.pair.target.dsn) as target, pytest.raises(NotReady),
    ):  # fmt: skip
        settle_keys(source, target, table(), ("id",), [[b"1"]], lambda _: False)
