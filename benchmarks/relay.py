"""A relay that holds back all that one side says, so that a subscriber is behind by a constant time."""

import asyncio
import threading
from types import TracebackType
from typing import Self

BLOCK = 1 << 16


class Relay:
    """Passes connections on to a port of this machine; what comes back from there is late by `seconds`."""

    def __init__(self, port: int, seconds: float) -> None:
        self.port = 0
        """Where it listens."""
        self._to, self._seconds = port, seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _hang_up(self) -> None:
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection("127.0.0.1", self._to)
        late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        work = (_pass(reader, forth), self._take(back, late), self._give(late, writer))
        pumps = [asyncio.create_task(one) for one in work]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            return  # hung up: asyncio would complain of a handler that was cancelled
        finally:
            for pump in pumps:
                pump.cancel()
            for one in (writer, forth):
                one.close()

    async def _take(self, reader: asyncio.StreamReader, late: asyncio.Queue[tuple[float, bytes]]) -> None:
        while data := await reader.read(BLOCK):
            late.put_nowait((self._loop.time() + self._seconds, data))
        await asyncio.sleep(self._seconds)  # what was said last is still to be passed on

    async def _give(self, late: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        while True:
            due, data = await late.get()
            await asyncio.sleep(due - self._loop.time())
            writer.write(data)
            await writer.drain()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(BLOCK):
        writer.write(data)
        await writer.drain()
