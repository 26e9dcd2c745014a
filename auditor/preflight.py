"""`auditor preflight`: run every probe once on both sides, and say what is in order, what is not, and what to do."""

import json
import os
import sys
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from auditor.probing import STORED, asked_of, new_probes, open_sides, said_of
from auditor.settings import Settings
from auditor.status import read_records
from comparators.checklist import GROUPS
from comparators.errors import Retryable, SettingInvalid
from comparators.findings import time_text
from comparators.preflight import Item, ItemStatus, completed, item_json
from samplers.catalog import select
from samplers.connections import connect
from samplers.drain import DrainMeasured, DrainRequest, drain_test
from samplers.probes.base import Probe, Sides

BETWEEN_SECONDS = 1.0
"""Between two looks of a probe that needs several."""
ATTEMPTS = 2
"""At a look: a server that is busy or was just restarted is asked once more."""
CODES = {"ok": 0, "blocked": 1, "unknown": 3}
COLOURS = {
    ItemStatus.OK: "32",
    ItemStatus.WARN: "33",
    ItemStatus.BLOCKS_CAPACITY: "31",
    ItemStatus.BLOCKS_CORRECTNESS: "1;31",
    ItemStatus.UNKNOWN: "35",
}
WIDTH = 110
SHOWN = 5
"""So many objects of an item the table names; `--json` has up to twenty."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What one group gave; an error leaves each of its items unknown."""

    name: str
    items: tuple[Item, ...]
    error: str | None = None


def preflight_command(
    settings: Settings, *, group: str | None, as_json: bool, drain_seconds: float | None = None
) -> int:
    """Run the checklist once, print it, and give the exit code.

    Args:
        drain_seconds: hold up apply for so long first, and time how long it takes to catch up.

    Returns:
        0 nothing blocks, 1 something blocks, 3 something is not known and nothing blocks.
    Raises:
        SettingInvalid: there is no such group, or a secret cannot be read.
        StoreUnavailable: the records cannot be read.
        NeedsOperator, NotReady: apply cannot be held up, or not safely; nothing was held up, or it goes on.
    """
    settings.check_secrets()
    drained = None if drain_seconds is None else drain(settings, drain_seconds)
    looked = checklist(settings, groups_of(group))
    verdict = verdict_of(looked)
    if as_json:
        print(json.dumps(document(settings.migration, looked, verdict, time.time()) | drain_json(drained)))
    else:
        if drained is not None:
            print(drain_words(drained))
        print(table(settings.migration, looked, verdict, colours=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
    return CODES[verdict]


def drain(settings: Settings, seconds: float) -> DrainMeasured:
    """Hold up apply of the subscription that brings our marker table, and time its drain.

    Raises:
        NeedsOperator, NotReady: as `drain_test` says.
    """
    request = DrainRequest(
        settings.source.conninfo(), settings.target.conninfo(), _carrier(settings), settings.names.schema, seconds,
        settings.wal_budget_bytes,
    )  # fmt: skip
    return drain_test(request, lambda: print(f"apply is held up for {seconds:g} s", file=sys.stderr, flush=True))


def _carrier(settings: Settings) -> str:
    """Name the subscription that brings our marker table; the first one where none does, to be told what is missing."""
    names, schema = settings.replication.subscriptions, settings.names.schema
    with connect(settings.target.conninfo(), application_name=f"auditor preflight {settings.migration}") as target:
        carrying = (
            name for name in names if select(target, "drain_subscription", {"subscription": name, "schema": schema})
        )
        return next(carrying, names[0])


def drain_words(drained: DrainMeasured) -> str:
    """Say what the pause showed."""
    rate = drained.bytes_per_second
    said = "too little was written to say how fast" if rate is None else f"{rate / 2**20:.2f} MiB/s"
    backlog = f"{drained.backlog_bytes / 2**20:.2f} MiB after {drained.paused_seconds:.1f} s"
    return f"drain test: {backlog}, drained in {drained.drain_seconds:.2f} s: {said}"


def drain_json(drained: DrainMeasured | None) -> dict[str, Any]:
    """Give what the pause showed, where there was one."""
    if drained is None:
        return {}
    return {
        "drain": {
            "paused_seconds": drained.paused_seconds,
            "backlog_bytes": drained.backlog_bytes,
            "drain_seconds": drained.drain_seconds,
            "bytes_per_second": drained.bytes_per_second,
        }
    }


def groups_of(group: str | None) -> tuple[str, ...]:
    """Choose the groups.

    Raises:
        SettingInvalid: there is no such group.
    """
    if group is None:
        return tuple(GROUPS)
    if group not in GROUPS:
        raise SettingInvalid(f"--group: there is no group {group!r}", hint=f"use one of: {', '.join(GROUPS)}")
    return (group,)


def checklist(
    settings: Settings, groups: Sequence[str], pause: Callable[[float], None] = time.sleep
) -> list[Looked]:
    """Look with each probe as often as its answer takes; whatever fails is not known."""
    records = read_records(settings)
    baseline = records.get("baseline")
    held = baseline if baseline and "ended" not in baseline and "renewing" not in baseline else None
    generation = int(held["generation"]) if held else 0
    probes = new_probes(groups, asked_of(settings), records.get(STORED), generation)
    found: dict[str, Looked] = {}
    sessions = _Sessions(settings, held)
    with closing(sessions):
        for number in range(max(probe.looks for probe in probes)):
            if number:
                pause(BETWEEN_SECONDS)
            found |= {probe.group: _looked(probe, sessions) for probe in probes if probe.looks > number}
    return [found[group] for group in groups]


class _Sessions:
    """A session on each side, opened when one is needed, and anew after trouble."""

    def __init__(self, settings: Settings, baseline: Mapping[str, Any] | None) -> None:
        self._settings, self._baseline = settings, baseline
        self._sides: Sides | None = None

    def opened(self) -> Sides:
        self._sides = self._sides or open_sides(self._settings, self._baseline)
        return self._sides

    def close(self) -> None:
        sides, self._sides = self._sides, None
        for session in (sides.source, sides.target) if sides else ():
            with suppress(Exception):
                session.close()


def _looked(probe: Probe, sessions: _Sessions) -> Looked:
    """Look once, and once more where that may help."""
    said = ""
    for _ in range(ATTEMPTS):
        try:
            return Looked(probe.group, probe.look(sessions.opened(), time.time()).items)
        except SettingInvalid:
            raise
        except Exception as error:
            said = said_of(error)
            sessions.close()
            if not isinstance(error, Retryable):
                break
    return failed(probe.group, said)


def failed(group: str, said: str) -> Looked:
    """Give a group of which nothing is known."""
    items = completed((), GROUPS[group].checks)
    return Looked(group, items, said)


def verdict_of(looked: Sequence[Looked]) -> str:
    """Let the worst item win: something that blocks is worth more than something unknown."""
    statuses = {item.status for one in looked for item in one.items}
    if statuses & {ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.BLOCKS_CAPACITY}:
        return "blocked"
    unknown = ItemStatus.UNKNOWN in statuses or not statuses or any(one.error or not one.items for one in looked)
    return "unknown" if unknown else "ok"


def document(migration: str, looked: Sequence[Looked], verdict: str, now: float) -> dict[str, Any]:
    """Give the checklist as programs read it."""
    groups = [
        {"name": one.name, "error": one.error, "items": [item_json(item) for item in one.items]} for one in looked
    ]
    return {"migration": migration, "at": time_text(now), "verdict": verdict, "groups": groups}


def table(migration: str, looked: Sequence[Looked], verdict: str, *, colours: bool) -> str:
    """Lay the checklist out for people, the items that block last so that they are still on the screen."""
    lines = [line for one in looked for line in _group_lines(one, colours)]
    todo = [item for one in looked for item in one.items if item.status.blocks]
    counts = {status: sum(item.status is status for one in looked for item in one.items) for status in ItemStatus}
    summed = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    lines += ["", f"{migration}: {verdict}: {summed or 'nothing was checked'}"]
    return "\n".join([*lines, *(line for item in todo for line in _todo_lines(item, colours))])


def _group_lines(one: Looked, colours: bool) -> list[str]:
    lines = ["", one.name + (f": the probe failed: {one.error}" if one.error else "")]
    for item in one.items:
        lines += _painted(_wrapped(f"  {item.status:<18}  {item.name:<28} ", item.sentence), item.status, colours)
        if item.subjects and not item.status.blocks:
            lines += _wrapped(" " * 22, _objects(item))
    return lines


def _todo_lines(item: Item, colours: bool) -> list[str]:
    lines = _painted(_wrapped(f"  {item.status:<18}  {item.name}: ", item.sentence), item.status, colours)
    lines += _wrapped("      what: ", _objects(item)) if item.subjects else []
    return lines + (_wrapped("      do:   ", item.remedy) if item.remedy else [])


def _painted(lines: list[str], status: ItemStatus, colours: bool) -> list[str]:
    """Colour the status, which stands once in the first line before anything else."""
    if not colours:
        return lines
    return [lines[0].replace(str(status), f"\033[{COLOURS[status]}m{status}\033[0m", 1), *lines[1:]]


def _objects(item: Item) -> str:
    more = max(item.count, len(item.subjects)) - SHOWN
    return ", ".join(item.subjects[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _wrapped(first: str, text: str) -> list[str]:
    """Break a text into lines, those after the first indented below where the text began, within reason."""
    indent = " " * min(len(first), 22)
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=indent) or [first.rstrip()]
