"""The commit line of a cutover, as both audits know it: there the one of the way forward ends, the one back begins.

Both are told before anybody may write on the new side; so whoever is about to accuse looks once more (`Standing`).
"""

import time
from contextlib import closing
from typing import Any

from auditor.peers import Peers
from auditor.records import open_records
from auditor.settings import Settings
from comparators.errors import NotReady

POLL_SECONDS = 0.1


def await_line(settings: Settings) -> None:
    """Wait until the baseline of a reverse audit is in force: until the commit line is drawn."""
    with closing(open_records(settings)) as records:
        peers = Peers(records)
        while peers.baseline() is None:
            time.sleep(POLL_SECONDS)
            peers.refresh()


def end_at(settings: Settings, fence: int, line: int) -> None:
    """End an audit at a cutover's commit; again changes nothing.

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
        if "committed" in baseline:
            return
        over = {"ended": time.time(), "committed": {"source": fence, "target": line}}
        records.put({"baseline": baseline | over})


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
