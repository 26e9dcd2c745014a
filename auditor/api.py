"""The gate's HTTP interface (interface.md, HTTP): thin, everything it says was decided elsewhere."""

import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from auditor.settings import Settings
from comparators.errors import SettingInvalid
from comparators.findings import Finding, State, finding_json
from orchestrator.conditions import Status
from orchestrator.policy import Verdict

SSE_COMMENT_SECONDS = 10.0
"""So often an idle event stream says something, so that proxies keep it and a dead client is noticed."""
NO_STORE = {"Cache-Control": "no-store"}


class Answer(Protocol):
    """One evaluation; `body` is the verdict's JSON."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def body(self) -> bytes: ...
    @property
    def number(self) -> int: ...


class Answers(Protocol):
    """What the API needs from the gate."""

    @property
    def migration(self) -> str: ...
    def current(self) -> Answer: ...
    def asked(self) -> None: ...
    def findings(self) -> list[Finding]: ...
    def not_ready(self) -> list[str]: ...
    def metrics(self) -> bytes: ...
    async def changed(self, number: int, seconds: float) -> bool: ...


GATE = web.AppKey("gate", Answers)
STOPPING = web.AppKey("stopping", list[bool])
SHOW_KEYS = web.AppKey("show_keys", bool)


def check_listen(settings: Settings) -> None:
    """Refuse to answer the network without authentication.

    Raises:
        SettingInvalid: the address is not this host's own and `gate.allow_remote` is not set.
    """
    host = settings.gate.host
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and not settings.gate.allow_remote:
        raise SettingInvalid(
            f"gate.listen: {settings.gate.listen} is open to other hosts, and the gate has no tokens yet",
            hint="listen on 127.0.0.1 (tokens come with a later release), or set gate.allow_remote: true "
            "where the network itself keeps strangers out",
        )


def build(gate: Answers, *, show_keys: bool = False) -> web.Application:
    """Build the application around a gate."""
    app = web.Application(middlewares=[_problems])
    app[GATE], app[SHOW_KEYS], app[STOPPING] = gate, show_keys, []
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/metrics", _metrics)
    app.router.add_get("/v1/migrations", _migrations)
    app.router.add_get("/v1/migrations/{id}/gate", _gate)
    app.router.add_post("/v1/migrations/{id}/gate:check", _check)
    app.router.add_get("/v1/migrations/{id}/findings", _findings)
    app.router.add_get("/v1/migrations/{id}/events", _events)
    app.on_shutdown.append(_stop_streams)
    return app


def problem(status: int, code: str, title: str, detail: str, **more: Any) -> web.Response:
    """Answer with an error as RFC 9457 has it; `code` never changes once published."""
    document = {**more, "type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    return web.Response(
        text=json.dumps(document), status=status, content_type="application/problem+json", headers=NO_STORE
    )


CODES = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def _problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as error:
        code = CODES.get(error.status, "bad-request" if error.status < 500 else "internal-error")
        answer = problem(error.status, code, error.reason, f"{request.method} {request.path}: {error.reason}")
        answer.headers.extend({"Allow": error.headers["Allow"]} if "Allow" in error.headers else {})
        return answer
    except ConnectionError:
        raise
    except Exception:
        request.app.logger.exception("%s %s failed", request.method, request.path)
        return problem(500, "internal-error", "Internal error", "the gate failed to answer; its log has the reason")


def _known(request: web.Request) -> Answers:
    gate = request.app[GATE]
    if request.match_info["id"] != gate.migration:
        raise web.HTTPNotFound()
    return gate


async def _livez(request: web.Request) -> web.Response:
    return web.json_response({"status": "alive"}, headers=NO_STORE)


async def _readyz(request: web.Request) -> web.Response:
    missing = request.app[GATE].not_ready()
    if missing:
        return problem(503, "not-ready", "Not ready", "; ".join(missing), missing=missing)
    return web.json_response({"status": "ready"}, headers=NO_STORE)


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(body=request.app[GATE].metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST, **NO_STORE})


async def _migrations(request: web.Request) -> web.Response:
    gate = request.app[GATE]
    path = f"/v1/migrations/{gate.migration}"
    one = {"id": gate.migration, "verdict": str(gate.current().verdict.status), "gate": f"{path}/gate"}
    return web.json_response({"migrations": [one]}, headers=NO_STORE)


async def _gate(request: web.Request) -> web.Response:
    gate = _known(request)
    gate.asked()
    return web.Response(body=gate.current().body, content_type="application/json", headers=NO_STORE)


async def _check(request: web.Request) -> web.Response:
    """Answer in the way that deployment tools understand: any non-2xx holds, and the body says why."""
    gate = _known(request)
    gate.asked()
    answer = gate.current()
    if answer.verdict.status is Status.PASS:
        return web.Response(body=answer.body, content_type="application/json", headers=NO_STORE)
    reasons = "; ".join(answer.verdict.reasons)
    return problem(409, "gate-closed", f"The gate says {answer.verdict.status}", reasons, **json.loads(answer.body))


async def _findings(request: web.Request) -> web.Response:
    gate = _known(request)
    state, table = request.query.get("state"), request.query.get("table")
    if state is not None and state not in list(State):
        return problem(400, "bad-request", "Bad request", f"state: {state!r} is not one of {', '.join(State)}")
    listed = [
        finding_json(finding, show_keys=request.app[SHOW_KEYS])
        for finding in gate.findings()
        if state in (None, finding.state) and table in (None, finding.table)
    ]
    return web.json_response({"findings": listed}, headers=NO_STORE)


async def _events(request: web.Request) -> web.StreamResponse:
    """Send the verdict now and at each change, as server-sent events."""
    gate, app = _known(request), request.app
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **NO_STORE})
    await response.prepare(request)
    gate.asked()
    changed = True
    while not app[STOPPING]:
        answer = gate.current()
        text = b"id: %d\nevent: verdict\ndata: %s\n\n" % (answer.number, answer.body) if changed else b": idle\n\n"
        try:
            await response.write(text)
        except ConnectionError:
            break
        changed = await gate.changed(answer.number, SSE_COMMENT_SECONDS)
    return response


async def _stop_streams(app: web.Application) -> None:
    app[STOPPING].append(True)
