"""The live view on a terminal, and progress lines where there is none."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from auditor.demo.watch import Figures, Picture

LINE_SECONDS = 5.0
COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow"}
SHOWN_FINDINGS = 5
Show = Callable[[Picture, float, str], None]
"""Show a picture: what, after how many seconds, and what is going on."""


@contextmanager
def showing(*, live: bool, colours: bool) -> Iterator[Show]:
    """Open the live view, or print a line now and then."""
    if not live:
        yield lines()
        return
    console = Console(stderr=True, no_color=not colours)
    with Live(console=console, refresh_per_second=4, transient=True) as screen:
        yield lambda picture, seconds, phase: screen.update(drawn(picture, seconds, phase))


def lines() -> Show:
    """Print a line on stderr every few seconds, and whenever the verdict turns."""
    last: list[Any] = [None, float("-inf")]

    def show(picture: Picture, seconds: float, phase: str) -> None:
        turned = (picture.verdict["verdict"], phase, len(picture.findings))
        if turned == last[0] and time.monotonic() - last[1] < LINE_SECONDS:
            return
        last[:] = [turned, time.monotonic()]
        print(f"demo: {seconds:5.1f} s  {line(picture)}  {phase}", file=sys.stderr, flush=True)

    return show


def line(picture: Picture) -> str:
    """Say the most important numbers in one line."""
    now = picture.figures
    return (
        f"{picture.verdict['verdict']}, {now.committed} transactions, {known(now.matched)} of {known(now.sampled)}"
        f" sampled matched, lag p95 {milliseconds(now.lag_ms.get('p95'))}, in window {share(picture.share)},"
        f" {len(picture.findings)} findings"
    )


def drawn(picture: Picture, seconds: float, phase: str) -> RenderableType:
    """Draw the whole view."""
    verdict = picture.verdict["verdict"]
    parts: list[RenderableType] = [numbers(picture, seconds, phase)]
    if picture.findings:
        parts.append(findings(picture))
    parts.append(reasons(picture))
    return Panel(Group(*parts), title=f"auditor demo - [bold]{verdict}[/]", border_style=COLOURS[verdict])


def numbers(picture: Picture, seconds: float, phase: str) -> Table:
    """Draw what is measured."""
    now, table = picture.figures, Table.grid(padding=(0, 3))
    for name, value in (
        ("running", f"{seconds:.0f} s   {phase}"),
        ("source", f"{now.committed} transactions committed"),
        ("audit", audit(now)),
        ("coverage", now.coverage.line(time.time())),
        ("lag", f"p50 {milliseconds(now.lag_ms.get('p50'))}   p95 {milliseconds(now.lag_ms.get('p95'))}"),
        ("in window", f"{share(picture.share)} of the last minute's within 5 ms"),
    ):
        table.add_row(Text(name, style="dim"), value)
    return table


def audit(now: Figures) -> str:
    """Say how many transactions were sampled and matched, and how many come in a second."""
    return (
        f"{known(now.matched)} of {known(now.sampled)} sampled transactions matched"
        f"   ({now.sampled_per_second:.0f}/s sampled, {now.matched_per_second:.0f}/s matched)"
    )


def findings(picture: Picture) -> Table:
    """Draw what was found, newest last."""
    table = Table("finding", "kind", "table", "state", box=None, padding=(0, 2), header_style="dim")
    for finding in picture.findings[-SHOWN_FINDINGS:]:
        style = "red" if finding["state"] == "confirmed" else ""
        table.add_row(finding["id"], finding["kind"], finding["table"], finding["state"], style=style)
    return table


def reasons(picture: Picture) -> Text:
    """Draw why the verdict is not PASS."""
    said = picture.verdict["reasons"] or ["every condition holds"]
    return Text("\n".join(f"- {reason}" for reason in said), style=COLOURS[picture.verdict["verdict"]])


def known(number: int | None) -> str:
    return "?" if number is None else str(number)


def milliseconds(value: float | None) -> str:
    return "?" if value is None else f"{value:.1f} ms"


def share(value: float | None) -> str:
    return "?" if value is None else f"{value:.1%}"
