"""Sizes, durations and times as people write them, and back."""

import math
import re
from datetime import UTC, datetime

_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_size(value: int | str) -> int:
    """Read bytes: a whole number, or text such as `512MiB` (2^20) or `1.5 GB` (10^9).

    Raises:
        ValueError: the text is not a size.
    """
    if isinstance(value, int):
        return value
    number, unit = _split(value, "a size such as 512MiB")
    if (factor := _BYTES.get(unit.lower() or "b")) is None:
        raise ValueError(f"{value!r} is not a size such as 512MiB")
    return round(float(number) * factor) if "." in number else int(number) * factor


def format_size(size: int) -> str:
    """Write bytes in the largest binary unit that loses nothing."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit.lower()] == 0:
            return f"{size // _BYTES[unit.lower()]}{unit}"
    return f"{size}B"


def parse_seconds(value: float | str) -> float:
    """Read a duration: seconds as a number, or text such as `500ms`, `30s`, `5m`, `1h`, `2d`.

    Raises:
        ValueError: the text is not a duration, or is not finite.
    """
    if not isinstance(value, str):
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{value!r} is not a duration such as 30s")
        return float(value)
    number, unit = _split(value, "a duration such as 30s")
    if (factor := _SECONDS.get(unit.lower() or "s")) is None:
        raise ValueError(f"{value!r} is not a duration such as 30s")
    return float(number) / 1000 if unit.lower() == "ms" else float(number) * factor


def format_seconds(seconds: float) -> str:
    """Write a duration in the largest unit that loses nothing."""
    for unit in ("d", "h", "m"):
        if seconds and seconds % _SECONDS[unit] == 0:
            return f"{seconds / _SECONDS[unit]:.0f}{unit}"
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{seconds * 1000:.0f}ms"


def end_of(text: str) -> float | None:
    """Read a day or a time as unix seconds, UTC where it names no zone; `None` for what is neither."""
    try:
        parsed = datetime.fromisoformat(text.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _split(text: str, wanted: str) -> tuple[str, str]:
    if (found := _QUANTITY.fullmatch(text)) is None:
        raise ValueError(f"{text!r} is not {wanted}")
    return found[1], found[2]
