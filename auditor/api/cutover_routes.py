"""The cutover over HTTP: where it stands, what it told the journal, and what people ask of it.

Whoever is known by a token or certificate approves and asks under that name: nobody can agree twice under two names.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from auditor.api.bodies import read_body
from auditor.api.front import about
from auditor.api.gate_routes import answered, whole
from auditor.api.ports import ACCESS, CALLER, CutoverDesk, gate_of
from auditor.api.problems import Problem
from comparators.errors import AuditorError, NeedsOperator, Retryable, SettingInvalid
from orchestrator.records import Wish

log = logging.getLogger(__name__)

MOST_ENTRIES = 1000
Ask = Callable[[], Any]


async def status(request: web.Request) -> web.Response:
    desk = _desk(request)
    return answered(await _done(desk.status))


async def history(request: web.Request) -> web.Response:
    desk = _desk(request)
    limit, after = whole(request, "limit", MOST_ENTRIES), whole(request, "after", 1 << 53)
    return answered(await _done(lambda: desk.history(after or 0, limit or 100)))


async def report(request: web.Request) -> web.Response:
    desk, attempt = _desk(request), whole(request, "attempt", 1 << 31)
    return answered(await _done(lambda: desk.report(attempt)))


async def plan(request: web.Request) -> web.Response:
    """Ask every part; that opens sessions with both sides and every proxy."""
    desk = _desk(request)
    return answered(await _done(desk.plan))


async def approve(request: web.Request) -> web.Response:
    desk = _desk(request)
    body = await read_body(request, "Approve")
    by = _name(request, body)
    document = await _done(lambda: desk.approve(by, body["plan"]))
    _told(request, f"{by} agrees to {body['plan']}")
    return answered(document, 201)


def wisher(wish: Wish) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Make the handler of one wish; it answers once the wish is in the journal, not when it is fulfilled."""

    async def asked(request: web.Request) -> web.Response:
        desk = _desk(request)
        body = await read_body(request, "Wish")
        by, facts = _name(request, body), {"unproven": True} if body.get("unproven") else {}
        document = await _done(lambda: desk.ask(wish, by, body["reason"], facts))
        _told(request, f"{by} asks for {wish}")
        return answered(document, 202)

    return asked


def _desk(request: web.Request) -> CutoverDesk:
    desk = gate_of(request).cutover
    if desk is None:
        raise Problem("not-found", "no cutover is configured for this migration")
    return desk


async def _done(do: Ask) -> Mapping[str, Any]:
    """Do it on a thread, as it waits for servers."""
    try:
        found: Mapping[str, Any] = await asyncio.to_thread(do)
    except Retryable as error:
        raise Problem("cutover-unavailable", str(error), headers={"Retry-After": "5"}) from None
    except SettingInvalid as error:
        raise Problem("not-found", f"{error}; {error.hint}") from None
    except NeedsOperator as error:
        raise Problem("cutover-refused", f"{error}; {error.hint}") from None
    except AuditorError as error:
        raise Problem("cutover-unavailable", str(error)) from None
    return found


def _name(request: web.Request, body: Mapping[str, Any]) -> str:
    return request[CALLER].name if request.app[ACCESS].asks else str(body["by"])


def _told(request: web.Request, words: str) -> None:
    log.warning("%s", words, extra=about(request, 202))
