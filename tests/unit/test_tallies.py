"""Which rows were written last, and which most: kept in bounded memory, and read out of a log's messages."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from comparators.segments import Key
from comparators.tallies import Tally
from samplers.follower import Log

ROWS = st.tuples(st.sampled_from(["s.a", "s.b"]), st.tuples(st.integers(0, 30).map(lambda n: str(n).encode())))


@given(st.lists(ROWS, max_size=200), st.integers(0, 20), st.integers(0, 5))
def test_the_rows_written_last_and_most_are_chosen_each_once(
    writes: list[tuple[str, Key]], last: int, most: int
) -> None:
    tally = Tally()
    for table, key in writes:
        tally.add(table, key)
    newest = list(dict.fromkeys(reversed(writes)))[:last]
    counts = sorted((writes.count(row) for row in set(writes)), reverse=True)[:most]
    chosen = [(table, key) for table, keys in tally.chosen(last, most).items() for key in keys]
    assert len(set(chosen)) == len(chosen) <= last + most
    assert set(newest) <= set(chosen)
    assert counts <= sorted((writes.count(row) for row in chosen), reverse=True)[:most]


def test_the_rows_written_longest_ago_are_forgotten_first() -> None:
    tally = Tally(kept=3)
    for number in (b"1", b"2", b"1", b"3", b"4"):
        tally.add("s.a", (number,))
    assert {"s.a": [(b"4",), (b"3",), (b"1",)]} == tally.chosen(10, 0)


def message(body: bytes) -> bytes:
    return b"w" + struct.pack("!QQq", 1, 1, 0) + body


def begin(commit: int) -> bytes:
    return message(b"B" + struct.pack("!QqI", commit, 0, 7))


def commit(lsn: int, end: int) -> bytes:
    return message(b"C" + struct.pack("!BQQq", 0, lsn, end, 0))


def relation(relid: int, schema: str, name: str, columns: list[str]) -> bytes:
    listed = b"".join(b"\0" + column.encode() + b"\0" + struct.pack("!Ii", 25, -1) for column in columns)
    head = b"R" + struct.pack("!I", relid) + schema.encode() + b"\0" + name.encode() + b"\0d"
    return message(head + struct.pack("!H", len(columns)) + listed)


def row(*values: bytes | None) -> bytes:
    texts = (b"n" if value is None else b"t" + struct.pack("!i", len(value)) + value for value in values)
    return struct.pack("!H", len(values)) + b"".join(texts)


def change(tag: bytes, relid: int, body: bytes) -> bytes:
    return message(tag + struct.pack("!I", relid) + body)


def log_of(*messages: bytes) -> Log:
    log = Log({"s.a": ("k2", "k1")}, frozenset({"ours"}))
    log.take(relation(1, "s", "a", ["k1", "v", "k2"]))
    log.take(relation(2, "ours", "marker", ["id"]))
    log.take(relation(3, "s", "without_key", ["v"]))
    for one in messages:
        log.take(one)
    return log


def test_keys_are_taken_from_every_kind_of_change_in_their_own_order() -> None:
    log = log_of(
        begin(100),
        change(b"I", 1, b"N" + row(b"a", None, b"1")),
        change(b"U", 1, b"N" + row(b"b", b"v", b"2")),
        change(b"U", 1, b"K" + row(b"c", None, b"3") + b"N" + row(b"d", b"v", b"4")),
        change(b"D", 1, b"K" + row(b"e", None, b"5")),
        change(b"I", 3, b"N" + row(b"v")),
        commit(100, 110),
    )
    written = log.written(0, 10, 0)
    keys = [(b"5", b"e"), (b"4", b"d"), (b"3", b"c"), (b"2", b"b"), (b"1", b"a")]
    assert ({"s.a": keys}, 5, 1, 110) == (written.keys, written.behind, written.unnamed, log.through)


def test_only_the_users_changes_behind_a_position_count() -> None:
    log = log_of(
        begin(100), change(b"I", 1, b"N" + row(b"a", None, b"1")), commit(100, 110),
        begin(200), change(b"I", 2, b"N" + row(b"7")), commit(200, 210),
    )  # fmt: skip
    assert [1, 1, 0, 0] == [log.written(position, 1, 1).behind for position in (50, 100, 101, 200)]
    log.take(begin(300))
    log.take(message(b"T" + struct.pack("!IBII", 2, 0, 1, 2)))
    log.take(commit(300, 310))
    assert 1 == log.written(101, 1, 1).behind


def test_a_keepalive_within_a_transaction_does_not_pass_it() -> None:
    log = log_of(begin(100), b"k" + struct.pack("!QqB", 500, 0, 1))
    assert (0, True) == (log.through, log.asked)
    log.take(commit(100, 110))
    assert 110 == log.through
    log.take(b"k" + struct.pack("!QqB", 500, 0, 0))
    assert 500 == log.through
