"""The sections of the page on a cutover: where it stands, and its chain of proof."""

from auditor.console.tables import Cell, Table, Tone, cells, columns
from auditor.console.words import NOT_KNOWN, number
from auditor.cutover.documents import Followed, Seen, writable
from auditor.cutover.story import Attempt, Link, current
from orchestrator.cutover import Phase, Run

TONES = {
    Phase.STUCK: Tone.BAD,
    Phase.ABORTING: Tone.WARN,
    Phase.ROLLING_BACK: Tone.WARN,
    Phase.HELD: Tone.WARN,
    Phase.GUARDED: Tone.GOOD,
    Phase.FINALIZED: Tone.GOOD,
}


def tables(followed: Followed | None) -> tuple[Table, ...]:
    """Give the sections; none where no cutover is configured."""
    if followed is None:
        return ()
    return (_standing(followed), _proof(followed))


def _standing(followed: Followed) -> Table:
    rows = _rows(followed.seen) if followed.seen else ()
    if followed.error is not None:
        rows = (cells("journal", Cell("cannot be read", Tone.BAD, followed.error)), *rows)
    return Table(
        "cutover",
        "Cutover",
        columns("what", "now", wide=("now",)),
        rows,
        "Not known: its journal was not read yet.",
        "" if followed.error is None else "what follows is what was read last",
    )


def _rows(seen: Seen) -> tuple[tuple[Cell, ...], ...]:
    attempt = current(seen.attempts)
    run = attempt.run if attempt else Run(0)
    holder = seen.lease.holder if seen.lease and not seen.lease.over else None
    rows = [
        cells("phase", Cell(str(run.phase), TONES.get(run.phase, Tone.PLAIN), run.pending or "")),
        cells("attempt", f"{run.attempt}, {run.direction}: {attempt.result}" if attempt else "none yet"),
        cells("writable side", writable(seen.attempts) or Cell("none: both are fenced", Tone.WARN)),
        cells("writes held", _held(attempt)),
        cells("foretold", _foretold(run)),
        cells("orchestrator", holder or "none lives"),
    ]
    if run.reason:
        rows.append(cells("reason", run.reason))
    if seen.owed is not None:
        rows.append(cells("owed", Cell(f"attempt {seen.owed} is not acknowledged", Tone.WARN)))
    rows += [
        cells("asked for", f"{one.wish} by {one.actor}: {one.reason}") for one in seen.requests if one.answer is None
    ]
    return tuple(rows)


def _held(attempt: Attempt | None) -> Cell:
    if attempt is None:
        return Cell("never")
    if attempt.run.held and not attempt.run.over:
        return Cell("now", Tone.WARN)
    return Cell("not at all" if attempt.held_ms is None else f"for {number(attempt.held_ms)} ms")


def _foretold(run: Run) -> str:
    facts = run.facts.get("check-budget", {})
    predicted, budget = facts.get("predicted_ms"), facts.get("budget_ms")
    if not isinstance(predicted, int | float) or not isinstance(budget, int | float):
        return NOT_KNOWN
    return f"{number(predicted)} ms of {number(budget)} ms"


def _proof(followed: Followed) -> Table:
    attempt = current(followed.seen.attempts) if followed.seen else None
    links = attempt.chain if attempt else ()
    proved = sum(link.problem is None for link in links)
    return Table(
        "proof",
        "Chain of proof",
        columns("link", "status", "proves", "entry", number=("entry",), wide=("proves",)),
        tuple(_link(link) for link in links),
        "No cutover was begun.",
        f"{proved} of {len(links)} links" if links else "",
    )


def _link(link: Link) -> tuple[Cell, ...]:
    begun = link.told is not None
    status = Cell("proved", Tone.GOOD)
    if link.problem is not None:
        status = Cell("missing", Tone.BAD if begun else Tone.UNKNOWN, link.problem)
    return cells(link.step, status, link.proves, str(link.told.seq) if link.told else "")
