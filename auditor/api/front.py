"""What every request passes before its route: a name for it, who asks, how often, and whether that client may."""

import logging
import math
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from auditor.api.access import Caller, address_of
from auditor.api.buckets import Buckets
from auditor.api.ports import ACCESS, CALLER, REQUEST_ID
from auditor.api.problems import NO_STORE, Problem, problem_response
from auditor.api.serving import CONNECTIONS

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
OPEN = ""
"""The scope of routes that anybody may ask."""
BUCKETS = web.AppKey("buckets", Buckets)
STRANGERS = web.AppKey("strangers", Buckets)
SCOPES = web.AppKey("scopes", dict[web.AbstractRoute, str])
STRANGERS_PER_SECOND, STRANGERS_BURST = 5.0, 200.0
"""Wrong tokens that one address may try."""
WAVED_THROUGH = frozenset({"/livez", "/readyz"})
REQUEST_NAME = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_CODES = {404: "not-found", 405: "method-not-allowed", 408: "request-timeout", 413: "too-large"}


@web.middleware
async def front(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through to its route, or say why not; whatever happens, the answer is one of ours."""
    given = request.headers.get("X-Request-Id", "")
    name = request[REQUEST_ID] = given if REQUEST_NAME.fullmatch(given) else secrets.token_hex(8)
    connections = request.app[CONNECTIONS]
    connections.begin(request.protocol)
    try:
        response = await _answered(request, handler)
    finally:
        connections.end(request.protocol)
    if not response.prepared:
        response.headers["X-Request-Id"] = name
    return response


async def _answered(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        if request.match_info.http_exception is None:
            _admit(request)
        return await handler(request)
    except Problem as problem:
        _tell(request, problem)
        return problem_response(problem)
    except web.HTTPException as error:
        return _http_problem(request, error)
    except ConnectionError:
        raise
    except Exception:
        log.exception("%s %s failed", request.method, request.path, extra={"request_id": request[REQUEST_ID]})
        return problem_response(Problem("internal-error", "the gate failed to answer; its log has the reason"))


def _admit(request: web.Request) -> None:
    """Let a known client through that has not asked too often and has the route's scope.

    Raises:
        Problem: it may not.
    """
    if request.path in WAVED_THROUGH:
        return
    app = request.app
    scope = app[SCOPES].get(request.match_info.route, "read")
    try:
        caller = app[ACCESS].identify(request)
    except Problem:
        client = f"address:{address_of(request)}"
        _take(app[STRANGERS], client)
        if scope != OPEN:
            raise
        caller = Caller(client, frozenset())
    _take(app[BUCKETS], caller.name)
    request[CALLER] = caller
    if scope != OPEN and scope not in caller.scopes:
        raise Problem("forbidden", f"{caller.name} lacks the scope {scope}", more={"scope": scope})


def _take(buckets: Buckets, client: str) -> None:
    if wait := buckets.take(client):
        seconds = str(math.ceil(wait))
        raise Problem("rate-limited", f"{client} asks too often", headers={"Retry-After": seconds})


def _tell(request: web.Request, problem: Problem) -> None:
    if problem.status in (401, 403) or problem.status >= 500:
        log.warning("%s: %s", problem.code, problem.detail, extra=about(request, problem.status))


def about(request: web.Request, status: int) -> Mapping[str, object]:
    """Say which request a log line is about; never what it carried."""
    caller = request.get(CALLER)
    return {
        "action": "request",
        "request_id": request[REQUEST_ID],
        "client": caller.name if caller else f"address:{address_of(request)}",
        "method": request.method,
        "path": request.path[:200],
        "status": status,
    }


def _http_problem(request: web.Request, error: web.HTTPException) -> web.Response:
    """Put aiohttp's own errors into our form; OPTIONS is answered with what is allowed."""
    allow = error.headers.get("Allow")
    if allow:
        allow = ",".join(sorted({*allow.split(","), "OPTIONS"}))
    if request.method == "OPTIONS" and allow:
        return web.Response(status=204, headers={**NO_STORE, "Allow": allow})
    code = _CODES.get(error.status, "bad-request" if error.status < 500 else "internal-error")
    detail = f"{request.method} {request.path[:200]}: {error.reason}"
    return problem_response(Problem(code, detail, headers={"Allow": allow} if allow else {}))
