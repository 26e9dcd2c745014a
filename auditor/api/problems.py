"""Errors as RFC 9457 has them: `application/problem+json` with a `code` that never changes once published."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

NO_STORE = {"Cache-Control": "no-store", "Server": "auditor", "X-Content-Type-Options": "nosniff"}

PROBLEMS: Mapping[str, tuple[int, str, str]] = {
    "bad-request": (400, "Bad request", "a parameter or the body is not as documented; the detail names it"),
    "unauthenticated": (401, "Who are you?", "no token or certificate, or one that the gate does not know"),
    "forbidden": (403, "Not allowed", "the client is known and lacks the scope that the detail names"),
    "not-found": (404, "Not found", "no such route, migration, verdict or override"),
    "method-not-allowed": (405, "Method not allowed", "`Allow` lists the methods that are"),
    "request-timeout": (408, "Too slow", "the body did not arrive in time"),
    "gate-closed": (409, "The gate is closed", "the verdict is not PASS; the body has the whole verdict"),
    "no-rollback": (409, "No reason to roll back", "the verdict is not FAIL; the body has the whole verdict"),
    "not-overridable": (409, "Not overridable", "the condition or item is an invariant, or does not exist"),
    "verdict-unknown": (404, "Verdict not known", "none of the gate's last evaluations"),
    "verdict-not-pass": (409, "Verdict is not PASS", "only a PASS can be consumed"),
    "verdict-expired": (409, "Verdict has expired", "ask for a new one"),
    "already-consumed": (409, "Already consumed", "a cutover holds this verdict, or another one that is still valid"),
    "cutover-refused": (409, "Not now", "the plan is another one, or a person must change something first"),
    "too-large": (413, "Too large", "the body, or the number of alerts in it"),
    "unsupported-media-type": (415, "Unsupported media type", "send application/json, not compressed"),
    "rate-limited": (429, "Too many requests", "`Retry-After` says when to come back"),
    "internal-error": (500, "Internal error", "a defect; the gate's log has it under the request's id"),
    "cutover-unavailable": (503, "Cutover not known", "its journal or a server does not answer; nothing is known"),
    "log-unavailable": (503, "Verdict log not available", "nothing was recorded, nothing was consumed"),
    "not-ready": (503, "Not ready", "`missing` lists what was not heard from"),
    "records-unavailable": (503, "Records not available", "nothing is known about what was stored: send it again"),
    "too-many-alerts": (503, "Too many alerts", "the gate holds as many as it can, and is closed"),
    "too-many-connections": (503, "Too many connections", "come back later"),
    "too-many-streams": (503, "Too many streams", "come back later"),
}
"""Code to status, title and meaning."""


class Problem(Exception):
    """An answer that is an error; `more` goes into the document, `headers` beside it."""

    def __init__(
        self, code: str, detail: str, *, more: Mapping[str, Any] | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.more, self.headers = code, detail, more or {}, headers or {}

    @property
    def status(self) -> int:
        return PROBLEMS[self.code][0]


def problem_json(code: str, detail: str, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write the document; nothing in `more` overrides what every problem has."""
    status, title, _ = PROBLEMS[code]
    own = {"type": "about:blank", "title": title, "status": status, "detail": detail, "code": code}
    return {**(more or {}), **own}


def problem_response(problem: Problem) -> web.Response:
    """Answer with an error."""
    return web.Response(
        text=json.dumps(problem_json(problem.code, problem.detail, problem.more)),
        status=problem.status,
        content_type="application/problem+json",
        headers={**NO_STORE, **problem.headers},
    )
