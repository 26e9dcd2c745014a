"""A report shows one attempt whole, and what comes from elsewhere cannot change it."""

from datetime import timedelta
from html.parser import HTMLParser
from typing import Any

from auditor.cutover.documents import report_document
from auditor.cutover.report import bars, html, markdown
from auditor.cutover.story import attempts_of
from orchestrator.records import Request, Verified, Wish
from tests.journals import START, Written

HOSTILE = '</td><script>alert(1)</script> | `x` "quoted" \u202e [a](javascript:b) <b>&amp;'


def document_of(written: Written, **more: Any) -> dict[str, Any]:
    attempt = attempts_of(written.entries)[-1]
    given: dict[str, Any] = {"verified": Verified(len(written.entries), "abc"), "requests": ()}
    return report_document("orders", attempt, **{**given, **more})


class Tags(HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.said = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.said += data


def hostile() -> dict[str, Any]:
    written = Written(migration="orders", actor=HOSTILE).until("see-marker").aborted(HOSTILE)
    asked = Request(1, Wish.ABORT, HOSTILE, HOSTILE, START + timedelta(milliseconds=9))
    return document_of(written, requests=(asked,), verified=Verified(3, "abc", (HOSTILE,)))


def test_the_page_shows_every_step_and_link_and_loads_nothing() -> None:
    document = document_of(Written().until("write-canary"))
    tags = Tags(html(document))
    assert not {"script", "link", "img", "iframe", "form"} & set(tags.elements)
    for one in (*document["steps"], *document["proof"]):
        assert one["step"] in tags.said
    assert "the chain is whole" in tags.said


def test_nothing_hostile_becomes_an_element() -> None:
    page = html(hostile())
    tags = Tags(page)
    assert "script" not in tags.elements
    assert "b" not in tags.elements
    assert "alert(1)" in tags.said
    assert "\u202e" not in page


def test_a_broken_chain_is_told_loudly() -> None:
    document = document_of(Written().until("check-all"), verified=Verified(3, "abc", ("entry 2 was changed",)))
    assert "entry 2 was changed" in html(document)
    assert "THE CHAIN IS BROKEN" in markdown(document)


def test_markdown_keeps_its_tables_whatever_a_cell_holds() -> None:
    text = markdown(hostile())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert "\u202e" not in text
    assert "<script>" not in text.replace("\\<", "")
    for row in rows:
        bare = row.replace("\\\\", "").replace("\\|", "")
        assert bare.count("|") in (3, 6, 8)


def test_bars_begin_where_writes_are_held_and_fill_the_line() -> None:
    laid = bars(document_of(Written().until("write-canary"))["steps"])
    assert (laid[0]["step"], laid[0]["left"], laid[-1]["step"]) == ("hold-proxies", 0.0, "release-proxies")
    assert laid[-1]["left"] + laid[-1]["width"] == 100
    assert bars([]) == []
    assert bars(document_of(Written().until("check-all"))["steps"])[0]["width"] == 100


def test_an_attempt_that_has_only_begun_has_a_report() -> None:
    document = document_of(Written().until("check-all"))
    assert "not begun" in markdown(document)
    assert "Chain of proof" in html(document)
