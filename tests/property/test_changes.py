"""The join says the same whatever happens to the frames on their way."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comparators.builder import LaneBuilder
from comparators.canonical import TableKey, plan_rows
from comparators.changes import Join
from comparators.frames import FOREIGN, decode
from comparators.positions import Side

FLOOR = 1000
PLANS = {
    name: plan_rows(f"public.{name}", ["id", "v"], ["id", "v"], TableKey(("id",), frozenset(b"IUDT")))
    for name in ("a", "b")
}
TABLES = {f"public.{name}": 0 for name in PLANS}


@dataclass(frozen=True)
class Change:
    table: str
    op: str
    key: int
    digest: int


@dataclass(frozen=True)
class Txn:
    lsn: int
    changes: tuple[Change, ...]
    foreign: bool = False


@dataclass
class Lane:
    """Cuts transactions of one side into frames, at the places it is told."""

    side: Side
    epoch: int = 1
    frames: list[bytes] = field(default_factory=list)

    def build(self, txns, cuts, start=FLOOR):
        builder = LaneBuilder(self.side, 0, 0, generation=1, epoch=self.epoch, rate=1.0, start=start)
        through, watermark, step = start, FLOOR, 0
        for txn in txns:
            own = self.own(txn)
            source = txn.lsn if self.side is Side.SOURCE else (0 if txn.foreign else txn.lsn)
            flags = FOREIGN if txn.foreign else 0
            for change in txn.changes:
                plan = PLANS[change.table]
                builder.add(builder.table_number(plan), ord(change.op), change.key, change.digest, b"t\0\0\0\1k")
                step += 1
                if cuts(step):
                    open_source = 0 if self.side is Side.SOURCE else source
                    self.frames.append(builder.cut(through, watermark, 0, bytes, (own, open_source, txn.lsn, flags)))
            builder.end(own, source, txn.lsn, flags)
            through = own + 5
            watermark = through if self.side is Side.SOURCE else (watermark if txn.foreign else txn.lsn)
            step += 1
            if cuts(step):
                self.frames.append(builder.cut(through, watermark, 0, bytes))
        end = max([FLOOR, *(t.lsn for t in txns)]) + 100_000
        through = end if self.side is Side.SOURCE else through + 1
        self.frames.append(builder.cut(through, end, 0, bytes))
        return self

    def own(self, txn):
        return txn.lsn - 5 if self.side is Side.SOURCE else txn.lsn * 2


def summary(join, suspects):
    return (
        sorted((s.kind, s.table.name, s.count, s.source_position, s.target_position, s.key_hashes) for s in suspects),
        join.tallies.transactions, join.tallies.changes, join.tallies.mismatched,
        {name: tuple(counts) for name, counts in join.tallies.tables.items()},
    )  # fmt: skip


def fresh():
    join = Join(seed=1, floor=FLOOR, starts=dict.fromkeys(Side, FLOOR))
    join.audit(TABLES)
    return join


def run(frames, *, judge_each=False):
    join, found = fresh(), []
    for offset, frame in enumerate(frames):
        join.receive(decode(frame), offset)
        if judge_each:
            join.advance()
            found += join.take()[0]
    join.advance()
    suspects, gaps = join.take()
    assert [] == gaps
    return summary(join, found + suspects)


changes = st.builds(
    Change, st.sampled_from(["a", "b"]), st.sampled_from("IUD"), st.integers(1, 4), st.integers(1, 3)
)
transactions = st.lists(st.lists(changes, min_size=1, max_size=6).map(tuple), min_size=1, max_size=8)


@st.composite
def histories(draw):
    """A source history and a damaged copy of it on the target."""
    source = [Txn(FLOOR + 100 * (i + 1), rows) for i, rows in enumerate(draw(transactions))]
    target = []
    for txn in source:
        fate = draw(st.sampled_from(["whole"] * 4 + ["lost", "row lost", "row changed", "row added"]))
        rows = list(txn.changes)
        at = draw(st.integers(0, len(rows) - 1))
        if fate == "row lost":
            del rows[at]
        elif fate == "row changed":
            rows[at] = replace(rows[at], digest=rows[at].digest + 7)
        elif fate == "row added":
            rows.insert(at, Change("b", "I", 99, 99))
        if fate != "lost" and rows:
            target.append(Txn(txn.lsn, tuple(rows)))
    return source, target


def cutter(places):
    return lambda step: step in places


@st.composite
def interleaved(draw, left, right):
    """Mix two streams, each in its own order."""
    order = draw(st.permutations([0] * len(left) + [1] * len(right)))
    streams = [iter(left), iter(right)]
    return [next(streams[number]) for number in order]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_cutting_and_mixing_frames_changes_nothing(data):
    source, target = data.draw(histories())
    plain = run(Lane(Side.SOURCE).build(source, cutter(())).frames + Lane(Side.TARGET).build(target, cutter(())).frames)
    places = st.sets(st.integers(1, 40))
    left = Lane(Side.SOURCE).build(source, cutter(data.draw(places))).frames
    right = Lane(Side.TARGET).build(target, cutter(data.draw(places))).frames
    assert plain == run(data.draw(interleaved(left, right)), judge_each=data.draw(st.booleans()))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_repeated_and_early_frames_change_nothing(data):
    """Each lane's frames come shuffled within a short reach and repeated; a restarted sampler cuts them anew."""
    source, target = data.draw(histories())
    plain = run(Lane(Side.SOURCE).build(source, cutter(())).frames + Lane(Side.TARGET).build(target, cutter(())).frames)
    places = st.sets(st.integers(1, 40))
    frames = []
    for side, txns in ((Side.SOURCE, source), (Side.TARGET, target)):
        first = Lane(side).build(txns, cutter(data.draw(places))).frames
        again = Lane(side, epoch=2).build(txns, cutter(data.draw(places))).frames
        head = first[: data.draw(st.integers(0, len(first)))]
        frames.append([*head, *data.draw(st.permutations(again)), *data.draw(st.permutations(first))][:60])
    assert plain == run(data.draw(interleaved(*frames)))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_restart_from_durable_state_repeats_and_counts_nothing_twice(data):
    source, target = data.draw(histories())
    plain = run(Lane(Side.SOURCE).build(source, cutter(())).frames + Lane(Side.TARGET).build(target, cutter(())).frames)
    places = st.sets(st.integers(1, 40))
    left = Lane(Side.SOURCE).build(source, cutter(data.draw(places))).frames
    right = Lane(Side.TARGET).build(target, cutter(data.draw(places))).frames
    log = data.draw(interleaved(left, right))
    deaths = data.draw(st.sets(st.integers(1, len(log))))
    log += [left[-1], right[-1]]  # a lane goes on telling its watermark, which is not part of the durable state
    join, suspects, acked, position = fresh(), {}, set(), 0
    while position < len(log):
        join.receive(decode(log[position]), position)
        position += 1
        acked.update(join.advance())
        for s in join.take()[0]:
            suspects[(s.kind, s.table.name, s.source_position, s.target_position)] = s
        if position in deaths:
            deaths.discard(position)
            join = Join.resume(join.state(), seed=1)
            committed = 0
            while committed in acked:
                committed += 1
            position = committed
    join.advance()
    for s in join.take()[0]:
        suspects[(s.kind, s.table.name, s.source_position, s.target_position)] = s
    assert plain == summary(join, suspects.values())


@pytest.mark.parametrize("lost", [Side.SOURCE, Side.TARGET])
def test_a_lost_frame_is_a_gap_never_a_missing_row(lost):
    txns = [Txn(FLOOR + 100 * (i + 1), (Change("a", "U", i, i),)) for i in range(100)]
    left = Lane(Side.SOURCE).build(txns, lambda step: True).frames
    right = Lane(Side.TARGET).build(txns, lambda step: True).frames
    del (left if lost is Side.SOURCE else right)[4]
    join, suspects, gaps = fresh(), [], []
    for offset, frame in enumerate(x for pair in zip(left, right, strict=False) for x in pair):
        join.receive(decode(frame), offset)
        join.advance()
        taken = join.take()
        suspects += taken[0]
        gaps += taken[1]
    assert [] == suspects
    assert 1 == len(gaps)
    assert gaps[0].side is lost


def test_a_target_that_stands_still_is_lagging_never_missing():
    txns = [Txn(FLOOR + 100 * (i + 1), (Change("a", "U", i, i),)) for i in range(10)]
    join = fresh()
    for offset, frame in enumerate(Lane(Side.SOURCE).build(txns, lambda step: False).frames):
        join.receive(decode(frame), offset)
    join.advance()
    assert ([], []) == join.take()
    assert 10 == join.pending


def test_a_foreign_write_is_reported_at_once():
    txns = [Txn(FLOOR + 100, (Change("a", "U", 1, 1), Change("a", "D", 2, 0)), foreign=True)]
    join = fresh()
    join.receive(decode(Lane(Side.TARGET).build(txns, lambda step: False).frames[0]), 0)
    (suspect,), _ = join.take()
    assert ("foreign-write", 2, True) == (suspect.kind, suspect.count, suspect.confirmed)


def test_transactions_in_another_order_on_the_target_are_reported():
    first, second = (Txn(FLOOR + 100 * i, (Change("a", "U", i, i),)) for i in (1, 2))
    join = fresh()
    lane = Lane(Side.TARGET)
    lane.own = lambda txn: 5000 - txn.lsn
    join.receive(decode(lane.build([second, first], lambda step: False).frames[0]), 0)
    (suspect,), _ = join.take()
    assert "order-violated" == suspect.kind


def test_a_table_that_is_not_audited_is_not_judged():
    txns = [Txn(FLOOR + 100, (Change("a", "U", 1, 1), Change("b", "U", 1, 1)))]
    other = [Txn(FLOOR + 100, (Change("a", "U", 1, 1), Change("b", "U", 1, 2)))]
    join = Join(seed=1, floor=FLOOR)
    join.audit({"public.a": 0})
    join.receive(decode(Lane(Side.SOURCE).build(txns, lambda step: False).frames[0]), 0)
    join.receive(decode(Lane(Side.TARGET).build(other, lambda step: False).frames[0]), 1)
    join.advance()
    assert ([], []) == join.take()
    assert {"public.a": [1, 1]} == join.tallies.tables


@pytest.mark.parametrize("sides", [(Side.SOURCE,), (Side.TARGET,), tuple(Side)])
def test_a_transaction_too_large_to_hold_is_a_gap_never_a_difference(sides, monkeypatch):
    monkeypatch.setattr("comparators.builder.MAX_OPEN_BYTES", 1)
    rows = tuple(Change("a", "U", i, i) for i in range(10))
    small = tuple(Change("a", "U", i, i) for i in range(2))
    txns = [Txn(FLOOR + 100, small), Txn(FLOOR + 200, rows), Txn(FLOOR + 300, small)]
    join = fresh()
    for offset, side in enumerate(Side):
        cut = (lambda step: 4 <= step <= 8) if side in sides else (lambda step: False)
        for frame in Lane(side).build(txns, cut).frames:
            join.receive(decode(frame), offset)
    join.advance()
    suspects, gaps = join.take()
    assert [] == suspects
    assert {(FLOOR + 200, FLOOR + 200)} == {(gap.start, gap.end) for gap in gaps}
    assert 2 == join.tallies.transactions
