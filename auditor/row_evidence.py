"""Fold the records of the row audit into evidence."""

from collections.abc import Mapping
from typing import Any

from auditor import fields
from auditor.fields import Records
from orchestrator.seen import CanarySeen, CoverageSeen, SkipSeen, SweeperSeen

COUNTED = ("sweep", "rows", "verified", "unverified", "hot", "different", "through")


def sweeper_seen(record: Mapping[str, Any] | None) -> SweeperSeen | None:
    """Read what the sweeper says of itself."""
    if record is None:
        return None
    return SweeperSeen(
        at=fields.number(record, "at"),
        state=fields.name(record, "state"),
        paused_because=fields.text(record, "paused_because"),
        tables=fields.whole(record, "tables"),
        error=fields.text(record, "error"),
    )


def coverage_seen(records: Records) -> dict[str, CoverageSeen]:
    """Read the ledger, by table."""
    return {
        table: CoverageSeen(
            table=fields.name(record, "table"),
            state=fields.name(record, "state"),
            reason=fields.text(record, "reason"),
            generation=fields.whole(record, "generation"),
            **{name: fields.whole(record, name) for name in COUNTED},
            at=fields.number(record, "at"),
            finished_at=fields.number(record, "finished_at"),
            accepted=_skip(record.get("accepted")),
        )
        for table, record in fields.below(records, "coverage/").items()
    }


def _skip(value: Any) -> SkipSeen | None:
    if not isinstance(value, Mapping):
        return None
    return SkipSeen(fields.name(value, "owner"), fields.name(value, "reason"), fields.number(value, "until"))


def canary_seen(record: Mapping[str, Any] | None) -> CanarySeen | None:
    """Read the receipt of the last planted difference."""
    if record is None:
        return None
    return CanarySeen(
        at=fields.number(record, "at"),
        planted_at=fields.number(record, "planted_at"),
        transaction_ms=fields.number(record, "transaction_ms"),
        row_ms=fields.number(record, "row_ms"),
        n=fields.whole(record, "n"),
        generation=fields.whole(record, "generation"),
        error=fields.text(record, "error"),
    )
