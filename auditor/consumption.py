"""A verdict may be used once: which cutover consumed which evaluation, and what speaks against it.

The log of verdicts is the only memory, read anew for each request, so a restart of the gate or a second gate changes
nothing. In the log's order the first consumption counts: while its receipt is valid, no other cutover gets one.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from auditor.verdicts import Entry, Kind
from comparators.errors import AuditorError
from comparators.findings import time_text

WINDOW_SECONDS = 24 * 3600.0
"""A repeated request of the same cutover finds its receipt again for so long; far beyond any verdict's validity."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The proof that a cutover has an evaluation for itself; times are unix seconds."""

    seq: int
    hash: str
    id: str
    cutover: str
    at: float
    valid_until: float


class ConsumptionRefused(AuditorError):
    """A verdict may not be consumed; `code` is stable, `status` is what HTTP says."""

    def __init__(self, code: str, status: int, message: str) -> None:
        super().__init__(message)
        self.code, self.status = code, status


def unknown(verdict: str) -> ConsumptionRefused:
    text = f"{verdict} is none of the gate's last evaluations: ask the gate again and consume what it says now"
    return ConsumptionRefused("verdict-unknown", 404, text)


def not_pass(verdict: str, status: str) -> ConsumptionRefused:
    return ConsumptionRefused("verdict-not-pass", 409, f"{verdict} says {status}: only a PASS can be consumed")


def expired(verdict: str, valid_until: float) -> ConsumptionRefused:
    return ConsumptionRefused("verdict-expired", 409, f"{verdict} was valid until {time_text(valid_until)}")


def closed(reasons: str) -> ConsumptionRefused:
    return ConsumptionRefused("gate-closed", 409, f"the gate has closed since: {reasons}")


def taken(verdict: str, receipt: Receipt) -> ConsumptionRefused:
    if receipt.id == verdict:
        return ConsumptionRefused("already-consumed", 409, f"{verdict} is already consumed by {receipt.cutover}")
    until = time_text(receipt.valid_until)
    text = f"already consumed by {receipt.cutover}: it holds {receipt.id}, valid until {until}"
    return ConsumptionRefused("already-consumed", 409, text)


def log_away(reason: str) -> ConsumptionRefused:
    text = f"the verdict log cannot be written, and a consumption that is not recorded is none: {reason}"
    return ConsumptionRefused("log-unavailable", 503, text)


def receipts(entries: Iterable[Entry]) -> list[Receipt]:
    """Give the consumptions that count, in the log's order.

    One that a faster one had made void when it was written (two gates at once) does not count.
    """
    counted: list[Receipt] = []
    for entry in entries:
        if entry.kind is Kind.CONSUMED:
            receipt = _receipt(entry)
            if holder(counted, receipt.id, receipt.cutover, receipt.at) is None:
                counted.append(receipt)
    return counted


def holder(counted: Iterable[Receipt], verdict: str, cutover: str, at: float) -> Receipt | None:
    """Give the receipt of this verdict, whoever has it, or else one of another cutover that is still valid."""
    found = list(counted)
    own = next((one for one in found if one.id == verdict), None)
    return own or next((one for one in found if one.cutover != cutover and one.valid_until >= at), None)


def standing(counted: Iterable[Receipt], now: float) -> Receipt | None:
    """Give the newest receipt that is still valid."""
    return next((one for one in reversed(list(counted)) if one.valid_until >= now), None)


def receipt_json(receipt: Receipt) -> dict[str, Any]:
    """Give the receipt as the API promises it."""
    return {
        "seq": receipt.seq,
        "hash": receipt.hash,
        "id": receipt.id,
        "cutover": receipt.cutover,
        "at": time_text(receipt.at),
        "valid_until": time_text(receipt.valid_until),
    }


def _receipt(entry: Entry) -> Receipt:
    body = entry.body
    return Receipt(entry.seq, entry.hash, entry.id, str(body["cutover"]), entry.at, float(body["valid_until"]))
