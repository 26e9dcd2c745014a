"""Log lines on stderr: a sentence, then what it is about (`extra=`), as text for people or JSON for machines."""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

FORMATS = ("text", "json")
NOISY = ("aiokafka", "faust", "kafka", "mode")
TIMEKEEPERS = ("kafka.net", "mode.timers")
"""Libraries that warn of a tenth of a second on a busy machine; what matters of it is in the gate's lag."""
REPEAT_SECONDS = 10.0
"""How long a chatty library keeps silent after a message before the same one may appear again."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(process: str, style: str = "text", stream: TextIO | None = None, *, debug: bool = False) -> None:
    """Send all log lines of this process to stderr.

    Args:
        process: the process's own name, as in `sampler-source`; it stands in every line.
        style: `text` or `json`.
        debug: show the libraries' debug lines and tracebacks too.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(process) if style == "json" else TextLines(process, tracebacks=debug))
    if not debug:
        handler.addFilter(_no_service_chatter)
    handler.addFilter(RateLimit())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.WARNING)
    for name in TIMEKEEPERS:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.ERROR)
    logging.captureWarnings(True)


class TextLines(logging.Formatter):
    """`2026-01-31T10:00:00.123Z info sampler-source: sentence (table=public.orders)`"""

    def __init__(self, process: str, *, tracebacks: bool = False) -> None:
        super().__init__()
        self._process, self._tracebacks = process, tracebacks

    def format(self, record: logging.LogRecord) -> str:
        about = ", ".join(f"{key}={value}" for key, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname.lower()} {self._process}: {_sentence(record)}"
        line += f" ({about})" if about else ""
        if record.exc_info and self._tracebacks:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonLines(logging.Formatter):
    """One JSON document a line: time, level, process, message and what `extra` gave."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "process": self._process}
        line |= {"logger": record.name, "message": _sentence(record)} | _extra(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class RateLimit(logging.Filter):
    """Let a library say the same thing once in a while only, and say how often it was left out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in NOISY:
            return True
        with self._lock:
            return self._allow(record, self._clock())

    def _allow(self, record: logging.LogRecord, now: float) -> bool:
        key = (record.name, str(record.msg))
        last, left_out = self._said.get(key, (-REPEAT_SECONDS, 0))
        if now - last < REPEAT_SECONDS:
            self._said[key] = (last, left_out + 1)
            return False
        if len(self._said) > 1000:  # libraries that put values into the template would fill memory
            self._said.clear()
        self._said[key] = (now, 0)
        if left_out:
            record.left_out = left_out
        return True


def _no_service_chatter(record: logging.LogRecord) -> bool:
    """Leave out "[^App]: Starting...": faust's services log under the module of their class, which may be ours."""
    return record.levelno >= logging.WARNING or not record.getMessage().startswith("[^")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD}


def _sentence(record: logging.LogRecord) -> str:
    text = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        text += f": {type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
    return text


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
