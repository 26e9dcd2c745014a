"""The last look at the data, while nobody writes: the rows written last, those written most, and the last keys.

What was written last is read from the old side's log by a follower that began before writes were held. Besides, of each
table the rows whose keys come last are compared, which shows what is missing at its end whoever wrote it. Rows are
compared by their digests, so that no value leaves its server; both servers are asked at the same time.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from comparators.digest_sql import hashes_by_key, last_in_file, list_rows, newest_hashes
from comparators.errors import AuditorError, NotReady
from comparators.positions import Side
from comparators.segments import Key, arrays
from comparators.tables import Mode, SideTable, TablePair
from comparators.tallies import Written
from orchestrator.adapters.sessions import Session
from orchestrator.deadlines import Deadline
from orchestrator.parallel import in_parallel
from orchestrator.ports import Blocker, Facts

SEED = 0
LAST_KEYS = 10
"""Rows of each table whose keys come last."""
LAST_WRITTEN = 500
WRITTEN_MOST = 100
CHUNK = 25
"""Tables that are asked for in one statement: its plan is lost when any of them is analyzed."""
MOST_COST = 2000.0
"""Of a look at a table's last keys, as the planner counts: one beyond it would sort the table."""
WHOLE_COST = 300.0
"""Of reading a table without a key as a whole."""
NAMED = 20
SHARE = 0.5
"""Of the time that is left, what reading the log to its end may take."""
CHECK_SECONDS = 20.0
_NOW = """SELECT (pg_logical_emit_message(true, 'auditor', '') - '0/0')::bigint
FROM set_config('synchronous_commit', 'local', true)"""
"""Writes into the log, and gives a position before its end: one that who follows the log can pass at once."""


class Follower(Protocol):
    """Reads the old side's log and keeps which rows were written last."""

    def start(self, seconds: float) -> None:
        """Begin, and return once it follows; where it does already, nothing happens.

        Raises:
            NotReady: transactions were open for too long.
        """
        ...

    def written(self, position: int, last: int, most: int, seconds: float) -> Written:
        """Read on until a position is passed, and give what was written until then.

        Raises:
            NotReady: it was not passed in time.
        """
        ...

    def stop(self) -> None:
        """Follow no more."""
        ...


Asked = dict[tuple[str, bool], tuple[int, Any]]
"""Count and digest of rows by table, of those whose keys come last apart from those that the log names."""
Question = tuple[str, Sequence[Any]]
"""A statement and its parameters."""


@dataclass(frozen=True, slots=True)
class Half:
    """What one side is asked of a table, as SQL."""

    table: SideTable
    sha: bool
    last: str
    """The rows whose keys come last; where there is no key, all."""

    @property
    def width(self) -> int:
        return len(self.table.key)


@dataclass(frozen=True, slots=True)
class Batch:
    """Some tables that are asked about in one statement, by their place in it."""

    names: tuple[str, ...]
    statement: str
    by_key: bool
    """It asks for the rows that some keys name."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Which tables are looked at in which way; chosen before writes are held."""

    last: tuple[str, ...]
    """Those whose last keys are compared, or that are read whole as they have no key and are small."""
    by_log: tuple[str, ...]
    """Those whose last keys cannot be looked at: of them the rows are compared that the log names."""
    uncompared: tuple[str, ...]
    """Those that nothing is compared of: they have no key and are too large to be read whole."""
    sampled: Mapping[str, Sequence[Key]]
    """Besides, rows of these that stood at the end of their files."""


class Questions:
    """One side's part of the look."""

    def __init__(self, session: Session, halves: Mapping[str, Half]) -> None:
        self.session, self._halves = session, halves
        keyed = [name for name, half in halves.items() if half.width]
        self._named = [self._by_key(names) for names in _chunks(keyed)]
        self._last: list[Batch] = []

    def costs(self, deadline: Deadline) -> dict[str, float]:
        """Have the server foretell what a look at each table costs: at its last keys, or whole where it has no key."""
        asked: list[Question] = [(f"EXPLAIN (FORMAT JSON) {half.last}", ()) for half in self._halves.values()]
        plans = self.session.ask_all(asked, deadline=deadline)
        return {
            name: float(rows[0][0][0]["Plan"]["Total Cost"]) for name, rows in zip(self._halves, plans, strict=True)
        }

    def warm(self, plan: Plan, deadline: Deadline) -> None:
        """Let the server plan everything that it may be asked."""
        self._last = [self._by_place(names) for names in _chunks(plan.last)]
        self.session.execute("SET plan_cache_mode = force_generic_plan", deadline=deadline)
        self._ask(self._last, self._named, {}, deadline)

    def sampled(self, names: Sequence[str], deadline: Deadline) -> dict[str, Sequence[Key]]:
        """Choose rows of some tables that have keys from the end of their files."""
        asked: list[Question] = [(last_in_file(self._halves[name].table, LAST_KEYS), ()) for name in names]
        answers = self.session.ask_all(asked, deadline=deadline)
        return {
            name: [tuple(text.encode() for text in row) for row in rows]
            for name, rows in zip(names, answers, strict=True) if rows
        }  # fmt: skip

    def look(self, keys: Mapping[str, Sequence[Key]], deadline: Deadline) -> Asked:
        """Give count and digest of all rows that are compared, by table.

        Args:
            keys: of the rows that the log names.
        """
        return self._ask(
            self._last, [batch for batch in self._named if not keys.keys().isdisjoint(batch.names)], keys, deadline
        )

    def any_row(self, names: Sequence[str], deadline: Deadline) -> bool:
        """Say whether any of some tables has a row."""
        tables = ((half.table, half.sha) for half in (self._halves[name] for name in names))
        return any(self.session.ask(f"{list_rows(table, (False, False), SEED, sha)} LIMIT 1", deadline=deadline)
                   for table, sha in tables)  # fmt: skip

    def _ask(
        self, last: Sequence[Batch], named: Sequence[Batch], keys: Mapping[str, Sequence[Key]], deadline: Deadline
    ) -> Asked:
        questions: list[Question] = [(batch.statement, ()) for batch in last]
        questions += [(batch.statement, self._arrays(batch, keys)) for batch in named]
        answers = self.session.ask_all(questions, deadline=deadline)
        return {
            (batch.names[place], batch.by_key): (count, digest)
            for batch, rows in zip([*last, *named], answers, strict=True) for place, count, digest in rows
        }  # fmt: skip

    def _by_place(self, names: Sequence[str]) -> Batch:
        """Ask for the last rows of some tables: (table's place, rows, digest)."""
        each = [_counted(place, self._halves[name].last) for place, name in enumerate(names)]
        return Batch(tuple(names), " UNION ALL ".join(each), by_key=False)

    def _by_key(self, names: Sequence[str]) -> Batch:
        """Ask for the rows that some keys name: (table's place, rows, digest)."""
        each, parameters = [], 0
        for place, name in enumerate(names):
            half = self._halves[name]
            each.append(_counted(place, hashes_by_key(half.table, SEED, half.sha, parameters)))
            parameters += half.width
        return Batch(tuple(names), " UNION ALL ".join(each), by_key=True)

    def _arrays(self, batch: Batch, keys: Mapping[str, Sequence[Key]]) -> list[str]:
        """Write the keys of a batch's tables as one array for each column of each key."""
        found: list[str] = []
        for name in batch.names:
            some = keys.get(name)
            texts = [(text or b"").decode() for text in arrays(some)] if some else ["{}"] * self._halves[name].width
            found += texts
        return found


class LastRows:
    """Compares what was written last on the old side with what the new one has."""

    def __init__(
        self, old: str, new: str, pairs: Sequence[TablePair], *, old_side: Side, follower: Follower | None = None,
        last_keys: int = LAST_KEYS,
    ) -> None:  # fmt: skip
        """Remember what to look at; nothing is opened yet.

        Args:
            old, new: connection strings of roles that may read the tables.
            pairs: the migration's tables, as `samplers.pairing.pair_tables` gives them.
            old_side: whose halves of the pairs are the old ones.
            follower: of the old side's log; without one only last keys are compared.
        """
        self._pairs = {_name(_half(pair, old_side)): pair for pair in pairs}
        self._old, self._new = (
            Questions(Session(dsn, "last rows"), {name: _asked(_half(pair, side), pair.sha, last_keys)
                                                  for name, pair in self._pairs.items()})
            for dsn, side in ((old, old_side), (new, old_side.other))
        )  # fmt: skip
        self._follower = follower
        self._plan: Plan | None = None

    def close(self) -> None:
        """End its sessions, and follow no more."""
        if self._follower is not None:
            self._follower.stop()
        self._old.session.close()
        self._new.session.close()

    def check(self) -> Sequence[Blocker]:
        """Say what keeps the tables from being looked at."""
        try:
            self._planned(Deadline.within(CHECK_SECONDS, "check the last look"))
        except AuditorError as error:
            hint = getattr(error, "hint", "look again")
            return [Blocker("last-rows", f"the tables cannot be looked at: {error}", hint)]
        return []

    def warm(self, deadline: Deadline) -> Facts:
        """Begin to follow the log, and let both servers plan what they will be asked.

        Returns:
            With `follow_ms`: how long it takes now to read the log to its end.
        Raises:
            NotReady: transactions were open for too long, so that their rows could not be followed; or the log is
                written faster than it can be read.
        """
        if self._follower is not None:
            self._follower.start(deadline.left() * SHARE)
        self._plan = None  # sessions may be new ones since it was made
        plan = self._planned(deadline)
        return {
            "followed": self._follower is not None, "tables": len(self._pairs), "follow_ms": self._caught_up(deadline),
            "looked_at_by_log_alone": list(plan.by_log[:NAMED]), **_told(plan.uncompared),
        }  # fmt: skip

    def compare_last(self, fence_lsn: int, deadline: Deadline) -> Facts:
        """Compare the rows written last and those written most.

        Returns:
            With the counts `compared`, `different` and `missing` (could not be compared); `empty`: true where there
            is not one row in any table, so that nothing could be compared; `uncompared`: how many tables nothing was
            compared of, with their names.
        Raises:
            NotReady: the log could not be read to the fence, or the old side was written to behind it.
        """
        began = time.monotonic()
        plan = self._planned(deadline)
        written = self._written(fence_lsn, deadline)
        if written.behind:
            raise NotReady(f"{written.behind} changes were committed on the old side after it was fenced")
        keys = {
            name: list(dict.fromkeys((*written.keys.get(name, ()), *plan.sampled.get(name, ()))))
            for name in self._pairs if name in written.keys or name in plan.sampled
        }  # fmt: skip
        followed = time.monotonic()
        here, there = self._both(lambda side: side.look(keys, deadline))
        different = {name: count for name, count in _differing(here, there) if count}
        compared = sum(max(here[asked][0], there[asked][0]) for asked in here)
        return {
            "compared": compared, "different": sum(different.values()), "missing": 0,
            "empty": not compared and not self._old.any_row((*plan.by_log, *plan.uncompared), deadline),
            "different_tables": dict(list(different.items())[:NAMED]), "tables": len({name for name, _ in here}),
            "written_last": sum(map(len, written.keys.values())), "followed": self._follower is not None,
            "unnamed": written.unnamed, "follow_ms": _milliseconds(began, followed),
            "look_ms": _milliseconds(followed, time.monotonic()), **_told(plan.uncompared),
        }  # fmt: skip

    def behind(self, fence_lsn: int, deadline: Deadline) -> Facts:
        """Count what was committed on the old side behind the fence, until now.

        Returns:
            With the count `behind`; `None` where nobody follows the log.
        Raises:
            NotReady: the log could not be read to its end.
        """
        if self._follower is None:
            return {"behind": None}
        took = self._caught_up(deadline)
        return {"behind": self._follower.written(fence_lsn, 0, 0, deadline.left() * SHARE).behind, "follow_ms": took}

    def _written(self, fence_lsn: int, deadline: Deadline) -> Written:
        if self._follower is None:
            return Written({}, 0)
        return self._follower.written(fence_lsn, LAST_WRITTEN, WRITTEN_MOST, deadline.left() * SHARE)

    def _caught_up(self, deadline: Deadline) -> float:
        """Read the log to its end; give the milliseconds that this took."""
        if self._follower is None:
            return 0.0
        began = time.monotonic()
        now = int(self._old.session.value(_NOW, deadline=deadline))
        self._follower.written(now, 0, 0, deadline.left() * SHARE)
        return _milliseconds(began, time.monotonic())

    def _planned(self, deadline: Deadline) -> Plan:
        if self._plan is None:
            plan = self._chosen(deadline)
            self._both(lambda side: side.warm(plan, deadline))
            self._plan = plan
        return self._plan

    def _chosen(self, deadline: Deadline) -> Plan:
        costs = self._both(lambda side: side.costs(deadline))
        cost = {name: max(side[name] for side in costs) for name in self._pairs}
        last = tuple(name for name, pair in self._pairs.items() if cost[name] <= _most_cost(pair))
        others = [name for name in self._pairs if name not in set(last)]
        by_log = tuple(name for name in others if self._pairs[name].source.key)
        uncompared = tuple(name for name in others if not self._pairs[name].source.key)
        return Plan(last, by_log, uncompared, self._old.sampled(by_log, deadline))

    def _both(self, ask: Callable[[Questions], Any]) -> tuple[Any, Any]:
        """Ask both sides at the same time."""
        ended = in_parallel({"old": lambda: ask(self._old), "new": lambda: ask(self._new)})
        ended.raise_first()
        return ended.answers["old"], ended.answers["new"]


def _asked(table: SideTable, sha: bool, last_keys: int) -> Half:
    every = f"SELECT x.hash FROM ({list_rows(table, (False, False), SEED, sha)}) AS x (hash)"
    return Half(table, sha, newest_hashes(table, last_keys, SEED, sha) if table.key else every)


def _told(uncompared: Sequence[str]) -> dict[str, Any]:
    """Say which tables nothing is compared of; who reads the proof must not take them for compared."""
    return {"uncompared": len(uncompared), "uncompared_tables": list(uncompared[:NAMED])}


def _counted(place: int, rows: str) -> str:
    return f"SELECT {place}, count(*), sum(x.hash) FROM ({rows}) AS x"


def _differing(here: Asked, there: Asked) -> Iterator[tuple[str, int]]:
    """Count by table the rows that at least one side has and the other has not."""
    for name in {name for name, _ in here}:
        pairs = [(here[asked], there[asked]) for asked in ((name, False), (name, True)) if asked in here]
        yield name, max(max(abs(left[0] - right[0]), int(left != right)) for left, right in pairs)


def _chunks(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[first : first + CHUNK] for first in range(0, len(names), CHUNK)]


def _most_cost(pair: TablePair) -> float:
    """Say what a look at a table's last rows may cost; nothing where both sides order the key differently."""
    if not pair.source.key:
        return WHOLE_COST
    return MOST_COST if pair.mode is Mode.RANGES else 0.0


def _half(pair: TablePair, side: Side) -> SideTable:
    return pair.source if side is Side.SOURCE else pair.target


def _name(table: SideTable) -> str:
    return f"{table.schema}.{table.name}"


def _milliseconds(since: float, until: float) -> float:
    return round((until - since) * 1000, 3)
