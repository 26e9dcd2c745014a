"""An accepted difference is named, owned and ends; it never hides what it does not name."""

import json
import os
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor import findings as commands
from auditor.accepted_differences import AcceptedFile, load_accepted, over_coverage
from auditor.board import Board
from auditor.coverage_shown import coverage_command
from auditor.evidence import FindingsReader, expected_of, fold_findings
from auditor.gate import Evaluator
from auditor.gate_limits import limits_of
from auditor.records import open_records
from comparators.acceptance import lay_over
from comparators.errors import SettingInvalid
from comparators.findings import Finding, State, finding_json, merged_findings, open_findings
from tests.helpers_records import FINDING, NOW, good_records, settings_of, suspect

OTHER = "f_00000000000000bb"
WHO = "owner: ann, reason: known, until: 2033-01-31"
Write = Callable[[str], Path]


@pytest.fixture
def written(tmp_path: Path) -> Write:
    def write(text: str) -> Path:
        file = tmp_path / "accepted.yaml"
        file.write_text(text)
        return file

    return write


def finding(**given: Any) -> Finding:
    shown: dict[str, Any] = {"columns": ["note"], "keys": [{"hash": "aa"}], "count": 1, "state": "confirmed"}
    record = suspect(**shown | given)
    return merged_findings({f"suspect/{record['id']}": record})[0]


def laid(written: Write, entry: str, *findings: Finding, now: float = NOW) -> list[str]:
    entries = load_accepted(written(f"accepted: [{{{entry}, {WHO}}}]"))
    return [str(one.state) for one in lay_over(findings, entries, now)]


@pytest.mark.parametrize(
    ("entry", "given", "state"),
    [
        ("table: public.orders, kind: row-different", {}, "accepted"),
        ("table: public.orders, kind: row-missing", {}, "confirmed"),
        ("table: public.order, kind: row-different", {}, "confirmed"),
        ("table: public.orders, columns: [note]", {}, "accepted"),
        ("table: public.orders, columns: [note, more]", {}, "accepted"),
        ("table: public.orders, columns: [note]", {"columns": ["note", "total"]}, "confirmed"),
        ("table: public.orders, columns: [note]", {"columns": []}, "confirmed"),
        ("table: public.orders, columns: [note], kind: row-missing", {}, "confirmed"),
        ("table: public.orders, key_hashes: [aa]", {}, "accepted"),
        ("table: public.orders, key_hashes: [aa, bb]", {}, "accepted"),
        ("table: public.orders, key_hashes: [bb]", {}, "confirmed"),
        ("table: public.orders, key_hashes: [aa]", {"keys": [{"hash": "aa"}, {"hash": "bb"}], "count": 2}, "confirmed"),
        ("table: public.orders, key_hashes: [aa]", {"count": 2}, "confirmed"),
        ("table: public.orders, key_hashes: [aa]", {"keys": [], "count": 0}, "confirmed"),
        ("table: public.orders, skipped: true", {}, "confirmed"),
        ("table: public.orders, kind: row-different", {"detector": "canary"}, "confirmed"),
    ],
)
def test_a_line_accepts_what_it_names_and_no_more(
    written: Write, entry: str, given: dict[str, Any], state: str
) -> None:
    one = finding(**{name: value for name, value in given.items() if name != "detector"})
    one = replace(one, detector=given.get("detector", "row"))
    assert laid(written, entry, one) == [state]


def test_an_acceptance_ends_by_itself(written: Write) -> None:
    ends = load_accepted(written(f"accepted: [{{table: a.b, skipped: true, {WHO}}}]"))[0].until
    entry = "table: public.orders, kind: row-different"
    assert laid(written, entry, finding(), now=ends - 1) == ["accepted"]
    assert laid(written, entry, finding(), now=ends) == ["confirmed"]


def test_what_heals_is_healed_and_not_accepted(written: Write) -> None:
    assert laid(written, "table: public.orders, kind: row-different", replace(finding(), state=State.HEALED)) == [
        "healed"
    ]


def test_what_an_accepted_finding_explains_stays_open(written: Write) -> None:
    cause, effect = finding(kind="foreign-write"), finding(id=OTHER, explained_by=FINDING)
    assert [one.id for one in open_findings([cause, effect])] == [FINDING]
    entries = load_accepted(written(f"accepted: [{{table: public.orders, kind: foreign-write, {WHO}}}]"))
    assert [one.id for one in open_findings(lay_over([cause, effect], entries, NOW))] == [OTHER]


def test_a_finding_says_by_which_line_it_is_accepted(written: Write) -> None:
    entries = load_accepted(written(f"accepted: [{{table: public.orders, columns: [note], {WHO}}}]"))
    (one,) = lay_over([finding()], entries, NOW)
    accepted = finding_json(one)["accepted"]
    assert (accepted["owner"], accepted["reason"], accepted["until"]) == ("ann", "known", "2033-01-31T00:00:00.000Z")
    assert accepted["place"] == "accepted.yaml: accepted.0"
    assert "accepted by ann: known" in finding_json(one)["sentence"]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (f"table: public.orders, {WHO}", "accepted.0: names no difference"),
        (f"table: public.*, skipped: true, {WHO}", "accepted.0.table: 'public.*' is not a table"),
        (f"table: orders, skipped: true, {WHO}", "accepted.0.table: 'orders' is not a table"),
        (f"skipped: true, {WHO}", "accepted.0.table: is missing"),
        ("table: a.b, skipped: true, reason: r, until: 2033-01-31", "accepted.0.owner: is missing"),
        ("table: a.b, skipped: true, owner: o, until: 2033-01-31", "accepted.0.reason: is missing"),
        ("table: a.b, skipped: true, owner: o, reason: r", "accepted.0.until: is missing"),
        ("table: a.b, skipped: true, owner: ' ', reason: r, until: 2033-01-31", "accepted.0.owner: ' ' is not"),
        ("table: a.b, skipped: true, owner: o, reason: r, until: 7d", "accepted.0.until: '7d' is not a day or a time"),
        ("table: a.b, skipped: true, owner: o, reason: r, until: never", "accepted.0.until: 'never' is not"),
        (f"table: a.b, skipped: false, {WHO}", "accepted.0.skipped: false is not true"),
        (f"table: a.b, skipped: true, kind: row-extra, {WHO}", "accepted.0: kind and skipped do not go together"),
        (f"table: a.b, kind: wrong, {WHO}", "accepted.0.kind: 'wrong' is not a kind of finding"),
        (f"table: a.b, columns: [], {WHO}", "accepted.0.columns: a list is not"),
        (f"table: a.b, column: [x], {WHO}", "accepted.0.column: unknown key; did you mean columns"),
    ],
)
def test_an_entry_that_is_not_whole_is_refused(written: Write, entry: str, message: str) -> None:
    file = written(f"accepted: [{{{entry}}}]")
    with pytest.raises(SettingInvalid) as caught:
        load_accepted(file)
    assert f"{file}: {message}" in f"{caught.value}; {caught.value.hint}"


def test_the_file_is_read_again_when_it_changes_and_accepts_nothing_while_it_is_wrong(written: Write) -> None:
    file = written(f"accepted: [{{table: a.b, skipped: true, {WHO}}}]")
    accepted = AcceptedFile(file)
    assert (len(accepted.entries()), accepted.error) == (1, None)
    assert accepted.entries() is accepted.entries()
    written("accepted: [{table: a.b}]")
    assert accepted.entries() == ()
    assert "accepted.0.owner: is missing" in str(accepted.error)
    file.unlink()
    assert accepted.entries() == ()
    assert "no such file" in str(accepted.error)
    written("accepted: []")
    assert (accepted.entries(), accepted.error) == ((), None)


def test_a_skipped_table_is_accepted_by_name_alone(written: Write) -> None:
    entries = load_accepted(written(f"accepted: [{{table: public.orders, skipped: true, {WHO}}}]"))
    records = {
        "coverage/public.orders": {"state": "skipped", "reason": "no SELECT"},
        "coverage/public.lines": {"state": "skipped"},
    }
    laid_over = over_coverage(records, entries)
    assert laid_over["coverage/public.orders"]["accepted"]["owner"] == "ann"
    assert laid_over["coverage/public.lines"] == records["coverage/public.lines"]
    swept = {"coverage/public.orders": {"state": "swept"}}
    assert over_coverage(swept, entries) == swept
    assert "accepted" not in records["coverage/public.orders"]


def test_the_gate_counts_what_is_accepted_and_says_so(written: Write) -> None:
    file = written(f"accepted: [{{table: public.orders, kind: row-different, {WHO}}}]")
    accepted = AcceptedFile(file)
    settings = settings_of()
    evaluator = Evaluator(expected_of(settings), limits_of(settings), "one", accepted)
    records = good_records() | {f"suspect/{FINDING}": suspect(state="confirmed")}
    board = Board(records, NOW, None, 1, records)

    def condition() -> Any:
        return next(
            part for part in evaluator.evaluate(board, NOW, 0.0).verdict.conditions if part.name == "open-findings"
        )

    assert (condition().status, condition().reason) == ("PASS", "Confirmed differences: 0 open, 1 accepted")
    file.write_text("accepted: []")
    assert condition().status == "FAIL"
    file.write_text(f"accepted: [{{table: public.orders, kind: row-different, {WHO}}}]")
    assert condition().status == "PASS"
    file.write_text("accepted: nothing")
    assert condition().status == "FAIL"
    assert "no difference is accepted" in condition().reason


def test_a_broken_file_keeps_the_gate_closed_though_nothing_is_found(written: Write) -> None:
    seen = fold_findings({}, NOW, FindingsReader(AcceptedFile(written("{}"))))
    assert "accepted: is missing" in str(seen.accepted_error)


def test_the_list_shows_each_line_with_its_count_and_its_end(
    written: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = "owner: bob, reason: was known, until: 2020-01-31"
    entry = f"{{table: public.orders, kind: row-different, {WHO}}}"
    file = written(f"accepted: [{entry}, {{table: public.lines, skipped: true, {ended}}}]")
    settings = replace(settings_of(), accepted_differences=file, state_dir=tmp_path / "state")
    with closing(open_records(settings)) as store:
        store.put({f"suspect/{FINDING}": suspect(now=time.time(), state="confirmed")})
    arguments = Namespace(state="accepted", table=None, since=None, show_keys=False, json=True)
    assert commands.list_command(settings, arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert [one["id"] for one in document["findings"]] == [FINDING]
    assert [(one["state"], one["findings"]) for one in document["accepted"]] == [("in force", 1), ("ended", 0)]
    arguments.json = False
    assert commands.list_command(settings, arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].endswith(
        "public.orders (row-different) accepted by ann until 2033-01-31T00:00:00.000Z: 1 findings"
    )
    assert lines[-1].endswith("public.lines (skipped) accepted by bob ENDED 2020-01-31T00:00:00.000Z: counts no more")


def test_a_file_that_changes_within_one_tick_of_the_clock_is_read_again(written: Write) -> None:
    file = written("accepted: []")
    accepted = AcceptedFile(file)
    before = os.stat(file)
    assert accepted.entries() == ()
    draft = file.with_name("draft")
    draft.write_text(f"accepted: [{{table: a.b, skipped: true, {WHO}}}]")
    os.utime(draft, ns=(before.st_atime_ns, before.st_mtime_ns))
    draft.replace(file)
    assert len(accepted.entries()) == 1


def coverage_line(table: str, **given: Any) -> dict[str, Any]:
    counts = dict.fromkeys(("sweep", "rows", "verified", "unverified", "hot", "different"), 0)
    return {"table": table, "state": "swept", "reason": None, "through": 9, "at": NOW, "now": None, **counts, **given}


def test_coverage_shows_how_much_of_it_is_accepted_and_what_has_ended(
    written: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = "owner: bob, reason: was known, until: 2020-01-31"
    entry = f"{{table: public.orders, kind: row-different, {WHO}}}"
    file = written(f"accepted: [{entry}, {{table: public.lines, skipped: true, {ended}}}]")
    settings = replace(settings_of(), accepted_differences=file, state_dir=tmp_path / "state")
    with closing(open_records(settings)) as store:
        store.put(
            {
                f"suspect/{FINDING}": suspect(now=time.time(), state="confirmed", detector="row", count=3),
                f"suspect/{OTHER}": suspect(OTHER, state="confirmed", detector="row", count=2, kind="row-extra"),
                "coverage/public.orders": coverage_line("public.orders", different=5),
                "coverage/public.lines": coverage_line("public.lines", state="skipped", reason="no SELECT"),
            }
        )
    assert coverage_command(settings, as_json=True) == 0
    document = json.loads(capsys.readouterr().out)
    assert {one["table"]: one["accepted_rows"] for one in document["tables"]} == {"public.orders": 3, "public.lines": 0}
    assert [one["state"] for one in document["accepted"]] == ["in force", "ended"]
    assert coverage_command(settings, as_json=False) == 0
    out = capsys.readouterr().out
    assert "3 of the different rows accepted" in out
    assert "no SELECT; the acceptance by bob has ended" in out
