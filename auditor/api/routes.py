"""The one table of routes: what answers, which scope it needs, and what the OpenAPI document says of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web

from auditor.api import cutover_routes, gate_routes, record_routes, streams
from auditor.api.front import OPEN
from orchestrator.records import Wish

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
ONE = "/v1/migrations/{id}"


@dataclass(frozen=True, slots=True)
class Route:
    """One route; `answer` and `takes` name shapes, `problems` the codes beside those that any route may give."""

    method: str
    path: str
    handler: Handler
    scope: str
    name: str
    summary: str
    answer: str
    takes: str = ""
    status: int = 200
    problems: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    media: str = "application/json"


_G, _R, _C = gate_routes, record_routes, cutover_routes
_AWAY = ("cutover-unavailable",)
_WISHES = {
    Wish.ABORT: "Put everything back, if nothing is decided yet.",
    Wish.ROLLBACK: "Go back to the source without losing a write.",
    Wish.FINALIZE: "Close the door: remove the way back.",
    Wish.POSTPONE: "Wait before writes are held.",
    Wish.UNPOSTPONE: "Go on after postponing.",
    Wish.PANIC: "Put everything back, or stop where it is once it is committed.",
}
_CONSUMED = (
    "verdict-unknown",
    "verdict-not-pass",
    "verdict-expired",
    "gate-closed",
    "already-consumed",
    "log-unavailable",
)
ROUTES: tuple[Route, ...] = (
    Route("GET", "/livez", _G.livez, OPEN, "live", "Whether the process lives.", "Said"),
    Route("GET", "/readyz", _G.readyz, OPEN, "ready", "Whether an answer can mean anything.", "Said",
          problems=("not-ready",)),
    Route("GET", "/metrics", _G.metrics, "read", "metrics", "Metrics for Prometheus.", "", media="text/plain"),
    Route("GET", "/v1/migrations", _G.migrations, "read", "migrations", "The migrations of this gate.", "Migrations"),
    Route("GET", f"{ONE}/gate", _G.verdict, "read", "verdict", "The verdict, with status 200 whatever it is.",
          "Verdict", problems=("bad-request", "not-ready"), query=("anew",)),
    Route("POST", f"{ONE}/gate:check", _G.check, "read", "check", "200 when the verdict is PASS, 409 else.", "Verdict",
          problems=("gate-closed",)),
    Route("POST", f"{ONE}/gate:rollback", _G.rollback, "read", "rollback",
          "200 when the verdict is FAIL: roll back; 409 else.", "Verdict", problems=("no-rollback",)),
    Route("POST", f"{ONE}/gate:consume", _G.consume, "consume", "consume", "Give one evaluation to one cutover.",
          "Receipt", "Consume", problems=_CONSUMED),
    Route("GET", f"{ONE}/history", _G.history, "read", "history", "The log of verdicts, newest first.", "History",
          problems=("bad-request", "log-unavailable"), query=("limit", "before")),
    Route("GET", f"{ONE}/verdicts/{{verdict}}", _G.explained, "read", "explain", "One verdict, and what changed.",
          "Explained", problems=("log-unavailable",)),
    Route("GET", f"{ONE}/findings", _G.findings, "read", "findings", "Findings, oldest first.", "Findings",
          problems=("bad-request",), query=("state", "table")),
    Route("GET", f"{ONE}/coverage", _G.coverage, "read", "coverage", "What sweeps have proved.", "Coverage"),
    Route("GET", f"{ONE}/preflight", _G.preflight, "read", "preflight", "What the probes saw last.", "Preflight"),
    Route("GET", f"{ONE}/events", streams.events, "read", "events", "Each change of the verdict, as it happens.", "",
          problems=("too-many-streams",), media="text/event-stream"),
    Route("GET", f"{ONE}/overrides", _R.overrides, "read", "overrides", "Who takes responsibility for what.",
          "Overrides"),
    Route("POST", f"{ONE}/overrides", _R.override, "override", "override", "Take responsibility for a condition.",
          "Override", "NewOverride", 201, problems=("not-overridable", "records-unavailable")),
    Route("DELETE", f"{ONE}/overrides/{{override}}", _R.revoke, "override", "revoke", "Take an override back.", "",
          status=204, problems=("records-unavailable",)),
    Route("POST", f"{ONE}/alerts", _R.take_alerts, "alert", "alerts", "Alertmanager's webhook, version 4.",
          "AlertsTaken", "Alerts", problems=("too-many-alerts", "records-unavailable")),
    Route("GET", f"{ONE}/cutover", _C.status, "read", "cutover", "Where the cutover stands.", "CutoverStatus",
          problems=_AWAY),
    Route("GET", f"{ONE}/cutover/history", _C.history, "read", "cutoverHistory", "Its journal, oldest entry first.",
          "CutoverHistory", problems=("bad-request", *_AWAY), query=("limit", "after")),
    Route("GET", f"{ONE}/cutover/report", _C.report, "read", "cutoverReport", "One attempt, with its chain of proof.",
          "CutoverReport", problems=("bad-request", *_AWAY), query=("attempt",)),
    Route("GET", f"{ONE}/cutover/plan", _C.plan, "cutover", "cutoverPlan", "What would be done, and what blocks.",
          "CutoverPlan", problems=("cutover-refused", *_AWAY)),
    Route("POST", f"{ONE}/cutover:approve", _C.approve, "cutover", "cutoverApprove", "Agree to a plan by its digest.",
          "CutoverApproved", "Approve", 201, problems=("cutover-refused", *_AWAY)),
    *(Route("POST", f"{ONE}/cutover:{wish}", _C.wisher(wish), "cutover", f"cutover{wish.capitalize()}", summary,
            "CutoverWish", "Wish", 202, problems=("cutover-refused", *_AWAY))
      for wish, summary in _WISHES.items()),
)  # fmt: skip


def register(app: web.Application) -> dict[web.AbstractRoute, str]:
    """Add the routes, HEAD beside each GET, and say which scope each needs."""
    scopes: dict[web.AbstractRoute, str] = {}
    for route in ROUTES:
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            scopes[app.router.add_route(method, route.path, route.handler)] = route.scope
    return scopes
