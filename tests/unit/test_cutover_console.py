"""The console shows where a cutover stands and its chain of proof, and says so where that is not known."""

from auditor.console.cutover import tables
from auditor.console.page import Renderer, page_of
from auditor.console.pulse import Pulse
from auditor.cutover.documents import Followed, Seen
from auditor.cutover.story import attempts_of, owed
from orchestrator.records import Lease, Request, Wish
from tests.consoles import snapshot_of
from tests.helpers_records import NOW, good_records
from tests.journals import START, Written

HOSTILE = "<script>alert(1)</script>"


def seen_of(written: Written, *requests: Request, left: float = 5.0) -> Seen:
    attempts = attempts_of(written.entries)
    return Seen("orders", attempts, Lease(1, "ann@host:1", left), requests, owed(attempts, requests))


def rows_of(followed: Followed) -> dict[str, tuple[str, str]]:
    return {row[0].text: (row[1].text, row[1].note) for row in tables(followed)[0].rows}


def html_of(followed: Followed | None) -> str:
    snapshot = snapshot_of(good_records())
    renderer = Renderer(lambda: 0.0)
    return renderer.current(snapshot, lambda: page_of(snapshot, [], Pulse(), NOW, followed))[1]


def test_without_a_configured_cutover_there_is_no_section() -> None:
    assert tables(None) == ()
    assert 'id="cutover"' not in html_of(None)


def test_it_shows_phase_budget_and_chain() -> None:
    written = Written().until("start-reverse-audit").step("check-budget", predicted_ms=120, budget_ms=750)
    rows = rows_of(Followed(seen_of(written.until("see-marker")), None))
    assert rows["phase"][0] == "DRAINING"
    assert rows["foretold"][0] == "120 ms of 750 ms"
    assert rows["writes held"][0] == "now"
    assert rows["writable side"][0] == "none: both are fenced"
    assert rows["orchestrator"][0] == "ann@host:1"
    proof = tables(Followed(seen_of(written), None))[1]
    assert proof.summary == "3 of 13 links"
    assert [row[1].text for row in proof.rows[:4]] == ["proved", "proved", "proved", "missing"]


def test_a_journal_that_is_away_is_told_and_what_was_read_last_still_shown() -> None:
    followed = Followed(seen_of(Written().until("check-gate")), "the journal cannot be reached")
    assert rows_of(followed)["journal"] == ("cannot be read", "the journal cannot be reached")
    assert rows_of(followed)["phase"][0] == "READY"
    assert tables(Followed())[0].rows[0][1].note == "the journal was not read yet"


def test_what_is_owed_and_asked_for_is_shown_and_nothing_becomes_an_element() -> None:
    failed = Written().until("see-marker").aborted(HOSTILE)
    asked = Request(1, Wish.ROLLBACK, HOSTILE, HOSTILE, START)
    followed = Followed(seen_of(failed, asked, left=0), None)
    rows = rows_of(followed)
    assert rows["owed"][0] == "attempt 1 is not acknowledged"
    assert rows["orchestrator"][0] == "none lives"
    assert rows["writes held"][0].startswith("for ")
    page = html_of(followed)
    assert HOSTILE not in page
    assert "&lt;script&gt;alert(1)" in page
    assert 'id="proof"' in page
