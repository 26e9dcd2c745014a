"""`auditor sweep`: sweep in the foreground, show how far it is, and say what came out."""

import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from auditor.accepted_differences import load_accepted, over_coverage
from auditor.bars import Bars, bars
from auditor.coverage import Coverage
from auditor.coverage_shown import coverage_table
from auditor.findings import keys_shown
from auditor.locks import held
from auditor.records import open_records
from auditor.settings import Settings
from auditor.sweeper import sweeping
from auditor.sweeping import Wanted
from comparators.acceptance import lay_over
from comparators.errors import SettingInvalid
from comparators.findings import Finding, State, finding_json, read_findings
from comparators.throttle import LIMITS

LIMITS_KEY = "sweep/limits"
EXITS = {"equal": 0, "different": 1, "unknown": 3}


def sweep_command(settings: Settings, args: Namespace) -> int:
    """Sweep until told to stop, or once; new limits go to the sweeper that runs already.

    Returns:
        0 all tables were read whole and are equal, 1 rows differ, 3 not known.
    """
    limits = limits_of(args.max_load or [])
    if limits:
        _store_limits(settings, limits)
    wanted = Wanted(tuple(args.table or ()), args.once)
    try:
        with held(settings.open_state_dir() / "sweeper.lock", "the sweeper"):
            swept = _sweep(settings, wanted, quiet=args.json)
    except SettingInvalid as error:
        if not limits or wanted != Wanted() or "is running already" not in str(error):
            raise
        print(json.dumps({"limits": limits}) if args.json else "the running sweeper keeps to these limits from now on")
        return 0
    return _conclude(settings, swept, as_json=args.json)


def limits_of(given: list[str]) -> dict[str, float | None]:
    """Read `--max-load NAME=VALUE`; `none` goes back to the configuration's limit.

    Raises:
        SettingInvalid: the signal or its value makes no sense.
    """
    limits: dict[str, float | None] = {}
    for text in given:
        name, _, value = text.partition("=")
        if name not in LIMITS:
            raise SettingInvalid(f"--max-load: {name!r} is no signal", hint=f"one of {', '.join(LIMITS)}")
        try:
            limits[name] = None if value == "none" else float(value)
        except ValueError:
            limits[name] = -1.0
        if not 0 <= (limits[name] or 0.0) < float("inf"):
            raise SettingInvalid(f"--max-load: {text!r} has no number of 0 or more", hint=f"{name}={LIMITS[name]:g}")
    return limits


def verdict_of(
    lines: Mapping[str, Mapping[str, Any]], swept: frozenset[str], findings: list[Finding], now: float
) -> str:
    """Conclude from what is recorded of some tables: only rows that were all proved, now, are equal.

    Args:
        lines: table to its coverage as recorded.
        swept: tables of which a sweep was completed.
        findings: of these tables.
        now: unix seconds; until then a skipped table may be accepted, which says nothing of the others.
    """
    if any(finding.state is State.CONFIRMED for finding in findings):
        return "different"
    judged = [line for line in lines.values() if not _absence_accepted(line, now)]
    return "equal" if judged and all(_proved(line, swept, findings) for line in judged) else "unknown"


def _absence_accepted(line: Mapping[str, Any], now: float) -> bool:
    accepted = line.get("accepted")
    return line["state"] == "skipped" and accepted is not None and now < accepted["until"]


def _proved(line: Mapping[str, Any], swept: frozenset[str], findings: list[Finding]) -> bool:
    """Say whether every row of a table was proved equal, or differs as somebody accepted."""
    if line["table"] not in swept or line["state"] != "swept" or line["unverified"] or line["hot"]:
        return False
    accepted = sum(one.count for one in findings if one.state is State.ACCEPTED and one.table == line["table"])
    return bool(line["verified"] + line["different"] == line["rows"] or line["different"]) and (
        line["different"] <= accepted
    )


def _sweep(settings: Settings, wanted: Wanted, *, quiet: bool) -> tuple[frozenset[str], frozenset[str]]:
    """Sweep with the progress on stderr.

    Returns:
        The tables that were to be swept, and those of which a sweep was completed.
    """
    live = sys.stderr.isatty() and not quiet
    with bars(live=live, colours="NO_COLOR" not in os.environ, who="sweep") as drawn:
        progress = Progress(drawn)
        with sweeping(settings, wanted) as (sweeper, threads):
            sweeper.run(threads, progress.look)
            return frozenset(sweeper.ledger.coverage()), frozenset(sweeper.ledger.done)


class Progress:
    """Follows the ledger and moves a bar for each table under way."""

    def __init__(self, shown: Bars) -> None:
        self._shown = shown
        self._sweeps: dict[str, int] = {}

    def look(self, lines: Mapping[str, Coverage]) -> None:
        """Show every table as it is now."""
        for name, line in lines.items():
            running = line.now if line.state == "sweeping" else None
            if name in self._sweeps and (running is None or running.sweep != self._sweeps[name]):
                del self._sweeps[name]
                self._shown.end(name, _said(line))
            if running is None:
                continue
            if name not in self._sweeps:
                self._sweeps[name] = running.sweep
                self._shown.begin(name, line.last.rows)
            self._shown.advance(name, running.counts.rows, running.share)


def _said(line: Coverage) -> str:
    if line.state == "error":
        return f"{line.table}: {line.reason}"
    counts = line.last
    unknown = counts.unverified + counts.hot
    words = f"{line.table}: {counts.rows:,} rows, {counts.verified:,} equal, {counts.different:,} different"
    return words + (f", {unknown:,} not known: {line.reason or 'they keep changing'}" if unknown else "")


def _conclude(settings: Settings, swept: tuple[frozenset[str], frozenset[str]], *, as_json: bool) -> int:
    """Print what is recorded of the tables, and give the exit status."""
    now, (tables, done) = time.time(), swept
    entries = load_accepted(settings.accepted_differences)
    with closing(open_records(settings)) as store:
        records = over_coverage({key: value for key, value in store.changes().items() if value}, entries)
    lines = {name: records[f"coverage/{name}"] for name in sorted(tables) if f"coverage/{name}" in records}
    found = [one for one in lay_over(read_findings(records, now)[0], entries, now) if _shown(one, tables)]
    verdict = verdict_of(lines, done, found, now)
    documents = [finding_json(one, show_keys=keys_shown(settings, wanted=False)) for one in found]
    if as_json:
        print(json.dumps({"tables": list(lines.values()), "findings": documents, "verdict": verdict}))
    else:
        print("\n".join([coverage_table(list(lines.values()), now), *(one["sentence"] for one in documents), verdict]))
    return EXITS[verdict]


def _shown(finding: Finding, tables: frozenset[str]) -> bool:
    return finding.detector == "row" and finding.table in tables and finding.state is not State.HEALED


def _store_limits(settings: Settings, limits: Mapping[str, float | None]) -> None:
    with closing(open_records(settings)) as store:
        before = (store.changes().get(LIMITS_KEY) or {}).get("limits", {})
        kept = {name: value for name, value in {**before, **limits}.items() if value is not None}
        store.put({LIMITS_KEY: {"limits": kept, "at": time.time()}})
