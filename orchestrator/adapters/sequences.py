"""Set the new side's sequences past the old one's, in either direction: replication carries none of them.

Which sequence stands for which is chosen beforehand; it is chosen again where either side's sequences are no longer
what they were. While writes are held, each side is asked once, the new one is set once, and read back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comparators.errors import AuditorError, NotReady
from comparators.mapping import NO_MAPPING, Mapping
from comparators.positions import Side
from orchestrator.adapters.sessions import Session
from orchestrator.counters import Count, Definition, count_to_set, is_past, numbers_left, obstacle
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker, Facts

HEADROOM = 1000
CHECK_SECONDS = 10.0
NAMED = 20
"""Sequences that are named where many are meant."""
_ALL = """
WITH callers AS (
    SELECT d.refobjid AS sequence, array_agg(DISTINCT n.nspname || '.' || c.relname) AS tables
    FROM pg_depend d
    JOIN pg_attrdef f ON f.oid = d.objid
    JOIN pg_class c ON c.oid = f.adrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass
    GROUP BY d.refobjid
), owners AS (
    SELECT d.objid AS sequence, n.nspname || '.' || c.relname AS owner, a.attname::text AS place
    FROM pg_depend d
    JOIN pg_class c ON c.oid = d.refobjid
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
      AND d.refobjsubid > 0
)
SELECT c.oid::bigint, n.nspname || '.' || c.relname, format('%I.%I', n.nspname, c.relname),
       s.seqincrement, s.seqmin, s.seqmax, s.seqcycle, s.seqcache, o.owner, o.place, coalesce(k.tables, '{}'),
       has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(c.oid, 'SELECT'),
       has_schema_privilege(n.oid, 'USAGE') AND has_sequence_privilege(c.oid, 'UPDATE')
FROM pg_sequence s
JOIN pg_class c ON c.oid = s.seqrelid AND c.relpersistence <> 't'
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN owners o ON o.sequence = c.oid
LEFT JOIN callers k ON k.sequence = c.oid
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> $1
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
                  AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e')
ORDER BY 2"""
_STATE = "SELECT md5(string_agg(seqrelid::text || ' ' || xmin::text, ',' ORDER BY seqrelid)) FROM pg_sequence"
"""Another one once a sequence was made, changed or dropped."""
_SET = """SELECT count(setval(w.sequence::regclass, w.last, w.called))
FROM unnest($1::oid[], $2::bigint[], $3::boolean[]) AS w (sequence, last, called)"""


@dataclass(frozen=True, slots=True)
class Counter:
    """One sequence of one side."""

    oid: int
    name: str
    """`schema.sequence`"""
    quoted: str
    definition: Definition
    owner: str | None
    """Table, as `schema.table`, to one of whose columns it belongs."""
    column: str | None
    callers: tuple[str, ...]
    """Tables with defaults that call it."""
    readable: bool
    settable: bool

    @property
    def users(self) -> set[str]:
        return {*self.callers, *([self.owner] if self.owner else ())}


@dataclass(frozen=True, slots=True)
class Plan:
    """Which sequence of the new side stands for which of the old one."""

    pairs: tuple[tuple[Counter, Counter], ...]
    missing: tuple[str, ...]
    """Sequences of the source that the target does not have."""
    states: tuple[str | None, str | None]


class SequencePort:
    """Counters, which replication does not carry."""

    def __init__(
        self, source: str, target: str, *, old: Side, own_schema: str, selects: Callable[[str], bool] = lambda _: True,
        mapping: Mapping = NO_MAPPING, headroom: int = HEADROOM,
    ) -> None:  # fmt: skip
        """Remember where to look; nothing is opened yet.

        Args:
            source, target: connection strings of the control roles.
            old: the side whose numbers count.
            own_schema: of the auditor's objects; they are left alone.
            selects: the configuration's include and exclude, on the source's `schema.table`.
            headroom: numbers that are skipped where there is room, besides what a session takes at once.
        """
        self._source, self._target = Session(source, "sequences"), Session(target, "sequences")
        self._old, self._own_schema, self._selects = old, own_schema, selects
        self._mapping, self._headroom = mapping, headroom
        self._plan: Plan | None = None

    def close(self) -> None:
        """End its sessions."""
        self._source.close()
        self._target.close()

    def warm(self, deadline: Deadline) -> Facts:
        """Open the sessions, pair the sequences, and let both servers plan how they are read.

        Raises:
            SideUnavailable, NotPermitted, ...: as `comparators.server_errors.wrapped` sorts them.
            DeadlinePassed: it took too long.
        """
        plan = self._planned(deadline)
        self._counts(plan, deadline)
        self._new_session.ask(_SET, [[], [], []], deadline=deadline)
        return {}

    def check(self) -> Sequence[Blocker]:
        """Say which sequences could not be set."""
        deadline = Deadline.within(CHECK_SECONDS, "check the sequences")
        try:
            plan = self._planned(deadline)
            found = [*self._absent(plan), *self._rights(plan), *_unlike(plan)]
            return found or self._without_room(plan, deadline)
        except AuditorError as error:
            return [Blocker("sequences", f"they cannot be checked: {error}", getattr(error, "hint", "look again"))]

    def set(self, deadline: Deadline) -> Facts:
        """Set each sequence of the new side past the old one's value, cache and headroom, and read it back.

        Returns:
            With the counts `sequences`, and `behind` (read back and not past the old one's).
        Raises:
            NotReady: the new side lacks sequences.
        """
        plan = self._planned(deadline)
        if plan.missing:
            raise NotReady(f"the target does not have the sequences {_listed(plan.missing)}")
        old, new = self._counts(plan, deadline)
        wanted = [
            count_to_set((one.definition, there), (other.definition, here), self._headroom)
            for (one, other), there, here in zip(plan.pairs, old, new, strict=True)
        ]
        chosen = [place for place, count in enumerate(wanted) if count != new[place]]
        self._set([(plan.pairs[place][1], wanted[place]) for place in chosen], deadline)
        seen = _read(self._new_session, [other for _, other in plan.pairs], deadline)
        behind = [
            other.name
            for (one, other), there, here, want in zip(plan.pairs, old, seen, wanted, strict=True)
            if not _reached(one, there, other, here, want)
        ]
        return {"sequences": len(seen), "set": len(chosen), "behind": len(behind), "behind_named": behind[:NAMED]}

    @property
    def _old_session(self) -> Session:
        return self._source if self._old is Side.SOURCE else self._target

    @property
    def _new_session(self) -> Session:
        return self._target if self._old is Side.SOURCE else self._source

    def _planned(self, deadline: Deadline) -> Plan:
        """Pair the sequences, unless both sides' are still what they were."""
        states = self._source.ask(_STATE, deadline=deadline)[0][0], self._target.ask(_STATE, deadline=deadline)[0][0]
        if self._plan is None or self._plan.states != states:
            self._plan = self._paired(states, deadline)
        return self._plan

    def _paired(self, states: tuple[str | None, str | None], deadline: Deadline) -> Plan:
        source, target = (self._all(session, deadline) for session in (self._source, self._target))
        wanted = [one for one in source if any(map(self._selects, one.users or {one.name}))]
        found = [(one, self._partner(one, target)) for one in wanted]
        pairs = [(one, other) if self._old is Side.SOURCE else (other, one) for one, other in found if other]
        return Plan(tuple(pairs), tuple(one.name for one, other in found if other is None), states)

    def _partner(self, one: Counter, target: list[Counter]) -> Counter | None:
        """Find the target's sequence: of the same column, else of the same name."""
        if one.owner is not None and one.column is not None:
            place = self._mapping.target_of(one.owner), self._mapping.columns(one.owner).target_name(one.column)
            there = [other for other in target if (other.owner, other.column) == place]
            if there:
                return min(there, key=lambda other: other.name != one.name)
        return next((other for other in target if other.name == one.name), None)

    def _all(self, session: Session, deadline: Deadline) -> list[Counter]:
        return [
            Counter(oid, name, quoted, Definition(*numbers), owner, column, tuple(callers), readable, settable)
            for oid, name, quoted, *numbers, owner, column, callers, readable, settable
            in session.ask(_ALL, [self._own_schema], deadline=deadline)
        ]  # fmt: skip

    def _counts(self, plan: Plan, deadline: Deadline) -> tuple[list[Count], list[Count]]:
        old = _read(self._old_session, [one for one, _ in plan.pairs], deadline)
        return old, _read(self._new_session, [other for _, other in plan.pairs], deadline)

    def _set(self, counts: list[tuple[Counter, Count]], deadline: Deadline) -> None:
        if counts:
            columns = [[one.oid for one, _ in counts], [c.last for _, c in counts], [c.called for _, c in counts]]
            self._new_session.ask(_SET, columns, deadline=deadline)

    def _absent(self, plan: Plan) -> list[Blocker]:
        if not plan.missing:
            return []
        reason = f"the target does not have the sequences {_listed(plan.missing)}"
        return [Blocker("sequences-missing", reason, "make them there, with their columns or by CREATE SEQUENCE")]

    def _rights(self, plan: Plan) -> list[Blocker]:
        old = [one.name for one, _ in plan.pairs if not one.readable]
        new = [other.name for _, other in plan.pairs if not (other.readable and other.settable)]
        return [
            Blocker("sequences-rights", f"the control role of the {side} may not {what} {_listed(names)}",
                    f"GRANT {rights} ON ALL SEQUENCES IN SCHEMA ... and USAGE ON SCHEMA ... to it")
            for side, names, what, rights in (
                (self._old, old, "read", "SELECT"), (self._old.other, new, "set", "SELECT, UPDATE"),
            ) if names
        ]  # fmt: skip

    def _without_room(self, plan: Plan, deadline: Deadline) -> list[Blocker]:
        old, _ = self._counts(plan, deadline)
        full = [
            one.name for (one, other), count in zip(plan.pairs, old, strict=True)
            if not one.definition.cycles and count.called and not numbers_left(one.definition, count, other.definition)
        ]  # fmt: skip
        if not full:
            return []
        reason = f"no numbers are left of {_listed(full)}"
        return [Blocker("sequences-full", reason, "widen them on both sides, and their columns")]


def _unlike(plan: Plan) -> list[Blocker]:
    return [
        Blocker("sequence-unlike", f"{one.name}: {why}", "ALTER SEQUENCE on one side, so that both are defined alike")
        for one, other in plan.pairs if (why := obstacle(one.definition, other.definition))
    ]  # fmt: skip


def _read(session: Session, counters: Sequence[Counter], deadline: Deadline) -> list[Count]:
    """Read where sequences stand, in their order."""
    if not counters:
        return []
    each = (f"SELECT {place} AS n, last_value, is_called FROM {one.quoted}" for place, one in enumerate(counters))
    rows = session.ask(" UNION ALL ".join(each), deadline=deadline)
    return [Count(last, called) for _, last, called in sorted(rows)]


def _reached(one: Counter, there: Count, other: Counter, here: Count, wanted: Count) -> bool:
    if other.definition.cycles:
        return here == wanted
    return is_past(other.definition, here, one.definition, there)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
