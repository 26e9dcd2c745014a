"""Who writes to the source, and who writes to the target though only apply may. Our own sessions never count."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from comparators.checks.sessions import (
    SideSessions,
    chosen,
    grant,
    hidden,
    hidden_reason,
    named,
    shortened,
)
from comparators.preflight import NAMED, Check, Item, ItemStatus, found, unknown

CHECKS = (
    Check("writers-known", "writers", "everybody who writes to the source is known"),
    Check("writers-superuser", "writers", "no superuser writes to the source"),
    Check("writers-jobs", "writers", "no job or other subscription writes by itself"),
    Check("target-writers", "writers", "nobody but apply writes to the target"),
    Check("target-writers-seen", "writers", "no session on the target last ran a writing statement"),
)

REMEMBERED = 200
REMEMBERED_SECONDS = 3600.0
"""A writer that was seen stays one for so long: most of them are idle whenever one looks."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Somebody who writes to the source."""

    role: str
    application: str
    host: str
    superuser: bool = False

    def __str__(self) -> str:
        application = shortened(self.application) or "no application name"
        return f"{self.role or 'no role'} ({application}, from {self.host or 'local'})"


Inventory = Mapping[Writer, float]
"""When each writer was last seen, in unix seconds."""


@dataclass(frozen=True, slots=True)
class WritersSeen:
    """What both sides showed at one moment."""

    source: SideSessions
    target: SideSessions
    jobs: tuple[str, ...] = ()
    """Other subscriptions and extensions that write, with their side."""

    @property
    def sides(self) -> dict[str, SideSessions]:
        return {"source": self.source, "target": self.target}


def remembered(before: Inventory, source: SideSessions, now: float, known: Collection[str] = ()) -> Inventory:
    """Add who writes now to those seen before, and forget who has not been seen for an hour.

    Args:
        known: roles that are declared; where there are too many writers these are forgotten first.
    """
    writers = {
        Writer(one.role, one.application, one.host, one.superuser): now
        for _, one in chosen({"source": source}, lambda session: session.has_xid or session.writes)
    }  # fmt: skip
    all_seen = {**before, **writers}
    fresh = [(writer, at) for writer, at in all_seen.items() if now - at <= REMEMBERED_SECONDS]
    fresh.sort(key=lambda entry: (entry[0].role in known, -entry[1]))
    return dict(fresh[:REMEMBERED])


def judge_writers(seen: WritersSeen, inventory: Inventory, known: Collection[str]) -> tuple[Item, ...]:
    """Judge who writes.

    Args:
        inventory: everybody seen writing to the source lately.
        known: roles that are declared; none: nobody was asked for a list.
    """
    return (
        known_writers(seen, inventory, known), superusers(seen, inventory), jobs(seen), target_writers(seen),
        target_statements(seen),
    )  # fmt: skip


def known_writers(seen: WritersSeen, inventory: Inventory, known: Collection[str]) -> Item:
    """Compare who writes to the source with who is declared; an undeclared one that is seen counts in any case."""
    name = "writers-known"
    strangers = [str(writer) for writer in inventory if writer.role not in known]
    if known and strangers:
        return found(
            name, ItemStatus.BLOCKS_CORRECTNESS, strangers, "roles write to the source that are not declared",
            "route them through the access layer and add each role to probes.known_writers, or stop them",
        )  # fmt: skip
    if not seen.source.all_seen:
        return _unseen(name, {"source": seen.source})
    if known:
        return Item(name, ItemStatus.OK, f"everybody seen writing is declared: {_listed(inventory)}")
    return found(
        name, ItemStatus.WARN, strangers, "nobody declared who writes to the source; these were seen",
        "list in probes.known_writers the roles that go through the access layer", "nobody was seen writing yet",
    )  # fmt: skip


def superusers(seen: WritersSeen, inventory: Inventory) -> Item:
    """Find superusers among the writers: no fence of rights holds them."""
    writing = [str(writer) for writer in inventory if writer.superuser]
    if not seen.source.all_seen and not writing:
        return _unseen("writers-superuser", {"source": seen.source})
    return found(
        "writers-superuser", ItemStatus.WARN, writing, "superusers write to the source, and no write pause stops them",
        "give the application a role that is no superuser", "no superuser was seen writing",
    )  # fmt: skip


def jobs(seen: WritersSeen) -> Item:
    """Find what writes without anybody connecting: scheduled jobs, workers of extensions, other subscriptions."""
    workers = [f"{side}: worker {one.kind}" for side, one in chosen(seen.sides, lambda session: session.background)]
    if hidden(seen.sides) and not seen.jobs:
        return _unseen("writers-jobs", seen.sides)
    return found(
        "writers-jobs", ItemStatus.WARN, [*seen.jobs, *workers], "something may write without a client",
        "see that it is paused before the cutover, and runs on one side only", "no job or other subscription",
    )  # fmt: skip


def target_writers(seen: WritersSeen) -> Item:
    """Find open transactions on the target that have written and are not apply's."""
    writing = [f"target: {named(one)}" for _, one in chosen({"target": seen.target}, lambda session: session.has_xid)]
    if not seen.target.all_seen:  # without their kind nobody can tell them from apply
        return _unseen("target-writers", {"target": seen.target})
    return found(
        "target-writers", ItemStatus.BLOCKS_CORRECTNESS, writing,
        "sessions write to the target beside apply, so that it no longer follows the source",
        "stop them and take away their rights to write; then audit the tables that they touched",
        "nobody but apply writes to the target",
    )  # fmt: skip


def target_statements(seen: WritersSeen) -> Item:
    """Find sessions on the target whose last statement wrote, whenever that was."""
    if not seen.target.all_seen:
        return _unseen("target-writers-seen", {"target": seen.target})
    wrote = [f"target: {named(one)}" for _, one in chosen({"target": seen.target}, lambda session: session.writes)]
    return found(
        "target-writers-seen", ItemStatus.WARN, wrote, "the last statement of sessions on the target wrote",
        "see what they are for; only apply should write there", "no session's last statement wrote",
    )  # fmt: skip


def figures(seen: WritersSeen, inventory: Inventory) -> dict[str, float | None]:
    """Give what charts need; `None` where our role may not see it."""
    target = len(chosen({"target": seen.target}, lambda session: session.has_xid))
    return {
        "writers": len(inventory) if seen.source.all_seen else None,
        "target_writers": target if seen.target.all_seen else None,
    }


def _unseen(name: str, sides: Mapping[str, SideSessions]) -> Item:
    return unknown(name, hidden_reason(hidden(sides)), grant(sides))


def _listed(inventory: Iterable[Writer]) -> str:
    names = sorted({writer.role for writer in inventory})
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}" if names else "nobody yet"
