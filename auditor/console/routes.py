"""The routes of the console, and what every answer of it forbids the browser."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from aiohttp import web

from auditor.console.page import HERE, Page, Renderer, Snapshot, page_of
from auditor.console.pulse import EVERY_SECONDS, Pulse
from auditor.cutover.documents import Followed
from auditor.verdict_history import Page as History
from comparators.errors import StoreUnavailable
from comparators.findings import Finding

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "Server": "auditor",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
RECALLED = 500
"""So many entries of the log of verdicts are read at the start; most of them say what the one before said."""
TYPES = {".css": "text/css", ".js": "text/javascript"}


class CutoverView(Protocol):
    """What the console needs of a cutover."""

    @property
    def view(self) -> Followed: ...


class Watched(Protocol):
    """What the console needs from the gate."""

    @property
    def migration(self) -> str: ...
    @property
    def cutover(self) -> CutoverView | None: ...
    def current(self) -> Snapshot: ...
    def findings(self) -> list[Finding]: ...
    def records(self) -> Mapping[str, Mapping[str, Any]]: ...
    async def changed(self, number: int, seconds: float) -> bool: ...
    async def history(self, limit: int, before: int | None) -> History: ...


class Console:
    """The console of one gate."""

    def __init__(self, gate: Watched) -> None:
        self.gate = gate
        self.began = gate.current().verdict.evaluated_at
        self.pulse, self.renderer = Pulse(), Renderer(time.monotonic)
        self.note()

    def note(self) -> Snapshot:
        """Take the last evaluation into the chart and the history."""
        snapshot = self.gate.current()
        self.pulse.note(snapshot.verdict, self.gate.records())
        return snapshot

    def render(self) -> tuple[Page, str]:
        """Give the page of now and its live part."""
        snapshot, desk = self.note(), self.gate.cutover
        followed = desk.view if desk else None
        return self.renderer.current(
            snapshot, lambda: page_of(snapshot, self.gate.findings(), self.pulse, self.began, followed)
        )

    async def watch(self) -> None:
        """Recall the last verdicts, then take in every change, and the delays of the time between."""
        with contextlib.suppress(StoreUnavailable):  # then the history begins with this process, and says so
            entries = (await self.gate.history(RECALLED, None)).entries
            self.pulse.recall(reversed(entries))
            self.began = min([self.began, *(entry.at for entry in entries[-1:])])
        while True:
            await self.gate.changed(self.note().number, EVERY_SECONDS / 2)


CONSOLE = web.AppKey("console", Console)


def register(app: web.Application, gate: Watched) -> None:
    """Add the console to the gate's application; who may see it is decided before its routes are reached."""
    app[CONSOLE] = Console(gate)
    app.cleanup_ctx.append(_watching)
    app.router.add_get("/", _page)
    app.router.add_get("/console/fragment", _fragment)
    app.router.add_get("/console/{name:console\\.(?:css|js)}", _static)


async def _watching(app: web.Application) -> AsyncIterator[None]:
    watching = asyncio.ensure_future(app[CONSOLE].watch())
    yield
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching


def _html(text: str, **headers: str) -> web.Response:
    return web.Response(text=text, content_type="text/html", headers={**HEADERS, **headers})


def _remaining(page: Page) -> str:
    """Seconds for which the verdict holds from now: a duration needs no clock that agrees with ours."""
    return f"{max(0.0, page.valid_seconds - (time.monotonic() - page.made)):.3f}"


async def _page(request: web.Request) -> web.Response:
    console = request.app[CONSOLE]
    page, live = console.render()
    return _html(console.renderer.whole(page, live, remaining=_remaining(page)))


async def _fragment(request: web.Request) -> web.Response:
    page, live = request.app[CONSOLE].render()
    return _html(live, **{"X-Remaining-Seconds": _remaining(page)})


async def _static(request: web.Request) -> web.StreamResponse:
    file = HERE / "static" / request.match_info["name"]
    headers = {**HEADERS, "Cache-Control": "no-cache", "Content-Type": f"{TYPES[file.suffix]}; charset=utf-8"}
    return web.FileResponse(file, headers=headers)
