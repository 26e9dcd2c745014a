"""What clients tell the gate: overrides of people, and alerts of other systems; an answer means that it is stored."""

import logging
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from auditor.api import alerts
from auditor.api.bodies import LARGE, read_body
from auditor.api.front import about
from auditor.api.gate_routes import answered
from auditor.api.ports import CALLER, Answers, gate_of
from auditor.api.problems import NO_STORE, Problem
from auditor.overriding import AREA, NotOverridable, new_override, override_json, overrides_json
from comparators.errors import SettingInvalid, StoreUnavailable

log = logging.getLogger(__name__)

MOST_OVERRIDES = 200


async def overrides(request: web.Request) -> web.Response:
    gate = gate_of(request)
    return answered({"overrides": overrides_json(gate.current().evidence.overrides, gate.records())})


async def override(request: web.Request) -> web.Response:
    """Write down that a person takes responsibility."""
    gate = gate_of(request)
    body = await read_body(request, "NewOverride")
    try:
        name, record = new_override(body, request[CALLER].name, gate.now())
    except NotOverridable as error:
        raise Problem("not-overridable", str(error)) from None
    except SettingInvalid as error:
        raise Problem("bad-request", f"{error}; {error.hint}") from None
    if sum(key.startswith(AREA) for key in gate.records()) >= MOST_OVERRIDES:
        raise Problem("bad-request", f"there are {MOST_OVERRIDES} overrides; take some back first")
    await _store(gate, {f"{AREA}{name}": record})
    log.warning("%s is overridden by %s", record["condition"], record["owner"], extra=about(request, 201))
    return answered(override_json(name, record), 201)


async def revoke(request: web.Request) -> web.Response:
    """Take an override back."""
    gate = gate_of(request)
    key = AREA + request.match_info["override"]
    if key not in gate.records():
        raise Problem("not-found", "no such override is recorded; those of the configuration are changed there")
    await _store(gate, {key: None})
    log.warning("override %s is taken back", request.match_info["override"], extra=about(request, 204))
    return web.Response(status=204, headers=NO_STORE)


async def take_alerts(request: web.Request) -> web.Response:
    """Take a notification of Alertmanager's; what fires closes the gate before this answers."""
    gate = gate_of(request)
    body = await read_body(request, "Alerts", LARGE)
    records, ignored = alerts.records_of(body, gate.records(), gate.now())
    await _store(gate, records)
    firing = sum(value is not None for value in records.values())
    if records:
        log.info("%d alerts of others fire, %d have ended", firing, len(records) - firing, extra=about(request, 200))
    return answered({"firing": firing, "resolved": len(records) - firing, "ignored": ignored})


async def _store(gate: Answers, items: Mapping[str, Mapping[str, Any] | None]) -> None:
    try:
        await gate.store(items)
    except StoreUnavailable as error:
        raise Problem("records-unavailable", str(error), headers={"Retry-After": "5"}) from None
