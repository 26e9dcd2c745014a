"""The log reader on scripted messages: what it samples, what it never skips, and where its frames end."""

import struct
from itertools import pairwise

import pytest
import xxhash

from comparators.canonical import TableKey, plan_rows
from comparators.errors import NotReady, ProtocolViolation
from comparators.frames import ENDED, FORCED, FOREIGN, decode
from comparators.positions import Side
from comparators.sampling import partition_of, seed_of, share_of
from samplers.wal import Route, Sampling, WalReader

SEED = seed_of("m")
RELID = 16384
ORIGIN = "pg_77"


def data(body, position=1):
    return b"w" + struct.pack("!QQQ", position, position, 0) + body


def begin(lsn, ts):
    return data(b"B" + struct.pack("!QqI", lsn, ts, 1))


def commit(lsn, end, ts):
    return data(b"C\0" + struct.pack("!QQq", lsn, end, ts))


def origin(lsn, name=ORIGIN):
    return data(b"O" + struct.pack("!Q", lsn) + name.encode() + b"\0")


def relation(relid=RELID, name="t"):
    columns = b"".join(b"\1" + c + b"\0" + struct.pack("!Ii", 20, -1) for c in (b"id", b"v"))
    return data(b"R" + struct.pack("!I", relid) + b"public\0" + name.encode() + b"\0d" + struct.pack("!H", 2) + columns)


def row(*values):
    parts = [b"n" if v is None else b"t" + struct.pack("!I", len(v)) + v for v in values]
    return struct.pack("!H", len(values)) + b"".join(parts)


def insert(*values, relid=RELID):
    return data(b"I" + struct.pack("!I", relid) + b"N" + row(*values))


def update(old, new, kind=b"K"):
    body = b"U" + struct.pack("!I", RELID)
    return data(body + (kind + row(*old) if old else b"") + b"N" + row(*new))


def delete(*old):
    return data(b"D" + struct.pack("!I", RELID) + b"K" + row(*old))


def truncate(*relids):
    return data(b"T" + struct.pack("!IB", len(relids), 0) + struct.pack(f"!{len(relids)}I", *relids))


def keepalive(position, reply=0):
    return b"k" + struct.pack("!QQB", position, 0, reply)


class Script:
    """A stream that has these messages and then nothing more."""

    def __init__(self, messages):
        self.messages = list(messages)
        self.confirmed = []

    def get(self, _mode):
        if not self.messages:
            return 0, b""
        message = self.messages.pop(0)
        return len(message), memoryview(message)

    def fill(self):
        pass

    def wait(self, seconds):
        pass

    def confirm(self, written, durable, *, reply=False):
        self.confirmed.append((written, durable))


class Frames:
    def __init__(self, full=False):
        self.frames, self.positions, self.full = [], [], full

    def send(self, _partition, frame, position):
        self.frames.append(decode(frame))
        self.positions.append(position)

    def room(self):
        return not self.full

    def durable(self):
        return 0


class Router:
    def __init__(self, control=()):
        self.control = control

    def route(self, relation):
        if relation.name == "elsewhere":
            return None
        name = f"public.{relation.name}"
        plan = plan_rows(name, ["id", "v"], ["id", "v"], TableKey(("id",), frozenset(b"IUDT")))
        return Route(plan, 0, xxhash.xxh3_64_intdigest(name.encode()), relation.name in self.control)


def read(messages, side=Side.SOURCE, rate=1.0, control=(), **kwargs):
    script, sink = Script(messages), Frames()
    sampling = Sampling(SEED, rate, 2, (ORIGIN,), frozenset({"pg_78"}), 1, 1)
    reader = WalReader(
        side, script, sampling, Router(control), sink, start=50, seal=bytes, watermark=lambda _s, p: p, **kwargs
    )
    while not reader.pump(10_000):
        pass
    reader.flush(1e9)
    return reader, sink


def sampled(rate):
    """Find a commit time that a rate samples, and one that it does not."""
    limit = rate * 2**64
    times = range(1, 10_000)
    return next(t for t in times if share_of(t, SEED) < limit), next(t for t in times if share_of(t, SEED) >= limit)


def changes(sink):
    return [(chr(op), int(frame.flags[0])) for frame in sink.frames for op in frame.op.tolist()]


IN, OUT = sampled(0.01)


def test_only_sampled_transactions_are_read():
    reader, sink = read(
        [relation(), begin(100, IN), insert(b"1", b"a"), commit(100, 110, IN),
         begin(200, OUT), insert(b"2", b"b"), update(None, (b"1", b"c")), commit(200, 210, OUT)],
        rate=0.01,
    )  # fmt: skip
    assert [("I", ENDED)] == changes(sink)
    assert (2, 1, 1) == (reader.counts.transactions, reader.counts.sampled, reader.counts.changes)
    assert 210 == reader.through


def test_both_sides_sample_the_same_transactions_and_name_them_alike():
    body = [insert(b"1", b"a"), commit(100, 110, IN)]
    _, source = read([relation(), begin(100, IN), *body], rate=0.01)
    _, target = read([relation(), begin(900, IN), origin(110), *body], Side.TARGET, rate=0.01)
    frames = [next(f for f in sink.frames if len(f.own)) for sink in (source, target)]
    assert frames[0].source.tolist() == frames[1].source.tolist() == [110]
    assert frames[0].digest.tolist() == frames[1].digest.tolist()
    assert frames[0].partition == frames[1].partition == partition_of(share_of(IN, SEED), 2)


def test_truncate_is_never_sampled_away():
    messages = [relation(), begin(100, OUT), insert(b"1", b"a"), truncate(RELID), commit(100, 110, OUT)]
    _, sink = read(messages, rate=0.01)
    assert [("T", ENDED | FORCED)] == changes(sink)


def test_our_own_tables_are_never_sampled_away():
    messages = [relation(), begin(100, OUT), insert(b"1", b"a"), commit(100, 110, OUT)]
    _, sink = read(messages, rate=0.01, control=("t",))
    assert [("I", ENDED | FORCED)] == changes(sink)


@pytest.mark.parametrize(
    "source", [[], [origin(5, "pg_77_16385")], [origin(5, "pg_78")], [origin(5, "another")], [origin(0)]]
)
def test_a_write_without_our_origin_is_read_in_full_at_any_rate(source):
    messages = [relation(), begin(100, OUT), *source, insert(b"1", b"a"), commit(100, 110, OUT)]
    reader, sink = read(messages, Side.TARGET, rate=0.01)
    assert [("I", ENDED | FOREIGN)] == changes(sink)
    assert 1 == reader.counts.foreign


def test_a_subscription_made_anew_is_looked_up_before_anything_is_accused():
    with pytest.raises(NotReady, match="pg_99"):
        read([relation(), begin(100, OUT), origin(5, "pg_99")], Side.TARGET)


def test_an_update_of_the_key_is_one_change_under_the_old_key():
    _, changed = read([relation(), begin(100, IN), update((b"1", None), (b"2", b"a")), commit(100, 110, IN)])
    _, removed = read([relation(), begin(100, IN), delete(b"1", None), commit(100, 110, IN)])
    keys = [next(f for f in sink.frames if len(f.own)).key.tolist() for sink in (changed, removed)]
    assert keys[0] == keys[1]


def test_a_table_outside_the_scope_leaves_no_trace():
    messages = [relation(9, "elsewhere"), begin(100, IN), insert(b"1", b"a", relid=9), commit(100, 110, IN)]
    _, sink = read(messages)
    assert [] == changes(sink)


def test_a_large_transaction_leaves_in_pieces_that_follow_each_other():
    rows = [insert(str(n).encode(), b"a") for n in range(10_000)]
    _, sink = read([relation(), begin(100, IN), *rows, commit(100, 110, IN)])
    frames = [f for f in sink.frames if len(f.own)]
    assert 10_000 == sum(len(f.key) for f in frames)
    assert [False] * (len(frames) - 1) + [True] == [bool(f.flags[0] & ENDED) for f in frames]
    assert [sum(len(f.key) for f in frames[:n]) for n in range(len(frames))] == [int(f.skipped[0]) for f in frames]
    for before, after in pairwise(frames):
        assert before.end == after.start
    assert all(f.end.position < 100 for f in frames[:-1])


def test_a_keepalive_moves_the_position_but_not_inside_a_transaction():
    reader, sink = read([keepalive(400)])
    assert 400 == reader.through
    assert {400} == {frame.watermark for frame in sink.frames}
    reader, _ = read([relation(), begin(100, IN), insert(b"1", b"a"), keepalive(400)])
    assert 50 == reader.through


def test_the_server_is_answered_while_the_sink_is_full():
    script, sink = Script([keepalive(400, reply=1), begin(500, IN)]), Frames(full=True)
    sampling = Sampling(SEED, 1.0, 2, (ORIGIN,), frozenset(), 1, 1)
    reader = WalReader(
        Side.SOURCE, script, sampling, Router(), sink, start=50, seal=bytes, watermark=lambda _s, p: p
    )  # fmt: skip
    reader.step(may_read=True)
    assert 2 == len(script.messages)
    assert [(50, 0)] == script.confirmed


def test_an_unknown_message_is_an_error_with_its_position():
    with pytest.raises(ProtocolViolation, match="0/1F4"):
        read([data(b"?", 500)])


def test_each_transaction_is_timed_on_the_target_also_when_it_is_not_sampled():
    seen = []
    read(
        [relation(), begin(100, IN), origin(70), insert(b"1", b"a"), commit(100, 110, IN),
         begin(200, OUT), origin(90), insert(b"2", b"a"), commit(200, 210, OUT)],
        Side.TARGET, rate=0.01, on_applied=lambda *call: seen.append(call),
    )  # fmt: skip
    assert [(0, 70, IN, True), (0, 90, OUT, False)] == seen
