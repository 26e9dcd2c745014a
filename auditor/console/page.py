"""The page as a value, and its rendering: at most once a second, however many people look."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from auditor.console import cutover, sections
from auditor.console.chart import Chart, chart_of
from auditor.console.pulse import Pulse
from auditor.console.tables import Table, Tone
from auditor.console.words import NOT_KNOWN, clock, moment, printable
from auditor.cutover.documents import Followed
from comparators.findings import Finding, position_text
from orchestrator.conditions import Status
from orchestrator.policy import Verdict
from orchestrator.seen import Evidence

HERE = Path(__file__).parent
REASONS = 8
"""So many reasons stand beside the verdict; the table of conditions has every one."""
SENTENCES: Mapping[Status, str] = {
    Status.PASS: "The gate is open: every condition holds.",
    Status.FAIL: "The gate is closed: a difference is confirmed.",
    Status.INCONCLUSIVE: "The gate is closed: not everything is proved.",
}
TONES: Mapping[Status, Tone] = {Status.PASS: Tone.GOOD, Status.FAIL: Tone.BAD, Status.INCONCLUSIVE: Tone.UNKNOWN}
COLOURS: Mapping[Tone, str] = {Tone.GOOD: "#1a7f37", Tone.BAD: "#b3261e", Tone.UNKNOWN: "#57606a"}
MARKS: Mapping[Tone, str] = {
    Tone.GOOD: "M4 8.5l2.8 2.8L12 5.4",
    Tone.BAD: "M5 5l6 6M11 5l-6 6",
    Tone.UNKNOWN: "M5.8 6a2.2 2.2 0 1 1 3 2q-.8.4-.8 1.4M8 11.6v.1",
}
EXPIRIES = (30, 20, 10, 5, 2)
"""Seconds after which a page without JavaScript takes its verdict back; the style sheet knows each of them."""


class Snapshot(Protocol):
    """One evaluation of the gate."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def evidence(self) -> Evidence: ...
    @property
    def number(self) -> int: ...
    @property
    def made(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Headline:
    """The verdict, large."""

    status: Status
    tone: Tone
    sentence: str
    facts: tuple[tuple[str, str], ...]
    reasons: tuple[str, ...]
    more_reasons: int
    next_steps: tuple[str, ...]
    needs_person: bool


@dataclass(frozen=True, slots=True)
class Page:
    """All that the page shows."""

    migration: str
    made: float
    """On the monotonic clock."""
    valid_seconds: float
    """For so long from then the verdict holds."""
    expires: int
    headline: Headline
    chart: Chart
    conditions: Table
    left: tuple[Table, ...]
    right: tuple[Table, ...]
    icon: str
    title: str
    shown: str
    """When the evaluation was made, for people."""

    @property
    def sections(self) -> list[tuple[str, str]]:
        """Places and titles of the parts that one can jump to."""
        tables = (self.conditions, *self.left, *self.right)
        return [("lag", "Lag"), *((table.id, table.title) for table in tables)]


def page_of(
    snapshot: Snapshot, findings: Sequence[Finding], pulse: Pulse, began: float, followed: Followed | None = None
) -> Page:
    """Put one evaluation on a page.

    Args:
        pulse: what the last minutes looked like.
        began: since when it was watched.
        followed: what the journal of cutovers tells; `None` where no cutover is configured.
    """
    verdict, evidence = snapshot.verdict, snapshot.evidence
    now, valid_seconds = verdict.evaluated_at, verdict.valid_until - verdict.evaluated_at
    limits = {outcome.name: outcome.limit for outcome in verdict.conditions}
    return Page(
        migration=verdict.migration,
        made=snapshot.made,
        valid_seconds=valid_seconds,
        expires=next((seconds for seconds in EXPIRIES if seconds <= valid_seconds), EXPIRIES[-1]),
        headline=headline(verdict),
        chart=chart_of(pulse.points, limits.get("lag-ms"), now),
        conditions=sections.conditions(verdict.conditions),
        left=(
            *cutover.tables(followed),
            sections.coverage(evidence, verdict.coverage, now),
            sections.findings(findings, evidence),
            sections.preflight(evidence, now),
            sections.history(pulse.changes, began),
        ),
        right=(
            sections.slots(evidence),
            sections.processes(evidence, now),
            sections.overrides(evidence, now),
            sections.alerts(evidence.alerts),
        ),
        icon=icon(TONES[verdict.status]),
        title=f"{verdict.status} at {clock(now)} - {printable(verdict.migration)}",
        shown=clock(now),
    )


def headline(verdict: Verdict) -> Headline:
    """Say what the gate says, in the words that people on call need first."""
    sample = verdict.sample
    compared = NOT_KNOWN if sample.transactions is None else f"{sample.transactions:,} transactions"
    facts = (
        ("valid until", clock(verdict.valid_until)),
        ("evaluated", clock(verdict.evaluated_at)),
        ("unchanged since", f"{moment(verdict.since)} UTC"),
        ("compared", compared),
        ("audited through", position_text(verdict.positions.get("audited_through")) or NOT_KNOWN),
        ("source at", position_text(verdict.positions.get("source")) or NOT_KNOWN),
    )
    return Headline(
        status=verdict.status,
        tone=TONES[verdict.status],
        sentence=SENTENCES[verdict.status],
        facts=facts,
        reasons=verdict.reasons[:REASONS],
        more_reasons=max(0, len(verdict.reasons) - REASONS),
        next_steps=verdict.next_steps,
        needs_person=verdict.needs_person,
    )


def icon(tone: Tone) -> str:
    """Draw the icon of a browser's tab as a data address."""
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">'
        f'<circle cx="8" cy="8" r="8" fill="{COLOURS[tone]}"/><path d="{MARKS[tone]}" fill="none" stroke="#fff" '
        'stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round"/></svg>'
    )
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.encode()).decode()


def environment() -> Environment:
    """Make a template engine that escapes everything, and to which nothing is undefined."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    made.globals.update(marks=MARKS, colours=COLOURS, lost_icon=icon(Tone.UNKNOWN), NOT_KNOWN=NOT_KNOWN)
    return made


def _shown(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


class Renderer:
    """Renders what the gate says; an answer serves everybody until the verdict changes or a second is over."""

    FRESH_SECONDS = 1.0

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """Args: monotonic: seconds that only rise."""
        self._environment, self._monotonic = environment(), monotonic
        self._cached: tuple[int, float, Page, str] | None = None
        self.rendered = 0

    def current(self, snapshot: Snapshot, make: Callable[[], Page]) -> tuple[Page, str]:
        """Give the page's values and its live part.

        Args:
            make: called when what was rendered last no longer holds.
        """
        now = self._monotonic()
        if self._cached and self._cached[0] == snapshot.number and now - self._cached[1] < self.FRESH_SECONDS:
            return self._cached[2], self._cached[3]
        page = make()
        self.rendered += 1
        text = self._environment.get_template("live.html").render(page=page)
        self._cached = (snapshot.number, now, page, text)
        return page, text

    def whole(self, page: Page, live: str, remaining: str) -> str:
        """Give the page around its live part."""
        return self._environment.get_template("page.html").render(page=page, live=Markup(live), remaining=remaining)
