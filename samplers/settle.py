"""Look twice before accusing: read a suspect's rows on the source, on the target once it has applied that, and on the
source again. A difference counts only while the source stands still, and only after two rounds that agree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from psycopg import Connection

from comparators.errors import NotReady
from samplers.commits import logged, visible
from samplers.rows import RowSource, RowVersion, Text, digest_table, fetch, read_rows

ROUNDS = 2
"""Agreeing rounds before a difference is confirmed."""
VISIBLE_SECONDS = 1.0
"""How long a commit that waits for a standby is waited for before the rows are left for later."""
ATTEMPTS = 12
"""Rounds before a key that keeps changing is left for later."""


class Outcome(StrEnum):
    EQUAL = "equal"
    DIFFERENT = "different"
    MOVING = "moving"


@dataclass(frozen=True, slots=True)
class Pair:
    """One table on both sides, with the same columns in the same order."""

    source: RowSource
    target: RowSource


@dataclass(slots=True)
class KeyState:
    """What the rounds so far show of one key."""

    outcome: Outcome = Outcome.MOVING
    agreeing: int = 0
    columns: set[str] = field(default_factory=set)
    on_source: bool = False
    on_target: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a second look found."""

    outcome: Outcome
    keys: tuple[KeyState, ...]
    rounds: int

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(sorted({name for key in self.keys for name in key.columns}))

    @property
    def kind(self) -> str | None:
        """Name what the rows show, where every differing key shows the same."""
        kinds = {_kind(key) for key in self.keys if key.outcome is Outcome.DIFFERENT}
        return kinds.pop() if len(kinds) == 1 else None


def _kind(key: KeyState) -> str:
    if key.on_source and key.on_target:
        return "row-different"
    return "row-missing" if key.on_source else "row-extra"


Applied = Callable[[int], bool]
"""Wait until the target has applied a source position; false when it did not within the time allowed."""


def settle_keys(
    source: Connection, target: Connection, pair: Pair, key_columns: Sequence[str],
    keys: Sequence[Sequence[Text]], applied: Applied,
) -> Settlement:  # fmt: skip
    """Read the rows of some keys on both sides until each is equal, different or keeps moving.

    Raises:
        NotReady: the target does not come far enough; ask again later.
    """
    states = [KeyState() for _ in keys]
    rounds = 0
    while rounds < ATTEMPTS and any(_undecided(state) for state in states):
        rounds += 1
        open_keys = [n for n, state in enumerate(states) if _undecided(state)]
        before = {n: read_rows(source, pair.source, key_columns, keys[n]) for n in open_keys}
        _wait(source, applied)
        if any(states[n].agreeing for n in open_keys):  # only a row that has differed already may now be confirmed
            _see_commits(source, target)
        there = {n: read_rows(target, pair.target, key_columns, keys[n]) for n in open_keys}
        after = {n: read_rows(source, pair.source, key_columns, keys[n]) for n in open_keys}
        for n in open_keys:
            _judge(states[n], before[n], there[n], after[n], pair.source.columns)
    return Settlement(_worst(states), tuple(states), rounds)


def settle_table(source: Connection, target: Connection, pair: Pair, applied: Applied) -> Settlement:
    """Compare a whole table by count and digest, for a TRUNCATE or a finding whose keys are not all listed.

    Raises:
        NotReady: the target does not come far enough, or the table is too large for the time allowed.
    """
    state = KeyState()
    rounds = 0
    while rounds < ATTEMPTS and _undecided(state):
        rounds += 1
        before = digest_table(source, pair.source)
        _wait(source, applied)
        if state.agreeing:
            _see_commits(source, target)
        there = digest_table(target, pair.target)
        after = digest_table(source, pair.source)
        state.on_source, state.on_target = before[0] != b"0", there[0] != b"0"
        _count_round(state, equal=there in (before, after), still=before == after)
    return Settlement(state.outcome, (state,), rounds)


def _undecided(state: KeyState) -> bool:
    return state.outcome is Outcome.MOVING


def _wait(source: Connection, applied: Applied) -> None:
    if not applied(logged(source)):
        raise NotReady("the target has not applied what the source shows yet")


def _see_commits(*sessions: Connection) -> None:
    """Wait until nothing that is in a log waits for a standby: who reads rows does not see it, the other side may."""
    for session in sessions:
        waits_for_standbys = fetch(session, "SHOW synchronous_standby_names")[0][0]
        if waits_for_standbys and not visible(session, VISIBLE_SECONDS):
            raise NotReady("a commit that waits for a standby cannot be seen yet")


def _judge(
    state: KeyState, before: tuple[RowVersion, ...], there: tuple[RowVersion, ...], after: tuple[RowVersion, ...],
    columns: tuple[str, ...],
) -> None:  # fmt: skip
    shown = tuple(row.texts for row in there)
    equal = shown in (tuple(row.texts for row in before), tuple(row.texts for row in after))
    state.on_source, state.on_target = bool(after), bool(there)
    if len(after) == len(there) == 1:
        pairs = zip(columns, after[0].texts, there[0].texts, strict=True)
        state.columns = {name for name, left, right in pairs if left != right}
    _count_round(state, equal=equal, still=before == after)


def _count_round(state: KeyState, *, equal: bool, still: bool) -> None:
    """Fold one round in: equal once is equal; different must be seen again while the source stands still."""
    if equal:
        state.outcome, state.columns = Outcome.EQUAL, set()
    elif not still:
        state.agreeing = 0
    else:
        state.agreeing += 1
        if state.agreeing >= ROUNDS:
            state.outcome = Outcome.DIFFERENT


def _worst(states: Sequence[KeyState]) -> Outcome:
    outcomes = {state.outcome for state in states}
    if Outcome.DIFFERENT in outcomes:
        return Outcome.DIFFERENT
    return Outcome.MOVING if Outcome.MOVING in outcomes or not states else Outcome.EQUAL
