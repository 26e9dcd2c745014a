"""The stream of verdicts as server-sent events: bounded in number, resumable, and cut off where nobody reads."""

import asyncio

from aiohttp import web

from auditor.api.ports import ACCESS, STOPPING, Answer, Answers, gate_of
from auditor.api.problems import NO_STORE, Problem

SSE_COMMENT_SECONDS = 10.0
"""So often an idle event stream says something, so that proxies keep it and a dead client is noticed."""
WRITE_SECONDS = 10.0
"""Who does not take a message for so long has gone."""
MOST_STREAMS = 64

OPEN_STREAMS = web.AppKey("open_streams", set[int])


async def events(request: web.Request) -> web.StreamResponse:
    """Send the verdict now and at each change, as server-sent events; those missed since `Last-Event-ID` first."""
    gate, streams = gate_of(request), request.app[OPEN_STREAMS]
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **NO_STORE})
    if request.method == "HEAD":
        await response.prepare(request)
        return response
    if len(streams) >= MOST_STREAMS:
        raise Problem("too-many-streams", f"{MOST_STREAMS} are open", headers={"Retry-After": "10"})
    streams.add(id(request))
    try:
        await response.prepare(request)
        gate.asked()
        await _send_all(request, response, gate, _resumed(request.headers.get("Last-Event-ID", ""), gate))
    except ConnectionError:
        pass
    except TimeoutError:
        if request.transport:
            request.transport.abort()  # a close would wait for the reader that does not read
    finally:
        streams.discard(id(request))
    return response


async def stop(app: web.Application) -> None:
    """Let every stream end with its next message."""
    app[STOPPING].append(True)


async def _send_all(request: web.Request, response: web.StreamResponse, gate: Answers, sent: int | None) -> None:
    while not request.app[STOPPING] and _still_allowed(request):
        answers = [gate.current()] if sent is None else gate.after(sent)
        for answer in answers:
            await _send(response, _event(gate, answer))
            sent = answer.number
        if not answers:
            await _send(response, b": idle\n\n")
        await gate.changed(gate.current().number if sent is None else sent, SSE_COMMENT_SECONDS)


async def _send(response: web.StreamResponse, text: bytes) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        await response.write(text)


def _event(gate: Answers, answer: Answer) -> bytes:
    return b"id: %s.%d\nevent: verdict\ndata: %s\n\n" % (gate.incarnation[:8].encode(), answer.number, answer.body)


def _resumed(last: str, gate: Answers) -> int | None:
    """Give the number of the event that the client has seen last; of another start of the gate it has seen none."""
    incarnation, _, number = last.partition(".")
    if incarnation != gate.incarnation[:8] or not (number.isascii() and number.isdigit() and len(number) < 16):
        return None
    return int(number) if int(number) <= gate.current().number else None


def _still_allowed(request: web.Request) -> bool:
    """A token that is taken back ends the streams it has opened."""
    try:
        return "read" in request.app[ACCESS].identify(request).scopes
    except Problem:
        return False


def prepare(app: web.Application) -> None:
    """Set up what streams share."""
    app[OPEN_STREAMS] = set()
    app.on_shutdown.append(stop)
