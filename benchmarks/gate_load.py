"""Ask a gate at a steady rate, in a process of its own; a request counts from the moment it was due, not sent.

So a gate that stalls is charged for everybody who would have asked meanwhile (no coordinated omission).
"""

import argparse
import asyncio
import json
import os
import time
from urllib.parse import urlsplit

CONNECTIONS = 32


class Asker:
    """Takes every n-th request of the schedule on a connection that is kept alive."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._request = (
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        )
        self.waited: list[float] = []
        """Milliseconds from due to answered."""
        self.late: list[float] = []
        """Milliseconds from due to sent: partly the generator's own."""
        self.failed = 0

    async def run(self, first: int, total: int, rate: float, start: float) -> None:
        """Ask requests `first`, `first + CONNECTIONS`, ... of a schedule."""
        reader, writer = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
        for number in range(first, total, CONNECTIONS):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            self.late.append((time.perf_counter() - due) * 1000)
            writer.write(self._request)
            self.failed += not await _answered(reader)
            self.waited.append((time.perf_counter() - due) * 1000)
        writer.close()


async def _answered(reader: asyncio.StreamReader) -> bool:
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return head.startswith(b"HTTP/1.1 200 ")


async def ask(url: str, token: str, rate: float, seconds: float) -> dict[str, object]:
    """Ask for a time, and give every request's milliseconds."""
    askers = [Asker(url, token) for _ in range(CONNECTIONS)]
    total, start = int(rate * seconds), time.perf_counter() + 0.5
    await asyncio.gather(*(asker.run(first, total, rate, start) for first, asker in enumerate(askers)))
    return {
        "seconds": time.perf_counter() - start,
        "waited": [one for asker in askers for one in asker.waited],
        "late": [one for asker in askers for one in asker.late],
        "failed": sum(asker.failed for asker in askers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=60)
    args = parser.parse_args()
    print(json.dumps(asyncio.run(ask(args.url, os.environ["GATE_TOKEN"], args.rate, args.seconds))))


if __name__ == "__main__":
    main()
