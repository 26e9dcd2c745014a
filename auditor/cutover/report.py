"""The report of one attempt as Markdown and as a standalone HTML page; both are made of the JSON document alone.

Whatever comes from elsewhere (reasons, names, facts) is escaped: a report is opened by people who trust it.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from auditor.console.words import printable

Document = Mapping[str, Any]
_HERE = Path(__file__).parent
_MARKDOWN = str.maketrans({one: f"\\{one}" for one in r"\`*_[]<>|#!~"})


def markdown(document: Document) -> str:
    """Write the report for a ticket or a wiki."""
    journal = document["journal"]
    lines = [
        f"# Cutover of {plain(document['migration'])}, attempt {document['attempt']}: {plain(document['result'])}",
        "",
        *_table(("", ""), [(name, value) for name, value in headline(document)]),
        "",
        "## Chain of proof",
        "",
        *_table(
            ("link", "proves", "proved", "entry", "facts"),
            [
                (link["step"], link["proves"], _proved(link), link["entry"], facts_text(link["facts"]))
                for link in document["proof"]
            ],
        ),
        "",
        "## Steps",
        "",
        *_table(
            ("step", "phase", "state", "began", "ms", "tries", "holds writes"),
            [
                (one["step"], one["phase"], one["state"], one["began_at"], one["ms"], one["tries"],
                 "yes" if one["holds_writes"] else "")
                for one in document["steps"]
            ],
        ),
        *_people(document),
        "",
        "## Journal",
        "",
        f"{journal['entries']} entries, the last with hash {plain(journal['head'])}: "
        + ("the chain is whole." if journal["intact"] else "THE CHAIN IS BROKEN."),
        *(f"- {plain(problem)}" for problem in journal["problems"]),
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def html(document: Document) -> str:
    """Write the report as one page that needs nothing else: no script, no font, no picture from anywhere."""
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("report.html")
    return page.render(
        document=document, headline=headline(document), bars=bars(document["steps"]), facts_text=facts_text, said=said
    )


def headline(document: Document) -> list[tuple[str, Any]]:
    """Give what a reader wants first, as names and values."""
    return [
        ("result", document["result"]),
        ("direction", document["direction"]),
        ("phase", document["phase"]),
        ("reason", document["reason"] or "none"),
        ("chain of proof", document["proof_chain"]),
        ("writes held", "not at all" if document["held_write_ms"] is None else f"{document['held_write_ms']} ms"),
        ("started", f"{document['started_at']} by {document['started_by']}"),
        ("last entry", document["last_at"]),
        ("report made", document["made_at"]),
        *(("next", step) for step in document["next_steps"]),
    ]


def bars(steps: Sequence[Document]) -> list[Document]:
    """Lay the steps on a line of time: where each begins and how wide it is, in per cent of the whole.

    Only what is from the first step that holds writes on is laid out to scale; the hours before it would leave nothing
    of the milliseconds that matter.
    """
    ended = [one for one in steps if one["ended_at"] is not None]
    held = [number for number, one in enumerate(ended) if one["holds_writes"]]
    shown = ended[held[0] : held[-1] + 1] if held else ended
    if not shown:
        return []
    begins = [_seconds(one["began_at"]) for one in shown]
    start, end = min(begins), max(_seconds(one["ended_at"]) for one in shown)
    whole = max(end - start, 1e-6)
    return [
        {**one, "left": round((begin - start) / whole * 100, 2), "width": round(_span(one) / whole * 100, 2)}
        for one, begin in zip(shown, begins, strict=True)
    ]


def facts_text(facts: Document) -> str:
    """Write facts on one line."""
    return json.dumps(facts, sort_keys=True, ensure_ascii=False) if facts else ""


def said(value: Any) -> str:
    """Write a value for a page: what does not show is spelled out."""
    return "" if value is None else printable(str(value)).replace("\n", " ")


def plain(value: Any) -> str:
    """Write a value so that Markdown shows it as it is."""
    return said(value).translate(_MARKDOWN)


def _people(document: Document) -> list[str]:
    rows = [("approval", one["by"], "", one["digest"], "") for one in document["approvals"]]
    rows += [(one["wish"], one["by"], one["at"], one["reason"], one["answer"]) for one in document["requests"]]
    return ["", "## People", "", *_table(("what", "who", "when", "why", "answer"), rows)] if rows else []


def _table(titles: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [titles, ["---"] * len(titles), *([plain(cell) for cell in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _proved(link: Document) -> str:
    return "yes" if link["proved"] else f"no: {link['problem']}"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _span(one: Document) -> float:
    return _seconds(one["ended_at"]) - _seconds(one["began_at"])
