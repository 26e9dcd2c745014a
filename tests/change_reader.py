"""A consumer of changes as people run them: a process that reads a slot, keeps what it saw, and confirms it after that.

`change_reader.py start FOLDER` starts one that reads on, `stop FOLDER` ends it: the programs of `cutover.consumers`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from samplers import pgoutput
from samplers.replication import ReplicationStream

SLOT = "cdc"
"""Also the name of the publication on both sides."""
_COMMANDS = ("start", "stop", "read")


class ChangeReader:
    """One consumer, known by its folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen, self._pid = folder / "seen.txt", folder / "pid"

    def words(self, command: str) -> list[str]:
        """Give the program that starts or stops it."""
        return [sys.executable, __file__, command, str(self._folder)]

    def configure(self, sides: dict[str, str]) -> None:
        """Write down how it reaches each side."""
        (self._folder / "sides.json").write_text(json.dumps(sides))

    def start(self, side: str) -> None:
        """Start it; who starts it does not wait for it."""
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [*self.words("read"), side], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._pid.write_text(str(process.pid))

    def stop(self) -> None:
        """Let it end after the transaction that it is in, and wait for that."""
        if not self._pid.exists():
            return
        pid = int(self._pid.read_text())
        while self._lives(pid):
            os.kill(pid, signal.SIGTERM)
            time.sleep(0.01)

    def seen(self) -> list[tuple[int, int]]:
        """List client and serial of every movement that it has kept, in its order."""
        lines = self._seen.read_text().splitlines() if self._seen.exists() else []
        return [(int(client), int(serial)) for client, serial in map(str.split, lines)]

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def read(self, side: str) -> None:
        """Read until SIGTERM: keep the movements of each transaction, then confirm it."""
        told: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, frame: told.append(number))
        dsn = json.loads((self._folder / "sides.json").read_text())[side]
        stream, decoder, rows = ReplicationStream(dsn, SLOT, (SLOT,), side=side), pgoutput.Decoder(), list[str]()
        with self._seen.open("a") as kept:
            while not told or rows:
                stream.fill()
                size, view = stream.get(1)
                if size < 0:
                    raise stream.ended()
                if size == 0:
                    stream.wait(0.01)
                elif view[:1] == b"k":
                    end = int.from_bytes(view[1:9], "big")
                    stream.confirm(end, 0 if rows else end)
                else:
                    self._take(decoder.decode(bytes(view[25:]), 0), rows, kept, stream)
        stream.close()

    def _take(self, message: Any, rows: list[str], kept: Any, stream: ReplicationStream) -> None:
        if isinstance(message, pgoutput.Insert):
            (_, client), (_, serial) = message.new[1:3]
            rows.append(f"{int(client or b'')} {int(serial or b'')}\n")
        elif isinstance(message, pgoutput.Commit):
            kept.writelines(rows)
            kept.flush()
            rows.clear()
            stream.confirm(message.end_lsn, message.end_lsn)

    def _lives(self, pid: int) -> bool:
        try:
            return f"\0{self._folder}\0".encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False


if __name__ == "__main__":
    assert sys.argv[1] in _COMMANDS
    reader = ChangeReader(Path(sys.argv[2]))
    if sys.argv[1] == "start":
        reader.start(os.environ["AUDITOR_SIDE"])
    elif sys.argv[1] == "stop":
        reader.stop()
    else:
        reader.read(sys.argv[3])
