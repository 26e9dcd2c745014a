"""The listening socket: TLS, a bounded number of connections, and an end for those that dawdle."""

import asyncio
import contextlib
import json
import resource
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

from aiohttp import web

from auditor.api.problems import problem_json
from auditor.settings import Settings
from comparators.errors import SettingInvalid

SILENT_SECONDS = 15.0
"""A connection on which no request is complete, or whose answer is not taken, for so long is cut."""
KEEP_ALIVE_SECONDS = 10.0
LOOK_SECONDS = 1.0
HANDSHAKE_SECONDS = 10.0
MOST_CONNECTIONS = 1000
RUNNER_OPTIONS: dict[str, Any] = {
    "access_log": None,
    "shutdown_timeout": 1.0,
    "keepalive_timeout": KEEP_ALIVE_SECONDS,
    "auto_decompress": False,
}


class Connections:
    """Knows since when each connection has had nothing to do."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._busy: set[object] = set()
        self._idle: dict[object, float] = {}

    def begin(self, connection: object) -> None:
        """Note that a request came in whole."""
        self._busy.add(connection)

    def end(self, connection: object) -> None:
        """Note that its answer is made, and on its way."""
        self._busy.discard(connection)
        self._idle[connection] = self._clock()

    def silent(self, connected: Iterable[object]) -> list[object]:
        """List those that have been at nothing for too long, and forget those that have gone."""
        now, there = self._clock(), list(connected)
        self._idle = {one: self._idle.get(one, now) for one in there}
        return [one for one in there if one not in self._busy and now - self._idle[one] > SILENT_SECONDS]


CONNECTIONS = web.AppKey("connections", Connections)


async def watch(runner: web.AppRunner, refresh: Callable[[], None]) -> None:
    """Cut silent connections and look for new tokens, for as long as the gate serves."""
    while runner.server is not None:
        for connection in runner.app[CONNECTIONS].silent(runner.server.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()
        refresh()
        await asyncio.sleep(LOOK_SECONDS)


class Site(web.TCPSite):
    """A listening address that turns connections away when there are too many."""

    def __init__(self, runner: web.AppRunner, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__(runner, host, port, ssl_context=tls)
        self._where, self._tls = (host, port), tls
        self._most = min(MOST_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)

    async def start(self) -> None:
        await web.BaseSite.start(self)
        handshake = HANDSHAKE_SECONDS if self._tls else None
        host, port = self._where
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol, host, port, ssl=self._tls, backlog=128, ssl_handshake_timeout=handshake
        )

    def _protocol(self) -> asyncio.BaseProtocol:
        server = self._runner.server
        assert server is not None
        return server() if len(server.connections) < self._most else _TurnedAway()


class _TurnedAway(asyncio.Protocol):
    """Says that there is no room, and closes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        body = json.dumps(problem_json("too-many-connections", "every connection is taken")).encode()
        head = (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json\r\nRetry-After: 5\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        transport.write(head.encode() + body)
        transport.close()


async def listen(runner: web.AppRunner, settings: Settings, tls: ssl.SSLContext | None = None) -> str:
    """Open the gate's address and give its URL.

    Raises:
        SettingInvalid: the address is taken or not ours.
    """
    await runner.setup()
    try:
        await Site(runner, settings.gate.host, settings.gate.port, tls).start()
    except OSError as error:
        hint = "stop what listens there, or choose another address"
        raise SettingInvalid(f"gate.listen: {settings.gate.listen}: {error.strerror}", hint=hint) from None
    host, port = runner.addresses[0][:2]
    url = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
    print(f"gate of {settings.migration}: {url}/v1/migrations/{settings.migration}/gate", file=sys.stderr, flush=True)
    return url


@contextlib.asynccontextmanager
async def watched(runner: web.AppRunner, refresh: Callable[[], None]) -> AsyncIterator[None]:
    """Watch over the connections meanwhile."""
    watching = asyncio.ensure_future(watch(runner, refresh))
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
