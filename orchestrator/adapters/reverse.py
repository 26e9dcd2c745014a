"""The two ways of the data: the one that comes to the new side, and the way back, armed before it is needed.

Rules of this file:
1. Both ways are never enabled together: what came one way is stopped and its workers gone before the other starts.
2. The way back begins at the commit line. Where PostgreSQL cannot leave out what came by replication (before 16), that
   is done by its starting position alone (ruling 34).
3. Nothing is dropped but by `disarm`, before anything was carried, and by `finalize`, when an operator says so.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from psycopg import sql

from comparators.errors import AuditorError, NeedsOperator
from comparators.positions import format_lsn
from orchestrator.adapters import reverse_checks
from orchestrator.adapters.sessions import Session
from orchestrator.adapters.subscriptions import (
    ORIGINS,
    SlotSeen,
    SubscriptionSeen,
    advance,
    disable,
    drop_slot,
    drop_subscription,
    enable,
    slots,
    start_at,
    state_of,
    subscriptions,
)
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker, Facts

ADVANCE_BYTES = 128 << 20
"""How far one look moves a parked slot: decoding that much takes the server less than a second."""
OBSERVE_SECONDS = 2.0
ARM_AGAIN = "start again, which arms a way back anew; the migration's own subscription would have to be made anew"
FINALIZE = "finalize, or bring it back by hand; a budget or a disk that was full is the usual cause"
TELL_SECONDS = 0.5
"""How long clients wait for the audits' records; those that are away are told again from step to step."""

Drawn = Callable[[int, int], None]
"""Told the fence of the old side and the commit line of the new one, before the new side is opened, and maybe again."""
Recorded = Callable[[], tuple[int, int] | None]
"""Gives these two as the journal has them; `None` where nothing is committed in this direction."""


@dataclass(frozen=True, slots=True)
class Control:
    """Tables of our own that show that the way back carries: marker and canary of the reverse audit."""

    schema: str
    tables: tuple[str, ...]
    """As `schema.table`."""
    statements: tuple[str, ...]
    """Make them; run on both sides, and nothing happens where they are there."""


@dataclass(frozen=True, slots=True)
class ReversePlan:
    """What the way back is made of."""

    name: str
    """Of the publication and the slot on the target, and of the subscription on the source."""
    forward: tuple[str, ...]
    """The migration's subscriptions on the target."""
    publisher: str = field(repr=False)
    """Connection string of the target as the source reaches it; may hold a password."""
    own_schema: str
    """Holds the forward audit's tables, which do not go back."""
    control: Control
    wal_budget_bytes: int


class Ways:
    """Both ways in one direction of a cutover: what comes to the new side, and what will go back to the old one."""

    def __init__(
        self, old: Session, new: Session, coming: Sequence[str], going: Sequence[str], *, budget_bytes: int,
        drawn: Drawn, recorded: Recorded,
    ) -> None:  # fmt: skip
        """Remember the ways; nothing is looked at yet.

        Args:
            coming: subscriptions on the new side.
            going: subscriptions on the old side, for the way back.
            budget_bytes: WAL that the slot of the way back should hold at most.
            recorded: asked by a process that did not enable the way back itself.
        """
        self._old, self._new, self._coming, self._going = old, new, tuple(coming), tuple(going)
        self._budget_bytes, self._drawn, self._recorded = budget_bytes, drawn, recorded
        self._line: tuple[int, int] | None = None
        self._told: tuple[int, int] | None = None
        self._telling: threading.Thread | None = None

    def stop_forward(self, deadline: Deadline) -> Facts:
        """Disable the subscriptions of the new side, and see their workers end."""
        disable(self._new, self._coming, deadline)
        return {"forward": state_of(subscriptions(self._new, self._coming, deadline), self._coming), "workers": 0}

    def resume_forward(self, deadline: Deadline) -> Facts:
        """Enable them again: the cutover was aborted.

        Raises:
            NeedsOperator: the way back is enabled, so that both would run at once.
        """
        going = subscriptions(self._old, self._going, deadline)
        if any(one.enabled for one in going.values()):
            raise NeedsOperator("the way back is enabled", hint="look at `auditor cutover status`: was it committed?")
        enable(self._new, self._coming, deadline)
        return {"forward": state_of(subscriptions(self._new, self._coming, deadline), self._coming)}

    def commit_line(self, deadline: Deadline) -> Facts:
        """Read the new side's position, and let the way back begin there where it would carry what came before.

        Raises:
            NeedsOperator: a slot of the way back is lost, or it cannot begin there.
        """
        line, flushed = self._new.execute(
            "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint, (pg_current_wal_flush_lsn() - '0/0')::bigint",
            deadline=deadline,
        )[0]  # fmt: skip
        going = self._seen_going(deadline)
        self._check_slots(going, deadline, ARM_AGAIN)  # it may have been armed days ago: lost, nothing could be opened
        moved = self._begin_at(going, int(flushed), deadline)
        return {"commit_line": int(line), "commit_line_text": format_lsn(int(line)), "moved": moved}

    def _begin_at(self, going: Sequence[SubscriptionSeen], position: int, deadline: Deadline) -> list[str]:
        """Move the start of every subscription that cannot leave out what came by replication."""
        moved = []
        for one in going:
            if self._filters(one, deadline):
                continue
            told = start_at(self._old, one, position, deadline)
            reached = advance(self._new, one.slot or "", 1 << 60, deadline) if not told else position
            if reached is None or reached < position:
                raise NeedsOperator(
                    f"subscription {one.name} cannot be made to begin at {format_lsn(position)}: its slot is in use",
                    hint="grant EXECUTE ON FUNCTION pg_replication_origin_advance(text, pg_lsn) to the control role",
                )
            moved.append(one.name)
        return moved

    def _filters(self, one: SubscriptionSeen, deadline: Deadline) -> bool:
        """Say whether what came to the new side by replication is left out of a way back."""
        return one.origin == "none" and self._new.version(deadline) >= ORIGINS

    def _seen_going(self, deadline: Deadline) -> list[SubscriptionSeen]:
        seen = subscriptions(self._old, self._going, deadline)
        if missing := [name for name in self._going if name not in seen]:
            raise NeedsOperator(f"subscription {missing[0]} of the way back is not there", hint="arm it again")
        return list(seen.values())

    def enable_reverse(self, fence_lsn: int, commit_line: int, deadline: Deadline) -> Facts:
        """Start the way back, and tell both audits where theirs ends and begins.

        Raises:
            NeedsOperator: what came to the new side is not stopped, or a slot of the way back is lost.
        """
        coming = subscriptions(self._new, self._coming, deadline)
        if any(one.enabled or one.workers for one in coming.values()):
            raise NeedsOperator("the way to the new side still runs", hint="let `auditor cutover start` go on")
        self._check_slots(self._seen_going(deadline), deadline, FINALIZE)
        self._line = (fence_lsn, commit_line)
        telling = self._start_telling()
        enable(self._old, self._going, deadline)
        told = self._told_in_time(telling, deadline)
        return {"reverse": state_of(subscriptions(self._old, self._going, deadline), self._going), "audits_told": told}

    def tell(self, deadline: Deadline) -> Facts:
        """Tell the audits, unless this process has: an attempt before may have failed, or a process been killed."""
        if self._told is not None and self._told == self._line:
            return {"audits_told": True}
        return {"audits_told": self._told_in_time(self._start_telling(), deadline)}

    def _check_slots(self, going: Sequence[SubscriptionSeen], deadline: Deadline, hint: str) -> dict[str, SlotSeen]:
        names = [one.slot or one.name for one in going]
        seen = slots(self._new, names, deadline)
        for name in names:
            if name not in seen or not seen[name].usable:
                raise NeedsOperator(
                    f"slot {name} of the way back is gone: what was written since cannot come back by itself", hint=hint
                )
        return seen

    def _start_telling(self) -> threading.Thread:
        """Tell the audits beside what else is to be done: their records may be away, and clients must not wait."""
        if self._telling is None or not self._telling.is_alive():
            self._telling = threading.Thread(target=self._tell, daemon=True)
            self._telling.start()
        return self._telling

    def _told_in_time(self, telling: threading.Thread, deadline: Deadline) -> bool:
        telling.join(min(TELL_SECONDS, deadline.left()))
        return self._told is not None and self._told == self._line

    def _tell(self) -> None:
        with suppress(AuditorError):  # it is told again
            line = self._line = self._line or self._recorded()
            if line is not None and line != self._told:
                self._drawn(*line)
                self._told = line

    def tend(self, deadline: Deadline) -> Facts:
        """Move the slots that were left past what only echoes in them, and look at what the way back holds.

        Raises:
            NeedsOperator: a slot of the way back is lost.
        """
        told = self.tell(deadline)
        going, coming = self._seen_going(deadline), subscriptions(self._new, self._coming, deadline)
        held = self._check_slots(going, deadline, FINALIZE)
        parked: dict[str, int | None] = {}
        if all(one.enabled for one in going) and not any(one.enabled for one in coming.values()):
            for one in coming.values():
                parked[one.slot or one.name] = advance(self._old, one.slot or "", ADVANCE_BYTES, deadline)
        kept = max((one.retained_bytes or 0 for one in held.values()), default=0)
        return {
            **told, "parked": parked, "reverse_retained_bytes": kept,
            "budget_bytes": self._budget_bytes, "in_budget": kept <= self._budget_bytes,
            "reverse_workers": sum(len(one.workers) for one in going),
            "reverse_streams": all(one.active_pid is not None for one in held.values()),
        }  # fmt: skip

    def observe(self) -> Facts:
        """Give `forward` and `reverse`: enabled, disabled, absent, or null where it is not known."""
        return {
            "forward": _state(self._new, self._coming),
            "reverse": _state(self._old, self._going),
            "reverse_lag_bytes": self._lag(),
        }

    def _lag(self) -> int | None:
        """Give how much of the new side's log the way back has not brought yet, as it confirmed that."""
        try:
            deadline = Deadline.within(OBSERVE_SECONDS, "see the lag of the way back")
            names = [one.slot or one.name for one in self._seen_going(deadline)]
            end = int(self._new.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint", deadline=deadline))
            seen = [one.confirmed for one in slots(self._new, names, deadline).values()]
        except AuditorError:
            return None
        known = [one for one in seen if one is not None]
        return max(end - min(known), 0) if known and len(known) == len(names) else None


def _state(session: Session, names: Sequence[str]) -> str | None:
    try:
        return state_of(subscriptions(session, names, Deadline.within(OBSERVE_SECONDS, "see the ways")), names)
    except AuditorError:
        return None


class WayBack(Ways):
    """The ways of a cutover from the source to the target: arms the way back, and removes it again."""

    def __init__(
        self, source: Session, target: Session, plan: ReversePlan, drawn: Drawn, recorded: Recorded
    ) -> None:  # fmt: skip
        super().__init__(
            source, target, plan.forward, (plan.name,), budget_bytes=plan.wal_budget_bytes, drawn=drawn,
            recorded=recorded,
        )  # fmt: skip
        self._plan = plan

    def check(self) -> Sequence[Blocker]:
        """List what stands against a way back."""
        return reverse_checks.blockers(
            self._old, self._new, self._plan.forward, self._plan.own_schema, self._plan.name
        )  # fmt: skip

    def prepare_reverse(self, deadline: Deadline) -> Facts:
        """Make publication and slot on the target and the disabled subscription on the source.

        It connects once, from the source to the target: so the way is proved, and the tables are known as copied.

        Raises:
            NeedsOperator: objects of that name are there and are not as they should be, or changes could not come back.
        """
        tables = reverse_checks.carried_tables(self._new, self._plan.forward, self._plan.own_schema, deadline)
        for session in (self._old, self._new):  # who applies first: a row of an unknown table would stop it
            for statement in self._plan.control.statements:
                session.execute(statement.encode(), deadline=deadline)
        fresh = self._publish([*tables, *self._plan.control.tables], deadline)
        self._make_slot(deadline, anew=fresh)
        self._subscribe(deadline)
        seen = self._armed(deadline)
        return {
            "reverse": state_of({seen.name: seen}, self._going), "origin": seen.origin, "tables": len(tables),
            "filters": self._filters(seen, deadline),
        }  # fmt: skip

    def _publish(self, tables: Sequence[str], deadline: Deadline) -> bool:
        """Publish the tables on the target; say whether the publication was made just now."""
        name, listed = sql.Identifier(self._plan.name), sql.SQL(", ").join(map(_table, sorted(tables)))
        found = self._new.execute(
            "SELECT format('%%s.%%s', schemaname, tablename) FROM pg_publication_tables WHERE pubname = %s"
            " UNION ALL SELECT '' FROM pg_publication WHERE pubname = %s",
            [self._plan.name, self._plan.name], deadline=deadline,
        )  # fmt: skip
        if not found:
            options = sql.SQL("publish = 'insert, update, delete, truncate', publish_via_partition_root = true")
            statement = sql.SQL("CREATE PUBLICATION {} FOR TABLE {} WITH ({})").format(name, listed, options)
            self._new.execute(statement, deadline=deadline)
        elif {row[0] for row in found} - {""} != set(tables):
            self._new.execute(sql.SQL("ALTER PUBLICATION {} SET TABLE {}").format(name, listed), deadline=deadline)
        return not found

    def _make_slot(self, deadline: Deadline, *, anew: bool) -> None:
        """Make the slot unless it is there; one from before its publication cannot be read."""
        name = self._plan.name
        seen = slots(self._new, [name], deadline).get(name)
        if seen is not None and (anew or not seen.usable):
            drop_slot(self._new, name, deadline)
            seen = None
        if seen is None:
            self._new.execute(
                "SELECT pg_create_logical_replication_slot(%s, 'pgoutput')", [name], deadline=deadline
            )  # fmt: skip

    def _subscribe(self, deadline: Deadline) -> None:
        """Make the subscription, disabled; one from an earlier attempt is made anew, with the tables of now."""
        name = self._plan.name
        seen = subscriptions(self._old, [name], deadline).get(name)
        if seen is not None and seen.enabled:
            raise NeedsOperator(f"subscription {name} is enabled", hint="is a cutover committed? see its status")
        drop_subscription(self._old, name, deadline)
        options = f"enabled = false, create_slot = false, slot_name = '{name}', copy_data = false"
        if self._old.version(deadline) >= ORIGINS:
            options += ", origin = none"
        statement = sql.SQL("CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {} WITH (" + options + ")").format(
            sql.Identifier(name), sql.Literal(self._plan.publisher), sql.Identifier(name)
        )
        self._old.execute(statement, deadline=deadline)

    def _armed(self, deadline: Deadline) -> SubscriptionSeen:
        (seen,) = self._seen_going(deadline)
        self._check_slots([seen], deadline, ARM_AGAIN)
        return seen

    def disarm(self, deadline: Deadline) -> Facts:
        """Remove the way back, which has carried nothing.

        Raises:
            NeedsOperator: it is enabled, so that it may have.
        """
        seen = subscriptions(self._old, self._going, deadline)
        if any(one.enabled for one in seen.values()):
            raise NeedsOperator("the way back is enabled and is not removed", hint="roll back, or finalize")
        return {"reverse": self._remove(deadline)}

    def _remove(self, deadline: Deadline) -> str | None:
        remove_way(self._old, self._new, self._plan, deadline)
        return state_of(subscriptions(self._old, self._going, deadline), self._going)

    def finalize(self, deadline: Deadline) -> Facts:
        """Remove both ways: the way back, and the migration's own subscriptions with their slots.

        The migration's publications stay on the source: they cost nothing, and are the user's.
        """
        reverse = self._remove(deadline)
        found = subscriptions(self._new, self._coming, deadline)
        for one in found.values():
            disable(self._new, [one.name], deadline)
            drop_slot(self._old, one.slot or one.name, deadline)
            drop_subscription(self._new, one.name, deadline)  # last: without it nobody knows the slot's name
        return {"forward": state_of(subscriptions(self._new, self._coming, deadline), self._coming), "reverse": reverse}


class WayForward(Ways):
    """The ways of a rollback: the target is the old side, and the migration's own subscriptions are the way back."""

    def __init__(
        self, source: Session, target: Session, plan: ReversePlan, drawn: Drawn, recorded: Recorded
    ) -> None:  # fmt: skip
        super().__init__(
            target, source, (plan.name,), plan.forward, budget_bytes=plan.wal_budget_bytes, drawn=drawn,
            recorded=recorded,
        )  # fmt: skip
        self._plan = plan

    def check(self) -> Sequence[Blocker]:
        """List what stands against going forward once more after the rollback: nothing that a rollback waits for."""
        return ()

    def prepare_reverse(self, deadline: Deadline) -> Facts:
        """See that the migration's own subscriptions are disabled and their slots usable; nothing is to be made."""
        self._check_slots(self._seen_going(deadline), deadline, ARM_AGAIN)
        return {"reverse": state_of(subscriptions(self._old, self._going, deadline), self._going)}

    def disarm(self, deadline: Deadline) -> Facts:
        """Remove the way back once it has done its work; before the rollback's commit it stays."""
        done = self.observe()
        if done["forward"] in ("disabled", "absent") and done["reverse"] == "enabled":  # absent: it was begun before
            remove_way(self._new, self._old, self._plan, deadline)
        return {name: value for name, value in self.observe().items() if name in ("forward", "reverse")}

    def finalize(self, deadline: Deadline) -> Facts:
        """Remove the way back; the migration's own replication goes on as before the cutover."""
        return self.disarm(deadline)


def remove_way(source: Session, target: Session, plan: ReversePlan, deadline: Deadline) -> None:
    """Remove subscription, slot, publication and control tables of the way back, whatever of them is there."""
    drop_subscription(source, plan.name, deadline)
    drop_slot(target, plan.name, deadline)
    target.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(plan.name)), deadline=deadline)
    for session in (target, source):
        for table in plan.control.tables:
            session.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(_table(table)), deadline=deadline)
        schema = sql.Identifier(plan.control.schema)
        session.execute(sql.SQL("DROP SCHEMA IF EXISTS {}").format(schema), deadline=deadline)


def _table(name: str) -> sql.Identifier:
    return sql.Identifier(*name.split(".", 1))
