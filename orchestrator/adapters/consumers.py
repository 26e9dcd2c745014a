"""Readers of change slots (Debezium and its like): drained to the fence, stopped, and led to a slot on the new side.

Rules of this file:
1. A reader is stopped only once it has confirmed the fence: what it had not read by then would be lost, or come twice.
2. The new slot is born once everything has come to the new side, while that is fenced: it shows each write once.
3. Positions of the two sides have nothing in common. A reader forgets its offsets and begins where its new slot does.
4. The slot that was left is moved along, as it only holds back WAL for nobody, and goes when an operator finalizes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from comparators.errors import AuditorError, NeedsOperator, NotReady
from comparators.positions import Side, format_lsn
from orchestrator.adapters.programs import Programs, run_all
from orchestrator.adapters.sessions import Session
from orchestrator.adapters.subscriptions import SlotSeen, advance, drop_slot, slots
from orchestrator.deadlines import Deadline, DeadlinePassed
from orchestrator.ports import Blocker, Facts

BEHIND_BYTES = 64 << 20
"""Further behind than this a reader would hold up a cutover for long."""
ADVANCE_BYTES = 128 << 20
PAUSE_SECONDS = 0.005
CHECK_SECONDS = 10.0

Run = Callable[[Programs, Deadline], None]
"""Runs programs side by side."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A reader of a change slot."""

    slot: str
    plugin: str
    pause: tuple[str, ...]
    """Lets the reader stop; called once it has read everything. Empty: it stops by itself."""
    resume: tuple[str, ...]
    """Lets the reader go on; it is told side, slot and position."""


class SlotConsumers:
    """The consumers of one direction of a cutover."""

    def __init__(
        self, old: Session, new: Session, consumers: Sequence[Consumer], *, rollback: bool = False, run: Run = run_all
    ) -> None:
        """Remember the consumers.

        Args:
            rollback: their slots are on the new side already, left there by the cutover.
        """
        self._old, self._new, self._consumers, self._rollback, self._run = old, new, tuple(consumers), rollback, run
        self._names = [one.slot for one in consumers]
        self._sides = (Side.TARGET, Side.SOURCE) if rollback else (Side.SOURCE, Side.TARGET)

    def check(self) -> Sequence[Blocker]:
        """List the consumers that could not be handed over."""
        deadline = Deadline.within(CHECK_SECONDS, "check the consumers")
        if not self._consumers:
            return []
        try:
            here, there = slots(self._old, self._names, deadline), slots(self._new, self._names, deadline)
            end = self._end(deadline)
        except AuditorError as error:
            return [Blocker("consumers", f"their slots cannot be seen: {error}", "see that both sides answer")]
        found = [blocker for one in self._consumers for blocker in _blockers(one, here.get(one.slot), end)]
        if not self._rollback:
            found += [
                Blocker("consumers", f"slot {name} is on the {self._sides[1]} already", "drop it, if nobody needs it")
                for name in there
            ]  # fmt: skip
        return found

    def _end(self, deadline: Deadline) -> int:
        return int(self._old.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint", deadline=deadline))

    def pause(self, deadline: Deadline) -> Facts:
        """See that each consumer reads and is near the end, so that `drain` is short; it goes on reading until then.

        Raises:
            NotReady: one does not, or is not.
        """
        seen, end = slots(self._old, self._names, deadline), self._end(deadline) if self._consumers else 0
        if problems := [b.reason for one in self._consumers for b in _blockers(one, seen.get(one.slot), end)]:
            raise NotReady("; ".join(problems))
        behind = {name: max(end - (one.confirmed or 0), 0) for name, one in seen.items()}
        return {"consumers": len(seen), "behind_bytes": behind}

    def drain(self, fence_lsn: int, deadline: Deadline) -> Facts:
        """Wait until each consumer has confirmed the fence's position, then let it stop.

        Raises:
            DeadlinePassed: one did not confirm it in time.
        """
        _until_none(lambda: self._behind(fence_lsn, deadline), f"did not confirm {format_lsn(fence_lsn)}", deadline)
        stops = {one.slot: (one.pause, self._told(one, 0, fence_lsn)) for one in self._consumers if one.pause}
        self._run(stops, deadline)
        _until_none(lambda: self._reading(self._old, deadline), "did not stop", deadline)
        return {"consumers": len(self._consumers), "behind": 0, "confirmed": self._confirmed(self._old, deadline)}

    def _behind(self, fence_lsn: int, deadline: Deadline) -> list[str]:
        seen = slots(self._old, self._names, deadline) if self._names else {}
        return [name for name in self._names if (_confirmed(seen.get(name)) or 0) < fence_lsn]

    def _reading(self, side: Session, deadline: Deadline) -> list[str]:
        seen = slots(side, self._names, deadline) if self._names else {}
        return [name for name, one in seen.items() if one.active_pid is not None]

    def hand_over(self, deadline: Deadline) -> Facts:
        """Create each slot on the new side while it is fenced, and record where it starts.

        Raises:
            NeedsOperator: a slot of that name is read there, or is of another kind.
        """
        made = {one.slot: format_lsn(self._born(one, deadline)) for one in self._consumers}
        return {"slots": made}

    def _born(self, consumer: Consumer, deadline: Deadline) -> int:
        """Make a slot, or move the one that is there to the end of the log."""
        name = consumer.slot
        seen = slots(self._new, [name], deadline).get(name)
        if seen is None:
            statement = "SELECT (lsn - '0/0')::bigint FROM pg_create_logical_replication_slot(%s, %s)"
            return int(self._new.value(statement, [name, consumer.plugin], deadline=deadline))
        if seen.plugin != consumer.plugin:
            hint = "drop it, if nobody needs it"
            raise NeedsOperator(f"slot {name} on the {self._sides[1]} has plug-in {seen.plugin}", hint=hint)
        moved = advance(self._new, name, 1 << 60, deadline)
        if moved is None:
            raise NeedsOperator(f"slot {name} on the {self._sides[1]} is read, or lost", hint="stop its reader")
        return moved

    def take_back(self, deadline: Deadline) -> Facts:
        """Drop the slots that `hand_over` made on the new side: the cutover was aborted, nobody read them.

        In a rollback they were there before, and stay.
        """
        if self._rollback:
            return {"dropped": []}
        return {"dropped": [name for name in self._names if drop_slot(self._new, name, deadline)]}

    def resume(self, on: Side, deadline: Deadline) -> Facts:
        """Let each consumer go on from a side, and see that its slot there is read.

        Raises:
            DeadlinePassed: one did not come back.
        """
        number = self._sides.index(on)
        side = (self._old, self._new)[number]
        confirmed = self._confirmed(side, deadline)
        wanted = {
            one.slot: (one.resume, self._told(one, number, confirmed.get(one.slot) or 0))
            for one in self._consumers if one.resume
        }  # fmt: skip
        self._run(wanted, deadline)
        _until_none(
            lambda: sorted(set(wanted) - set(self._reading(side, deadline))), f"did not come to the {on}", deadline
        )
        begun = {name: format_lsn(position) for name, position in confirmed.items()}
        return {"consumers": len(self._consumers), "on": str(on), "from": begun}

    def _told(self, consumer: Consumer, number: int, position: int) -> dict[str, str]:
        """Give what a program is told in its environment."""
        return {
            "AUDITOR_SLOT": consumer.slot, "AUDITOR_SIDE": str(self._sides[number]),
            "AUDITOR_POSITION": format_lsn(position), "AUDITOR_PLUGIN": consumer.plugin,
        }  # fmt: skip

    def _confirmed(self, side: Session, deadline: Deadline) -> dict[str, int]:
        seen = slots(side, self._names, deadline) if self._names else {}
        return {name: position for name, one in seen.items() if (position := _confirmed(one)) is not None}

    def tend(self, deadline: Deadline) -> Facts:
        """Move the slots on the side that was left, as nobody reads them, once the new ones are read."""
        led = set(self._reading(self._new, deadline))
        parked = {name: advance(self._old, name, ADVANCE_BYTES, deadline) for name in self._names if name in led}
        return {"consumers": len(self._consumers), "reading": len(led), "parked": parked}

    def finalize(self, deadline: Deadline) -> Facts:
        """Drop the slots on the side that was left, of consumers that have a slot on the new one."""
        there = slots(self._new, self._names, deadline) if self._names else {}
        return {"dropped": [name for name in self._names if name in there and drop_slot(self._old, name, deadline)]}


def _until_none(missing: Callable[[], list[str]], what: str, deadline: Deadline) -> None:
    """Wait until no consumer is missing; at the deadline the error names those that are."""
    names: list[str] = []
    try:
        while names := missing():
            time.sleep(min(PAUSE_SECONDS, deadline.left()))
    except DeadlinePassed:
        who = ", ".join(names) or "the consumers"
        raise DeadlinePassed(f"{deadline.doing}: {who} {what}") from None


def _confirmed(seen: SlotSeen | None) -> int | None:
    return seen.confirmed if seen is not None and seen.usable else None


def _blockers(consumer: Consumer, seen: SlotSeen | None, end: int) -> list[Blocker]:
    """List what speaks against handing a consumer over."""
    name = consumer.slot
    if seen is None or not seen.usable:
        return [Blocker("consumers", f"slot {name} is not there, or lost its WAL", "correct cutover.consumers")]
    if seen.plugin != consumer.plugin:
        return [Blocker("consumers", f"slot {name} has plug-in {seen.plugin}", "correct cutover.consumers")]
    if seen.active_pid is None:
        return [Blocker("consumers", f"nobody reads slot {name}", "start its reader")]
    if end - (seen.confirmed or 0) > BEHIND_BYTES:
        reason = f"the reader of slot {name} is {(end - (seen.confirmed or 0)) >> 20} MiB behind"
        return [Blocker("consumers", reason, "wait, or let it confirm more often")]
    return []
