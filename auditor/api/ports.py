"""What the API needs from the gate, and what it keeps for itself while it serves."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from aiohttp import web

from auditor.api.access import Access, Caller
from auditor.consumption import Receipt
from auditor.verdict_history import Explained, Page
from comparators.findings import Finding
from orchestrator.policy import Verdict
from orchestrator.seen import Evidence


class Answer(Protocol):
    """One evaluation; `body` is the verdict's JSON."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def body(self) -> bytes: ...
    @property
    def number(self) -> int: ...
    @property
    def evidence(self) -> Evidence: ...


class Answers(Protocol):
    """The gate, as the API sees it."""

    @property
    def migration(self) -> str: ...
    @property
    def incarnation(self) -> str: ...
    def current(self) -> Answer: ...
    def asked(self) -> None: ...
    def findings(self) -> list[Finding]: ...
    def not_ready(self) -> list[str]: ...
    def metrics(self) -> bytes: ...
    def now(self) -> float: ...
    def records(self) -> Mapping[str, Mapping[str, Any]]: ...
    def after(self, number: int) -> Sequence[Answer]: ...
    async def changed(self, number: int, seconds: float) -> bool: ...
    async def consume(self, verdict: str, cutover: str) -> Receipt: ...
    async def history(self, limit: int, before: int | None) -> Page: ...
    async def explained(self, verdict: str) -> Explained | None: ...
    def remembered(self, verdict: str) -> Mapping[str, Any] | None: ...
    async def store(self, items: Mapping[str, Mapping[str, Any] | None]) -> None: ...


GATE = web.AppKey("gate", Answers)
ACCESS = web.AppKey("access", Access)
STOPPING = web.AppKey("stopping", list[bool])
SHOW_KEYS = web.AppKey("show_keys", bool)
CALLER = web.RequestKey("caller", Caller)
REQUEST_ID = web.RequestKey("request_id", str)


def gate_of(request: web.Request) -> Answers:
    """Give the gate of the migration that the path names.

    Raises:
        HTTPNotFound: it is another migration's.
    """
    gate = request.app[GATE]
    if request.match_info["id"] != gate.migration:
        raise web.HTTPNotFound()
    return gate
