"""Figures, times and names as the console writes them; `None` is always "not known"."""

from datetime import UTC, datetime

NOT_KNOWN = "not known"
UNITS = {"seconds": "s", "share": "", "ratio": ""}
"""Units that are written another way than conditions name them."""


def printable(text: str) -> str:
    """Spell out whatever does not show or would turn the text around it: names come from the user's catalog."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else f"\\u{{{ord(one):04x}}}" for one in text)


def figure(value: float | None, unit: str = "") -> str:
    """Write a number with its unit."""
    if value is None:
        return NOT_KNOWN
    if unit == "bytes":
        return size(value)
    word = UNITS.get(unit, unit)
    return f"{number(value)} {word.removesuffix('s') if value == 1 and unit not in (*UNITS, 'ms') else word}".rstrip()


def number(value: float) -> str:
    """Write a number as short as it stays true enough for a screen."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"


def size(value: float) -> str:
    """Write bytes in the largest unit of which there is at least one."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{number(value)} {unit}"


def duration(seconds: float | None) -> str:
    """Write a length of time in its two largest units."""
    if seconds is None:
        return NOT_KNOWN
    if seconds < 60:
        return f"{max(seconds, 0):.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def age(at: float | None, now: float) -> str:
    """Say how long ago something was."""
    return NOT_KNOWN if at is None else duration(now - at)


def clock(at: float | None) -> str:
    """Write a time of day."""
    return NOT_KNOWN if at is None else f"{_utc(at):%H:%M:%S} UTC"


def moment(at: float | None) -> str:
    """Write a date and a time; what stands above it says that it is UTC."""
    return NOT_KNOWN if at is None else f"{_utc(at):%Y-%m-%d %H:%M:%S}"


def count(things: int | None, singular: str, plural: str) -> str:
    """Write a number of things."""
    return NOT_KNOWN if things is None else f"{things:,} {singular if things == 1 else plural}"


def _utc(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
