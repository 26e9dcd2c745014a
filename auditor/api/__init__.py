"""The gate's HTTP interface (docs/api.md): thin, everything it says was decided elsewhere."""

from aiohttp import web

from auditor.api import openapi, routes, streams
from auditor.api.access import Access, check_listen
from auditor.api.buckets import Buckets
from auditor.api.front import BUCKETS, OPEN, SCOPES, STRANGERS, STRANGERS_BURST, STRANGERS_PER_SECOND, front
from auditor.api.ports import ACCESS, GATE, SHOW_KEYS, STOPPING, Answers
from auditor.api.problems import NO_STORE
from auditor.api.serving import CONNECTIONS, RUNNER_OPTIONS, Connections, listen, watched
from auditor.settings import RateLimit

__all__ = ["RUNNER_OPTIONS", "Access", "Answers", "build", "check_listen", "listen", "watched"]


def build(
    gate: Answers, *, show_keys: bool = False, access: Access | None = None, rate: RateLimit | None = None
) -> web.Application:
    """Build the application around a gate.

    Args:
        show_keys: findings name rows by their keys.
        access: tells who asks; `None` asks nobody.
        rate: how much one client may ask; `None` takes the default.
    """
    app = web.Application(middlewares=[front])
    app[GATE], app[SHOW_KEYS], app[STOPPING] = gate, show_keys, []
    app[ACCESS], app[CONNECTIONS] = access or Access(), Connections()
    rate = rate or RateLimit()
    app[BUCKETS] = Buckets(rate.requests_per_second, rate.burst)
    app[STRANGERS] = Buckets(STRANGERS_PER_SECOND, STRANGERS_BURST)
    app[SCOPES] = routes.register(app)
    described = openapi.text().encode()

    async def describe(request: web.Request) -> web.Response:
        return web.Response(body=described, headers={**NO_STORE, "Content-Type": "application/json"})

    for method in ("GET", "HEAD"):
        app[SCOPES][app.router.add_route(method, "/openapi.json", describe)] = OPEN
    streams.prepare(app)
    return app
