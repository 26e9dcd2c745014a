"""Commands that only read the journal: status, report, history, and its verification."""

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from auditor.cutover.documents import Document, Seen, entry_document, report_document, status_document
from auditor.cutover.opening import opened_journal
from auditor.cutover.report import html, markdown
from auditor.cutover.story import attempts_of, owed
from auditor.settings import Settings
from comparators.errors import SettingInvalid, StoreUnavailable
from orchestrator.cutover import Phase
from orchestrator.records import Journal

LOOK_SECONDS = 0.5
NEEDS_PERSON = 4
_CLEAR = "\x1b[H\x1b[J"
_MARKS = {"done": "ok", "failed": "!!", "doing": ".."}


def look(journal: Journal) -> Seen:
    """Read everything that a status is made of.

    Raises:
        StoreUnavailable: the journal cannot be reached.
    """
    attempts, requests = attempts_of(journal.entries()), tuple(journal.requests())
    return Seen(journal.migration, attempts, journal.lease(), requests, owed(attempts, requests))


def status_command(settings: Settings, *, watch: bool, as_json: bool) -> int:
    """Print where the cutover stands; 4 where a person is needed, else 0: it could be read."""
    with opened_journal(settings) as journal:
        if watch:
            return watch_status(journal, as_json=as_json, out=sys.stdout)
        document = status_document(look(journal))
    print(json.dumps(document) if as_json else screen(document))
    return exit_of(document)


def watch_status(journal: Journal, *, as_json: bool, out: TextIO, pause: Callable[[float], None] = time.sleep) -> int:
    """Print it again at each change until the attempt is over; without a terminal one line per change."""
    said = ""
    while True:
        try:
            document = status_document(look(journal))
        except StoreUnavailable as error:
            print(f"the journal cannot be reached: {error}", file=sys.stderr)
            pause(LOOK_SECONDS)
            continue
        text = json.dumps(document) if as_json else screen(document) if out.isatty() else line(document)
        if text != said:
            print(f"{_CLEAR}{text}" if out.isatty() and not as_json else text, file=out, flush=True)
            said = text
        if over(document):
            return exit_of(document)
        pause(LOOK_SECONDS)


def over(document: Document) -> bool:
    """Say whether nothing more will happen by itself."""
    return not document["running"]


def exit_of(document: Document) -> int:
    """Give the exit code of a status: 4 where a person is needed."""
    return NEEDS_PERSON if document["phase"] == Phase.STUCK or document["acknowledgement_owed"] else 0


def report_command(settings: Settings, attempt: int | None, form: str) -> int:
    """Print the report of one attempt."""
    with opened_journal(settings) as journal:
        document = report_of(journal, attempt)
    print(json.dumps(document) if form == "json" else html(document) if form == "html" else markdown(document))
    return 0


def report_of(journal: Journal, number: int | None) -> Document:
    """Make the report of one attempt, the newest unless one is named.

    Raises:
        SettingInvalid: there is none, or no such one.
        StoreUnavailable: the journal cannot be reached.
    """
    attempts = attempts_of(journal.entries())
    chosen = [one for one in attempts if number in (None, one.run.attempt)]
    if not chosen:
        there = ", ".join(str(one.run.attempt) for one in attempts) or "none yet"
        what = "there is no attempt" if number is None else f"there is no attempt {number}"
        raise SettingInvalid(f"{journal.migration}: {what}", hint=f"attempts in the journal: {there}")
    return report_document(journal.migration, chosen[-1], journal.verify(), journal.requests())


def history_command(settings: Settings, attempt: int | None, limit: int | None, *, as_json: bool) -> int:
    """Print entries of the journal."""
    with opened_journal(settings) as journal:
        entries = [one for one in journal.entries() if attempt in (None, one.attempt)]
    documents = [entry_document(one) for one in entries[-limit if limit else 0 :]]
    print(json.dumps({"entries": documents}) if as_json else "\n".join(_entry_line(one) for one in documents))
    return 0


def verify_command(settings: Settings, *, as_json: bool) -> int:
    """Recompute the journal's chain: 0 whole, 1 tampered with."""
    with opened_journal(settings) as journal:
        found = journal.verify()
    document = {"entries": found.entries, "head": found.head, "intact": found.intact, "problems": list(found.problems)}
    if as_json:
        print(json.dumps(document))
    else:
        print(f"{found.entries} entries: {'the chain is whole' if found.intact else 'the chain is broken'}")
        print("\n".join(f"  {problem}" for problem in found.problems), end="\n" if found.problems else "")
    return 0 if found.intact else 1


def line(document: Document) -> str:
    """Write a status on one line."""
    doing = f", {document['doing']}" if document["doing"] else ""
    held = ", writes are held" if document["writes_held"] else ""
    told = document["reason"] and document["phase"] != Phase.FINALIZED
    reason = f": {document['reason']}" if told else ""
    return f"{document['migration']}: attempt {document['attempt'] or '-'}: {document['phase']}{doing}{held}{reason}"


def screen(document: Document) -> str:
    """Lay a status out for a terminal."""
    holder = document["holder"] or "nobody: no orchestrator lives"
    held = "yes, now" if document["writes_held"] else _ms(document["held_write_ms"])
    lines = [
        line(document),
        f"  writable side  {document['writable'] or 'none: both are fenced'}",
        f"  writes held    {held}",
        f"  orchestrator   {holder}",
        f"  proof          {document['proof_chain']}",
    ]
    lines += [f"  asked for      {one['wish']} by {one['by']}: {one['reason']}" for one in document["requests"]]
    lines += ["", *_step_lines(document["steps"])]
    return "\n".join([*lines, "", "next", *(f"  {step}" for step in document["next_steps"])])


def _step_lines(steps: Sequence[Document]) -> list[str]:
    width = max((len(one["step"]) for one in steps), default=0)
    return [
        f"  {_MARKS[one['state']]} {one['phase']:<12} {one['step']:<{width}} {_ms(one['ms']):>12}"
        + (f"  ({one['tries']} tries)" if one["tries"] > 1 else "")
        for one in steps
    ]


def _entry_line(one: Document) -> str:
    facts = json.dumps(one["facts"], sort_keys=True, ensure_ascii=False) if one["facts"] else ""
    where = f"{one['attempt']}/{one['direction']} epoch {one['epoch']}"
    return f"{one['seq']:>5} {one['at']} {where} {one['kind']:<6} {one['step']} {facts} {one['actor']}"


def _ms(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:,.1f} ms"
