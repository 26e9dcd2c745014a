"""The pictures of docs/console.md, drawn anew: `python -m tests.console_pictures`."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from auditor.console import register
from auditor.console.pulse import Change, Pulse
from auditor.console.routes import CONSOLE
from auditor.gate import Snapshot
from auditor.verdict_history import Page as History
from comparators.findings import Finding, merged_findings
from orchestrator.conditions import Status
from tests.browser import browser
from tests.consoles import snapshot_of, troubled_records, waving_pulse
from tests.helpers import wait_for
from tests.helpers_records import NOW

IMAGES = Path(__file__).parents[1] / "docs/images"
TOP = 900


class Still:
    """A gate at which nothing changes any more."""

    migration = "orders"

    def __init__(self) -> None:
        self._records = troubled_records()
        self._snapshot = snapshot_of(self._records)

    def current(self) -> Snapshot:
        return replace(self._snapshot, made=time.monotonic())

    def findings(self) -> list[Finding]:
        return merged_findings(self._records, NOW)

    def records(self) -> Mapping[str, Mapping[str, Any]]:
        return self._records

    async def changed(self, number: int, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        return False

    async def history(self, limit: int, before: int | None) -> History:
        return History()


async def _events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await response.write(b": nothing will change\n\n")
    await asyncio.Event().wait()
    return response


def pulse() -> Pulse:
    """Give the ten minutes that the pictures show."""
    drawn, reasons = waving_pulse(), ("Commit to applied, 95th percentile: 12.3 ms (the limit is at most 10 ms)",)
    drawn.changes.append(Change(NOW - 3600, Status.INCONCLUSIVE, ("All conditions hold together: 0.2 s of 10 s",)))
    drawn.changes.append(Change(NOW - 3590, Status.PASS))
    drawn.changes.append(Change(NOW - 200, Status.INCONCLUSIVE, reasons))
    return drawn


async def draw() -> None:
    """Serve the page of a migration in trouble and photograph it."""
    app = web.Application()
    register(app, Still())
    app.router.add_get("/v1/migrations/{id}/events", _events)
    app[CONSOLE].pulse, app[CONSOLE].began = pulse(), NOW - 3600
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        await asyncio.to_thread(_photograph, f"http://127.0.0.1:{runner.addresses[0][1]}/")
    finally:
        await runner.cleanup()


def _photograph(url: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    with browser() as tab:
        for scheme, name, height in (("light", "console.png", None), ("dark", "console-dark.png", TOP)):
            tab.look(scheme)
            tab.driver.get(url)
            wait_for(lambda: tab.text("#pulse").startswith("live"), 20, "the live page")
            (IMAGES / name).write_bytes(tab.picture(height))


if __name__ == "__main__":
    asyncio.run(draw())
