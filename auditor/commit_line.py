"""The commit line of a cutover, as both audits know it: there the one of the way forward ends, the one back begins.

Both are told before anybody may write on the new side; so whoever is about to accuse looks once more (`Standing`).
"""

import time
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from auditor.peers import Peers
from auditor.records import Value, open_records
from auditor.settings import Settings
from comparators.errors import NeedsOperator, NotReady

POLL_SECONDS = 0.1


def await_line(settings: Settings) -> None:
    """Wait until the baseline of a reverse audit is in force: until the commit line is drawn."""
    with closing(open_records(settings)) as records:
        peers = Peers(records)
        while peers.baseline() is None:
            time.sleep(POLL_SECONDS)
            peers.refresh()


def end_at(settings: Settings, fence: int, line: int) -> None:
    """End an audit at a cutover's commit, and settle what it found behind that; again changes nothing.

    Args:
        fence: position of the audit's source after which nothing is judged.
        line: position of its target after which nothing is judged.
    Raises:
        NotReady: it was not prepared, or its records are another host's: let the cutover go on there.
        StoreUnavailable: nothing is known about what was stored; do it again.
    """
    with closing(open_records(settings)) as records:
        baseline = records.changes().get("baseline")
        if baseline is None:
            raise NotReady("the audit that ends here has no baseline in the records of this host")
        if "committed" not in baseline:
            baseline |= {"ended": time.time(), "committed": {"source": fence, "target": line}}
            records.put({"baseline": baseline})
        # read only now: whoever stores a finding after this knows of the line
        if lawful := settled_behind(baseline["committed"], _stored(settings), time.time()):
            records.put(lawful)


def _stored(settings: Settings) -> Mapping[str, Value | None]:
    with closing(open_records(settings)) as records:
        return records.changes()


def require_baseline(settings: Settings) -> None:
    """See that the audit that a commit would end is in the records of this host.

    Raises:
        NeedsOperator: it is not: conduct the cutover where `auditor run` keeps its records.
        StoreUnavailable: they cannot be read now.
    """
    if _stored(settings).get("baseline") is None:
        raise NeedsOperator(
            "the audit has no baseline in the records of this host, so it could not be told of the commit",
            hint="conduct the cutover on the host where `auditor run` keeps its records, or let both use Kafka",
        )


def behind_line(line: Mapping[str, Any], source: int | None, target: int | None) -> bool:
    """Say whether something is of what came after a commit line: then it is lawful.

    Args:
        source: its position on the source, which tells where there is one.
        target: its position on the target.
    """
    if source is not None:
        return source > int(line["source"])
    return target is not None and target > int(line["target"])


def settled_behind(line: Mapping[str, Any], records: Mapping[str, Any], now: float) -> dict[str, dict[str, Any]]:
    """Settle the findings that came behind a commit line: they were made before the audit was told of it."""
    lawful = dict[str, dict[str, Any]]()
    for key, finding in records.items():
        area, _, name = key.partition("/")
        if area != "suspect" or finding is None:
            continue
        settled = records.get(f"settled/{name}") or {}
        if settled.get("state") == "healed":
            continue
        if behind_line(line, finding.get("source_position"), finding.get("target_position")):
            lawful[f"settled/{name}"] = _lawful(finding, settled, now)
    return lawful


def _lawful(finding: Mapping[str, Any], settled: Mapping[str, Any], now: float) -> dict[str, Any]:
    kept = {name: finding.get(name) for name in ("kind", "columns", "count", "keys")}
    return {
        **kept, "rounds": 0, "explained_by": None, **settled, "state": "healed", "settled_at": now,
        "reason": "it came after the commit of a cutover",
    }  # fmt: skip


def begin_at(settings: Settings, fence: int, line: int) -> None:
    """Begin a reverse audit at the commit line; again changes nothing.

    Args:
        fence: position of the reverse audit's target, at which the applications' last write there had been made.
        line: position of its source before the first write there.
    Raises:
        NotReady: it was not prepared.
        StoreUnavailable: nothing is known about what was stored; do it again.
    """
    with closing(open_records(settings)) as records:
        baseline = records.changes().get("baseline")
        if baseline is None or "ended" in baseline:
            raise NotReady("the reverse audit was not prepared")
        if "renewing" in baseline:
            records.put({"baseline": _begun(baseline, fence, line)})


def _begun(baseline: dict[str, Any], fence: int, line: int) -> dict[str, Any]:
    waiting = {name: value for name, value in baseline.items() if name != "renewing"}
    return waiting | {"floor": line, "target_start": fence, "at": time.time()}
