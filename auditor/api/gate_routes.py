"""The verdict, in the ways that deployment tools ask for it, and what it rests on."""

import json
from typing import Any

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from auditor.api.bodies import read_body
from auditor.api.ports import GATE, SHOW_KEYS, Answer, gate_of
from auditor.api.problems import NO_STORE, Problem
from auditor.consumption import ConsumptionRefused, receipt_json
from auditor.verdict_history import explained_json, page_json
from comparators.errors import SettingInvalid, StoreUnavailable
from comparators.findings import State, finding_json, time_text
from comparators.preflight import item_json
from orchestrator.conditions import Status
from orchestrator.seen import ProbeSeen

JSON_HEADERS = {**NO_STORE, "Content-Type": "application/json; charset=utf-8"}
MOST_ENTRIES = 1000


def answered(document: Any, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(text=json.dumps(document, allow_nan=False), status=status, headers=JSON_HEADERS)


async def livez(request: web.Request) -> web.Response:
    return answered({"status": "alive"})


async def readyz(request: web.Request) -> web.Response:
    missing = request.app[GATE].not_ready()
    if missing:
        raise Problem("not-ready", "; ".join(missing), more={"missing": missing})
    return answered({"status": "ready"})


async def metrics(request: web.Request) -> web.Response:
    return web.Response(body=request.app[GATE].metrics(), headers={**NO_STORE, "Content-Type": CONTENT_TYPE_LATEST})


async def migrations(request: web.Request) -> web.Response:
    gate = request.app[GATE]
    path = f"/v1/migrations/{gate.migration}"
    one = {"id": gate.migration, "verdict": str(gate.current().verdict.status), "gate": f"{path}/gate"}
    return answered({"migrations": [one]})


async def verdict(request: web.Request) -> web.Response:
    """Answer 200 whatever the verdict: for tools that look into the JSON."""
    gate = gate_of(request)
    gate.asked()
    answer = await gate.anew() if whole(request, "anew", 1) else gate.current()
    if answer is None:
        late = ["records: they were not read in time"]
        raise Problem("not-ready", "the records were not read since this was asked: ask again", more={"missing": late})
    return web.Response(body=answer.body, headers=JSON_HEADERS)


async def check(request: web.Request) -> web.Response:
    """Answer in the way that deployment tools understand: any non-2xx holds, and the body says why."""
    return _two_ways(request, Status.PASS, "gate-closed")


async def rollback(request: web.Request) -> web.Response:
    """Answer 200 only when a confirmed difference says that the release must go back."""
    return _two_ways(request, Status.FAIL, "no-rollback")


def _two_ways(request: web.Request, good: Status, code: str) -> web.Response:
    gate = gate_of(request)
    gate.asked()
    answer = gate.current()
    if answer.verdict.status is good:
        return web.Response(body=answer.body, headers=JSON_HEADERS)
    raise _held(answer, code)


def _held(answer: Answer, code: str) -> Problem:
    verdict = answer.verdict
    detail = f"{verdict.status}: {'; '.join(verdict.reasons) or 'every condition holds'}"
    return Problem(code, detail, more=json.loads(answer.body))


async def consume(request: web.Request) -> web.Response:
    """Give one evaluation to one cutover; the same request again gets the same receipt."""
    gate = gate_of(request)
    body = await read_body(request, "Consume")
    try:
        return answered(receipt_json(await gate.consume(body["verdict"], body["cutover"])))
    except ConsumptionRefused as refused:
        raise Problem(refused.code, str(refused)) from None


async def history(request: web.Request) -> web.Response:
    gate = gate_of(request)
    limit, before = whole(request, "limit", MOST_ENTRIES), whole(request, "before", 1 << 53)
    try:
        return answered(page_json(await gate.history(100 if limit is None else limit, before)))
    except StoreUnavailable as error:
        raise Problem("log-unavailable", str(error)) from None


async def explained(request: web.Request) -> web.Response:
    gate, wanted = gate_of(request), request.match_info["verdict"]
    try:
        found = await gate.explained(wanted)
    except StoreUnavailable as error:
        raise Problem("log-unavailable", str(error)) from None
    except SettingInvalid as error:
        raise Problem("not-found", str(error)) from None
    if found is not None:
        return answered(explained_json(found))
    remembered = gate.remembered(wanted)
    if remembered is None:
        raise Problem("not-found", "no such verdict is recorded, nor is it one of the last evaluations")
    return answered({"id": wanted, "kind": "verdict", "document": remembered})


async def findings(request: web.Request) -> web.Response:
    gate = gate_of(request)
    state, table = request.query.get("state"), request.query.get("table")
    if state is not None and state not in list(State):
        raise Problem("bad-request", f"state: is not one of {', '.join(State)}")
    listed = [
        finding_json(finding, show_keys=request.app[SHOW_KEYS])
        for finding in gate.findings()
        if state in (None, finding.state) and table in (None, finding.table)
    ]
    return answered({"findings": listed})


async def coverage(request: web.Request) -> web.Response:
    records = gate_of(request).records()
    lines = [dict(value) for key, value in sorted(records.items()) if key.startswith("coverage/")]
    return answered({"tables": lines, "sweeper": records.get("sweeper")})


async def preflight(request: web.Request) -> web.Response:
    gate = gate_of(request)
    probes = gate.current().evidence.probes
    groups = [_probe_json(probe, gate.now()) for _, probe in sorted(probes.items())]
    return answered({"migration": gate.migration, "groups": groups})


def _probe_json(probe: ProbeSeen, now: float) -> dict[str, Any]:
    return {
        "group": probe.group,
        "at": None if probe.at is None else time_text(probe.at),
        "age_seconds": None if probe.at is None else round(now - probe.at, 3),
        "error": probe.error,
        "items": [item_json(item) for item in probe.items or ()],
        "figures": dict(probe.figures),
    }


def whole(request: web.Request, name: str, most: int) -> int | None:
    """Read a whole number of the query; `None` where it is not given.

    Raises:
        Problem: it is none, or too large.
    """
    text = request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 17 and 1 <= int(text) <= most):
        raise Problem("bad-request", f"{name}: is not a whole number from 1 to {most}")
    return int(text)
