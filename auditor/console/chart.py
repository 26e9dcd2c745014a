"""The chart of delays: geometry of a drawing that stretches to any width, and the same figures as a table."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from auditor.console.pulse import KEEP_SECONDS, Point
from auditor.console.tables import Table, cells, columns
from auditor.console.words import figure

WIDTH, HEIGHT = 600.0, 100.0
MINUTES = int(KEEP_SECONDS // 60)
HOLE_SECONDS = 10.0
"""A line does not cross a time in which nobody measured."""
Pick = Callable[[Point], float | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the chart; `name` is also its style."""

    name: str
    title: str
    path: str
    last: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws; heights count from the top."""

    lines: tuple[Line, ...]
    limit: float | None
    """Height of the limit of `lag-ms`; `None` where it is above the drawing."""
    limit_text: str
    top: str
    middle: str
    described: str
    table: Table


SERIES: tuple[tuple[str, str, Pick], ...] = (
    ("lag-p95", "lag, p95", lambda point: point.lag_p95),
    ("lag-p50", "lag, p50", lambda point: point.lag_p50),
    ("delay-p95", "apply delay, p95", lambda point: point.delay_p95),
)


def chart_of(points: Sequence[Point], limit: float | None, now: float) -> Chart:
    """Draw the points of the last minutes.

    Args:
        limit: of the condition `lag-ms`, in milliseconds.
    """
    recent = [point for point in points if 0 <= now - point.at <= KEEP_SECONDS]
    top = _ceiling([value for _, _, pick in SERIES for point in recent if (value := pick(point)) is not None], limit)
    lines = tuple(
        Line(name, title, _path(recent, pick, top, now), figure(pick(recent[-1]) if recent else None, "ms"))
        for name, title, pick in SERIES
    )
    return Chart(
        lines=lines,
        limit=None if limit is None or limit > top else round(HEIGHT * (1 - limit / top), 2),
        limit_text=figure(limit, "ms"),
        top=figure(top, "ms"),
        middle=figure(top / 2, "ms"),
        described=_described(lines, recent),
        table=_table(recent, now),
    )


def _ceiling(values: Sequence[float], limit: float | None) -> float:
    """Give the next round number above everything drawn; a limit far above the values does not flatten them."""
    highest = max(values, default=0.0)
    if not highest or (limit is not None and limit <= 4 * highest):
        highest = max(highest, limit or 1.0)
    step = 1e-3
    while True:
        for factor in (1, 2, 5):
            if highest <= step * factor:
                return step * factor
        step *= 10


def _path(points: Iterable[Point], pick: Pick, top: float, now: float) -> str:
    words, last = [], None
    for point in points:
        value = pick(point)
        if value is None:
            last = None
            continue
        x = WIDTH * (1 - (now - point.at) / KEEP_SECONDS)
        joined = last is not None and point.at - last <= HOLE_SECONDS
        words.append(f"{'L' if joined else 'M'}{x:.1f} {HEIGHT * (1 - value / top):.1f}")
        last = point.at
    return "".join(words)


def _described(lines: Iterable[Line], points: Sequence[Point]) -> str:
    if not any(pick(point) is not None for _, _, pick in SERIES for point in points):
        return "No delay was measured in the last ten minutes."
    return "Delays of the last ten minutes. Now: " + "; ".join(f"{line.title} {line.last}" for line in lines) + "."


def _table(points: Sequence[Point], now: float) -> Table:
    titles = [title for _, title, _ in SERIES]
    head = columns("time", *titles, number=titles)
    rows = tuple(
        cells(
            "the last minute" if minute == 0 else f"{minute + 1} minutes ago",
            *(figure(_worst(within, pick), "ms") for _, _, pick in SERIES),
        )
        for minute, within in _minutes(points, now)
    )
    return Table("delays", "Delays by minute, the worst of each", head, rows, "No delay was measured yet.")


def _minutes(points: Sequence[Point], now: float) -> Iterator[tuple[int, list[Point]]]:
    """Group the points by how many minutes ago they were taken, newest first."""
    for minute, within in groupby(reversed(points), lambda point: min(int((now - point.at) // 60), MINUTES - 1)):
        yield minute, list(within)


def _worst(points: Iterable[Point], pick: Pick) -> float | None:
    return max((value for point in points if (value := pick(point)) is not None), default=None)
