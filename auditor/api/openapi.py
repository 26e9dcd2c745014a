"""The OpenAPI 3.1 document, made from the table of routes and the shapes that bodies are checked by."""

import json
from collections.abc import Mapping
from typing import Any

from auditor.api.front import OPEN
from auditor.api.problems import PROBLEMS
from auditor.api.routes import ROUTES, Route
from auditor.api.shapes import OVERRIDE_ID, SHAPES, ref
from comparators.findings import State

Document = dict[str, Any]
VERSION = "1.0.0"

_PARAMETERS: Mapping[str, Document] = {
    "id": {"name": "id", "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[a-z0-9-]{1,40}$"}},
    "verdict": {
        "name": "verdict",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^v_[0-9a-f]{16}$"},
    },
    "override": {
        "name": "override",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": OVERRIDE_ID},
    },
    "limit": {
        "name": "limit",
        "in": "query",
        "description": "So many at most; 100 unless given.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000},
    },
    "before": {
        "name": "before",
        "in": "query",
        "description": "Only records below this `seq`.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1 << 53},
    },
    "anew": {
        "name": "anew",
        "in": "query",
        "description": "1: decide now, on records that are read after this question.",
        "schema": {"type": "integer", "enum": [1]},
    },
    "after": {
        "name": "after",
        "in": "query",
        "description": "Only entries above this `seq`.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1 << 53},
    },
    "attempt": {
        "name": "attempt",
        "in": "query",
        "description": "The newest unless given.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1 << 31},
    },
    "state": {"name": "state", "in": "query", "schema": {"type": "string", "enum": [str(one) for one in State]}},
    "table": {"name": "table", "in": "query", "schema": {"type": "string"}},
}
EXAMPLES: Mapping[str, Any] = {
    "Consume": {"cutover": "orders-2026-11", "verdict": "v_0123456789abcdef"},
    "Approve": {"by": "Jo Doe", "plan": f"sha256:{'4f' * 32}"},
    "Wish": {"by": "Jo Doe", "reason": "errors in checkout"},
    "NewOverride": {
        "condition": "lag-bytes",
        "owner": "Jo Doe",
        "reason": "nightly batch, ends at six",
        "until": "2026-12-01T06:00:00Z",
    },
    "Alerts": {
        "version": "4",
        "groupKey": '{}:{alertname="DiskFull"}',
        "truncatedAlerts": 0,
        "groupLabels": {"alertname": "DiskFull"},
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "DiskFull", "severity": "critical"},
                "annotations": {},
                "startsAt": "2026-11-21T10:00:00Z",
                "fingerprint": "c6f1b7a0e2d34598",
            }
        ],
    },
    "Problem": {
        "type": "about:blank",
        "title": "Not allowed",
        "status": 403,
        "detail": "token:argo lacks the scope override",
        "code": "forbidden",
        "scope": "override",
    },
}
_ID_HEADER = {
    "X-Request-Id": {"description": "The request's name in the gate's log.", "schema": {"type": "string"}}
}  # fmt: skip


def document() -> Document:
    """Make the whole document."""
    paths: dict[str, Document] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    paths["/openapi.json"] = {"get": _self_described()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "The gate of a migration",
            "version": VERSION,
            "description": "Whether a PostgreSQL migration may be promoted. See docs/api.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"bearer": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": {name: _with_example(name, shape) for name, shape in SHAPES.items()},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token of `gate.tokens`."},
                "certificate": {"type": "mutualTLS", "description": "A certificate named in `gate.tls.clients`."},
            },
        },
    }


def text() -> str:
    """Write the document as it is served and committed."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


def _operation(route: Route) -> Document:
    names = [name for name in ("id", "verdict", "override") if f"{{{name}}}" in route.path]
    operation: Document = {
        "operationId": route.name,
        "summary": route.summary,
        "description": f"Scope: {route.scope}." if route.scope else "Open to everybody.",
        "responses": {str(route.status): _good(route), **_problems(route)},
    }
    if parameters := [_PARAMETERS[name] for name in (*names, *route.query)]:
        operation["parameters"] = parameters
    if route.takes:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": ref(route.takes)}}}
    if route.scope == OPEN:
        operation["security"] = []
    return operation


def _good(route: Route) -> Document:
    good: Document = {"description": route.summary, "headers": _ID_HEADER}
    if route.answer:
        good["content"] = {route.media: {"schema": ref(route.answer)}}
    elif route.status == 200:
        good["content"] = {route.media: {"schema": {"type": "string"}}}
    return good


def _problems(route: Route) -> dict[str, Document]:
    codes = set(route.problems)
    codes |= {"not-found"} if "{id}" in route.path else set()
    codes |= {"unauthenticated", "forbidden", "rate-limited"} if route.scope else set()
    codes |= {"bad-request", "too-large", "unsupported-media-type", "request-timeout"} if route.takes else set()
    by_status: dict[int, list[str]] = {}
    for code in sorted(codes):
        by_status.setdefault(PROBLEMS[code][0], []).append(code)
    return {str(status): _problem(listed) for status, listed in sorted(by_status.items())}


def _problem(codes: list[str]) -> Document:
    whole = "Closed" if set(codes) <= {"gate-closed", "no-rollback"} else "Problem"
    words = "; ".join(f"`{code}`: {PROBLEMS[code][2]}" for code in codes)
    content = {"application/problem+json": {"schema": ref(whole)}}
    answer: Document = {"description": words, "headers": dict(_ID_HEADER), "content": content}
    if codes == ["unauthenticated"]:
        answer["headers"]["WWW-Authenticate"] = {"schema": {"type": "string"}, "required": True}
    if codes == ["rate-limited"]:
        answer["headers"]["Retry-After"] = {"schema": {"type": "integer"}, "required": True}
    return answer


def _self_described() -> Document:
    return {
        "operationId": "openapi",
        "summary": "This document.",
        "security": [],
        "responses": {
            "200": {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}
        },
    }


def _with_example(name: str, shape: Document) -> Document:
    return {**shape, "examples": [EXAMPLES[name]]} if name in EXAMPLES else shape
